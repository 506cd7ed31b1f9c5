//! The courier's state, and what its parts share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use posthaste_domain::{DeliveryKey, EndpointId, RowKey, TenantId, Timestamp};
use posthaste_ports::{
    ArrivalSink, Job, JobState, JobStore, PortError, QUEUE_BATCH_MAX, Queue, Rows, TenantStore,
    Written,
};
use posthaste_protocol::{Local, Owner};
use tokio::sync::Notify;

use crate::batcher::Batcher;
use crate::chance::Chance;
use crate::clock::Clock;
use crate::dying::Dead;
use crate::health::{Health, Part};
use crate::held::HeldTable;
use crate::outcomes::Outcome;
use crate::polls::Polls;
use crate::releases::Release;
use crate::settings::Settings;
use crate::stats::{Counters, Stats};

/// How long deletions wait for others while one is on its way.
const RELEASE_LINGER: Duration = Duration::from_millis(20);
/// A payload that is larger is read from its row when its retry is due, not kept on this disk, in
/// bytes.
const JOB_PAYLOAD_BYTES_MAX: usize = 64 * 1024;

/// What a courier works with.
#[derive(Clone)]
pub struct Ports {
    /// The table of rows.
    pub rows: Arc<dyn Rows>,
    /// The main queue.
    pub queue: Arc<dyn Queue>,
    /// The DLQ.
    pub dead: Arc<dyn Queue>,
    /// This instance's jobs.
    pub jobs: Arc<dyn JobStore>,
    /// Decides shards; best one that keeps what it read for a while.
    pub tenants: Arc<dyn TenantStore>,
    /// Where new deliveries go.
    pub arrivals: Arc<dyn ArrivalSink>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Ports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ports")
    }
}

/// Carries events from the queue to the engine, and outcomes into rows. See the crate's words.
#[derive(Debug)]
pub struct Courier {
    pub(crate) ports: Ports,
    pub(crate) settings: Settings,
    held: Mutex<HeldTable>,
    /// What was taken over since the last sweep.
    pub(crate) taken_over: Mutex<Vec<DeliveryKey>>,
    /// Rings when there may be room for more messages.
    pub(crate) room: Notify,
    pub(crate) polls: Polls,
    pub(crate) outcomes: Batcher<Outcome>,
    pub(crate) releases: Batcher<Release>,
    pub(crate) dying: Batcher<Dead>,
    pub(crate) counters: Counters,
    pub(crate) chance: Chance,
    pub(crate) health: Health,
}

impl Courier {
    /// A courier that does nothing yet: see [`Courier::start`].
    #[must_use]
    pub fn new(settings: Settings, ports: Ports) -> Self {
        let linger = Duration::from_millis(settings.linger_ms);
        Self {
            held: Mutex::default(),
            taken_over: Mutex::default(),
            room: Notify::new(),
            polls: Polls::new(settings.intake_polls),
            outcomes: Batcher::new(settings.row_batch_max, linger),
            releases: Batcher::new(QUEUE_BATCH_MAX, RELEASE_LINGER),
            dying: Batcher::new(QUEUE_BATCH_MAX, RELEASE_LINGER),
            counters: Counters::default(),
            chance: Chance::new(settings.seed),
            health: Health::default(),
            ports,
            settings,
        }
    }

