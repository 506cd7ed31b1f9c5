//! A seeded world around the real engine: a virtual clock, a store that crashes, stalls and loses
//! answers, endpoints that fail, hang and recover, and a judge who sees everything.
//!
//! Same seed, same trace. The simulator depends on the engine and its words only; if it needs
//! something else, the engine has taken on work that is not its own.

mod chance;
mod endpoint;
mod mutant;
mod plan;
mod process;
mod report;
mod seeds;
mod store;
mod trace;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

pub use chance::Chance;
pub use endpoint::{ATTEMPT_MS_MAX, Behaviour};
pub use mutant::Mutant;
pub use plan::{Millis, Place, Plan, ProcessPlan, START, StorePlan};
pub use report::{Counts, Coverage, Failure, Report};
pub use seeds::{Seeds, Sum};

use crate::world::World;

/// Runs a world until everything in it is settled.
///
/// # Errors
/// [`Failure`] says what went wrong first, and how to see it again. A panic of the engine is one.
pub fn run(plan: &Plan) -> Result<Report, Failure> {
    run_world(plan, World::new(plan, false))
}

/// The same, and prints every step to standard output.
///
/// # Errors
/// As [`run`].
pub fn run_aloud(plan: &Plan) -> Result<Report, Failure> {
    run_world(plan, World::new(plan, true))
}

fn run_world(plan: &Plan, mut world: World<'_>) -> Result<Report, Failure> {
    let ended = catch_unwind(AssertUnwindSafe(|| world.run()));
    let what = match ended {
        Ok(Ok(())) => {
            return Ok(Report { counts: world.counts, trace_hash: world.trace.hash() });
        }
        Ok(Err(wrong)) => wrong,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            format!("panic: {}", text.unwrap_or("without a text"))
        }
    };
    Err(Failure {
        seed: plan.seed,
        deliveries: plan.deliveries,
        mutant: plan.mutant,
        at: world.now,
        what,
    })
}
