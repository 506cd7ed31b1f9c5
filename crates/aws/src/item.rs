//! What an item of the events table looks like: names, and a row read from one.
//!
//! ```text
//! key       tenantId S, eventId S                              an event's row
//!           tenantId S, eventId S = body#<event id>            a payload too large for its row
//! always    status S, attempts N, createdAt S (seconds), gen N
//! payload   payload S (B where it is not UTF-8; M in older rows); absent: in the body item
//! attempts  a#<gen>#<n> M, lastAttemptAt S (seconds), targetUrl S, interrupted N
//!           errorMessage S, lastResponse B: of the last attempt, while it is a failure
//! lease     wk N, due N (ms), epoch N, owner S, nextAttemptAt N (ms), cause S
//! end       endedAt N (ms), ttl N (seconds)
//! indexes   work (wk, due): rows that somebody owes
//!           standing (standing, eventId): FAILED, DLQ and PURGED rows;
//!             standing S = <tenant>#<status>
//! ```
//!
//! Both indexes are sparse and hold keys only: an event that succeeds at once touches neither.
//! Rows of earlier versions lack `gen`, `epoch` and the rest, and are read as of round 0 with no
//! owner.
//!
//! Invariant: `wk` and `due` are there exactly while the row has a lease.

mod attempt;
mod edit;
mod new_row;
mod render;

pub(crate) use attempt::log;
pub(crate) use edit::Edit;
pub(crate) use new_row::{BODY_KEPT_MS, NewItems, new_items};
pub(crate) use render::{Rendered, statement, update};

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue as Value;
use bytes::Bytes;
use posthaste_domain::{
    DeadLetterCause, EventStatus, InstanceId, Lease, Row, RowKey, TenantId, Timestamp,
};
use posthaste_ports::{DEAD_KEPT_MS, DELIVERED_KEPT_MS, WORK_PARTITIONS};

/// An item as the SDK has it.
pub(crate) type Item = HashMap<String, Value>;

/// The names of attributes and indexes.
pub(crate) mod name {
    pub(crate) const TENANT: &str = "tenantId";
    pub(crate) const EVENT: &str = "eventId";
    pub(crate) const STATUS: &str = "status";
    pub(crate) const PAYLOAD: &str = "payload";
    pub(crate) const TARGET_URL: &str = "targetUrl";
    pub(crate) const ATTEMPTS: &str = "attempts";
    pub(crate) const CREATED_AT: &str = "createdAt";
    pub(crate) const LAST_ATTEMPT_AT: &str = "lastAttemptAt";
    pub(crate) const ERROR_MESSAGE: &str = "errorMessage";
    pub(crate) const LAST_RESPONSE: &str = "lastResponse";
    pub(crate) const TTL: &str = "ttl";
    pub(crate) const ROUND: &str = "gen";
    pub(crate) const OWNER: &str = "owner";
    pub(crate) const EPOCH: &str = "epoch";
    pub(crate) const DUE: &str = "due";
    pub(crate) const PARTITION: &str = "wk";
    pub(crate) const NEXT_ATTEMPT_AT: &str = "nextAttemptAt";
    pub(crate) const INTERRUPTED: &str = "interrupted";
    pub(crate) const CAUSE: &str = "cause";
    pub(crate) const ENDED_AT: &str = "endedAt";
    pub(crate) const STANDING: &str = "standing";
    /// The index of rows that somebody owes.
    pub(crate) const WORK_INDEX: &str = "work";
    /// The index of a tenant's rows by status, where that is FAILED, DLQ or PURGED.
    pub(crate) const STANDING_INDEX: &str = "standing";
}

/// What the sort key of a body item begins with.
const BODY_PREFIX: &str = "body#";

/// The key of an event's row.
pub(crate) fn row_key(key: &RowKey) -> Item {
    primary_key(&key.tenant, key.event.to_string())
}

/// The key of an event's body item.
pub(crate) fn body_key(key: &RowKey) -> Item {
    primary_key(&key.tenant, body_sort_key(key))
}

pub(crate) fn body_sort_key(key: &RowKey) -> String {
    format!("{BODY_PREFIX}{}", key.event)
}

fn primary_key(tenant: &TenantId, event: String) -> Item {
    let tenant = Value::S(tenant.as_str().to_owned());
    HashMap::from([(name::TENANT.to_owned(), tenant), (name::EVENT.to_owned(), Value::S(event))])
}

/// Whose row an item is; none for a body item, a claim, or what is not ours.
pub(crate) fn key_of(item: &Item) -> Option<RowKey> {
    let tenant = TenantId::try_new(text(item, name::TENANT)?).ok()?;
    let event = text(item, name::EVENT)?.parse().ok()?;
    Some(RowKey { tenant, event })
}

