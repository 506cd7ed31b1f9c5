//! Tenants, read once a minute instead of once an attempt (PROTOCOL 7).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use posthaste_domain::{KeyHash, TenantId, Timestamp};
use posthaste_ports::{
    Created, Identity, KeyRecord, NewTenant, PortError, TenantChange, TenantRecord, TenantStore,
};
use tokio::sync::OnceCell;

use crate::clock::Clock;

/// How long a record is used before it is read again, in milliseconds (CONTRACT: a change of a
/// tenant is followed within a minute).
const KEPT_MS: u64 = 60_000;
/// Records kept; beyond it all are read again. About 1 KB each.
const RECORDS_MAX: usize = 100_000;

type Record = Option<Arc<TenantRecord>>;

/// One reading of a record, shared by all who want it at the time.
#[derive(Debug)]
struct Reading {
    began: Timestamp,
    cell: OnceCell<Record>,
}

/// A [`TenantStore`] that keeps what it read for a minute. Everything but [`TenantStore::tenant`]
/// goes through.
pub struct CachedTenants {
    store: Arc<dyn TenantStore>,
    clock: Arc<dyn Clock>,
    read: Mutex<HashMap<TenantId, Arc<Reading>>>,
}

impl std::fmt::Debug for CachedTenants {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CachedTenants").field("records", &self.lock().len()).finish_non_exhaustive()
    }
}

impl CachedTenants {
    /// A cache before `store`.
    #[must_use]
    pub fn new(store: Arc<dyn TenantStore>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock, read: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, Arc<Reading>>> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The reading to use now; a fresh one where there is none, or an old one.
    fn reading(&self, id: &TenantId) -> Arc<Reading> {
        let now = self.clock.now();
        let mut read = self.lock();
        if let Some(reading) = read.get(id)
            && now.millis_since(reading.began) < KEPT_MS
        {
            return Arc::clone(reading);
        }
        if read.len() >= RECORDS_MAX {
            read.clear();
        }
        let reading = Arc::new(Reading { began: now, cell: OnceCell::new() });
        read.insert(id.clone(), Arc::clone(&reading));
        reading
    }

    fn forget(&self, id: &TenantId) {
        self.lock().remove(id);
    }
}

#[async_trait]
impl TenantStore for CachedTenants {
    async fn tenant(&self, id: &TenantId) -> Result<Record, PortError> {
        let reading = self.reading(id);
        // A reading that failed leaves the cell empty, so that the next one tries again.
        let record = reading.cell.get_or_try_init(|| self.store.tenant(id)).await?;
        Ok(record.clone())
    }

    async fn create(&self, new: NewTenant) -> Result<Created, PortError> {
        let id = new.id.clone();
        let created = self.store.create(new).await;
        self.forget(&id);
        created
    }

    async fn update(&self, id: &TenantId, change: TenantChange) -> Result<Record, PortError> {
        let updated = self.store.update(id, change).await;
        self.forget(id);
        updated
    }

    async fn identity(&self, key: &KeyHash) -> Result<Option<Identity>, PortError> {
        self.store.identity(key).await
    }

    async fn add_key(&self, id: &TenantId, key: KeyHash, at: Timestamp) -> Result<bool, PortError> {
        self.store.add_key(id, key, at).await
    }

    async fn keys(&self, id: &TenantId) -> Result<Vec<KeyRecord>, PortError> {
        self.store.keys(id).await
    }

    async fn revoke_key(&self, id: &TenantId, key: &KeyHash) -> Result<bool, PortError> {
        self.store.revoke_key(id, key).await
    }

    async fn reception_enabled(&self) -> Result<bool, PortError> {
        self.store.reception_enabled().await
    }

    async fn set_reception_enabled(&self, enabled: bool) -> Result<(), PortError> {
        self.store.set_reception_enabled(enabled).await
    }

    async fn setting(&self, name: &str) -> Result<Option<Vec<u8>>, PortError> {
        self.store.setting(name).await
    }

    async fn set_setting(&self, name: &str, value: &[u8]) -> Result<(), PortError> {
        self.store.set_setting(name, value).await
    }
}
