//! What every route shares: settings, collaborators, and the little state the process keeps.

use std::sync::Arc;

use posthaste_domain::{EventId, KeyHash, TenantId, Timestamp, WebhookSecret};
use posthaste_ports::PortError;
use tokio::sync::OnceCell;

use crate::AuthCache;
use crate::authorizer::KeyLookup;
use crate::body::Budget;
use crate::quota::Quota;
use crate::receiver::Replays;
use crate::refusal::Refusal;
use crate::seal::Sealer;
use crate::settings::{Clock, Deps, EndpointHealth, Entropy, ReceiverObserver, Settings, Stores};

/// Where the key of our tokens is kept, so that they outlive a restart.
const TOKEN_KEY_SETTING: &str = "api-token-key";

/// The state of all routes.
pub(crate) struct App {
    pub(crate) settings: Settings,
    pub(crate) stores: Stores,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) admin_keys: Vec<KeyHash>,
    /// Behind a gateway: what knows its keys.
    pub(crate) gateway: Option<Arc<dyn KeyLookup>>,
    pub(crate) auth_cache: Arc<AuthCache>,
    pub(crate) receiver_observer: Option<ReceiverObserver>,
    pub(crate) endpoint_health: Option<EndpointHealth>,
    pub(crate) bodies: Budget,
    quota: Option<Quota>,
    pub(crate) replays: Replays,
    /// A secret that nobody knows: what unknown tenants are verified against.
    pub(crate) decoy: WebhookSecret,
    entropy: Arc<dyn Entropy>,
    sealer: OnceCell<Sealer>,
}

impl App {
    pub(crate) fn new(settings: Settings, stores: Stores, deps: Deps) -> Self {
        let mut seed = [0; 32];
        deps.entropy.fill(&mut seed);
        Self {
            bodies: Budget::new(settings.bodies_bytes_max),
            quota: settings.tenant_events_per_s_max.map(Quota::new),
            replays: Replays::new(settings.replays_remembered_max),
            decoy: WebhookSecret::from_entropy(&seed),
            settings,
            stores,
            clock: deps.clock,
            admin_keys: deps.admin_keys,
            gateway: None,
            auth_cache: deps.auth_cache,
            receiver_observer: deps.receiver_observer,
            endpoint_health: deps.endpoint_health,
            entropy: deps.entropy,
            sealer: OnceCell::new(),
        }
    }

    /// The same behind a gateway, which has asked who sent a request.
    pub(crate) fn behind_gateway(self, keys: Arc<dyn KeyLookup>) -> Self {
        Self { gateway: Some(keys), ..self }
    }

    /// 32 random bytes, for a key or a secret.
    pub(crate) fn chance(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.entropy.fill(&mut bytes);
        bytes
    }

    /// Takes `events` from the tenant's quota, where there is one.
    pub(crate) fn within_quota(&self, tenant: &TenantId, events: usize) -> Result<(), Refusal> {
        match &self.quota {
            Some(quota) => quota.take(tenant, events, self.clock.now()),
            None => Ok(()),
        }
    }

    /// A fresh event id.
    pub(crate) fn event_id(&self, at: Timestamp) -> EventId {
        let mut bytes = [0; 16];
        self.entropy.fill(&mut bytes);
        EventId::from_parts(at, u128::from_ne_bytes(bytes))
    }

    /// What seals our tokens. Its key is made at first use and kept with the data.
    pub(crate) async fn sealer(&self) -> Result<&Sealer, PortError> {
        self.sealer
            .get_or_try_init(|| async {
                let tenants = &self.stores.tenants;
                if let Some(key) = tenants.setting(TOKEN_KEY_SETTING).await? {
                    return Ok(Sealer::new(&key));
                }
                tenants.set_setting(TOKEN_KEY_SETTING, &self.chance()).await?;
                // Read back: where two processes did this at once, both take what is kept.
                let kept = tenants.setting(TOKEN_KEY_SETTING).await?;
                let lost = || PortError::Transient("a setting was not kept".to_owned());
                Ok(Sealer::new(&kept.ok_or_else(lost)?))
            })
            .await
    }
}
