//! A small world: the router over a watched in-memory store, a clock to turn, seeded chance.

mod documented;
pub(crate) mod store;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use http_body_util::BodyExt as _;
use posthaste_api::{
    AuthCache, Clock, Deps, Entropy, ReceivedWebhook, Settings, Stores, Trouble, router,
};
use posthaste_domain::{
    ApiKey, Attempt, DeadLetterCause, DeliveryKey, EndpointId, ErrorClass, EventId, OwedAs,
    PhaseTimings, Resolution, Settlement, TenantId, Timestamp, Verdict,
};
use posthaste_ports::Journal as _;
use serde_json::Value;
use tower::ServiceExt as _;

use self::store::WatchedStore;

/// When every test begins.
pub(crate) const START: Timestamp = Timestamp::from_millis(1_800_000_000_123);
pub(crate) const TARGET: &str = "https://example.com/hook";

/// A clock that moves when a test says so.
#[derive(Debug)]
pub(crate) struct TestClock(AtomicU64);

impl TestClock {
    pub(crate) fn advance(&self, millis: u64) {
        self.0.fetch_add(millis, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// A counter through SplitMix64: never the same twice, always the same in each run.
#[derive(Debug, Default)]
pub(crate) struct TestEntropy(AtomicU64);

impl Entropy for TestEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let count = self.0.fetch_add(1, Ordering::SeqCst);
            let mut z = count.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            chunk.copy_from_slice(&(z ^ (z >> 31)).to_le_bytes()[..chunk.len()]);
        }
    }
}

/// A tenant that a test has made.
#[derive(Clone, Debug)]
pub(crate) struct Tenant {
    pub(crate) id: String,
    pub(crate) key: String,
    pub(crate) secret: String,
}

impl Tenant {
    pub(crate) fn tenant_id(&self) -> TenantId {
        TenantId::try_new(&self.id).unwrap()
    }
}

/// The router and everything behind it.
pub(crate) struct World {
    pub(crate) router: Router,
    pub(crate) store: Arc<WatchedStore>,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) auth_cache: Arc<AuthCache>,
    pub(crate) received: Arc<Mutex<Vec<ReceivedWebhook>>>,
    /// What delivery knows of endpoints.
    pub(crate) troubles: Arc<Mutex<BTreeMap<TenantId, Trouble>>>,
    pub(crate) admin: String,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(Settings::default())
    }

    pub(crate) fn with(settings: Settings) -> Self {
        Self::over(settings, Arc::new(WatchedStore::new()))
    }

    /// A second process over the same store.
    pub(crate) fn over(settings: Settings, store: Arc<WatchedStore>) -> Self {
        let clock = Arc::new(TestClock(AtomicU64::new(START.as_millis())));
        let auth_cache = Arc::new(AuthCache::default());
        let received = Arc::new(Mutex::new(vec![]));
        let admin = ApiKey::from_entropy(&[9; 32]);
        let stores =
            Stores { tenants: store.clone(), events: store.clone(), dead_letters: store.clone() };
        let observed = received.clone();
        let troubles = Arc::new(Mutex::new(BTreeMap::new()));
        let known: Arc<Mutex<BTreeMap<TenantId, Trouble>>> = troubles.clone();
        let deps = Deps {
            clock: clock.clone(),
            entropy: Arc::new(TestEntropy::default()),
            admin_keys: vec![ApiKey::from_entropy(&[8; 32]).hash(), admin.hash()],
            auth_cache: auth_cache.clone(),
            receiver_observer: Some(Arc::new(move |webhook| {
                observed.lock().unwrap().push(webhook);
            })),
            endpoint_health: Some(Arc::new(move |tenant| {
                known.lock().unwrap().get(tenant).cloned()
            })),
        };
        let router = router(settings, stores, deps);
        let admin = admin.expose().to_owned();
        Self { router, store, clock, auth_cache, received, troubles, admin }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A tenant, made through the API.
    pub(crate) async fn tenant(&self, id: &str) -> Tenant {
        let body = serde_json::json!({"tenant_id": id, "target_url": TARGET}).to_string();
        let answer = self.post("/v1/tenants").key(&self.admin).body(body).send().await;
        assert_eq!(answer.status, 201, "{answer:?}");
        let text = |name: &str| answer.json()[name].as_str().unwrap().to_owned();
        Tenant { id: id.to_owned(), key: text("api_key"), secret: text("webhook_secret") }
    }

    /// An event, posted through the API.
    pub(crate) async fn event(&self, tenant: &Tenant) -> EventId {
        let answer = self.post("/v1/events").key(&tenant.key).body("{\"a\":1}").send().await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()["event_id"].as_str().unwrap().parse().unwrap()
    }

    /// Settles the delivery of an event that is owed fresh.
    pub(crate) async fn settle(
        &self,
        tenant: &Tenant,
        event: EventId,
        verdict: Verdict,
        resolution: Resolution,
    ) {
        let failed = verdict != Verdict::Delivered;
        let attempt = Attempt {
            number: 1,
            at: self.now(),
            duration_ms: 17,
            status_code: Some(if failed { 503 } else { 200 }),
            verdict,
            error: failed.then(|| "the endpoint answered 503".into()),
            response: Bytes::from_static(b"said \xFF so"),
            phases: PhaseTimings::default(),
        };
        let settlement = Settlement {
            key: DeliveryKey { tenant: tenant.tenant_id(), event, endpoint: EndpointId::DEFAULT },
            round: 0,
            attempts: 1,
            owed_as: OwedAs::Fresh,
            interrupted: 0,
            at: self.now(),
            attempt: Some(attempt),
            resolution,
        };
        self.store.inner.settle(vec![settlement]).await.unwrap();
    }

    /// Makes an event DLQ.
    pub(crate) async fn kill(&self, tenant: &Tenant, event: EventId) {
        let cause = DeadLetterCause::AttemptsExhausted;
        let resolution = Resolution::DeadLettered { cause };
        self.settle(tenant, event, server_error(), resolution).await;
    }

    pub(crate) fn call(&self, method: Method, path: &str) -> Call {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        Call { router: self.router.clone(), request }
    }

    pub(crate) fn get(&self, path: &str) -> Call {
        self.call(Method::GET, path)
    }

    pub(crate) fn post(&self, path: &str) -> Call {
        self.call(Method::POST, path)
    }

    pub(crate) fn patch(&self, path: &str) -> Call {
        self.call(Method::PATCH, path)
    }

    pub(crate) fn delete(&self, path: &str) -> Call {
        self.call(Method::DELETE, path)
    }
}

