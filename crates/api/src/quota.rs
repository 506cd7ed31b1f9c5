//! How many events a tenant may post: so many a second, with one second's worth at once.
//!
//! A virtual schedule for each tenant (GCRA): every event moves the time at which the tenant is
//! paid up by one interval, and a request is taken while that time is at most a second ahead.
//! Nothing is counted in windows, so no window's edge lets twice the quota through.
//!
//! Invariants: no tenant waits for what another one posts · only tenants that are ahead of their
//! time are remembered, and there cannot be more of them than tenants that exist.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};

use posthaste_domain::{TenantId, Timestamp};

use crate::refusal::Refusal;

const SECOND_US: u64 = 1_000_000;
/// How far ahead a tenant may be, and so how much may come at once.
const AHEAD_US_MAX: u64 = SECOND_US;
/// The fewest tenants at which those that are not ahead any more are forgotten.
const TENANTS_MIN: usize = 1024;

/// The schedules of all tenants.
#[derive(Debug)]
pub(crate) struct Quota {
    // Invariant: at least 1, because there are at most a million events a second.
    interval_us: u64,
    schedules: Mutex<Schedules>,
}

#[derive(Debug)]
struct Schedules {
    /// Until when each tenant is ahead, in Unix microseconds.
    paid_until_us: HashMap<TenantId, u64>,
    /// At this size those who are not ahead are forgotten.
    sweep_at: usize,
}

impl Quota {
    /// `events_per_s` for each tenant; more than a million is a million.
    pub(crate) fn new(events_per_s: NonZeroU32) -> Self {
        let interval_us = (SECOND_US / u64::from(events_per_s.get())).max(1);
        let paid_until_us = HashMap::new();
        let schedules = Schedules { paid_until_us, sweep_at: TENANTS_MIN };
        Self { interval_us, schedules: Mutex::new(schedules) }
    }

    /// Takes `events` at `now`, or refuses all of them and says when they fit.
    ///
    /// More than fits at once is taken from a tenant that is not ahead, and paid for afterwards:
    /// otherwise a batch longer than the quota would never be taken.
    pub(crate) fn take(
        &self,
        tenant: &TenantId,
        events: usize,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let now_us = now.as_millis().saturating_mul(1000);
        let cost_us = self.interval_us.saturating_mul(u64::try_from(events).unwrap_or(u64::MAX));
        let ahead_us_max = AHEAD_US_MAX - cost_us.min(AHEAD_US_MAX);
        let mut schedules = self.schedules.lock().unwrap_or_else(PoisonError::into_inner);
        let paid_until_us =
            schedules.paid_until_us.get(tenant).map_or(now_us, |us| now_us.max(*us));
        let ahead_us = paid_until_us - now_us;
        if ahead_us > ahead_us_max {
            let retry_after_s = (ahead_us - ahead_us_max).div_ceil(SECOND_US);
            return Err(Refusal::OverQuota { retry_after_s });
        }
        schedules.remember(tenant, paid_until_us.saturating_add(cost_us), now_us);
        Ok(())
    }
}

impl Schedules {
    fn remember(&mut self, tenant: &TenantId, paid_until_us: u64, now_us: u64) {
        if let Some(known) = self.paid_until_us.get_mut(tenant) {
            *known = paid_until_us;
            return;
        }
        if self.paid_until_us.len() >= self.sweep_at {
            self.paid_until_us.retain(|_, until_us| *until_us > now_us);
            self.sweep_at = TENANTS_MIN.max(2 * self.paid_until_us.len());
        }
        self.paid_until_us.insert(tenant.clone(), paid_until_us);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn quota(events_per_s: u32) -> Quota {
        Quota::new(NonZeroU32::new(events_per_s).unwrap())
    }

    fn tenant(number: usize) -> TenantId {
        TenantId::try_new(&format!("tenant-{number}")).unwrap()
    }

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    #[test]
    fn a_second_of_events_comes_at_once_and_then_one_at_a_time() {
        let quota = quota(10);
        let take = |events, at_ms| quota.take(&tenant(0), events, NOW.plus_millis(at_ms));
        assert_eq!(take(10, 0), Ok(()));
        assert_eq!(take(1, 0), Err(Refusal::OverQuota { retry_after_s: 1 }));
        assert_eq!(take(1, 99), Err(Refusal::OverQuota { retry_after_s: 1 }));
        assert_eq!(take(1, 100), Ok(()));
        assert_eq!(take(1, 100), Err(Refusal::OverQuota { retry_after_s: 1 }));
        assert_eq!(quota.take(&tenant(1), 10, NOW), Ok(()), "another tenant has its own");
    }

    #[test]
    fn more_than_fits_at_once_is_taken_when_nothing_is_owed() {
        let quota = quota(10);
        let take = |events, at_ms| quota.take(&tenant(0), events, NOW.plus_millis(at_ms));
        assert_eq!(take(500, 0), Ok(()));
        assert_eq!(take(1, 0), Err(Refusal::OverQuota { retry_after_s: 50 }));
        assert_eq!(take(500, 49_999), Err(Refusal::OverQuota { retry_after_s: 1 }));
        assert_eq!(take(500, 50_000), Ok(()));
    }

    /// For all numbers of tenants that come and go: only those that are ahead are remembered.
    #[test]
    fn tenants_that_are_not_ahead_are_forgotten() {
        let quota = quota(10);
        for number in 0..10 * TENANTS_MIN {
            let at = NOW.plus_millis(u64::try_from(number).unwrap());
            assert_eq!(quota.take(&tenant(number), 1, at), Ok(()));
        }
        assert!(quota.schedules.lock().unwrap().paid_until_us.len() <= TENANTS_MIN);
    }

    proptest! {
        /// For all sequences of requests: in no span of time is more taken than its quota and one
        /// second's worth, and who waits as long as it is told is taken.
        #[test]
        fn the_quota_holds_and_the_wait_is_true(
            rate in 1_u32..200,
            steps in prop::collection::vec((0_u64..400, 1_usize..20), 1..100),
        ) {
            let quota = quota(rate);
            let (mut now, mut taken) = (NOW, 0);
            let fits = usize::try_from(rate).unwrap();
            for (wait_ms, events) in steps {
                now = now.plus_millis(wait_ms);
                let events = events.min(fits);
                match quota.take(&tenant(0), events, now) {
                    Ok(()) => taken += events,
                    Err(Refusal::OverQuota { retry_after_s }) => {
                        now = now.plus_millis(retry_after_s * 1000);
                        prop_assert_eq!(quota.take(&tenant(0), events, now), Ok(()));
                        taken += events;
                    }
                    Err(other) => prop_assert!(false, "{other:?}"),
                }
                // The interval is in whole microseconds, so the rate may be higher by a hair.
                let passed_us = now.millis_since(NOW) * 1000;
                let allowed = (passed_us + AHEAD_US_MAX) / quota.interval_us;
                prop_assert!(u64::try_from(taken).unwrap() <= allowed, "{taken} of {allowed}");
            }
        }
    }
}
