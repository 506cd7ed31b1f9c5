//! The request of an attempt, without a connection to send it on: headers and both signatures.

use bytes::Bytes;
use http::HeaderValue;
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
        Self {
            endpoint: Endpoint::new(&target, &secrets),
            user_agent: HeaderValue::from_static("posthaste/0.1.0"),
            request: Request { event, number: 1, payload, ready_at: EPOCH },
        }
    }

    /// Builds and signs its head.
    #[must_use]
    pub fn signed(&self) -> Vec<u8> {
        let signed = self.request.signed(&self.endpoint, &self.user_agent, MOMENT);
        signed.expect("the target makes a request")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use posthaste_domain::verify_stripe;

    use super::*;

    /// What is measured is a whole request: every header, each secret's signature a right one.
    #[test]
    fn a_ready_request_is_whole_and_signed() {
        for (secrets, keys) in [(1, vec![1]), (2, vec![2, 1])] {
            let signed = Ready::new(Bytes::from_static(SMALLEST), secrets).signed();
            let signed = String::from_utf8(signed).unwrap();
            let lines = signed.trim_end().split("\r\n").skip(1);
            let fields: BTreeMap<_, _> = lines.map(|line| line.split_once(": ").unwrap()).collect();
            assert_eq!(fields.len(), 9);
            assert_eq!(fields["host"], "hooks.example.com:8443");
            let stripe = fields["stripe-signature"];
            assert_eq!(stripe.matches("v1=").count(), keys.len());
            for key in keys {
                let key = posthaste_domain::SigningKey::new(&fixture::secret(key));
                assert_eq!(verify_stripe(stripe, [&key], SMALLEST, EPOCH), Ok(()));
            }
        }
    }
}