pub(crate) const fn server_error() -> Verdict {
    Verdict::Failed { class: ErrorClass::ServerError, retry_after_ms: None }
}

/// A request under construction.
pub(crate) struct Call {
    router: Router,
    request: Request<Body>,
}

impl Call {
    pub(crate) fn key(self, key: &str) -> Self {
        self.header("authorization", format!("Bearer {key}"))
    }

    /// Adds a header; the same name twice is two headers.
    pub(crate) fn header(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let mut call = self;
        let name: HeaderName = name.parse().unwrap();
        let value = HeaderValue::from_bytes(value.as_ref()).unwrap();
        call.request.headers_mut().append(name, value);
        call
    }

    pub(crate) fn body(mut self, body: impl Into<Body>) -> Self {
        *self.request.body_mut() = body.into();
        self
    }

    pub(crate) async fn send(self) -> Answer {
        let (method, path) = (self.request.method().clone(), self.request.uri().path().to_owned());
        let what = format!("{method} {path}");
        let head = method == Method::HEAD;
        let Ok(response) = self.router.oneshot(self.request).await;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let answer = Answer { status: parts.status.as_u16(), headers: parts.headers, body };
        if !head {
            answer.check(&what);
        }
        documented::check(&method, &path, answer.status);
        answer
    }
}

/// An answer that has passed the checks that every answer must pass.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    #[track_caller]
    pub(crate) fn detail(&self) -> String {
        self.json()["detail"].as_str().unwrap_or_else(|| panic!("{self:?}")).to_owned()
    }

    /// For all answers.
    fn check(&self, what: &str) {
        assert_eq!(self.header("x-content-type-options"), "nosniff", "{what}: {self:?}");
        assert!(!self.headers.contains_key("access-control-allow-origin"), "{what}");
        if self.status < 400 {
            return;
        }
        assert_eq!(self.header("content-type"), "application/json", "{what}: {self:?}");
        let Value::Object(error) = self.json() else { panic!("{what}: {self:?}") };
        assert_eq!(error.keys().collect::<Vec<_>>(), ["detail"], "{what}");
        assert!(!self.detail().is_empty(), "{what}");
        assert_eq!(self.status == 401, self.headers.contains_key("www-authenticate"), "{what}");
        let later = matches!(self.status, 429 | 503);
        assert_eq!(later, self.headers.contains_key("retry-after"), "{what}");
        assert_eq!(self.status == 405, self.headers.contains_key("allow"), "{what}");
    }
}
