//! Ids, API keys, secrets, times.

use posthaste_domain::{
    ApiKey, EventId, EventStatus, SigningKey, SigningSecrets, TenantId, Timestamp, WebhookSecret,
    stripe_signature, verify_stripe,
};

use crate::input::{Input, text};

/// Tenant and event ids.
pub(crate) fn ids(data: &[u8]) {
    let number = EventId::from_u128(u128::from_le_bytes(Input(data).array()));
    assert_eq!(number.to_string().parse(), Ok(number));
    assert_eq!(EventId::from_parts(number.created_at(), number.as_u128()), number);
    let Some(text) = text(data) else { return };
    if let Ok(tenant) = TenantId::try_new(text) {
        let lawful = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        assert!((3..=50).contains(&text.len()) && text.bytes().all(lawful), "{text:?}");
        assert_eq!((tenant.as_str(), tenant.to_string().as_str()), (text, text));
    }
    if let Ok(event) = text.parse::<EventId>() {
        assert_eq!(event.to_string(), text);
        assert_eq!(EventId::from_u128(event.as_u128()), event);
        assert_eq!(event.cmp(&number), text.cmp(&number.to_string()));
    }
    if let Some(status) = EventStatus::parse(text) {
        assert_eq!(status.as_str(), text);
    }
}

/// API keys.
pub(crate) fn api_key(data: &[u8]) {
    let mut input = Input(data);
    let made = ApiKey::from_entropy(&input.array());
    assert_eq!(ApiKey::parse(made.expose()).as_ref(), Ok(&made));
    let mut changed = made.expose().as_bytes().to_vec();
    let place = usize::from(input.byte()) % changed.len();
    let to = input.byte();
    changed[place] = to;
    if let Ok(changed) = String::from_utf8(changed) {
        assert_eq!(ApiKey::parse(&changed).is_ok(), changed == made.expose(), "{place} {to}");
    }
    let Some(text) = text(data) else { return };
    if let Ok(key) = ApiKey::parse(text) {
        assert_eq!(key.expose(), text);
        assert!(!format!("{key:?}").contains(&text[ApiKey::PREFIX.len()..]));
        assert!(key.hash().to_string().starts_with(&key.hash().key_id()));
    }
}

/// Webhook secrets: what is one signs, and is not shown.
pub(crate) fn secret(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let Ok(secret) = WebhookSecret::try_new(text) else { return };
    assert_eq!(secret.expose(), text);
    assert_eq!(format!("{secret:?}"), "WebhookSecret(hidden)");
    let key = SigningKey::new(&secret);
    let at = Timestamp::from_millis(1_800_000_000_000);
    let header = stripe_signature([&key], at, data);
    assert_eq!(verify_stripe(&header, [&key], data, at), Ok(()));
    let other = WebhookSecret::from_entropy(&Input(data).array());
    let secrets = SigningSecrets::new(other.clone()).rotated(secret.clone(), at, 1000);
    let live: Vec<_> = secrets.live(at).collect();
    assert_eq!(live, if other == secret { vec![&secret] } else { vec![&secret, &other] });
}

/// Times as the API shows them.
pub(crate) fn timestamp(data: &[u8]) {
    /// The last millisecond of the year 9999, which is where other calendars end.
    const YEAR_9999_ENDS_MS: u64 = 253_402_300_799_999;
    let millis = Input(data).number();
    let shown = Timestamp::from_millis(millis).to_rfc3339();
    assert!(shown.ends_with('Z') && shown.len() >= 24, "{shown}");
    if millis > YEAR_9999_ENDS_MS {
        return;
    }
    let at = std::time::UNIX_EPOCH + std::time::Duration::from_millis(millis);
    let other = httpdate::fmt_http_date(at);
    // Sun, 06 Nov 1994 08:49:37 GMT and 1994-11-06T08:49:37.000Z.
    assert_eq!((&shown[..4], &shown[8..10]), (&other[12..16], &other[5..7]), "{other}");
    assert_eq!(&shown[11..19], &other[17..25]);
    assert_eq!(&shown[20..23], format!("{:03}", millis % 1000));
}
