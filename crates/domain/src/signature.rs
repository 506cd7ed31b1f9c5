//! Signing deliveries and verifying them: Stripe's scheme and Standard Webhooks'.
//!
//! ```text
//! Stripe-Signature: t=<unix s>,v1=<hex HMAC-SHA256(secret, "<t>.<body>")>[,v1=…]
//! webhook-signature: v1,<base64 HMAC-SHA256(key, "<id>.<t>.<body>")>[ v1,…]
//! ```
//! Bodies are fed to the HMAC as they lie; nothing is copied, and each header is one allocation.
//!
//! A Stripe header has one spelling here, the one that [`stripe_signature`] writes: lower-case
//! hex, no spaces, a time without sign or leading zeros. Stripe's own libraries compare the hex
//! as text and know no spaces either; taking more would let a stranger change a signed header
//! without breaking it. What is taken beyond it, because Stripe's libraries do: fields in any
//! order, fields of unknown names (`v0`), and several `v1` of which one is right.
//!
//! Invariant: the work that a header costs is bounded, whatever the header.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use smallvec::SmallVec;
use thiserror::Error;

use crate::{EventId, Timestamp, WebhookSecret, hex};

/// How far a signature's time may lie from now, in seconds, either way.
pub const SIGNATURE_TOLERANCE_S: u64 = 300;
/// Candidates looked at in one header, so that a header cannot buy unbounded work.
const CANDIDATES_MAX: usize = 10;
/// A longer header is no signature header of ours (10 candidates take about 700 bytes).
const HEADER_BYTES_MAX: usize = 4096;
/// `,v1=` and 64 hex digits.
const STRIPE_BYTES: usize = 68;
/// `v1,` and 44 base64 digits; a space stands between two.
const STANDARD_BYTES: usize = 47;
/// The decimal digits of the largest `u64`.
const DIGITS_MAX: usize = 20;

/// A secret's two key schedules, computed once and used for every attempt.
#[derive(Clone, Debug)]
pub struct SigningKey {
    stripe: hmac::Key,
    standard: hmac::Key,
}

impl SigningKey {
    /// Derives the key schedules of `secret`.
    #[must_use]
    pub fn new(secret: &WebhookSecret) -> Self {
        Self {
            stripe: hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes()),
            standard: hmac::Key::new(hmac::HMAC_SHA256, &secret.standard_key()),
        }
    }

    fn stripe_tag(&self, seconds: &str, body: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.stripe);
        context.update(seconds.as_bytes());
        context.update(b".");
        context.update(body);
        context.sign()
    }

    fn standard_tag(&self, id: &str, seconds: &str, body: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.standard);
        for part in [id.as_bytes(), b".", seconds.as_bytes(), b".", body] {
            context.update(part);
        }
        context.sign()
    }

    /// Compares the MACs of the two tags instead of the tags, so that what the comparison's time
    /// could tell is about values that nobody outside can choose. (ring offers no other
    /// comparison in constant time; 0.4 µs each.)
    fn is_equal(&self, tag: &hmac::Tag, candidate: &[u8; 32]) -> bool {
        let blinded = hmac::sign(&self.stripe, tag.as_ref());
        hmac::verify(&self.stripe, candidate, blinded.as_ref()).is_ok()
    }
}

/// The `Stripe-Signature` header of `body`, one `v1=` for each key in the order given.
#[must_use]
pub fn stripe_signature<'k>(
    keys: impl IntoIterator<Item = &'k SigningKey>,
    at: Timestamp,
    body: &[u8],
) -> String {
    let mut digits = [0; DIGITS_MAX];
    let seconds = decimal(at.as_secs(), &mut digits);
    let keys = keys.into_iter();
    let candidates = keys.size_hint().0.max(1);
    // Exact where the keys can be counted, and for one key always: what becomes a header value
    // is neither cut nor copied then.
    let mut header = String::with_capacity(2 + seconds.len() + candidates * STRIPE_BYTES);
    header.push_str("t=");
    header.push_str(seconds);
    for key in keys {
        header.push_str(",v1=");
        hex::push(&mut header, key.stripe_tag(seconds, body).as_ref());
    }
    header
}

/// The `webhook-signature` header of `body`, one `v1,` for each key in the order given.
///
/// The `webhook-id` and `webhook-timestamp` headers that go with it are `event` and the whole
/// seconds of `at`.
#[must_use]
pub fn standard_signature<'k>(
    keys: impl IntoIterator<Item = &'k SigningKey>,
    event: EventId,
    at: Timestamp,
    body: &[u8],
) -> String {
    let (mut digits, mut id) = ([0; DIGITS_MAX], [0; EventId::TEXT_LEN]);
    let (seconds, id) = (decimal(at.as_secs(), &mut digits), event.encode(&mut id));
    let keys = keys.into_iter();
    let candidates = keys.size_hint().0.max(1);
    let mut header = String::with_capacity(candidates * (STANDARD_BYTES + 1) - 1);
    for key in keys {
        if !header.is_empty() {
            header.push(' ');
        }
        header.push_str("v1,");
        STANDARD.encode_string(key.standard_tag(id, seconds, body).as_ref(), &mut header);
    }
    header
}

