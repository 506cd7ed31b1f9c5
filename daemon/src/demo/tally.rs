//! What the demo counts while it runs: posts, receipts, and the time between them.
//!
//! A receipt may come before the 201 of its post, since both leave after the same commit; whichever
//! is second finds the first and makes the latency.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hdrhistogram::Histogram;
use posthaste_domain::EventId;

/// Locks over the moments, so that threads seldom meet.
const LOCKS: usize = 16;
/// Microseconds with three digits: an hour at most.
const LATENCY_US_MAX: u64 = 3_600_000_000;

/// What the demo's tenants are like; as numbers, their places in arrays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Takes everything.
    Healthy,
    /// Fails the first two attempts of each event.
    Flaky,
    /// Takes nothing.
    Down,
}

impl Role {
    /// All of them, in the order in which they are shown.
    pub(super) const ALL: [Self; 3] = [Self::Healthy, Self::Flaky, Self::Down];

    /// The role's name, which its tenant has too.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Flaky => "flaky",
            Self::Down => "down",
        }
    }

    /// Whose the `n`-th event is: of twenty, sixteen go to the healthy tenant, three to the flaky
    /// one, one to the one that is down. Most events arrive at once, as they should.
    pub(super) const fn of(n: u64) -> Self {
        match n % 20 {
            3 | 9 | 15 => Self::Flaky,
            18 => Self::Down,
            _ => Self::Healthy,
        }
    }
}

/// Everything that is counted. Shared by all tasks.
#[derive(Debug)]
pub(super) struct Tally {
    of: [OfTenant; 3],
    moments: [Mutex<HashMap<EventId, Moment>>; LOCKS],
    refused: AtomicU64,
    first_refusal: Mutex<Option<String>>,
    verified: AtomicU64,
    unverified: AtomicU64,
}

#[derive(Debug)]
struct OfTenant {
    accepted: AtomicU64,
    received: AtomicU64,
    latency: Mutex<Histogram<u64>>,
}

/// The half of a latency that is known.
#[derive(Clone, Copy, Debug)]
enum Moment {
    PostedUs(u64),
    ReceivedUs(u64),
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            of: std::array::from_fn(|_| OfTenant {
                accepted: AtomicU64::new(0),
                received: AtomicU64::new(0),
                latency: Mutex::new(latencies()),
            }),
            moments: std::array::from_fn(|_| Mutex::default()),
            refused: AtomicU64::new(0),
            first_refusal: Mutex::default(),
            verified: AtomicU64::new(0),
            unverified: AtomicU64::new(0),
        }
    }
}

impl Tally {
    /// An event that was to be posted at `posted_us` got its 201.
    pub(super) fn accepted(&self, role: Role, event: EventId, posted_us: u64) {
        self.of[role as usize].accepted.fetch_add(1, Ordering::Relaxed);
        // What never arrives has no latency.
        if role != Role::Down {
            self.meet(role, event, Moment::PostedUs(posted_us));
        }
    }

    /// An event was received and answered with yes.
    pub(super) fn received(&self, role: Role, event: EventId, received_us: u64) {
        self.of[role as usize].received.fetch_add(1, Ordering::Relaxed);
        self.meet(role, event, Moment::ReceivedUs(received_us));
    }

    /// A post got no 201; the first reason is kept.
    pub(super) fn refused(&self, reason: impl FnOnce() -> String) {
        if self.refused.fetch_add(1, Ordering::Relaxed) == 0 {
            *lock(&self.first_refusal) = Some(reason());
        }
    }

    /// A delivery came in, and its signature was right, or not.
    pub(super) fn signed(&self, right: bool) {
        let counter = if right { &self.verified } else { &self.unverified };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Events that got a 201.
    pub(super) fn accepted_of(&self, role: Role) -> u64 {
        self.of[role as usize].accepted.load(Ordering::Relaxed)
    }

    /// Events that got a 201, over all tenants.
    pub(super) fn all_accepted(&self) -> u64 {
        Role::ALL.into_iter().map(|role| self.accepted_of(role)).sum()
    }

    /// Posts that got no 201, and the first reason.
    pub(super) fn refusals(&self) -> (u64, Option<String>) {
        (self.refused.load(Ordering::Relaxed), lock(&self.first_refusal).clone())
    }

    /// Deliveries whose signature was right, and those whose was not.
    pub(super) fn signatures(&self) -> (u64, u64) {
        (self.verified.load(Ordering::Relaxed), self.unverified.load(Ordering::Relaxed))
    }

    /// The latencies of a tenant's events, in microseconds, from the post to the receipt.
    pub(super) fn latencies(&self, role: Role) -> Histogram<u64> {
        lock(&self.of[role as usize].latency).clone()
    }

    fn meet(&self, role: Role, event: EventId, moment: Moment) {
        let place = usize::try_from(event.as_u128() % LOCKS as u128).unwrap_or(0);
        let other = match lock(&self.moments[place]).entry(event) {
            Entry::Vacant(vacant) => {
                vacant.insert(moment);
                return;
            }
            Entry::Occupied(known) => known.remove(),
        };
        let (posted, received) = match (other, moment) {
            (Moment::PostedUs(posted), Moment::ReceivedUs(received))
            | (Moment::ReceivedUs(received), Moment::PostedUs(posted)) => (posted, received),
            // The same half twice: a duplicate, which has no latency of its own.
            (Moment::PostedUs(_), Moment::PostedUs(_))
            | (Moment::ReceivedUs(_), Moment::ReceivedUs(_)) => return,
        };
        let latency = received.saturating_sub(posted).max(1);
        lock(&self.of[role as usize].latency).saturating_record(latency);
    }
}

fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("the bounds are lawful")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every step under a lock is one insertion or one record: nothing is left half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For both orders of post and receipt: one latency, and nothing left behind.
    #[test]
    fn whichever_half_comes_second_makes_the_latency() {
        let tally = Tally::default();
        tally.accepted(Role::Healthy, EventId::from_u128(1), 1_000);
        tally.received(Role::Healthy, EventId::from_u128(1), 3_000);
        tally.received(Role::Healthy, EventId::from_u128(2), 9_000);
        tally.accepted(Role::Healthy, EventId::from_u128(2), 5_000);
        let latencies = tally.latencies(Role::Healthy);
        assert_eq!(latencies.len(), 2);
        assert!((1_998..=2_002).contains(&latencies.min()), "{}", latencies.min());
        assert!((3_990..=4_010).contains(&latencies.max()), "{}", latencies.max());
        assert!(tally.moments.iter().all(|moments| moments.lock().unwrap().is_empty()));
    }

    #[test]
    fn twenty_events_are_sixteen_three_and_one() {
        let of = |role| (0..2000).filter(|n| Role::of(*n) == role).count();
        assert_eq!(Role::ALL.map(of), [1600, 300, 100]);
    }
}
