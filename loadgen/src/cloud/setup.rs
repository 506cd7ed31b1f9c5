//! Queues and tables as the contract names them (§5), made in the simulator.

use anyhow::Result;
use serde_json::{Value as Json, json};

use crate::aws_sim::Direct;

/// What the names begin with.
pub(super) const PREFIX: &str = "load";
/// The main queue.
pub(super) const QUEUE: &str = "load-events";
/// The events' rows.
pub(super) const EVENTS_TABLE: &str = "load-Events";
const DEAD_LETTERS: &str = "load-events-dlq";
const TENANTS_TABLE: &str = "load-TenantWebhookConfig";
const IDENTITIES_TABLE: &str = "load-TenantIdentity";

/// Makes all of them.
pub(super) async fn create(direct: &Direct) -> Result<()> {
    for queue in [QUEUE, DEAD_LETTERS] {
        let attributes = json!({ "VisibilityTimeout": "180", "MessageRetentionPeriod": "1209600" });
        let body = json!({ "QueueName": queue, "Attributes": attributes });
        direct.call("CreateQueue", body.to_string().as_bytes()).await?;
    }
    for body in [events(), table(TENANTS_TABLE, "tenantId"), table(IDENTITIES_TABLE, "apiKey")] {
        direct.call("CreateTable", body.to_string().as_bytes()).await?;
    }
    Ok(())
}

fn events() -> Json {
    let index = |name: &str, hash: &str, range: &str| {
        json!({
            "IndexName": name,
            "KeySchema": keys(&[hash, range]),
            "Projection": { "ProjectionType": "KEYS_ONLY" },
        })
    };
    let attribute =
        |(name, kind): (&str, &str)| json!({ "AttributeName": name, "AttributeType": kind });
    let attributes =
        [("tenantId", "S"), ("eventId", "S"), ("standing", "S"), ("wk", "N"), ("due", "N")];
    json!({
        "TableName": EVENTS_TABLE,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": attributes.map(attribute),
        "KeySchema": keys(&["tenantId", "eventId"]),
        "GlobalSecondaryIndexes":
            [index("work", "wk", "due"), index("standing", "standing", "eventId")],
    })
}

fn table(name: &str, key: &str) -> Json {
    json!({
        "TableName": name,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{ "AttributeName": key, "AttributeType": "S" }],
        "KeySchema": keys(&[key]),
    })
}

/// The partition key, and the sort key where there is one.
fn keys(names: &[&str]) -> Json {
    let kinds = ["HASH", "RANGE"];
    let key = |(name, kind): (&&str, &str)| json!({ "AttributeName": name, "KeyType": kind });
    names.iter().zip(kinds).map(key).collect()
}