/// Why a signature header was refused. Callers answer all of them alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum VerifyError {
    /// Not `t=<seconds>,v1=<hex>…`.
    #[error("malformed signature header")]
    Malformed,
    /// The time lies more than the tolerance from now.
    #[error("the signature's time is outside of the tolerance")]
    Stale,
    /// No candidate matched.
    #[error("no signature matched")]
    Mismatch,
}

/// Checks a `Stripe-Signature` header against any of `keys`.
///
/// At most ten `v1` are looked at, each compared in constant time. The digest is computed before
/// the time is judged, so that a stale header costs what a wrong one does. For an unknown tenant
/// callers pass a key of their own making: without any key no digest is computed, which shows.
///
/// # Errors
/// [`VerifyError`] says why not.
pub fn verify_stripe<'k>(
    header: &str,
    keys: impl IntoIterator<Item = &'k SigningKey>,
    body: &[u8],
    now: Timestamp,
) -> Result<(), VerifyError> {
    let parsed = ParsedHeader::parse(header).ok_or(VerifyError::Malformed)?;
    let mut matched = false;
    for key in keys {
        let tag = key.stripe_tag(parsed.seconds_text, body);
        for candidate in &parsed.candidates {
            // Not short-circuiting: the place of the right one does not show.
            matched |= key.is_equal(&tag, candidate);
        }
    }
    if now.as_secs().abs_diff(parsed.seconds) > SIGNATURE_TOLERANCE_S {
        return Err(VerifyError::Stale);
    }
    if matched { Ok(()) } else { Err(VerifyError::Mismatch) }
}

struct ParsedHeader<'h> {
    // Invariant: the shortest decimal form of `seconds`; what was signed.
    seconds_text: &'h str,
    seconds: u64,
    // Invariant: at least one, at most CANDIDATES_MAX.
    candidates: SmallVec<[[u8; 32]; CANDIDATES_MAX]>,
}

impl<'h> ParsedHeader<'h> {
    /// One `t`; of the first ten `v1` those that are 64 lower-case hex digits, at least one.
    fn parse(header: &'h str) -> Option<Self> {
        if header.len() > HEADER_BYTES_MAX || !header.bytes().all(|b| b.is_ascii_graphic()) {
            return None;
        }
        let mut seconds_text = None;
        let mut candidates = SmallVec::new();
        let mut looked_at = 0;
        for field in header.split(',') {
            let (name, value) = field.split_once('=')?;
            match name {
                "t" if seconds_text.is_some() => return None,
                "t" => seconds_text = Some(value),
                "v1" if looked_at < CANDIDATES_MAX => {
                    looked_at += 1;
                    candidates.extend(hex::parse_32(value));
                }
                _ => {}
            }
        }
        let seconds_text = seconds_text?;
        let seconds = parse_seconds(seconds_text)?;
        (!candidates.is_empty()).then_some(Self { seconds_text, seconds, candidates })
    }
}

/// Digits only and no leading zero, which `str::parse` would both let pass.
fn parse_seconds(text: &str) -> Option<u64> {
    let shortest = text == "0" || !text.starts_with('0');
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| shortest && digits)
}

/// Writes `number` into the end of `buffer`, without allocating.
fn decimal(mut number: u64, buffer: &mut [u8; DIGITS_MAX]) -> &str {
    let mut start = DIGITS_MAX;
    loop {
        start -= 1;
        buffer[start] = b'0' + (number % 10).to_le_bytes()[0];
        number /= 10;
        if number == 0 {
            break;
        }
    }
    str::from_utf8(&buffer[start..]).expect("decimal digits are ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_writes_what_display_writes() {
        for number in [0, 9, 10, 1_767_225_600, u64::MAX / 10, u64::MAX] {
            assert_eq!(decimal(number, &mut [0; DIGITS_MAX]), number.to_string());
        }
    }

    /// The example of the Standard Webhooks specification.
    #[test]
    fn the_published_standard_webhooks_example_is_reproduced() {
        let secret = WebhookSecret::try_new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let tag = SigningKey::new(&secret).standard_tag(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "1614265330",
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(STANDARD.encode(tag), "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    /// For all headers, however long: at most ten candidates are compared.
    #[test]
    fn a_header_buys_ten_candidates_at_most() {
        let entry = format!(",v1={}", "0".repeat(64));
        let with = |entries| {
            ParsedHeader::parse(&format!("t=1{}", entry.repeat(entries)))
                .map(|parsed| parsed.candidates.len())
        };
        assert_eq!((with(0), with(1), with(10)), (None, Some(1), Some(10)));
        assert_eq!((with(11), with(40), with(1000)), (Some(10), Some(10), None));
    }
}
