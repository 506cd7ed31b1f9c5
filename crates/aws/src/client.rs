//! The connections to SQS and DynamoDB.
//!
//! Four SDK clients over one pool of connections and one cache of credentials. They differ in
//! their time-outs (a long poll lasts 20 s, a write must not) and in their retry budgets: the SDK
//! shares a budget among all clients of a partition, so that a throttled long poll could take the
//! retries from the writes that settle events.

use std::sync::Arc;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::config::Credentials;
use aws_sdk_dynamodb::config::retry::RetryPartition as DynamoPartition;
use aws_sdk_sqs::config::retry::RetryPartition as SqsPartition;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use posthaste_domain::Timestamp;

use crate::date::Heard;
use crate::settings::Keys;
use crate::{Error, Names, Resource, Settings, WriteStrategy};

/// The longest wait that SQS grants a receive, in milliseconds.
pub(crate) const LONG_POLL_MS_MAX: u64 = 20_000;
/// How long one try of a receive may take, in milliseconds.
const RECEIVE_ATTEMPT_MS_MAX: u64 = 25_000;
const _: () = assert!(RECEIVE_ATTEMPT_MS_MAX >= LONG_POLL_MS_MAX + 5_000);
/// How long one try of any other call may take. Both services answer within 100 ms, so that 3 s
/// without an answer mean a connection that is gone.
const ATTEMPT_MS_MAX: u64 = 3_000;
/// How long a call with all its tries may take. A batch of row writes must be done well within
/// the slack of a lease (180 s).
const CALL_MS_MAX: u64 = 10_000;
/// How long connecting may take, in milliseconds.
const CONNECT_MS_MAX: u64 = 2_000;
/// Tries of a write or read within a call; the caller tries again where these were not enough.
const WRITE_TRIES: u32 = 3;
/// Tries of a send. The SDK would send a copy that cannot be told from the first one, and a queue
/// that took both would have the event attempted twice (PROTOCOL, crash point 4): what sends again
/// is our own code, whose copy says so.
const SEND_TRIES: u32 = 1;
/// Tries of a receive: its loop comes round anyway, and knows better when to wait.
const RECEIVE_TRIES: u32 = 1;
/// The SDK's default of 1 s suits people; our batches wait behind one that is tried again.
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
/// Beyond it the caller's own back-off takes over.
const BACKOFF_LAST: Duration = Duration::from_secs(2);

/// SQS and DynamoDB in one region and account. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    names: Names,
    writes: WriteStrategy,
    region: Arc<str>,
    intake: aws_sdk_sqs::Client,
    queue: aws_sdk_sqs::Client,
    sends: aws_sdk_sqs::Client,
    table: aws_sdk_dynamodb::Client,
    heard: Heard,
}

