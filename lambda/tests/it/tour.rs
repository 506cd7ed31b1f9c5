//! The whole API through the gateway and all four functions: what is answered, who is kept out, and
//! that no log has a secret or a payload in it.

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::Request;
use serde_json::{Value, json};

use crate::front::{Fleet, Host};
use crate::support::World;

struct Answer {
    status: u16,
    body: Value,
}

async fn call(fleet: &Fleet, host: Host, line: &str, key: &str, body: &str) -> Answer {
    let (method, path) = line.split_once(' ').unwrap();
    let mut request = Request::builder().method(method).uri(path);
    if !key.is_empty() {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    let request = request.body(Bytes::from(body.to_owned())).unwrap();
    let (head, body) = fleet.answer(host, request).await.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Answer { status: head.status.as_u16(), body }
}

fn text(answer: &Answer, name: &str) -> String {
    answer.body[name].as_str().unwrap_or_else(|| panic!("{}", answer.body)).to_owned()
}

#[tokio::test]
async fn a_tenants_day_leaves_no_secret_in_any_log() {
    let world = World::start().await;
    let fleet = world.fleet();
    let hooks =
        async |line: &str, key: &str, body: &str| call(&fleet, Host::Hooks, line, key, body).await;
    let admin = world.admin.expose();
    let canary = "canary-0xC0FFEE";
    let new = json!({
        "tenant_id": "globex",
        "target_url": format!("https://example.com/{canary}"),
        "webhook_secret": format!("whsec_{canary}"),
    })
    .to_string();
    assert_eq!(hooks("POST /v1/tenants", world.key.expose(), &new).await.status, 403);
    let created = hooks("POST /v1/tenants", admin, &new).await;
    assert_eq!(created.status, 201, "{}", created.body);
    assert_eq!(hooks("POST /v1/tenants", admin, &new).await.status, 409);
    let key = text(&created, "api_key");

    let payload = json!({ "note": canary }).to_string();
    let posted = hooks("POST /v1/events", &key, &payload).await;
    assert_eq!(posted.status, 201, "{}", posted.body);
    let event = format!("GET /v1/events/{}", text(&posted, "event_id"));
    let found = hooks(&event, &key, "").await;
    assert_eq!(found.body["event"]["payload"]["note"], canary, "{}", found.body);
    assert_eq!(hooks(&event, world.key.expose(), "").await.status, 404, "another tenant");
    let page = hooks("GET /v1/events?status=PENDING&limit=1", &key, "").await;
    assert_eq!(page.body["total_count"], 1, "{}", page.body);
    assert_eq!(hooks("GET /v1/events?limit=0", &key, "").await.status, 400);
    assert_eq!(hooks("GET /v1/tenants/globex", &key, "").await.status, 200);
    assert_eq!(hooks("GET /v1/tenants/globex", world.key.expose(), "").await.status, 403);
    let change = json!({ "webhook_secret": format!("{canary}-new") }).to_string();
    assert_eq!(hooks("PATCH /v1/tenants/globex", &key, &change).await.status, 200);
    assert_eq!(hooks("PATCH /v1/tenants/globex", &key, &payload).await.status, 422);
    for line in ["GET /v1/admin/dlq/messages", "POST /v1/admin/dlq/purge"] {
        assert_eq!(hooks(line, &key, "").await.status, 200, "{line}");
    }
    let requeued = hooks("POST /v1/admin/dlq/requeue", &key, "").await;
    assert_eq!(requeued.body, json!({ "requeued": 0, "failed": 0 }));

    // A revoked key ends at once on a route that changes something, whatever the gateway remembers.
    let second = hooks("POST /v1/tenants/globex/keys", &key, "").await;
    assert_eq!(second.status, 201, "{}", second.body);
    let revoke = format!("DELETE /v1/tenants/globex/keys/{}", text(&second, "key_id"));
    assert!(matches!(hooks(&revoke, &key, "").await.status, 200 | 204));
    let second = text(&second, "api_key");
    assert_eq!(hooks("POST /v1/admin/dlq/purge", &second, "").await.status, 403, "denied");

    for (line, key, status) in [
        ("GET /v1/events", "", 401),
        ("GET /v1/events", "no-such-key", 403),
        ("GET /v1/events", "phk_mistyped", 401),
        ("GET /v1/nothing", &*key, 404),
        ("PUT /v1/events", &key, 405),
        ("GET /v1/docs", "", 200),
        ("GET /v1/openapi.json", "", 200),
        ("GET /v1/docs/assets/favicon.png", "", 200),
    ] {
        assert_eq!(hooks(line, key, "").await.status, status, "{line} {key}");
    }
    let receiver = call(&fleet, Host::Receiver, "GET /health", "", "").await;
    assert_eq!(receiver.status, 200);
    let shut = call(&fleet, Host::Receiver, "POST /disable", admin, "").await;
    assert_eq!(shut.status, 200, "{}", shut.body);

    let functions = [&fleet.authorizer, &fleet.ingest, &fleet.receiver, &fleet.requeue];
    for function in functions {
        let log = function.stop().await;
        for secret in [canary, &key, &second, admin, world.key.expose(), "phk_"] {
            assert!(!log.contains(secret), "{secret} in {log}");
        }
        let lines: Vec<Value> = log
            .lines()
            .map(|line| serde_json::from_str(line).expect("every line is JSON"))
            .collect();
        assert!(!lines.is_empty(), "a function that logs nothing shows nothing");
        for line in lines.iter().filter(|line| line["message"] == "answered") {
            assert!(line["span"]["request_id"].is_string(), "{line}");
            assert!(line["status"].is_number() && line["route"].is_string(), "{line}");
        }
    }
    let log = fleet.ingest.log();
    assert!(
        log.contains("\"tenant\":\"globex\"") && log.contains("/v1/events/{event_id}"),
        "{log}"
    );
}
