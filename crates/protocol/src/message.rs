//! What travels through the queues (CONTRACT §5): `{"tenantId", "eventId"}`, and more where it
//! spares a read.
//!
//! Whoever reads is lenient, since older senders exist: unknown fields are passed over, and a
//! missing round or payload means a look at the row. Whoever writes is strict.

use std::borrow::Cow;
use std::str::FromStr as _;

use bytes::Bytes;
use posthaste_domain::{DeadLetterCause, EventId, RowKey, TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The largest body that is sent with its payload in it, in bytes: SQS bills by 64 KiB, and took
/// no more than 256 KiB for most of its life. A larger payload travels by reference.
pub const BODY_BYTES_MAX: usize = 256 * 1024;

/// Characters that JSON allows as they are and SQS refuses, the whole batch with them
/// (`SendMessage`: "#xE000 to #xFFFD"). Those below U+0020, which it refuses too, JSON writes as
/// escapes.
const REFUSED: [char; 2] = ['\u{FFFE}', '\u{FFFF}'];

/// What is kept of a message that no event belongs to, in bytes: as escapes at most six times as
/// many, which is still a message.
const QUARANTINED_BYTES_MAX: usize = 32 * 1024;
const _: () = assert!(QUARANTINED_BYTES_MAX * 6 + 4_096 < BODY_BYTES_MAX);

/// A message of the main queue: this event is owed a first attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventMessage {
    /// Which event.
    pub key: RowKey,
    /// The round it was sent for; none in the form of older senders.
    pub round: Option<u32>,
    /// The bytes to deliver, as a copy; none where they travel by reference.
    pub payload: Option<Bytes>,
    /// When the event was accepted.
    pub created_at: Option<Timestamp>,
    /// Sent again by somebody who does not know what became of it: the row must be read first.
    pub again: bool,
}

/// Why a body is no message.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MessageError {
    /// Not JSON, or not an object with the two ids as strings.
    #[error("not a message: {0}")]
    Form(String),
    /// A tenant id that can be nobody's.
    #[error("not a tenant id: {0:?}")]
    Tenant(String),
    /// An event id that no event has.
    #[error("not an event id: {0:?}")]
    Event(String),
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'b> {
    #[serde(borrow)]
    tenant_id: Cow<'b, str>,
    #[serde(borrow)]
    event_id: Cow<'b, str>,
    #[serde(default, rename = "gen", skip_serializing_if = "Option::is_none")]
    round: Option<u32>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    payload: Option<Cow<'b, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created_at: Option<u64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    again: bool,
}

impl EventMessage {
    /// Reads a body.
    ///
    /// # Errors
    /// [`MessageError`]; such a message can never be delivered and belongs into the DLQ.
    pub fn parse(body: &[u8]) -> Result<Self, MessageError> {
        let wire: Wire<'_> =
            serde_json::from_slice(body).map_err(|error| MessageError::Form(error.to_string()))?;
        let tenant = TenantId::try_new(&wire.tenant_id)
            .map_err(|_| MessageError::Tenant(shortened(&wire.tenant_id)))?;
        let event = EventId::from_str(&wire.event_id)
            .map_err(|_| MessageError::Event(shortened(&wire.event_id)))?;
        Ok(Self {
            key: RowKey { tenant, event },
            round: wire.round,
            payload: wire.payload.map(|text| Bytes::from(text.into_owned())),
            created_at: wire.created_at.map(Timestamp::from_millis),
            again: wire.again,
        })
    }

    /// The body of this message, without the payload where it would become too large or is not
    /// text, or not one that SQS takes.
    #[must_use]
    pub fn body(&self) -> Bytes {
        let text = self.payload.as_ref().and_then(|payload| str::from_utf8(payload).ok());
        let text = text.filter(|text| !text.contains(REFUSED));
        let whole = self.encode(text);
        if whole.len() <= BODY_BYTES_MAX { whole } else { self.encode(None) }
    }

    fn encode(&self, payload: Option<&str>) -> Bytes {
        let wire = Wire {
            tenant_id: self.key.tenant.as_str().into(),
            event_id: self.key.event.to_string().into(),
            round: self.round,
            payload: payload.map(Cow::Borrowed),
            created_at: self.created_at.map(Timestamp::as_millis),
            again: self.again,
        };
        written(&wire)
    }
}

/// The body of a DLQ message: this event is dead.
#[must_use]
pub fn dead_letter_body(
    key: &RowKey,
    round: u32,
    cause: DeadLetterCause,
    attempts: u32,
    error: Option<&str>,
) -> Bytes {
    // An endpoint's words may be in it.
    let error = error.map(|error| error.replace(REFUSED, "\u{FFFD}"));
    written(&serde_json::json!({
        "tenantId": key.tenant.as_str(),
        "eventId": key.event.to_string(),
        "gen": round,
        "cause": cause.as_str(),
        "attempts": attempts,
        "error": error,
    }))
}

