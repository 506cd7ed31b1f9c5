//! One request: its headers, signed afresh, around a payload that is passed on untouched.
//!
//! Invariants: the same request, endpoint, user agent and moment make the same bytes · a tenant's
//! own headers come after ours, in the order of their names, and never stand for one of ours.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method};
use http_body_util::Full;
use posthaste_domain::{EventId, Timestamp, standard_signature, stripe_signature};

use crate::endpoint::{Endpoint, Form, InvalidTarget};

const STRIPE_SIGNATURE: HeaderName = HeaderName::from_static("stripe-signature");
const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const WEBHOOK_ATTEMPT: HeaderName = HeaderName::from_static("webhook-attempt");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Room for all headers of ours, so that the map never grows.
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
pub struct Moment {
    /// Which keys are live.
    pub now: Timestamp,
    /// The time that the signatures carry.
    pub wall: Timestamp,
}

impl Request {
    /// The HTTP request that an attempt to `endpoint` sends at `moment`, as it goes on a connection
    /// to [`Endpoint::target_key`]. HTTP itself adds `content-length`, and nothing else.
    ///
    /// # Errors
    /// [`InvalidTarget`] where the endpoint's attempts fail as `invalid_request`.
    pub fn signed(
        &self,
        endpoint: &Endpoint,
        user_agent: &HeaderValue,
        moment: Moment,
    ) -> Result<http::Request<Full<Bytes>>, InvalidTarget> {
        Ok(self.signed_as(endpoint.form()?, endpoint, user_agent, moment))
    }

    /// [`Request::signed`] for one who has the form already. Every value is made to be given away:
    /// keeping one for a second sending would cost more in each attempt than signing anew costs
    /// in the rare one.
    pub(crate) fn signed_as(
        &self,
        form: &Form,
        endpoint: &Endpoint,
        user_agent: &HeaderValue,
        moment: Moment,
    ) -> http::Request<Full<Bytes>> {
        let keys = || endpoint.live_keys(moment.now);
        let (body, wall) = (&self.payload, moment.wall);
        let mut id = [0; EventId::TEXT_LEN];
        let id = HeaderValue::from_str(self.event.encode(&mut id))
            .expect("an event id is ASCII letters, digits and '_'");
        let mut headers = HeaderMap::with_capacity(HEADERS + endpoint.extra.len());
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
        for (name, value) in &endpoint.extra {
            headers.append(name, value.clone());
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
    use posthaste_domain::{SigningSecrets, TargetUrl, WebhookSecret};

    use super::*;

    fn endpoint(url: &str) -> Endpoint {
        let secrets = SigningSecrets::new(WebhookSecret::try_new("a-secret-of-ours").unwrap());
        Endpoint::new(&TargetUrl::parse_stored(url).unwrap(), &secrets)
    }

    fn request(payload: &'static str) -> Request {
        let event = EventId::from_parts(Timestamp::from_millis(1_795_507_200_000), 1);
        let ready_at = Timestamp::from_millis(0);
        Request { event, number: 12, payload: Bytes::from_static(payload.as_bytes()), ready_at }
    }

    /// The same moment makes the same request, whichever way it is asked for; another, another.
    #[test]
    fn a_moment_decides_the_signatures() {
        let (endpoint, agent) =
            (endpoint("https://example.com/x?y"), HeaderValue::from_static("u"));
        let at = |ms| Moment { now: Timestamp::from_millis(ms), wall: Timestamp::from_millis(ms) };
        let sent = |moment| request("{}").signed(&endpoint, &agent, moment).unwrap();
        let (first, again, later) = (sent(at(5_000)), sent(at(5_999)), sent(at(6_000)));
        assert_eq!(first.headers(), again.headers());
        assert_eq!((first.method(), first.uri().to_string()), (&Method::POST, "/x?y".to_owned()));
        let changed = |name| first.headers()[name] != later.headers()[name];
        let names = [STRIPE_SIGNATURE, WEBHOOK_TIMESTAMP, WEBHOOK_SIGNATURE];
        assert!(names.iter().all(changed));
        let form = endpoint.form().unwrap();
        let inside = request("{}").signed_as(form, &endpoint, &agent, at(5_000));
        assert_eq!(first.headers(), inside.headers());
        assert_eq!(first.headers()[WEBHOOK_ATTEMPT], "12");
    }

    /// An empty body says its length; for others HTTP does.
    #[test]
    fn only_an_empty_body_has_its_length_here() {
        let (endpoint, agent) = (endpoint("http://example.com/"), HeaderValue::from_static("u"));
        let moment = Moment { now: Timestamp::from_millis(1), wall: Timestamp::from_millis(1) };
        for (payload, length) in [("", Some("0")), ("{}", None)] {
            let sent = request(payload).signed(&endpoint, &agent, moment).unwrap();
            let found = sent.headers().get(CONTENT_LENGTH).map(|value| value.to_str().unwrap());
            assert_eq!(found, length);
            assert!(sent.headers().len() <= HEADERS);
        }
    }

    /// For all numbers: their decimal digits.
    #[test]
    fn ordinals_are_decimal() {
        for number in (0..1000).chain([u32::MAX - 1, u32::MAX]) {
            assert_eq!(ordinal(number), number.to_string());
        }
    }
}