    /// The figures.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let held = self.held();
        Stats {
            held: held.len() as u64,
            held_bytes: held.payload_bytes() as u64,
            unwritten: self.outcomes.len() as u64,
            ..self.counters.copy()
        }
    }

    /// What does not work at the moment, each with its reason; empty while all is well.
    #[must_use]
    pub fn ailments(&self) -> Vec<String> {
        self.health.ailments()
    }

    pub(crate) fn held(&self) -> MutexGuard<'_, HeldTable> {
        // Every step under the lock is one that cannot be left half done.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.ports.clock.now()
    }

    /// The time by which a lease of one's own is over: the table's alone. If this clock could end
    /// one as well, and were set back over a restart, a claim that the end of the process kept from
    /// the disk would leave there the lease before it, which lasts again. None while the table's is
    /// not known: then nobody can say whether what an earlier life left behind is good.
    pub(crate) fn lease_now(&self) -> Option<Timestamp> {
        self.ports.clock.table()
    }

    /// The time by which a lease of another is over: when both clocks say so. None while the
    /// table's is not known.
    pub(crate) fn earliest(&self) -> Option<Timestamp> {
        let now = self.now();
        self.ports.clock.table().map(|table| table.min(now))
    }

    /// The time from which a lease lasts that is written now: the later one, so that it lasts by
    /// both clocks. A claim is known by the end of its lease. This clock tells two of the same
    /// second apart; the table's does not, so that two processes of one name differ by what each of
    /// them has drawn.
    pub(crate) fn claim_now(&self) -> Timestamp {
        let now = self.now();
        let later = self.ports.clock.table().filter(|table| *table > now);
        later.map_or(now, |table| table.plus_millis(self.settings.seed % 1_000))
    }

    /// How far the table's clock is ahead of this one, in milliseconds.
    pub(crate) fn behind_ms(&self) -> u64 {
        self.ports.clock.table().map_or(0, |table| table.millis_since(self.now()))
    }

    /// This instance, at an epoch.
    pub(crate) const fn owner(&self, epoch: u64) -> Owner<'_> {
        Owner { instance: &self.settings.instance, epoch }
    }

    /// Tells of a row that makes no sense. The port says so of one row alone, and of none that only
    /// cannot be reached.
    pub(crate) fn report_unreadable(&self, key: &RowKey, error: &PortError) {
        self.counters.unreadable.add(1);
        let (tenant, event) = (&key.tenant, key.event);
        // Never to be removed: its event was accepted.
        tracing::error!(%tenant, %event, %error, "a row makes no sense, it has to be mended");
    }

    /// Notes whether rows can be written; a row that makes no sense says nothing about that.
    pub(crate) fn note_write(&self, answer: &Result<Written, PortError>) {
        if !matches!(answer, Err(PortError::Permanent(_))) {
            self.health.note(Part::Writing, answer);
        }
    }

    /// What is known here about a delivery whose job is this. A delivery that was held for longer
    /// than its message was hidden is known no more: another daemon may have attempted it, so its
    /// row has to be read.
    pub(crate) fn local(&self, key: &DeliveryKey, job: Option<&Job>) -> Local {
        let now = self.now();
        let mut table = self.held();
        if table.let_go_if_stale(key, now) {
            self.room.notify_waiters();
        }
        if let Some(held) = table.get(key) {
            return Local::Held { round: held.round };
        }
        drop(table);
        let Some(job) = job else { return Local::Unknown };
        let round = job.round;
        match job.state {
            JobState::Unwritten(_) => Local::Unwritten { round },
            JobState::Waiting { .. } => Local::Waiting { round },
            JobState::Dying { .. } => Local::Dying { round },
            JobState::CutOff { .. } => Local::Unknown,
        }
    }

    /// Decides the shard of a tenant's deliveries. One that does not exist has one too: nothing is
    /// sent to it, and its deliveries come to an end there.
    ///
    /// # Errors
    /// Where it cannot be read. No guess: a shard reads all that is held of its tenants,
    /// so that a tenant in two shards is delivered to by both.
    pub(crate) async fn shard_key(&self, tenant: &TenantId) -> Result<u32, PortError> {
        let record = self.ports.tenants.tenant(tenant).await;
        self.health.note(Part::Tenants, &record);
        Ok(record?.map_or(0, |record| record.shard_key))
    }
}

/// The row of a delivery.
pub(crate) fn row_key(key: &DeliveryKey) -> RowKey {
    RowKey { tenant: key.tenant.clone(), event: key.event }
}

/// The delivery of a row: its tenant's one endpoint.
pub(crate) fn delivery_key(key: &RowKey) -> DeliveryKey {
    DeliveryKey { tenant: key.tenant.clone(), event: key.event, endpoint: EndpointId::DEFAULT }
}

/// A payload as a job keeps it.
pub(crate) fn job_payload(payload: Option<bytes::Bytes>) -> Option<bytes::Bytes> {
    payload.filter(|payload| payload.len() <= JOB_PAYLOAD_BYTES_MAX)
}
