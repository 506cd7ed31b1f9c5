//! Taking over the rows that nobody looks after (PROTOCOL 14).

use std::time::Duration;

use posthaste_domain::{DeliveryKey, RowKey, Timestamp};
use posthaste_ports::{PortError, WORK_PARTITIONS};
use posthaste_protocol::{Local, is_clock_usable, on_owed};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::courier::{Courier, delivery_key};
use crate::health::Part;
use crate::intake::Claim;
use crate::start::is_stopped;

/// Rows of a partition that are looked at in one go.
const PAGE_MAX: usize = 100;

impl Courier {
    /// Sweeps until somebody says stop; the first time at once.
    pub(crate) async fn sweep(&self, mut stop: watch::Receiver<bool>) {
        let mut newest = Timestamp::ZERO;
        while !is_stopped(&stop) {
            let wall = self.ports.clock.wall();
            newest = newest.max(wall);
            if is_clock_usable(newest, wall) {
                let swept = self.sweep_once().await;
                self.health.note(Part::Sweeping, &swept);
                if let Ok(taken @ 1..) = swept {
                    info!(taken, "took over rows whose lease had ended");
                }
            } else {
                let back_ms = newest.millis_since(wall);
                warn!(back_ms, "the wall clock was set back, leases cannot be judged");
            }
            let pause = self.settings.sweep_pause_ms;
            let pause = Duration::from_millis(pause + self.chance.below(pause));
            tokio::select! {
                biased;
                _ = stop.changed() => {}
                () = sleep(pause) => {}
            }
        }
    }

    /// Looks at every partition of the work index once; says how many rows it has taken over.
    async fn sweep_once(&self) -> Result<usize, PortError> {
        let mut partitions: Vec<u8> = (0..WORK_PARTITIONS).collect();
        self.chance.shuffle(&mut partitions);
        let mut taken = 0;
        for partition in partitions {
            // Lagging copies of what has just been taken over would come back on the same page.
            let page = self.ports.rows.owed(partition, self.now(), PAGE_MAX).await?;
            if page.is_empty() {
                continue;
            }
            taken += self.take_over_page(page).await?;
            if taken >= self.settings.sweep_claims_max {
                break;
            }
        }
        Ok(taken)
    }

    async fn take_over_page(&self, page: Vec<RowKey>) -> Result<usize, PortError> {
        let rows = self.ports.rows.read(&page).await?;
        let keys: Vec<DeliveryKey> = page.iter().map(delivery_key).collect();
        let jobs = self.ports.jobs.jobs(&keys).await?;
        let now = self.now();
        // What is taken over goes onto the disk: with a full one it is left to others, or to later.
        let is_full = self.ports.jobs.is_full();
        let (mut claims, mut reminders) = (Vec::new(), Vec::new());
        for ((key, stored), (delivery, job)) in
            page.into_iter().zip(rows).zip(keys.iter().zip(jobs))
        {
            let Some(stored) = stored else { continue };
            let local = self.local(delivery, job.as_ref());
            if matches!(local, Local::Unwritten { .. }) {
                // Of whatever round: the outbox must not lose it to the job of a later one. Its
                // write is refused soon, and the next sweep takes the row.
                continue;
            }
            let write = on_owed(&key, &stored.row, local, &self.settings.instance, now);
            if let Some(write) = write {
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
        Ok(self.take_over(claims).await.adopted)
    }
}
