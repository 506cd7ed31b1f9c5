//! Draws orders, and runs a scenario in each.

use std::panic::{self, AssertUnwindSafe};

use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};

use crate::tokio::time::stand_still;

/// Orders of each scenario in CI, half of them at random, half by priorities.
const SCHEDULES: usize = 1_000;
const SCHEDULES_LONG: usize = 100_000;
/// Orders in which a wrong variant must be caught.
const SCHEDULES_CONTROL: usize = 4_000;
/// Changes of priority: two are what most faults take, three leave room.
const CHANGES: usize = 3;
const SEED: u64 = 0x5EED;
/// A scenario that takes more turns goes round in circles.
const STEPS_MAX: usize = 50_000;

/// Holds a scenario to its promise in every order that is drawn, and shows that the same scenario
/// catches each wrong variant.
pub(crate) fn prove(part: &str, right: fn(), wrong: &[(&str, fn())]) {
    let is_long = std::env::var_os("PROVE_LONG").is_some_and(|value| value == "1");
    let schedules = if is_long { SCHEDULES_LONG } else { SCHEDULES };
    schedule(right, schedules, FailurePersistence::Print);
    for (name, wrong) in wrong {
        assert!(is_caught(*wrong), "{part}: {name} is not caught: the scenario shows nothing");
    }
    let names: Vec<_> = wrong.iter().map(|(name, _)| *name).collect();
    println!(
        "proof: 28 tried {schedules} held {schedules} control {part}: caught {}",
        names.join(", ")
    );
}

/// The same where no time ever passes: whatever only a time-out would mend is a fault.
pub(crate) fn prove_without_time(part: &str, right: fn(), wrong: &[(&str, fn())]) {
    stand_still(true);
    prove(part, right, wrong);
    stand_still(false);
}

fn schedule(scenario: fn(), schedules: usize, persistence: FailurePersistence) {
    let half = schedules / 2;
    run(RandomScheduler::new_from_seed(SEED, half), scenario, persistence.clone());
    run(PctScheduler::new_from_seed(SEED, CHANGES, half), scenario, persistence);
}

fn run(scheduler: impl Scheduler + 'static, scenario: fn(), persistence: FailurePersistence) {
    let mut config = Config::new();
    config.failure_persistence = persistence;
    config.max_steps = MaxSteps::FailAfter(STEPS_MAX);
    config.stack_size = 1 << 17;
    Runner::new(scheduler, config).run(scenario);
}

/// Whether some order is found in which the scenario fails, or in which everybody waits for ever.
fn is_caught(scenario: fn()) -> bool {
    let hook = panic::take_hook();
    // What a control fails with is what it is for.
    panic::set_hook(Box::new(|_| {}));
    let caught = panic::catch_unwind(AssertUnwindSafe(|| {
        schedule(scenario, SCHEDULES_CONTROL, FailurePersistence::None);
    }));
    panic::set_hook(hook);
    caught.is_err()
}
