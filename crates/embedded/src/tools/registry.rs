//! Tenants, their keys, and settings.

use std::collections::{BTreeSet, HashMap};

use lsm_tree::Slice;
use posthaste_domain::TenantId;

use super::events::{Part, foreign, part};
use crate::codec::{self, KeyRow, TenantRow};
use crate::damage::Kind;
use crate::keys::{self, RegistryKey};
use crate::raw::{RawStore, Told};
use crate::tables::{TIDE_KEY, Table};

/// What is whole of it.
#[derive(Default)]
pub(crate) struct Registry {
    /// Rows as they are on disk; lists of keys are left out, since keys say whose they are.
    pub(crate) rows: Vec<(Slice, Slice)>,
    /// Keys by their owner, as rows of its list.
    pub(crate) owned: BTreeSet<Vec<u8>>,
    shard_keys: HashMap<TenantId, u32>,
    pub(crate) keys: u64,
}

impl Registry {
    /// Reads all of it, and tells of what is not whole.
    pub(crate) fn read(store: &RawStore, told: &Told<'_>) -> Self {
        let table = Table::Tenants;
        let mut registry = Self::default();
        let mut listed = BTreeSet::new();
        for (key, value) in store.rows(table, told) {
            let kept = match keys::parse_registry(&key) {
                Some(RegistryKey::Tenant(id)) => registry.tenant(id, &value, told),
                Some(RegistryKey::ApiKey(hash)) => registry.api_key(hash, &value, told),
                Some(RegistryKey::Owned) => {
                    listed.insert(key.to_vec());
                    false
                }
                Some(RegistryKey::Setting(name)) => {
                    let whole = codec::unframe(&value).map(|_| ());
                    part(whole, told, table, &format!("setting {name}")) == Part::Whole(())
                }
                None if *key == *TIDE_KEY => false,
                None => {
                    foreign(told, table, &key);
                    false
                }
            };
            if kept {
                registry.rows.push((key, value));
            }
        }
        let label = |key: &Vec<u8>| {
            let mut reader = keys::Reader::new(key);
            let tenant = reader.byte().and_then(|_| reader.tenant());
            tenant.map_or_else(String::new, |tenant| format!("a key of tenant {tenant}"))
        };
        for key in registry.owned.difference(&listed) {
            told.row(Kind::Reference, table, label(key), "missing in its tenant's list");
        }
        for key in listed.difference(&registry.owned) {
            told.row(Kind::Reference, table, label(key), "listed, but not there");
        }
        registry
    }

    fn tenant(&mut self, id: TenantId, value: &[u8], told: &Told<'_>) -> bool {
        let row = codec::decode::<TenantRow>(value).and_then(|row| row.record(id.clone()));
        let label = format!("tenant {id}");
        let Part::Whole(record) = part(row, told, Table::Tenants, &label) else { return false };
        self.shard_keys.insert(id, record.shard_key);
        true
    }

    fn api_key(&mut self, hash: posthaste_domain::KeyHash, value: &[u8], told: &Told<'_>) -> bool {
        let row = codec::decode::<KeyRow>(value);
        let label = format!("API key {}", hash.key_id());
        let Part::Whole(row) = part(row, told, Table::Tenants, &label) else { return false };
        self.keys += 1;
        if let Ok(tenant) = TenantId::try_new(&row.tenant) {
            self.owned.insert(keys::owned_key(&tenant, &hash));
        }
        true
    }

    /// Whether a tenant is known.
    pub(crate) fn knows(&self, tenant: &TenantId) -> bool {
        self.shard_keys.contains_key(tenant)
    }

    pub(crate) fn shard_key(&self, tenant: &TenantId) -> u32 {
        self.shard_keys.get(tenant).copied().unwrap_or(0)
    }

    pub(crate) fn tenants(&self) -> u64 {
        self.shard_keys.len() as u64
    }
}
