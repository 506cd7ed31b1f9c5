//! A stage for figures: the engine, a store that answers at once, endpoints that take so long, and
//! events that come whether or not anybody is ready for them. All in virtual time, so a figure is
//! the same on every machine.
//!
//! Unlike a world it has no faults but the endpoints', and it measures instead of judging.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use bytes::Bytes;
use posthaste_domain::{
    Attempt, DeliveryKey, EndpointId, ErrorClass, EventId, Owed, OwedAs, PhaseTimings, Resolution,
    Settlement, TenantId, TimerPosition, Timestamp, Verdict,
};
use posthaste_engine::{Delivery, Effect, Engine, Input, Options, Settings};
use posthaste_sim::Chance;

/// When every figure begins.
pub(crate) const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// What an endpoint does with a request: how long it takes, and what it comes to.
pub(crate) type Answer = (u64, Verdict);

/// It got through, after so long.
pub(crate) const fn delivers(ms: u64) -> Answer {
    (ms, Verdict::Delivered)
}

/// Nobody answers.
pub(crate) const fn hangs() -> Answer {
    (30_000, Verdict::Failed { class: ErrorClass::Timeout, retry_after_ms: None })
}

/// Nobody is there.
pub(crate) const fn refuses() -> Answer {
    (1, Verdict::Failed { class: ErrorClass::ConnectFailed, retry_after_ms: None })
}

enum Happening {
    Post(usize),
    End {
        delivery: Delivery,
        number: u32,
        at: Timestamp,
        answer: Answer,
    },
    /// An attempt is not made, since there is nobody to make it for.
    Gone(Delivery),
    /// The clock is an hour ahead from now on.
    Jump,
}

/// How far clocks are stepped, in milliseconds.
const HOUR_MS: u64 = 3_600_000;

/// What has come of a tenant's events.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sum {
    pub(crate) attempts: u64,
    /// When each attempt started, in milliseconds since the start.
    pub(crate) started: Vec<u64>,
    /// For each event that was delivered: when it was posted, and how long it took from then on.
    pub(crate) delivered: Vec<(u64, u64)>,
    /// Events that ended in the dead letters.
    pub(crate) dead_lettered: u64,
}

/// What has come of retries.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Retries {
    pub(crate) started: u64,
    pub(crate) early: u64,
    pub(crate) latest_ms: u64,
}

/// The stage.
pub(crate) struct Stage<'a> {
    pub(crate) engine: Engine,
    pub(crate) now: Timestamp,
    pub(crate) sums: Vec<Sum>,
    /// Calls of the engine.
    pub(crate) steps: u64,
    /// The most that the engine held.
    pub(crate) held_most: u64,
    settings: Settings,
    answers: Box<dyn Fn(usize, u64) -> Answer + 'a>,
    options: Box<dyn Fn(usize) -> Options + 'a>,
    /// Who does not exist any more.
    gone: Option<usize>,
    /// From when until when the store does nothing, in milliseconds since the start.
    store_out: (u64, u64),
    /// Of a thousand facts, how many come with a clock that went back by up to an hour.
    back_permille: u64,
    /// Whether the store says that timers are due a second before they are.
    lies: bool,
    chance: Chance,
    /// Retries that were started, those before their due time, and how late the others were.
    pub(crate) retries: Retries,
    happenings: BTreeMap<(Timestamp, u64), Happening>,
    owed: BTreeMap<DeliveryKey, Owed>,
    timers: BTreeSet<TimerPosition>,
    count: u64,
}

pub(crate) fn tenant(number: usize) -> TenantId {
    TenantId::try_new(&format!("tenant-{number}")).expect("a lawful name")
}

fn number(tenant: &TenantId) -> usize {
    tenant.as_str().trim_start_matches("tenant-").parse().expect("named by its number")
}

impl<'a> Stage<'a> {
    /// So many tenants; `answers` says what each does at a time (milliseconds since the start).
    pub(crate) fn new(
        settings: Settings,
        tenants: usize,
        answers: impl Fn(usize, u64) -> Answer + 'a,
    ) -> Self {
        let mut stage = Self {
            engine: Engine::new(settings.clone(), 7),
            settings,
            now: START,
            sums: vec![Sum::default(); tenants],
            steps: 0,
            held_most: 0,
            answers: Box::new(answers),
            options: Box::new(|_| Options::default()),
            gone: None,
            store_out: (0, 0),
            back_permille: 0,
            lies: false,
            chance: Chance::new(7),
            retries: Retries::default(),
            happenings: BTreeMap::new(),
            owed: BTreeMap::new(),
            timers: BTreeSet::new(),
            count: 0,
        };
        stage.engine.on_wakeup(START);
        stage.obey();
        stage
    }

