//! One request: its headers, signed afresh, around a payload that is passed on untouched.
//!
//! Invariants: the same request, endpoint, user agent and moment make the same bytes · a tenant's
//! own headers come after ours, in the order of their names, and never stand for one of ours.

use bytes::Bytes;
use http::HeaderValue;
use posthaste_domain::{EventId, Timestamp, standard_signature, stripe_signature};

use crate::endpoint::{Endpoint, Form, InvalidTarget};

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
    /// The head of the HTTP request that an attempt to `endpoint` sends at `moment`, as it goes on
    /// a connection to [`Endpoint::target_key`]; the payload follows it.
    ///
    /// # Errors
    /// [`InvalidTarget`] where the endpoint's attempts fail as `invalid_request`.
    pub fn signed(
        &self,
        endpoint: &Endpoint,
        user_agent: &HeaderValue,
        moment: Moment,
    ) -> Result<Vec<u8>, InvalidTarget> {
        let mut head = Vec::new();
        self.sign_into(&mut head, (endpoint.form()?, endpoint), user_agent, moment);
        Ok(head)
    }

    /// [`Request::signed`] for one who has the form, and a buffer with room.
    ///
    /// Nothing in a value can end a line: each is ours, or of a type that knows no line's end.
    pub(crate) fn sign_into(
        &self,
        head: &mut Vec<u8>,
        (form, endpoint): (&Form, &Endpoint),
        user_agent: &HeaderValue,
        moment: Moment,
    ) {
        let keys = || endpoint.live_keys(moment.now);
        let (body, wall) = (&*self.payload, moment.wall);
        let (mut id, mut number) = ([0; EventId::TEXT_LEN], itoa::Buffer::new());
        let mut add = |parts: &[&[u8]]| parts.iter().for_each(|part| head.extend_from_slice(part));
        add(&[&form.start, b"user-agent: ", user_agent.as_bytes()]);
        let stripe = stripe_signature(keys(), wall, body);
        add(&[b"\r\nstripe-signature: ", stripe.as_bytes()]);
        add(&[b"\r\nwebhook-id: ", self.event.encode(&mut id).as_bytes()]);
        add(&[b"\r\nwebhook-timestamp: ", number.format(wall.as_secs()).as_bytes()]);
        let standard = standard_signature(keys(), self.event, wall, body);
        add(&[b"\r\nwebhook-signature: ", standard.as_bytes()]);
        add(&[b"\r\nwebhook-attempt: ", number.format(self.number).as_bytes()]);
        for (name, value) in &endpoint.extra {
            add(&[b"\r\n", name.as_str().as_bytes(), b": ", value.as_bytes()]);
        }
        // An empty body says its length too: some servers wait for a body otherwise (411).
        add(&[b"\r\ncontent-length: ", number.format(body.len()).as_bytes(), b"\r\n\r\n"]);
    }
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

    fn sent(payload: &'static str, ms: u64) -> String {
        let (endpoint, agent) =
            (endpoint("https://example.com/x?y"), HeaderValue::from_static("u"));
        let moment = Moment { now: Timestamp::from_millis(ms), wall: Timestamp::from_millis(ms) };
        String::from_utf8(request(payload).signed(&endpoint, &agent, moment).unwrap()).unwrap()
    }

    fn value<'h>(head: &'h str, name: &str) -> &'h str {
        let mut lines = head.split("\r\n").filter_map(|line| line.split_once(": "));
        lines.find(|(known, _)| *known == name).unwrap().1
    }

    /// The same moment makes the same request; another, another.
    #[test]
    fn a_moment_decides_the_signatures() {
        let (first, again, later) = (sent("{}", 5_000), sent("{}", 5_999), sent("{}", 6_000));
        assert_eq!(first, again);
        for name in ["stripe-signature", "webhook-timestamp", "webhook-signature"] {
            assert_ne!(value(&first, name), value(&later, name));
        }
        assert_eq!(value(&first, "webhook-attempt"), "12");
    }

    /// Each line once, in this order, and the empty line at the end; each body says its length.
    #[test]
    fn a_head_has_these_lines() {
        for (payload, length) in [("", "0"), ("{}", "2")] {
            let head = sent(payload, 5_000);
            assert!(head.starts_with("POST /x?y HTTP/1.1\r\nhost: example.com\r\n"), "{head}");
            assert!(head.ends_with("\r\n\r\n") && head.matches("\r\n\r\n").count() == 1, "{head}");
            let lines = head.trim_end().split("\r\n").skip(1);
            let names: Vec<_> = lines.map(|line| line.split_once(": ").unwrap().0).collect();
            let expected = [
                "host",
                "content-type",
                "user-agent",
                "stripe-signature",
                "webhook-id",
                "webhook-timestamp",
                "webhook-signature",
                "webhook-attempt",
                "content-length",
            ];
            assert_eq!(names, expected);
            assert_eq!(value(&head, "content-length"), length);
        }
    }
}
