//! The in-memory store, watched: its calls are counted, and it fails when a test says so.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use posthaste_domain::{EventId, KeyHash, TenantId, Timestamp};
use posthaste_ports::memory::MemoryStore;
use posthaste_ports::{
    Acceptance, Created, DeadLetter, DeadLetters, EventDetail, EventPage, EventStore, Identity,
    KeyRecord, ListQuery, NewEvent, NewTenant, PortError, Requeued, Retried, Scope, TenantChange,
    TenantRecord, TenantStore,
};

/// A store that can be watched and broken.
pub(crate) struct WatchedStore {
    pub(crate) inner: MemoryStore,
    /// Every call, whatever it was.
    pub(crate) calls: AtomicUsize,
    /// Calls of [`EventStore::accept`].
    pub(crate) accepts: AtomicUsize,
    /// Calls of [`TenantStore::identity`].
    pub(crate) identities: AtomicUsize,
    failure: Mutex<Option<PortError>>,
    forgetful: AtomicBool,
}

impl WatchedStore {
    pub(crate) fn new() -> Self {
        Self {
            inner: MemoryStore::default(),
            calls: AtomicUsize::new(0),
            accepts: AtomicUsize::new(0),
            identities: AtomicUsize::new(0),
            failure: Mutex::new(None),
            forgetful: AtomicBool::new(false),
        }
    }

    /// From now on every call fails like this; or none does.
    pub(crate) fn fail(&self, failure: Option<PortError>) {
        *self.failure.lock().unwrap() = failure;
    }

    /// From now on events are of no tenant, as after its key was cached and its record went.
    pub(crate) fn forget_tenants(&self) {
        self.forgetful.store(true, Ordering::SeqCst);
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    fn pass(&self) -> Result<(), PortError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.failure.lock().unwrap().clone().map_or(Ok(()), Err)
    }
}

#[async_trait]
impl TenantStore for WatchedStore {
    async fn create(&self, new: NewTenant) -> Result<Created, PortError> {
        self.pass()?;
        self.inner.create(new).await
    }

    async fn tenant(&self, id: &TenantId) -> Result<Option<Arc<TenantRecord>>, PortError> {
        self.pass()?;
        self.inner.tenant(id).await
    }

    async fn update(
        &self,
        id: &TenantId,
        change: TenantChange,
    ) -> Result<Option<Arc<TenantRecord>>, PortError> {
        self.pass()?;
        self.inner.update(id, change).await
    }

    async fn identity(&self, key: &KeyHash) -> Result<Option<Identity>, PortError> {
        self.identities.fetch_add(1, Ordering::SeqCst);
        self.pass()?;
        self.inner.identity(key).await
    }

    async fn add_key(&self, id: &TenantId, key: KeyHash, at: Timestamp) -> Result<bool, PortError> {
        self.pass()?;
        self.inner.add_key(id, key, at).await
    }

    async fn keys(&self, id: &TenantId) -> Result<Vec<KeyRecord>, PortError> {
        self.pass()?;
        self.inner.keys(id).await
    }

    async fn revoke_key(&self, id: &TenantId, key: &KeyHash) -> Result<bool, PortError> {
        self.pass()?;
        self.inner.revoke_key(id, key).await
    }

    async fn reception_enabled(&self) -> Result<bool, PortError> {
        self.pass()?;
        self.inner.reception_enabled().await
    }

    async fn set_reception_enabled(&self, enabled: bool) -> Result<(), PortError> {
        self.pass()?;
        self.inner.set_reception_enabled(enabled).await
    }

    async fn setting(&self, name: &str) -> Result<Option<Vec<u8>>, PortError> {
        self.pass()?;
        self.inner.setting(name).await
    }

    async fn set_setting(&self, name: &str, value: &[u8]) -> Result<(), PortError> {
        self.pass()?;
        self.inner.set_setting(name, value).await
    }
}

#[async_trait]
impl EventStore for WatchedStore {
    async fn accept(&self, events: Vec<NewEvent>) -> Result<Vec<Acceptance>, PortError> {
        self.accepts.fetch_add(1, Ordering::SeqCst);
        self.pass()?;
        if self.forgetful.load(Ordering::SeqCst) {
            return Ok(vec![Acceptance::UnknownTenant; events.len()]);
        }
        self.inner.accept(events).await
    }

    async fn event(
        &self,
        tenant: &TenantId,
        id: EventId,
        now: Timestamp,
    ) -> Result<Option<EventDetail>, PortError> {
        self.pass()?;
        self.inner.event(tenant, id, now).await
    }

    async fn list(&self, tenant: &TenantId, query: ListQuery) -> Result<EventPage, PortError> {
        self.pass()?;
        EventStore::list(&self.inner, tenant, query).await
    }

    async fn retry(
        &self,
        tenant: &TenantId,
        id: EventId,
        at: Timestamp,
    ) -> Result<Retried, PortError> {
        self.pass()?;
        self.inner.retry(tenant, id, at).await
    }
}

#[async_trait]
impl DeadLetters for WatchedStore {
    async fn list(&self, scope: &Scope, limit: usize) -> Result<Vec<DeadLetter>, PortError> {
        self.pass()?;
        DeadLetters::list(&self.inner, scope, limit).await
    }

    async fn requeue(
        &self,
        scope: &Scope,
        batch: usize,
        max: usize,
        at: Timestamp,
    ) -> Result<Requeued, PortError> {
        self.pass()?;
        self.inner.requeue(scope, batch, max, at).await
    }

    async fn purge(&self, scope: &Scope, at: Timestamp) -> Result<u64, PortError> {
        self.pass()?;
        self.inner.purge(scope, at).await
    }
}
