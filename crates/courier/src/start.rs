//! How a courier starts, works and stops (PROTOCOL 18 to 20).

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use posthaste_domain::{DeliveryKey, RowWrite, TimerPosition, Timestamp};
use posthaste_ports::{Job, JobChange, JobState, PortError, ShardSpec, TimerPage, Written};
use posthaste_protocol::{AtStart, Disk, at_start, extend};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::info;

use crate::courier::{Courier, row_key};
use crate::dying::Dead;
use crate::outcomes::Outcome;

/// Jobs read in one go.
const PAGE_MAX: usize = 1_000;
/// Cut-off counts are kept so long, in milliseconds: no message is out of sight for longer.
const CUT_OFF_KEPT_MS: u64 = 24 * 60 * 60 * 1000;

/// Deletions on their way at a time.
const DELETERS: usize = 2;

/// A part of a courier's work.
pub type Part = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Whether there is nothing more to begin: somebody said so, or nobody is there to say so any more.
pub(crate) fn is_stopped(stop: &watch::Receiver<bool>) -> bool {
    *stop.borrow() || stop.has_changed().is_err()
}

/// What a start found on its disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Started {
    /// Outcomes whose row is written again, to be sure.
    pub replayed: u64,
    /// Jobs of another instance that were forgotten.
    pub forgotten: u64,
}

/// What became of the leases of the retries that waited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Released {
    /// Others take these over when they are due.
    pub given_away: u64,
    /// And these only when their leases end: the table did not answer, or time ran out.
    pub kept: u64,
}

