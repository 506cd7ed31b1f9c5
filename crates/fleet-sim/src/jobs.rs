//! A daemon's disk: its jobs, the name of its owner, and the register of attempts in flight.
//!
//! It takes time, and in a power cut it loses what was written last.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use posthaste_domain::{DeliveryKey, InstanceId, RowKey, TimerPosition, Timestamp};
use posthaste_ports::memory::MemoryJobs;
use posthaste_ports::{Job, JobChange, JobState, JobStore, PortError, ShardSpec, TimerPage};
use tokio::time::sleep;

use crate::mutant::Mutant;
use crate::world::World;

/// How long writes can be taken back, in milliseconds.
const UNDO_MS: u64 = 60_000;

/// What is on a disk.
#[derive(Default)]
pub(crate) struct Disk {
    jobs: MemoryJobs,
    /// Whatever had a job at some time.
    names: BTreeSet<DeliveryKey>,
    /// What each of the last writes replaced.
    undo: VecDeque<(u64, DeliveryKey, Option<Job>)>,
    /// Whose it is.
    pub(crate) owner: Option<InstanceId>,
    /// Attempts in flight, by round and number.
    pub(crate) marks: BTreeMap<DeliveryKey, (u32, u32)>,
}

impl Disk {
    pub(crate) fn job(&self, key: &DeliveryKey) -> Option<Job> {
        let keys = std::slice::from_ref(key);
        let read = self.jobs.jobs(keys).now_or_never();
        read.and_then(|read| read.ok()?.pop().flatten())
    }

    fn change(&mut self, ms: u64, change: JobChange) {
        let key = match &change {
            JobChange::Put(job) => job.key.clone(),
            JobChange::End(key, _) | JobChange::Remove(key) => key.clone(),
        };
        let before = self.job(&key);
        self.undo.push_back((ms, key, before));
        while self.undo.front().is_some_and(|(at, ..)| at + UNDO_MS < ms) {
            self.undo.pop_front();
        }
        self.put(change);
    }

    fn put(&mut self, change: JobChange) {
        if let JobChange::Put(job) = &change {
            self.names.insert(job.key.clone());
        }
        let done = self.jobs.apply(vec![change]).now_or_never();
        debug_assert_eq!(done, Some(Ok(())), "memory always has room");
    }

    /// Takes back what was written since; gives the deliveries that it was about.
    pub(crate) fn lose_since(&mut self, ms: u64) -> Vec<DeliveryKey> {
        let mut lost = Vec::new();
        while self.undo.back().is_some_and(|(at, ..)| *at >= ms) {
            let Some((_, key, before)) = self.undo.pop_back() else { break };
            lost.push(key.clone());
            // Of a later round too: this disk has never heard of it.
            self.put(JobChange::Remove(key));
            if let Some(job) = before {
                self.put(JobChange::Put(Box::new(job)));
            }
        }
        lost.sort();
        lost.dedup();
        lost
    }

    pub(crate) fn all(&self) -> Vec<Job> {
        self.names.iter().filter_map(|key| self.job(key)).collect()
    }

    /// Takes everything out of a disk, to work on it.
    pub(crate) fn take_out(&mut self) -> Self {
        std::mem::take(self)
    }

    /// Puts it back.
    pub(crate) fn put_back(&mut self, disk: Self) {
        *self = disk;
    }

    /// The same things on another disk.
    pub(crate) fn copied(&self) -> Self {
        let mut copy =
            Self { owner: self.owner.clone(), marks: self.marks.clone(), ..Self::default() };
        for job in self.all() {
            copy.put(JobChange::Put(Box::new(job)));
        }
        copy
    }

    /// What a start makes of the register: counts each attempt that the last end cut off, begun or
    /// about to begin; gives their names.
    pub(crate) fn count_cut_off(&mut self, ms: u64, now: Timestamp) -> Vec<DeliveryKey> {
        let marks = std::mem::take(&mut self.marks);
        let names = marks.keys().cloned().collect();
        for (key, (round, number)) in marks {
            let counted = counted(self.job(&key), (&key, round, number), now);
            if let Some(job) = counted {
                self.change(ms, JobChange::Put(Box::new(job)));
            }
        }
        names
    }
}

