//! Tenants as the daemons read them: at the table's mercy, and gone when the plan says.

use std::sync::Arc;

use async_trait::async_trait;
use posthaste_domain::{KeyHash, SigningSecrets, TargetUrl, TenantId, Timestamp, WebhookSecret};
use posthaste_ports::{
    Created, Identity, KeyRecord, NewTenant, PortError, TenantChange, TenantRecord, TenantStore,
};

use crate::cloud::{Kind, Line, Luck, lost};
use crate::failpoint::{Site, Step};
use crate::plan::START;

/// All of them.
#[derive(Clone)]
pub(crate) struct Tenants {
    pub(crate) line: Line,
}

/// Nobody does this in these worlds.
fn unasked<T>() -> Result<T, PortError> {
    Err(PortError::Permanent("these worlds only read tenants".to_owned()))
}

#[async_trait]
impl TenantStore for Tenants {
    async fn tenant(&self, id: &TenantId) -> Result<Option<Arc<TenantRecord>>, PortError> {
        let sent_ms = self.line.world.ms();
        self.line.travel(Kind::Rows).await;
        let luck = self.line.luck(Kind::Rows);
        if let Luck::Fails(error) = luck {
            return Err(error);
        }
        let ms = self.line.world.ms();
        let deleted_ms = self.line.world.lock().judge.deleted_ms(id);
        if deleted_ms.is_some_and(|at| at <= ms) {
            self.line.world.saw("people delete a tenant");
        }
        let tenants = self.line.world.plan.tenants.iter().zip(0..);
        let found = tenants
            .filter(|(it, _)| it.id == *id && deleted_ms.is_none_or(|at| ms < at))
            .map(|(it, shard_key)| {
                Arc::new(TenantRecord {
                    id: it.id.clone(),
                    target: TargetUrl::parse_stored("https://receiver.example/hook")
                        .expect("a lawful address"),
                    secrets: SigningSecrets::new(WebhookSecret::from_entropy(&[7; 32])),
                    plan: "standard".into(),
                    shard_key,
                    options: Arc::default(),
                    created_at: START,
                    updated_at: START,
                    version: 1,
                })
            })
            .next();
        let dated = self.line.dated(sent_ms);
        self.line.at(Site::After(Step::ReadTenant), None).await?;
        self.line.come_back(&luck, dated).await;
        if luck == Luck::LosesReply { Err(lost()) } else { Ok(found) }
    }

    async fn create(&self, _: NewTenant) -> Result<Created, PortError> {
        unasked()
    }

    async fn update(
        &self,
        _: &TenantId,
        _: TenantChange,
    ) -> Result<Option<Arc<TenantRecord>>, PortError> {
        unasked()
    }

    async fn identity(&self, _: &KeyHash) -> Result<Option<Identity>, PortError> {
        unasked()
    }

    async fn add_key(&self, _: &TenantId, _: KeyHash, _: Timestamp) -> Result<bool, PortError> {
        unasked()
    }

    async fn keys(&self, _: &TenantId) -> Result<Vec<KeyRecord>, PortError> {
        unasked()
    }

    async fn revoke_key(&self, _: &TenantId, _: &KeyHash) -> Result<bool, PortError> {
        unasked()
    }

    async fn reception_enabled(&self) -> Result<bool, PortError> {
        unasked()
    }

    async fn set_reception_enabled(&self, _: bool) -> Result<(), PortError> {
        unasked()
    }

    async fn setting(&self, _: &str) -> Result<Option<Vec<u8>>, PortError> {
        unasked()
    }

    async fn set_setting(&self, _: &str, _: &[u8]) -> Result<(), PortError> {
        unasked()
    }
}
