//! Delivery options: set, shown, reset; refused with one line that says which field and why; and
//! the values of headers, which never come out again.

use std::sync::Arc;

use posthaste_domain::{DeliveryOptions, TenantId};
use posthaste_ports::TenantStore as _;
use serde_json::{Value, json};

use crate::support::{Answer, TARGET, Tenant, World};

/// Options that are not lawful: as JSON, the status, and how the line begins.
const REFUSED: [(&str, u16, &str); 34] = [
    ("7", 422, "delivery: not an object"),
    ("[]", 422, "delivery: not an object"),
    ("{}", 422, "delivery: give at least one option"),
    (r#"{"hurry":true}"#, 422, "delivery: an unknown option; timeout_ms,"),
    (r#"{"lifted_at":1}"#, 422, "delivery: an unknown option; timeout_ms,"),
    (r#"{"paused":true,"paused":false}"#, 422, "delivery: a name is given twice"),
    (r#"{"timeout_ms":999}"#, 422, "delivery.timeout_ms: 999 is outside of 1000 to 60000"),
    (r#"{"timeout_ms":-1}"#, 422, "delivery.timeout_ms: not a whole number from 1000 to 60000"),
    (r#"{"timeout_ms":1500.5}"#, 422, "delivery.timeout_ms: not a whole number from 1000"),
    (r#"{"timeout_ms":"2000"}"#, 422, "delivery.timeout_ms: not a whole number from 1000"),
    (r#"{"rate_per_s":0}"#, 422, "delivery.rate_per_s: 0 is outside of 1 to 100000"),
    (r#"{"in_flight_max":10001}"#, 422, "delivery.in_flight_max: 10001 is outside of 1 to 10000"),
    (r#"{"in_flight_max":1e30}"#, 422, "delivery.in_flight_max: not a whole number from 1"),
    (r#"{"paused":"yes"}"#, 422, "delivery.paused: neither true nor false"),
    (r#"{"retry":3}"#, 422, "delivery.retry: not an object"),
    (r#"{"retry":{}}"#, 422, "delivery.retry: give delays_ms, attempts_max or both"),
    (r#"{"retry":{"jitter":1}}"#, 422, "delivery.retry: an unknown field; delays_ms and"),
    (r#"{"retry":{"delays_ms":5}}"#, 422, "delivery.retry.delays_ms: not a list of milliseconds"),
    (r#"{"retry":{"delays_ms":[]}}"#, 422, "delivery.retry: a retry schedule needs at least one"),
    (r#"{"retry":{"delays_ms":[0]}}"#, 422, "delivery.retry: a retry delay of 0 ms is outside"),
    (r#"{"retry":{"delays_ms":[null]}}"#, 422, "delivery.retry.delays_ms: not whole numbers"),
    (r#"{"retry":{"attempts_max":null}}"#, 422, "delivery.retry.attempts_max: not a whole number"),
    (r#"{"retry":{"attempts_max":101}}"#, 422, "delivery.retry: 101 attempts are outside of 1"),
    (r#"{"headers":["hush"]}"#, 422, "delivery.headers: not an object"),
    (r#"{"headers":{"a":1}}"#, 422, "delivery.headers: a value is not a text"),
    (r#"{"headers":{"a: hush":""}}"#, 422, "delivery.headers: a header name has ASCII letters"),
    (r#"{"headers":{"a":"hush\r\nb: c"}}"#, 422, "delivery.headers: the value of a is refused"),
    (r#"{"headers":{"a":"h","a":"i"}}"#, 422, "delivery.headers: a name is given twice"),
    (r#"{"headers":{"a: hush":"","a: hush":""}}"#, 422, "delivery.headers: a name is given twice"),
    (r#"{"a: hush":""}"#, 422, "delivery: an unknown option"),
    (r#"{"retry":{"a: hush":""}}"#, 422, "delivery.retry: an unknown field"),
    // What a schema cannot say.
    (r#"{"headers":{"a":"h","A":"i"}}"#, 400, "delivery.headers: a is given twice"),
    (r#"{"headers":{"Host":"hush"}}"#, 400, "delivery.headers: host is refused: it is for"),
    (r#"{"headers":{"webhook-id":"hush"}}"#, 400, "delivery.headers: webhook-id is refused"),
];

fn full() -> Value {
    json!({
        "timeout_ms": 2_000,
        "retry": {"delays_ms": [5, 60_000], "attempts_max": 3},
        "rate_per_s": 7,
        "in_flight_max": 8,
        "headers": {"X-Team": "blue", "Authorization": "Bearer hush-hush"},
        "paused": true,
    })
}

fn shown_full() -> Value {
    json!({
        "timeout_ms": 2_000,
        "retry": {"delays_ms": [5, 60_000], "attempts_max": 3},
        "rate_per_s": 7,
        "in_flight_max": 8,
        "headers": ["authorization", "x-team"],
        "paused": true,
        "lifted_at": null,
    })
}

async fn patch(world: &World, tenant: &Tenant, delivery: impl ToString) -> Answer {
    let body = format!("{{\"delivery\":{}}}", delivery.to_string());
    world.patch("/v1/tenants/acme").key(&tenant.key).body(body).send().await
}

async fn shown(world: &World, tenant: &Tenant) -> Value {
    let answer = world.get("/v1/tenants/acme").key(&tenant.key).send().await;
    assert!(!String::from_utf8_lossy(&answer.body).contains("hush"), "{answer:?}");
    answer.json()["tenant"]["delivery"].clone()
}

async fn stored(world: &World) -> Arc<DeliveryOptions> {
    let acme = TenantId::try_new("acme").unwrap();
    Arc::clone(&world.store.inner.tenant(&acme).await.unwrap().unwrap().options)
}

/// For all options: what is set is kept and shown, but for the values of headers; `null` resets one
/// and leaves the others.
#[tokio::test]
async fn options_are_set_shown_and_reset_one_by_one() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    let answer = patch(&world, &tenant, full()).await;
    assert_eq!((answer.status, &answer.json()["message"]), (200, &json!("delivery changed")));
    let mut expected = shown_full();
    assert_eq!(shown(&world, &tenant).await, expected);
    let kept = stored(&world).await;
    let headers: Vec<_> = kept.headers.expose().collect();
    assert_eq!(headers, [("authorization", "Bearer hush-hush"), ("x-team", "blue")]);
    for (name, default) in [
        ("timeout_ms", Value::Null),
        ("retry", Value::Null),
        ("rate_per_s", Value::Null),
        ("in_flight_max", Value::Null),
        ("headers", json!([])),
        ("paused", json!(false)),
    ] {
        assert_eq!(patch(&world, &tenant, json!({name: null})).await.status, 200, "{name}");
        expected[name] = default;
        assert_eq!(shown(&world, &tenant).await, expected, "{name}");
    }
    assert!(stored(&world).await.is_default());
}

#[tokio::test]
async fn a_tenant_can_be_made_with_options() {
    let world = World::new();
    let wanted = json!({"tenant_id": "acme", "target_url": TARGET, "delivery": full()});
    let answer = world.post("/v1/tenants").key(&world.admin).body(wanted.to_string()).send().await;
    assert_eq!(answer.status, 201);
    let text = String::from_utf8_lossy(&answer.body);
    assert!(!text.contains("hush"), "{text}");
    let answer = world.get("/v1/tenants/acme").key(&world.admin).send().await;
    assert_eq!(answer.json()["tenant"]["delivery"], shown_full());
}

/// What is not said stays, whatever else changes.
#[tokio::test]
async fn other_changes_leave_the_options() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    patch(&world, &tenant, full()).await;
    let other = json!({"webhook_secret": "another-secret", "target_url": TARGET, "delivery": null});
    let call = world.patch("/v1/tenants/acme").key(&tenant.key).body(other.to_string());
    assert_eq!(call.send().await.status, 200);
    assert_eq!(shown(&world, &tenant).await, shown_full());
    let both = json!({"target_url": TARGET, "delivery": {"paused": false}}).to_string();
    let answer = world.patch("/v1/tenants/acme").key(&world.admin).body(both).send().await;
    assert_eq!(answer.json()["message"], "target_url and delivery changed");
    assert!(!stored(&world).await.paused);
    assert_eq!(patch(&world, &tenant, "null").await.status, 400, "nothing is changed");
}

/// For all options that are not lawful: refused with a line that names the field, at creation as at
/// change; nothing changes, and no value of a header is repeated.
#[tokio::test]
async fn options_that_are_not_lawful_are_refused_by_name() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    patch(&world, &tenant, full()).await;
    let before = stored(&world).await;
    let long = json!({"headers": {"a": "x".repeat(4_096)}}).to_string();
    let many: serde_json::Map<_, _> = (0..17).map(|n| (format!("x-{n}"), json!(""))).collect();
    let many = json!({"headers": many}).to_string();
    let more = [
        (&*many, 422, "delivery.headers: more than 16 headers"),
        (&*long, 400, "delivery.headers: names and values together are longer than 4096 bytes"),
    ];
    for (delivery, status, line) in REFUSED.into_iter().chain(more) {
        let answer = patch(&world, &tenant, delivery).await;
        assert_eq!(answer.status, status, "{delivery}: {answer:?}");
        let detail = answer.detail();
        assert!(detail.starts_with(line), "{delivery}: {detail}");
        assert!(!detail.contains("hush") && !detail.contains('\n'), "{delivery}: {detail}");
        let body = format!(
            "{{\"tenant_id\":\"another\",\"target_url\":\"{TARGET}\",\"delivery\":{delivery}}}"
        );
        let made = world.post("/v1/tenants").key(&world.admin).body(body).send().await;
        assert_eq!((made.status, made.detail()), (status, detail), "{delivery}");
    }
    assert_eq!(stored(&world).await, before);
    let another = TenantId::try_new("another").unwrap();
    assert_eq!(world.store.inner.tenant(&another).await, Ok(None));
}

/// The moment is kept and shown; nothing else changes, a pause least of all.
#[tokio::test]
async fn a_lift_is_kept_with_its_moment() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    patch(&world, &tenant, full()).await;
    let mut expected = shown_full();
    for key in [&tenant.key, &world.admin] {
        world.clock.advance(1_500);
        let now = world.now().to_rfc3339();
        let answer = world.post("/v1/tenants/acme/lift").key(key).send().await;
        assert_eq!(answer.status, 200);
        let json = answer.json();
        assert_eq!((&json["tenant_id"], &json["lifted_at"]), (&json!("acme"), &json!(now)));
        expected["lifted_at"] = json!(now);
        assert_eq!(shown(&world, &tenant).await, expected);
    }
    for (path, key, status) in [
        ("/v1/tenants/nobody/lift", &world.admin, 404),
        ("/v1/tenants/nobody/lift", &tenant.key, 403),
        ("/v1/tenants/%FF/lift", &world.admin, 404),
    ] {
        assert_eq!(world.post(path).key(key).send().await.status, status, "{path}");
    }
}

/// The document has the limits that hold.
#[test]
fn the_document_says_the_limits() {
    let document = serde_json::to_value(posthaste_api::openapi()).unwrap();
    let schemas = &document["components"]["schemas"];
    let options = &schemas["DeliveryOptions"];
    let properties = options["properties"].as_object().unwrap();
    let expected = ["headers", "in_flight_max", "paused", "rate_per_s", "retry", "timeout_ms"];
    let mut names: Vec<_> = properties.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, expected);
    let bounds = |name: &str| (&properties[name]["minimum"], &properties[name]["maximum"]);
    assert_eq!(bounds("timeout_ms"), (&json!(1_000), &json!(60_000)));
    assert_eq!(bounds("rate_per_s"), (&json!(1), &json!(100_000)));
    assert_eq!(bounds("in_flight_max"), (&json!(1), &json!(10_000)));
    assert_eq!(properties["headers"]["maxProperties"], 16);
    assert_eq!(options["additionalProperties"], false);
    for body in ["CreateTenant", "ChangeTenant"] {
        let delivery = schemas[body]["properties"]["delivery"].to_string();
        assert!(delivery.contains("#/components/schemas/DeliveryOptions"), "{delivery}");
    }
}
