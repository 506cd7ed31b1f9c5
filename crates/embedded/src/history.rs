//! Random histories of commits: the ledger and the reference do the same, while tables are
//! written out, merged and opened again between any two commits, and every view agrees.
//!
//! The contract's histories do one operation at a time in one memtable. Here several operations
//! share a commit, follow from each other within it, and meet rows of all ages, which is where a
//! weak removal can bring an older row back. A history ends with everything settled, expired and
//! merged: then no keyspace may hold a row.
//!
//! Invariant: a seed gives the same history. A failure names the seed and the last commits.

use std::collections::HashMap;
use std::sync::Arc;

use fjall::Readable as _;
use posthaste_domain::{
    DeadLetterCause, EndpointId, EventId, EventStatus, Owed, Resolution, TimerPosition, Timestamp,
};
use posthaste_ports::memory::{MemoryStore, NullSink};
use posthaste_ports::{
    DeadLetters, EventStore, Expiry, Idempotency, Journal, ListQuery, NewEvent, Requeued, Scope,
    Settled, ShardSpec, TenantStore,
};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::ledger::Ledger;
use crate::tables::Table;
use crate::testing::{
    Chance, Watch, delivery, event, home, new_tenant, outcome, settings, tenant_id,
};
use crate::writer::Operation;

const SEEDS: u64 = 12;
const COMMITS: u64 = 40;
const TENANTS: [&str; 2] = ["acme", "beta"];
const ALL: ShardSpec = ShardSpec { index: 0, count: 1 };
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
const PLENTY: usize = 10_000;

/// For all seeds: every view of the ledger is the reference's.
#[test]
fn commits_agree_with_the_reference_through_flushes_and_merges() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    for seed in 0..SEEDS {
        runtime.block_on(async {
            let mut history = History::begin(seed).await;
            for _ in 0..COMMITS {
                history.commit().await;
                history.upheave().await;
                history.compare().await;
            }
            history.end().await;
        });
    }
}

/// A step, with what the reference answered to it.
enum Step {
    Accept(Vec<NewEvent>, String),
    Settle(Vec<posthaste_domain::Settlement>, String),
    Retry(Owed, Timestamp, String),
    Requeue(Vec<(posthaste_domain::TenantId, EventId)>, String),
    Purge(Vec<(posthaste_domain::TenantId, EventId)>, Timestamp, String),
    Sweep(Timestamp, String),
}

struct History {
    seed: u64,
    chance: Chance,
    home: TempDir,
    ledger: Ledger,
    watch: Arc<Watch>,
    model: MemoryStore,
    /// Interruptions that the reference does not know of.
    interrupted: HashMap<EventId, u8>,
    now: Timestamp,
    entropy: u128,
    told: Vec<String>,
}

impl History {
    async fn begin(seed: u64) -> Self {
        let home = home();
        let watch = Arc::new(Watch::default());
        let sink = Arc::new(NullSink);
        let opened = Ledger::open(settings(&home), sink, Arc::clone(&watch) as _);
        let (ledger, model) = (opened.unwrap().0, MemoryStore::default());
        for (tenant, shard_key) in TENANTS.into_iter().zip(0..) {
            TenantStore::create(&ledger, new_tenant(tenant, shard_key)).await.unwrap();
            model.create(new_tenant(tenant, shard_key)).await.unwrap();
        }
        Self {
            seed,
            chance: Chance(seed),
            home,
            ledger,
            watch,
            model,
            interrupted: HashMap::new(),
            now: Timestamp::from_millis(1_000_000),
            entropy: 0,
            told: Vec::new(),
        }
    }

    /// Several operations in one commit: the writer is held at another one until all wait.
    async fn commit(&mut self) {
        let mut steps = Vec::new();
        for _ in 0..=self.chance.below(5) {
            steps.extend(self.draw().await);
        }
        self.watch.hold();
        let mut tasks = JoinSet::new();
        let ledger = self.ledger.clone();
        tasks.spawn(async move {
            ledger.set_setting("held", b"1").await.unwrap();
        });
        // One thread runs all tasks in the order in which they were spawned.
        tokio::task::yield_now().await;
        self.watch.held();
        let count = steps.len() as u64;
        for step in steps {
            let (ledger, seed) = (self.ledger.clone(), self.seed);
            tasks.spawn(async move { apply(&ledger, step, seed).await });
        }
        while self.ledger.stats().queued < count {
            tokio::task::yield_now().await;
        }
        self.watch.release();
        while let Some(done) = tasks.join_next().await {
            if let Err(error) = done {
                std::panic::resume_unwind(error.into_panic());
            }
        }
    }

