//! The router, over stores in memory, with chance and time that are always the same.
//!
//! A world is made anew for every input but those that changed nothing, so that an input does the
//! same whatever ran before.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use posthaste_api::{AuthCache, Clock, Deps, Entropy, Settings, Stores, router};
use posthaste_domain::{ApiKey, TargetUrl, TenantId, Timestamp, WebhookSecret};
use posthaste_ports::memory::{MemoryStore, RecordingSink};
use posthaste_ports::{NewTenant, TenantStore as _};
use tokio::runtime::{Builder, Runtime};
use tower::util::BoxCloneSyncService;
use tower::{ServiceExt as _, service_fn};

pub(super) type Body = Full<Bytes>;

/// The time in every world.
pub(super) const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);
/// The limit of bodies: small, so that a fuzzer reaches it.
pub(super) const BODY_BYTES_MAX: usize = 1024;
/// The tenant whose requests these are.
pub(super) const TENANT: &str = "acme";
const OTHER_TENANT: &str = "other";
/// What signs its deliveries.
pub(super) const SECRET: &str = "the-secret-of-the-tenant";

/// Whose key a request has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whose(u8);

pub(super) const OWN: Whose = Whose(1);
const OTHER: Whose = Whose(2);
pub(super) const ADMIN: Whose = Whose(3);

impl Whose {
    fn key(self) -> ApiKey {
        ApiKey::from_entropy(&[self.0; 32])
    }
}

pub(super) struct World {
    runtime: Runtime,
    router: BoxCloneSyncService<Request<Body>, Response<Bytes>, String>,
    sink: Arc<RecordingSink>,
    received: Arc<Mutex<Option<Bytes>>>,
    touched: bool,
}

/// An answer that passed what every answer must pass.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn body_text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Runs a target in a world in which nothing has happened.
pub(super) fn with_world(target: impl FnOnce(&mut World)) {
    thread_local! {
        static KEPT: RefCell<Option<World>> = const { RefCell::new(None) };
    }
    let kept = KEPT.take().filter(|world| !world.touched);
    let mut world = kept.unwrap_or_else(World::new);
    target(&mut world);
    KEPT.set(Some(world));
}

