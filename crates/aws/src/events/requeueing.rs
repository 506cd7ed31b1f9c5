//! A fresh round for an event: the row first, then its message (PROTOCOL 15 and 16).
//!
//! Once the row is written, the event is in the work index, due for a sweep in two minutes; the
//! message only makes it quicker. So a message that cannot be sent is told to the log and to
//! nobody else: the fresh round has begun.
//!
//! The DLQ's message of the round before stays where it is: only a receipt could delete it. It
//! does no harm. Nothing makes a row dead because of a message, and whoever requeues by the DLQ
//! finds the row in a later round and deletes it (PROTOCOL 17); else the queue forgets it.

use std::fmt;
use std::sync::Arc;

use posthaste_domain::{EventStatus, Row, RowChange, RowKey, RowWrite, Timestamp};
use posthaste_ports::{Outgoing, PortError, Queue, Rows, Written};
use posthaste_protocol::{EventMessage, Requeued, requeue};
use tracing::warn;

/// What came of beginning a fresh round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Began {
    /// It has begun.
    Begun,
    /// The row is not as it was seen; none where it is gone.
    Refused(Option<Row>),
}

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
    ) -> Vec<Result<Began, PortError>> {
        let writes: Vec<_> =
            seen.iter().map(|(key, round)| requeue(key, *round, which, now)).collect();
        let answers = self.rows.write(writes.clone()).await;
        let began: Vec<_> = writes
            .iter()
            .zip(answers)
            .map(|(write, answer)| answer.map(|answer| began(write, answer)))
            .collect();
        let begun = seen.into_iter().zip(&began).filter(|(_, began)| **began == Ok(Began::Begun));
        self.send(begun.map(|((key, round), _)| (key, round.saturating_add(1))).collect()).await;
        began
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

fn began(write: &RowWrite, answer: Written) -> Began {
    match answer {
        Written::Done => Began::Begun,
        // Our own write, whose reply was lost.
        Written::Refused(Some(row)) if is_own(write, &row) => Began::Begun,
        Written::Refused(row) => Began::Refused(row),
    }
}

/// Whether a row is what `write` makes of one. That somebody else wrote the very same in the same
/// millisecond is not told apart, and need not be: the fresh round is the same.
fn is_own(write: &RowWrite, row: &Row) -> bool {
    let RowChange::Requeue { until, .. } = &write.change else { return false };
    row.round == write.round.saturating_add(1)
        && row.status == EventStatus::Pending
        && row.lease.as_ref().is_some_and(|lease| lease.owner.is_none() && lease.until == *until)
}

#[cfg(test)]
mod tests {
    use posthaste_domain::{EventId, TenantId};

    use super::*;

    #[test]
    fn a_lost_reply_is_recognised() {
        let tenant = TenantId::try_new("acme").unwrap();
        let key = RowKey { tenant, event: EventId::MIN };
        let write = |at| requeue(&key, 3, Requeued::Dead, Timestamp::from_millis(at));
        let dead = Row { status: EventStatus::Dlq, round: 3, ..Row::new() };
        let fresh = write(5).apply(&dead).unwrap();
        assert_eq!(began(&write(5), Written::Refused(Some(fresh.clone()))), Began::Begun);
        // Somebody else's.
        let refused = Written::Refused(Some(fresh.clone()));
        assert_eq!(began(&write(6), refused), Began::Refused(Some(fresh)));
        assert_eq!(began(&write(6), Written::Refused(None)), Began::Refused(None));
        let refused = Written::Refused(Some(dead.clone()));
        assert_eq!(began(&write(6), refused), Began::Refused(Some(dead)));
    }
}
