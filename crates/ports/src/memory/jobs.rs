//! The reference of what an instance keeps about what it owes: one map, every view computed.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use posthaste_domain::{DeliveryKey, Owed, OwedAs, TimerPosition, Timestamp};

use crate::{Job, JobChange, JobState, JobStore, PortError, ShardSpec, TimerPage};

/// Jobs in memory. Clones share them.
#[derive(Clone, Default)]
pub struct MemoryJobs {
    jobs: Arc<Mutex<BTreeMap<DeliveryKey, Job>>>,
    full: Arc<AtomicBool>,
}

impl MemoryJobs {
    /// Whether it says from now on that it is full. It takes what it is given all the same.
    pub fn set_full(&self, full: bool) {
        self.full.store(full, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<DeliveryKey, Job>> {
        // Nothing panics between two changes that belong together, so a poisoned map is whole.
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryJobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryJobs")
    }
}

#[async_trait]
impl JobStore for MemoryJobs {
    fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    async fn apply(&self, changes: Vec<JobChange>) -> Result<(), PortError> {
        let mut jobs = self.lock();
        for change in changes {
            let later = |key: &DeliveryKey, round| jobs.get(key).is_some_and(|it| it.round > round);
            match change {
                JobChange::Put(job) if later(&job.key, job.round) => {}
                JobChange::End(key, round) if later(&key, round) => {}
                JobChange::Put(job) => drop(jobs.insert(job.key.clone(), *job)),
                JobChange::End(key, _) | JobChange::Remove(key) => drop(jobs.remove(&key)),
            }
        }
        Ok(())
    }

    async fn jobs(&self, keys: &[DeliveryKey]) -> Result<Vec<Option<Job>>, PortError> {
        let jobs = self.lock();
        Ok(keys.iter().map(|key| jobs.get(key).cloned()).collect())
    }

    async fn timers(
        &self,
        shard: ShardSpec,
        from: TimerPosition,
        until: Timestamp,
        max: usize,
    ) -> Result<TimerPage, PortError> {
        let jobs = self.lock();
        let own = jobs.values().filter(|job| shard.owns(job.shard_key)).filter_map(timer);
        let timers: BTreeMap<TimerPosition, Owed> = own
            .filter(|owed| owed.due() <= until)
            .map(|owed| (TimerPosition { due: owed.due(), key: Some(owed.key.clone()) }, owed))
            .collect();
        let after = (Bound::Excluded(from.clone()), Bound::Unbounded);
        let mut following = timers.range(after);
        let page: Vec<_> = following.by_ref().take(max).collect();
        let more = following.next().is_some();
        let last = page.last().map_or(from, |(position, _)| (*position).clone());
        let owed = page.into_iter().map(|(_, owed)| owed.clone()).collect();
        Ok(TimerPage { owed, next: more.then_some(last) })
    }

    async fn outbox(&self, after: Option<DeliveryKey>, max: usize) -> Result<Vec<Job>, PortError> {
        let jobs = self.lock();
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let unsent = jobs
            .range((after, Bound::Unbounded))
            .map(|(_, job)| job)
            .filter(|job| matches!(job.state, JobState::Unwritten(_) | JobState::Dying { .. }));
        Ok(unsent.take(max).cloned().collect())
    }

    async fn forget_cut_off(&self, before: Timestamp, max: usize) -> Result<u64, PortError> {
        let mut jobs = self.lock();
        let old = |job: &&Job| matches!(job.state, JobState::CutOff { at } if at < before);
        let keys: Vec<_> = jobs.values().filter(old).take(max).map(|job| job.key.clone()).collect();
        for key in &keys {
            jobs.remove(key);
        }
        Ok(keys.len() as u64)
    }
}

/// What a waiting job owes; none of another state.
fn timer(job: &Job) -> Option<Owed> {
    let JobState::Waiting { due, attempts } = job.state else { return None };
    Some(Owed {
        key: job.key.clone(),
        round: job.round,
        attempts,
        interrupted: job.interrupted,
        owed_as: OwedAs::Timer(due),
        payload: None,
    })
}
