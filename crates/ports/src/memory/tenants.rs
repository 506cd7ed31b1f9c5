//! Tenants, their keys, and the settings that live beside them.

use std::sync::Arc;

use async_trait::async_trait;
use posthaste_domain::{KeyHash, SigningSecrets, TenantId, Timestamp};

use super::{MemoryStore, State};
use crate::{
    Created, Identity, KeyRecord, NewTenant, PortError, TenantChange, TenantRecord, TenantStore,
};

/// A key with its owner.
pub(super) struct Key {
    tenant: TenantId,
    active: bool,
    created_at: Timestamp,
}

#[async_trait]
impl TenantStore for MemoryStore {
    async fn create(&self, new: NewTenant) -> Result<Created, PortError> {
        let mut state = self.lock();
        if state.tenants.contains_key(&new.id) {
            return Ok(Created::AlreadyExists);
        }
        let record = Arc::new(TenantRecord {
            id: new.id.clone(),
            target: new.target,
            secrets: SigningSecrets::new(new.secret),
            plan: new.plan,
            shard_key: new.shard_key,
            options: new.options,
            created_at: new.at,
            updated_at: new.at,
            version: 1,
        });
        let key = Key { tenant: new.id.clone(), active: true, created_at: new.at };
        state.keys.insert(new.key, key);
        state.tenants.insert(new.id, Arc::clone(&record));
        Ok(Created::Created(record))
    }

    async fn tenant(&self, id: &TenantId) -> Result<Option<Arc<TenantRecord>>, PortError> {
        Ok(self.lock().tenants.get(id).cloned())
    }

    async fn update(
        &self,
        id: &TenantId,
        change: TenantChange,
    ) -> Result<Option<Arc<TenantRecord>>, PortError> {
        let mut state = self.lock();
        let Some(record) = state.tenants.get_mut(id) else { return Ok(None) };
        let changed = Arc::make_mut(record);
        if let Some(target) = change.target {
            changed.target = target;
        }
        if let Some((secret, overlap_ms)) = change.secret {
            changed.secrets = changed.secrets.rotated(secret, change.at, overlap_ms);
        }
        if !change.options.is_nothing() {
            changed.options = Arc::new(changed.options.changed(change.options));
        }
        changed.updated_at = change.at;
        changed.version += 1;
        Ok(Some(Arc::clone(record)))
    }

    async fn identity(&self, key: &KeyHash) -> Result<Option<Identity>, PortError> {
        let state = self.lock();
        Ok(state.keys.get(key).and_then(|key| {
            let plan = state.tenants.get(&key.tenant)?.plan.clone();
            Some(Identity { tenant: key.tenant.clone(), active: key.active, plan })
        }))
    }

    async fn add_key(&self, id: &TenantId, key: KeyHash, at: Timestamp) -> Result<bool, PortError> {
        let mut state = self.lock();
        let known = state.tenants.contains_key(id);
        if known {
            state.keys.insert(key, Key { tenant: id.clone(), active: true, created_at: at });
        }
        Ok(known)
    }

    async fn keys(&self, id: &TenantId) -> Result<Vec<KeyRecord>, PortError> {
        let mut keys = self.lock().keys_of(id);
        keys.sort_by_key(|key| key.created_at);
        Ok(keys)
    }

    async fn revoke_key(&self, id: &TenantId, key: &KeyHash) -> Result<bool, PortError> {
        let mut state = self.lock();
        let own = state.keys.get_mut(key).filter(|key| key.tenant == *id);
        Ok(own.map(|key| key.active = false).is_some())
    }

    async fn reception_enabled(&self) -> Result<bool, PortError> {
        Ok(!self.lock().reception_disabled)
    }

    async fn set_reception_enabled(&self, enabled: bool) -> Result<(), PortError> {
        self.lock().reception_disabled = !enabled;
        Ok(())
    }

    async fn setting(&self, name: &str) -> Result<Option<Vec<u8>>, PortError> {
        Ok(self.lock().settings.get(name).cloned())
    }

    async fn set_setting(&self, name: &str, value: &[u8]) -> Result<(), PortError> {
        self.lock().settings.insert(name.to_owned(), value.to_owned());
        Ok(())
    }
}

impl State {
    fn keys_of(&self, id: &TenantId) -> Vec<KeyRecord> {
        let own = self.keys.iter().filter(|(_, key)| key.tenant == *id);
        own.map(|(hash, key)| KeyRecord {
            hash: *hash,
            active: key.active,
            created_at: key.created_at,
        })
        .collect()
    }
}
