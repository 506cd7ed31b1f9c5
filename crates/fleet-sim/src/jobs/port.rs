//! A disk in a running daemon.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use posthaste_domain::{DeliveryKey, RowKey, TimerPosition, Timestamp};
use posthaste_ports::memory::MemoryJobs;
use posthaste_ports::{Job, JobChange, JobState, JobStore, PortError, ShardSpec, TimerPage};
use tokio::time::sleep;

use super::Disk;
use crate::cloud::Line;
use crate::coverage::job_change;
use crate::failpoint::{Site, Step};
use crate::mutant::Mutant;
use crate::plan::FaultKind;
use crate::trace::Who;
use crate::world::World;

/// A disk in a running daemon.
#[derive(Clone)]
pub(crate) struct DiskPort {
    pub(crate) world: Arc<World>,
    pub(crate) daemon: usize,
    pub(crate) disk: Arc<Mutex<Disk>>,
}

impl DiskPort {
    fn line(&self) -> Line {
        Line { world: Arc::clone(&self.world), who: Who::Daemon(self.daemon) }
    }

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

/// The steps of the protocol that changes are part of.
fn steps(changes: &[JobChange]) -> Vec<(Step, RowKey)> {
    let mut steps = Vec::new();
    for change in changes {
        let (step, key) = match change {
            JobChange::Put(job) => match job.state {
                JobState::Unwritten(_) => (Step::Record, &job.key),
                JobState::Waiting { .. } => (Step::Wait, &job.key),
                JobState::Dying { .. } | JobState::CutOff { .. } => continue,
            },
            JobChange::End(key, _) | JobChange::Remove(key) => (Step::Clear, key),
        };
        let key = RowKey { tenant: key.tenant.clone(), event: key.event };
        if steps.iter().all(|(known, _)| *known != step) {
            steps.push((step, key));
        }
    }
    steps
}

const fn key_of(change: &JobChange) -> &DeliveryKey {
    match change {
        JobChange::Put(job) => &job.key,
        JobChange::End(key, _) | JobChange::Remove(key) => key,
    }
}

impl DiskPort {
    fn do_changes(&self, changes: Vec<JobChange>) {
        let ms = self.world.ms();
        for mut change in changes {
            let key = key_of(&change).clone();
            if let JobChange::Put(job) = &mut change
                && self.world.has(Mutant::ForgetEpochs)
            {
                job.epoch = 0;
            }
            // Not what was asked for: what comes late for its round changes nothing.
            let (before, after) = {
                let mut disk = self.lock();
                let before = disk.job(&key);
                disk.change(ms, change);
                (before, disk.job(&key))
            };
            let is_unwritten =
                after.as_ref().is_some_and(|job| matches!(job.state, JobState::Unwritten(_)));
            let key = RowKey { tenant: key.tenant, event: key.event };
            let mut state = self.world.lock();
            state.judge.note_unwritten(self.daemon, key, is_unwritten);
            if let Some(what) = job_change(before.as_ref(), after.as_ref()) {
                state.coverage.saw_change(what);
            }
        }
    }

    /// A commit fails, with what is in it done or not. Its daemon ends itself a moment later, and
    /// writes nothing any more until then.
    fn break_down(&self, changes: Vec<JobChange>) -> PortError {
        let (is_done, ends_in_ms) = {
            let mut state = self.world.lock();
            state.coverage.hit(FaultKind::FailedCommit);
            (state.chance.permille(500), state.chance.within((0, 1_000)))
        };
        self.world.note(Who::Daemon(self.daemon), "breaks its disk", None, [ends_in_ms, 0]);
        if is_done {
            self.do_changes(changes);
        }
        self.lock().is_broken = true;
        let (world, daemon) = (Arc::clone(&self.world), self.daemon);
        tokio::task::spawn_local(async move {
            sleep(Duration::from_millis(ends_in_ms)).await;
            world.blown[daemon].notify_one();
        });
        failed()
    }

    async fn come_before(&self, steps: &[(Step, RowKey)]) -> Result<(), PortError> {
        let chance = self.world.plan.fleet.failed_commits_permille;
        if !self.world.is_calm() && self.world.lock().chance.permille(chance) {
            return Err(failed());
        }
        for (step, key) in steps {
            self.line().at(Site::Before(*step), Some(key)).await?;
        }
        Ok(())
    }

    fn reads(&self) -> Result<(), PortError> {
        match self.lock().is_broken {
            true => Err(PortError::Transient("the disk does not answer".to_owned())),
            false => Ok(()),
        }
    }
}

fn failed() -> PortError {
    PortError::Permanent("a commit failed".to_owned())
}

#[async_trait]
impl JobStore for DiskPort {
    fn is_full(&self) -> bool {
        let ms = self.world.ms();
        let full = &self.world.plan.fleet.full_disks;
        let is_full = full
            .iter()
            .any(|(daemon, (from, until))| *daemon == self.daemon && *from <= ms && ms < *until);
        let mut state = self.world.lock();
        if is_full {
            state.coverage.hit(FaultKind::FullDisk);
        }
        is_full || state.extras.full_until_ms.get(&self.daemon).is_some_and(|until| ms < *until)
    }

    async fn apply(&self, changes: Vec<JobChange>) -> Result<(), PortError> {
        self.take_time().await;
        if self.lock().is_broken {
            return Err(failed());
        }
        let steps = steps(&changes);
        if self.come_before(&steps).await.is_err() {
            return Err(self.break_down(changes));
        }
        self.do_changes(changes);
        for (step, key) in &steps {
            if self.line().at(Site::After(*step), Some(key)).await.is_err() {
                return Err(self.break_down(Vec::new()));
            }
        }
        self.take_time().await;
        Ok(())
    }

    async fn jobs(&self, keys: &[DeliveryKey]) -> Result<Vec<Option<Job>>, PortError> {
        self.take_time().await;
        self.reads()?;
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
        self.reads()?;
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