    /// Draws a step and does it to the reference, so that the next one may follow from it.
    async fn draw(&mut self) -> Option<Step> {
        let owed = owed_of(&self.model).await;
        let step = match self.chance.below(20) {
            0..5 => self.draw_accept().await,
            5..14 => self.draw_settle(&owed).await?,
            14 => {
                let mut owed = self.chance.pick(&owed)?.clone();
                owed.interrupted = 0;
                let answer = self.model.retry(&owed.key.tenant, owed.key.event, self.now).await;
                if answer == Ok(posthaste_ports::Retried::Requeued) {
                    self.interrupted.remove(&owed.key.event);
                }
                Step::Retry(owed, self.now, format!("{answer:?}"))
            }
            15 | 16 => {
                let dead = self.model_dead().await;
                let count = self.chance.below(3).min(dead.len() as u64);
                let oldest = dead[..usize::try_from(count).unwrap()].to_vec();
                let max = oldest.len();
                let done = DeadLetters::requeue(&self.model, &Scope::All, max, max, self.now).await;
                Step::Requeue(oldest, format!("{done:?}"))
            }
            17 => {
                let dead = self.model_dead().await;
                let purged = DeadLetters::purge(&self.model, &Scope::All, self.now).await;
                Step::Purge(dead, self.now, format!("{purged:?}"))
            }
            _ => {
                let swept = self.model.sweep(self.now, PLENTY).await;
                Step::Sweep(self.now, format!("{swept:?}"))
            }
        };
        self.told.push(describe(&step));
        Some(step)
    }

    async fn model_dead(&self) -> Vec<(posthaste_domain::TenantId, EventId)> {
        let dead = DeadLetters::list(&self.model, &Scope::All, PLENTY).await.unwrap();
        dead.into_iter().map(|letter| (letter.tenant, letter.event)).collect()
    }

    async fn draw_accept(&mut self) -> Step {
        let mut events = Vec::new();
        for _ in 0..=self.chance.below(3) {
            self.entropy += 1;
            let tenant = self.chance.pick(&["acme", "beta", "nobody"]).unwrap();
            let mut new = event(tenant, self.now, self.entropy);
            let (key, body) = (self.chance.below(4), self.chance.below(2));
            let byte = |n: u64| [u8::try_from(n).unwrap(); 32];
            let claim = Idempotency { key: byte(key), body: byte(body) };
            new.idempotency = Some(claim).filter(|_| self.chance.below(3) == 0);
            events.push(new);
        }
        let answers = self.model.accept(events.clone()).await;
        Step::Accept(events, format!("{answers:?}"))
    }

    async fn draw_settle(&mut self, owed: &[Owed]) -> Option<Step> {
        let mut settlements = Vec::new();
        for _ in 0..=self.chance.below(3) {
            let mut owed = self.chance.pick(owed)?.clone();
            owed.interrupted += self.interrupted.get(&owed.key.event).copied().unwrap_or(0);
            let resolution = match self.chance.below(6) {
                0 | 1 => Resolution::Delivered,
                2 => Resolution::DeadLettered { cause: DeadLetterCause::AttemptsExhausted },
                // Few different times, so that the same one comes again.
                n => Resolution::Retry { due: self.now.plus_millis((n % 2) * 1000) },
            };
            settlements.push(outcome(&owed, self.now, resolution));
        }
        let answers = self.model.settle(settlements.clone()).await.unwrap();
        for (settlement, answer) in settlements.iter().zip(&answers) {
            if *answer == Settled::Settled {
                self.interrupted.remove(&settlement.key.event);
            }
        }
        Some(Step::Settle(settlements, format!("{answers:?}")))
    }

