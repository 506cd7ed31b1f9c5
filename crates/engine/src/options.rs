//! What a tenant's configuration says about how one of its endpoints is to be attempted. Plain
//! data, the engine's own words; the driver makes it from what it has stored.
//!
//! Refuses nothing: a limit that is too small to make progress is taken as the smallest that does.

use posthaste_domain::{RetrySchedule, Timestamp};

/// The most that a tenant may weigh against others.
pub const WEIGHT_MAX: u32 = 100;

/// A limit on how often attempts start, kept exactly and smoothed: so many in so long means that
/// they start that far apart, not that all of them start at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    interval_us: u64,
}

impl Rate {
    /// So many attempts in so many milliseconds; a rate of none at all is taken as of one, since
    /// what must not be attempted is paused instead.
    #[must_use]
    pub fn new(attempts: u32, per_ms: u64) -> Self {
        let per_us = per_ms.max(1).saturating_mul(1_000);
        Self { interval_us: per_us.div_ceil(u64::from(attempts.max(1))) }
    }

    /// So many attempts a second.
    #[must_use]
    pub fn per_second(attempts: u32) -> Self {
        Self::new(attempts, 1_000)
    }

    /// How far attempts are apart, in microseconds: at least 1.
    #[must_use]
    pub const fn interval_us(self) -> u64 {
        self.interval_us
    }
}

/// How an endpoint is to be attempted.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Who shares a receiver: endpoints of the same number are one host; 0 where nobody does.
    pub host: u64,
    /// How many turns the tenant gets while others get one, from 1 to [`WEIGHT_MAX`]. Of the
    /// tenant: what was told last of any of its endpoints counts.
    pub weight: u32,
    /// Attempts in flight at a time, where the tenant wants fewer than the settings allow.
    pub in_flight_max: Option<usize>,
    /// How often attempts to this endpoint start.
    pub rate: Option<Rate>,
    /// How often attempts to all endpoints of the tenant start. Of the tenant, as `weight` is.
    pub tenant_rate: Option<Rate>,
    /// When failed deliveries are tried again and how often, where it is not as in the settings.
    pub schedule: Option<RetrySchedule>,
    /// Whether nothing is to be attempted for now; everything is kept.
    pub paused: bool,
    /// When somebody last said that the endpoint is well again, whatever we think of it;
    /// [`Timestamp::ZERO`] where nobody ever did.
    pub lifted_at: Timestamp,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            host: 0,
            weight: 1,
            in_flight_max: None,
            rate: None,
            tenant_rate: None,
            schedule: None,
            paused: false,
            lifted_at: Timestamp::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A rate is never rounded up: the time between two attempts is at least what it says.
    #[test]
    fn a_rate_is_a_time_between_attempts() {
        assert_eq!(Rate::per_second(1).interval_us(), 1_000_000);
        assert_eq!(Rate::per_second(3).interval_us(), 333_334);
        assert_eq!(Rate::new(100, 60_000).interval_us(), 600_000);
        assert_eq!(Rate::per_second(u32::MAX).interval_us(), 1);
        assert_eq!(Rate::new(0, 0).interval_us(), 1_000);
        assert!(Rate::new(1, u64::MAX).interval_us() > u64::MAX / 2);
    }
}
