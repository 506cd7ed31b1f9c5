//! What a row's item tells a tenant.

use bytes::Bytes;
use posthaste_domain::{EventId, EventStatus, Row, Timestamp};
use posthaste_ports::{DEAD_KEPT_MS, EventDetail, EventSummary};

use crate::item::{Item, log, name, number, text};

/// What is shown for a payload that is gone: JSON, since that is what payloads are.
const GONE: &[u8] = b"null";

/// The status at a time: a FAILED event whose retry is due is PENDING. One that will have no retry
/// stays FAILED until it is in the DLQ.
pub(super) fn status(row: &Row, now: Timestamp) -> EventStatus {
    let is_due = row.cause.is_none() && row.next_attempt_at.is_some_and(|due| due <= now);
    if row.status == EventStatus::Failed && is_due { EventStatus::Pending } else { row.status }
}

pub(super) fn summary(id: EventId, item: &Item, row: &Row, now: Timestamp) -> EventSummary {
    EventSummary {
        id,
        status: status(row, now),
        attempts: row.attempts,
        last_attempt_at: last_attempt_at(item),
    }
}

pub(super) fn detail(
    id: EventId,
    item: &Item,
    row: &Row,
    payload: Option<Bytes>,
    now: Timestamp,
) -> EventDetail {
    let waits = row.status == EventStatus::Failed && row.cause.is_none();
    EventDetail {
        summary: summary(id, item, row, now),
        payload: payload.unwrap_or(Bytes::from_static(GONE)),
        error: error(item),
        next_attempt_at: row.next_attempt_at.filter(|_| waits),
        log: log(item),
    }
}

/// The last attempt's error, whichever round it was in; rows of earlier versions have no log.
pub(crate) fn error(item: &Item) -> Option<Box<str>> {
    match log(item).pop() {
        Some(last) => last.attempt.error,
        None => text(item, name::ERROR_MESSAGE).map(Into::into),
    }
}

/// To the millisecond where the log has the attempt.
fn last_attempt_at(item: &Item) -> Option<Timestamp> {
    if let Some(last) = log(item).pop() {
        return Some(last.attempt.at);
    }
    let seconds: u64 = number(item, name::LAST_ATTEMPT_AT).ok()??;
    Some(Timestamp::from_millis(seconds.saturating_mul(1000)))
}

/// When a row in the DLQ came there; rows of earlier versions may only have a `ttl`, or not even
/// that.
pub(crate) fn died_at(id: EventId, row: &Row) -> Timestamp {
    let ends = row.expires_at.map(|ends| ends.as_millis().saturating_sub(DEAD_KEPT_MS));
    ends.map_or_else(|| id.created_at(), Timestamp::from_millis)
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::types::AttributeValue as Value;
    use posthaste_domain::DeadLetterCause;

    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn a_failed_row_is_pending_when_its_retry_is_due() {
        let status_of = EventStatus::Failed;
        let row = Row { status: status_of, next_attempt_at: Some(at(10)), ..Row::new() };
        assert_eq!(status(&row, at(9)), EventStatus::Failed);
        assert_eq!(status(&row, at(10)), EventStatus::Pending);
        // On its way to the DLQ, or of an earlier version: no retry is due.
        let cause = Some(DeadLetterCause::Gone);
        assert_eq!(status(&Row { cause, ..row.clone() }, at(10)), EventStatus::Failed);
        assert_eq!(status(&Row { next_attempt_at: None, ..row }, at(10)), EventStatus::Failed);
    }

    #[test]
    fn an_older_row_tells_what_it_knows() {
        let text = |text: &str| Value::S(text.to_owned());
        let item = Item::from([
            (name::LAST_ATTEMPT_AT.to_owned(), text("1700000000")),
            (name::ERROR_MESSAGE.to_owned(), text("HTTP 500")),
        ]);
        let row = Row { attempts: 2, status: EventStatus::Dlq, ..Row::new() };
        let detail = detail(EventId::MIN, &item, &row, None, at(0));
        assert_eq!(detail.error.as_deref(), Some("HTTP 500"));
        assert_eq!(detail.summary.last_attempt_at, Some(at(1_700_000_000_000)));
        assert_eq!(detail.payload, "null");
        let id = EventId::from_parts(at(77), 1);
        assert_eq!(died_at(id, &row), at(77));
    }
}
