//! A fresh round for an event: the row first, then its message (PROTOCOL 15 and 16).
//!
//! Once the row is written, the event is in the work index, due for a sweep in two minutes; the
//! message only makes it quicker. So a message that cannot be sent is told to the log and to
//! nobody else: the fresh round has begun. The same goes for a write whose reply was lost and that
//! the SDK sent again: it is refused, by a row that looks like what another caller's write of the
//! same millisecond leaves. It is taken for refused; the sweep delivers the event.
//!
//! The DLQ's message of the round before stays where it is: only a receipt could delete it. It
//! does no harm. Nothing makes a row dead because of a message, and whoever requeues by the DLQ
//! finds the row in a later round and deletes it (PROTOCOL 17); else the queue forgets it.

use std::fmt;
use std::sync::Arc;

use posthaste_domain::{RowKey, Timestamp};
use posthaste_ports::{Outgoing, PortError, Queue, Rows, Written};
use posthaste_protocol::{EventMessage, Requeued, requeue};
use tracing::warn;

/// Begins fresh rounds.
#[derive(Clone)]
pub(crate) struct Requeuer {
    rows: Arc<dyn Rows>,
    queue: Arc<dyn Queue>,
}

impl Requeuer {
    pub(crate) fn new(rows: Arc<dyn Rows>, queue: Arc<dyn Queue>) -> Self {
        Self { rows, queue }
    }

    /// Where rows are written.
    pub(crate) fn rows(&self) -> &Arc<dyn Rows> {
        &self.rows
    }

    /// Begins a fresh round for rows, which were seen in these rounds; one answer for each in
    /// order.
    pub(crate) async fn requeue(
        &self,
        seen: Vec<(RowKey, u32)>,
        which: Requeued,
        now: Timestamp,
    ) -> Vec<Result<Written, PortError>> {
        let writes = seen.iter().map(|(key, round)| requeue(key, *round, which, now)).collect();
        let answers = self.rows.write(writes).await;
        let begun =
            seen.into_iter().zip(&answers).filter(|(_, answer)| **answer == Ok(Written::Done));
        self.send(begun.map(|((key, round), _)| (key, round.saturating_add(1))).collect()).await;
        answers
    }

    async fn send(&self, rounds: Vec<(RowKey, u32)>) {
        let messages = rounds
            .iter()
            .map(|(key, round)| {
                // Whoever receives a later round's message reads the row, so the payload would
                // travel in vain.
                let message = EventMessage {
                    key: key.clone(),
                    round: Some(*round),
                    payload: None,
                    created_at: Some(key.event.created_at()),
                    again: false,
                };
                Outgoing { body: message.body(), group: key.tenant.as_str().into() }
            })
            .collect();
        for ((key, round), sent) in rounds.iter().zip(self.queue.send(messages).await) {
            if let Err(error) = sent {
                let (tenant, event) = (&key.tenant, key.event);
                warn!(%tenant, %event, round, %error, "requeued, left to the sweep");
            }
        }
    }
}

impl fmt::Debug for Requeuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Requeuer")
    }
}
