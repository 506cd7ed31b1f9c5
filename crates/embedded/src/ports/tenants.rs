//! Tenants, their keys, and named settings.

use std::sync::Arc;

use async_trait::async_trait;
use posthaste_domain::{KeyHash, TenantId, Timestamp};
use posthaste_ports::{
    Created, Identity, KeyRecord, NewTenant, PortError, TenantChange, TenantRecord, TenantStore,
};

use crate::codec::{self, KeyRow};
use crate::keys;
use crate::ledger::Ledger;
use crate::shared::Shared;
use crate::tables::{ReadError, Table, foreign_key, key_of};
use crate::writer::Operation;

/// Where the receiver's switch is kept; a space keeps it apart from names that callers use.
const RECEPTION: &str = " reception";
const OFF: &[u8] = b"off";
const ON: &[u8] = b"on";

#[async_trait]
impl TenantStore for Ledger {
    async fn create(&self, new: NewTenant) -> Result<Created, PortError> {
        self.ask(|done| Operation::CreateTenant { new: Box::new(new), done }).await
    }

    async fn tenant(&self, id: &TenantId) -> Result<Option<Arc<TenantRecord>>, PortError> {
        // Nearly always from memory, so not worth another thread.
        Ok(self.shared.tenant(id)?)
    }

    async fn update(
        &self,
        id: &TenantId,
        change: TenantChange,
    ) -> Result<Option<Arc<TenantRecord>>, PortError> {
        let (id, change) = (id.clone(), Box::new(change));
        self.ask(|done| Operation::UpdateTenant { id, change, done }).await
    }

    async fn identity(&self, key: &KeyHash) -> Result<Option<Identity>, PortError> {
        let key = *key;
        self.read(move |shared| identity(shared, &key)).await
    }

    async fn add_key(&self, id: &TenantId, key: KeyHash, at: Timestamp) -> Result<bool, PortError> {
        let id = id.clone();
        self.ask(|done| Operation::AddKey { id, key, at, done }).await
    }

    async fn keys(&self, id: &TenantId) -> Result<Vec<KeyRecord>, PortError> {
        let id = id.clone();
        self.read(move |shared| keys_of(shared, &id)).await
    }

    async fn revoke_key(&self, id: &TenantId, key: &KeyHash) -> Result<bool, PortError> {
        let (id, key) = (id.clone(), *key);
        self.ask(|done| Operation::RevokeKey { id, key, done }).await
    }

    async fn reception_enabled(&self) -> Result<bool, PortError> {
        Ok(self.setting(RECEPTION).await?.is_none_or(|switch| switch != OFF))
    }

    async fn set_reception_enabled(&self, enabled: bool) -> Result<(), PortError> {
        self.set_setting(RECEPTION, if enabled { ON } else { OFF }).await
    }

    async fn setting(&self, name: &str) -> Result<Option<Vec<u8>>, PortError> {
        let key = keys::setting(name);
        self.read(move |shared| {
            let Some(bytes) = shared.tables.get(Table::Tenants, &key)? else { return Ok(None) };
            let value = codec::unframe(&bytes).map_err(|_| foreign_key(Table::Tenants))?;
            Ok(Some(value.to_vec()))
        })
        .await
    }

    async fn set_setting(&self, name: &str, value: &[u8]) -> Result<(), PortError> {
        let (name, value) = (name.to_owned(), value.to_vec());
        self.ask(|done| Operation::SetSetting { name, value, done }).await
    }
}

fn identity(shared: &Shared, key: &KeyHash) -> Result<Option<Identity>, ReadError> {
    let row: Option<KeyRow> = shared.tables.row(Table::Tenants, &keys::api_key(key))?;
    let Some(row) = row else { return Ok(None) };
    let tenant = TenantId::try_new(&row.tenant).map_err(|_| foreign_key(Table::Tenants))?;
    let Some(record) = shared.tenant(&tenant)? else { return Ok(None) };
    Ok(Some(Identity { tenant, active: row.active, plan: record.plan.clone() }))
}

fn keys_of(shared: &Shared, id: &TenantId) -> Result<Vec<KeyRecord>, ReadError> {
    let prefix = keys::owned_keys(id);
    let view = shared.tables.view();
    let mut found = Vec::new();
    for guard in view.prefix(Table::Tenants, &prefix) {
        let name = key_of(Table::Tenants, guard)?;
        let hash = name.get(prefix.len()..).and_then(|hash| hash.try_into().ok());
        let hash = KeyHash::from_bytes(hash.ok_or_else(|| foreign_key(Table::Tenants))?);
        let row: Option<KeyRow> = view.row(Table::Tenants, &keys::api_key(&hash))?;
        let Some(row) = row else { continue };
        let created_at = Timestamp::from_millis(row.created_at);
        found.push(KeyRecord { hash, active: row.active, created_at });
    }
    found.sort_by_key(|key| key.created_at);
    Ok(found)
}
