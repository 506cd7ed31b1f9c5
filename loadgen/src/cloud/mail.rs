//! Events as their sender leaves them: a row in the table (with a body item beside it where the
//! payload is large) and a message in the queue, in the forms of the contract (§5).
//!
//! The same forms as the system's own ingest writes; a test puts both side by side. They are
//! written here a second time because what measures shares no code with what is measured.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use posthaste_domain::EventId;
use serde_json::{Value as Json, json};

use super::setup::{EVENTS_TABLE, QUEUE};
use crate::aws_sim::Direct;
use crate::system::tenant_name;

/// A row with its payload, and what a delivery adds to it, stays within one write unit.
const ROW_BYTES_MAX: usize = 1024;
const OUTCOME_BYTES: usize = 220;
/// For how long a body item is kept.
const BODY_KEPT_S: u64 = 60 * 24 * 60 * 60;
/// A longer message travels without its payload.
const MESSAGE_BYTES_MAX: usize = 256 * 1024;

/// Puts events into table and queue.
#[derive(Debug)]
pub struct Mail {
    direct: Direct,
    /// Whether messages can be received at once.
    released: Arc<AtomicBool>,
    /// How long they wait otherwise.
    held_s: u32,
}

impl Mail {
    pub(super) const fn new(direct: Direct, released: Arc<AtomicBool>, held_s: u32) -> Self {
        Self { direct, released, held_s }
    }

    /// Puts one there; when this returns, its message can be received.
    ///
    /// # Errors
    /// Where table or queue refuse it.
    pub async fn put(&self, event: EventId, tenant: u32, payload: &str) -> Result<()> {
        let tenant = tenant_name(tenant);
        for item in items(event, &tenant, payload) {
            let put = json!({ "TableName": EVENTS_TABLE, "Item": item });
            self.direct.call("PutItem", put.to_string().as_bytes()).await?;
        }
        let mut send = json!({
            "QueueUrl": QUEUE,
            "MessageBody": message(event, &tenant, payload),
            "MessageGroupId": tenant,
        });
        if !self.released.load(Ordering::SeqCst) {
            send["DelaySeconds"] = self.held_s.into();
        }
        self.direct.call("SendMessage", send.to_string().as_bytes()).await?;
        Ok(())
    }
}

/// The items of a new event, in the order in which they are put.
fn items(event: EventId, tenant: &str, payload: &str) -> Vec<Json> {
    let created_s = event.created_at().as_secs();
    let mut row = json!({
        "tenantId": { "S": tenant },
        "eventId": { "S": event.to_string() },
        "status": { "S": "PENDING" },
        "attempts": { "N": "0" },
        "gen": { "N": "0" },
        "createdAt": { "S": created_s.to_string() },
    });
    if size(&row) + "payload".len() + payload.len() + OUTCOME_BYTES <= ROW_BYTES_MAX {
        row["payload"] = json!({ "S": payload });
        return vec![row];
    }
    let body = json!({
        "tenantId": { "S": tenant },
        "eventId": { "S": format!("body#{event}") },
        "payload": { "S": payload },
        "ttl": { "N": (created_s + BODY_KEPT_S).to_string() },
    });
    vec![body, row]
}

fn message(event: EventId, tenant: &str, payload: &str) -> String {
    let mut message = json!({
        "tenantId": tenant,
        "eventId": event.to_string(),
        "gen": 0,
        "payload": payload,
        "createdAt": event.created_at().as_millis(),
    });
    let whole = message.to_string();
    if whole.len() <= MESSAGE_BYTES_MAX {
        return whole;
    }
    if let Some(fields) = message.as_object_mut() {
        fields.remove("payload");
    }
    message.to_string()
}

/// What an item of texts and numbers weighs, in bytes: names, texts, and half a byte a digit.
fn size(item: &Json) -> usize {
    let attribute = |(name, value): (&String, &Json)| {
        let weight = match (value["S"].as_str(), value["N"].as_str()) {
            (Some(text), _) => text.len(),
            (None, digits) => digits.unwrap_or_default().len() / 2 + 2,
        };
        name.len() + weight
    };
    item.as_object().map_or(0, |fields| fields.iter().map(attribute).sum())
}

#[cfg(test)]
mod tests {
    use posthaste_aws::{DynamoEvents, DynamoRows, DynamoTenants, SqsQueue};
    use posthaste_domain::{KeyHash, TargetUrl, TenantId, Timestamp, WebhookSecret};
    use posthaste_ports::{EventStore, NewEvent, NewTenant, TenantStore};

