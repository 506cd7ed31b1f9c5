//! From an attempt's outcome to the row (PROTOCOL 9 and 10), and what the row's answer allows.

use posthaste_domain::{
    DeadLetterCause, EventStatus, InstanceId, Resolution, Row, RowChange, RowKey, RowWrite,
    Settlement, Timestamp,
};

use crate::limits::LEASE_SLACK_MS;

/// An instance, and its epoch in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner<'a> {
    /// Which instance.
    pub instance: &'a InstanceId,
    /// Its epoch; 0 while it owns nothing of the row.
    pub epoch: u64,
}

/// What the table answered to a conditional write. A lost reply is no answer: repeat the write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// Done.
    Done,
    /// A condition does not hold: the row as it is, none where there is no such row.
    Refused(Option<&'a Row>),
}

/// The write that makes an outcome durable (PROTOCOL 9). It is sent at `now`, the later one of this
/// instance's time and the table's: an outcome that waited for the table gets a lease that lasts
/// all the same. Due times are by this instance's clock, and the table's is ahead of that by
/// `ahead_ms`: by so much the lease lasts longer, or it would be over before the retry is due.
#[must_use]
pub fn outcome_write(
    settlement: &Settlement,
    owner: Owner<'_>,
    (now, ahead_ms): (Timestamp, u64),
) -> RowWrite {
    let attempts = settlement.attempts;
    let attempt = settlement.attempt.clone().map(Box::new);
    let (due, cause) = match settlement.resolution {
        Resolution::Delivered => {
            let change = RowChange::Deliver { attempts, at: settlement.at, attempt };
            return write(settlement, change);
        }
        Resolution::Retry { due } => (due, None),
        Resolution::DeadLettered { cause } => (settlement.at, Some(cause)),
    };
    let attempts_seen = attempts.saturating_sub(u32::from(attempt.is_some()));
    let at = settlement.attempt.as_ref().map_or(settlement.at, |attempt| attempt.at);
    let change = RowChange::Fail {
        attempts,
        attempts_seen,
        interrupted: settlement.interrupted,
        owner: owner.instance.clone(),
        epoch_seen: owner.epoch,
        next_attempt_at: due,
        until: due.plus_millis(ahead_ms).max(now).plus_millis(LEASE_SLACK_MS),
        cause,
        at,
        attempt,
    };
    write(settlement, change)
}

fn write(settlement: &Settlement, change: RowChange) -> RowWrite {
    let (tenant, event) = (settlement.key.tenant.clone(), settlement.key.event);
    RowWrite { key: RowKey { tenant, event }, round: settlement.round, change }
}

/// What the answer to an outcome's write allows. Only after it may the message go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The row is final. Delete the message, remove the job.
    Final(EventStatus),
    /// The row holds the failure, and this instance owes the next attempt. Delete the message,
    /// keep the job.
    Wait {
        /// This instance's epoch from now on.
        epoch: u64,
        /// The end of its lease.
        until: Timestamp,
        /// When the next attempt is due.
        due: Timestamp,
        /// Attempts that the round has finished.
        attempts: u32,
    },
    /// The row holds the last failure, and this instance owes the way to the DLQ
    /// ([`crate::dying_step`]). Delete the message, keep the job.
    Die {
        /// This instance's epoch from now on.
        epoch: u64,
        /// The end of its lease.
        until: Timestamp,
        /// Why there is no further attempt.
        cause: DeadLetterCause,
        /// Attempts that the round has finished.
        attempts: u32,
    },
    /// The outcome came too late. Remove the job, and see [`Dropped::deletes_message`].
    Dropped(Dropped),
}

impl Settled {
    /// Whether the message that the attempt came from may be deleted.
    #[must_use]
    pub const fn deletes_message(self) -> bool {
        match self {
            Self::Final(_) | Self::Wait { .. } | Self::Die { .. } => true,
            Self::Dropped(why) => why.deletes_message(),
        }
    }
}

/// Why a job is not this instance's any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// The row is in a later round, or final.
    Overtaken,
    /// The row is in the work index, and not as this instance left it: others owe the rest, or a
    /// sweep finds it.
    NotOurs,
    /// There is no such row any more.
    Gone,
    /// The row is open and in nobody's care, and yet refused the write. That takes a fault
    /// elsewhere (a table restored from a backup, say): only the message holds the event.
    Unexplained,
}

