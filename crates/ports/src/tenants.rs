//! Tenants, their keys, and the one global switch.

use std::sync::Arc;

use async_trait::async_trait;
use posthaste_domain::{
    DeliveryOptions, KeyHash, OptionsChange, SigningSecrets, TargetUrl, TenantId, Timestamp,
    WebhookSecret,
};

use crate::PortError;

/// A tenant and where its events go.
#[derive(Clone, Debug, PartialEq)]
pub struct TenantRecord {
    /// Its id.
    pub id: TenantId,
    /// Where its default endpoint listens.
    pub target: TargetUrl,
    /// What signs its deliveries.
    pub secrets: SigningSecrets,
    /// The plan's name; `standard` unless somebody said otherwise.
    pub plan: Box<str>,
    /// Decides its shard; taken from the target's host at creation and never changed, so that a
    /// delivery has one owner whatever happens to the target.
    pub shard_key: u32,
    /// How it wants its events delivered, where that is not as the process does it.
    pub options: Arc<DeliveryOptions>,
    /// Creation time.
    pub created_at: Timestamp,
    /// Time of the last change.
    pub updated_at: Timestamp,
    /// Grows with every change; tells caches that they are stale.
    pub version: u64,
}

/// A tenant to create, with its first key.
#[derive(Clone, Debug)]
pub struct NewTenant {
    /// Its id.
    pub id: TenantId,
    /// Where its events go.
    pub target: TargetUrl,
    /// Its first secret.
    pub secret: WebhookSecret,
    /// The plan's name.
    pub plan: Box<str>,
    /// SHA-256 of its first key.
    pub key: KeyHash,
    /// See [`TenantRecord::shard_key`].
    pub shard_key: u32,
    /// See [`TenantRecord::options`].
    pub options: Arc<DeliveryOptions>,
    /// When.
    pub at: Timestamp,
}

/// What came of [`TenantStore::create`].
#[derive(Clone, Debug, PartialEq)]
pub enum Created {
    /// It exists now.
    Created(Arc<TenantRecord>),
    /// It existed before; nothing changed.
    AlreadyExists,
}

/// A change of a tenant; at least one part is set.
#[derive(Clone, Debug)]
pub struct TenantChange {
    /// The new target.
    pub target: Option<TargetUrl>,
    /// The new secret, and for how many milliseconds the old one signs beside it.
    pub secret: Option<(WebhookSecret, u64)>,
    /// What becomes of its options.
    pub options: OptionsChange,
    /// When.
    pub at: Timestamp,
}

/// Who a key belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The tenant.
    pub tenant: TenantId,
    /// Whether the key is live; a revoked one stays known so that it can be told from a wrong one.
    pub active: bool,
    /// The tenant's plan.
    pub plan: Box<str>,
}

/// A key as lists show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    /// SHA-256 of the key.
    pub hash: KeyHash,
    /// Whether it is live.
    pub active: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Keeps tenants and keys. Every change is durable when its call returns.
#[async_trait]
pub trait TenantStore: Send + Sync {
    /// Creates a tenant with its first key.
    async fn create(&self, new: NewTenant) -> Result<Created, PortError>;
    /// One tenant, as it is now.
    async fn tenant(&self, id: &TenantId) -> Result<Option<Arc<TenantRecord>>, PortError>;
    /// Changes a tenant; none where there is no such tenant.
    async fn update(
        &self,
        id: &TenantId,
        change: TenantChange,
    ) -> Result<Option<Arc<TenantRecord>>, PortError>;
    /// Who a key belongs to; none where the key was never made.
    async fn identity(&self, key: &KeyHash) -> Result<Option<Identity>, PortError>;
    /// Adds a live key, which nobody has had before; false where there is no such tenant.
    async fn add_key(&self, id: &TenantId, key: KeyHash, at: Timestamp) -> Result<bool, PortError>;
    /// A tenant's keys, oldest first.
    async fn keys(&self, id: &TenantId) -> Result<Vec<KeyRecord>, PortError>;
    /// Revokes a key, for good; false where this tenant has no such key. Revoking twice is once.
    async fn revoke_key(&self, id: &TenantId, key: &KeyHash) -> Result<bool, PortError>;
    /// Whether the receiver takes webhooks; true until somebody says otherwise.
    async fn reception_enabled(&self) -> Result<bool, PortError>;
    /// Switches the receiver on or off.
    async fn set_reception_enabled(&self, enabled: bool) -> Result<(), PortError>;
    /// A small setting that the process keeps with its data (the admin key's hash).
    async fn setting(&self, name: &str) -> Result<Option<Vec<u8>>, PortError>;
    /// Stores such a setting.
    async fn set_setting(&self, name: &str, value: &[u8]) -> Result<(), PortError>;
}
