//! A driver and a store in plain code: every read is answered at once and truthfully, every
//! outcome is durable at once, and attempts end when a test says so. After each step the engine's
//! own invariants are checked, and that it accounts for everything that is owed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use posthaste_domain::{
    Attempt, DeliveryKey, EndpointId, ErrorClass, EventId, Owed, OwedAs, PhaseTimings, Resolution,
    RetrySchedule, Settlement, TenantId, TimerPosition, Timestamp, Verdict,
};
use posthaste_engine::{Delivery, Effect, Engine, Input, Options, Settings};

/// When every test begins.
pub(crate) const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);
/// A failure without a wish to be left alone.
pub(crate) const FAILED: Verdict =
    Verdict::Failed { class: ErrorClass::ServerError, retry_after_ms: None };
/// A failure that is ours.
pub(crate) const OURS: Verdict = Verdict::NotCharged { class: ErrorClass::DnsUnavailable };

/// A failure, and the endpoint's wish to be left alone for so long.
pub(crate) const fn throttled(retry_after_ms: u64) -> Verdict {
    Verdict::Failed { class: ErrorClass::ClientError, retry_after_ms: Some(retry_after_ms) }
}

/// Settings with a schedule of 1, 2, 4 … seconds, without jitter, and five attempts; endpoints are
/// taken to stand as many attempts at a time as they may have, and never left alone.
pub(crate) fn settings() -> Settings {
    let delays = [1, 2, 4, 8, 16].map(|seconds| seconds * 1_000);
    let schedule = RetrySchedule::try_new(&delays, 0.0, 5).expect("lawful");
    Settings { schedule, in_flight_first: 1_024, breaker_failures: 0, ..Settings::default() }
}

pub(crate) fn tenant(number: u64) -> TenantId {
    TenantId::try_new(&format!("tenant-{number}")).expect("a lawful name")
}

/// An attempt that the engine has ordered.
#[derive(Clone, Debug)]
pub(crate) struct Started {
    pub(crate) delivery: Delivery,
    pub(crate) key: DeliveryKey,
    pub(crate) round: u32,
    pub(crate) number: u32,
    pub(crate) at: Timestamp,
}

/// An engine, its store, and what it has ordered.
pub(crate) struct Desk {
    pub(crate) engine: Engine,
    pub(crate) now: Timestamp,
    /// What the store owes.
    pub(crate) owed: BTreeMap<DeliveryKey, Owed>,
    /// Attempts in flight, oldest first.
    pub(crate) started: VecDeque<Started>,
    /// Outcomes in the order in which they became durable.
    pub(crate) settled: Vec<Settlement>,
    /// While not none, outcomes are kept here and are not durable.
    pub(crate) unanswered: Option<Vec<(Delivery, Box<Settlement>)>>,
    /// What endpoints' options are, where they are not the usual ones.
    pub(crate) options: BTreeMap<(TenantId, EndpointId), Options>,
    /// Tenants whose options cannot be read.
    pub(crate) unreadable: BTreeSet<TenantId>,
    /// How often options have been asked for.
    pub(crate) asked: usize,
    posted: u128,
}

impl Desk {
    pub(crate) fn new(settings: Settings) -> Self {
        let mut desk = Self {
            engine: Engine::new(settings, 7),
            now: START,
            owed: BTreeMap::new(),
            started: VecDeque::new(),
            settled: Vec::new(),
            unanswered: None,
            options: BTreeMap::new(),
            unreadable: BTreeSet::new(),
            asked: 0,
            posted: 0,
        };
        desk.wake();
        desk
    }

    /// A fresh delivery of a tenant's default endpoint, stored and handed over.
    pub(crate) fn post(&mut self, tenant: &TenantId) -> DeliveryKey {
        self.post_to(tenant, EndpointId::DEFAULT)
    }

    pub(crate) fn post_to(&mut self, tenant: &TenantId, endpoint: EndpointId) -> DeliveryKey {
        let owed = self.store_fresh(tenant, endpoint);
        let key = owed.key.clone();
        self.tell(Input::Arrived(vec![Owed { payload: Some(Bytes::from("{}")), ..owed }]));
        key
    }

    /// A fresh delivery that is stored and not handed over.
    pub(crate) fn store_fresh(&mut self, tenant: &TenantId, endpoint: EndpointId) -> Owed {
        self.posted += 1;
        let event = EventId::from_parts(self.now, self.posted);
        let key = DeliveryKey { tenant: tenant.clone(), event, endpoint };
        let owed_as = OwedAs::Fresh;
        let (round, attempts, interrupted) = (0, 0, 0);
        let owed = Owed { key: key.clone(), round, attempts, interrupted, owed_as, payload: None };
        self.owed.insert(key, owed.clone());
        owed
    }

    /// A fresh round of a delivery, handed over.
    pub(crate) fn requeue(&mut self, key: &DeliveryKey, round: u32) {
        let (attempts, interrupted, owed_as) = (0, 0, OwedAs::Fresh);
        let owed = Owed { key: key.clone(), round, attempts, interrupted, owed_as, payload: None };
        self.owed.insert(key.clone(), owed.clone());
        self.tell(Input::Arrived(vec![owed]));
    }

    /// The oldest attempt in flight ends like this.
    pub(crate) fn end_next(&mut self, verdict: Verdict) -> Started {
        let started = self.started.pop_front().expect("an attempt is in flight");
        self.end(&started, verdict);
        started
    }

