//! A simulated AWS in this process, and real daemons on it, each with a disk and a proxy.
//!
//! What the ingest Lambda does is done here with the same adapter, so that a daemon does nothing
//! but deliver. Time is moved on AWS's side: what is hidden is shown again at once, and a lease is
//! ended by writing its end into the past, since a daemon's own clock cannot be moved.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use posthaste_aws::{Client, DynamoEvents, DynamoRows, DynamoTenants, Keys, SqsQueue};
use posthaste_domain::{
    EventId, EventStatus, KeyHash, OptionsChange, Row, RowKey, TargetUrl, TenantId, Timestamp,
    WebhookSecret,
};
use posthaste_loadgen::aws_sim::{AwsSim, Faults, Settings};
use posthaste_ports::{
    Acceptance, EventStore as _, NewEvent, NewTenant, Queue, Rows, StoredEvent, TenantChange,
    TenantStore as _,
};
use serde_json::{Value, json};

use super::proxy::{Proxy, ask};
use crate::support::daemon::{Daemon, Home, Setup};
use crate::support::eventually;

pub(crate) const PREFIX: &str = "t";
const REGION: &str = "us-east-1";
/// Beyond every visibility time-out and every lease.
const LONG_MS: u64 = 181_000;
/// Between two looks at a queue that is not empty what is hidden is shown again, once in so many.
const LOOKS: u32 = 100;

/// AWS, with our queues and tables, and whoever is not a daemon.
pub(crate) struct World {
    pub(crate) sim: AwsSim,
    pub(crate) client: Client,
    rows: DynamoRows,
    tenants: DynamoTenants,
    events: DynamoEvents,
    ids: AtomicU64,
}

/// A client of a simulator.
pub(crate) async fn client(url: &str) -> Client {
    let settings = posthaste_aws::Settings {
        region: Some(REGION.to_owned()),
        keys: Some(Keys::new("test", "test")),
        ..posthaste_aws::Settings::with_prefix(PREFIX).at(url)
    };
    Client::new(settings).await.expect("a region is set")
}

/// What a daemon on an AWS at `url` is started with: the usual, retries after two seconds, sweeps
/// as often as may be.
pub(crate) fn setup(url: &str) -> Setup {
    let setup = Setup::default()
        .without("retry.delays")
        .with("retry.delays", "2s")
        .with("aws.enabled", true)
        .with("aws.prefix", PREFIX)
        .with("aws.region", REGION)
        .with("aws.sweep-pause", "1s")
        .with("aws.polls", 2)
        .with("data.free-space-floor", "64MiB")
        .with("data.ballast", "0B");
    at(setup, url)
}

/// The same with another way to AWS.
fn at(setup: Setup, url: &str) -> Setup {
    let endpoints = ["aws.sqs-endpoint", "aws.dynamodb-endpoint"];
    endpoints.into_iter().fold(setup, |setup, key| setup.without(key).with(key, url))
}

impl World {
    /// With queues and tables, and no tenant.
    pub(crate) async fn start() -> Self {
        let sim = AwsSim::start(Settings::default()).expect("a simulator");
        let client = client(&sim.url()).await;
        client.create().await.expect("queues and tables can be made");
        let rows = DynamoRows::new(&client);
        let shared: Arc<dyn Rows> = Arc::new(rows.clone());
        let queue: Arc<dyn Queue> = Arc::new(SqsQueue::main(&client));
        let events = DynamoEvents::new(client.clone(), shared, queue);
        Self {
            sim,
            tenants: DynamoTenants::new(client.clone()),
            events,
            rows,
            client,
            ids: AtomicU64::new(1),
        }
    }

    /// With the tenant `acme`, whose receiver is at `target`.
    pub(crate) async fn with_acme(target: &str) -> Self {
        let world = Self::start().await;
        world.add_tenant("acme", target).await;
        world
    }

    pub(crate) async fn add_tenant(&self, id: &str, target: &str) {
        let mut key = [0; 32];
        key[..id.len()].copy_from_slice(id.as_bytes());
        let tenant = NewTenant {
            id: tenant_id(id),
            target: TargetUrl::parse_stored(target).expect("a URL"),
            secret: WebhookSecret::from_entropy(&[7; 32]),
            plan: "standard".into(),
            options: Arc::default(),
            key: KeyHash::from_bytes(key),
            shard_key: 7,
            at: wall(),
        };
        self.tenants.create(tenant).await.expect("a tenant can be created");
    }

    /// Moves a tenant's receiver, as the API does.
    pub(crate) async fn move_tenant(&self, id: &str, target: &str) {
        let target = Some(TargetUrl::parse_stored(target).expect("a URL"));
        let change =
            TenantChange { target, secret: None, options: OptionsChange::NOTHING, at: wall() };
        let changed = self.tenants.update(&tenant_id(id), change).await;
        assert!(changed.expect("the table works").is_some(), "no tenant {id}");
    }

