//! Whose turn it is to read lists: no tenant's reading takes the machine from the others.
//!
//! A page by status may have to pass by a million events that have another one, and whoever asks
//! for it may do so on a thousand connections at once. So a list is read in steps; a tenant has one
//! of them at a time, in the order of asking, and all of them together have a share of one core
//! ([`SHARE`]). Lists that go on behind their first step take turns, whosever they are: one step of
//! all of them at a time.
//!
//! A turn ends with its step and not with whoever waits for it: who hangs up and asks again gains
//! nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use foldhash::fast::RandomState;
use posthaste_domain::TenantId;
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};

/// A tenant's lists are read in one part of so many of the time: with two cores an eighth of the
/// machine, at which the others' answers keep their pace (`bench/lists.py`).
const SHARE: u64 = 4;
/// So much of the share is there at once, in microseconds of what it is paid by: 25 ms of reading,
/// some fifty pages that need no search.
const BURST_US: u64 = 100_000;
/// Tenants that are known before those who have nothing to pay any more are forgotten.
const KNOWN_MIN: usize = 64;

type Gate = Arc<tokio::sync::Mutex<Budget>>;

/// See the module's words.
pub(crate) struct Turns {
    known: Mutex<Known>,
    long: Arc<Semaphore>,
}

#[derive(Default)]
struct Known {
    gates: HashMap<TenantId, Gate, RandomState>,
    /// With so many, the idle ones go.
    full_at: usize,
}

/// What a tenant has read, and has paid for.
#[derive(Debug, Default)]
struct Budget {
    /// When all that was read is paid for, in microseconds.
    paid_us: u64,
}

impl Budget {
    /// How long to wait before more may be read.
    const fn wait_us(&self, now_us: u64) -> u64 {
        self.paid_us.saturating_sub(now_us.saturating_add(BURST_US))
    }

    fn charge(&mut self, now_us: u64, spent_us: u64) {
        self.paid_us = self.paid_us.max(now_us).saturating_add(spent_us.saturating_mul(SHARE));
    }
}

/// The right to read one step.
pub(crate) struct Turn {
    budget: OwnedMutexGuard<Budget>,
    _long: Option<OwnedSemaphorePermit>,
}

impl Turn {
    /// Ends the turn, which was taken from one time to another.
    pub(crate) fn end(mut self, began_us: u64, ended_us: u64) {
        self.budget.charge(ended_us, ended_us.saturating_sub(began_us));
    }
}

impl Default for Turns {
    fn default() -> Self {
        let known = Known { gates: HashMap::default(), full_at: KNOWN_MIN };
        Self { known: Mutex::new(known), long: Arc::new(Semaphore::new(1)) }
    }
}

impl Turns {
    /// Waits for a turn of this tenant; `is_long` where it is not the first of its list. Where the
    /// tenant has something to pay it waits by tokio's timer, which the runtime must have.
    pub(crate) async fn take(
        &self,
        tenant: &TenantId,
        is_long: bool,
        clock: impl Fn() -> u64,
    ) -> Turn {
        let budget = self.gate(tenant, clock()).lock_owned().await;
        match budget.wait_us(clock()) {
            0 => {}
            wait_us => tokio::time::sleep(Duration::from_micros(wait_us)).await,
        }
        let long = match is_long {
            // It is never closed.
            true => Arc::clone(&self.long).acquire_owned().await.ok(),
            false => None,
        };
        Turn { budget, _long: long }
    }

