//! The entries of an event's attempt log: one attribute `a#<round>#<number>` an attempt.
//!
//! An attribute each, so that writing one needs no read and no list that grows under a second
//! writer. Short, because each status write costs the size of the whole row: a row of five failed
//! attempts is to stay near 1 KiB. Only of the last attempt, while it is a failure, the row keeps
//! what there is: its response (`lastResponse`) and its error (`errorMessage`), which the next
//! outcome replaces or removes (ADR 0010).

use std::collections::HashMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue as Value;
use bytes::Bytes;
use posthaste_domain::{Attempt, ErrorClass, PhaseTimings, Timestamp, Verdict};
use posthaste_ports::LoggedAttempt;

use super::edit::{number, text, time};
use super::{Item, name as item_name, number as parsed, text as read};

/// What the name of an entry begins with.
const PREFIX: &str = "a#";
/// How much of a response an entry keeps, in bytes: enough for a receiver's error code.
const RESPONSE_BYTES_MAX: usize = 64;
/// How much of an error line an entry keeps, in bytes.
const ERROR_BYTES_MAX: usize = 120;
/// How much of the last failure's response is kept, in bytes (CONTRACT §1).
const LAST_RESPONSE_BYTES_MAX: usize = 1024;
/// How much of the last failure's error line is kept, in bytes; a line of ours is shorter.
const LAST_ERROR_BYTES_MAX: usize = 400;

const AT: &str = "at";
const DURATION: &str = "ms";
const CODE: &str = "code";
const VERDICT: &str = "is";
const RETRY_AFTER: &str = "after";
const ERROR: &str = "error";
const RESPONSE: &str = "body";
const PHASES: &str = "us";

const DELIVERED: &str = "delivered";
const GONE: &str = "gone";
/// Before the class of a failure that was ours.
const NOT_CHARGED: &str = "ours:";

/// The attribute of a round's attempt.
pub(crate) fn name(round: u32, attempt: u32) -> String {
    format!("{PREFIX}{round}#{attempt}")
}

/// The last failure's error line as the row keeps it.
pub(crate) fn last_error(line: &str) -> &str {
    &line[..line.floor_char_boundary(LAST_ERROR_BYTES_MAX)]
}

/// The last failure's response as the row keeps it; none where its entry has all of it.
pub(crate) fn last_response(attempt: &Attempt) -> Option<Value> {
    let kept = &attempt.response[..attempt.response.len().min(LAST_RESPONSE_BYTES_MAX)];
    (kept.len() > RESPONSE_BYTES_MAX).then(|| Value::B(Blob::new(kept)))
}

/// An attempt as it is kept.
pub(crate) fn value(attempt: &Attempt) -> Value {
    let mut entry = HashMap::with_capacity(8);
    let mut put = |name: &str, value| entry.insert(name.to_owned(), value);
    put(AT, time(attempt.at));
    put(DURATION, number(attempt.duration_ms));
    if let Some(code) = attempt.status_code {
        put(CODE, number(code));
    }
    let (verdict, retry_after_ms) = match attempt.verdict {
        Verdict::Delivered => (DELIVERED.to_owned(), None),
        Verdict::Gone => (GONE.to_owned(), None),
        Verdict::Failed { class, retry_after_ms } => (class.as_str().to_owned(), retry_after_ms),
        Verdict::NotCharged { class } => (format!("{NOT_CHARGED}{}", class.as_str()), None),
    };
    put(VERDICT, text(verdict));
    if let Some(after) = retry_after_ms {
        put(RETRY_AFTER, number(after));
    }
    if let Some(error) = &attempt.error {
        put(ERROR, text(&error[..error.floor_char_boundary(ERROR_BYTES_MAX)]));
    }
    let response = &attempt.response[..attempt.response.len().min(RESPONSE_BYTES_MAX)];
    if !response.is_empty() {
        put(RESPONSE, Value::B(Blob::new(response)));
    }
    put(PHASES, text(phases(&attempt.phases)));
    Value::M(entry)
}

/// The whole log of an item, oldest first. What makes no sense is left out: a log entry is worth
/// less than the event it belongs to.
pub(crate) fn log(item: &Item) -> Vec<LoggedAttempt> {
    let mut log: Vec<_> = item.iter().filter_map(|(name, value)| logged(name, value)).collect();
    log.sort_by_key(|entry| (entry.round, entry.attempt.number));
    if let Some(last) = log.last_mut() {
        complete(&mut last.attempt, item);
    }
    log
}

/// What the row keeps of its last attempt beside the entry, where it is the entry's: it begins with
/// what the entry has.
fn complete(last: &mut Attempt, item: &Item) {
    if let Some(Value::B(whole)) = item.get(item_name::LAST_RESPONSE)
        && whole.as_ref().starts_with(&last.response)
        && last.verdict != Verdict::Delivered
    {
        last.response = Bytes::copy_from_slice(whole.as_ref());
    }
    if let (Some(error), Some(whole)) = (&mut last.error, read(item, item_name::ERROR_MESSAGE))
        && whole.starts_with(&**error)
    {
        *error = whole.into();
    }
}

fn logged(name: &str, value: &Value) -> Option<LoggedAttempt> {
    let (round, attempt) = name.strip_prefix(PREFIX)?.split_once('#')?;
    let entry = value.as_m().ok()?;
    let attempt = Attempt {
        number: attempt.parse().ok()?,
        at: Timestamp::from_millis(parsed(entry, AT).ok()??),
        duration_ms: parsed(entry, DURATION).ok()?.unwrap_or(0),
        status_code: parsed(entry, CODE).ok()?,
        verdict: verdict(read(entry, VERDICT)?, parsed(entry, RETRY_AFTER).ok()?)?,
        error: read(entry, ERROR).map(Into::into),
        response: match entry.get(RESPONSE) {
            Some(Value::B(blob)) => Bytes::copy_from_slice(blob.as_ref()),
            _ => Bytes::new(),
        },
        phases: read(entry, PHASES).map(phases_of).unwrap_or_default(),
    };
    Some(LoggedAttempt { round: round.parse().ok()?, attempt })
}

fn verdict(text: &str, retry_after_ms: Option<u64>) -> Option<Verdict> {
    let class = |text: &str| ErrorClass::ALL.into_iter().find(|class| class.as_str() == text);
    match text {
        DELIVERED => Some(Verdict::Delivered),
        GONE => Some(Verdict::Gone),
        text => match text.strip_prefix(NOT_CHARGED) {
            Some(ours) => Some(Verdict::NotCharged { class: class(ours)? }),
            None => Some(Verdict::Failed { class: class(text)?, retry_after_ms }),
        },
    }
}

/// Six times and whether the connection had served before, as one text: a list would take twice
/// the bytes.
fn phases(phases: &PhaseTimings) -> String {
    let PhaseTimings { queue_us, dns_us, connect_us, tls_us, first_byte_us, total_us, reused } =
        phases;
    let reused = u8::from(*reused);
    format!("{queue_us},{dns_us},{connect_us},{tls_us},{first_byte_us},{total_us},{reused}")
}

fn phases_of(text: &str) -> PhaseTimings {
    let mut parts = text.split(',').map(|part| part.parse::<u32>().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0);
    PhaseTimings {
        queue_us: next(),
        dns_us: next(),
        connect_us: next(),
        tls_us: next(),
        first_byte_us: next(),
        total_us: next(),
        reused: next() == 1,
    }
}
