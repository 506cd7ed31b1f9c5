//! HTTP itself: methods, paths, and headers that must mean nothing.

use http::Method;
use serde_json::Value;

use crate::support::{TARGET, World};

/// For all methods that a route does not have: 405 that names those it has.
#[tokio::test]
async fn another_method_is_refused_with_those_that_exist() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    let methods = ["TRACE", "CONNECT", "PUT", "DELETE", "OPTIONS", "PROPFIND", "get"];
    for method in methods {
        let method: Method = method.parse().unwrap();
        let answer = world.call(method.clone(), "/v1/events").key(&tenant.key).send().await;
        assert_eq!(answer.status, 405, "{method}");
        assert_eq!(answer.header("allow"), "POST,GET,HEAD", "{method}");
    }
    assert_eq!(world.get("/v1/admin/dlq/purge").send().await.status, 405);
    assert_eq!(world.get("/receiver/acme/webhook").send().await.status, 405);
}

#[tokio::test]
async fn head_is_a_get_without_a_body() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    let answer = world.call(Method::HEAD, "/v1/events").key(&tenant.key).send().await;
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    assert_eq!(world.call(Method::HEAD, "/v1/events").send().await.status, 401);
    assert_eq!(world.call(Method::HEAD, "/v1/admin/dlq/purge").send().await.status, 405);
}

/// For all other spellings of a path: there is no such route.
#[tokio::test]
async fn a_path_has_one_spelling() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    for path in [
        "/",
        "/v1",
        "/v1/",
        "//v1/events",
        "/v1//events",
        "/v1/events/",
        "/v1/%65vents",
        "/v1/events;x",
        "/v1/events;x=1",
        "/V1/events",
        "/v1/Events",
        "/v1/./events",
        "/v1/x/../events",
        "/v1/tenants/",
        "/v1/tenants/acme/",
        "/v1/tenants/acme/keys/",
        "/v1/admin",
        "/v1/nothing",
        "/v2/events",
        "/events",
        "/receiver",
        "/receiver/",
        "/receiver/acme",
        "/receiver/acme/webhook/",
        "/v1/docs/",
        "/v1/docs/assets/",
        "/metrics",
    ] {
        for method in [Method::GET, Method::POST] {
            let answer = world.call(method, path).key(&tenant.key).body("{}").send().await;
            assert_eq!(answer.status, 404, "{path}");
            assert_eq!(answer.detail(), "no such route", "{path}");
        }
    }
}

/// Headers that other servers obey mean nothing here.
#[tokio::test]
async fn overriding_headers_mean_nothing() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    let event = world.event(&tenant).await;
    for (name, value) in [
        ("x-http-method-override", "DELETE"),
        ("x-http-method", "POST"),
        ("x-original-url", "/v1/admin/dlq/purge"),
        ("x-rewrite-url", "/v1/admin/dlq/purge"),
        ("x-forwarded-host", "evil.example.com"),
        ("host", "evil.example.com"),
        ("x-forwarded-for", "127.0.0.1"),
        ("origin", "https://evil.example.com"),
        ("accept", "text/html"),
    ] {
        let call = world.get(&format!("/v1/events/{event}")).key(&tenant.key).header(name, value);
        let answer = call.send().await;
        assert_eq!(answer.status, 200, "{name}");
        assert_eq!(answer.header("content-type"), "application/json", "{name}");
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        assert!(!text.contains("evil"), "{name}");
    }
    // No preflight succeeds, so no other site's page can post.
    let preflight = world.call(Method::OPTIONS, "/v1/events");
    let preflight = preflight
        .header("origin", "https://evil.example.com")
        .header("access-control-request-method", "POST");
    assert_eq!(preflight.send().await.status, 405);
}

/// A whole round of a tenant's life leaves no secret in any answer but the two that create one.
#[tokio::test]
async fn secrets_are_in_no_answer_but_their_first() {
    let world = World::new();
    let wanted = serde_json::json!({
        "tenant_id": "acme", "target_url": TARGET, "webhook_secret": "canary-secret-1",
    });
    let made = world.post("/v1/tenants").key(&world.admin).body(wanted.to_string()).send().await;
    let key = made.json()["api_key"].as_str().unwrap().to_owned();
    let changed = "{\"webhook_secret\":\"canary-secret-2\"}";
    let bad_key = format!("{}x", &key[..key.len() - 1]);
    let mut texts = vec![];
    for call in [
        world.patch("/v1/tenants/acme").key(&key).body(changed),
        world.patch("/v1/tenants/acme").key(&key).body("{\"webhook_secret\":\"canary secret 3\"}"),
        world.get("/v1/tenants/acme").key(&key),
        world.get("/v1/tenants/acme/keys").key(&world.admin),
        world.get("/v1/events").key(&key),
        world.get("/v1/events").key(&bad_key),
        world.post("/v1/events").key(&key).body("{"),
        world.get("/v1/tenants/other").key(&key),
        world.post("/receiver/acme/webhook").header("stripe-signature", "t=1,v1=canary"),
    ] {
        let answer = call.send().await;
        texts.push(format!("{:?} {}", answer.headers, String::from_utf8_lossy(&answer.body)));
    }
    for text in texts {
        assert!(!text.contains("canary"), "{text}");
        assert!(!text.contains("phk_"), "{text}");
        assert!(!text.contains(&world.admin), "{text}");
    }
    let debug = format!("{:?}", posthaste_domain::ApiKey::parse(&key).unwrap());
    assert!(!debug.contains(&key));
    assert_ne!(made.json()["message"], Value::Null);
}
