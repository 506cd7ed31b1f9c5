//! One request: its headers, signed afresh, around a payload that is passed on untouched.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method};
use http_body_util::Full;
use posthaste_domain::{EventId, Timestamp, standard_signature, stripe_signature};

use crate::endpoint::{Endpoint, Form};

const STRIPE_SIGNATURE: HeaderName = HeaderName::from_static("stripe-signature");
const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const WEBHOOK_ATTEMPT: HeaderName = HeaderName::from_static("webhook-attempt");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Room for all headers, so that the map never grows.
const HEADERS: usize = 12;

/// What an attempt delivers.
#[derive(Clone, Debug)]
pub struct Request {
    /// The event: `webhook-id`.
    pub event: EventId,
    /// Which attempt this is, from 1: `webhook-attempt`.
    pub number: u32,
    /// The body, byte for byte.
    pub payload: Bytes,
    /// Since when the attempt could have started, for the queue time.
    pub ready_at: Timestamp,
}

/// When an attempt signs. A request that is sent again as the same attempt is signed for the same
/// moment, so that it is the same request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// Which keys are live.
    pub(crate) now: Timestamp,
    /// The time that the signatures carry.
    pub(crate) wall: Timestamp,
}

impl Request {
    /// The HTTP request to `endpoint`, signed for `moment`. Every value is made to be given away:
    /// keeping one for a second sending would cost more in each attempt than signing anew costs
    /// in the rare one.
    pub(crate) fn signed(
        &self,
        endpoint: &Endpoint,
        form: &Form,
        user_agent: &HeaderValue,
        moment: Moment,
    ) -> http::Request<Full<Bytes>> {
        let keys = || endpoint.live_keys(moment.now);
        let (body, wall) = (&self.payload, moment.wall);
        let mut id = [0; EventId::TEXT_LEN];
        let id = HeaderValue::from_str(self.event.encode(&mut id))
            .expect("an event id is ASCII letters, digits and '_'");
        let mut headers = HeaderMap::with_capacity(HEADERS);
        headers.insert(HOST, form.host.clone());
        headers.insert(CONTENT_TYPE, JSON);
        headers.insert(USER_AGENT, user_agent.clone());
        headers.insert(STRIPE_SIGNATURE, ascii(stripe_signature(keys(), wall, body)));
        headers.insert(WEBHOOK_ID, id);
        headers.insert(WEBHOOK_TIMESTAMP, HeaderValue::from(wall.as_secs()));
        let standard = standard_signature(keys(), self.event, wall, body);
        headers.insert(WEBHOOK_SIGNATURE, ascii(standard));
        headers.insert(WEBHOOK_ATTEMPT, ordinal(self.number));
        if body.is_empty() {
            // hyper leaves it out, and some servers then wait for a body (411).
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        let mut request = http::Request::new(Full::new(body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = form.uri.clone();
        *request.headers_mut() = headers;
        request
    }
}

/// A number as a header value; the usual ones stand ready.
fn ordinal(number: u32) -> HeaderValue {
    const DIGITS: &str = "0123456789";
    let at = usize::try_from(number).unwrap_or(usize::MAX);
    match DIGITS.get(at..at.saturating_add(1)) {
        Some(digit) => HeaderValue::from_static(digit),
        None => HeaderValue::from(number),
    }
}

fn ascii(signature: String) -> HeaderValue {
    HeaderValue::try_from(signature).expect("signatures are digits, hex, base64, ',', '=' and ' '")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For all numbers: their decimal digits.
    #[test]
    fn ordinals_are_decimal() {
        for number in (0..1000).chain([u32::MAX - 1, u32::MAX]) {
            assert_eq!(ordinal(number), number.to_string());
        }
    }
}
