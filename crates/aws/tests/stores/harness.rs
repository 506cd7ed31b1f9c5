//! A DynamoDB with our tables, in this process, and the stores over it.

use std::sync::Arc;

use dynoxide::Database;
use posthaste_aws::{
    Client, DynamoDeadLetters, DynamoEvents, DynamoRows, DynamoTenants, Keys, Settings,
};
use posthaste_domain::{EventId, KeyHash, RowKey, TargetUrl, TenantId, Timestamp, WebhookSecret};
use posthaste_ports::memory::MemoryQueue;
use posthaste_ports::{Idempotency, NewEvent, NewTenant, Queue, Rows, TenantStore as _};
use posthaste_protocol::EventMessage;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// When every test begins.
pub(crate) const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);
/// The visibility of the main queue, in milliseconds.
const VISIBILITY_MS: u64 = 180_000;
const REGION: &str = "eu-west-1";
pub(crate) const EVENTS: &str = "test-Events";
pub(crate) const TENANTS: &str = "test-TenantWebhookConfig";
pub(crate) const IDENTITIES: &str = "test-TenantIdentity";

/// DynamoDB with our tables.
pub(crate) struct Dynamo {
    /// To look at it, and to put into it what others would.
    pub(crate) database: Database,
    pub(crate) url: String,
    _server: JoinSet<()>,
}

impl Dynamo {
    /// An empty one.
    pub(crate) async fn start() -> Self {
        let database = Database::memory().expect("a database in memory can be opened");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut server = JoinSet::new();
        server.spawn(dynoxide::server::serve_on(listener, database.clone()));
        let dynamo = Self { database, url, _server: server };
        dynamo.client().await.create_tables().await.expect("tables can be made");
        dynamo
    }

    pub(crate) async fn client(&self) -> Client {
        client(&self.url).await
    }

    /// Puts an item as somebody else would, in the JSON of the wire.
    pub(crate) fn put(&self, table: &str, item: &Value) {
        let request = json!({ "TableName": table, "Item": item });
        let request = serde_json::from_value(request).unwrap();
        self.database.put_item(request).expect("the item can be put");
    }

    /// Removes an item, as expiry would.
    pub(crate) fn remove(&self, table: &str, key: &Value) {
        let request = json!({ "TableName": table, "Key": key });
        self.database.delete_item(serde_json::from_value(request).unwrap()).unwrap();
    }

    /// One item, in the JSON of the wire.
    pub(crate) fn item(&self, table: &str, key: &Value) -> Option<Value> {
        let request = json!({ "TableName": table, "Key": key, "ConsistentRead": true });
        let read = self.database.get_item(serde_json::from_value(request).unwrap()).unwrap();
        let read = serde_json::to_value(read).unwrap();
        read.get("Item").filter(|item| !item.is_null()).cloned()
    }

    /// All items of a table, in the JSON of the wire.
    pub(crate) fn items(&self, table: &str) -> Vec<Value> {
        let mut items = Vec::new();
        let mut start = Value::Null;
        loop {
            let mut request = json!({ "TableName": table, "ConsistentRead": true });
            if !start.is_null() {
                request["ExclusiveStartKey"] = start;
            }
            let read = self.database.scan(serde_json::from_value(request).unwrap()).unwrap();
            let read = serde_json::to_value(read).unwrap();
            items.extend(read["Items"].as_array().unwrap().iter().cloned());
            start = read["LastEvaluatedKey"].clone();
            if start.is_null() {
                return items;
            }
        }
    }

    /// The sort keys of the events table.
    pub(crate) fn sort_keys(&self) -> Vec<String> {
        let text = |item: &Value| item["eventId"]["S"].as_str().unwrap().to_owned();
        let mut keys: Vec<_> = self.items(EVENTS).iter().map(text).collect();
        keys.sort_unstable();
        keys
    }

    /// The keys of all rows.
    pub(crate) fn row_keys(&self) -> Vec<RowKey> {
        let key = |item: &Value| {
            let tenant = TenantId::try_new(item["tenantId"]["S"].as_str()?).ok()?;
            Some(RowKey { tenant, event: item["eventId"]["S"].as_str()?.parse().ok()? })
        };
        self.items(EVENTS).iter().filter_map(key).collect()
    }
}