    /// The tenants' options.
    pub(crate) fn with_options(mut self, options: impl Fn(usize) -> Options + 'a) -> Self {
        self.options = Box::new(options);
        self
    }

    /// The store does nothing between two times, in milliseconds since the start.
    pub(crate) const fn with_store_out(mut self, from_ms: u64, to_ms: u64) -> Self {
        self.store_out = (from_ms, to_ms);
        self
    }

    /// The clock jumps an hour ahead at these times, in milliseconds since the start, and of a
    /// thousand facts so many come with a clock that went back.
    pub(crate) fn with_steps(mut self, jumps: &[u64], back_permille: u64) -> Self {
        self.back_permille = back_permille;
        jumps.iter().for_each(|ms| self.happens(START.plus_millis(*ms), Happening::Jump));
        self
    }

    /// A tenant's retries, so many, that were due before the start and wait in the store.
    pub(crate) fn owes(&mut self, whose: usize, count: usize) {
        for _ in 0..count {
            self.count += 1;
            let past = Timestamp::from_millis(START.as_millis() - HOUR_MS);
            let event = EventId::from_parts(past, u128::from(self.count));
            let key = DeliveryKey { tenant: tenant(whose), event, endpoint: EndpointId::DEFAULT };
            let owed_as = OwedAs::Timer(past.plus_millis(self.count % HOUR_MS));
            let (round, attempts, interrupted) = (0, 1, 0);
            let owed =
                Owed { key: key.clone(), round, attempts, interrupted, owed_as, payload: None };
            self.timers.insert(TimerPosition { due: owed.due(), key: Some(key.clone()) });
            self.owed.insert(key, owed);
        }
    }

    /// A tenant's retries, so many, that are due five seconds after the start.
    pub(crate) fn owes_soon(&mut self, whose: usize, count: usize) {
        self.owes(whose, count);
        let due = START.plus_millis(5_000);
        self.timers.clear();
        for (key, owed) in &mut self.owed {
            owed.owed_as = OwedAs::Timer(due);
            self.timers.insert(TimerPosition { due, key: Some(key.clone()) });
        }
    }

    /// The store says that timers are due a second before they are.
    pub(crate) const fn with_lying_timers(mut self) -> Self {
        self.lies = true;
        self
    }

    /// Another process begins with what the store owes.
    pub(crate) fn restart(&mut self) {
        self.engine = Engine::new(self.settings.clone(), 7);
        self.engine.on_wakeup(self.now);
        self.obey();
    }

    /// The engine hears of a tenant's options as they are now.
    pub(crate) fn options_changed(&mut self, whose: usize) {
        let options = Box::new((self.options)(whose));
        let (tenant, endpoint) = (tenant(whose), EndpointId::DEFAULT);
        self.tell(Input::OptionsRead { tenant, endpoint, options });
        self.obey();
    }

    /// A tenant is deleted: whoever looks it up to attempt something finds nobody.
    pub(crate) const fn delete(&mut self, whose: usize) {
        self.gone = Some(whose);
    }

    /// How many deliveries the store owes.
    pub(crate) fn owed_count(&self) -> usize {
        self.owed.len()
    }

    fn is_store_out(&self) -> bool {
        let ms = self.now.millis_since(START);
        self.store_out.0 <= ms && ms < self.store_out.1
    }

    /// The time as the engine is told it with a fact.
    fn told(&mut self) -> Timestamp {
        if self.back_permille == 0 || !self.chance.permille(self.back_permille) {
            return self.now;
        }
        Timestamp::from_millis(self.now.as_millis() - self.chance.within((1, HOUR_MS)))
    }

    fn note_retry(&mut self, key: &DeliveryKey) {
        let Some(Owed { owed_as: OwedAs::Timer(due), .. }) = self.owed.get(key) else { return };
        self.retries.started += 1;
        self.retries.early += u64::from(self.now < *due);
        self.retries.latest_ms = self.retries.latest_ms.max(self.now.millis_since(*due));
    }

