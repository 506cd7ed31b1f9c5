//! Taking over rows that nobody looks after (PROTOCOL 14), and rows of one's own that one looked
//! after too late (PROTOCOL 12).

use posthaste_domain::{DeadLetterCause, InstanceId, Row, RowChange, RowKey, RowWrite, Timestamp};

use crate::limits::{LEASE_SLACK_MS, SKEW_MS_MAX};
use crate::receive::Local;
use crate::settle::{Answer, Dropped};

/// Whether a sweep may judge leases by this wall clock: not after it went back by more than the
/// clocks may be apart. `newest` is the latest time it ever showed.
#[must_use]
pub fn is_clock_usable(newest: Timestamp, now: Timestamp) -> bool {
    now.plus_millis(SKEW_MS_MAX) >= newest
}

/// Leases that ended before this are over for every clock (PROTOCOL 14).
fn over_before(now: Timestamp) -> Timestamp {
    Timestamp::from_millis(now.as_millis().saturating_sub(SKEW_MS_MAX))
}

/// The write that takes over a row of the work index, if it is to be taken over: its lease has
/// ended by `over`, and this instance does not look after it already. The index may lag, so `row`
/// is a consistent read. Its own lease lasts from `now` on.
#[must_use]
pub fn on_owed(
    key: &RowKey,
    row: &Row,
    local: Local,
    me: &InstanceId,
    (over, now): (Timestamp, Timestamp),
) -> Option<RowWrite> {
    let lease = row.lease.as_ref()?;
    // What is known here comes to the row by itself: by its timer, out of the outbox, or by being
    // dropped. A job of an earlier round knows nothing of this one.
    let is_known = local.round().is_some_and(|round| round >= row.round);
    let is_over = lease.until < over_before(over);
    if is_known || !is_over { None } else { claim(key, row, me, now) }
}

/// The write that takes over a row as it was seen, whether or not its lease has ended: for a sweep
/// that found it over, for an owner that is late, and for a requeued row that nobody owns. None
/// where the row owes nothing.
///
/// It can be made from what a late owner remembers of the row as well. To be recognised as our own
/// after a lost reply, the very same write has to be sent again.
#[must_use]
pub fn claim(key: &RowKey, row: &Row, me: &InstanceId, now: Timestamp) -> Option<RowWrite> {
    let lease = row.lease.as_ref()?;
    let due = row.next_attempt_at.unwrap_or(now);
    let change = RowChange::Claim {
        owner: me.clone(),
        epoch_seen: lease.epoch,
        until_seen: lease.until,
        until: due.max(now).plus_millis(LEASE_SLACK_MS),
    };
    Some(RowWrite { key: key.clone(), round: row.round, change })
}

/// What came of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// This instance owes the next attempt. The claim goes straight to the engine, not through the
    /// queue, so that sweeping cannot grow a backlog.
    Attempt {
        /// This instance's epoch from now on.
        epoch: u64,
        /// The end of its lease.
        until: Timestamp,
        /// When the attempt is due: [`Timestamp::ZERO`] where none of this round has failed.
        due: Timestamp,
        /// Attempts that the round has finished.
        attempts: u32,
        /// How often it was cut off.
        interrupted: u8,
    },
    /// The round is over: this instance owes the way to the DLQ, never an attempt.
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
    /// Somebody else was quicker, or the row owes nothing any more.
    Dropped(Dropped),
}

/// What the answer to a [`claim`] of the row `seen` says. A refusal whose row shows this very claim
/// is our own success, whose reply was lost.
#[must_use]
pub fn after_claim(write: &RowWrite, seen: &Row, answer: Answer<'_>) -> Taken {
    match answer {
        // Round, epoch and the lease's end are as seen, and every write changes one of them; so
        // the rest is as seen too.
        Answer::Done => write.apply(seen).map_or(Taken::Dropped(Dropped::NotOurs), |row| {
            taken(&row).unwrap_or(Taken::Dropped(Dropped::NotOurs))
        }),
        Answer::Refused(None) => Taken::Dropped(Dropped::Gone),
        Answer::Refused(Some(row)) if row.is_final() => Taken::Dropped(Dropped::Overtaken),
        Answer::Refused(Some(row)) => {
            let own = if is_own_claim(write, row) { taken(row) } else { None };
            own.unwrap_or_else(|| Taken::Dropped(Dropped::of(row, write.round)))
        }
    }
}

