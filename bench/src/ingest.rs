//! The API's routes over a store that keeps nothing: what accepting an event costs before the
//! ledger. Authentication is cached, the body's shape is checked, the answer is made.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode};
use http_body_util::Full;
use posthaste_api::{AuthCache, Clock, Deps, Entropy, Settings, Stores, router};
use posthaste_domain::{ApiKey, EventId, TargetUrl, TenantId, Timestamp};
use posthaste_ports::memory::MemoryStore;
use posthaste_ports::{
    Acceptance, EventDetail, EventPage, EventStore, ListQuery, NewEvent, NewTenant, PortError,
    Retried, TenantStore as _,
};
use tower::{Service, ServiceExt as _};

use crate::fixture::{self, EPOCH};

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

/// The routes, and a client's part of a request.
pub struct Ingest {
    post: Box<dyn Fn(Request<Full<Bytes>>) -> StatusCode>,
    authorization: HeaderValue,
    payload: Bytes,
}

impl Ingest {
    /// Routes that know one tenant, for events of so many bytes.
    #[must_use]
    pub fn new(payload_bytes: usize) -> Self {
        let store = Arc::new(MemoryStore::default());
        let key = ApiKey::from_entropy(&[7; 32]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = runtime.expect("a runtime");
        let target = TargetUrl::parse_stored("https://example.com/hook").expect("lawful");
        let created = store.create(NewTenant {
            id: fixture::tenant(0),
            shard_key: target.shard_key(),
            target,
            secret: fixture::secret(1),
            plan: "standard".into(),
            options: Arc::default(),
            key: key.hash(),
            at: EPOCH,
        });
        runtime.block_on(created).expect("memory takes a tenant");
        let stores =
            Stores { tenants: store.clone(), events: Arc::new(NullStore), dead_letters: store };
        let deps = Deps {
            clock: Arc::new(StandingClock),
            entropy: Arc::new(CountingEntropy(AtomicU64::new(0))),
            admin_keys: Vec::new(),
            auth_cache: Arc::new(AuthCache::default()),
            receiver_observer: None,
            endpoint_health: None,
        };
        let routes = router(Settings::default(), stores, deps);
        let post = move |request| runtime.block_on(answer(routes.clone(), request));
        let ingest = Self {
            post: Box::new(post),
            authorization: HeaderValue::from_str(&format!("Bearer {}", key.expose()))
                .expect("a key is ASCII"),
            payload: fixture::payload(payload_bytes),
        };
        // From here on the key is cached.
        ingest.post();
        ingest
    }

    /// One event, from the request's head to the answer.
    ///
    /// # Panics
    /// Where the answer is not 201.
    pub fn post(&self) {
        assert_eq!((self.post)(self.request()), StatusCode::CREATED);
    }

    /// A client's request alone, whose cost is in [`Ingest::post`] too.
    #[must_use]
    pub fn request(&self) -> Request<Full<Bytes>> {
        Request::post("/v1/events")
            .header("host", "hooks.example.com")
            .header("content-type", "application/json")
            .header("user-agent", "bench/1")
            .header("authorization", self.authorization.clone())
            .body(Full::new(self.payload.clone()))
            .expect("a lawful request")
    }
}

impl fmt::Debug for Ingest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ingest").field("payload_bytes", &self.payload.len()).finish_non_exhaustive()
    }
}

/// Generic, because the routes' own type is the web framework's, which is not ours to name.
async fn answer<S, B>(routes: S, request: Request<Full<Bytes>>) -> StatusCode
where
    S: Service<
            Request<Full<Bytes>>,
            Response = http::Response<B>,
            Error = std::convert::Infallible,
        >,
{
    let answered = routes.oneshot(request).await;
    answered.map_or_else(|never| match never {}, |response| response.status())
}
