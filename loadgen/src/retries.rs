//! Retries: whether each comes when the schedule says, neither early nor late.
//!
//! The sink knows when it ended an attempt that it failed, and which number it had. The attempt
//! after it, told by `webhook-attempt`, has a window:
//!
//! ```text
//!   attempt n fails          may come from here        … to here          comes
//! ──────┬──────────────────────────┬───────────────────────┬────────────────┬──────►
//!       │◄────── step n ──────────►│◄──── its jitter ─────►│◄── lateness ──►│
//! ```
//! A `Retry-After` that the sink sent moves the beginning, never before the schedule's, by an hour
//! at most; it holds the tenant's other retries too, which are not late as long as it does.
//! Whatever comes before the beginning is *early*: a broken promise of the system.
//!
//! Not followed: attempts that a stop of the system cut off, because they are made again under
//! their own number. Not in the distribution: retries that never came. Both are counted, so that
//! what is absent is not taken for punctual.
//!
//! Pure; all moments are of the run's clock. Invariant: what is held is bounded by
//! [`WAITING_MAX`], and an event is held only from a failure to its next attempt.

use std::collections::HashMap;

use hdrhistogram::Histogram;
use posthaste_domain::RetrySchedule;

use crate::clock::{MILLISECOND, Nanos, SECOND};
use crate::record::{RetryRecord, histogram, record};
use crate::shared::PHASES;
use crate::units::floor;

/// Events that are held at most. Filled to seven eighths, a table of 2^21 places takes 69 MB.
pub const WAITING_MAX: usize = 1_835_008;
/// Moments of two processes, one of which counts in milliseconds, differ by as much.
const SLACK: Nanos = MILLISECOND;
/// The sink sees that a client has gone only when it gets a processor: the attempt may have ended
/// by so much earlier.
const SEEN_SLACK: Nanos = 50 * MILLISECOND;
/// No `Retry-After` moves a retry further.
const RETRY_AFTER_MAX: Nanos = 3600 * SECOND;

/// An attempt, as far as retries care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Try {
    /// The number of its event.
    pub sequence: u64,
    /// Whose event it is.
    pub tenant: u32,
    /// Which attempt at the event it is, from 1 on.
    pub number: u32,
    /// The phase that the event belongs to.
    pub phase: usize,
}

/// How a failed attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The sink ended it: at this moment, or a little later.
    Made(Nanos),
    /// The client did, and the sink saw it at this moment.
    Seen(Nanos),
}

/// A failed attempt whose successor has not come.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    number: u32,
    from: Nanos,
    to: Nanos,
}

/// Follows the retries of a run.
#[derive(Debug)]
pub struct Retries {
    schedule: RetrySchedule,
    // Invariant: at most `waiting_max`.
    waiting: HashMap<u64, Waiting>,
    waiting_max: usize,
    /// Until when a `Retry-After` holds a tenant.
    held: HashMap<u32, Nanos>,
    /// By phase of the events.
    lateness: [Histogram<u64>; PHASES],
    /// Of this interval.
    now: Histogram<u64>,
    counts: RetryRecord,
}

impl Retries {
    /// Nothing has failed yet.
    #[must_use]
    pub fn new(schedule: RetrySchedule) -> Self {
        Self::bounded(schedule, WAITING_MAX)
    }

    fn bounded(schedule: RetrySchedule, waiting_max: usize) -> Self {
        Self {
            schedule,
            waiting: HashMap::new(),
            waiting_max,
            held: HashMap::new(),
            lateness: std::array::from_fn(|_| histogram()),
            now: histogram(),
            counts: RetryRecord::default(),
        }
    }

    /// An attempt has failed, and its answer, if any, asked to be left alone for a while.
    pub fn failed(&mut self, tried: Try, end: End, retry_after_s: Option<u64>) {
        if tried.number == 0 || tried.number >= self.schedule.attempts_max() {
            // Without a number nothing can be told; after the last attempt there is no other.
            return;
        }
        let (first, last) = match end {
            End::Made(at) => (at.saturating_sub(SLACK), at),
            End::Seen(at) => (at.saturating_sub(SEEN_SLACK), at),
        };
        let step = self.step(tried.number);
        let jitter = floor(step as f64 * self.schedule.jitter());
        let asked = retry_after_s.unwrap_or(0).saturating_mul(SECOND).min(RETRY_AFTER_MAX);
        let (from, to) = (first + step.max(asked), last + (step + jitter).max(asked));
        if asked > 0 {
            let held = self.held.entry(tried.tenant).or_default();
            *held = (*held).max(last + asked);
        }
        if self.waiting.len() < self.waiting_max || self.waiting.contains_key(&tried.sequence) {
            self.waiting.insert(tried.sequence, Waiting { number: tried.number, from, to });
        } else {
            self.counts.not_followed += 1;
        }
    }

