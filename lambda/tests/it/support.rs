//! A world: AWS in this process, the four functions before it, and what a test asks of both.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use posthaste_api::Entropy as _;
use posthaste_aws::{Client, DynamoEvents, DynamoRows, DynamoTenants, Keys, Settings, SqsQueue};
use posthaste_domain::{ApiKey, EventId, RowKey, TargetUrl, TenantId, Timestamp, WebhookSecret};
use posthaste_lambda::chance::Chance;
use posthaste_lambda::clock::Clock;
use posthaste_loadgen::aws_sim::{self, AwsSim, Faults};
use posthaste_ports::{NewTenant, Queue, Rows, StoredEvent, TenantStore as _};
use serde_json::{Value, json};

use crate::front::Fleet;
use crate::host::{Function, Invoked};

/// As long as anything may take before a test says that it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Beyond every visibility time-out.
const LONG_MS: u64 = 181_000;
const REGION: &str = "us-east-1";
pub(crate) const PREFIX: &str = "posthaste";
pub(crate) const SECRET: &str = "whsec_canary-secret-0xC0FFEE";
pub(crate) const TARGET: &str = "https://example.com/hook";

/// AWS, with our queues and tables and the tenant `acme`.
pub(crate) struct World {
    pub(crate) sim: AwsSim,
    pub(crate) client: Client,
    pub(crate) rows: DynamoRows,
    pub(crate) tenants: DynamoTenants,
    /// A key of `acme`.
    pub(crate) key: ApiKey,
    /// The admin's.
    pub(crate) admin: ApiKey,
}

impl World {
    pub(crate) async fn start() -> Self {
        let sim = AwsSim::start(aws_sim::Settings::default()).expect("a simulator");
        let settings = Settings {
            region: Some(REGION.to_owned()),
            keys: Some(Keys::new("test", "test")),
            ..Settings::with_prefix(PREFIX).at(&sim.url())
        };
        let client = Client::new(settings).await.expect("a region is set");
        client.create().await.expect("queues and tables can be made");
        let world = Self {
            rows: DynamoRows::new(&client),
            tenants: DynamoTenants::new(client.clone()),
            key: new_key(),
            admin: new_key(),
            sim,
            client,
        };
        let target = TargetUrl::parse_stored(TARGET).expect("a URL");
        let tenant = NewTenant {
            id: acme(),
            shard_key: target.shard_key(),
            target,
            secret: WebhookSecret::try_new(SECRET).expect("a secret"),
            plan: "gold".into(),
            options: Arc::default(),
            key: world.key.hash(),
            at: now(),
        };
        world.tenants.create(tenant).await.expect("AWS works");
        world
    }

    /// A function on this AWS.
    pub(crate) fn function(&self, binary: &str) -> Function {
        self.function_at(binary, &self.sim.url())
    }

    /// The same with another way to AWS.
    pub(crate) fn function_at(&self, binary: &str, url: &str) -> Function {
        let admin = self.admin.hash().to_string();
        Function::new(
            Path::new(binary),
            &[
                ("AWS_REGION", REGION),
                ("AWS_ACCESS_KEY_ID", "test"),
                ("AWS_SECRET_ACCESS_KEY", "test"),
                ("POSTHASTE_AWS_PREFIX", PREFIX),
                ("POSTHASTE_AWS_SQS_ENDPOINT", url),
                ("POSTHASTE_AWS_DYNAMODB_ENDPOINT", url),
                ("POSTHASTE_AUTH_ADMIN_KEY_SHA256", &admin),
                ("POSTHASTE_LOG_LEVEL", "debug"),
            ],
        )
    }

    /// All four, behind a gateway.
    pub(crate) fn fleet(&self) -> Fleet {
        Fleet::new([AUTHORIZER, INGEST, RECEIVER, REQUEUE].map(|binary| self.function(binary)))
    }

    /// From now on this goes wrong, for everybody.
    pub(crate) fn faults(&self, faults: &Value) {
        let faults = Faults::parse(faults.to_string().as_bytes()).expect("faults");
        self.sim.set_faults(faults).expect("faults that make sense");
    }

    /// Everything works again.
    pub(crate) fn mend(&self) {
        self.faults(&json!({}));
    }

    /// Every message of the main queue, as JSON.
    pub(crate) async fn messages(&self) -> Vec<Value> {
        bodies(&SqsQueue::main(&self.client), &self.sim).await
    }