    /// A tenant posts so many a second between two times, in milliseconds since the start.
    pub(crate) fn posts(&mut self, tenant: usize, per_s: u64, from_ms: u64, to_ms: u64) {
        let count = per_s * (to_ms - from_ms) / 1_000;
        for post in 0..count {
            // Tenants that post at the same rate do not do so in the same millisecond.
            let at = from_ms + post * (to_ms - from_ms) / count + (tenant as u64 * 7) % 10;
            self.happens(START.plus_millis(at), Happening::Post(tenant));
        }
    }

    fn happens(&mut self, at: Timestamp, happening: Happening) {
        self.count += 1;
        self.happenings.insert((at, self.count), happening);
    }

    /// Runs until so many milliseconds after the start.
    pub(crate) fn run(&mut self, until_ms: u64) {
        let until = START.plus_millis(until_ms);
        loop {
            let next = self.happenings.first_key_value().map(|((at, _), _)| *at);
            let wakes = self.engine.next_wakeup().filter(|at| next.is_none_or(|next| *at < next));
            let Some(at) = wakes.or(next).filter(|at| *at <= until) else { break };
            self.now = self.now.max(at);
            if wakes.is_some() {
                self.engine.on_wakeup(self.now);
                self.steps += 1;
            } else if let Some((_, happening)) = self.happenings.pop_first() {
                self.happen(happening);
            }
            self.obey();
            self.held_most = self.held_most.max(self.engine.stats().held);
        }
        self.now = until;
        assert_eq!(self.engine.stats().invariant_violations, 0);
    }

    fn happen(&mut self, happening: Happening) {
        let input = match happening {
            Happening::Post(whose) => {
                self.count += 1;
                let event = EventId::from_parts(self.now, u128::from(self.count));
                let key =
                    DeliveryKey { tenant: tenant(whose), event, endpoint: EndpointId::DEFAULT };
                let owed = Owed {
                    key,
                    round: 0,
                    attempts: 0,
                    interrupted: 0,
                    owed_as: OwedAs::Fresh,
                    payload: Some(Bytes::from_static(b"{}")),
                };
                self.owed.insert(owed.key.clone(), Owed { payload: None, ..owed.clone() });
                Input::Arrived(vec![owed])
            }
            Happening::Gone(delivery) => Input::TenantGone { delivery },
            Happening::Jump => {
                self.now = self.now.plus_millis(HOUR_MS);
                return;
            }
            Happening::End { delivery, number, at, answer: (takes_ms, verdict) } => {
                let attempt = Attempt {
                    number,
                    at,
                    duration_ms: u32::try_from(takes_ms).expect("an attempt ends in time"),
                    status_code: None,
                    verdict,
                    error: None,
                    response: Bytes::new(),
                    phases: PhaseTimings::default(),
                };
                Input::Attempted { delivery, attempt }
            }
        };
        self.tell(input);
    }

    fn tell(&mut self, input: Input) {
        self.steps += 1;
        let told = self.told();
        self.engine.handle(told, input);
    }

