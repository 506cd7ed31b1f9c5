//! When a failed delivery is tried again.
//!
//! Chance comes in with the call. Refuses schedules without delays, attempts or sense.
//!
//! Invariant: a delay is never shorter than the schedule says; jitter only adds.

use std::sync::Arc;

use thiserror::Error;

/// The default delays after failures 1, 2, 3, 4, 5: 1, 2, 4, 8 and 16 minutes.
const DEFAULT_DELAYS_MS: [u64; 5] = [60_000, 120_000, 240_000, 480_000, 960_000];
/// The default number of attempts in a round, the first one included.
const DEFAULT_ATTEMPTS_MAX: u32 = 5;
/// The default jitter: up to 10 % on top of the delay, so that a retry is never early.
const DEFAULT_JITTER: f64 = 0.10;

/// Why a retry schedule makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
pub enum ScheduleError {
    /// No delay at all.
    #[error("a retry schedule needs at least one delay")]
    Empty,
    /// A delay out of 1 ms to 30 days.
    #[error("a retry delay of {0} ms is outside of 1 ms to 30 days")]
    Delay(u64),
    /// Attempts out of 1 to 100.
    #[error("{0} attempts are outside of 1 to 100")]
    Attempts(u32),
    /// Jitter out of 0 to 1.
    #[error("a jitter of {0} is outside of 0 to 1")]
    Jitter(f64),
}

/// Delays, jitter and the limit of attempts. Cheap to clone.
#[derive(Clone, Debug, PartialEq)]
pub struct RetrySchedule {
    // Invariant: not empty, each 1..=DELAY_MS_MAX.
    delays_ms: Arc<[u64]>,
    // Invariant: 0.0..=1.0.
    jitter: f64,
    // Invariant: 1..=ATTEMPTS_MAX.
    attempts_max: u32,
}

impl RetrySchedule {
    /// More attempts than this make no sense for a webhook and would make the log a burden.
    pub const ATTEMPTS_MAX: u32 = 100;
    /// No single delay above 30 days: rows would outlive their meaning.
    pub const DELAY_MS_MAX: u64 = 30 * 24 * 3_600_000;

    /// A schedule: after failure `n` the delay is the `n`-th, or the last one where there are
    /// fewer, plus up to `jitter` (a fraction of the delay).
    ///
    /// # Errors
    /// [`ScheduleError`] says which part is out of its range.
    pub fn try_new(
        delays_ms: &[u64],
        jitter: f64,
        attempts_max: u32,
    ) -> Result<Self, ScheduleError> {
        if delays_ms.is_empty() {
            return Err(ScheduleError::Empty);
        }
        if let Some(&bad) = delays_ms.iter().find(|d| !(1..=Self::DELAY_MS_MAX).contains(*d)) {
            return Err(ScheduleError::Delay(bad));
        }
        if !(0.0..=1.0).contains(&jitter) {
            return Err(ScheduleError::Jitter(jitter));
        }
        if !(1..=Self::ATTEMPTS_MAX).contains(&attempts_max) {
            return Err(ScheduleError::Attempts(attempts_max));
        }
        Ok(Self { delays_ms: delays_ms.into(), jitter, attempts_max })
    }

    /// How many attempts a round has at most, the first one included.
    #[must_use]
    pub const fn attempts_max(&self) -> u32 {
        self.attempts_max
    }

    /// The delays, in milliseconds.
    #[must_use]
    pub fn delays_ms(&self) -> &[u64] {
        &self.delays_ms
    }

    /// The jitter, as a fraction of the delay.
    #[must_use]
    pub const fn jitter(&self) -> f64 {
        self.jitter
    }

    /// The delay after failure number `failures` (from 1), without jitter, in milliseconds.
    #[must_use]
    pub fn base_delay_ms(&self, failures: u32) -> u64 {
        let index = (failures.max(1) - 1) as usize;
        self.delays_ms[index.min(self.delays_ms.len() - 1)]
    }

    /// The delay after failure number `failures` with jitter, in milliseconds.
    ///
    /// `chance` is uniform over all of `u64`. The result lies in `[base, base × (1 + jitter)]`.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "delays are at most 30 days, far below 2^53 ms, and the fraction is in 0..1"
    )]
    pub fn delay_ms(&self, failures: u32, chance: u64) -> u64 {
        let base = self.base_delay_ms(failures);
        let fraction = (chance >> 11) as f64 / (1_u64 << 53) as f64;
        base + (base as f64 * self.jitter * fraction) as u64
    }
}

impl Default for RetrySchedule {
    fn default() -> Self {
        Self {
            delays_ms: DEFAULT_DELAYS_MS.into(),
            jitter: DEFAULT_JITTER,
            attempts_max: DEFAULT_ATTEMPTS_MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_default_is_one_to_sixteen_minutes_and_five_attempts() {
        let schedule = RetrySchedule::default();
        let minutes: Vec<_> = (1..=6).map(|n| schedule.base_delay_ms(n) / 60_000).collect();
        assert_eq!(minutes, [1, 2, 4, 8, 16, 16]);
        assert_eq!(schedule.attempts_max(), 5);
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        assert_eq!(RetrySchedule::try_new(&[], 0.1, 5), Err(ScheduleError::Empty));
        assert_eq!(RetrySchedule::try_new(&[0], 0.1, 5), Err(ScheduleError::Delay(0)));
        assert_eq!(RetrySchedule::try_new(&[1], 1.5, 5), Err(ScheduleError::Jitter(1.5)));
        assert_eq!(RetrySchedule::try_new(&[1], 0.1, 0), Err(ScheduleError::Attempts(0)));
        assert!(RetrySchedule::try_new(&[1], f64::NAN, 1).is_err());
    }

    proptest! {
        /// For all schedules, failures and chances: never early, never beyond the jitter.
        #[test]
        fn a_delay_lies_in_its_window(
            delays in proptest::collection::vec(1_u64..RetrySchedule::DELAY_MS_MAX, 1..8),
            jitter in 0.0_f64..=1.0, failures in 1_u32..20, chance: u64,
        ) {
            let schedule = RetrySchedule::try_new(&delays, jitter, 5).unwrap();
            let base = schedule.base_delay_ms(failures);
            let delay = schedule.delay_ms(failures, chance);
            prop_assert!(delay >= base);
            #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
            let most = base as f64 * (1.0 + jitter);
            #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
            { prop_assert!(delay as f64 <= most); }
        }
    }
}
