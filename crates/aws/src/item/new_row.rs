//! A new event as items: its row, and a body item where the payload would make the row large.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue as Value;
use posthaste_domain::EventStatus;

use super::edit::{number, seconds, status, text};
use super::{Item, body_key, name, row_key};
use crate::rows::NewRow;

/// A write costs its row's size in units of this many bytes.
const WRITE_UNIT_BYTES: usize = 1024;
/// What a first attempt that succeeds adds to a row: a log entry, `endedAt`, `ttl`,
/// `lastAttemptAt`, and the longer status.
const FIRST_OUTCOME_BYTES: usize = 220;
/// How long a body item is kept, in milliseconds, counted from ingest or from the last requeue.
/// A row is kept for 30 days from its delivery, and a requeue renews this: so there is a month
/// between a round's start and its delivery in which the payload is sure to be there.
pub(crate) const BODY_KEPT_MS: u64 = 60 * 24 * 60 * 60 * 1000;
const _: () = assert!(BODY_KEPT_MS >= 2 * posthaste_ports::DELIVERED_KEPT_MS);

/// What is put for a new event, the body first.
#[derive(Debug)]
pub(crate) struct NewItems {
    /// The payload's own item, where it does not fit into the row.
    pub(crate) body: Option<Item>,
    /// The row.
    pub(crate) row: Item,
}

/// The items of a new event.
pub(crate) fn new_items(new: &NewRow) -> NewItems {
    let mut row = row_key(&new.key);
    let created_at = new.key.event.created_at();
    let mut put = |name: &str, value| row.insert(name.to_owned(), value);
    put(name::STATUS, status(EventStatus::Pending));
    put(name::ATTEMPTS, number(0));
    put(name::ROUND, number(0));
    put(name::CREATED_AT, seconds(created_at));
    if let Some(target) = &new.target_url {
        put(name::TARGET_URL, text(&**target));
    }
    let payload = payload_value(&new.payload);
    let inline = size(&row) + name::PAYLOAD.len() + new.payload.len() + FIRST_OUTCOME_BYTES;
    if inline <= WRITE_UNIT_BYTES {
        row.insert(name::PAYLOAD.to_owned(), payload);
        return NewItems { body: None, row };
    }
    let mut body = body_key(&new.key);
    body.insert(name::PAYLOAD.to_owned(), payload);
    let ttl = created_at.plus_millis(BODY_KEPT_MS).as_secs();
    body.insert(name::TTL.to_owned(), number(ttl));
    NewItems { body: Some(body), row }
}

fn payload_value(payload: &[u8]) -> Value {
    match str::from_utf8(payload) {
        Ok(payload) => text(payload),
        Err(_) => Value::B(Blob::new(payload)),
    }
}

/// What an item weighs in the eyes of DynamoDB, in bytes; only what a new row consists of.
fn size(item: &Item) -> usize {
    let value = |value: &Value| match value {
        Value::S(text) => text.len(),
        Value::B(blob) => blob.as_ref().len(),
        Value::N(digits) => digits.len() / 2 + 2,
        _ => 1,
    };
    item.iter().map(|(name, held)| name.len() + value(held)).sum()
}

/// A payload that an earlier version wrote as a map, as JSON; keys in the order of the alphabet,
/// since the map kept none.
pub(super) fn json(value: &Value) -> String {
    let mut json = String::new();
    write_json(&mut json, value);
    json
}

fn write_json(json: &mut String, value: &Value) {
    match value {
        Value::S(text) => write_text(json, text),
        Value::N(digits) => json.push_str(digits),
        Value::Bool(truth) => json.push_str(if *truth { "true" } else { "false" }),
        Value::M(fields) => {
            let fields: BTreeMap<_, _> = fields.iter().collect();
            json.push('{');
            for (index, (name, value)) in fields.into_iter().enumerate() {
                if index > 0 {
                    json.push(',');
                }
                write_text(json, name);
                json.push(':');
                write_json(json, value);
            }
            json.push('}');
        }
        Value::L(values) => {
            json.push('[');
            for (index, value) in values.iter().enumerate() {
                if index > 0 {
                    json.push(',');
                }
                write_json(json, value);
            }
            json.push(']');
        }
        // Null, and what no JSON document could have become.
        _ => json.push_str("null"),
    }
}

fn write_text(json: &mut String, text: &str) {
    json.push('"');
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            c if c < ' ' => json.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => json.push(c),
        }
    }
    json.push('"');
}