    fn obey(&mut self) {
        while let Some(effect) = self.engine.poll_effect() {
            let answer = match effect {
                Effect::Attempt { delivery, key, number: attempt, .. } => {
                    self.note_retry(&key);
                    let (tenant, at) = (number(&key.tenant), self.now);
                    if self.gone == Some(tenant) {
                        self.happens(at.plus_millis(1), Happening::Gone(delivery));
                        continue;
                    }
                    let ms = at.millis_since(START);
                    let answer = (self.answers)(tenant, ms);
                    self.sums[tenant].attempts += 1;
                    self.sums[tenant].started.push(ms);
                    let end = Happening::End { delivery, number: attempt, at, answer };
                    self.happens(at.plus_millis(answer.0), end);
                    continue;
                }
                Effect::Settle { delivery, settlement } if self.is_store_out() => {
                    Input::SettleFailed { delivery, settlement }
                }
                Effect::LoadPayload { delivery, .. } if self.is_store_out() => {
                    Input::PayloadLoadFailed { delivery }
                }
                Effect::ReadBacklog { tenant, endpoint, .. } if self.is_store_out() => {
                    Input::BacklogReadFailed { tenant, endpoint }
                }
                Effect::ReadTimers { .. } if self.is_store_out() => Input::TimersReadFailed,
                Effect::Settle { delivery, settlement } => {
                    self.settle(&settlement);
                    Input::Settled { delivery }
                }
                Effect::LoadPayload { delivery, .. } => {
                    Input::PayloadLoaded { delivery, payload: Some(Bytes::from_static(b"{}")) }
                }
                Effect::ReadOptions { tenant, endpoint } => {
                    let options = Box::new((self.options)(number(&tenant)));
                    Input::OptionsRead { tenant, endpoint, options }
                }
                Effect::ReadBacklog { tenant, endpoint, from, max } => {
                    let first = DeliveryKey { tenant: tenant.clone(), event: from, endpoint };
                    let fresh = self.owed.range(first..).map(|(_, owed)| owed);
                    let fresh = fresh.take_while(|owed| owed.key.tenant == tenant);
                    let mut fresh = fresh.filter(|owed| owed.owed_as == OwedAs::Fresh);
                    let owed: Vec<Owed> = fresh.by_ref().take(max).cloned().collect();
                    let exhausted = fresh.next().is_none();
                    Input::BacklogRead { tenant, endpoint, owed, exhausted }
                }
                Effect::ReadTimers { from, until, max } => {
                    let found = self.timers.range((Bound::Excluded(from), Bound::Unbounded));
                    let due = found.take_while(|at| at.due <= until).take(max);
                    let due: Vec<TimerPosition> = due.cloned().collect();
                    let next = (due.len() == max).then(|| due.last().cloned()).flatten();
                    let owed = due.iter().filter_map(|at| at.key.as_ref());
                    let mut owed: Vec<Owed> =
                        owed.filter_map(|key| self.owed.get(key).cloned()).collect();
                    for it in owed.iter_mut().filter(|_| self.lies) {
                        let due = it.due().as_millis() - 1_000;
                        it.owed_as = OwedAs::Timer(Timestamp::from_millis(due));
                    }
                    Input::TimersRead { owed, next }
                }
            };
            self.tell(answer);
        }
    }

    fn settle(&mut self, settlement: &Settlement) {
        let key = &settlement.key;
        if let OwedAs::Timer(due) = settlement.owed_as {
            self.timers.remove(&TimerPosition { due, key: Some(key.clone()) });
        }
        match settlement.resolution {
            Resolution::Retry { due } => {
                self.timers.insert(TimerPosition { due, key: Some(key.clone()) });
                if let Some(owed) = self.owed.get_mut(key) {
                    (owed.owed_as, owed.attempts) = (OwedAs::Timer(due), settlement.attempts);
                }
            }
            Resolution::Delivered => {
                self.owed.remove(key);
                // What was posted before the start counts from there.
                let posted = key.event.created_at().max(START);
                let took = (posted.millis_since(START), self.now.millis_since(posted));
                self.sums[number(&key.tenant)].delivered.push(took);
            }
            Resolution::DeadLettered { .. } => {
                self.owed.remove(key);
                self.sums[number(&key.tenant)].dead_lettered += 1;
            }
        }
    }

    /// The 99th percentile of what deliveries of these tenants took that were posted in a span.
    pub(crate) fn p99(&self, tenants: impl Iterator<Item = usize>, span: (u64, u64)) -> u64 {
        let took = tenants.flat_map(|tenant| &self.sums[tenant].delivered);
        let within = took.filter(|(posted, _)| (span.0..span.1).contains(posted));
        let mut took: Vec<u64> = within.map(|(_, took)| *took).collect();
        took.sort_unstable();
        took[(took.len() - 1) * 99 / 100]
    }

    /// How many of these tenants' events were delivered between two times, whenever posted.
    pub(crate) fn delivered_within(
        &self,
        tenants: impl Iterator<Item = usize>,
        span: (u64, u64),
    ) -> usize {
        let delivered = tenants.flat_map(|tenant| &self.sums[tenant].delivered);
        delivered.filter(|(posted, took)| (span.0..span.1).contains(&(posted + took))).count()
    }

    /// How many of these tenants' events were delivered.
    pub(crate) fn delivered(&self, tenants: impl Iterator<Item = usize>) -> usize {
        tenants.map(|tenant| self.sums[tenant].delivered.len()).sum()
    }
}