    use super::*;
    use crate::aws_sim::AwsSim;
    use crate::cloud::setup;

    const AT: Timestamp = Timestamp::from_millis(1_800_000_000_123);

    #[test]
    fn a_small_payload_lies_in_its_row_and_a_large_one_beside_it() {
        let event = EventId::from_parts(AT, 7);
        let [row] = &items(event, "load-000001", &"x".repeat(512))[..] else { panic!("no row") };
        assert_eq!((row["gen"]["N"].as_str(), row["payload"]["S"].is_string()), (Some("0"), true));
        assert_eq!(row["createdAt"]["S"], "1800000000");
        let [body, row] = &items(event, "load-000001", &"x".repeat(900))[..] else {
            panic!("no body item")
        };
        assert_eq!(body["eventId"]["S"], format!("body#{event}"));
        assert!(body["ttl"]["N"].is_string() && row["payload"].is_null());
    }

    #[test]
    fn a_payload_that_fits_into_no_message_travels_by_reference() {
        let event = EventId::from_parts(AT, 7);
        let read = |payload: &str| serde_json::from_str::<Json>(&message(event, "a", payload));
        assert_eq!(read("{}").unwrap()["createdAt"], 1_800_000_000_123_u64);
        assert_eq!(read("{\"a\":\"ü\"}").unwrap()["payload"], "{\"a\":\"ü\"}");
        assert!(read(&"\"".repeat(MESSAGE_BYTES_MAX / 2)).unwrap()["payload"].is_null());
    }

    /// For payloads small and large: rows, body items and messages are those that the system's
    /// own ingest writes.
    #[tokio::test]
    async fn an_event_looks_as_the_system_writes_it() {
        let sim = AwsSim::start(crate::aws_sim::Settings::default()).unwrap();
        let direct = sim.direct();
        setup::create(&direct).await.unwrap();
        let settings = posthaste_aws::Settings::with_prefix(setup::PREFIX).at(&sim.url());
        let keys = Some(posthaste_aws::Keys::new("emulated", "emulated"));
        let region = Some("us-east-1".to_owned());
        let settings = posthaste_aws::Settings { keys, region, ..settings };
        let client = posthaste_aws::Client::new(settings).await.unwrap();
        let tenant = TenantId::try_new("load-000001").unwrap();
        let new = NewTenant {
            id: tenant.clone(),
            target: TargetUrl::parse_stored("https://example.com/hook").unwrap(),
            secret: WebhookSecret::try_new("whsec_secret").unwrap(),
            plan: "standard".into(),
            options: Arc::default(),
            key: KeyHash::from_bytes([1; 32]),
            shard_key: 0,
            at: AT,
        };
        DynamoTenants::new(client.clone()).create(new).await.unwrap();
        let rows = Arc::new(DynamoRows::new(&client));
        let queue = Arc::new(SqsQueue::main(&client));
        let events = DynamoEvents::new(client, rows, queue);
        for (number, bytes) in [(1, 40), (2, 512), (3, 900), (4, 10_000)] {
            let payload = format!("{{\"a\":\"{}\\n\u{fc}\"}}", "x".repeat(bytes));
            let id = EventId::from_parts(AT, number);
            let (tenant, bytes) = (tenant.clone(), payload.clone().into());
            let event = NewEvent { tenant, id, payload: bytes, idempotency: None };
            events.accept(vec![event]).await.unwrap();
            let name = tenant_name(1);
            for item in items(id, &name, &payload) {
                let key = json!({ "tenantId": item["tenantId"], "eventId": item["eventId"] });
                let get = json!({ "TableName": EVENTS_TABLE, "Key": key }).to_string();
                let found = direct.call("GetItem", get.as_bytes()).await.unwrap();
                let found: Json = serde_json::from_slice(&found).unwrap();
                assert_eq!(found["Item"], item, "{} bytes", payload.len());
            }
            let receive = json!({ "QueueUrl": QUEUE, "MessageSystemAttributeNames": ["All"] });
            let answer = direct.call("ReceiveMessage", receive.to_string().as_bytes()).await;
            let answer: Json = serde_json::from_slice(&answer.unwrap()).unwrap();
            let received = &answer["Messages"][0];
            assert_eq!(received["Attributes"]["MessageGroupId"], name);
            let parse = |text: &str| serde_json::from_str::<Json>(text).unwrap();
            let body = parse(received["Body"].as_str().unwrap());
            assert_eq!(body, parse(&message(id, &name, &payload)));
        }
        sim.stop().unwrap();
    }
}
