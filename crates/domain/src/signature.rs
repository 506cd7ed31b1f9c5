//! Signing deliveries and verifying them: Stripe's scheme and Standard Webhooks'.
//!
//! ```text
//! Stripe-Signature: t=<unix s>,v1=<hex HMAC-SHA256(secret, "<t>.<body>")>[,v1=…]
//! webhook-signature: v1,<base64 HMAC-SHA256(key, "<id>.<t>.<body>")>[ v1,…]
//! ```
//! Bodies are fed to the HMAC as they lie; nothing is copied.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::{constant_time, hmac};
use thiserror::Error;

use crate::{EventId, Timestamp, WebhookSecret};

/// How far a signature's time may lie from now, in seconds, either way.
pub const SIGNATURE_TOLERANCE_S: u64 = 300;
/// Candidates looked at in one header, so that a header cannot buy unbounded work.
const CANDIDATES_MAX: usize = 10;
/// A longer header is no signature header of ours (10 candidates take about 700 bytes).
const HEADER_BYTES_MAX: usize = 4096;

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
}

/// The `Stripe-Signature` header of `body`, one `v1=` for each key in the order given.
#[must_use]
pub fn stripe_signature<'k>(
    keys: impl IntoIterator<Item = &'k SigningKey>,
    at: Timestamp,
    body: &[u8],
) -> String {
    let seconds = at.as_secs().to_string();
    let mut header = String::with_capacity(2 + seconds.len() + 2 * 68);
    header.push_str("t=");
    header.push_str(&seconds);
    for key in keys {
        header.push_str(",v1=");
        push_hex(&mut header, key.stripe_tag(&seconds, body).as_ref());
    }
    header
}

/// The `webhook-signature` header of `body`, one `v1,` for each key in the order given.
#[must_use]
pub fn standard_signature<'k>(
    keys: impl IntoIterator<Item = &'k SigningKey>,
    event: EventId,
    at: Timestamp,
    body: &[u8],
) -> String {
    let mut prefix = String::with_capacity(48);
    // Writing to a String cannot fail.
    let written = write!(prefix, "{event}.{}.", at.as_secs());
    debug_assert!(written.is_ok());
    let mut header = String::with_capacity(2 * 48);
    for key in keys {
        let mut context = hmac::Context::with_key(&key.standard);
        context.update(prefix.as_bytes());
        context.update(body);
        if !header.is_empty() {
            header.push(' ');
        }
        header.push_str("v1,");
        STANDARD.encode_string(context.sign().as_ref(), &mut header);
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
/// At most ten candidates are looked at, each compared in constant time. The digest is computed
/// before the time is judged, so that a stale header costs what a wrong one does.
///
/// # Errors
/// [`VerifyError`] says why not.
pub fn verify_stripe<'k>(
    header: &str,
    keys: impl IntoIterator<Item = &'k SigningKey>,
    body: &[u8],
    now: Timestamp,
) -> Result<(), VerifyError> {
    let parsed = parse_header(header).ok_or(VerifyError::Malformed)?;
    let mut matched = false;
    for key in keys {
        let tag = key.stripe_tag(parsed.seconds_text, body);
        for candidate in &parsed.candidates[..parsed.count] {
            matched |= constant_time::verify_slices_are_equal(tag.as_ref(), candidate).is_ok();
        }
    }
    if now.as_secs().abs_diff(parsed.seconds) > SIGNATURE_TOLERANCE_S {
        return Err(VerifyError::Stale);
    }
    if matched { Ok(()) } else { Err(VerifyError::Mismatch) }
}

struct ParsedHeader<'h> {
    seconds_text: &'h str,
    seconds: u64,
    candidates: [[u8; 32]; CANDIDATES_MAX],
    count: usize,
}

/// Strict: one `t`, canonical decimal; `v1` of exactly 64 hex digits (others are skipped, as
/// Stripe's own libraries skip schemes they do not know); no header without a usable `v1`.
fn parse_header(header: &str) -> Option<ParsedHeader<'_>> {
    if header.len() > HEADER_BYTES_MAX {
        return None;
    }
    let mut seconds_text = None;
    let mut candidates = [[0; 32]; CANDIDATES_MAX];
    let mut count = 0;
    for part in header.split(',') {
        let (name, value) = part.trim().split_once('=')?;
        match name {
            "t" if seconds_text.is_some() => return None,
            "t" => seconds_text = Some(value),
            "v1" if count < CANDIDATES_MAX => {
                if let Some(tag) = parse_hex(value) {
                    candidates[count] = tag;
                    count += 1;
                }
            }
            _ => {}
        }
    }
    let seconds_text = seconds_text?;
    let canonical = !seconds_text.is_empty()
        && seconds_text.bytes().all(|b| b.is_ascii_digit())
        && (seconds_text == "0" || !seconds_text.starts_with('0'));
    let seconds = seconds_text.parse().ok().filter(|_| canonical && count > 0)?;
    Some(ParsedHeader { seconds_text, seconds, candidates, count })
}

fn parse_hex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = (hex_value(pair[0])? << 4) | hex_value(pair[1])?;
    }
    Some(bytes)
}

const fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}