impl Dropped {
    /// Whether the message may be deleted: not where nothing else holds the event.
    #[must_use]
    pub const fn deletes_message(self) -> bool {
        !matches!(self, Self::Unexplained)
    }

    /// Why the owner of `round` has to drop its job in the face of this row, which is not final.
    pub(crate) const fn of(row: &Row, round: u32) -> Self {
        if row.round > round {
            Self::Overtaken
        } else if row.lease.is_some() && row.round == round {
            Self::NotOurs
        } else {
            Self::Unexplained
        }
    }
}

/// What the answer to [`outcome_write`] allows. A refusal whose row shows our own write is our own
/// success, whose reply was lost (PROTOCOL 9, "ambiguity").
#[must_use]
pub fn after_outcome(write: &RowWrite, answer: Answer<'_>) -> Settled {
    match answer {
        Answer::Done => done(&write.change),
        Answer::Refused(None) => Settled::Dropped(Dropped::Gone),
        Answer::Refused(Some(row)) if row.round == write.round && row.is_final() => {
            Settled::Final(row.status)
        }
        Answer::Refused(Some(row)) => own_failure(write, row)
            .unwrap_or_else(|| Settled::Dropped(Dropped::of(row, write.round))),
    }
}

fn done(change: &RowChange) -> Settled {
    let RowChange::Fail { attempts, epoch_seen, next_attempt_at, until, cause, .. } = change else {
        // The only other outcome.
        return Settled::Final(EventStatus::Delivered);
    };
    failed((*epoch_seen).max(1), *until, *next_attempt_at, *attempts, *cause)
}

/// The row's failure, where it is the one that `write` writes. The end of the lease is the row's:
/// an outcome that is written again has another one.
fn own_failure(write: &RowWrite, row: &Row) -> Option<Settled> {
    let RowChange::Fail { attempts, owner, epoch_seen, next_attempt_at, cause, .. } = &write.change
    else {
        return None;
    };
    let lease = row.lease.as_ref()?;
    let epoch = (*epoch_seen).max(1);
    let is_own = row.round == write.round
        && lease.is_of(owner, epoch)
        && row.attempts == *attempts
        && row.next_attempt_at == Some(*next_attempt_at)
        && row.cause == *cause;
    is_own.then(|| failed(epoch, lease.until, *next_attempt_at, *attempts, *cause))
}

