//! The suite for [`JobStore`]: as the one for the other ports, for those who keep jobs.
//!
//! Apart from it, because an adapter has either both kinds of port or one: the reference of jobs
//! keeps no tenants, and the adapters of a shared table keep no jobs.
//!
//! Invariant: every check is in `FACTS`; a check that is not there is dead code, which the
//! compiler reports.

#[macro_use]
mod facts;
mod samples;

mod changing;
mod cutting_off;
mod random;
mod sending;
mod waiting;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use posthaste_domain::{DeliveryKey, Owed, TimerPosition, Timestamp};

use super::{FACT_TIMEOUT, Lives};
use crate::{Job, JobChange, JobStore, ShardSpec, TimerPage};

/// A check: panics where the store under it breaks the fact.
type Check = for<'a> fn(&'a mut JobFixture) -> Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Every fact about jobs: its area, its name, its check.
static FACTS: &[(&str, &str, Check)] = crate::job_contract_facts!(table);

/// One store of jobs of an adapter under test, from its creation to its end.
#[async_trait]
pub trait JobSubject: Send + 'static {
    /// Opens the store: empty the first time, from then on with everything that was answered
    /// before it was closed.
    async fn open(&mut self) -> Arc<dyn JobStore>;

    /// Closes the store cleanly. Every store that was handed out has been dropped.
    async fn close(&mut self) {}
}

/// An open store of jobs, and how checks ask it.
pub struct JobFixture {
    subject: Box<dyn JobSubject>,
    // Invariant: none only within `later` and `close`.
    store: Option<Arc<dyn JobStore>>,
    lives: Lives,
}

impl JobFixture {
    /// Opens a store.
    pub async fn open(mut subject: Box<dyn JobSubject>, lives: Lives) -> Self {
        let store = Some(subject.open().await);
        Self { subject, store, lives }
    }

    /// Time passes: with [`Lives::Many`] the store is closed and opened again.
    pub async fn later(&mut self) {
        if self.lives == Lives::Many {
            self.store = None;
            self.subject.close().await;
            self.store = Some(self.subject.open().await);
        }
    }

    /// Closes the store.
    pub async fn close(mut self) {
        self.store = None;
        self.subject.close().await;
    }

    /// The store.
    #[must_use]
    pub const fn store(&self) -> &Arc<dyn JobStore> {
        self.store.as_ref().expect("a fixture that somebody can see is open")
    }

    async fn apply(&self, changes: Vec<JobChange>) {
        assert_eq!(self.store().apply(changes).await, Ok(()));
    }

    async fn put(&self, jobs: &[Job]) {
        self.apply(jobs.iter().map(samples::put).collect()).await;
    }

    async fn put_one(&self, job: &Job) {
        self.put(std::slice::from_ref(job)).await;
    }

    async fn remove(&self, keys: &[DeliveryKey]) {
        self.apply(keys.iter().cloned().map(JobChange::Remove).collect()).await;
    }

    async fn jobs(&self, keys: &[DeliveryKey]) -> Vec<Option<Job>> {
        self.store().jobs(keys).await.expect("reading works")
    }

    async fn job(&self, key: &DeliveryKey) -> Option<Job> {
        self.jobs(std::slice::from_ref(key)).await.pop().flatten()
    }

    async fn timers(
        &self,
        shard: ShardSpec,
        from: TimerPosition,
        until: Timestamp,
        max: usize,
    ) -> TimerPage {
        self.store().timers(shard, from, until, max).await.expect("reading works")
    }

    /// All timers of a shard up to `until`, read in pages of `max`.
    async fn timer_pages(&self, shard: ShardSpec, until: Timestamp, max: usize) -> Vec<Owed> {
        let (mut owed, mut from) = (Vec::new(), TimerPosition::START);
        loop {
            let page = self.timers(shard, from, until, max).await;
            assert!(page.owed.len() <= max, "a page of {} by {max}", page.owed.len());
            owed.extend(page.owed);
            match page.next {
                Some(next) => from = next,
                None => return owed,
            }
        }
    }

    /// The whole outbox, read in pages of `max`.
    async fn outbox_pages(&self, max: usize) -> Vec<Job> {
        let (mut jobs, mut after): (Vec<Job>, _) = (Vec::new(), None);
        loop {
            let page = self.store().outbox(after, max).await.expect("reading works");
            assert!(page.len() <= max, "a page of {} by {max}", page.len());
            let full = page.len() == max;
            after = page.last().map(|job| job.key.clone());
            jobs.extend(page);
            if !full {
                return jobs;
            }
        }
    }
}

impl fmt::Debug for JobFixture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobFixture").field("lives", &self.lives).finish_non_exhaustive()
    }
}

/// The names of all facts about jobs, with their areas.
pub fn job_facts() -> impl Iterator<Item = (&'static str, &'static str)> {
    FACTS.iter().map(|(area, name, _)| (*area, *name))
}

/// Checks one fact on a fresh store.
///
/// # Panics
/// As [`super::hold`].
pub fn hold_jobs(area: &str, name: &str, subject: impl JobSubject, lives: Lives) {
    let found = FACTS.iter().find(|fact| (fact.0, fact.1) == (area, name));
    let (_, _, check) = found.unwrap_or_else(|| panic!("no fact is named {area}::{name}"));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .expect("a runtime can be made wherever tests can run");
    runtime.block_on(async {
        let checked = tokio::time::timeout(FACT_TIMEOUT, async {
            let mut fixture = JobFixture::open(Box::new(subject), lives).await;
            check(&mut fixture).await;
            fixture.close().await;
        });
        assert!(checked.await.is_ok(), "not done within {FACT_TIMEOUT:?}");
    });
}

/// Whether a fact holds: what [`hold_jobs`] would panic with, as a value.
///
/// # Errors
/// The panic's message.
pub fn jobs_hold(
    area: &str,
    name: &str,
    subject: impl JobSubject,
    lives: Lives,
) -> Result<(), String> {
    let checked = catch_unwind(AssertUnwindSafe(|| hold_jobs(area, name, subject, lives)));
    checked.map_err(|panic| match panic.downcast::<String>() {
        Ok(message) => *message,
        Err(panic) => panic.downcast_ref::<&str>().copied().unwrap_or("panicked").to_owned(),
    })
}

/// Makes every fact about jobs a test of the crate that calls this: as
/// [`contract_tests!`](crate::contract_tests), where `fn open() -> impl JobSubject`.
#[macro_export]
macro_rules! job_contract_tests {
    ($open:ident) => {
        mod job_contract {
            $crate::job_contract_facts!(tests, $open, One);
        }
    };
    ($open:ident, durable) => {
        $crate::job_contract_tests!($open);
        mod job_contract_over_restarts {
            $crate::job_contract_facts!(tests, $open, Many);
        }
    };
}
