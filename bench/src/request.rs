//! The request of an attempt, without a connection to send it on: headers and both signatures.

use bytes::Bytes;
use http::HeaderValue;
use http_body_util::Full;
use posthaste_delivery::{Endpoint, Moment, Request};
use posthaste_domain::{SigningSecrets, TargetUrl};

use crate::fixture::{self, EPOCH};

/// A usual target: its `Host` header has a port, its path a query.
pub const TARGET: &str = "https://hooks.example.com:8443/webhooks/orders?account=acct_1Nv0FG";
/// The smallest payload there is: what it costs to hash is four blocks, the rest is the headers.
pub const SMALLEST: &[u8] = b"{}";

const MOMENT: Moment = Moment { now: EPOCH, wall: EPOCH };

/// An attempt that is ready to be sent, as often as wanted.
#[derive(Debug)]
pub struct Ready {
    endpoint: Endpoint,
    user_agent: HeaderValue,
    request: Request,
}

impl Ready {
    /// An attempt that delivers `payload`, signed with one secret, or with two while one is being
    /// rotated.
    ///
    /// # Panics
    /// For other numbers of secrets.
    #[must_use]
    pub fn new(payload: Bytes, secrets: u8) -> Self {
        let current = SigningSecrets::new(fixture::secret(1));
        let secrets = match secrets {
            1 => current,
            2 => current.rotated(fixture::secret(2), EPOCH, 3_600_000),
            other => panic!("an attempt is signed with one secret or two, not {other}"),
        };
        let target = TargetUrl::parse_stored(TARGET).expect("lawful");
        let event = fixture::event(1 << 30);
        let ready = Self {
            endpoint: Endpoint::new(&target, &secrets),
            // From text, as the client's is: a static one would be given away for less.
            user_agent: HeaderValue::from_str("posthaste/0.1.0").expect("a lawful value"),
            request: Request { event, number: 1, payload, ready_at: EPOCH },
        };
        // The first giving away of a value makes it one that can be shared, once.
        drop(ready.signed());
        ready
    }

    /// Builds and signs it.
    #[must_use]
    pub fn signed(&self) -> http::Request<Full<Bytes>> {
        let signed = self.request.signed(&self.endpoint, &self.user_agent, MOMENT);
        signed.expect("the target makes a request")
    }
}

#[cfg(test)]
mod tests {
    use posthaste_domain::verify_stripe;

    use super::*;

    /// What is measured is a whole request: every header, each secret's signature a right one.
    #[test]
    fn a_ready_request_is_whole_and_signed() {
        for (secrets, keys) in [(1, vec![1]), (2, vec![2, 1])] {
            let signed = Ready::new(Bytes::from_static(SMALLEST), secrets).signed();
            assert_eq!(signed.headers().len(), 8);
            assert_eq!(signed.headers()["host"], "hooks.example.com:8443");
            let stripe = signed.headers()["stripe-signature"].to_str().unwrap();
            assert_eq!(stripe.matches("v1=").count(), keys.len());
            for key in keys {
                let key = posthaste_domain::SigningKey::new(&fixture::secret(key));
                assert_eq!(verify_stripe(stripe, [&key], SMALLEST, EPOCH), Ok(()));
            }
        }
    }
}