const fn failed(
    epoch: u64,
    until: Timestamp,
    due: Timestamp,
    attempts: u32,
    cause: Option<DeadLetterCause>,
) -> Settled {
    match cause {
        None => Settled::Wait { epoch, until, due, attempts },
        Some(cause) => Settled::Die { epoch, until, cause, attempts },
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use posthaste_domain::{
        Attempt, DeliveryKey, EndpointId, ErrorClass, OwedAs, PhaseTimings, Verdict,
    };

    use super::*;
    use crate::samples::{at, failed, instance, key, requeued};

    fn settlement(attempts: u32, resolution: Resolution) -> Settlement {
        let RowKey { tenant, event } = key();
        let attempt = Attempt {
            number: attempts,
            at: at(10),
            duration_ms: 1,
            status_code: Some(500),
            verdict: Verdict::Failed { class: ErrorClass::ServerError, retry_after_ms: None },
            error: None,
            response: Bytes::new(),
            phases: PhaseTimings::default(),
        };
        Settlement {
            key: DeliveryKey { tenant, event, endpoint: EndpointId::DEFAULT },
            round: 0,
            attempts,
            owed_as: OwedAs::Fresh,
            interrupted: 0,
            at: at(11),
            attempt: Some(attempt),
            resolution,
        }
    }

    fn write_of(settlement: &Settlement, name: &str, epoch: u64) -> RowWrite {
        outcome_write(settlement, Owner { instance: &instance(name), epoch }, (at(20), 0))
    }

    const RETRY: Resolution = Resolution::Retry { due: Timestamp::from_millis(100_000) };
    const LAST: Resolution = Resolution::DeadLettered { cause: DeadLetterCause::AttemptsExhausted };

    #[test]
    fn a_lost_reply_is_our_own_success() {
        let write = write_of(&settlement(1, RETRY), "a", 0);
        let wait = Settled::Wait { epoch: 1, until: at(280), due: at(100), attempts: 1 };
        assert_eq!(after_outcome(&write, Answer::Done), wait);
        let row = write.apply(&Row::new()).unwrap();
        assert_eq!(row, failed("a", 1, None));
        assert!(write.apply(&row).is_err());
        // Written again much later: the lease that counts is the row's.
        let owner = Owner { instance: &instance("a"), epoch: 0 };
        let again = outcome_write(&settlement(1, RETRY), owner, (at(9_000), 0));
        assert_eq!(after_outcome(&again, Answer::Refused(Some(&row))), wait);

        let last = write_of(&settlement(2, LAST), "a", 1);
        let row = last.apply(&row).unwrap();
        let cause = DeadLetterCause::AttemptsExhausted;
        let die = Settled::Die { epoch: 1, until: at(200), cause, attempts: 2 };
        assert_eq!(after_outcome(&last, Answer::Done), die);
        assert_eq!(after_outcome(&last, Answer::Refused(Some(&row))), die);
    }

    /// A clock that is behind: the retry is due when that clock says so, and the lease lasts until
    /// three minutes after that.
    #[test]
    fn a_lease_lasts_by_the_tables_clock() {
        let owner = Owner { instance: &instance("a"), epoch: 0 };
        let until = |now, ahead_ms| {
            let write = outcome_write(&settlement(1, RETRY), owner, (at(now), ahead_ms));
            let RowChange::Fail { until, next_attempt_at, .. } = write.change else { panic!() };
            assert_eq!(next_attempt_at, at(100));
            until
        };
        assert_eq!(until(20, 0), at(100 + 180));
        assert_eq!(until(3_620, 3_600_000), at(3_700 + 180));
        assert_eq!(until(9_000, 0), at(9_000 + 180));
    }

    /// For every refusal: the job is dropped, and the message goes unless it alone is left.
    #[test]
    fn what_came_too_late_is_dropped() {
        let write = write_of(&settlement(1, RETRY), "a", 0);
        let refused = |row: Option<&Row>| after_outcome(&write, Answer::Refused(row));
        let dropped = |row: &Row| refused(Some(row));
        assert_eq!(refused(None), Settled::Dropped(Dropped::Gone));
        assert_eq!(dropped(&requeued()), Settled::Dropped(Dropped::Overtaken));
        assert_eq!(dropped(&failed("b", 1, None)), Settled::Dropped(Dropped::NotOurs));
        assert_eq!(dropped(&failed("a", 2, None)), Settled::Dropped(Dropped::NotOurs));
        let other_due = Row { next_attempt_at: Some(at(101)), ..failed("a", 1, None) };
        assert_eq!(dropped(&other_due), Settled::Dropped(Dropped::NotOurs));
        let delivered = Row { status: EventStatus::Delivered, ..Row::new() };
        assert_eq!(dropped(&delivered), Settled::Final(EventStatus::Delivered));
        let behind = Row { attempts: 3, ..Row::new() };
        assert_eq!(dropped(&behind), Settled::Dropped(Dropped::Unexplained));
        assert!(!dropped(&behind).deletes_message());
        assert!(dropped(&delivered).deletes_message() && refused(None).deletes_message());
    }

    #[test]
    fn without_an_attempt_none_is_counted() {
        let cause = DeadLetterCause::Poison;
        let settled = settlement(1, Resolution::DeadLettered { cause });
        let poison = Settlement { attempt: None, ..settled };
        let row = write_of(&poison, "a", 1).apply(&failed("a", 1, None)).unwrap();
        assert_eq!((row.attempts, row.cause), (1, Some(cause)));
    }

    #[test]
    fn a_success_is_written_whoever_owns_the_row() {
        let write = write_of(&settlement(2, Resolution::Delivered), "a", 1);
        let row = write.apply(&failed("b", 7, None)).unwrap();
        let delivered = Settled::Final(EventStatus::Delivered);
        assert_eq!(after_outcome(&write, Answer::Done), delivered);
        assert_eq!(after_outcome(&write, Answer::Refused(Some(&row))), delivered);
    }
}
