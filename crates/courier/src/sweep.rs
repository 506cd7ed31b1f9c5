//! Taking over the rows that nobody looks after (PROTOCOL 14).

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::time::Duration;

use posthaste_domain::{DeliveryKey, RowKey, Timestamp};
use posthaste_ports::{Job, JobState, PortError, WORK_PARTITIONS};
use posthaste_protocol::{Local, SKEW_MS_MAX, is_clock_usable, on_owed};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::courier::{Courier, delivery_key};
use crate::health::Part;
use crate::intake::Claim;
use crate::start::is_stopped;

/// Rows of a partition that are looked at in one go, at first.
const PAGE_MAX: usize = 100;
/// And at last, where nothing can be taken over among the first ones.
const LOOK_MAX: usize = 6_400;
/// Deliveries of which the shards are reminded after they were taken over; two sweeps' worth.
const REMINDERS_MAX: usize = 16_000;
/// What the table says of its time is a second or two old, in milliseconds; beyond it and what the
/// protocol allows, this clock is off.
const CLOCK_OFF_MS_MAX: u64 = SKEW_MS_MAX + 2_000;
/// Rows that make no sense and were told of; beyond it all are told of again.
const TOLD_MAX: usize = 10_000;

impl Courier {
    /// Sweeps until somebody says stop; the first time at once.
    pub(crate) async fn sweep(&self, mut stop: watch::Receiver<bool>) {
        let mut newest = Timestamp::ZERO;
        let mut told = BTreeSet::new();
        let mut is_wrong = false;
        while !is_stopped(&stop) {
            // [`Courier::finish`] waits for it: what it takes over behind a stop would be nobody's
            // until the lease ends.
            let going = self.polls.begin();
            self.remind_of_taken_over().await;
            let wall = self.ports.clock.wall();
            // One that jumped ahead and was set right did not go back.
            let is_right = self.ports.clock.table().is_some_and(|table| {
                table.millis_since(wall).max(wall.millis_since(table)) <= SKEW_MS_MAX
            });
            newest = if is_right { wall } else { newest.max(wall) };
            if is_clock_usable(newest, wall) {
                let swept = self.sweep_once(&mut told, &stop).await;
                self.health.note(Part::Sweeping, &swept);
                is_wrong = self.tell_of_clock(is_wrong);
                if let Ok(taken @ 1..) = swept {
                    info!(taken, "took over rows whose lease had ended");
                }
            } else {
                let back_ms = newest.millis_since(wall);
                warn!(back_ms, "the wall clock was set back, leases cannot be judged");
            }
            drop(going);
            let pause = self.settings.sweep_pause_ms;
            let pause = Duration::from_millis(pause + self.chance.below(pause));
            tokio::select! {
                biased;
                _ = stop.changed() => {}
                () = sleep(pause) => {}
            }
        }
    }

    /// Tells of a clock that is off the table's when it begins to be, and when it is set right.
    /// Leases hold all the same; due times and signatures are as wrong as the clock. Says whether
    /// it is off.
    fn tell_of_clock(&self, was_wrong: bool) -> bool {
        let Some(table) = self.ports.clock.table() else { return was_wrong };
        let now = self.now();
        let (behind_ms, ahead_ms) = (table.millis_since(now), now.millis_since(table));
        let is_wrong = behind_ms.max(ahead_ms) > CLOCK_OFF_MS_MAX;
        if is_wrong && !was_wrong {
            warn!(behind_ms, ahead_ms, "this machine's clock is not the table's: set it right");
        }
        if was_wrong && !is_wrong {
            info!("this machine's clock is the table's again");
        }
        is_wrong
    }

    /// Looks at every partition of the work index once, or until somebody says stop; says how many
    /// rows it has taken over.
    async fn sweep_once(
        &self,
        told: &mut BTreeSet<RowKey>,
        stop: &watch::Receiver<bool>,
    ) -> Result<usize, PortError> {
        let mut partitions: Vec<u8> = (0..WORK_PARTITIONS).collect();
        self.chance.shuffle(&mut partitions);
        if told.len() > TOLD_MAX {
            told.clear();
        }
        let mut taken = 0;
        for partition in partitions {
            if taken >= self.settings.sweep_claims_max || is_stopped(stop) {
                break;
            }
            taken += self.sweep_partition(partition, told, stop).await?;
        }
        Ok(taken)
    }

