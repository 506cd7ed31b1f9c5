//! Whether an attempt may start (PROTOCOL 12), and how an owner keeps its row or gives it away.

use std::time::Duration;

use posthaste_domain::{RowChange, RowKey, RowWrite, Timestamp};

use crate::limits::{ATTEMPT_GUARD_MS, VISIBILITY_MS};
use crate::settle::{Answer, Dropped, Owner};

/// How long nobody else takes a delivery, reckoned on this process's monotonic clock, so that
/// neither a pause nor a stepped wall clock stretches it.
///
/// Monotonic moments are durations since any one moment of the process. The one to give is always
/// that of *sending* the request: the reply may have been long on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hold {
    ends: Duration,
}

impl Hold {
    /// By a lease that ends at `until`: its write was sent at `sent` by the wall clock, and
    /// `sent_mono` by the monotonic one. After a restart, the moment of the start serves for both.
    #[must_use]
    pub const fn by_lease(until: Timestamp, sent: Timestamp, sent_mono: Duration) -> Self {
        let left = Duration::from_millis(until.millis_since(sent));
        Self { ends: sent_mono.saturating_add(left) }
    }

    /// By a message: the call that received it, or hid it last for [`VISIBILITY_MS`], was sent at
    /// `sent_mono`.
    #[must_use]
    pub const fn by_message(sent_mono: Duration) -> Self {
        Self { ends: sent_mono.saturating_add(Duration::from_millis(VISIBILITY_MS)) }
    }

    /// Whether an attempt may start now: it has to be over, in the worst case, before others may
    /// take the delivery.
    #[must_use]
    pub fn permit(self, now_mono: Duration) -> Permit {
        let over = now_mono.saturating_add(Duration::from_millis(ATTEMPT_GUARD_MS));
        if over <= self.ends { Permit::Attempt } else { Permit::RenewFirst }
    }
}

/// Whether an attempt may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permit {
    /// It may.
    Attempt,
    /// Not before the row is claimed again ([`crate::claim`]), or the message hidden again. Where
    /// that is refused, somebody else has it.
    RenewFirst,
}

/// Moves the end of a lease: further off, to put an attempt off beyond it (breaker, rate, no
/// slot), or to now, to give the row away before the instance stops (PROTOCOL 13 and 20). The
/// owner must hold the row yet, or it may move the end of a lease that others believe over.
#[must_use]
pub fn extend(key: &RowKey, round: u32, owner: Owner<'_>, until: Timestamp) -> RowWrite {
    let (instance, epoch) = (owner.instance.clone(), owner.epoch);
    let change = RowChange::Extend { owner: instance, epoch, until };
    RowWrite { key: key.clone(), round, change }
}

/// What came of [`extend`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extended {
    /// The lease ends then. Its [`Hold`] counts from the sending of the write.
    Until(Timestamp),
    /// Not ours any more: remove the job.
    Dropped(Dropped),
}

/// What the answer to `until`'s write says. Sending it again does no harm, so that a refusal is
/// one.
#[must_use]
pub const fn after_extend(round: u32, until: Timestamp, answer: Answer<'_>) -> Extended {
    match answer {
        Answer::Done => Extended::Until(until),
        Answer::Refused(None) => Extended::Dropped(Dropped::Gone),
        // A final row owes nothing to anybody, which is all that a dropped job needs to know.
        Answer::Refused(Some(row)) if row.is_final() => Extended::Dropped(Dropped::Overtaken),
        Answer::Refused(Some(row)) => Extended::Dropped(Dropped::of(row, round)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{at, failed, instance, key, requeued};

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn an_attempt_has_to_end_before_the_lease() {
        // Sent at 100 s by the wall, 7 s by the monotonic clock: 180 s are left.
        let hold = Hold::by_lease(at(280), at(100), seconds(7));
        assert_eq!(hold.permit(seconds(7 + 180 - 35)), Permit::Attempt);
        assert_eq!(hold.permit(seconds(7 + 180 - 34)), Permit::RenewFirst);
        // A lease that was over when it was read.
        let over = Hold::by_lease(at(280), at(300), seconds(7));
        assert_eq!(over.permit(seconds(7)), Permit::RenewFirst);
        assert_eq!(Hold::by_message(seconds(7)).permit(seconds(7)), Permit::Attempt);
        assert_eq!(Hold::by_message(seconds(7)).permit(seconds(160)), Permit::RenewFirst);
        assert_eq!(Hold::by_message(Duration::MAX).permit(Duration::MAX), Permit::Attempt);
    }

    #[test]
    fn an_owner_keeps_its_row_and_nobody_else_does() {
        let own = instance("a");
        let owner = Owner { instance: &own, epoch: 1 };
        let write = extend(&key(), 0, owner, at(900));
        let row = write.apply(&failed("a", 1, None)).unwrap();
        assert_eq!(row.lease.as_ref().unwrap().until, at(900));
        assert_eq!(write.apply(&row).unwrap(), row);
        assert_eq!(after_extend(0, at(900), Answer::Done), Extended::Until(at(900)));
        let other = failed("b", 2, None);
        assert!(write.apply(&other).is_err());
        for (row, why) in [
            (Some(&other), Dropped::NotOurs),
            (Some(&requeued()), Dropped::Overtaken),
            (None, Dropped::Gone),
        ] {
            let answer = after_extend(0, at(900), Answer::Refused(row));
            assert_eq!(answer, Extended::Dropped(why));
        }
    }
}