/// A client of whatever listens there.
pub(crate) async fn client(url: &str) -> Client {
    client_with(url, |settings| settings).await
}

pub(crate) async fn client_with(url: &str, change: impl FnOnce(Settings) -> Settings) -> Client {
    let settings = Settings {
        region: Some(REGION.to_owned()),
        keys: Some(Keys::new("000000000000", "test")),
        ..Settings::with_prefix("test").at(url)
    };
    Client::new(change(settings)).await.expect("a region is set")
}

/// Everything that the API needs, over one client.
pub(crate) struct Stores {
    pub(crate) tenants: DynamoTenants,
    pub(crate) events: DynamoEvents,
    pub(crate) dead_letters: DynamoDeadLetters,
    pub(crate) rows: DynamoRows,
}

impl Stores {
    pub(crate) fn new(client: &Client, queue: &Arc<dyn Queue>) -> Self {
        let rows = DynamoRows::new(client);
        let shared: Arc<dyn Rows> = Arc::new(rows.clone());
        Self {
            tenants: DynamoTenants::new(client.clone()),
            events: DynamoEvents::new(client.clone(), Arc::clone(&shared), Arc::clone(queue)),
            dead_letters: DynamoDeadLetters::new(client.clone(), shared, Arc::clone(queue)),
            rows,
        }
    }
}

/// A DynamoDB, a queue, and the stores of somebody to whom nothing ever happens.
pub(crate) struct World {
    pub(crate) dynamo: Dynamo,
    pub(crate) queue: MemoryQueue,
    pub(crate) stores: Stores,
    ids: u128,
}

impl World {
    /// With the tenant `acme`.
    pub(crate) async fn start() -> Self {
        let dynamo = Dynamo::start().await;
        let queue = queue();
        let stores = Stores::new(&dynamo.client().await, &shared(&queue));
        stores.tenants.create(new_tenant("acme")).await.expect("a tenant can be created");
        Self { dynamo, queue, stores, ids: 0 }
    }

    /// An event of `acme` that nobody has accepted yet.
    pub(crate) fn event(&mut self, at: Timestamp, payload: &[u8]) -> NewEvent {
        self.ids += 1;
        NewEvent {
            tenant: acme(),
            id: EventId::from_parts(at, self.ids),
            payload: payload.to_vec().into(),
            idempotency: None,
        }
    }

    /// The same with a key.
    pub(crate) fn event_with_key(&mut self, key: u8, payload: &[u8]) -> NewEvent {
        let mut body = [0; 32];
        body[..8].copy_from_slice(&(payload.len() as u64).to_be_bytes());
        let idempotency = Some(Idempotency { key: [key; 32], body });
        NewEvent { idempotency, ..self.event(START, payload) }
    }

    /// What the queue holds.
    pub(crate) fn messages(&self) -> Vec<EventMessage> {
        let bodies = self.queue.bodies();
        bodies.iter().map(|body| EventMessage::parse(body).expect("our own message")).collect()
    }
}

pub(crate) fn queue() -> MemoryQueue {
    MemoryQueue::new(Arc::new(|| START), VISIBILITY_MS)
}

pub(crate) fn shared(queue: &MemoryQueue) -> Arc<dyn Queue> {
    Arc::new(queue.clone())
}

pub(crate) fn acme() -> TenantId {
    TenantId::try_new("acme").unwrap()
}

pub(crate) fn new_tenant(name: &str) -> NewTenant {
    let mut key = [0; 32];
    key[..name.len()].copy_from_slice(name.as_bytes());
    NewTenant {
        id: TenantId::try_new(name).unwrap(),
        target: TargetUrl::parse_stored("https://example.com/hook").unwrap(),
        secret: WebhookSecret::try_new("whsec_of_a_test").unwrap(),
        plan: "standard".into(),
        options: Arc::default(),
        key: KeyHash::from_bytes(key),
        shard_key: 7,
        at: START,
    }
}
