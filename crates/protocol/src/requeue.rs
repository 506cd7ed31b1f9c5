//! Out of the DLQ: a fresh round (PROTOCOL 15 to 17), or PURGED.

use posthaste_domain::{EventStatus, Lease, Row, RowChange, RowKey, RowWrite, Timestamp};

use crate::limits::REQUEUE_GRACE_MS;
use crate::settle::Answer;

/// Which rows may begin a fresh round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requeued {
    /// Those in the DLQ.
    Dead,
    /// FAILED ones as well: their tenant asks for it.
    DeadOrFailed,
}

/// The write that begins a fresh round after `round` (PROTOCOL 15).
#[must_use]
pub fn requeue(key: &RowKey, round: u32, which: Requeued, now: Timestamp) -> RowWrite {
    let failed_too = matches!(which, Requeued::DeadOrFailed);
    let change = RowChange::Requeue { failed_too, until: now.plus_millis(REQUEUE_GRACE_MS) };
    RowWrite { key: key.clone(), round, change }
}

/// Whether a row is just as [`requeue`]'s write leaves it, so that a write that was refused, or
/// whose reply was lost, has been done: by its own first try, or by another caller's with the same
/// `now`. Nobody takes such a row before its message is sent, or its grace is over.
#[must_use]
pub fn is_begun(write: &RowWrite, row: &Row) -> bool {
    let RowChange::Requeue { until, .. } = write.change else { return false };
    let lease = Some(Lease { owner: None, epoch: 0, until });
    row.round == write.round.saturating_add(1)
        && row.status == EventStatus::Pending
        && row.attempts == 0
        && row.lease == lease
}

/// The write that makes a row PURGED.
#[must_use]
pub fn purge(key: &RowKey, round: u32, now: Timestamp) -> RowWrite {
    RowWrite { key: key.clone(), round, change: RowChange::Purge { at: now } }
}

/// What becomes of the DLQ message that a requeue or a purge began with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnRequeue {
    /// The row is in this round now: send its message to the main queue, then delete the one from
    /// the DLQ. Where the send fails for good, a sweep finds the row.
    Send {
        /// The new round.
        round: u32,
    },
    /// It says nothing that the row does not say: delete it.
    DeleteMessage,
    /// The row is not DLQ yet: leave it.
    LeaveMessage,
}

/// What the answer to [`requeue`] of `round`, the DLQ message's, says (PROTOCOL 17).
#[must_use]
pub const fn after_requeue(round: u32, answer: Answer<'_>) -> OnRequeue {
    match answer {
        Answer::Done => OnRequeue::Send { round: round.saturating_add(1) },
        Answer::Refused(row) => after_refusal(round, row),
    }
}

/// What the answer to [`purge`] of `round`, the DLQ message's, says.
#[must_use]
pub const fn after_purge(round: u32, answer: Answer<'_>) -> OnRequeue {
    match answer {
        Answer::Done => OnRequeue::DeleteMessage,
        Answer::Refused(row) => after_refusal(round, row),
    }
}

const fn after_refusal(round: u32, row: Option<&Row>) -> OnRequeue {
    let Some(row) = row else {
        return OnRequeue::DeleteMessage;
    };
    if row.round != round {
        // A row behind its message is a table restored from a backup.
        return if row.round > round { OnRequeue::DeleteMessage } else { OnRequeue::LeaveMessage };
    }
    match row.status {
        EventStatus::Delivered | EventStatus::Purged => OnRequeue::DeleteMessage,
        // ▲ Its owner is about to mark it DLQ: without this message nobody could requeue it.
        EventStatus::Pending | EventStatus::Failed | EventStatus::Dlq => OnRequeue::LeaveMessage,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{at, failed, instance, key, requeued};

    fn dead(status: EventStatus) -> Row {
        Row { status, lease: None, ..failed("a", 1, None) }
    }

    #[test]
    fn a_dead_row_begins_afresh() {
        let write = requeue(&key(), 0, Requeued::Dead, at(0));
        assert_eq!(write.apply(&dead(EventStatus::Dlq)), Ok(requeued()));
        assert!(write.apply(&failed("a", 1, None)).is_err());
        let write = requeue(&key(), 0, Requeued::DeadOrFailed, at(0));
        assert_eq!(write.apply(&failed("a", 1, None)), Ok(requeued()));
        assert_eq!(after_requeue(0, Answer::Done), OnRequeue::Send { round: 1 });
        assert_eq!(after_purge(0, Answer::Done), OnRequeue::DeleteMessage);
    }

    /// For every row but the one that the write leaves: it was not done.
    #[test]
    fn a_round_that_has_begun_is_recognised() {
        let write = requeue(&key(), 0, Requeued::Dead, at(0));
        let begun = write.apply(&dead(EventStatus::Dlq)).unwrap();
        assert!(is_begun(&write, &begun));
        let claim = crate::claim(&key(), &begun, &instance("a"), at(9)).unwrap();
        for row in [
            dead(EventStatus::Dlq),
            claim.apply(&begun).unwrap(),
            Row { round: 2, ..begun.clone() },
            Row { attempts: 1, ..begun.clone() },
            requeue(&key(), 0, Requeued::Dead, at(1)).apply(&dead(EventStatus::Dlq)).unwrap(),
        ] {
            assert!(!is_begun(&write, &row), "{row:?}");
        }
        assert!(!is_begun(&purge(&key(), 0, at(0)), &begun));
    }

    #[test]
    fn a_refusal_says_whether_the_message_goes() {
        let (go, stay) = (OnRequeue::DeleteMessage, OnRequeue::LeaveMessage);
        for (row, expected) in [
            (None, go),
            (Some(requeued()), go),
            (Some(dead(EventStatus::Delivered)), go),
            (Some(dead(EventStatus::Purged)), go),
            (Some(dead(EventStatus::Dlq)), stay),
            (Some(failed("a", 1, None)), stay),
            (Some(Row::new()), stay),
        ] {
            let answer = Answer::Refused(row.as_ref());
            assert_eq!(after_requeue(0, answer), expected, "{row:?}");
            assert_eq!(after_purge(0, answer), expected, "{row:?}");
        }
        assert_eq!(after_requeue(1, Answer::Refused(Some(&Row::new()))), stay);
    }
}
