//! The way to the DLQ (PROTOCOL 13): last failure into the row, message to the DLQ, row DLQ, in
//! this order.

use posthaste_domain::{EventStatus, RowChange, RowKey, RowWrite, Timestamp};

use crate::settle::{Answer, Dropped, Owner};

/// How far a delivery whose last failure is in the row has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dying {
    /// The DLQ has not acknowledged its message, as far as this process knows. So it is after
    /// every start: a second message does no harm, a missing one does.
    Unsent,
    /// The DLQ has acknowledged its message.
    Sent,
}

/// What is next on the way to the DLQ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DyingStep {
    /// Send the message to the DLQ.
    Send,
    /// Write [`Dying::mark`].
    Mark,
}

/// What is next. ▲ The row is not marked before the DLQ has the message: a marked row is in no
/// index, so that nobody would ever send it.
#[must_use]
pub const fn dying_step(dying: Dying) -> DyingStep {
    match dying {
        Dying::Unsent => DyingStep::Send,
        Dying::Sent => DyingStep::Mark,
    }
}

impl Dying {
    /// The write that marks the row DLQ, fenced by the owner's epoch.
    #[must_use]
    pub fn mark(
        key: &RowKey,
        round: u32,
        owner: Owner<'_>,
        attempts: u32,
        at: Timestamp,
    ) -> RowWrite {
        let (instance, epoch) = (owner.instance.clone(), owner.epoch);
        let change = RowChange::Die { owner: instance, epoch, attempts, at };
        RowWrite { key: key.clone(), round, change }
    }
}

/// What came of [`Dying::mark`]. The job goes in either case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dead {
    /// The row is final.
    Final(EventStatus),
    /// Not ours any more. The DLQ may get a second message of the round, from the new owner.
    Dropped(Dropped),
}

/// What the answer to [`Dying::mark`] of this round says.
#[must_use]
pub const fn after_die(round: u32, answer: Answer<'_>) -> Dead {
    match answer {
        Answer::Done => Dead::Final(EventStatus::Dlq),
        Answer::Refused(None) => Dead::Dropped(Dropped::Gone),
        Answer::Refused(Some(row)) if row.is_final() && row.round == round => {
            Dead::Final(row.status)
        }
        Answer::Refused(Some(row)) => Dead::Dropped(Dropped::of(row, round)),
    }
}

#[cfg(test)]
mod tests {
    use posthaste_domain::DeadLetterCause;

    use super::*;
    use crate::samples::{at, failed, instance, key, requeued};

    #[test]
    fn the_message_comes_before_the_mark() {
        assert_eq!(dying_step(Dying::Unsent), DyingStep::Send);
        assert_eq!(dying_step(Dying::Sent), DyingStep::Mark);
    }

    #[test]
    fn only_the_owner_marks() {
        let own = instance("a");
        let mark = Dying::mark(&key(), 0, Owner { instance: &own, epoch: 1 }, 1, at(300));
        let cause = Some(DeadLetterCause::AttemptsExhausted);
        let dead = mark.apply(&failed("a", 1, cause)).unwrap();
        assert_eq!(after_die(0, Answer::Done), Dead::Final(EventStatus::Dlq));
        let again = after_die(0, Answer::Refused(Some(&dead)));
        assert_eq!(again, Dead::Final(EventStatus::Dlq));
        let other = failed("b", 2, cause);
        assert!(mark.apply(&other).is_err());
        for (row, why) in [
            (Some(&other), Dropped::NotOurs),
            (Some(&requeued()), Dropped::Overtaken),
            (None, Dropped::Gone),
        ] {
            assert_eq!(after_die(0, Answer::Refused(row)), Dead::Dropped(why));
        }
    }
}