/// The body of a DLQ message for a message that no event belongs to. Of a long one it has the
/// beginning: with what JSON escapes, all of it might be more than a queue takes.
#[must_use]
pub fn quarantine_body(cause: &str, body: &[u8]) -> Bytes {
    let kept = &body[..body.len().min(QUARANTINED_BYTES_MAX)];
    let text = String::from_utf8_lossy(kept).replace(REFUSED, "\u{FFFD}");
    written(&serde_json::json!({ "cause": cause, "body": text, "bytes": body.len() }))
}

fn written(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).expect("texts and numbers can be written as JSON").into()
}

/// Enough of a foreign text to recognise it by.
fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(payload: Option<Bytes>) -> EventMessage {
        let tenant = TenantId::try_new("acme").unwrap();
        EventMessage {
            key: RowKey { tenant, event: EventId::from_u128(7) },
            round: Some(0),
            payload,
            created_at: Some(Timestamp::from_millis(1_800_000_000_000)),
            again: false,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for payload in [None, Some(Bytes::from(r#"{"a":"ü\" \u0000"}"#))] {
            let message = message(payload);
            assert_eq!(EventMessage::parse(&message.body()), Ok(message));
        }
        let again = EventMessage { again: true, round: Some(3), ..message(None) };
        assert_eq!(EventMessage::parse(&again.body()), Ok(again));
    }

    /// Too large, or no text: by reference. The limit is the body's, escapes included.
    #[test]
    fn a_payload_that_does_not_fit_travels_by_reference() {
        for payload in [vec![b'x'; BODY_BYTES_MAX], vec![b'"'; BODY_BYTES_MAX / 2 + 1], vec![0xFF]]
            .into_iter()
            .chain(["\u{FFFE}", "{\"a\":\"\u{FFFF}\"}"].map(|text| text.as_bytes().to_vec()))
        {
            let sent = message(Some(payload.into()));
            let body = sent.body();
            assert!(body.len() <= BODY_BYTES_MAX);
            let read = EventMessage::parse(&body).unwrap();
            assert_eq!(read, EventMessage { payload: None, ..sent });
        }
        let sent = message(Some(vec![b'x'; BODY_BYTES_MAX - 200].into()));
        assert_eq!(EventMessage::parse(&sent.body()), Ok(sent));
    }

    #[test]
    fn the_old_form_is_read() {
        let event = EventId::from_u128(7);
        let body = format!(r#"{{"eventId":"{event}","tenantId":"acme","else":[1]}}"#);
        let read = EventMessage::parse(body.as_bytes()).unwrap();
        assert_eq!((read.round, read.payload, read.again), (None, None, false));
    }

    #[test]
    fn what_is_no_message_is_told_apart() {
        let event = EventId::from_u128(7);
        let parse = |text: &str| EventMessage::parse(text.as_bytes());
        for text in ["", "null", "[]", "{}", r#"{"tenantId":1,"eventId":"x"}"#, "\u{0}", "{\"te"] {
            assert!(matches!(parse(text), Err(MessageError::Form(_))), "{text}");
        }
        let tenant = parse(&format!(r#"{{"tenantId":"No","eventId":"{event}"}}"#));
        assert_eq!(tenant, Err(MessageError::Tenant("No".to_owned())));
        let event = parse(r#"{"tenantId":"acme","eventId":"evt_1"}"#);
        assert_eq!(event, Err(MessageError::Event("evt_1".to_owned())));
        assert!(EventMessage::parse(&[0xFF, 0xFE]).is_err());
    }

    #[test]
    fn a_dead_letter_is_a_message_too() {
        let key = message(None).key;
        let cause = DeadLetterCause::Gone;
        let body = dead_letter_body(&key, 2, cause, 5, Some("410 \"gone\""));
        let read = EventMessage::parse(&body).unwrap();
        assert_eq!((read.key, read.round), (key, Some(2)));
        let poison = quarantine_body("not a message", b"\xFF{");
        assert!(EventMessage::parse(&poison).is_err());
    }

    /// For the worst there is: a message as large as can be, of nothing but what JSON escapes.
    #[test]
    fn whatever_cannot_be_delivered_can_be_put_aside() {
        for byte in [0, b'"', 0xFF, b'x'] {
            let body = quarantine_body("not a message", &vec![byte; 4 * BODY_BYTES_MAX]);
            assert!(body.len() <= BODY_BYTES_MAX, "{byte}: {}", body.len());
        }
        let body = quarantine_body("no", "\u{FFFE}".as_bytes());
        assert!(!str::from_utf8(&body).unwrap().contains(REFUSED));
        let key = message(None).key;
        let said = Some("tls: not for \u{FFFF}.example");
        let body = dead_letter_body(&key, 0, DeadLetterCause::Gone, 5, said);
        assert!(!str::from_utf8(&body).unwrap().contains(REFUSED));
    }
}
