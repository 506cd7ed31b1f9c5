//! The suite that every adapter runs: what the traits promise, as facts that can be checked.
//!
//! An adapter's tests say once how to open an empty store ([`Subject`]) and hand that to
//! [`contract_tests!`](crate::contract_tests), which makes each fact a `#[test]` of its own. With
//! the word `durable` each runs a second time with the store closed and opened again wherever the
//! fact says "later" ([`Fixture::later`]).
//!
//! Refuses to ask more than the traits say: ties that the traits leave open are open here. Only
//! the public traits are used, so a fact cannot know which adapter it looks at.
//!
//! Invariant: every check is in `FACTS`; a check that is not there is dead code, which the
//! compiler reports.

#[macro_use]
mod facts;
mod fixture;
#[macro_use]
mod jobs;
mod samples;

mod accepting;
mod dead_letters;
mod expiring;
mod listing;
mod owing;
mod racing;
mod random;
mod retrying;
mod settling;
mod tenants;

pub use fixture::{Fixture, Lives, Stores, Subject};
pub use jobs::{JobFixture, JobSubject, hold_jobs, job_facts, jobs_hold};

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::time::Duration;

/// No fact needs longer, on the slowest disk: an adapter that hangs fails.
const FACT_TIMEOUT: Duration = Duration::from_secs(120);

/// A check: panics where the store under it breaks the fact.
type Check = for<'a> fn(&'a mut Fixture) -> Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Every fact: its area, its name, its check.
static FACTS: &[(&str, &str, Check)] = crate::contract_facts!(table);

/// The names of all facts, with their areas.
pub fn facts() -> impl Iterator<Item = (&'static str, &'static str)> {
    FACTS.iter().map(|(area, name, _)| (*area, *name))
}

/// Checks one fact on a fresh store.
///
/// # Panics
/// Where the fact does not hold, where there is no such fact, or where checking takes more than
/// two minutes.
pub fn hold(area: &str, name: &str, subject: impl Subject, lives: Lives) {
    let found = FACTS.iter().find(|fact| (fact.0, fact.1) == (area, name));
    let (_, _, check) = found.unwrap_or_else(|| panic!("no fact is named {area}::{name}"));
    // Several threads, so that facts about concurrent calls see real ones.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime can be made wherever tests can run");
    runtime.block_on(async {
        let checked = tokio::time::timeout(FACT_TIMEOUT, async {
            let mut fixture = Fixture::open(Box::new(subject), lives).await;
            check(&mut fixture).await;
            fixture.close().await;
        });
        assert!(checked.await.is_ok(), "not done within {FACT_TIMEOUT:?}");
    });
}

/// Whether a fact holds: what [`hold`] would panic with, as a value.
///
/// # Errors
/// The panic's message.
pub fn holds(area: &str, name: &str, subject: impl Subject, lives: Lives) -> Result<(), String> {
    let checked = catch_unwind(AssertUnwindSafe(|| hold(area, name, subject, lives)));
    checked.map_err(|panic| match panic.downcast::<String>() {
        Ok(message) => *message,
        Err(panic) => panic.downcast_ref::<&str>().copied().unwrap_or("panicked").to_owned(),
    })
}

/// Makes every fact of the contract a test of the crate that calls this.
///
/// `contract_tests!(open)`, where `fn open() -> impl Subject` makes an empty store, gives a module
/// `contract` of tests. `contract_tests!(open, durable)` gives a module `contract_over_restarts`
/// beside it, which closes and opens the store wherever a fact says "later".
#[macro_export]
macro_rules! contract_tests {
    ($open:ident) => {
        mod contract {
            $crate::contract_facts!(tests, $open, One);
        }
    };
    ($open:ident, durable) => {
        $crate::contract_tests!($open);
        mod contract_over_restarts {
            $crate::contract_facts!(tests, $open, Many);
        }
    };
}
