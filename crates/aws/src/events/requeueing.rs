//! A fresh round for an event: the row first, then its message (PROTOCOL 15 and 16).
//!
//! Once the row is written, the event is in the work index, due for a sweep in two minutes; the
//! message only makes it quicker. So a message that cannot be sent is told to the log and to
//! nobody else: the fresh round has begun.
//!
//! A write whose reply was lost is known by what it left: the row that refuses its second try, or
//! that is read after the last, is as this write leaves a row. It has been done then, and its
//! message is sent like any other.
//!
//! The DLQ's message of the round before stays where it is: only a receipt could delete it. It
//! does no harm. Nothing makes a row dead because of a message, and whoever requeues by the DLQ
//! finds the row in a later round and deletes it (PROTOCOL 17); else the queue forgets it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use posthaste_domain::{RowKey, RowWrite, Timestamp};
use posthaste_ports::{PortError, Queue, Rows, Written};
use posthaste_protocol::{EventMessage, Requeued, is_begun, requeue};
use tracing::warn;

use super::sending::send;

/// So many calls of one millisecond are told apart, by so many milliseconds of the grace in which
/// no sweep takes a requeued row.
const CALLS_APART: u64 = 1_000;

/// Begins fresh rounds.
#[derive(Clone)]
pub(crate) struct Requeuer {
    rows: Arc<dyn Rows>,
    queue: Arc<dyn Queue>,
    /// Calls so far, by which those of one millisecond are told apart.
    calls: Arc<AtomicU64>,
}

impl Requeuer {
    pub(crate) fn new(rows: Arc<dyn Rows>, queue: Arc<dyn Queue>) -> Self {
        Self { rows, queue, calls: Arc::default() }
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
        // Part of what the write leaves. Two processes may come to the same number in the same
        // millisecond: then both say that they have begun the round, and two messages of it do no
        // harm, since each has the row read.
        let call = self.calls.fetch_add(1, Ordering::Relaxed) % CALLS_APART;
        let at = now.plus_millis(call);
        let write = |(key, round): &(RowKey, u32)| requeue(key, *round, which, at);
        let writes: Vec<RowWrite> = seen.iter().map(write).collect();
        let mut answers = self.rows.write(writes.clone()).await;
        self.recognise(&writes, &mut answers).await;
        let begun =
            seen.into_iter().zip(&answers).filter(|(_, answer)| **answer == Ok(Written::Done));
        self.send(begun.map(|((key, round), _)| (key, round.saturating_add(1))).collect()).await;
        answers
    }

    /// Makes out which of these writes were done although their answers do not say so.
    async fn recognise(&self, writes: &[RowWrite], answers: &mut [Result<Written, PortError>]) {
        for (write, answer) in writes.iter().zip(answers.iter_mut()) {
            if matches!(answer, Ok(Written::Refused(Some(row))) if is_begun(write, row)) {
                *answer = Ok(Written::Done);
            }
        }
        let unknown: Vec<usize> = (0..answers.len()).filter(|at| answers[*at].is_err()).collect();
        if unknown.is_empty() {
            return;
        }
        let keys: Vec<RowKey> = unknown.iter().map(|at| writes[*at].key.clone()).collect();
        // Where they cannot be read either, they stay unknown, which is what the error says.
        let Ok(rows) = self.rows.read_each(&keys).await else { return };
        for (at, stored) in unknown.into_iter().zip(rows) {
            if matches!(stored, Ok(Some(stored)) if is_begun(&writes[at], &stored.row)) {
                answers[at] = Ok(Written::Done);
            }
        }
    }

    async fn send(&self, rounds: Vec<(RowKey, u32)>) {
        let message = |(key, round): &(RowKey, u32)| EventMessage {
            key: key.clone(),
            round: Some(*round),
            // Whoever receives a later round's message reads the row, so it would travel in vain.
            payload: None,
            created_at: Some(key.event.created_at()),
            again: false,
        };
        let messages = rounds.iter().map(message).collect();
        for ((key, round), sent) in rounds.iter().zip(send(&*self.queue, messages).await) {
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
