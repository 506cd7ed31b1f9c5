//! The one place that reads clocks.
//!
//! [`Clock::now`] is what timers, ids and records use: it follows the wall clock but never goes
//! backwards and never jumps. A step of the wall clock is slewed in (at most 10 % faster or
//! slower), so that an NTP step of an hour neither fires every retry early nor freezes them.
//! [`Clock::wall`] is the wall clock as it stands, for signatures, whose receivers compare it with
//! their own.

#![expect(clippy::disallowed_methods, reason = "this module is where clocks are read")]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use posthaste_domain::Timestamp;

/// The slew rate: one part in ten of the time that passed.
const SLEW_DIVISOR: i64 = 10;
/// Differences below this are left alone: two clocks never agree to the millisecond.
const SLEW_THRESHOLD_US: i64 = 2_000;
/// How often the difference is looked at.
const SLEW_EVERY_US: i64 = 250_000;

/// The process's clock. Cheap to clone; all clones agree.
#[derive(Clone, Debug)]
pub struct Clock {
    start: Instant,
    slewed: Arc<Slewed>,
}

/// Unix time made of monotonic time. Without a lock: it is read several times a delivery.
#[derive(Debug)]
struct Slewed {
    /// Unix microseconds at monotonic zero.
    unix_us: AtomicI64,
    /// Monotonic microseconds of the last look at the wall clock.
    looked_us: AtomicI64,
    /// The latest time given out, in Unix milliseconds.
    last_ms: AtomicU64,
}

impl Clock {
    /// A clock that starts at the wall clock's time.
    #[must_use]
    pub fn start() -> Self {
        Self { start: Instant::now(), slewed: Arc::new(Slewed::new(unix_us())) }
    }

    /// The time by which everything is scheduled and recorded; never goes backwards.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let mono_us = i64::try_from(self.start.elapsed().as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_millis(self.slewed.now_ms(mono_us, unix_us))
    }

    /// The wall clock as it stands.
    #[must_use]
    pub fn wall(&self) -> Timestamp {
        Timestamp::from_millis(u64::try_from(unix_us() / 1000).unwrap_or(0))
    }

    /// Microseconds since the process started, monotonic.
    #[must_use]
    pub fn monotonic_us(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// How long until `at`; zero where it has passed.
    #[must_use]
    pub fn until(&self, at: Timestamp) -> Duration {
        Duration::from_millis(at.millis_since(self.now()))
    }
}

impl posthaste_api::Clock for Clock {
    fn now(&self) -> Timestamp {
        Self::now(self)
    }

    fn wall(&self) -> Timestamp {
        Self::wall(self)
    }
}

impl posthaste_delivery::Clock for Clock {
    fn now(&self) -> Timestamp {
        Self::now(self)
    }

    fn wall(&self) -> Timestamp {
        Self::wall(self)
    }

    fn monotonic_us(&self) -> u64 {
        Self::monotonic_us(self)
    }
}

impl Slewed {
    const fn new(unix_us: i64) -> Self {
        Self {
            unix_us: AtomicI64::new(unix_us),
            looked_us: AtomicI64::new(0),
            last_ms: AtomicU64::new(0),
        }
    }

    fn now_ms(&self, mono_us: i64, wall_us: impl Fn() -> i64) -> u64 {
        self.follow(mono_us, wall_us);
        let us = mono_us.saturating_add(self.unix_us.load(Ordering::Relaxed));
        let ms = u64::try_from(us / 1000).unwrap_or(0);
        let last = self.last_ms.load(Ordering::Relaxed);
        if ms <= last {
            return last;
        }
        ms.max(self.last_ms.fetch_max(ms, Ordering::Relaxed))
    }

    /// Moves towards the wall clock by at most a tenth of the time since the last look. A move
    /// back is hidden by `last_ms`, which stands still until time has caught up.
    fn follow(&self, mono_us: i64, wall_us: impl Fn() -> i64) {
        let looked_us = self.looked_us.load(Ordering::Relaxed);
        let passed_us = mono_us - looked_us;
        if passed_us < SLEW_EVERY_US {
            return;
        }
        let won = self.looked_us.compare_exchange(
            looked_us,
            mono_us,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        // Of several threads that find the look overdue, one takes it.
        if won.is_err() {
            return;
        }
        let difference = wall_us() - (mono_us + self.unix_us.load(Ordering::Relaxed));
        if difference.abs() > SLEW_THRESHOLD_US {
            let most = passed_us / SLEW_DIVISOR;
            self.unix_us.fetch_add(difference.clamp(-most, most), Ordering::Relaxed);
        }
    }
}

fn unix_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START_US: i64 = 1_795_000_000_000_000;

    /// For steps of an hour either way, looked at every 10 ms: time never goes back, and over a
    /// second runs 0.9 to 1.1 times as fast.
    #[test]
    fn a_step_of_the_wall_clock_is_slewed() {
        for step in [3_600_000_000_i64, -3_600_000_000] {
            let slewed = Slewed::new(START_US);
            let (mut last, mut second) = (0, 0);
            for tick in 0..6_000 {
                let mono = tick * 10_000;
                let now = slewed.now_ms(mono, || START_US + mono + step);
                assert!(now >= last, "{now} after {last}");
                last = now;
                if tick % 100 == 0 {
                    let ran = now - second;
                    assert!(tick == 0 || (875..=1125).contains(&ran), "a second took {ran} ms");
                    second = now;
                }
            }
            let drifted = last.abs_diff(u64::try_from(START_US / 1000).unwrap() + 59_990);
            assert!((5_900..=6_100).contains(&drifted), "a tenth of a minute, not {drifted} ms");
        }
    }

    #[test]
    fn a_small_difference_is_left_alone() {
        let slewed = Slewed::new(0);
        let now = slewed.now_ms(SLEW_EVERY_US, || SLEW_EVERY_US + SLEW_THRESHOLD_US);
        assert_eq!(now, 250);
    }
}
