//! The one place that reads a clock: nanoseconds since the generator began, and the calendar.
//!
//! Everything that decides anything (pacer, schedules, behaviours) takes a moment as an argument,
//! so that tests run in virtual time. Invariant: moments of one [`Clock`] never go backwards, and
//! clones of it agree, on whatever thread.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use posthaste_domain::Timestamp;

/// Nanoseconds since the run's clock was made. 64 bits of them last for 584 years.
pub type Nanos = u64;

/// One second.
pub const SECOND: Nanos = 1_000_000_000;
/// One millisecond.
pub const MILLISECOND: Nanos = 1_000_000;

/// The run's clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock that begins now.
    #[expect(clippy::disallowed_methods, reason = "this is where the generator's time comes from")]
    #[must_use]
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// The present moment.
    #[must_use]
    pub fn now(&self) -> Nanos {
        nanos(self.origin.elapsed())
    }
}

/// The calendar's time: for file names, for signatures, never for a latency.
#[expect(clippy::disallowed_methods, reason = "this is where the generator's time comes from")]
#[must_use]
pub fn calendar() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// A duration as nanoseconds; one beyond 584 years becomes the longest.
#[must_use]
pub fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Nanoseconds as seconds.
#[must_use]
pub fn seconds(nanos: Nanos) -> f64 {
    nanos as f64 / 1e9
}