/// As the ledger counts it: a job whose next attempt this was, or a new note.
fn counted(
    job: Option<Job>,
    (key, round, number): (&DeliveryKey, u32, u32),
    at: Timestamp,
) -> Option<Job> {
    let first = Job {
        key: key.clone(),
        round,
        shard_key: 0,
        interrupted: 1,
        epoch: 0,
        lease_until: Timestamp::ZERO,
        state: JobState::CutOff { at },
        payload: None,
    };
    let Some(mut job) = job else { return Some(first) };
    let (same, known) = (job.round == round, job.round);
    match &mut job.state {
        JobState::Waiting { attempts, .. } if same && *attempts + 1 == number => {}
        JobState::CutOff { at: noted } if same => *noted = at,
        JobState::CutOff { .. } if known < round => return Some(first),
        JobState::Unwritten(outcome) if same && outcome.attempts + 1 == number => {
            outcome.interrupted = outcome.interrupted.saturating_add(1);
        }
        _ => return None,
    }
    job.interrupted = job.interrupted.saturating_add(1);
    Some(job)
}

/// A disk in a running daemon.
#[derive(Clone)]
pub(crate) struct DiskPort {
    pub(crate) world: Arc<World>,
    pub(crate) daemon: usize,
    pub(crate) disk: Arc<Mutex<Disk>>,
}

impl DiskPort {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn take_time(&self) {
        let ms = self.world.lock().chance.within(self.world.plan.fleet.disk_ms);
        if ms > 0 {
            sleep(Duration::from_millis(ms)).await;
        }
    }

    fn jobs_port(&self) -> MemoryJobs {
        self.lock().jobs.clone()
    }
}

#[async_trait]
impl JobStore for DiskPort {
    fn is_full(&self) -> bool {
        false
    }

    async fn apply(&self, changes: Vec<JobChange>) -> Result<(), PortError> {
        self.take_time().await;
        let ms = self.world.ms();
        for change in changes {
            let key = match &change {
                JobChange::Put(job) => job.key.clone(),
                JobChange::End(key, _) | JobChange::Remove(key) => key.clone(),
            };
            let change = match change {
                JobChange::Put(mut job) if self.world.has(Mutant::ForgetEpochs) => {
                    job.epoch = 0;
                    JobChange::Put(job)
                }
                change => change,
            };
            // Not what was asked for: what comes late for its round changes nothing.
            let is_unwritten = {
                let mut disk = self.lock();
                disk.change(ms, change);
                disk.job(&key).is_some_and(|job| matches!(job.state, JobState::Unwritten(_)))
            };
            let key = RowKey { tenant: key.tenant, event: key.event };
            self.world.lock().judge.note_unwritten(self.daemon, key, is_unwritten);
        }
        self.take_time().await;
        Ok(())
    }

    async fn jobs(&self, keys: &[DeliveryKey]) -> Result<Vec<Option<Job>>, PortError> {
        self.take_time().await;
        let read = self.jobs_port().jobs(keys).await;
        self.take_time().await;
        read
    }

    async fn timers(
        &self,
        shard: ShardSpec,
        from: TimerPosition,
        until: Timestamp,
        max: usize,
    ) -> Result<TimerPage, PortError> {
        self.take_time().await;
        let read = self.jobs_port().timers(shard, from, until, max).await;
        self.take_time().await;
        read
    }

    async fn outbox(&self, after: Option<DeliveryKey>, max: usize) -> Result<Vec<Job>, PortError> {
        self.take_time().await;
        if self.world.has(Mutant::NoReplay) {
            return Ok(Vec::new());
        }
        self.jobs_port().outbox(after, max).await
    }

    async fn forget_cut_off(&self, before: Timestamp, max: usize) -> Result<u64, PortError> {
        self.take_time().await;
        self.jobs_port().forget_cut_off(before, max).await
    }
}