    /// Every message of the DLQ.
    pub(crate) async fn dead_messages(&self) -> Vec<Value> {
        bodies(&SqsQueue::dead_letters(&self.client), &self.sim).await
    }

    pub(crate) async fn stored(&self, event: EventId) -> Option<StoredEvent> {
        let key = RowKey { tenant: acme(), event };
        self.rows.read(&[key]).await.expect("AWS works").pop().expect("an answer")
    }

    /// What ingest does, without the function.
    pub(crate) fn events(&self) -> DynamoEvents {
        let queue: Arc<dyn Queue> = Arc::new(SqsQueue::main(&self.client));
        DynamoEvents::new(self.client.clone(), Arc::new(self.rows.clone()), queue)
    }
}

/// Reads a queue to its end; all of it is shown again afterwards.
async fn bodies(queue: &SqsQueue, sim: &AwsSim) -> Vec<Value> {
    sim.skip_ms(LONG_MS);
    let mut bodies = Vec::new();
    loop {
        let received = queue.receive(10, 0).await.expect("AWS works");
        if received.is_empty() {
            sim.skip_ms(LONG_MS);
            return bodies;
        }
        let read = |body: &[u8]| serde_json::from_slice(body).expect("JSON");
        bodies.extend(received.iter().map(|message| read(&message.body)));
    }
}

pub(crate) const AUTHORIZER: &str = env!("CARGO_BIN_EXE_authorizer");
pub(crate) const INGEST: &str = env!("CARGO_BIN_EXE_ingest");
pub(crate) const RECEIVER: &str = env!("CARGO_BIN_EXE_receiver");
pub(crate) const REQUEUE: &str = env!("CARGO_BIN_EXE_requeue");

pub(crate) fn acme() -> TenantId {
    TenantId::try_new("acme").expect("a name")
}

pub(crate) fn new_key() -> ApiKey {
    let mut entropy = [0; 32];
    Chance.fill(&mut entropy);
    ApiKey::from_entropy(&entropy)
}

pub(crate) fn now() -> Timestamp {
    posthaste_api::Clock::wall(&Clock::default())
}

/// A recorded proxy event with these fields in place of its own.
pub(crate) fn proxy_event(fields: Value) -> Value {
    let recorded = include_str!("../events/rest-v1.json");
    let mut event: Value = serde_json::from_str(recorded).expect("JSON");
    let Value::Object(fields) = fields else { panic!("an object") };
    event.as_object_mut().expect("an object").extend(fields);
    event
}

/// Events that are none of ours, and some that nearly are.
pub(crate) fn hostile_events() -> Vec<Value> {
    serde_json::from_str(include_str!("../events/hostile.json")).expect("JSON")
}

/// Hands what is hostile to a function behind the gateway, which neither answers it nor shows it.
pub(crate) async fn refuses_what_is_hostile(name: &str) {
    let world = World::start().await;
    let function = world.function(name);
    for event in hostile_events() {
        let (kind, message) = refused(&function, &event.to_string()).await;
        assert_eq!(kind, "BadEvent", "{event}");
        assert!(!message.contains("canary"), "{message}");
    }
    let log = function.stop().await;
    assert!(!log.contains("canary"), "{log}");
}

/// An answer of a function behind the gateway.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u64,
    pub(crate) headers: Value,
    pub(crate) body: Value,
}

/// Hands a proxy event to a function that answers it.
pub(crate) async fn ask(function: &Function, event: &Value) -> Answer {
    match function.invoke(event.to_string(), PATIENCE).await {
        Invoked::Answer(answer) => {
            let answer: Value = serde_json::from_slice(&answer).expect("JSON");
            let body = answer["body"].as_str().expect("a text");
            Answer {
                status: answer["statusCode"].as_u64().expect("a number"),
                headers: answer["multiValueHeaders"].clone(),
                body: serde_json::from_str(body).unwrap_or_else(|_| Value::from(body)),
            }
        }
        other => panic!("{other:?}: {}", function.log()),
    }
}

/// Hands an event to a function that has no answer to it; gives type and message.
pub(crate) async fn refused(function: &Function, event: &str) -> (String, String) {
    match function.invoke(event.to_owned(), PATIENCE).await {
        Invoked::Error(error) => {
            let error: Value = serde_json::from_slice(&error).expect("JSON");
            let text = |name: &str| error[name].as_str().expect("a text").to_owned();
            (text("errorType"), text("errorMessage"))
        }
        other => panic!("{event}: {other:?}: {}", function.log()),
    }
}
