//! The engine with a driver and a store that answer at once: what remains is the engine's own
//! cost, the making of its inputs included.
//!
//! A world is always as busy as it was at its start: whoever's delivery is done posts another one.
//! So a step costs the same however often it is measured, and every tenant has ready work at
//! every pick.
//!
//! `crates/engine/examples/cost.rs` asks other questions (a backlog many times what fits, payloads
//! read back) over whole runs; this asks what one step costs.

use std::collections::VecDeque;

use bytes::Bytes;
use posthaste_domain::{
    DeliveryKey, EndpointId, ErrorClass, Owed, OwedAs, Resolution, RetrySchedule, TenantId,
    Timestamp, Verdict,
};
use posthaste_engine::{Delivery, Effect, Engine, Input, Settings};

use crate::fixture::{self, EPOCH, PAYLOAD_BYTES};

/// Steps in one millisecond of the world's time.
const STEPS_A_MS: u64 = 10;
/// How long a retry waits: with [`STEPS_A_MS`], about ten thousand wait at any time.
const RETRY_AFTER_MS: u64 = 1_000;

/// An engine at work.
#[derive(Debug)]
pub struct World {
    engine: Engine,
    now: Timestamp,
    steps: u64,
    tenants: Vec<TenantId>,
    /// The number of each tenant's next event.
    next: Vec<u64>,
    payload: Bytes,
    failures: u32,
    in_flight: VecDeque<(Delivery, u32)>,
    delivered: u64,
}

impl World {
    /// So many tenants, each with `ready` deliveries, all of whose attempts succeed.
    #[must_use]
    pub fn new(tenants: u64, ready: u64) -> Self {
        Self::failing(tenants, ready, 0)
    }

    /// The same; the first `failures` attempts of each delivery fail.
    #[must_use]
    pub fn failing(tenants: u64, ready: u64, failures: u32) -> Self {
        let schedule = RetrySchedule::try_new(&[RETRY_AFTER_MS], 0.1, 5).expect("lawful");
        let mut world = Self {
            engine: Engine::new(Settings { schedule, ..Settings::default() }, 7),
            now: EPOCH,
            steps: 0,
            tenants: (0..tenants).map(fixture::tenant).collect(),
            next: (0..tenants).collect(),
            payload: fixture::payload(PAYLOAD_BYTES),
            failures,
            in_flight: VecDeque::new(),
            delivered: 0,
        };
        for _ in 0..ready {
            let arrived = (0..world.tenants.len()).map(|tenant| world.post(tenant)).collect();
            world.engine.handle(world.now, Input::Arrived(arrived));
        }
        world.obey();
        assert!(!world.in_flight.is_empty(), "nothing to do");
        world
    }

    /// One attempt from its outcome to the next order: the outcome goes in, its settlement is made
    /// durable, what is delivered is followed by an arrival, and the engine picks who is next.
    pub fn step(&mut self) {
        self.steps += 1;
        if self.steps.is_multiple_of(STEPS_A_MS) {
            self.now = self.now.plus_millis(1);
        }
        while self.in_flight.is_empty() {
            self.now = self.engine.next_wakeup().expect("retries are waiting").max(self.now);
            self.engine.on_wakeup(self.now);
            self.obey();
        }
        let Some((delivery, number)) = self.in_flight.pop_front() else { return };
        let verdict = if number > self.failures {
            Verdict::Delivered
        } else {
            Verdict::Failed { class: ErrorClass::ServerError, retry_after_ms: None }
        };
        let attempt = fixture::attempt(number, self.now, verdict);
        self.engine.handle(self.now, Input::Attempted { delivery, attempt });
        self.obey();
    }

    /// Deliveries done so far.
    #[must_use]
    pub const fn delivered(&self) -> u64 {
        self.delivered
    }

    /// The engine's own figures.
    #[must_use]
    pub fn stats(&self) -> posthaste_engine::Stats {
        self.engine.stats()
    }

    /// The next event of a tenant.
    fn post(&mut self, tenant: usize) -> Owed {
        let number = self.next[tenant];
        self.next[tenant] += self.tenants.len() as u64;
        let key = DeliveryKey {
            tenant: self.tenants[tenant].clone(),
            event: fixture::event(number),
            endpoint: EndpointId::DEFAULT,
        };
        let payload = Some(self.payload.clone());
        Owed { key, round: 0, attempts: 0, interrupted: 0, owed_as: OwedAs::Fresh, payload }
    }

    /// Carries out every order, until there is none.
    fn obey(&mut self) {
        while let Some(effect) = self.engine.poll_effect() {
            let answer = match effect {
                Effect::Attempt { delivery, number, .. } => {
                    self.in_flight.push_back((delivery, number));
                    continue;
                }
                Effect::Settle { delivery, settlement } => {
                    if settlement.resolution == Resolution::Delivered {
                        self.delivered += 1;
                        let number = fixture::number(settlement.key.event);
                        let tenant = number % self.tenants.len() as u64;
                        let arrival = self.post(usize::try_from(tenant).expect("an index"));
                        self.engine.handle(self.now, Input::Arrived(vec![arrival]));
                    }
                    Input::Settled { delivery }
                }
                Effect::LoadPayload { delivery, .. } => {
                    Input::PayloadLoaded { delivery, payload: Some(self.payload.clone()) }
                }
                // The store has nothing that was not handed over.
                Effect::ReadTimers { .. } => Input::TimersRead { owed: Vec::new(), next: None },
                Effect::ReadOptions { tenant, endpoint } => {
                    Input::OptionsRead { tenant, endpoint, options: Box::default() }
                }
                Effect::ReadBacklog { tenant, endpoint, .. } => {
                    Input::BacklogRead { tenant, endpoint, owed: Vec::new(), exhausted: true }
                }
            };
            self.engine.handle(self.now, answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For worlds of one and of many tenants: each step delivers one, nothing is refused for want
    /// of room, and no invariant breaks. Else the benches would measure something else.
    #[test]
    fn a_step_is_a_delivery() {
        for (tenants, ready) in [(1, 200), (1_000, 2), (10_000, 2)] {
            let mut world = World::new(tenants, ready);
            (0..5_000).for_each(|_| world.step());
            assert_eq!(world.delivered(), 5_000);
            let stats = world.stats();
            assert_eq!((stats.refused, stats.invariant_violations), (0, 0), "{tenants}");
            assert_eq!(stats.held, tenants * ready, "{tenants}");
        }
    }

    /// With one failure each, every second step delivers, once as many retries wait as will.
    #[test]
    fn a_failed_attempt_comes_back_as_a_retry() {
        let mut world = World::failing(100, 200, 1);
        (0..40_000).for_each(|_| world.step());
        let before = world.delivered();
        (0..20_000).for_each(|_| world.step());
        let share = world.delivered() - before;
        assert!((9_500..=10_500).contains(&share), "{share}");
        assert_eq!(world.stats().invariant_violations, 0);
    }
}
