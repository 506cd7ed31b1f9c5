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

/// The header values that change with each attempt. A request that is sent again as the same
/// attempt carries the same ones.
pub(crate) struct Signed {
    stripe: HeaderValue,
    id: HeaderValue,
    timestamp: HeaderValue,
    standard: HeaderValue,
    attempt: HeaderValue,
}

impl Signed {
    /// Signs `request` with the keys that are live at `now`; signatures carry the time `wall`.
    pub(crate) fn new(
        endpoint: &Endpoint,
        request: &Request,
        now: Timestamp,
        wall: Timestamp,
    ) -> Self {
        let body = &request.payload;
        let keys = || endpoint.live_keys(now);
        let mut id = [0; EventId::TEXT_LEN];
        Self {
            stripe: ascii(stripe_signature(keys(), wall, body)),
            id: HeaderValue::from_str(request.event.encode(&mut id))
                .expect("an event id is ASCII letters, digits and '_'"),
            timestamp: HeaderValue::from(wall.as_secs()),
            standard: ascii(standard_signature(keys(), request.event, wall, body)),
            attempt: HeaderValue::from(request.number),
        }
    }

    /// The request; `Content-Length` is added by hyper, which knows the body.
    pub(crate) fn request(
        &self,
        form: &Form,
        user_agent: &HeaderValue,
        payload: Bytes,
    ) -> http::Request<Full<Bytes>> {
        let mut headers = HeaderMap::with_capacity(HEADERS);
        headers.insert(HOST, form.host.clone());
        headers.insert(CONTENT_TYPE, JSON);
        headers.insert(USER_AGENT, user_agent.clone());
        headers.insert(STRIPE_SIGNATURE, self.stripe.clone());
        headers.insert(WEBHOOK_ID, self.id.clone());
        headers.insert(WEBHOOK_TIMESTAMP, self.timestamp.clone());
        headers.insert(WEBHOOK_SIGNATURE, self.standard.clone());
        headers.insert(WEBHOOK_ATTEMPT, self.attempt.clone());
        if payload.is_empty() {
            // hyper leaves it out, and some servers then wait for a body (411).
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        let mut request = http::Request::new(Full::new(payload));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = form.uri.clone();
        *request.headers_mut() = headers;
        request
    }
}

fn ascii(signature: String) -> HeaderValue {
    HeaderValue::try_from(signature).expect("signatures are digits, hex, base64, ',', '=' and ' '")
}