impl Courier {
    /// Takes up what the disk says is not finished. To be called once, before the shards start.
    ///
    /// # Errors
    /// Where the jobs cannot be read.
    pub async fn start(&self, disk: Disk) -> Result<Started, PortError> {
        let mut started = Started::default();
        if disk == Disk::Foreign {
            started.forgotten = self.forget_waiting().await?;
        }
        let mut after = None;
        loop {
            let page = self.ports.jobs.outbox(after.clone(), PAGE_MAX).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.key.clone());
            for job in page {
                self.take_up(job, disk, &mut started).await;
            }
        }
        let before = self.now().as_millis().saturating_sub(CUT_OFF_KEPT_MS);
        while self.ports.jobs.forget_cut_off(Timestamp::from_millis(before), PAGE_MAX).await? > 0 {}
        if started != Started::default() {
            let Started { replayed, forgotten } = started;
            info!(replayed, forgotten, "took up what was not finished");
        }
        Ok(started)
    }

    async fn take_up(&self, job: Job, disk: Disk, started: &mut Started) {
        let local = self.local(&job.key, Some(&job));
        match at_start(local, disk) {
            AtStart::Replay => {
                started.replayed += 1;
                match job.state {
                    JobState::Unwritten(_) => self.outcomes.push(Outcome::replayed(job)),
                    _ => self.dying.push(Dead::new(job)),
                }
            }
            AtStart::Forget => {
                started.forgotten += 1;
                self.forget(vec![JobChange::End(job.key, job.round)]).await;
            }
            AtStart::Schedule | AtStart::Keep => {}
        }
    }

    /// Forgets the timers of another instance.
    async fn forget_waiting(&self) -> Result<u64, PortError> {
        let whole = ShardSpec { index: 0, count: 1 };
        let mut forgotten = 0;
        loop {
            // From the beginning each time: what was read is removed.
            let (from, until) = (TimerPosition::START, Timestamp::MAX);
            let page: TimerPage = self.ports.jobs.timers(whole, from, until, PAGE_MAX).await?;
            if page.owed.is_empty() {
                return Ok(forgotten);
            }
            forgotten += page.owed.len() as u64;
            let removed =
                page.owed.into_iter().map(|owed| JobChange::End(owed.key, owed.round)).collect();
            self.ports.jobs.apply(removed).await?;
        }
    }

    /// The courier's parts, each to be run beside the others: they receive and sweep until `stop`
    /// says otherwise, and write, delete, bury and keep hidden for ever. What drops them must drop
    /// all of them.
    #[must_use]
    pub fn parts(self: &Arc<Self>, stop: &watch::Receiver<bool>) -> Vec<Part> {
        let mut parts: Vec<Part> = Vec::new();
        for _ in 0..self.settings.row_writers {
            let courier = Arc::clone(self);
            parts.push(Box::pin(async move { courier.write_outcomes().await }));
        }
        for _ in 0..DELETERS {
            let courier = Arc::clone(self);
            parts.push(Box::pin(async move { courier.delete().await }));
        }
        let courier = Arc::clone(self);
        parts.push(Box::pin(async move { courier.bury().await }));
        let courier = Arc::clone(self);
        parts.push(Box::pin(async move { courier.keep_hidden().await }));
        let (courier, stopped) = (Arc::clone(self), stop.clone());
        parts.push(Box::pin(async move { courier.sweep(stopped).await }));
        for index in 0..self.settings.intake_polls {
            let (courier, stopped) = (Arc::clone(self), stop.clone());
            parts.push(Box::pin(async move { courier.receive(index, stopped).await }));
        }
        parts
    }

    /// Ends the work of a courier that receives no more and whose shards have stopped: everything
    /// that is known goes into its row, and what was not begun is given back to the queue. Says
    /// whether that was done within `within_ms`; what was not is left to the next start.
    pub async fn finish(&self, within_ms: u64) -> bool {
        let within = Duration::from_millis(within_ms);
        // What a poll brings now it gives back itself; one that takes messages in does so first. A
        // sweep takes over no further page.
        drop(timeout(within, self.polls.idle()).await);
        // What is left is in the outbox.
        let is_written = timeout(within, self.become_idle()).await.is_ok();
        let receipts = self.held().drain();
        if !receipts.is_empty() {
            let given_back = self.ports.queue.hide(receipts, 0);
            // They come again by themselves, only later.
            drop(timeout(within, given_back).await);
        }
        is_written
    }

    /// Gives away the leases of the retries that wait here, so that others sweep them as soon as
    /// they are due instead of when the leases end (PROTOCOL 20, an instance that does not come
    /// back). Ends after `within_ms`, and before where the table does not answer.
    ///
    /// # Errors
    /// Where the jobs cannot be read. A lease that cannot be given away ends by itself.
    pub async fn release_leases(&self, within_ms: u64) -> Result<Released, PortError> {
        let end = Instant::now() + Duration::from_millis(within_ms);
        let whole = ShardSpec { index: 0, count: 1 };
        let (mut from, mut released) = (TimerPosition::START, Released::default());
        let mut is_answered = true;
        loop {
            let page = self.ports.jobs.timers(whole, from, Timestamp::MAX, PAGE_MAX).await?;
            let keys: Vec<DeliveryKey> = page.owed.into_iter().map(|owed| owed.key).collect();
            if is_answered && Instant::now() < end {
                is_answered = self.release_page(&keys, end, &mut released).await?;
            } else {
                // Only counted: this disk answers at once.
                released.kept += keys.len() as u64;
            }
            let Some(next) = page.next else { return Ok(released) };
            from = next;
        }
    }

    /// Says whether the table answered, as far as there was anything to ask.
    async fn release_page(
        &self,
        keys: &[DeliveryKey],
        end: Instant,
        released: &mut Released,
    ) -> Result<bool, PortError> {
        let jobs = self.ports.jobs.jobs(keys).await?;
        let given_away = jobs.into_iter().flatten().filter_map(|mut job| {
            let JobState::Waiting { due, .. } = job.state else { return None };
            // Others take it over when it is due, not before; they go by the table's clock.
            job.lease_until = due.plus_millis(self.behind_ms()).max(self.claim_now());
            Some(job)
        });
        let given_away: Vec<Job> = given_away.collect();
        if given_away.is_empty() {
            return Ok(true);
        }
        // Noted here first: whoever starts on this disk must not take itself for the owner.
        let puts = given_away.iter().map(|job| JobChange::Put(Box::new(job.clone())));
        self.ports.jobs.apply(puts.collect()).await?;
        let give_away = |job: &Job| -> RowWrite {
            let (key, owner) = (row_key(&job.key), self.owner(job.epoch));
            extend(&key, job.round, owner, job.lease_until)
        };
        let writes = given_away.iter().map(give_away).collect();
        let Ok(answers) = timeout_at(end, self.ports.rows.write(writes)).await else {
            // Some may be done; who takes those over is told by the row.
            released.kept += given_away.len() as u64;
            return Ok(false);
        };
        for answer in &answers {
            match answer {
                Ok(Written::Done) => released.given_away += 1,
                // Not ours any more, so nothing is kept from anybody.
                Ok(Written::Refused(_)) => {}
                Err(_) => released.kept += 1,
            }
        }
        Ok(answers.iter().any(Result::is_ok))
    }

    /// In the order in which one makes work for the next.
    async fn become_idle(&self) {
        self.outcomes.idle().await;
        self.dying.idle().await;
        self.releases.idle().await;
    }
}
