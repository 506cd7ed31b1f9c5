//! Rows of DynamoDB, which people and earlier versions write too.
//!
//! ```text
//! attribute   name (a byte: one of ours, or 255 and a line) │ type │ value
//! text, number   a line          list, map   a byte of how many, and these
//! ```

use std::collections::BTreeMap;

use posthaste_aws::fuzzing::{Attributes, Value, event, identity, tenant};
use posthaste_domain::{RESPONSE_KEPT_BYTES_MAX, TenantId};

use crate::input::Input;

/// Names that mean something.
const NAMES: [&str; 44] = [
    "tenantId",
    "eventId",
    "status",
    "payload",
    "targetUrl",
    "attempts",
    "createdAt",
    "lastAttemptAt",
    "errorMessage",
    "lastResponse",
    "ttl",
    "gen",
    "owner",
    "epoch",
    "due",
    "wk",
    "nextAttemptAt",
    "interrupted",
    "cause",
    "endedAt",
    "standing",
    "a#0#1",
    "at",
    "ms",
    "code",
    "is",
    "after",
    "error",
    "body",
    "us",
    "webhookSecret",
    "previousSecrets",
    "lastUpdated",
    "updatedAt",
    "plan",
    "shardKey",
    "version",
    "deliveryOptions",
    "timeoutMs",
    "retry",
    "headers",
    "secret",
    "until",
    "delaysMs",
];
/// Attributes within attributes, and those of one map.
const DEPTH_MAX: usize = 4;
const COUNT_MAX: u8 = 12;

/// An event's item.
pub(crate) fn event_item(data: &[u8]) {
    let read = event(attributes(data));
    if let Ok(row) = &read.row {
        // What a write makes of it is lawful again, whatever it was.
        assert_eq!(row.is_final(), matches!(row.status.as_str(), "DELIVERED" | "DLQ" | "PURGED"));
    }
    assert!(read.log.is_sorted_by_key(|entry| (entry.round, entry.attempt.number)));
    let kept = |response: &[u8]| response.len() <= data.len().max(RESPONSE_KEPT_BYTES_MAX);
    assert!(read.log.iter().all(|entry| kept(&entry.attempt.response)));
    if let Some(key) = read.key {
        assert!(TenantId::try_new(key.tenant.as_str()).is_ok());
    }
}

/// A tenant's item, and a key's.
pub(crate) fn tenant_item(data: &[u8]) {
    let given = attributes(data);
    let id = TenantId::try_new("acme").expect("a tenant's id");
    if let Some((record, again)) = tenant(&id, given.clone()) {
        assert_eq!(record, again, "what is written is read differently");
    }
    let by_name: BTreeMap<_, _> = given.iter().cloned().collect();
    let text = |name: &str| match by_name.get(name) {
        Some(Value::Text(text)) => Some(text.as_str()),
        _ => None,
    };
    if let Some(identity) = identity(given) {
        assert_eq!(Some(identity.tenant.as_str()), text("tenantId"));
        assert_eq!(identity.active, text("status") == Some("active"));
    }
}

fn attributes(data: &[u8]) -> Attributes {
    let mut input = Input(data);
    let mut attributes = Attributes::new();
    while !input.is_empty() && attributes.len() < 64 {
        attributes.push(attribute(&mut input, 0));
    }
    attributes
}

fn attribute(input: &mut Input<'_>, depth: usize) -> (String, Value) {
    let which = input.byte();
    let known = NAMES.get(usize::from(which)).map(|name| (*name).to_owned());
    let name = known.unwrap_or_else(|| String::from_utf8_lossy(input.line()).into_owned());
    (name, value(input, depth))
}

fn value(input: &mut Input<'_>, depth: usize) -> Value {
    let text = |input: &mut Input<'_>| String::from_utf8_lossy(input.line()).into_owned();
    let kind = input.byte() % 8;
    match kind {
        0 | 1 => Value::Text(text(input)),
        2 => Value::Number(text(input)),
        3 => Value::Number(input.number().to_string()),
        4 => Value::Bytes(input.line().to_vec()),
        5 => match input.byte() {
            0 => Value::Null,
            other => Value::Bool(other & 1 == 1),
        },
        _ if depth == DEPTH_MAX => Value::Null,
        _ => {
            let count = input.byte() % COUNT_MAX;
            if kind == 6 {
                Value::List((0..count).map(|_| value(input, depth + 1)).collect())
            } else {
                Value::Map((0..count).map(|_| attribute(input, depth + 1)).collect())
            }
        }
    }
}