    /// What happens to tables between two commits.
    async fn upheave(&mut self) {
        for table in Table::ALL {
            let keyspace = self.ledger.shared.tables.keyspace(table);
            if self.chance.below(5) == 0 {
                keyspace.rotate_memtable_and_wait().unwrap();
                self.told.push(format!("flush {table:?}"));
            }
            if self.chance.below(8) == 0 {
                keyspace.major_compact().unwrap();
                self.told.push(format!("merge {table:?}"));
            }
        }
        match self.chance.below(12) {
            0..4 => self.now = self.now.plus_millis(500),
            4 => self.now = self.now.plus_millis(15 * DAY_MS),
            5 | 6 => self.reopen().await,
            _ => {}
        }
    }

    /// Ends in the middle of some attempts, and opens again.
    async fn reopen(&mut self) {
        let owed = owed_of(&self.model).await;
        let mut register = self.ledger.register(0, 4).unwrap();
        for index in 0..self.chance.below(3) {
            let Some(owed) = self.chance.pick(&owed) else { continue };
            let index = u32::try_from(index).unwrap();
            register.begin(index, &owed.key, owed.round, owed.attempts + 1);
            let count = self.interrupted.entry(owed.key.event).or_default();
            *count += 1;
            self.told.push(format!("interrupted {:x}", owed.key.event.as_u128()));
            break;
        }
        register.flush().unwrap();
        self.ledger.close().await;
        let empty = home();
        let sink = Arc::new(NullSink);
        let spare = Ledger::open(settings(&empty), sink, Arc::new(Watch::default())).unwrap().0;
        drop(std::mem::replace(&mut self.ledger, spare.clone()));
        let opened =
            Ledger::open(settings(&self.home), Arc::new(NullSink), Arc::clone(&self.watch) as _);
        self.ledger = opened.unwrap().0;
        spare.close().await;
        self.told.push("reopened".to_owned());
    }

    async fn compare(&self) {
        let mut expected = view(&self.model, self.now).await;
        for owed in &mut expected.owed {
            owed.interrupted += self.interrupted.get(&owed.key.event).copied().unwrap_or(0);
        }
        let seen = view(&self.ledger, self.now).await;
        self.agree("what is owed", &seen.owed, &expected.owed);
        self.agree("the lists", &seen.rest, &expected.rest);
    }

    fn agree<T: PartialEq + std::fmt::Debug>(&self, what: &str, seen: &T, expected: &T) {
        let skip = self.told.len().saturating_sub(60);
        assert!(
            seen == expected,
            "seed {} disagrees on {what}\nseen:     {seen:#?}\nexpected: {expected:#?}\n{}",
            self.seed,
            self.told[skip..].join("\n")
        );
    }

    /// Settles and expires everything, and merges what is left: nothing.
    async fn end(mut self) {
        let mut owed = owed_of(&self.model).await;
        for owed in &mut owed {
            owed.interrupted += self.interrupted.get(&owed.key.event).copied().unwrap_or(0);
        }
        let outcomes: Vec<_> =
            owed.iter().map(|owed| outcome(owed, self.now, Resolution::Delivered)).collect();
        let settled = self.ledger.settle(outcomes).await.unwrap();
        self.agree("the last outcomes", &settled, &vec![Settled::Settled; owed.len()]);
        self.now = self.now.plus_millis(40 * DAY_MS);
        while self.ledger.sweep(self.now, 7).await.unwrap() > 0 {}
        for table in Table::ALL {
            let keyspace = self.ledger.shared.tables.keyspace(table);
            keyspace.rotate_memtable_and_wait().unwrap();
            keyspace.major_compact().unwrap();
        }
        let snapshot = self.ledger.shared.tables.database().snapshot();
        for table in Table::ALL {
            if matches!(table, Table::Meta | Table::Tenants) {
                continue;
            }
            let left: Vec<_> = snapshot
                .iter(self.ledger.shared.tables.keyspace(table))
                .map(|guard| guard.key().unwrap().to_vec())
                .filter(|key| key != crate::tables::TIDE_KEY)
                .collect();
            self.agree(&format!("what is left in {table:?}"), &left, &Vec::new());
        }
        assert_eq!(self.ledger.stats().damaged_rows, 0);
        drop(snapshot);
        self.ledger.close().await;
    }
}

