//! Tenants, their keys, and settings.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use lsm_tree::Slice;
use posthaste_domain::{KeyHash, TenantId};

use super::events::{Part, foreign, part};
use crate::codec::{self, CodecError, KeyRow, TenantRow};
use crate::damage::Kind;
use crate::directory::Directory;
use crate::keys::{self, RegistryKey};
use crate::raw::{RawStore, Told};
use crate::tables::{TIDE_KEY, Table};
use crate::vault::{self, Vault};

/// What is whole of it.
#[derive(Default)]
pub(crate) struct Registry {
    /// Rows as they are on disk; lists of keys are left out, since keys say whose they are.
    pub(crate) rows: Vec<(Slice, Slice)>,
    /// Keys by their owner, as rows of its list.
    pub(crate) owned: BTreeSet<Vec<u8>>,
    shard_keys: HashMap<TenantId, u32>,
    pub(crate) keys: u64,
    /// What is not whole, or gone, by name.
    pub(crate) lost: BTreeMap<String, String>,
    /// Tenants that have API keys.
    pub(crate) named: BTreeSet<TenantId>,
}

impl Registry {
    /// Reads all of it, and tells of what is not whole.
    ///
    /// Sealed tenants are looked into where their key lies in the directory.
    pub(crate) fn read(directory: &Directory, store: &RawStore, told: &Told<'_>) -> Self {
        let vault = vault::lying_in(directory, store);
        let table = Table::Tenants;
        let mut registry = Self::default();
        let mut listed = BTreeSet::new();
        for (key, value) in store.rows(table, told) {
            let kept = match keys::parse_registry(&key) {
                Some(RegistryKey::Tenant(id)) => registry.tenant(id, &value, vault.as_ref(), told),
                Some(RegistryKey::ApiKey(hash)) => registry.api_key(hash, &value, told),
                Some(RegistryKey::Owned) => {
                    listed.insert(key.to_vec());
                    false
                }
                Some(RegistryKey::Setting(name)) => {
                    let whole = codec::unframe(&value).map(|_| ());
                    registry.part(whole, told, format!("setting {name}")).is_some()
                }
                None if *key == *TIDE_KEY => false,
                None => {
                    foreign(told, table, &key);
                    let name = format!("row {}", key.escape_ascii());
                    registry.lost.insert(name, "not a key of this table".to_owned());
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
            let mut reader = keys::Reader::new(key);
            let tenant = reader.byte().and_then(|_| reader.tenant());
            let hash = reader.rest().try_into().map(KeyHash::from_bytes);
            if let (Some(tenant), Ok(hash)) = (tenant, hash) {
                let what = format!("lost; it was tenant {tenant}'s");
                registry.lost.insert(key_label(&hash), what);
                registry.named.insert(tenant);
            }
        }
        registry
    }

    /// What was read, or nothing where it is damaged, which is told and noted.
    fn part<T>(
        &mut self,
        read: Result<T, CodecError>,
        told: &Told<'_>,
        label: String,
    ) -> Option<T> {
        let what = read.as_ref().err().map(ToString::to_string);
        match part(read, told, Table::Tenants, &label) {
            Part::Whole(whole) => Some(whole),
            Part::Missing | Part::Damaged => {
                self.lost.insert(label, what.unwrap_or_default());
                None
            }
        }
    }

    fn tenant(
        &mut self,
        id: TenantId,
        value: &[u8],
        vault: Option<&Vault>,
        told: &Told<'_>,
    ) -> bool {
        let whole = codec::decode::<TenantRow>(value).and_then(|row| {
            let shard_key = row.shard_key();
            if vault.is_some() || !row.is_sealed() {
                row.opened(&id, vault)?.record(id.clone())?;
            }
            Ok(shard_key)
        });
        let Some(shard_key) = self.part(whole, told, format!("tenant {id}")) else { return false };
        self.shard_keys.insert(id, shard_key);
        true
    }

    fn api_key(&mut self, hash: KeyHash, value: &[u8], told: &Told<'_>) -> bool {
        let row = codec::decode::<KeyRow>(value);
        let Some(row) = self.part(row, told, key_label(&hash)) else { return false };
        self.keys += 1;
        if let Ok(tenant) = TenantId::try_new(&row.tenant) {
            self.owned.insert(keys::owned_key(&tenant, &hash));
            self.named.insert(tenant);
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

/// How people name an API key.
fn key_label(hash: &KeyHash) -> String {
    format!("API key {}", hash.key_id())
}
