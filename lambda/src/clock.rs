//! The one place that reads clocks.
//!
//! A function is frozen between two events, so that a monotonic clock would stand still: times are
//! the wall clock's, and never go backwards within a process.

#![expect(clippy::disallowed_methods, reason = "this module is where clocks are read")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use posthaste_domain::Timestamp;

/// The process's clock.
#[derive(Debug, Default)]
pub struct Clock {
    last_ms: AtomicU64,
}

impl Clock {
    /// How long until a time by the wall clock, in Unix milliseconds.
    #[must_use]
    pub fn until_ms(&self, unix_ms: u64) -> Duration {
        Duration::from_millis(unix_ms.saturating_sub(wall_ms()))
    }
}

impl posthaste_api::Clock for Clock {
    fn now(&self) -> Timestamp {
        let now_ms = wall_ms();
        Timestamp::from_millis(now_ms.max(self.last_ms.fetch_max(now_ms, Ordering::Relaxed)))
    }

    fn wall(&self) -> Timestamp {
        Timestamp::from_millis(wall_ms())
    }
}

fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Measures one event.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// From now on.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Milliseconds since, to the microsecond.
    #[must_use]
    pub fn millis(self) -> f64 {
        let micros = u32::try_from(self.0.elapsed().as_micros()).unwrap_or(u32::MAX);
        f64::from(micros) / 1000.0
    }
}

#[cfg(test)]
mod tests {
    use posthaste_api::Clock as _;

    use super::*;

    #[test]
    fn time_does_not_go_back() {
        let clock = Clock { last_ms: AtomicU64::new(u64::MAX / 2) };
        assert_eq!(clock.now(), Timestamp::from_millis(u64::MAX / 2));
        assert!(clock.wall() < clock.now());
        assert_eq!(clock.until_ms(0), Duration::ZERO);
        assert!(clock.until_ms(u64::MAX) > Duration::from_secs(60));
    }
}
