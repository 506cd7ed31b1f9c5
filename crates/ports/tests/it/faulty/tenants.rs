//! Faults in keeping tenants and keys.

use std::sync::Arc;

use async_trait::async_trait;
use posthaste_domain::{KeyHash, OptionsChange, Part, TenantId, Timestamp};
use posthaste_ports::{
    Created, Identity, KeyRecord, NewTenant, PortError, TenantChange, TenantRecord, TenantStore,
};

use super::{Fault, Faulty};

impl Faulty {
    fn spoiled(&self, record: Arc<TenantRecord>) -> Arc<TenantRecord> {
        let mut record = (*record).clone();
        if self.is(Fault::ShardFollowsTarget) {
            record.shard_key = record.target.shard_key();
        }
        if self.is(Fault::VersionStands) {
            record.version = 1;
        }
        Arc::new(record)
    }
}

#[async_trait]
impl TenantStore for Faulty {
    async fn create(&self, mut new: NewTenant) -> Result<Created, PortError> {
        if self.is(Fault::OptionsForgotten) {
            new.options = Arc::default();
        }
        self.notes().tenants.insert(new.id.clone());
        let change = TenantChange {
            target: Some(new.target.clone()),
            secret: None,
            options: OptionsChange::NOTHING,
            at: new.at,
        };
        let (id, key) = (new.id.clone(), new.key);
        if self.is(Fault::CreateRaces) && self.inner.tenant(&id).await?.is_none() {
            self.let_another_in().await;
            self.inner.add_key(&id, key, new.at).await?;
            let created = self.inner.create(new).await?;
            self.inner.add_key(&id, key, change.at).await?;
            return match created {
                Created::Created(record) => Ok(Created::Created(record)),
                Created::AlreadyExists => {
                    let record = self.inner.tenant(&id).await?;
                    Ok(Created::Created(record.expect("it has just been created")))
                }
            };
        }
        match self.inner.create(new).await? {
            Created::AlreadyExists if self.is(Fault::CreateOverwrites) => {
                self.inner.update(&id, change.clone()).await?;
                self.inner.add_key(&id, key, change.at).await?;
                Ok(Created::AlreadyExists)
            }
            Created::AlreadyExists => Ok(Created::AlreadyExists),
            Created::Created(record) => Ok(Created::Created(self.spoiled(record))),
        }
    }

    async fn tenant(&self, id: &TenantId) -> Result<Option<Arc<TenantRecord>>, PortError> {
        Ok(self.inner.tenant(id).await?.map(|record| self.spoiled(record)))
    }

    async fn update(
        &self,
        id: &TenantId,
        mut change: TenantChange,
    ) -> Result<Option<Arc<TenantRecord>>, PortError> {
        if self.is(Fault::ChangeHitsNeighbour) {
            let neighbour = TenantId::try_new(&format!("{id}-2"));
            let neighbour = neighbour.expect("the names that facts use are short");
            self.inner.update(&neighbour, change.clone()).await?;
        }
        if let (Fault::OverlapForgotten, Some((_, overlap_ms))) = (self.fault, &mut change.secret) {
            *overlap_ms = 0;
        }
        if self.is(Fault::SecretHidesTarget) && change.secret.is_some() {
            change.target = None;
        }
        let timeout_left = change.options.timeout == Part::Leave && !change.options.is_nothing();
        if self.is(Fault::OptionsAllOrNone) && timeout_left {
            change.options.timeout = Part::Reset;
        }
        if self.is(Fault::OptionsFollowSecret) && change.secret.is_some() {
            change.options = OptionsChange::RESET;
        }
        Ok(self.inner.update(id, change).await?.map(|record| self.spoiled(record)))
    }

    async fn identity(&self, key: &KeyHash) -> Result<Option<Identity>, PortError> {
        let mut identity = self.inner.identity(key).await?;
        if self.is(Fault::RevokedKeyUnknown) {
            identity = identity.filter(|identity| identity.active);
        }
        if let (Fault::PlanForgotten, Some(identity)) = (self.fault, &mut identity) {
            identity.plan = "standard".into();
        }
        Ok(identity)
    }

    async fn add_key(&self, id: &TenantId, key: KeyHash, at: Timestamp) -> Result<bool, PortError> {
        let added = self.inner.add_key(id, key, at).await?;
        Ok(added || self.is(Fault::UnknownTenantTakesKeys))
    }

    async fn keys(&self, id: &TenantId) -> Result<Vec<KeyRecord>, PortError> {
        let mut keys = self.inner.keys(id).await?;
        if self.is(Fault::KeysInOrderOfHash) {
            keys.sort_by_key(|key| key.hash);
        }
        Ok(keys)
    }

    async fn revoke_key(&self, id: &TenantId, key: &KeyHash) -> Result<bool, PortError> {
        let owner = self.inner.identity(key).await?.map(|identity| identity.tenant);
        let owner = owner.filter(|_| self.is(Fault::ForeignKeyRevoked));
        self.inner.revoke_key(owner.as_ref().unwrap_or(id), key).await
    }

    async fn reception_enabled(&self) -> Result<bool, PortError> {
        self.inner.reception_enabled().await
    }

    async fn set_reception_enabled(&self, enabled: bool) -> Result<(), PortError> {
        if self.is(Fault::ReceptionNotStored) {
            return Ok(());
        }
        self.inner.set_reception_enabled(enabled).await
    }

    async fn setting(&self, name: &str) -> Result<Option<Vec<u8>>, PortError> {
        self.inner.setting(name).await
    }

    async fn set_setting(&self, name: &str, value: &[u8]) -> Result<(), PortError> {
        let first = self.notes().settings.insert(name.to_owned());
        if self.is(Fault::SettingsWrittenOnce) && !first {
            return Ok(());
        }
        self.inner.set_setting(name, value).await
    }
}
