//! When the store cannot: every route says when to come back, and promises nothing.

use http::Method;
use posthaste_ports::PortError;

use crate::support::{Call, World};

/// Each route that asks the store, with a request that would succeed.
fn calls(world: &World, key: &str, failure: &PortError) -> Vec<Call> {
    let event = "evt_01KAV2W8C0T6Q5N9J4E8D7B3ZX";
    let tenant = "{\"tenant_id\":\"new\",\"target_url\":\"https://example.com/\"}";
    let call = |method: Method, path: &str| world.call(method, path).key(key);
    let mut calls = vec![
        call(Method::POST, "/v1/events").body("{}"),
        call(Method::POST, "/v1/events/batch").body("[{}]"),
        call(Method::GET, "/v1/events"),
        call(Method::GET, &format!("/v1/events/{event}")),
        call(Method::POST, &format!("/v1/events/{event}/retry")),
        call(Method::GET, "/v1/tenants/acme"),
        call(Method::PATCH, "/v1/tenants/acme").body("{\"webhook_secret\":\"another-secret\"}"),
        call(Method::GET, "/v1/tenants/acme/keys"),
        call(Method::POST, "/v1/tenants/acme/keys"),
        call(Method::DELETE, "/v1/tenants/acme/keys/000000000000"),
        call(Method::GET, "/v1/admin/dlq/messages"),
        call(Method::POST, "/v1/admin/dlq/requeue"),
        call(Method::POST, "/v1/admin/dlq/purge"),
        world.post("/v1/tenants").key(&world.admin).body(tenant),
        world.post("/receiver/enable").key(&world.admin),
        world.post("/receiver/disable").key(&world.admin),
    ];
    if !matches!(failure, PortError::Full) {
        // These only read: a full disk does not keep them from it.
        calls.push(call(Method::POST, "/receiver/acme/webhook").body("{}"));
        calls.push(call(Method::GET, "/receiver/status"));
    }
    calls
}

/// For all routes and all failures, with a key that is cached and with one that is not: 503 or
/// 507, `Retry-After` on 503, and not a word of the store's.
#[tokio::test]
async fn every_route_tells_every_failure() {
    for cached in [true, false] {
        for (failure, status, retry_after) in [
            (PortError::Transient("disk on fire".into()), 503, "1"),
            (PortError::Throttled { retry_after_ms: 2500 }, 503, "3"),
            (PortError::Permanent("disk on fire".into()), 503, "5"),
            (PortError::Full, 507, ""),
        ] {
            let world = World::new();
            let tenant = world.tenant("acme").await;
            if cached {
                assert_eq!(world.get("/v1/events").key(&tenant.key).send().await.status, 200);
            }
            world.store.fail(Some(failure.clone()));
            for (n, call) in calls(&world, &tenant.key, &failure).into_iter().enumerate() {
                let answer = call.send().await;
                assert_eq!(answer.status, status, "{n} {failure:?}");
                assert_eq!(answer.header("retry-after"), retry_after, "{n} {failure:?}");
                assert!(!answer.detail().contains("fire"), "{answer:?}");
            }
            // Nothing was promised.
            world.store.fail(None);
            let list = world.get("/v1/events").key(&tenant.key).send().await;
            assert_eq!(list.json()["total_count"], 0);
        }
    }
}

/// The key of page tokens is not made twice, and a failure to keep it is no page.
#[tokio::test]
async fn a_page_needs_the_token_key() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    let (first, _) = (world.event(&tenant).await, world.event(&tenant).await);
    let page = || world.get("/v1/events?limit=1").key(&tenant.key);
    let one = page().send().await.json()["next_token"].take();
    let again = page().send().await.json()["next_token"].take();
    assert!(one.is_string());
    assert_eq!(one, again, "same key, same time, same token");
    assert_ne!(first.to_string(), one);
}

/// A key may be cached longer than its tenant exists.
#[tokio::test]
async fn an_event_of_a_tenant_that_is_gone_is_not_found() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    world.store.forget_tenants();
    let answer = world.post("/v1/events").key(&tenant.key).body("{}").send().await;
    assert_eq!((answer.status, &answer.detail()[..]), (404, "no such tenant"));
    let batch = world.post("/v1/events/batch").key(&tenant.key).body("[{},{}]").send().await;
    let gone = serde_json::json!({"error": {"status": 404, "detail": "no such tenant"}});
    assert_eq!(batch.json()["results"], serde_json::json!([gone, gone]));
}
