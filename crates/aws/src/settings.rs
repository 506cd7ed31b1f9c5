//! Where AWS is, and what our queues and tables are called there.

use std::fmt;

/// An access key that does not come from the SDK's usual chain. `Debug` hides the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    pub(crate) id: String,
    pub(crate) secret: String,
}

impl Keys {
    /// This access key.
    #[must_use]
    pub fn new(id: &str, secret: &str) -> Self {
        Self { id: id.to_owned(), secret: secret.to_owned() }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What the adapters need to know; credentials come from the SDK's usual chain (environment,
/// profile, web identity, ECS, instance), unless [`Settings::keys`] has some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The region; without one the SDK's usual chain is asked (`AWS_REGION`, profile, instance).
    pub region: Option<String>,
    /// The access key, if not by the usual chain: for emulators, to which any key is good.
    pub keys: Option<Keys>,
    /// Where SQS is, if not at the region's own address (an emulator, a VPC endpoint).
    pub sqs_endpoint: Option<String>,
    /// Where DynamoDB is, if not at the region's own address.
    pub dynamodb_endpoint: Option<String>,
    /// What things are called.
    pub names: Names,
    /// How rows are written.
    pub writes: WriteStrategy,
}

impl Settings {
    /// Everything as usual, with the names that begin with `prefix`.
    #[must_use]
    pub fn with_prefix(prefix: &str) -> Self {
        Self {
            region: None,
            keys: None,
            sqs_endpoint: None,
            dynamodb_endpoint: None,
            names: Names::with_prefix(prefix),
            writes: WriteStrategy::default(),
        }
    }

    /// The same with both services at one address, as emulators have it.
    #[must_use]
    pub fn at(self, endpoint: &str) -> Self {
        Self {
            sqs_endpoint: Some(endpoint.to_owned()),
            dynamodb_endpoint: Some(endpoint.to_owned()),
            ..self
        }
    }
}

/// The names of queues and tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The main queue.
    pub queue: String,
    /// The dead-letter queue.
    pub dead_letter_queue: String,
    /// The table of events.
    pub events: String,
    /// The table of tenants' targets and secrets.
    pub tenants: String,
    /// The table of API keys.
    pub identities: String,
}

impl Names {
    /// The contract's names (§5) under a prefix.
    #[must_use]
    pub fn with_prefix(prefix: &str) -> Self {
        Self {
            queue: format!("{prefix}-events"),
            dead_letter_queue: format!("{prefix}-events-dlq"),
            events: format!("{prefix}-Events"),
            tenants: format!("{prefix}-TenantWebhookConfig"),
            identities: format!("{prefix}-TenantIdentity"),
        }
    }
}

/// How a batch of conditional row writes becomes requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WriteStrategy {
    /// `BatchExecuteStatement`, 25 rows a request, each with an answer of its own.
    #[default]
    Statements,
    /// `UpdateItem`, a request a row, side by side. For roles that may not use PartiQL.
    Updates,
}