/// The partition of the work index that a row belongs to (FNV-1a of tenant and event). Stored
/// with the row, so that it may change between versions.
pub(crate) fn work_partition(key: &RowKey) -> u8 {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let event = key.event.as_u128().to_be_bytes();
    let bytes = key.tenant.as_str().bytes().chain(event);
    let hash = bytes.fold(BASIS, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    // The high bits depend on every byte.
    u8::try_from((hash >> 32) % u64::from(WORK_PARTITIONS)).unwrap_or(0)
}

/// What the `standing` index is asked for.
pub(crate) fn standing(tenant: &TenantId, status: EventStatus) -> String {
    format!("{tenant}#{}", status.as_str())
}

/// A row read from its item, payload and log aside.
///
/// # Errors
/// Which attribute makes no sense.
pub(crate) fn row(item: &Item) -> Result<Row, String> {
    let status = text(item, name::STATUS).and_then(EventStatus::parse);
    let status = status.ok_or_else(|| wrong(item, name::STATUS))?;
    let cause = match text(item, name::CAUSE) {
        Some(text) => Some(DeadLetterCause::parse(text).ok_or_else(|| wrong(item, name::CAUSE))?),
        None => None,
    };
    Ok(Row {
        status,
        round: number(item, name::ROUND)?.unwrap_or(0),
        attempts: number(item, name::ATTEMPTS)?.unwrap_or(0),
        interrupted: number(item, name::INTERRUPTED)?.unwrap_or(0),
        lease: lease(item)?,
        next_attempt_at: time(item, name::NEXT_ATTEMPT_AT)?,
        cause,
        expires_at: expires_at(item, status)?,
    })
}

fn lease(item: &Item) -> Result<Option<Lease>, String> {
    if !item.contains_key(name::PARTITION) {
        return Ok(None);
    }
    Ok(Some(Lease {
        owner: text(item, name::OWNER).and_then(InstanceId::try_new),
        epoch: number(item, name::EPOCH)?.unwrap_or(0),
        until: time(item, name::DUE)?.ok_or_else(|| wrong(item, name::DUE))?,
    }))
}

/// To the millisecond where the end itself was written; `ttl` has but seconds.
fn expires_at(item: &Item, status: EventStatus) -> Result<Option<Timestamp>, String> {
    if let Some(ended_at) = time(item, name::ENDED_AT)? {
        return Ok(kept_ms(status).map(|kept| ended_at.plus_millis(kept)));
    }
    let seconds: Option<u64> = number(item, name::TTL)?;
    Ok(seconds.map(|seconds| Timestamp::from_millis(seconds.saturating_mul(1000))))
}

/// How long a row is kept after its end; none while there is none.
pub(crate) fn kept_ms(status: EventStatus) -> Option<u64> {
    match status {
        EventStatus::Delivered => Some(DELIVERED_KEPT_MS),
        EventStatus::Dlq | EventStatus::Purged => Some(DEAD_KEPT_MS),
        EventStatus::Pending | EventStatus::Failed => None,
    }
}

/// The payload that an item carries: a row's, or a body item's.
pub(crate) fn payload(item: &Item) -> Option<Bytes> {
    match item.get(name::PAYLOAD)? {
        Value::S(text) => Some(Bytes::copy_from_slice(text.as_bytes())),
        Value::B(blob) => Some(Bytes::copy_from_slice(blob.as_ref())),
        older => Some(new_row::json(older).into()),
    }
}

/// A text attribute.
pub(crate) fn text<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

/// A number attribute; older rows may hold it as a text.
pub(crate) fn number<T: std::str::FromStr>(item: &Item, name: &str) -> Result<Option<T>, String> {
    match item.get(name) {
        None | Some(Value::Null(_)) => Ok(None),
        Some(Value::N(text) | Value::S(text)) => {
            text.parse().map(Some).map_err(|_| wrong(item, name))
        }
        Some(_) => Err(wrong(item, name)),
    }
}

fn time(item: &Item, name: &str) -> Result<Option<Timestamp>, String> {
    Ok(number(item, name)?.map(Timestamp::from_millis))
}

fn wrong(item: &Item, name: &str) -> String {
    let (tenant, event) = (text(item, name::TENANT), text(item, name::EVENT));
    let (tenant, event) = (tenant.unwrap_or("?"), event.unwrap_or("?"));
    match item.get(name) {
        Some(value) => format!("row {tenant} {event}: {name} is {value:?}"),
        None => format!("row {tenant} {event}: {name} is missing"),
    }
}

#[cfg(test)]
mod tests;
