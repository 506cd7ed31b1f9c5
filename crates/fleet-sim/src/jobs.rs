//! A daemon's disk: its jobs, the name of its owner, and the register of attempts in flight.
//!
//! It takes time, fills up, and fails; in a power cut it loses what was written last, or some of
//! it.

mod port;

pub(crate) use port::DiskPort;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use futures_util::FutureExt as _;
use posthaste_domain::{DeliveryKey, InstanceId, Timestamp};
use posthaste_ports::memory::MemoryJobs;
use posthaste_ports::{Job, JobChange, JobState, JobStore as _};
use posthaste_sim::Chance;

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
    /// Whether a commit has failed: nothing is written any more, until the next start.
    pub(crate) is_broken: bool,
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

    /// Of what was written since, some deliveries keep it, some have lost the last writes, and of
    /// some nothing can be read any more; gives those that are not as they were.
    pub(crate) fn tear_since(&mut self, ms: u64, chance: &mut Chance) -> Vec<DeliveryKey> {
        let mut lately: BTreeMap<DeliveryKey, Vec<Option<Job>>> = BTreeMap::new();
        for (_, key, before) in self.undo.iter().filter(|(at, ..)| *at >= ms) {
            lately.entry(key.clone()).or_default().push(before.clone());
        }
        let mut changed = Vec::new();
        for (key, befores) in lately {
            let kept = match chance.within((0, 3)) {
                0 => befores[chance.index(befores.len())].clone(),
                1 => None,
                _ => continue,
            };
            changed.push(key.clone());
            self.put(JobChange::Remove(key));
            if let Some(job) = kept {
                self.put(JobChange::Put(Box::new(job)));
            }
        }
        self.undo.clear();
        changed
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
    /// about to begin; gives their names, and whether that made a new note.
    pub(crate) fn count_cut_off(&mut self, ms: u64, now: Timestamp) -> Vec<(DeliveryKey, bool)> {
        let mut names = Vec::new();
        for (key, (round, number)) in std::mem::take(&mut self.marks) {
            let known = self.job(&key);
            let is_new = known.is_none();
            if let Some(job) = counted(known, (&key, round, number), now) {
                self.change(ms, JobChange::Put(Box::new(job)));
            }
            names.push((key, is_new));
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
