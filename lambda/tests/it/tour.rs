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

async fn hooks(fleet: &Fleet, line: &str, key: &str, body: &str) -> Answer {
    call(fleet, Host::Hooks, line, key, body).await
}

/// What must be in no log.
const CANARY: &str = "canary-0xC0FFEE";
/// What a function may take, with the AWS SDK in it, in KiB. Binaries with debug information and
/// without the deployed ones' optimisation take more than those.
const MEMORY_KIB_MAX: u64 = 30 * 1024;

#[tokio::test]
async fn a_tenants_day_leaves_no_secret_in_any_log() {
    let world = World::start().await;
    let fleet = world.fleet();
    let admin = world.admin.expose();
    let new = json!({
        "tenant_id": "globex",
        "target_url": format!("https://example.com/{CANARY}"),
        "webhook_secret": format!("whsec_{CANARY}"),
    })
    .to_string();
    assert_eq!(hooks(&fleet, "POST /v1/tenants", world.key.expose(), &new).await.status, 403);
    let created = hooks(&fleet, "POST /v1/tenants", admin, &new).await;
    assert_eq!(created.status, 201, "{}", created.body);
    assert_eq!(hooks(&fleet, "POST /v1/tenants", admin, &new).await.status, 409);
    let key = text(&created, "api_key");
    post_and_look(&fleet, &key, world.key.expose()).await;
    change_and_clear(&fleet, &key).await;
    let second = rotate(&fleet, &key).await;
    who_is_kept_out(&fleet, &key).await;
    let health = call(&fleet, Host::Receiver, "GET /health", "", "").await;
    assert_eq!(health.status, 200);
    let shut = call(&fleet, Host::Receiver, "POST /disable", admin, "").await;
    assert_eq!(shut.status, 200, "{}", shut.body);
    for function in [&fleet.authorizer, &fleet.ingest, &fleet.receiver, &fleet.requeue] {
        let memory_kib = function.memory_kib().await.expect("it still runs");
        assert!(memory_kib < MEMORY_KIB_MAX, "{memory_kib} KiB");
    }
    check_logs(&fleet, &[CANARY, &key, &second, admin, world.key.expose(), "phk_"]).await;
}

async fn post_and_look(fleet: &Fleet, key: &str, others: &str) {
    let payload = json!({ "note": CANARY }).to_string();
    let posted = hooks(fleet, "POST /v1/events", key, &payload).await;
    assert_eq!(posted.status, 201, "{}", posted.body);
    let event = format!("GET /v1/events/{}", text(&posted, "event_id"));
    let found = hooks(fleet, &event, key, "").await;
    assert_eq!(found.body["event"]["payload"]["note"], CANARY, "{}", found.body);
    assert_eq!(hooks(fleet, &event, others, "").await.status, 404, "another tenant");
    let page = hooks(fleet, "GET /v1/events?status=PENDING&limit=1", key, "").await;
    assert_eq!(page.body["total_count"], 1, "{}", page.body);
    assert_eq!(hooks(fleet, "GET /v1/tenants/globex", key, "").await.status, 200);
    assert_eq!(hooks(fleet, "GET /v1/tenants/globex", others, "").await.status, 403);
}

async fn change_and_clear(fleet: &Fleet, key: &str) {
    let change = json!({ "webhook_secret": format!("{CANARY}-new") }).to_string();
    assert_eq!(hooks(fleet, "PATCH /v1/tenants/globex", key, &change).await.status, 200);
    let unknown = json!({ "note": CANARY }).to_string();
    assert_eq!(hooks(fleet, "PATCH /v1/tenants/globex", key, &unknown).await.status, 422);
    for line in ["GET /v1/admin/dlq/messages", "POST /v1/admin/dlq/purge"] {
        assert_eq!(hooks(fleet, line, key, "").await.status, 200, "{line}");
    }
    let requeued = hooks(fleet, "POST /v1/admin/dlq/requeue", key, "").await;
    assert_eq!(requeued.body, json!({ "requeued": 0, "failed": 0 }));
}

/// Makes a key and ends it.
async fn rotate(fleet: &Fleet, key: &str) -> String {
    let second = hooks(fleet, "POST /v1/tenants/globex/keys", key, "").await;
    assert_eq!(second.status, 201, "{}", second.body);
    let id = text(&second, "key_id");
    let second = text(&second, "api_key");
    assert_eq!(hooks(fleet, "GET /v1/events", &second, "").await.status, 200);
    let revoke = format!("DELETE /v1/tenants/globex/keys/{id}");
    assert_eq!(hooks(fleet, &revoke, key, "").await.status, 200);
    assert_eq!(hooks(fleet, "GET /v1/events", &second, "").await.status, 403);
    second
}

async fn who_is_kept_out(fleet: &Fleet, key: &str) {
    for (line, key, status) in [
        ("GET /v1/events", "", 401),
        ("GET /v1/events", "no-such-key", 403),
        ("GET /v1/events", "phk_mistyped", 401),
        ("GET /v1/events?limit=0", key, 400),
        ("GET /v1/nothing", key, 404),
        ("PUT /v1/events", key, 405),
        ("GET /v1/docs", "", 200),
        ("GET /v1/openapi.json", "", 200),
        ("GET /v1/docs/assets/favicon.png", "", 200),
    ] {
        assert_eq!(hooks(fleet, line, key, "").await.status, status, "{line} {key}");
    }
}

/// Every line is JSON with what is needed to find its request, and without any secret.
async fn check_logs(fleet: &Fleet, secrets: &[&str]) {
    let functions = [&fleet.authorizer, &fleet.ingest, &fleet.receiver, &fleet.requeue];
    let mut logs = Vec::new();
    for function in functions {
        let log = function.stop().await;
        for secret in secrets {
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
        logs.push(log);
    }
    let ingest = &logs[1];
    assert!(ingest.contains("\"tenant\":\"globex\""), "{ingest}");
    assert!(ingest.contains("/v1/events/{event_id}"), "{ingest}");
}