    /// Ends an attempt that has been taken off the list.
    pub(crate) fn end(&mut self, started: &Started, verdict: Verdict) {
        let attempt = Attempt {
            number: started.number,
            at: started.at,
            duration_ms: u32::try_from(self.now.millis_since(started.at)).expect("short tests"),
            status_code: None,
            verdict,
            error: None,
            response: Bytes::new(),
            phases: PhaseTimings::default(),
        };
        self.tell(Input::Attempted { delivery: started.delivery, attempt });
    }

    /// Hands over a fact, and carries out what comes of it.
    pub(crate) fn tell(&mut self, input: Input) {
        self.engine.handle(self.now, input);
        self.carry_out();
    }

    /// Changes the options of a tenant's default endpoint, and tells.
    pub(crate) fn set_options(&mut self, tenant: &TenantId, options: Options) {
        self.options.insert((tenant.clone(), EndpointId::DEFAULT), options.clone());
        let (tenant, endpoint) = (tenant.clone(), EndpointId::DEFAULT);
        self.tell(Input::OptionsRead { tenant, endpoint, options: Box::new(options) });
    }

    fn wake(&mut self) {
        self.engine.on_wakeup(self.now);
        self.carry_out();
    }

    /// Lets time pass, and the engine wake whenever it wants to.
    pub(crate) fn pass(&mut self, ms: u64) {
        let end = self.now.plus_millis(ms);
        while let Some(at) = self.engine.next_wakeup().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.wake();
        }
        self.now = end;
        self.wake();
    }

    /// Makes durable what was kept.
    pub(crate) fn answer_all(&mut self) {
        for (delivery, settlement) in self.unanswered.take().unwrap_or_default() {
            self.settle(delivery, *settlement);
        }
        self.carry_out();
    }

    fn carry_out(&mut self) {
        while let Some(effect) = self.engine.poll_effect() {
            match effect {
                Effect::Attempt { delivery, key, round, number, .. } => {
                    let at = self.now;
                    self.started.push_back(Started { delivery, key, round, number, at });
                }
                Effect::Settle { delivery, settlement } => match &mut self.unanswered {
                    Some(kept) => kept.push((delivery, settlement)),
                    None => self.settle(delivery, *settlement),
                },
                Effect::LoadPayload { delivery, .. } => {
                    let payload = Some(Bytes::from("{}"));
                    self.engine.handle(self.now, Input::PayloadLoaded { delivery, payload });
                }
                Effect::ReadOptions { tenant, endpoint } => {
                    self.asked += 1;
                    let options = self.options.get(&(tenant.clone(), endpoint));
                    let options = Box::new(options.cloned().unwrap_or_default());
                    let answer = if self.unreadable.contains(&tenant) {
                        Input::OptionsReadFailed { tenant, endpoint }
                    } else {
                        Input::OptionsRead { tenant, endpoint, options }
                    };
                    self.engine.handle(self.now, answer);
                }
                Effect::ReadBacklog { tenant, endpoint, from, max } => {
                    let input = self.backlog(tenant, endpoint, from, max);
                    self.engine.handle(self.now, input);
                }
                Effect::ReadTimers { from, until, max } => {
                    let input = self.timers(&from, until, max);
                    self.engine.handle(self.now, input);
                }
            }
        }
        self.check();
    }

    fn check(&self) {
        assert_eq!(self.engine.check(), Ok(()));
        assert_eq!(self.engine.stats().invariant_violations, 0);
        for owed in self.owed.values() {
            assert!(self.engine.accounts_for(owed), "forgotten: {owed:?}");
        }
    }

    fn settle(&mut self, delivery: Delivery, settlement: Settlement) {
        let row = self.owed.get_mut(&settlement.key);
        let Some(row) = row.filter(|row| row.round == settlement.round) else {
            return self.engine.handle(self.now, Input::Superseded { delivery });
        };
        match settlement.resolution {
            Resolution::Retry { due } => {
                row.attempts = settlement.attempts;
                row.owed_as = OwedAs::Timer(due);
            }
            Resolution::Delivered | Resolution::DeadLettered { .. } => {
                self.owed.remove(&settlement.key);
            }
        }
        self.settled.push(settlement);
        self.engine.handle(self.now, Input::Settled { delivery });
    }

    fn backlog(&self, tenant: TenantId, endpoint: EndpointId, from: EventId, max: usize) -> Input {
        let here = |owed: &&Owed| {
            (&owed.key.tenant, owed.key.endpoint) == (&tenant, endpoint)
                && owed.owed_as == OwedAs::Fresh
                && owed.key.event >= from
        };
        let mut found: Vec<Owed> = self.owed.values().filter(here).cloned().collect();
        found.sort_by_key(|owed| owed.key.event);
        let exhausted = found.len() <= max;
        found.truncate(max);
        Input::BacklogRead { tenant, endpoint, owed: found, exhausted }
    }

    fn timers(&self, from: &TimerPosition, until: Timestamp, max: usize) -> Input {
        let place = |owed: &Owed| TimerPosition { due: owed.due(), key: Some(owed.key.clone()) };
        let waits = |owed: &&Owed| {
            matches!(owed.owed_as, OwedAs::Timer(due) if due <= until) && place(owed) > *from
        };
        let mut found: Vec<Owed> = self.owed.values().filter(waits).cloned().collect();
        found.sort_by_key(place);
        let cut = found.len() > max;
        found.truncate(max);
        let next = found.last().filter(|_| cut).map(place);
        Input::TimersRead { owed: found, next }
    }
}