    /// Gives a tenant a new secret, as the API does.
    pub(crate) async fn set_secret(&self, id: &str) {
        let secret = Some((WebhookSecret::from_entropy(&[8; 32]), 0));
        let change =
            TenantChange { target: None, secret, options: OptionsChange::NOTHING, at: wall() };
        let changed = self.tenants.update(&tenant_id(id), change).await;
        assert!(changed.expect("the table works").is_some(), "no tenant {id}");
    }

    /// An accepted event of `acme`: row and message are there.
    pub(crate) async fn accept(&self) -> RowKey {
        self.accept_of("acme", br#"{"type":"test"}"#).await
    }

    pub(crate) async fn accept_of(&self, tenant: &str, payload: &[u8]) -> RowKey {
        let number = self.ids.fetch_add(1, Ordering::Relaxed);
        let event = NewEvent {
            tenant: tenant_id(tenant),
            id: EventId::from_parts(wall(), u128::from(number)),
            payload: payload.to_vec().into(),
            idempotency: None,
        };
        let key = RowKey { tenant: event.tenant.clone(), event: event.id };
        let accepted = self.events.accept(vec![event]).await.expect("AWS works");
        assert_eq!(accepted, [Acceptance::Accepted(key.event)]);
        key
    }

    /// A row, if it is there.
    pub(crate) async fn stored(&self, key: &RowKey) -> Option<StoredEvent> {
        let mut read = self.rows.read(std::slice::from_ref(key)).await.expect("AWS works");
        read.pop().expect("an answer")
    }

    pub(crate) async fn row(&self, key: &RowKey) -> Row {
        self.stored(key).await.expect("the row is there").row
    }

    /// Waits until a row is as it should be.
    pub(crate) async fn until_row(&self, key: &RowKey, what: &str, is: impl Fn(&Row) -> bool) {
        eventually(what, async || is(&self.row(key).await)).await;
    }

    /// Waits until the first failure is in the row and its message is gone: only a timer, or a
    /// sweep, brings the event back.
    pub(crate) async fn until_waiting(&self, key: &RowKey) {
        self.until_row(key, "the failure is in the row", |row| row.attempts == 1).await;
        eventually("its message is gone", async || self.depth().await == (0, 0)).await;
    }

    /// Waits until the row says so and the queue is empty, so that nothing is left to do.
    pub(crate) async fn until_settled(&self, key: &RowKey, status: EventStatus) {
        self.until_row(key, &format!("{status:?}"), |row| row.status == status).await;
        let mut looks = 0;
        eventually("the queue is empty", async || {
            if looks % LOOKS == 0 {
                self.show_hidden();
            }
            looks += 1;
            self.depth().await == (0, 0)
        })
        .await;
    }

    /// The same, where the message may have been put off: it is shown again now and then. For
    /// worlds with one daemon, which knows what it has in flight.
    pub(crate) async fn until_settled_shown(&self, key: &RowKey, status: EventStatus) {
        let mut looks = 0;
        eventually(&format!("{status:?}, its message shown again"), async || {
            if looks % LOOKS == 0 {
                self.show_hidden();
            }
            looks += 1;
            self.row(key).await.status == status
        })
        .await;
        self.until_settled(key, status).await;
    }

    /// Shows every message again that is hidden.
    pub(crate) fn show_hidden(&self) {
        self.sim.skip_ms(LONG_MS);
    }

    /// Ends a row's lease, as the passing of minutes would.
    pub(crate) async fn end_lease(&self, key: &RowKey) {
        self.move_lease(key, -24 * 60 * 60 * 1000).await;
    }

    /// Moves the end of a row's lease by so many milliseconds, as if its owner's clock were off.
    pub(crate) async fn move_lease(&self, key: &RowKey, by_ms: i64) {
        let until = self.row(key).await.lease.expect("somebody owns it").until;
        let moved = until.as_millis().checked_add_signed(by_ms).expect("after 1970");
        let request = json!({
            "TableName": format!("{PREFIX}-Events"),
            "Key": item_key(key),
            "UpdateExpression": "SET #d = :d",
            "ExpressionAttributeNames": { "#d": "due" },
            "ExpressionAttributeValues": { ":d": { "N": moved.to_string() } },
        });
        self.call("DynamoDB_20120810.UpdateItem", &request).await;
    }

    /// Makes a row one that nobody can read, as if written by hand.
    pub(crate) async fn spoil(&self, key: &RowKey) {
        let request = json!({
            "TableName": format!("{PREFIX}-Events"),
            "Key": item_key(key),
            "UpdateExpression": "SET #s = :s",
            "ExpressionAttributeNames": { "#s": "status" },
            "ExpressionAttributeValues": { ":s": { "S": "NONSENSE" } },
        });
        self.call("DynamoDB_20120810.UpdateItem", &request).await;
    }

    /// Removes an item of the events table.
    pub(crate) async fn remove_row(&self, key: &RowKey) {
        let request = json!({ "TableName": format!("{PREFIX}-Events"), "Key": item_key(key) });
        self.call("DynamoDB_20120810.DeleteItem", &request).await;
    }

    /// Removes a tenant, as an operator would.
    pub(crate) async fn remove_tenant(&self, id: &str) {
        let table = format!("{PREFIX}-TenantWebhookConfig");
        let request = json!({ "TableName": table, "Key": { "tenantId": { "S": id } } });
        self.call("DynamoDB_20120810.DeleteItem", &request).await;
    }

    /// How many messages of the main queue are shown and hidden.
    pub(crate) async fn depth(&self) -> (u64, u64) {
        let name = json!({ "QueueName": format!("{PREFIX}-events") });
        let url = self.call("AmazonSQS.GetQueueUrl", &name).await;
        let wanted = json!({ "QueueUrl": url["QueueUrl"], "AttributeNames": ["All"] });
        let answer = self.call("AmazonSQS.GetQueueAttributes", &wanted).await;
        let number = |name: &str| {
            let text = answer["Attributes"][name].as_str();
            text.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{answer}"))
        };
        let hidden = number("ApproximateNumberOfMessagesNotVisible");
        (number("ApproximateNumberOfMessages"), hidden)
    }

    /// The messages of the DLQ.
    pub(crate) async fn dead_bodies(&self) -> Vec<Value> {
        self.show_hidden();
        let received =
            SqsQueue::dead_letters(&self.client).receive(10, 0).await.expect("AWS works");
        let read = |body: &[u8]| serde_json::from_slice(body).expect("JSON");
        received.iter().map(|message| read(&message.body)).collect()
    }

    /// One call of AWS that succeeds.
    pub(crate) async fn call(&self, target: &str, body: &Value) -> Value {
        call(&self.sim, target, body).await
    }

    /// From now on this goes wrong, for everybody.
    pub(crate) fn faults(&self, faults: &Value) {
        let faults = Faults::parse(faults.to_string().as_bytes()).expect("faults");
        self.sim.set_faults(faults).expect("faults that make sense");
    }
}

/// One call of a simulator that succeeds.
pub(crate) async fn call(sim: &AwsSim, target: &str, body: &Value) -> Value {
    let body = body.to_string();
    let address = sim.address().to_string();
    let request = format!(
        "POST / HTTP/1.1\r\nHost: {address}\r\nX-Amz-Target: {target}\r\n\
         Authorization: AWS4\r\nContent-Type: application/x-amz-json-1.0\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let (status, answer) = ask(&address, &request).await;
    let text = String::from_utf8_lossy(&answer);
    assert!(status.contains("200"), "{target}: {status}: {text}");
    if answer.is_empty() { Value::Null } else { serde_json::from_str(&text).expect("JSON") }
}

fn item_key(key: &RowKey) -> Value {
    json!({ "tenantId": { "S": key.tenant.as_str() }, "eventId": { "S": key.event.to_string() } })
}

fn tenant_id(id: &str) -> TenantId {
    TenantId::try_new(id).expect("an id")
}

/// The time by the wall clock.
#[expect(clippy::disallowed_methods, reason = "real processes, real time")]
pub(crate) fn wall() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let millis = since.expect("after 1970").as_millis();
    Timestamp::from_millis(u64::try_from(millis).expect("before the year 500,000,000"))
}

/// A machine: a disk, and a way to AWS.
pub(crate) struct Node {
    pub(crate) home: Home,
    pub(crate) proxy: Proxy,
    pub(crate) setup: Setup,
}

impl Node {
    /// With an empty disk.
    pub(crate) async fn new(world: &World) -> Self {
        let proxy = Proxy::start(&world.sim.url()).await;
        let setup = setup(&proxy.url);
        Self { home: Home::new(), proxy, setup }
    }

