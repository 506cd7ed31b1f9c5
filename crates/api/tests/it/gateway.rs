//! Behind a gateway: only the context says who sent a request, and a key that ended is noticed on
//! every route that changes or destroys.

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use http::{Method, Request};
use posthaste_api::{AuthCache, Caller, Deps, KeyLookup, Part, Settings, Stores, gateway};
use posthaste_domain::ApiKey;
use posthaste_ports::{Identity, PortError, TenantStore};
use tower::ServiceExt as _;

use crate::support::store::WatchedStore;
use crate::support::{Tenant, TestEntropy, World};

struct Keys(Arc<WatchedStore>);

#[async_trait]
impl KeyLookup for Keys {
    async fn identity_of(&self, key: &str) -> Result<Option<Identity>, PortError> {
        let Ok(key) = ApiKey::parse(key) else { return Ok(None) };
        self.0.identity(&key.hash()).await
    }
}

/// The same store behind a gateway.
fn behind(world: &World, part: Part) -> Router {
    let store = &world.store;
    let stores =
        Stores { tenants: store.clone(), events: store.clone(), dead_letters: store.clone() };
    let deps = Deps {
        clock: world.clock.clone(),
        entropy: Arc::new(TestEntropy::default()),
        admin_keys: vec![ApiKey::parse(&world.admin).unwrap().hash()],
        auth_cache: Arc::new(AuthCache::new(0)),
        receiver_observer: None,
        endpoint_health: None,
    };
    gateway(part, Settings::default(), stores, deps, Arc::new(Keys(store.clone())))
}

/// The status of a call by somebody, with a key in its header.
async fn status(router: &Router, line: (&Method, &str), caller: Option<Caller>, key: &str) -> u16 {
    let (method, path) = line;
    let path = path.replace("{tenant_id}", "acme").replace("{event_id}", "evt_x");
    let path = path.replace("{key_id}", "x").replace("{file}", "swagger.js");
    let mut request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
    let header = format!("Bearer {key}").parse().unwrap();
    request.headers_mut().insert("authorization", header);
    if let Some(caller) = caller {
        request.extensions_mut().insert(caller);
    }
    let Ok(response) = router.clone().oneshot(request).await;
    response.status().as_u16()
}

fn own(tenant: &Tenant) -> Option<Caller> {
    Some(Caller::Tenant(tenant.tenant_id()))
}

fn is_open(path: &str) -> bool {
    path.contains("/docs") || path.ends_with("/redoc") || path.ends_with("/openapi.json")
}

/// For all routes: a key alone opens none, because nobody has checked it.
#[tokio::test]
async fn without_a_context_every_route_is_shut() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    let router = behind(&world, Part::Hooks);
    let mut shut = 0;
    for (method, path) in Part::Hooks.routes() {
        for key in [&tenant.key, &world.admin] {
            let status = status(&router, (&method, path), None, key).await;
            assert_eq!(status == 401, !is_open(path), "{method} {path}: {status}");
            shut += usize::from(status == 401);
        }
    }
    assert_eq!(shut, 30, "15 routes, two keys");
    let router = behind(&world, Part::Receiver);
    for path in ["/enable", "/disable"] {
        let line = (&Method::POST, path);
        assert_eq!(status(&router, line, None, &world.admin).await, 401);
        assert_eq!(status(&router, line, own(&tenant), &world.admin).await, 403);
        assert_eq!(status(&router, line, Some(Caller::Admin), "any").await, 200);
    }
}

/// For all routes that change or destroy: the context of a key that ended, or of another key, is
/// worth nothing; the others trust it.
#[tokio::test]
async fn a_route_that_destroys_asks_again() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    let other = world.tenant("globex").await;
    let router = behind(&world, Part::Hooks);
    let destroys = [
        (Method::PATCH, "/v1/tenants/acme"),
        (Method::POST, "/v1/tenants/acme/keys"),
        (Method::DELETE, "/v1/tenants/acme/keys/x"),
        (Method::POST, "/v1/admin/dlq/requeue"),
        (Method::POST, "/v1/admin/dlq/purge"),
    ];
    for (method, path) in &destroys {
        let line = (method, *path);
        let good = status(&router, line, own(&tenant), &tenant.key).await;
        assert_ne!(good, 401, "{path}");
        for key in [&other.key, &world.admin, "phk_mistyped", "tenant_acme_key", "unknown"] {
            assert_eq!(status(&router, line, own(&tenant), key).await, 401, "{path} {key}");
        }
        assert_eq!(status(&router, line, Some(Caller::Admin), &tenant.key).await, 401, "{path}");
    }
    let hash = ApiKey::parse(&tenant.key).unwrap().hash();
    world.store.revoke_key(&tenant.tenant_id(), &hash).await.unwrap();
    for (method, path) in &destroys {
        assert_eq!(status(&router, (method, *path), own(&tenant), &tenant.key).await, 401);
    }
    let list = (&Method::GET, "/v1/events");
    assert_eq!(status(&router, list, own(&tenant), &tenant.key).await, 200, "within its time");
    world.store.fail(Some(PortError::Transient("down".to_owned())));
    let purge = (&Method::POST, "/v1/admin/dlq/purge");
    assert_eq!(status(&router, purge, own(&tenant), &tenant.key).await, 503, "never a 401");
}