impl Client {
    /// Looks up region and credentials provider. Sends nothing to AWS yet, so that what is wrong
    /// there is told by the first call, or by [`Client::check`].
    ///
    /// # Errors
    /// [`Error::NoRegion`] where neither the settings nor the environment name one.
    pub async fn new(settings: Settings) -> Result<Self, Error> {
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .build_https();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http)
            // It watches over slow downloads; our answers are small and have a time-out each.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        if let Some(region) = &settings.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(Keys { id, secret }) = &settings.keys {
            let keys = Credentials::new(id, secret, None, None, "posthaste-settings");
            loader = loader.credentials_provider(keys);
        }
        let config = loader.load().await;
        let region = config.region().map(ToString::to_string).filter(|name| !name.is_empty());
        let region = region.ok_or(Error::NoRegion)?;
        let heard = Heard::default();
        let shared = Shared {
            names: settings.names,
            writes: settings.writes,
            region: region.into(),
            intake: intake(&config, settings.sqs_endpoint.as_deref()),
            queue: queue(&config, settings.sqs_endpoint.as_deref(), WRITE_TRIES),
            sends: queue(&config, settings.sqs_endpoint.as_deref(), SEND_TRIES),
            table: table(&config, settings.dynamodb_endpoint.as_deref(), heard.clone()),
            heard,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// What queues and tables are called.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.shared.names
    }

    /// What time it is at DynamoDB, by the `Date` of its answers: at least this, and more by no
    /// more than a second and an answer's way. `own`, which is what the caller's clock shows, where
    /// answers bear no date; None before the second answer, and while the latest one contradicts
    /// those before it.
    #[must_use]
    pub fn table_time(&self, own: Timestamp) -> Option<Timestamp> {
        self.shared.heard.now(own)
    }

    /// The region in use.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.shared.region
    }

    pub(crate) fn writes(&self) -> WriteStrategy {
        self.shared.writes
    }

    /// SQS for long polls.
    pub(crate) fn intake(&self) -> &aws_sdk_sqs::Client {
        &self.shared.intake
    }

    /// SQS for sends: one try each.
    pub(crate) fn sends(&self) -> &aws_sdk_sqs::Client {
        &self.shared.sends
    }

    /// SQS for everything else.
    pub(crate) fn queue(&self) -> &aws_sdk_sqs::Client {
        &self.shared.queue
    }

    /// DynamoDB.
    pub(crate) fn table(&self) -> &aws_sdk_dynamodb::Client {
        &self.shared.table
    }

    pub(crate) fn queue_named(&self, name: &str) -> Resource {
        Resource::new("queue", name, &self.shared.region)
    }

    pub(crate) fn table_named(&self, name: &str) -> Resource {
        Resource::new("table", name, &self.shared.region)
    }
}

fn intake(config: &SdkConfig, endpoint: Option<&str>) -> aws_sdk_sqs::Client {
    let mut builder = aws_sdk_sqs::config::Builder::from(config)
        .retry_partition(SqsPartition::new("posthaste-intake"))
        .retry_config(retries(RECEIVE_TRIES))
        .timeout_config(times(RECEIVE_ATTEMPT_MS_MAX, RECEIVE_ATTEMPT_MS_MAX));
    if let Some(endpoint) = endpoint {
        builder = builder.endpoint_url(endpoint);
    }
    aws_sdk_sqs::Client::from_conf(builder.build())
}

fn queue(config: &SdkConfig, endpoint: Option<&str>, tries: u32) -> aws_sdk_sqs::Client {
    let mut builder = aws_sdk_sqs::config::Builder::from(config)
        .retry_partition(SqsPartition::new("posthaste-queue-writes"))
        .retry_config(retries(tries))
        .timeout_config(times(ATTEMPT_MS_MAX, CALL_MS_MAX));
    if let Some(endpoint) = endpoint {
        builder = builder.endpoint_url(endpoint);
    }
    aws_sdk_sqs::Client::from_conf(builder.build())
}

fn table(config: &SdkConfig, endpoint: Option<&str>, heard: Heard) -> aws_sdk_dynamodb::Client {
    let mut builder = aws_sdk_dynamodb::config::Builder::from(config)
        .interceptor(heard)
        .retry_partition(DynamoPartition::new("posthaste-rows"))
        .retry_config(retries(WRITE_TRIES))
        .timeout_config(times(ATTEMPT_MS_MAX, CALL_MS_MAX));
    if let Some(endpoint) = endpoint {
        builder = builder.endpoint_url(endpoint);
    }
    aws_sdk_dynamodb::Client::from_conf(builder.build())
}

fn retries(tries: u32) -> RetryConfig {
    RetryConfig::standard()
        .with_max_attempts(tries)
        .with_initial_backoff(BACKOFF_FIRST)
        .with_max_backoff(BACKOFF_LAST)
}

fn times(attempt_ms: u64, call_ms: u64) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_millis(CONNECT_MS_MAX))
        .operation_attempt_timeout(Duration::from_millis(attempt_ms))
        .operation_timeout(Duration::from_millis(call_ms))
        .build()
}