    fn gate(&self, tenant: &TenantId, now_us: u64) -> Gate {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gate) = known.gates.get(tenant) {
            return Arc::clone(gate);
        }
        if known.gates.len() >= known.full_at {
            known.gates.retain(|_, gate| {
                Arc::strong_count(gate) > 1
                    || gate.try_lock().is_ok_and(|budget| budget.paid_us > now_us)
            });
            known.full_at = KNOWN_MIN.max(2 * known.gates.len());
        }
        Arc::clone(known.gates.entry(tenant.clone()).or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use super::*;

    fn tenant(name: &str) -> TenantId {
        TenantId::try_new(name).unwrap()
    }

    /// Whether this is not there yet.
    async fn waits<T>(turn: impl Future<Output = T>) -> bool {
        tokio::time::timeout(Duration::from_millis(1), turn).await.is_err()
    }

    #[test]
    fn a_burst_is_free_and_then_a_share_is_kept() {
        let mut budget = Budget::default();
        let mut now = 1_000_000;
        let mut read = 0;
        let end = now + 10_000_000;
        loop {
            now += budget.wait_us(now);
            if now >= end {
                break;
            }
            now += 1_000;
            read += 1_000;
            budget.charge(now, 1_000);
        }
        let expected = 10_000_000 / SHARE + BURST_US / SHARE;
        assert!(read <= expected + 2_000 && read + 2_000 >= expected, "{read} of {expected}");
        // What is not used is not kept beyond the burst.
        now += 3_600_000_000;
        budget.charge(now, 1);
        assert_eq!(budget.paid_us, now + SHARE);
        budget.charge(now, u64::MAX);
        assert!(budget.wait_us(u64::MAX) == 0 && budget.wait_us(0) > 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenant_has_one_turn_at_a_time_and_holds_up_no_other() {
        let (turns, now) = (Turns::default(), || 0);
        let [acme, other] = ["acme", "other"].map(tenant);
        let turn = turns.take(&acme, false, now).await;
        assert!(waits(turns.take(&acme, false, now)).await);
        turns.take(&other, false, now).await.end(0, 10);
        // The turn goes on after its list was given up, and who waited for the next has gone.
        turn.end(0, 10);
        turns.take(&acme, false, now).await.end(0, 10);
    }

    #[tokio::test(start_paused = true)]
    async fn long_lists_take_turns_whosever_they_are() {
        let (turns, now) = (Turns::default(), || 0);
        let [acme, other] = ["acme", "other"].map(tenant);
        let long = turns.take(&acme, true, now).await;
        assert!(waits(turns.take(&other, true, now)).await);
        turns.take(&other, false, now).await.end(0, 10);
        drop(long);
        turns.take(&other, true, now).await.end(0, 10);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_read_much_waits_and_nobody_else() {
        let began = tokio::time::Instant::now();
        let elapsed = || u64::try_from(began.elapsed().as_micros()).unwrap();
        let turns = Turns::default();
        let [acme, other] = ["acme", "other"].map(tenant);
        turns.take(&acme, false, elapsed).await.end(0, 1_000_000);
        turns.take(&other, true, elapsed).await.end(0, 0);
        assert_eq!(elapsed(), 0);
        turns.take(&acme, false, elapsed).await.end(0, 0);
        // To the millisecond, which is the timer's.
        assert_eq!(elapsed() / 1_000, (1_000_000 * (1 + SHARE) - BURST_US) / 1_000);
    }

    #[tokio::test]
    async fn who_owes_nothing_is_forgotten_and_who_does_is_not() {
        let (turns, clock) = (Turns::default(), AtomicU64::new(1));
        let now = || clock.load(Ordering::Relaxed);
        turns.take(&tenant("acme"), false, now).await.end(0, 1_000);
        for n in 0..10 * KNOWN_MIN {
            turns.take(&tenant(&format!("t-{n}")), false, now).await.end(1, 1);
        }
        let known = || turns.known.lock().unwrap().gates.len();
        assert!(known() <= KNOWN_MIN, "{}", known());
        assert!(turns.gate(&tenant("acme"), now()).lock().await.paid_us > now());
        clock.store(1_000_000, Ordering::Relaxed);
        for n in 0..2 * KNOWN_MIN {
            turns.take(&tenant(&format!("u-{n}")), false, now).await.end(1, 1);
        }
        assert_eq!(turns.gate(&tenant("acme"), now()).lock().await.paid_us, 0);
    }
}