impl World {
    fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_time().build();
        let runtime = runtime.expect("a runtime without I/O takes nothing that can be missing");
        let sink = Arc::new(RecordingSink::default());
        let store = Arc::new(MemoryStore::new(sink.clone()));
        for (id, whose) in [(TENANT, OWN), (OTHER_TENANT, OTHER)] {
            let created = runtime.block_on(store.create(tenant(id, whose)));
            created.expect("a tenant can be made");
        }
        let received = Arc::new(Mutex::new(None));
        let heard = received.clone();
        let deps = Deps {
            clock: Arc::new(Still),
            entropy: Arc::new(Counter::default()),
            admin_keys: vec![ADMIN.key().hash()],
            auth_cache: Arc::new(AuthCache::new(64)),
            receiver_observer: Some(Arc::new(move |webhook| {
                *heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(webhook.body);
            })),
            endpoint_health: None,
        };
        let settings = Settings {
            body_bytes_max: BODY_BYTES_MAX,
            batch_bytes_max: 4 * BODY_BYTES_MAX,
            batch_events_max: 8,
            receiver_body_bytes_max: BODY_BYTES_MAX,
            replays_remembered_max: 64,
            ..Settings::default()
        };
        let stores = Stores { tenants: store.clone(), events: store.clone(), dead_letters: store };
        let routes = router(settings, stores, deps);
        let router = BoxCloneSyncService::new(service_fn(move |request: Request<Body>| {
            let routes = routes.clone();
            async move {
                let Ok(response) = routes.oneshot(request).await;
                let (head, body) = response.into_parts();
                let body = body.collect().await.map_err(|broken| format!("{broken:?}"))?;
                Ok(Response::from_parts(head, body.to_bytes()))
            }
        }));
        Self { runtime, router, sink, received, touched: false }
    }

    /// A request with somebody's key.
    pub(super) fn request(
        &self,
        method: Method,
        target: &str,
        whose: Whose,
        body: &[u8],
    ) -> Request<Body> {
        let bearer = format!("Bearer {}", whose.key().expose());
        let built = Request::builder().method(method).uri(target).header("authorization", bearer);
        let built = built.header("content-type", "application/json");
        built.body(Body::from(body.to_vec())).expect("targets of ours are URIs")
    }

    /// A request without a body, where the target is one.
    pub(super) fn get(&self, target: &str, whose: Whose) -> Option<Request<Body>> {
        let target: http::Uri = target.parse().ok()?;
        let mut request = self.request(Method::GET, "/", whose, b"");
        *request.uri_mut() = target;
        Some(request)
    }

    /// A request without a key, where the target is one.
    pub(super) fn post(&self, target: &str, body: &[u8]) -> Option<Request<Body>> {
        let request = Request::builder().method(Method::POST).uri(target);
        request.body(Body::from(body.to_vec())).ok()
    }

    /// A header's value with the keys that it names; says whether it names one.
    pub(super) fn with_keys(&self, value: &str) -> (String, bool) {
        let mut named = value.to_owned();
        for (name, whose) in [("{own}", OWN), ("{other}", OTHER), ("{admin}", ADMIN)] {
            if named.contains(name) {
                named = named.replace(name, whose.key().expose());
            }
        }
        let is_named = named != value;
        (named, is_named)
    }

    pub(super) fn send(&mut self, request: Request<Body>) -> Answer {
        let what = format!("{} {}", request.method(), request.uri());
        let is_head = request.method() == Method::HEAD;
        let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
        let answered = self.runtime.block_on(self.router.clone().oneshot(request));
        let (head, body) = answered.expect("a router answers").into_parts();
        let answer = Answer { status: head.status.as_u16(), body };
        self.touched |= changes && answer.status < 400;
        assert!(answer.status < 500, "{what}: {answer:?}");
        check(&answer, &head.headers, is_head, &what);
        answer
    }

    /// Payloads of what has become owed since.
    pub(super) fn arrived(&self) -> Vec<Option<Bytes>> {
        self.sink.take().into_iter().map(|arrival| arrival.owed.payload).collect()
    }

    /// What the receiver has taken since.
    pub(super) fn received(&self) -> Option<Bytes> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// For all answers: no sniffing, and a refusal says why in one form.
fn check(answer: &Answer, headers: &HeaderMap, is_head: bool, what: &str) {
    let is = |name: &str, value: &str| headers.get(name).is_some_and(|found| found == value);
    if is_head || answer.status == 304 {
        return;
    }
    assert!(is("x-content-type-options", "nosniff"), "{what}: {answer:?}");
    if answer.status >= 400 {
        assert!(is("content-type", "application/json"), "{what}: {answer:?}");
        let error: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert!(error["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{what}");
    }
}

fn tenant(id: &str, whose: Whose) -> NewTenant {
    let target = TargetUrl::parse_stored("https://example.com/hook").expect("a target");
    NewTenant {
        id: TenantId::try_new(id).expect("a tenant's id"),
        shard_key: target.shard_key(),
        target,
        secret: WebhookSecret::try_new(SECRET).expect("a secret"),
        plan: "standard".into(),
        key: whose.key().hash(),
        options: Arc::default(),
        at: START,
    }
}

/// Time that stands still.
struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        START
    }
}

/// Chance that is always the same.
#[derive(Default)]
struct Counter(AtomicU64);

impl Entropy for Counter {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let count = self.0.fetch_add(1, Ordering::Relaxed);
            let mixed = count.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            chunk.copy_from_slice(&mixed.to_le_bytes()[..chunk.len()]);
        }
    }
}