    /// With one more setting.
    pub(crate) fn with(self, key: &str, value: impl std::fmt::Display) -> Self {
        Self { setup: self.setup.without(key).with(key, value), ..self }
    }

    /// A daemon on it that is ready.
    pub(crate) async fn start(&self) -> Daemon {
        Daemon::start(&self.home, &self.setup).await
    }
}

/// What comes after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// The instance starts again with its disk.
    Restart,
    /// It never comes back, nor does its disk; another one takes over.
    TakeOver,
}

impl After {
    /// Kills a daemon, and gives the machine that goes on: its own, or a new one.
    pub(crate) async fn crash(self, world: &World, node: Node, daemon: Daemon) -> Node {
        daemon.kill();
        // A new way to AWS in either case: nobody is stopped there any more.
        let Node { proxy, home, setup: _ } = Node::new(world).await;
        let home = if self == Self::Restart { node.home } else { home };
        Node { setup: at(node.setup, &proxy.url), proxy, home }
    }
}

/// Plays a test through for both, at the same time.
pub(crate) async fn both<F: Future<Output = ()>>(play: impl Fn(After) -> F) {
    tokio::join!(Box::pin(play(After::Restart)), Box::pin(play(After::TakeOver)));
}

/// A figure of a daemon's courier.
pub(crate) async fn figure(daemon: &Daemon, name: &str) -> u64 {
    let value = daemon.metric("posthaste_courier", &format!("figure=\"{name}\"")).await;
    assert!(value >= 0.0 && value.fract() == 0.0, "{name}: {value}");
    value.to_string().parse().expect("a whole number")
}
