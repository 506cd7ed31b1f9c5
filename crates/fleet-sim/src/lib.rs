//! A seeded fleet: several daemons, each with the real courier and the real engine, around a cloud
//! that lags, throttles, loses replies and fails.
//!
//! Which faults exist in a world, and how hard they are, is drawn from its seed: each kind with a
//! chance of one half ([`FaultKind`]). What a run of seeds has reached is counted by name
//! ([`Coverage`]): states and transitions of rows, jobs and endpoints, decisions, inputs, effects,
//! and each kind of fault that was there and that hit something. A run that should have reached
//! more fails. Beside the seeds there is a world for each crash point of the protocol
//! ([`Failpoint`]), and some for one promise each.
//!
//! Same seed, same trace. Nothing here is real but the code under test: time is virtual, and no
//! thread, socket or disk is used.
//!
//! ```text
//!  senders ──► table, queue ◄──► daemon 0..n: courier ──► engine ──► driver ──► endpoints
//!  operators ──►  (cloud)            │  disk (jobs)                               │
//!                    └───────────────┴──────── judge: every write, every request ─┘
//! ```

mod clients;
mod clock;
mod cloud;
mod coverage;
mod daemon;
mod driver;
mod endpoint;
mod failpoint;
mod jobs;
mod judge;
mod mutant;
mod plan;
mod report;
mod run;
mod tenants;
mod trace;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

pub use coverage::Coverage;
pub use endpoint::Behaviour;
pub use failpoint::{CRASH_POINTS, Failpoint, How};
pub use mutant::Mutant;
pub use plan::{
    Clients, DiskFate, Fault, FaultKind, Fleet, Happening, Millis, Oddities, Plan, START, Service,
    Swarm, Tenant, Window,
};
pub use report::{Counts, Failure, Report};

/// Runs a world until everything in it is settled.
///
/// # Errors
/// [`Failure`] says what went wrong first, and how to see it again. A panic is one.
pub fn run(plan: &Plan) -> Result<Report, Failure> {
    run_world(plan, false)
}

/// The same, and prints every step to standard output.
///
/// # Errors
/// As [`run()`].
pub fn run_aloud(plan: &Plan) -> Result<Report, Failure> {
    run_world(plan, true)
}

fn run_world(plan: &Plan, aloud: bool) -> Result<Report, Failure> {
    let ended = catch_unwind(AssertUnwindSafe(|| run::run(plan.clone(), aloud)));
    let (at_ms, what) = match ended {
        Ok(Ok(report)) => return Ok(report),
        Ok(Err(wrong)) => wrong,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            (0, format!("panic: {}", text.unwrap_or("without a text")))
        }
    };
    let (seed, events, mutant) = (plan.seed, plan.clients.events, plan.mutant);
    Err(Failure { seed, events, mutant, failpoint: plan.failpoint, at_ms, what })
}
