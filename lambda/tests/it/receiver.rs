//! The receiver: signatures, its switch, and its pages on a host of its own.

use posthaste_domain::{SigningKey, WebhookSecret, stripe_signature};
use posthaste_ports::TenantStore as _;
use serde_json::{Value, json};

use crate::host::Invoked;
use crate::support::{
    Answer, PATIENCE, RECEIVER, SECRET, World, ask, now, proxy_event, refuses_what_is_hostile,
};

const BODY: &str = "{\"type\":\"order.paid\"}";

fn webhook(tenant: &str, signature: &str) -> Value {
    proxy_event(json!({
        "path": format!("/{tenant}/webhook"),
        "multiValueHeaders": { "Stripe-Signature": [signature] },
        "requestContext": {},
        "body": BODY,
    }))
}

fn signature(body: &str, ago_s: u64) -> String {
    let key = SigningKey::new(&WebhookSecret::try_new(SECRET).unwrap());
    let at = posthaste_domain::Timestamp::from_millis(now().as_millis() - ago_s * 1000);
    stripe_signature([&key], at, body.as_bytes())
}

#[tokio::test]
async fn a_webhook_is_verified() {
    let world = World::start().await;
    let function = world.function(RECEIVER);
    let right = signature(BODY, 0);
    let answer = ask(&function, &webhook("acme", &right)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.body, json!({ "status": "received", "tenant_id": "acme" }));
    let mut encoded = webhook("acme", &right);
    encoded["body"] = "eyJ0eXBlIjoib3JkZXIucGFpZCJ9".into();
    encoded["isBase64Encoded"] = true.into();
    assert_eq!(ask(&function, &encoded).await.status, 200, "the bytes are signed");
    for (tenant, signature) in [
        ("acme", String::new()),
        ("acme", "t=1,v1=00".to_owned()),
        ("acme", signature("{}", 0)),
        ("acme", signature(BODY, 302)),
        ("nobody", right.clone()),
        ("__GLOBAL_CONFIG__", right.clone()),
    ] {
        let Answer { status, body, .. } = ask(&function, &webhook(tenant, &signature)).await;
        let detail = json!({ "detail": "the webhook could not be verified" });
        assert_eq!((status, body), (401, detail), "{tenant} {signature}");
    }
}

#[tokio::test]
async fn reception_can_be_switched_off_by_the_admin() {
    let world = World::start().await;
    let function = world.function(RECEIVER);
    let switch = |to: &str, tenant: &str| {
        let authorizer = json!({ "tenantId": tenant, "status": "active", "plan": "x" });
        let context = json!({ "authorizer": authorizer });
        proxy_event(json!({ "path": format!("/{to}"), "requestContext": context, "body": null }))
    };
    assert_eq!(ask(&function, &switch("disable", "acme")).await.status, 403);
    let nobody = proxy_event(json!({ "path": "/disable", "requestContext": {} }));
    assert_eq!(ask(&function, &nobody).await.status, 401, "no context");
    assert!(world.tenants.reception_enabled().await.unwrap());
    assert_eq!(ask(&function, &switch("disable", "__ADMIN__")).await.status, 200);
    assert_eq!(ask(&function, &webhook("acme", &signature(BODY, 0))).await.status, 503);
    assert_eq!(ask(&function, &switch("enable", "__ADMIN__")).await.status, 200);
    assert_eq!(ask(&function, &webhook("acme", &signature(BODY, 0))).await.status, 200);
}

/// On its own host: no prefix in the routes, nor in the document.
#[tokio::test]
async fn its_pages_stand_at_the_root() {
    let world = World::start().await;
    let function = world.function(RECEIVER);
    let get = |path: &str| {
        proxy_event(
            json!({ "httpMethod": "GET", "path": path, "requestContext": {}, "body": null }),
        )
    };
    for path in ["/health", "/status", "/docs", "/redoc", "/docs/assets/swagger.js"] {
        assert_eq!(ask(&function, &get(path)).await.status, 200, "{path}");
    }
    for path in ["/receiver/health", "/v1/events", "/", "/docs/assets/none"] {
        assert_eq!(ask(&function, &get(path)).await.status, 404, "{path}");
    }
    let document = ask(&function, &get("/openapi.json")).await.body;
    let paths: Vec<_> = document["paths"].as_object().unwrap().keys().cloned().collect();
    assert!(paths.contains(&"/{tenant_id}/webhook".to_owned()), "{paths:?}");
    assert!(paths.iter().all(|path| !path.starts_with("/receiver")), "{paths:?}");
    let picture = function.invoke(get("/docs/assets/favicon.png").to_string(), PATIENCE).await;
    let Invoked::Answer(picture) = picture else { panic!("{picture:?}") };
    let picture: Value = serde_json::from_slice(&picture).unwrap();
    assert_eq!(picture["isBase64Encoded"], true);
    assert!(picture["body"].as_str().unwrap().starts_with("iVBORw0KGgo"), "a PNG");
}

#[tokio::test]
async fn a_hostile_event_is_an_error() {
    refuses_what_is_hostile(RECEIVER).await;
}
