//! A ledger in a directory of its own, and a clock that tests move.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use posthaste_domain::{
    Attempt, DeliveryKey, EndpointId, ErrorClass, EventId, InstanceId, KeyHash, OwedAs,
    PhaseTimings, Resolution, Settlement, TargetUrl, TenantId, TimerPosition, Timestamp, Verdict,
    WebhookSecret,
};
use posthaste_embedded::{
    CacheRecovery, Commit, Ledger, Observer, OpenError, Recovery, Settings, SyncMode,
};
use posthaste_ports::memory::NullSink;
use posthaste_ports::{
    ArrivalSink, Journal as _, NewEvent, NewTenant, ShardSpec, TenantStore as _,
};
use tempfile::TempDir;

/// Time that stands still unless it is asked for, and a memory of what was told.
#[derive(Debug, Default)]
pub(crate) struct Witnessed {
    micros: AtomicU64,
    pub(crate) failures: Mutex<Vec<String>>,
    pub(crate) commits: Mutex<Vec<Commit>>,
}

impl Observer for Witnessed {
    fn monotonic_us(&self) -> u64 {
        // Each look is a millisecond later, so that what waits for time to pass sees it pass.
        self.micros.fetch_add(1000, Ordering::Relaxed)
    }

    fn committed(&self, commit: &Commit) {
        self.commits.lock().expect("nobody panicked").push(*commit);
    }

    fn failed(&self, reason: &str) {
        self.failures.lock().expect("nobody panicked").push(reason.to_owned());
    }
}

/// When every cache is opened.
pub(crate) const OPENED_AT: Timestamp = Timestamp::from_millis(1_764_000_000_000);

/// A directory for a ledger; outlives the ledgers that are opened on it.
#[derive(Debug)]
pub(crate) struct Home(TempDir);

impl Home {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    /// One in memory where the system has such a place: for facts that are not about disks, whose
    /// syncs would only take time.
    pub(crate) fn in_memory() -> Self {
        let place = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        Self(place.expect("a temporary directory"))
    }

    pub(crate) fn settings(&self) -> Settings {
        let floor = 0;
        Settings {
            free_space_floor_bytes: floor,
            ballast_bytes: 0,
            ..Settings::new(self.0.path().join("data"))
        }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    /// Opens with a memory of what the ledger told.
    pub(crate) fn open_watched(&self, settings: Settings) -> (Ledger, Recovery, Arc<Witnessed>) {
        let watched = Arc::new(Witnessed::default());
        let opened = Ledger::open(settings, Arc::new(NullSink), Arc::clone(&watched) as _);
        let (ledger, recovery) = opened.expect("the ledger opens");
        (ledger, recovery, watched)
    }

    pub(crate) fn open_with(
        &self,
        settings: Settings,
        sink: Arc<dyn ArrivalSink>,
    ) -> Result<(Ledger, Recovery), OpenError> {
        Ledger::open(settings, sink, Arc::new(Witnessed::default()))
    }

    /// As an instance's cache: buffered, and small enough for a test.
    pub(crate) fn cache_settings(&self) -> Settings {
        Settings { sync: SyncMode::Buffered, ..self.settings() }
    }

    pub(crate) fn try_open_cache(
        &self,
        settings: Settings,
        instance: &str,
    ) -> Result<(Ledger, CacheRecovery), OpenError> {
        let instance = InstanceId::try_new(instance).expect("not empty");
        let watched = Arc::new(Witnessed::default());
        Ledger::open_or_quarantine(settings, &instance, OPENED_AT, watched)
    }

    pub(crate) fn open_cache(&self, instance: &str) -> (Ledger, CacheRecovery) {
        self.try_open_cache(self.cache_settings(), instance).expect("the cache opens")
    }

    pub(crate) fn open(&self) -> (Ledger, Recovery) {
        self.open_with(self.settings(), Arc::new(NullSink)).expect("the ledger opens")
    }
}

/// A tenant's name.
pub(crate) fn tenant_id(text: &str) -> TenantId {
    TenantId::try_new(text).expect("a lawful id")
}

/// Creates a tenant.
pub(crate) async fn create(ledger: &Ledger, id: &str) {
    let target = TargetUrl::parse_stored("https://example.com/hook").expect("a lawful target");
    let new = NewTenant {
        id: tenant_id(id),
        shard_key: target.shard_key(),
        target,
        secret: WebhookSecret::try_new("some-secret").expect("a lawful secret"),
        plan: "standard".into(),
        options: Arc::default(),
        key: KeyHash::from_bytes([id.as_bytes()[0]; 32]),
        at: Timestamp::from_millis(1),
    };
    ledger.create(new).await.expect("created");
}

/// An event of the tenant `acme`, made at `millis`.
pub(crate) fn event(millis: u64, payload: impl Into<Bytes>) -> NewEvent {
    NewEvent {
        tenant: tenant_id("acme"),
        id: EventId::from_parts(Timestamp::from_millis(millis), u128::from(millis)),
        payload: payload.into(),
        idempotency: None,
    }
}

/// An outcome of the first attempt of an event of `acme`.
pub(crate) fn outcome(id: EventId, resolution: Resolution) -> Settlement {
    let verdict = match resolution {
        Resolution::Delivered => Verdict::Delivered,
        _ => Verdict::Failed { class: ErrorClass::ServerError, retry_after_ms: None },
    };
    Settlement {
        key: DeliveryKey { tenant: tenant_id("acme"), event: id, endpoint: EndpointId::DEFAULT },
        round: 0,
        attempts: 1,
        owed_as: OwedAs::Fresh,
        interrupted: 0,
        at: Timestamp::from_millis(5_000),
        attempt: Some(Attempt {
            number: 1,
            at: Timestamp::from_millis(4_000),
            duration_ms: 1_000,
            status_code: None,
            verdict,
            error: None,
            response: Bytes::new(),
            phases: PhaseTimings::default(),
        }),
        resolution,
    }
}

/// What the tenant `acme` is owed: fresh ones and timers, by event.
pub(crate) async fn owed(ledger: &Ledger) -> Vec<EventId> {
    let fresh = ledger
        .backlog(&tenant_id("acme"), EndpointId::DEFAULT, EventId::MIN, usize::MAX)
        .await
        .expect("readable");
    let shard = ShardSpec { index: 0, count: 1 };
    let timers = ledger
        .timers(shard, TimerPosition::START, Timestamp::MAX, usize::MAX)
        .await
        .expect("readable");
    let mut owed: Vec<_> =
        fresh.owed.into_iter().chain(timers.owed).map(|owed| owed.key.event).collect();
    owed.sort();
    owed
}

/// Bytes that no compression makes smaller.
pub(crate) fn noise(seed: usize, len: usize) -> Vec<u8> {
    let mut state = seed as u64 + 1;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..len).map(|_| next()).collect()
}
