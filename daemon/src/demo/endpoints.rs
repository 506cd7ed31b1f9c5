//! The demo's endpoints that do not take everything: each verifies the signature of what it gets,
//! then fails as its role says. The healthy tenant's events go to the built-in receiver.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use posthaste_domain::{EventId, SigningKey, WebhookSecret, verify_stripe};

use super::tally::{Role, Tally};
use crate::clock::Clock;

/// Attempts of each event that the flaky endpoint fails.
const FAILURES: u32 = 2;

/// One endpoint.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    role: Role,
    tally: Arc<Tally>,
    clock: Clock,
    secret: Arc<OnceLock<SigningKey>>,
}

impl Endpoint {
    /// An endpoint of this role. It takes nothing until it is told its secret.
    pub(super) fn new(role: Role, tally: Arc<Tally>, clock: Clock) -> Self {
        Self { role, tally, clock, secret: Arc::default() }
    }

    /// Tells it the secret that its tenant's deliveries are signed with.
    pub(super) fn trust(&self, secret: &WebhookSecret) {
        // Told once: a tenant is created once.
        self.secret.get_or_init(|| SigningKey::new(secret));
    }

    /// The path at which it listens.
    pub(super) fn path(&self) -> String {
        format!("/{}/webhook", self.role.name())
    }

    fn answer(&self, headers: &HeaderMap, body: &[u8]) -> StatusCode {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let right = text("stripe-signature").is_some_and(|header| {
            let keys = self.secret.get();
            keys.is_some_and(|key| verify_stripe(header, [key], body, self.clock.wall()).is_ok())
        });
        self.tally.signed(right);
        if !right {
            return StatusCode::UNAUTHORIZED;
        }
        let attempt = text("webhook-attempt").and_then(|text| text.parse().ok()).unwrap_or(0);
        let event: Option<EventId> = text("webhook-id").and_then(|text| text.parse().ok());
        match (self.role, event) {
            (Role::Down, _) => StatusCode::SERVICE_UNAVAILABLE,
            (Role::Flaky, _) if attempt <= FAILURES => StatusCode::INTERNAL_SERVER_ERROR,
            (Role::Flaky | Role::Healthy, Some(event)) => {
                self.tally.received(self.role, event, self.clock.monotonic_us());
                StatusCode::OK
            }
            (Role::Flaky | Role::Healthy, None) => StatusCode::BAD_REQUEST,
        }
    }
}

/// All endpoints, each at its path.
pub(super) fn router<'a>(endpoints: impl IntoIterator<Item = &'a Endpoint>) -> Router {
    endpoints.into_iter().fold(Router::new(), |router, endpoint| {
        router.route(&endpoint.path(), post(take).with_state(endpoint.clone()))
    })
}

async fn take(State(endpoint): State<Endpoint>, headers: HeaderMap, body: Bytes) -> StatusCode {
    endpoint.answer(&headers, &body)
}

#[cfg(test)]
mod tests {
    use posthaste_domain::{Timestamp, stripe_signature};

    use super::*;

    fn sent(endpoint: &Endpoint, secret: &str, attempt: &str, body: &[u8]) -> StatusCode {
        let key = SigningKey::new(&WebhookSecret::try_new(secret).unwrap());
        let signature = stripe_signature([&key], Clock::start().wall(), b"{}");
        let id = EventId::from_parts(Timestamp::from_millis(1), 7);
        let mut headers = HeaderMap::new();
        headers.insert("stripe-signature", signature.parse().unwrap());
        headers.insert("webhook-attempt", attempt.parse().unwrap());
        headers.insert("webhook-id", id.to_string().parse().unwrap());
        endpoint.answer(&headers, body)
    }

    /// For all endpoints: what is not signed with the tenant's secret is refused and counted.
    #[test]
    fn every_endpoint_verifies_before_it_fails() {
        for role in Role::ALL {
            let endpoint = Endpoint::new(role, Arc::default(), Clock::start());
            assert_eq!(sent(&endpoint, "first-secret", "3", b"{}"), StatusCode::UNAUTHORIZED);
            endpoint.trust(&WebhookSecret::try_new("first-secret").unwrap());
            assert_eq!(sent(&endpoint, "other-secret", "3", b"{}"), StatusCode::UNAUTHORIZED);
            assert_eq!(sent(&endpoint, "first-secret", "3", b"{ }"), StatusCode::UNAUTHORIZED);
            assert_eq!(endpoint.tally.signatures(), (0, 3));
            assert_ne!(sent(&endpoint, "first-secret", "3", b"{}"), StatusCode::UNAUTHORIZED);
            assert_eq!(endpoint.tally.signatures(), (1, 3));
        }
    }

    #[test]
    fn each_fails_as_its_role_says() {
        let answers = |role| {
            let endpoint = Endpoint::new(role, Arc::default(), Clock::start());
            endpoint.trust(&WebhookSecret::try_new("first-secret").unwrap());
            ["1", "2", "3"].map(|n| sent(&endpoint, "first-secret", n, b"{}").as_u16())
        };
        assert_eq!(answers(Role::Healthy), [200, 200, 200]);
        assert_eq!(answers(Role::Flaky), [500, 500, 200]);
        assert_eq!(answers(Role::Down), [503, 503, 503]);
    }
}
