//! Words that every bench uses: a moment, payloads, ids, keys, outcomes.

use bytes::Bytes;
use posthaste_domain::{
    Attempt, EventId, PhaseTimings, SigningKey, TenantId, Timestamp, Verdict, WebhookSecret,
};

/// The moment at which everything happens.
pub const EPOCH: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// A usual payload, in bytes.
pub const PAYLOAD_BYTES: usize = 512;

/// JSON as events have it (short keys, strings and numbers), of exactly so many bytes.
///
/// # Panics
/// Where `bytes` is too few for any event (under 64).
#[must_use]
pub fn payload(bytes: usize) -> Bytes {
    const TAIL: &str = "0],\"note\":\"\"}";
    const ITEM: &str = "{\"sku\":\"A-1044\",\"count\":2,\"price\":19.95},";
    let mut text = String::from("{\"type\":\"order.paid\",\"items\":[");
    while text.len() + ITEM.len() + TAIL.len() <= bytes {
        text.push_str(ITEM);
    }
    let rest = bytes.checked_sub(text.len() + TAIL.len()).expect("an event takes 64 bytes");
    text.push_str(&format!("0],\"note\":\"{}\"}}", "x".repeat(rest)));
    text.into()
}

/// The `n`-th event.
#[must_use]
pub const fn event(n: u64) -> EventId {
    EventId::from_parts(EPOCH, n as u128)
}

/// Which event this is: what [`event`] was called with.
#[must_use]
pub fn number(event: EventId) -> u64 {
    let number = event.as_u128() - self::event(0).as_u128();
    u64::try_from(number).expect("events of the benches are made by `event`")
}

/// The `n`-th tenant.
#[must_use]
pub fn tenant(n: u64) -> TenantId {
    TenantId::try_new(&format!("tenant-{n}")).expect("a lawful name")
}

/// A secret, not the same for another number.
#[must_use]
pub fn secret(n: u8) -> WebhookSecret {
    WebhookSecret::from_entropy(&[n; 32])
}

/// So many signing keys: one, or two while a secret is being rotated.
#[must_use]
pub fn keys(count: u8) -> Vec<SigningKey> {
    (0..count).map(|n| SigningKey::new(&secret(n))).collect()
}

/// An attempt that came to `verdict`.
#[must_use]
pub fn attempt(number: u32, at: Timestamp, verdict: Verdict) -> Attempt {
    Attempt {
        number,
        at,
        duration_ms: 3,
        status_code: Some(if verdict == Verdict::Delivered { 200 } else { 503 }),
        verdict,
        error: None,
        response: Bytes::from_static(b"ok"),
        phases: PhaseTimings::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For all sizes that benches use: the payload is JSON of exactly that size.
    #[test]
    fn payloads_are_json_of_the_size_asked_for() {
        for bytes in [64, 100, 500, 512, 4096, 262_144] {
            let payload = payload(bytes);
            assert_eq!(payload.len(), bytes);
            let json: serde_json::Value = serde_json::from_slice(&payload).unwrap();
            assert_eq!(json["type"], "order.paid");
        }
    }

    #[test]
    fn an_event_knows_its_number() {
        for n in [0, 1, 9_999_999] {
            assert_eq!(number(event(n)), n);
        }
    }
}