    /// The pause after the failure of attempt `number`, without its jitter.
    #[must_use]
    pub fn step(&self, number: u32) -> Nanos {
        self.schedule.base_delay_ms(number).saturating_mul(MILLISECOND)
    }

    /// An attempt has come, its first byte at this moment.
    pub fn arrived(&mut self, tried: Try, at: Nanos) {
        let Some(before) = self.waiting.remove(&tried.sequence) else {
            self.counts.unmatched += u64::from(tried.number > 1);
            return;
        };
        if tried.number != before.number + 1 {
            // The system does not know how that attempt ended, and makes it again.
            self.counts.repeated += 1;
            return;
        }
        self.counts.seen += 1;
        if at < before.from {
            self.counts.early += 1;
            self.counts.earliest_ns = self.counts.earliest_ns.max(before.from - at);
        }
        let held = self.held.get(&tried.tenant).copied().unwrap_or(0);
        let late = at.saturating_sub(before.to.max(held));
        record(&mut self.lateness[tried.phase.min(PHASES - 1)], late);
        record(&mut self.now, late);
    }

    /// How late retries of a phase's events were.
    #[must_use]
    pub const fn lateness(&self, phase: usize) -> &Histogram<u64> {
        &self.lateness[phase]
    }

    /// Takes what came since this was asked last.
    pub fn take_interval(&mut self) -> Histogram<u64> {
        std::mem::replace(&mut self.now, histogram())
    }

    /// All that was counted, as things stand at this moment.
    #[must_use]
    pub fn record(&self, now: Nanos) -> RetryRecord {
        let late = self.waiting.values().filter(|waiting| waiting.to < now);
        RetryRecord {
            awaited: self.waiting.len() as u64,
            overdue: late.clone().count() as u64,
            overdue_max_ns: late.map(|waiting| now - waiting.to).max().unwrap_or(0),
            ..self.counts
        }
    }