fn is_own_claim(write: &RowWrite, row: &Row) -> bool {
    let RowChange::Claim { owner, epoch_seen, until, .. } = &write.change else {
        return false;
    };
    row.round == write.round
        && row.lease.as_ref().is_some_and(|lease| {
            lease.is_of(owner, epoch_seen.saturating_add(1)) && lease.until == *until
        })
}

fn taken(row: &Row) -> Option<Taken> {
    let lease = row.lease.as_ref()?;
    let (epoch, until, attempts) = (lease.epoch, lease.until, row.attempts);
    let due = row.next_attempt_at.unwrap_or(Timestamp::ZERO);
    Some(match row.cause {
        Some(cause) => Taken::Die { epoch, until, cause, attempts },
        None => Taken::Attempt { epoch, until, due, attempts, interrupted: row.interrupted },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{at, failed, instance, key, requeued};

    #[test]
    fn only_what_is_over_for_every_clock_is_taken() {
        let me = instance("b");
        let sweep = |row: &Row, local, now| on_owed(&key(), row, local, &me, (at(now), at(now)));
        let row = failed("a", 1, None);
        assert_eq!(sweep(&row, Local::Unknown, 285), None);
        let write = sweep(&row, Local::Unknown, 286).unwrap();
        let row = write.apply(&row).unwrap();
        let lease = row.lease.as_ref().unwrap();
        assert!(lease.is_of(&me, 2) && lease.until == at(286 + 180));
        // Not what is in our own hands, and not what owes nothing.
        assert_eq!(sweep(&failed("b", 1, None), Local::Waiting { round: 0 }, 9_000), None);
        assert_eq!(sweep(&Row::new(), Local::Unknown, 9_000), None);
        // A job of an earlier round does not count.
        assert!(sweep(&requeued(), Local::Waiting { round: 0 }, 9_000).is_some());
        assert_eq!(sweep(&requeued(), Local::Held { round: 1 }, 9_000), None);
    }

    #[test]
    fn a_claim_shows_what_is_owed() {
        let (row, me) = (failed("a", 1, None), instance("b"));
        let write = claim(&key(), &row, &me, at(300)).unwrap();
        let taken =
            Taken::Attempt { epoch: 2, until: at(480), due: at(100), attempts: 1, interrupted: 0 };
        assert_eq!(after_claim(&write, &row, Answer::Done), taken);
        let claimed = write.apply(&row).unwrap();
        assert_eq!(after_claim(&write, &row, Answer::Refused(Some(&claimed))), taken);
        // Another one's claim at the same epoch.
        let other = claim(&key(), &row, &instance("c"), at(300)).unwrap().apply(&row).unwrap();
        let answer = after_claim(&write, &row, Answer::Refused(Some(&other)));
        assert_eq!(answer, Taken::Dropped(Dropped::NotOurs));
        let answer = after_claim(&write, &row, Answer::Refused(Some(&requeued())));
        assert_eq!(answer, Taken::Dropped(Dropped::Overtaken));
        assert_eq!(after_claim(&write, &row, Answer::Refused(None)), Taken::Dropped(Dropped::Gone));

        let cause = DeadLetterCause::AttemptsExhausted;
        let dying = failed("a", 1, Some(cause));
        let write = claim(&key(), &dying, &me, at(300)).unwrap();
        let die = Taken::Die { epoch: 2, until: at(480), cause, attempts: 1 };
        assert_eq!(after_claim(&write, &dying, Answer::Done), die);
    }

    #[test]
    fn a_clock_that_went_back_judges_nothing() {
        assert!(is_clock_usable(at(100), at(95)));
        assert!(!is_clock_usable(at(100), at(94)));
    }
}
