//! The stores behind the routers, as a function assembles them from its environment.

use std::sync::Arc;

use async_trait::async_trait;
use posthaste_api::{AuthCache, Deps, KeyLookup, Settings, Stores};
use posthaste_aws::{Client, DynamoDeadLetters, DynamoEvents, DynamoRows, DynamoTenants, SqsQueue};
use posthaste_ports::{Identity, PortError, Queue, Rows, TenantStore};

use crate::chance::Chance;
use crate::clock::Clock;
use crate::environment::Environment;

/// Who a key belongs to, by the table of identities alone.
#[derive(Clone, Debug)]
pub struct Keys(DynamoTenants);

impl Keys {
    /// The keys of a client's tables.
    #[must_use]
    pub fn new(client: &Client) -> Self {
        Self(DynamoTenants::new(client.clone()))
    }
}

#[async_trait]
impl KeyLookup for Keys {
    async fn identity_of(&self, key: &str) -> Result<Option<Identity>, PortError> {
        Ok(self.0.identity_of(key).await?)
    }
}

/// Everything over one client's queues and tables.
#[derive(Clone)]
pub struct Cloud {
    /// Queues and tables.
    pub client: Client,
    /// The rows of events.
    pub rows: Arc<dyn Rows>,
    /// The main queue.
    pub queue: Arc<dyn Queue>,
    /// Tenants and keys.
    pub tenants: Arc<dyn TenantStore>,
}

impl std::fmt::Debug for Cloud {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cloud").field("client", &self.client).finish_non_exhaustive()
    }
}

impl Cloud {
    /// Sends nothing yet.
    ///
    /// # Errors
    /// Where no region is set.
    pub async fn new(settings: posthaste_aws::Settings) -> Result<Self, posthaste_aws::Error> {
        let client = Client::new(settings).await?;
        Ok(Self {
            rows: Arc::new(DynamoRows::new(&client)),
            queue: Arc::new(SqsQueue::main(&client)),
            tenants: Arc::new(DynamoTenants::new(client.clone())),
            client,
        })
    }

    /// The dead letters.
    #[must_use]
    pub fn dead_letters(&self) -> DynamoDeadLetters {
        let (rows, queue) = (Arc::clone(&self.rows), Arc::clone(&self.queue));
        DynamoDeadLetters::new(self.client.clone(), rows, queue)
    }

    /// What the routers need.
    #[must_use]
    pub fn stores(&self) -> Stores {
        let (rows, queue) = (Arc::clone(&self.rows), Arc::clone(&self.queue));
        Stores {
            tenants: Arc::clone(&self.tenants),
            events: Arc::new(DynamoEvents::new(self.client.clone(), rows, queue)),
            dead_letters: Arc::new(self.dead_letters()),
        }
    }
}

/// The routers' limits and switches. API Gateway's throttling is the quota.
#[must_use]
pub fn settings(environment: &Environment) -> Settings {
    Settings {
        open_tenant_creation: environment.open_tenant_creation,
        address_policy: environment.address_policy.clone(),
        secret_overlap_ms: environment.secret_overlap_ms,
        ..Settings::default()
    }
}

/// The routers' other collaborators.
#[must_use]
pub fn deps(environment: &Environment, clock: &Arc<Clock>) -> Deps {
    Deps {
        clock: Arc::clone(clock) as Arc<dyn posthaste_api::Clock>,
        entropy: Arc::new(Chance),
        admin_keys: environment.admin_keys.clone(),
        // The gateway remembers keys; here nothing is kept.
        auth_cache: Arc::new(AuthCache::new(0)),
        receiver_observer: None,
        endpoint_health: None,
    }
}