    /// What was counted, without a look at every event that is held.
    #[must_use]
    pub const fn counts(&self) -> RetryRecord {
        self.counts
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STEP: Nanos = SECOND;

    fn retries() -> Retries {
        Retries::new(RetrySchedule::try_new(&[1000, 4000], 0.1, 5).unwrap())
    }

    const fn attempt(number: u32) -> Try {
        Try { sequence: 7, tenant: 0, number, phase: 1 }
    }

    /// What becomes of a second attempt that comes so long after the end of the first.
    fn after(end: fn(Nanos) -> End, asked: Option<u64>, pause: Nanos) -> (u64, Nanos) {
        let mut retries = retries();
        retries.failed(attempt(1), end(10 * SECOND), asked);
        retries.arrived(attempt(2), 10 * SECOND + pause);
        assert_eq!(retries.record(u64::MAX), RetryRecord { awaited: 0, ..retries.counts() });
        assert_eq!(retries.counts().seen, 1);
        (retries.counts().early, retries.lateness(1).max())
    }

    #[test]
    fn a_retry_has_a_window() {
        assert_eq!(after(End::Made, None, STEP), (0, 0));
        assert_eq!(after(End::Made, None, STEP - SLACK), (0, 0));
        assert_eq!(after(End::Made, None, STEP - SLACK - 1), (1, 0));
        assert_eq!(after(End::Made, None, STEP + STEP / 10), (0, 0));
        let (early, late) = after(End::Made, None, STEP + STEP / 10 + 20 * MILLISECOND);
        assert_eq!(early, 0);
        assert!(late.abs_diff(20 * MILLISECOND) < MILLISECOND / 10, "{late}");
        assert_eq!(after(End::Seen, None, STEP - SEEN_SLACK), (0, 0));
        assert_eq!(after(End::Seen, None, STEP - SEEN_SLACK - 1), (1, 0));
    }

    #[test]
    fn a_retry_after_moves_the_beginning_but_never_before_the_schedules() {
        assert_eq!(after(End::Made, Some(3), 3 * SECOND - SLACK - 1), (1, 0));
        assert_eq!(after(End::Made, Some(3), 3 * SECOND), (0, 0));
        assert_eq!(after(End::Made, Some(0), STEP - SLACK - 1), (1, 0));
        assert_eq!(after(End::Made, Some(u64::MAX), 3600 * SECOND), (0, 0), "an hour at most");
        assert_eq!(after(End::Made, Some(7200), 3600 * SECOND - SLACK - 1), (1, 0));
    }

    /// One answer holds all events of its tenant, so that those are not late meanwhile.
    #[test]
    fn a_retry_after_holds_the_tenants_other_retries() {
        let mut retries = retries();
        let others = |tenant| Try { sequence: 100 + u64::from(tenant), tenant, ..attempt(1) };
        for tenant in [0, 1] {
            retries.failed(others(tenant), End::Made(0), None);
        }
        retries.failed(attempt(1), End::Made(0), Some(10));
        for tenant in [0, 1] {
            retries.arrived(Try { number: 2, ..others(tenant) }, 10 * SECOND);
        }
        assert_eq!((retries.counts().early, retries.lateness(1).len()), (0, 2));
        assert_eq!(retries.lateness(1).count_between(0, MILLISECOND), 1, "tenant 1 is not held");
    }

    #[test]
    fn later_steps_follow_their_schedule() {
        let mut retries = retries();
        retries.failed(attempt(1), End::Made(0), None);
        retries.arrived(attempt(2), STEP);
        retries.failed(attempt(2), End::Made(STEP), None);
        retries.arrived(attempt(3), STEP + 3 * SECOND);
        retries.failed(attempt(3), End::Made(5 * SECOND), None);
        retries.arrived(attempt(4), 9 * SECOND);
        let counts = retries.counts();
        assert_eq!((counts.seen, counts.early), (3, 1), "the third came a second before its step");
        assert!(counts.earliest_ns.abs_diff(SECOND) <= SLACK);
        retries.failed(attempt(5), End::Made(20 * SECOND), None);
        assert_eq!(retries.record(0).awaited, 0, "nothing follows the last attempt");
    }

    /// A crash: the attempt is made again at once, under its own number. Nothing is early.
    #[test]
    fn what_was_cut_off_is_no_retry() {
        let mut retries = retries();
        retries.failed(attempt(1), End::Made(0), None);
        retries.arrived(attempt(1), 1);
        retries.arrived(attempt(3), 2);
        let counts = retries.counts();
        assert_eq!((counts.seen, counts.early), (0, 0));
        assert_eq!((counts.repeated, counts.unmatched), (1, 1));
    }

    #[test]
    fn what_never_comes_is_counted() {
        let mut retries = retries();
        retries.failed(attempt(1), End::Made(0), None);
        retries.failed(Try { sequence: 8, ..attempt(1) }, End::Made(100 * SECOND), None);
        let told = retries.record(50 * SECOND);
        assert_eq!((told.awaited, told.overdue), (2, 1));
        assert_eq!(told.overdue_max_ns, 50 * SECOND - STEP - STEP / 10);
    }

    #[test]
    fn memory_is_bounded_and_what_is_not_followed_is_said() {
        let mut retries = Retries::bounded(RetrySchedule::default(), 2);
        for sequence in [1, 2, 3, 2] {
            retries.failed(Try { sequence, ..attempt(1) }, End::Made(0), None);
        }
        assert_eq!((retries.record(0).awaited, retries.counts().not_followed), (2, 1));
        // A table of so many is filled to the most that it takes before it doubles.
        let full: HashMap<u64, Waiting> = HashMap::with_capacity(WAITING_MAX);
        assert_eq!(full.capacity(), WAITING_MAX);
        assert_eq!(size_of::<(u64, Waiting)>(), 32);
    }

    proptest! {
        /// For all schedules, attempts and chances: what the domain's own schedule makes of a
        /// failure is neither early nor late.
        #[test]
        fn the_domains_own_delays_are_punctual(
            delays in proptest::collection::vec(1_u64..100_000, 1..6),
            jitter in 0.0_f64..=1.0, number in 1_u32..9, chance: u64, ended in 0_u64..1 << 40,
        ) {
            let schedule = RetrySchedule::try_new(&delays, jitter, 10).unwrap();
            let mut retries = Retries::new(schedule.clone());
            retries.failed(attempt(number), End::Made(ended), None);
            let due = ended + schedule.delay_ms(number, chance) * MILLISECOND;
            retries.arrived(attempt(number + 1), due);
            prop_assert_eq!((retries.counts().early, retries.lateness(1).max()), (0, 0));
        }
    }
}
