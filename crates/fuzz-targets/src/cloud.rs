//! What comes out of the queues.

use bytes::Bytes;
use posthaste_domain::DeadLetterCause;
use posthaste_protocol::{BODY_BYTES_MAX, EventMessage, dead_letter_body, quarantine_body};
use serde_json::Value;

use crate::input::text;

/// The body of a message, and what is made of one that is none.
pub(crate) fn message(data: &[u8]) {
    let kept = quarantine_body("not_a_message", data);
    is_sendable(&kept);
    let Ok(message) = EventMessage::parse(data) else { return };
    let written = message.body();
    is_sendable(&written);
    let again = EventMessage::parse(&written).expect("what was written can be read");
    let payload = if again.payload.is_none() { None } else { message.payload.clone() };
    assert_eq!(again, EventMessage { payload, ..message.clone() });
    let text = text(data).unwrap_or_default();
    let dead = dead_letter_body(
        &message.key,
        message.round.unwrap_or(0),
        DeadLetterCause::Poison,
        5,
        Some(&text[..text.floor_char_boundary(300)]),
    );
    is_sendable(&dead);
    let read = EventMessage::parse(&dead).expect("a dead letter names its event");
    assert_eq!(read.key, message.key);
}

fn is_sendable(body: &Bytes) {
    assert!(body.len() <= BODY_BYTES_MAX);
    assert!(serde_json::from_slice::<Value>(body).is_ok_and(|value| value.is_object()));
    let refused = |c: char| c < ' ' && !matches!(c, '\t' | '\n' | '\r') || c >= '\u{FFFE}';
    let text = str::from_utf8(body).expect("JSON is text");
    let sendable = text.chars().all(|c| !refused(c) || c >= '\u{10000}');
    assert!(sendable, "SQS refuses it");
}