    /// Looks at what has been late for longest. What is ours and late, or makes no sense, stays
    /// there, so that where it fills the page, more is looked at. Not after something was taken
    /// over: lagging copies of it would come back on the same page.
    async fn sweep_partition(
        &self,
        partition: u8,
        told: &mut BTreeSet<RowKey>,
        stop: &watch::Receiver<bool>,
    ) -> Result<usize, PortError> {
        let mut seen = BTreeSet::new();
        let mut max = PAGE_MAX;
        loop {
            let before = self.earliest().unwrap_or_else(|| self.now());
            let page = self.ports.rows.owed(partition, before, max).await?;
            let is_full = page.len() >= max;
            let page: Vec<RowKey> =
                page.into_iter().filter(|key| seen.insert(key.clone())).collect();
            let taken =
                if page.is_empty() { 0 } else { self.take_over_page(page, told, stop).await? };
            if taken > 0 || !is_full || max >= LOOK_MAX || is_stopped(stop) {
                return Ok(taken);
            }
            max *= 2;
        }
    }

    async fn take_over_page(
        &self,
        page: Vec<RowKey>,
        told: &mut BTreeSet<RowKey>,
        stop: &watch::Receiver<bool>,
    ) -> Result<usize, PortError> {
        let rows = self.ports.rows.read_each(&page).await?;
        let keys: Vec<DeliveryKey> = page.iter().map(delivery_key).collect();
        let jobs = self.ports.jobs.jobs(&keys).await?;
        // The index and the rows were two answers. Where they do not say what time it is, the next
        // sweep may.
        let Some(over) = self.earliest() else { return Ok(0) };
        let now = self.claim_now();
        // What is taken over goes onto the disk: with a full one it is left to others, or to later.
        let is_full = self.ports.jobs.is_full();
        let (mut claims, mut reminders) = (Vec::new(), Vec::new());
        for ((key, stored), (delivery, job)) in
            page.into_iter().zip(rows).zip(keys.iter().zip(jobs))
        {
            let stored = match stored {
                Ok(Some(stored)) => stored,
                Ok(None) => continue,
                Err(error) => {
                    if told.insert(key.clone()) {
                        self.report_unreadable(&key, &error);
                    }
                    continue;
                }
            };
            let local = self.local(delivery, job.as_ref());
            if matches!(local, Local::Unwritten { .. }) {
                // Of whatever round: the outbox must not lose it to the job of a later one. Its
                // write is refused soon, and the next sweep takes the row.
                continue;
            }
            let me = &self.settings.instance;
            if let Some(write) = on_owed(&key, &stored.row, local, me, (over, now)) {
                if is_full {
                    continue;
                }
                claims.push(Claim { key, seen: stored.row, payload: stored.payload, write });
            } else if let Some(job) = job {
                // Late, and ours: the engine knows, or should.
                reminders.push(job);
            }
        }
        self.announce(reminders);
        if is_stopped(stop) {
            return Ok(0);
        }
        Ok(self.take_over(claims).await.adopted)
    }

    /// Keeps in mind what was taken over; see [`Courier::remind_of_taken_over`].
    pub(crate) fn remember_taken_over(&self, jobs: &[Job]) {
        let mut keys = self.taken_over.lock().unwrap_or_else(PoisonError::into_inner);
        let room = REMINDERS_MAX.saturating_sub(keys.len());
        keys.extend(jobs.iter().take(room).map(|job| job.key.clone()));
    }

    /// Tells the shards once more of what was taken over and is due: an inbox that was full has
    /// forgotten it, and an engine reads each stretch of timers once. It passes over what it knows.
    /// Without this, the sweep that comes upon it is one after the end of its lease.
    async fn remind_of_taken_over(&self) {
        let keys = {
            let mut keys = self.taken_over.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *keys)
        };
        if keys.is_empty() {
            return;
        }
        // Where they cannot be read, it is left to that sweep.
        let Ok(jobs) = self.ports.jobs.jobs(&keys).await else { return };
        let now = self.now();
        let is_due = |job: &Job| matches!(job.state, JobState::Waiting { due, .. } if due <= now);
        self.announce(jobs.into_iter().flatten().filter(is_due).collect());
    }
}
