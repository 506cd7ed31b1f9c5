//! What an accepted event costs in this crate: time per `POST /v1/events` from the request's head
//! to the answer, over a store that keeps nothing and with a key that is cached.
//!
//! ```text
//! cargo run --release -p posthaste-api --example ingest_cost -- [requests] [payload bytes]
//! ```
//! Everything runs on one thread and nothing waits, so that time is CPU time. HTTP itself (the
//! server's parsing and writing) and the store are not in the figure; making the request is, and
//! its own figure is printed beside it.

#![expect(clippy::print_stdout, reason = "the figures are what this is for")]
#![expect(clippy::unwrap_used, reason = "a measurement that cannot be set up has no result")]

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode};
use posthaste_api::{AuthCache, Clock, Deps, Entropy, Settings, Stores, router};
use posthaste_domain::{ApiKey, EventId, TenantId, Timestamp};
use posthaste_ports::memory::MemoryStore;
use posthaste_ports::{
    Acceptance, EventDetail, EventPage, EventStore, ListQuery, NewEvent, PortError, Retried,
    TenantStore as _,
};
use tokio::time::Instant;
use tower::ServiceExt as _;

const REQUESTS: u32 = 1_000_000;
const PAYLOAD_BYTES: usize = 500;
const EPOCH: Timestamp = Timestamp::from_millis(1_795_507_200_000);

/// Accepts everything, keeps nothing.
struct NullStore;

#[async_trait]
impl EventStore for NullStore {
    async fn accept(&self, events: Vec<NewEvent>) -> Result<Vec<Acceptance>, PortError> {
        Ok(events.iter().map(|event| Acceptance::Accepted(event.id)).collect())
    }

    async fn event(
        &self,
        _: &TenantId,
        _: EventId,
        _: Timestamp,
    ) -> Result<Option<EventDetail>, PortError> {
        Ok(None)
    }

    async fn list(&self, _: &TenantId, _: ListQuery) -> Result<EventPage, PortError> {
        Err(PortError::Permanent("nothing is kept".to_owned()))
    }

    async fn retry(&self, _: &TenantId, _: EventId, _: Timestamp) -> Result<Retried, PortError> {
        Ok(Retried::NotFound)
    }
}

struct StandingClock;

impl Clock for StandingClock {
    fn now(&self) -> Timestamp {
        EPOCH
    }
}

/// A counter: what chance costs is the binary's choice of a source.
struct CountingEntropy(AtomicU64);

impl Entropy for CountingEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        let count = self.0.fetch_add(1, Ordering::Relaxed).to_le_bytes();
        for (byte, count) in bytes.iter_mut().zip(count.iter().cycle()) {
            *byte = *count;
        }
    }
}

/// A payload of JSON as events have it: short keys, strings and numbers.
fn payload(bytes: usize) -> Bytes {
    let mut text = String::from("{\"type\":\"order.paid\",\"items\":[");
    while text.len() + 60 < bytes {
        text.push_str("{\"sku\":\"A-1044\",\"count\":2,\"price\":19.95},");
    }
    let rest = bytes.saturating_sub(text.len() + "0],\"note\":\"\"}".len());
    text.push_str(&format!("0],\"note\":\"{}\"}}", "x".repeat(rest)));
    text.into()
}

fn main() {
    let mut numbers = std::env::args().skip(1);
    let requests = numbers.next().map_or(REQUESTS, |text| text.parse().unwrap());
    let payload = payload(numbers.next().map_or(PAYLOAD_BYTES, |text| text.parse().unwrap()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (making, whole) = runtime.block_on(measure(requests, payload.clone()));
    let each = |time: Duration| time.as_secs_f64() * 1e6 / f64::from(requests);
    println!(
        "{requests} events of {} bytes: {:.2} us an event, {:.2} us of it for making the request",
        payload.len(),
        each(whole),
        each(making),
    );
}

async fn measure(requests: u32, payload: Bytes) -> (Duration, Duration) {
    let store = Arc::new(MemoryStore::default());
    let (key, id) = (ApiKey::from_entropy(&[7; 32]), TenantId::try_new("acme").unwrap());
    let stores =
        Stores { tenants: store.clone(), events: Arc::new(NullStore), dead_letters: store.clone() };
    let deps = Deps {
        clock: Arc::new(StandingClock),
        entropy: Arc::new(CountingEntropy(AtomicU64::new(0))),
        admin_keys: vec![ApiKey::from_entropy(&[9; 32]).hash()],
        auth_cache: Arc::new(AuthCache::default()),
        receiver_observer: None,
        endpoint_health: None,
    };
    let router =
        router(Settings { open_tenant_creation: true, ..Settings::default() }, stores, deps);
    let tenant = "{\"tenant_id\":\"acme\",\"target_url\":\"https://example.com/\"}";
    let create = Request::post("/v1/tenants").body(Body::from(tenant)).unwrap();
    assert_eq!(router.clone().oneshot(create).await.unwrap().status(), StatusCode::CREATED);
    assert!(store.add_key(&id, key.hash(), EPOCH).await.unwrap());
    let authorization = HeaderValue::from_str(&format!("Bearer {}", key.expose())).unwrap();
    let request = || {
        Request::post("/v1/events")
            .header("host", "hooks.example.com")
            .header("content-type", "application/json")
            .header("user-agent", "ingest-cost/1")
            .header("authorization", authorization.clone())
            .body(Body::from(payload.clone()))
            .unwrap()
    };
    let started = Instant::now();
    for _ in 0..requests {
        black_box(request());
    }
    let making = started.elapsed();
    let round = async |requests: u32| {
        for _ in 0..requests {
            let answer = router.clone().oneshot(request()).await.unwrap();
            assert_eq!(answer.status(), StatusCode::CREATED);
        }
    };
    round(requests / 10).await;
    let started = Instant::now();
    round(requests).await;
    (making, started.elapsed())
}
