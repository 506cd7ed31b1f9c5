//! Tenants and their keys.

use std::sync::Arc;

use posthaste_domain::{KeyHash, SigningSecrets, TenantId, Timestamp};
use posthaste_ports::{Created, NewTenant, PortError, TenantChange, TenantRecord};

use super::Writer;
use crate::batch::Batch;
use crate::codec::{KeyRow, TenantRow};
use crate::keys;
use crate::tables::Table;

impl Writer {
    /// Creates a tenant with its first key.
    pub(super) fn create_tenant(
        &self,
        new: NewTenant,
        batch: &mut Batch,
    ) -> Result<Created, PortError> {
        if self.shared.is_full() {
            return Err(PortError::Full);
        }
        let name = keys::tenant(&new.id);
        if batch.row::<TenantRow>(Table::Tenants, &name)?.is_some() {
            return Ok(Created::AlreadyExists);
        }
        let record = TenantRecord {
            id: new.id,
            target: new.target,
            secrets: SigningSecrets::new(new.secret),
            plan: new.plan,
            shard_key: new.shard_key,
            options: new.options,
            created_at: new.at,
            updated_at: new.at,
            version: 1,
        };
        insert_key(&record.id, &new.key, new.at, batch);
        Ok(Created::Created(store(record, batch)?))
    }

    /// Changes a tenant.
    pub(super) fn update_tenant(
        id: &TenantId,
        change: TenantChange,
        batch: &mut Batch,
    ) -> Result<Option<Arc<TenantRecord>>, PortError> {
        let Some(mut record) = batch.tenant(id, &keys::tenant(id))? else { return Ok(None) };
        if let Some(target) = change.target {
            record.target = target;
        }
        if let Some((secret, overlap_ms)) = change.secret {
            record.secrets = record.secrets.rotated(secret, change.at, overlap_ms);
        }
        if !change.options.is_nothing() {
            record.options = Arc::new(record.options.changed(change.options));
        }
        record.updated_at = change.at;
        record.version += 1;
        Ok(Some(store(record, batch)?))
    }

    /// Adds a key.
    pub(super) fn add_key(
        id: &TenantId,
        key: &KeyHash,
        at: Timestamp,
        batch: &mut Batch,
    ) -> Result<bool, PortError> {
        let known = batch.row::<TenantRow>(Table::Tenants, &keys::tenant(id))?.is_some();
        if known {
            insert_key(id, key, at, batch);
        }
        Ok(known)
    }

    /// Revokes a key, for good.
    pub(super) fn revoke_key(
        id: &TenantId,
        key: &KeyHash,
        batch: &mut Batch,
    ) -> Result<bool, PortError> {
        let name = keys::api_key(key);
        let row: Option<KeyRow> = batch.row(Table::Tenants, &name)?;
        let Some(row) = row.filter(|row| row.tenant == id.as_str()) else { return Ok(false) };
        if row.active {
            batch.insert(Table::Tenants, name, &KeyRow { active: false, ..row });
            batch.needs_sync = true;
        }
        Ok(true)
    }
}

fn insert_key(id: &TenantId, key: &KeyHash, at: Timestamp, batch: &mut Batch) {
    let row = KeyRow { tenant: id.as_str().to_owned(), active: true, created_at: at.as_millis() };
    batch.insert(Table::Tenants, keys::api_key(key), &row);
    batch.insert_key(Table::Tenants, keys::owned_key(id, key));
    batch.needs_sync = true;
}

fn store(record: TenantRecord, batch: &mut Batch) -> Result<Arc<TenantRecord>, PortError> {
    let mut row = TenantRow::of(&record);
    if let Some(vault) = batch.tables().vault() {
        let unsealed = |error: std::io::Error| PortError::Transient(error.to_string());
        row = row.sealed(&record.id, vault).map_err(unsealed)?;
    }
    batch.insert(Table::Tenants, keys::tenant(&record.id), &row);
    batch.tenants.push(record.clone());
    batch.needs_sync = true;
    Ok(Arc::new(record))
}
