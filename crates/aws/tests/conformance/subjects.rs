//! Our adapters over an emulator, as the suite wants them. Also a part of `loadgen`'s tests.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_dynamodb::types::AttributeValue;
use bytes::Bytes;
use posthaste_aws::{Client, DynamoRows, Keys, NewRow, Settings, SqsQueue, WriteStrategy};
use posthaste_domain::RowKey;
use posthaste_ports::conformance::{QueueSubject, RowsSubject};
use posthaste_ports::{Queue, Rows};

/// Ministack names an account by an access key of twelve digits.
pub(crate) const ACCOUNT: &str = "000000000000";
/// Where the emulators are.
pub(crate) const REGION: &str = "us-east-1";

pub(crate) fn settings(url: &str) -> Settings {
    Settings {
        region: Some(REGION.to_owned()),
        keys: Some(Keys::new(ACCOUNT, "test")),
        ..Settings::with_prefix("conformance").at(url)
    }
}

pub(crate) async fn client(settings: Settings) -> Client {
    Client::new(settings).await.expect("a region is set")
}

/// The table of events.
pub(crate) struct Table {
    rows: DynamoRows,
    /// For what our adapter refuses to do.
    foreign: aws_sdk_dynamodb::Client,
    name: String,
}

impl Table {
    pub(crate) async fn create(url: &str, writes: WriteStrategy) -> Self {
        let client = client(Settings { writes, ..settings(url) }).await;
        client.create_tables().await.expect("tables can be made");
        let (name, rows) = (client.names().events.clone(), DynamoRows::new(&client));
        Self { rows, foreign: foreign(url), name }
    }

    /// Puts an item as somebody else would.
    pub(crate) async fn put(&self, item: HashMap<String, AttributeValue>) {
        let request = self.foreign.put_item().table_name(&self.name).set_item(Some(item));
        request.send().await.expect("an item can be put");
    }
}

/// DynamoDB as anybody speaks to it.
fn foreign(url: &str) -> aws_sdk_dynamodb::Client {
    use aws_sdk_dynamodb::config::{BehaviorVersion, Builder, Credentials, Region};
    let http = aws_smithy_http_client::Builder::new().build_http();
    let config = Builder::new()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .endpoint_url(url)
        .credentials_provider(Credentials::new(ACCOUNT, "test", None, None, "test"))
        .http_client(http);
    aws_sdk_dynamodb::Client::from_conf(config.build())
}

#[async_trait]
impl RowsSubject for Table {
    fn rows(&self) -> &dyn Rows {
        &self.rows
    }

    async fn insert(&self, key: &RowKey, payload: Bytes) -> bool {
        let target_url = Some("https://example.com/hooks/acme".into());
        let new = NewRow { key: key.clone(), payload, target_url };
        self.rows.insert(&new).await.expect("an event can be put")
    }

    async fn remove(&self, key: &RowKey) {
        let text = |text: String| AttributeValue::S(text);
        let request = self.foreign.delete_item().table_name(&self.name);
        let request = request.key("tenantId", text(key.tenant.to_string()));
        request.key("eventId", text(key.event.to_string())).send().await.expect("a delete");
    }
}

/// Queues by name.
pub(crate) struct Queues(Client);

impl Queues {
    pub(crate) async fn new(url: &str) -> Self {
        Self(client(settings(url)).await)
    }
}

#[async_trait]
impl QueueSubject for Queues {
    async fn queue(&self, name: &str, visibility_ms: u64) -> Arc<dyn Queue> {
        let made = self.0.create_queue(name, visibility_ms / 1000).await;
        made.expect("a queue can be made");
        Arc::new(SqsQueue::named(&self.0, name))
    }
}
