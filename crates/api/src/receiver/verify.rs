//! Verifying one webhook, and naming it so that a replay is known again.
//!
//! `Stripe-Signature` decides. It does not cover the `webhook-id`, and two events may have the same
//! body in the same second; so the id counts as part of a message's name only where the Standard
//! Webhooks signature, which covers it, is right too.

use std::iter;

use http::{HeaderMap, HeaderValue};
use posthaste_domain::{
    EventId, SigningKey, SigningSecrets, TenantId, Timestamp, WebhookSecret, standard_signature,
    verify_stripe,
};
use ring::digest;

use crate::constant_time;

pub(super) const WEBHOOK_ID: &str = "webhook-id";
const STRIPE_SIGNATURE: &str = "stripe-signature";
const WEBHOOK_TIMESTAMP: &str = "webhook-timestamp";
const WEBHOOK_SIGNATURE: &str = "webhook-signature";
/// Keys that every message is checked against at least: a tenant has one, or two while it changes
/// its secret, and the time must not tell which.
const KEYS_MIN: usize = 2;
/// Candidates looked at in a `webhook-signature` header.
const CANDIDATES_MAX: usize = 10;

/// A message whose signature is right.
#[derive(Debug)]
pub(super) struct Verified<'h> {
    /// The signature's time, as it was signed.
    seconds: &'h str,
    /// The event's id, where it is signed too.
    event: Option<EventId>,
}

/// What a message is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// By tenant, time and body.
    pub(super) plain: u128,
    /// By these and the event's id, where that is signed.
    pub(super) named: Option<u128>,
}

/// Checks a message against a tenant's live secrets; against `decoy`, a secret that nobody knows,
/// where there is no tenant.
pub(super) fn verify<'h>(
    secrets: Option<&SigningSecrets>,
    decoy: &WebhookSecret,
    headers: &'h HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> Option<Verified<'h>> {
    let live: Vec<_> = secrets.into_iter().flat_map(|secrets| secrets.live(now)).collect();
    let padding = iter::repeat_n(decoy, KEYS_MIN.saturating_sub(live.len()));
    let keys: Vec<_> = live.into_iter().chain(padding).map(SigningKey::new).collect();
    let header = only(headers, STRIPE_SIGNATURE)?;
    verify_stripe(header, &keys, body, now).ok()?;
    // One of the keys was right; without a tenant, that cannot be the decoy.
    secrets?;
    let seconds = header.split(',').find_map(|part| part.strip_prefix("t="))?;
    Some(Verified { seconds, event: signed_event(headers, &keys, seconds, body) })
}

/// The event that the message names, where Standard Webhooks' signature of the same time says so.
fn signed_event(
    headers: &HeaderMap,
    keys: &[SigningKey],
    seconds: &str,
    body: &[u8],
) -> Option<EventId> {
    let event: EventId = only(headers, WEBHOOK_ID)?.parse().ok()?;
    if only(headers, WEBHOOK_TIMESTAMP)? != seconds {
        return None;
    }
    let at = Timestamp::from_millis(seconds.parse::<u64>().ok()?.checked_mul(1000)?);
    let candidates = only(headers, WEBHOOK_SIGNATURE)?;
    let right = keys.iter().any(|key| {
        let expected = standard_signature([key], event, at, body);
        let mut candidates = candidates.split(' ').take(CANDIDATES_MAX);
        candidates.any(|candidate| constant_time::equal(expected.as_bytes(), candidate.as_bytes()))
    });
    right.then_some(event)
}

/// A header that comes exactly once, as text.
fn only<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().map(HeaderValue::to_str)?.ok()?;
    if values.next().is_none() { Some(value) } else { None }
}

impl Verified<'_> {
    /// What the message is known by. Not by the header as it stands: the same signature can be
    /// written in many ways.
    pub(super) fn identity(&self, tenant: &TenantId, body: &[u8]) -> Identity {
        let mut context = digest::Context::new(&digest::SHA256);
        for part in [tenant.as_str().as_bytes(), b"\0", self.seconds.as_bytes(), b"\0", body] {
            context.update(part);
        }
        let plain = context.finish();
        let named = self.event.map(|event| {
            let mut context = digest::Context::new(&digest::SHA256);
            context.update(plain.as_ref());
            context.update(&event.as_u128().to_be_bytes());
            first_half(&context.finish())
        });
        Identity { plain: first_half(&plain), named }
    }
}

fn first_half(digest: &digest::Digest) -> u128 {
    digest.as_ref().iter().take(16).fold(0, |number, byte| (number << 8) | u128::from(*byte))
}
