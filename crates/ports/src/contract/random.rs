//! Random histories: a store and the reference do the same, and every view agrees.
//!
//! A history is a run of steps drawn from a seed: accepting, settling (rightly, wrongly, twice),
//! retrying, requeueing, purging, time passing with its sweeps, tenants coming and changing. Each
//! step is done to the store under test and to a [`MemoryStore`]; the answers and the arrivals
//! must be the same, and so must everything that can be read. A history ends by settling all that
//! is owed and letting all of it expire, which must leave nothing; so the next one begins afresh
//! in the same store.
//!
//! Refuses to compare what the traits leave open: the order of tenants among timers, versions
//! but for their growth, and what is told of an expired row before its sweep.
//!
//! Invariant: a fact always draws the same histories. A failure names the history and its steps.

mod steps;
mod views;

use std::fmt::Write as _;
use std::sync::Arc;

use posthaste_domain::{Owed, Timestamp};

use self::steps::{Drawer, Step, Weights};
use self::views::{View, owed_of};
use super::samples::{DAY, DELIVERED, PLENTY, START, settlement};
use super::{Fixture, Stores};
use crate::chance::Chance;
use crate::memory::{MemoryStore, RecordingSink};
use crate::{Arrival, Scope};

/// Steps of one history.
const STEPS: usize = 40;
/// After how many steps everything that can be read is compared; after the others, what is owed.
const STEPS_PER_VIEW: usize = 8;
/// Steps told of a history that failed.
const STEPS_TOLD: usize = 12;

/// Histories in which everything happens.
pub(super) async fn histories_agree_with_the_reference(f: &mut Fixture) {
    play(f, 1, Weights::BALANCED).await;
}

/// Histories of endpoints that fail most of the time.
pub(super) async fn histories_of_failures_agree_with_the_reference(f: &mut Fixture) {
    play(f, 2, Weights::FAILURES).await;
}

/// Histories of dead letters that are requeued and purged.
pub(super) async fn histories_of_dead_letters_agree_with_the_reference(f: &mut Fixture) {
    play(f, 3, Weights::DEAD_LETTERS).await;
}

/// Histories of clients that send again and again, and of tenants that change.
pub(super) async fn histories_of_tenants_agree_with_the_reference(f: &mut Fixture) {
    play(f, 4, Weights::TENANTS).await;
}

/// The reference, and what was heard of it.
struct Model {
    stores: Stores,
    sink: Arc<RecordingSink>,
}

async fn play(f: &mut Fixture, seed: u64, weights: Weights) {
    let sink = Arc::new(RecordingSink::default());
    let store = MemoryStore::new(Arc::clone(&sink) as _);
    let model = Model { stores: Stores::of(Arc::new(store)), sink };
    let mut now = START;
    for number in 0..f.histories() {
        let chance = Chance::new(seed, number);
        let mut history = History { number, told: Vec::new(), drawer: Drawer::new(chance, now) };
        history.play(f, &model, weights).await;
        now = history.end(f, &model).await;
    }
}

/// One history, as far as it has been played.
struct History {
    number: u64,
    told: Vec<String>,
    drawer: Drawer,
}

impl History {
    async fn play(&mut self, f: &mut Fixture, model: &Model, weights: Weights) {
        for tenant in self.drawer.tenants() {
            self.step(f, model, &Step::Create(tenant)).await;
        }
        for number in 1..=STEPS {
            let owed = owed_of(&model.stores, &self.drawer.tenant_ids()).await;
            let step = self.drawer.draw(weights, &owed);
            self.step(f, model, &step).await;
            if number % STEPS_PER_VIEW == 0 {
                self.compare(f, model).await;
            }
        }
        self.compare(f, model).await;
    }

    /// Does one step to both, and compares what they answer, tell, and owe from then on.
    async fn step(&mut self, f: &mut Fixture, model: &Model, step: &Step) {
        self.told.push(format!("{step:?}"));
        if let Step::Restart = step {
            f.later().await;
        }
        let expected = step.apply(&model.stores).await;
        let answer = step.apply(f.stores()).await;
        self.agree("the answer", &answer, &expected);
        self.drawer.learn(step, &expected);
        self.agree_on_arrivals(f.heard(), model.sink.take());
        let tenants = self.drawer.tenant_ids();
        let expected = owed_of(&model.stores, &tenants).await;
        self.agree("what is owed", &owed_of(f.stores(), &tenants).await, &expected);
    }

    async fn compare(&self, f: &Fixture, model: &Model) {
        let subject = self.drawer.view_subject();
        let expected = View::of(&model.stores, &subject).await;
        let view = View::of(f.stores(), &subject).await;
        for (part, expected) in &expected.parts {
            self.agree(part, &view.parts.get(part), &Some(expected));
        }
    }

    /// Payloads may be missing where the delivery is not new; what is told must be right.
    fn agree_on_arrivals(&self, mut heard: Vec<Arrival>, mut expected: Vec<Arrival>) {
        for arrivals in [&mut heard, &mut expected] {
            arrivals.sort_by(|a, b| a.owed.key.cmp(&b.owed.key));
        }
        for (heard, expected) in heard.iter_mut().zip(&expected) {
            if heard.owed.round > 0 && heard.owed.payload.is_none() {
                heard.owed.payload.clone_from(&expected.owed.payload);
            }
        }
        self.agree("what was heard", &heard, &expected);
    }

    fn agree<T: PartialEq + std::fmt::Debug>(&self, what: &str, seen: &T, expected: &T) {
        if seen == expected {
            return;
        }
        let mut steps = String::new();
        let skipped = self.told.len().saturating_sub(STEPS_TOLD);
        for (number, step) in self.told.iter().enumerate().skip(skipped) {
            let _infallible = writeln!(steps, "  {number}: {step}");
        }
        panic!(
            "history {} disagrees with the reference on {what}\n\
             seen:     {seen:#?}\nexpected: {expected:#?}\nthe last steps:\n{steps}",
            self.number
        );
    }

    /// Settles all that is owed and lets everything expire: nothing is left, in any view.
    async fn end(mut self, f: &mut Fixture, model: &Model) -> Timestamp {
        let tenants = self.drawer.tenant_ids();
        let owed: Vec<Owed> = owed_of(&model.stores, &tenants).await;
        let at = self.drawer.now;
        let settlements = owed.iter().map(|owed| settlement(owed, at, DELIVERED)).collect();
        self.step(f, model, &Step::Settle(settlements)).await;
        self.step(f, model, &Step::Purge(Scope::All, at)).await;
        self.compare(f, model).await;
        let end = at.plus_millis(31 * DAY);
        self.step(f, model, &Step::Pass(end)).await;
        self.compare(f, model).await;
        let subject = self.drawer.view_subject();
        for (tenant, id) in subject.events {
            let left = f.stores().events.event(&tenant, id, end).await;
            self.agree("an event that has expired", &left, &Ok(None));
        }
        let dead = f.stores().dead_letters.list(&Scope::All, PLENTY).await;
        self.agree("dead letters that have expired", &dead, &Ok(Vec::new()));
        end
    }
}