fn describe(step: &Step) -> String {
    match step {
        Step::Accept(events, answer) => {
            let ids: Vec<_> = events.iter().map(|e| format!("{:x}", e.id.as_u128())).collect();
            format!("accept {ids:?}: {answer}")
        }
        Step::Settle(settlements, answer) => {
            let all: Vec<_> = settlements
                .iter()
                .map(|s| format!("{:x} {:?} {:?}", s.key.event.as_u128(), s.owed_as, s.resolution))
                .collect();
            format!("settle {all:?}: {answer}")
        }
        Step::Retry(owed, _, answer) => {
            format!("retry {:x}: {answer}", owed.key.event.as_u128())
        }
        Step::Requeue(events, answer) => format!("requeue {events:?}: {answer}"),
        Step::Purge(events, _, answer) => format!("purge {events:?}: {answer}"),
        Step::Sweep(now, answer) => format!("sweep {now}: {answer}"),
    }
}

async fn apply(ledger: &Ledger, step: Step, seed: u64) {
    let told = describe(&step);
    let (seen, expected) = match step {
        Step::Accept(events, expected) => (format!("{:?}", ledger.accept(events).await), expected),
        Step::Settle(settlements, expected) => {
            (format!("{:?}", ledger.settle(settlements).await.unwrap()), expected)
        }
        Step::Retry(owed, at, expected) => {
            let answer = ledger.retry(&owed.key.tenant, owed.key.event, at).await;
            (format!("{answer:?}"), expected)
        }
        Step::Requeue(events, expected) => {
            let done = ledger.ask::<Requeued>(|done| Operation::Requeue { events, done }).await;
            (format!("{done:?}"), expected)
        }
        Step::Purge(events, at, expected) => {
            let purged = ledger.ask::<u64>(|done| Operation::Purge { events, at, done }).await;
            (format!("{purged:?}"), expected)
        }
        Step::Sweep(now, expected) => (format!("{:?}", ledger.sweep(now, PLENTY).await), expected),
    };
    assert_eq!(seen, expected, "seed {seed}, the answer to: {told}");
}

async fn owed_of<S: Journal>(store: &S) -> Vec<Owed> {
    let mut owed = Vec::new();
    for tenant in TENANTS.map(tenant_id) {
        let read = store.backlog(&tenant, EndpointId::DEFAULT, EventId::MIN, PLENTY).await;
        owed.extend(read.unwrap().owed);
    }
    let timers = store.timers(ALL, TimerPosition::START, Timestamp::MAX, PLENTY).await;
    owed.extend(timers.unwrap().owed);
    owed.sort_by(|a, b| (a.due(), &a.key).cmp(&(b.due(), &b.key)));
    owed
}

struct View {
    owed: Vec<Owed>,
    rest: Vec<String>,
}

async fn view<S: Journal + EventStore + DeadLetters>(store: &S, now: Timestamp) -> View {
    let mut rest = Vec::new();
    for tenant in TENANTS.map(tenant_id) {
        let mut ids = Vec::new();
        for status in EventStatus::ALL.map(Some).into_iter().chain([None]) {
            let mut before = None;
            loop {
                let query = ListQuery { status, before, limit: 9, now };
                let page = EventStore::list(store, &tenant, query).await.unwrap();
                rest.push(format!("{tenant} {status:?}: {page:?}"));
                ids.extend(page.events.iter().filter(|_| status.is_none()).map(|event| event.id));
                before = page.next;
                if before.is_none() {
                    break;
                }
            }
        }
        for id in &ids {
            rest.push(format!("{:?}", store.event(&tenant, *id, now).await));
        }
        let keys: Vec<_> = ids.iter().map(|id| delivery(&tenant, *id)).collect();
        rest.push(format!("{:?}", store.payloads(&keys).await));
        let dead = DeadLetters::list(store, &Scope::Tenant(tenant), PLENTY).await;
        rest.push(format!("{dead:?}"));
    }
    rest.push(format!("{:?}", DeadLetters::list(store, &Scope::All, PLENTY).await));
    // In no order of tenants.
    let mut endpoints = store.owed_endpoints(ALL).await;
    if let Ok(endpoints) = &mut endpoints {
        endpoints.sort_by(|a, b| (&a.tenant, a.endpoint).cmp(&(&b.tenant, b.endpoint)));
    }
    rest.push(format!("{endpoints:?}"));
    View { owed: owed_of(store).await, rest }
}
