//! `POST /v1/events/batch`: one answer for each entry, one durable step for all.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use posthaste_domain::{DeliveryKey, EndpointId};
use posthaste_ports::Journal as _;
use serde_json::{Value, json};

use crate::support::{Answer, Tenant, World};

async fn post(world: &World, tenant: &Tenant, body: impl Into<axum::body::Body>) -> Answer {
    world.post("/v1/events/batch").key(&tenant.key).body(body).send().await
}

async fn payload(world: &World, tenant: &Tenant, result: &Value) -> Bytes {
    let event = result["event_id"].as_str().unwrap().parse().unwrap();
    let key = DeliveryKey { tenant: tenant.tenant_id(), event, endpoint: EndpointId::DEFAULT };
    world.store.inner.payloads(&[key]).await.unwrap()[0].clone().unwrap()
}

/// For both forms: results in order, bytes as they stand, one store call.
#[tokio::test]
async fn entries_are_stored_as_they_stand_in_one_step() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    let entries = ["{\"a\" :1.0e+2}", "{ \"b\":[ {} ] }", "{\"ü\":\"\\ud800\"}"];
    for (n, body) in [
        format!("[{}]", entries.join(" ,\n")),
        format!(" {{\"events\" : [{}] }}\n", entries.join(",")),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = post(&world, &tenant, body).await;
        assert_eq!(answer.status, 207);
        let json = answer.json();
        assert_eq!(json.as_object().unwrap().len(), 1);
        let results = json["results"].as_array().unwrap();
        assert_eq!(results.len(), entries.len());
        for (result, entry) in results.iter().zip(entries) {
            assert_eq!(result["status"], "PENDING");
            assert_eq!(payload(&world, &tenant, result).await, entry.as_bytes());
        }
        assert_eq!(world.store.accepts.load(Ordering::SeqCst), n + 1);
    }
}

#[tokio::test]
async fn a_bad_entry_is_told_in_its_place_and_harms_no_other() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    let deep = format!("{}1{}", "{\"a\":".repeat(129), "}".repeat(129));
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(256 * 1024));
    let body = format!("[{{\"first\":1}},null,[],17,{deep},{long},{{\"last\":1}}]");
    let answer = post(&world, &tenant, body).await;
    assert_eq!(answer.status, 207);
    let json = answer.json();
    let results = json["results"].as_array().unwrap();
    assert_eq!(payload(&world, &tenant, &results[0]).await, "{\"first\":1}");
    assert_eq!(payload(&world, &tenant, &results[6]).await, "{\"last\":1}");
    let error = |status: u16, detail: &str| json!({"error": {"status": status, "detail": detail}});
    assert_eq!(
        results[1..6],
        [
            error(422, "not a JSON object"),
            error(422, "not a JSON object"),
            error(422, "not a JSON object"),
            error(400, "nested deeper than 128 levels"),
            error(413, "longer than 262144 bytes"),
        ]
    );
    // Nothing to store: the store is not asked.
    let answer = post(&world, &tenant, "[1,2]").await;
    assert_eq!(answer.status, 207);
    assert_eq!(world.store.accepts.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_batch_has_limits() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    let many = |count: usize| format!("[{}]", vec!["{}"; count].join(","));
    let answer = post(&world, &tenant, many(500)).await;
    assert_eq!(answer.json()["results"].as_array().unwrap().len(), 500);
    let answer = post(&world, &tenant, many(501)).await;
    let (status, detail) = (answer.status, answer.detail());
    assert_eq!((status, &detail[..]), (413, "the batch has more than 500 events"));
    // 5 MiB exactly, and one byte more.
    let entry = format!("{{\"a\":\"{}\"}}", "x".repeat(200 * 1024));
    let mut body = format!("[{}]", vec![&entry[..]; 25].join(","));
    let pad = 5 * 1024 * 1024 - body.len();
    body.push_str(&" ".repeat(pad));
    assert_eq!(post(&world, &tenant, body.clone()).await.status, 207);
    body.push(' ');
    assert_eq!(post(&world, &tenant, body).await.status, 413);
    assert_eq!(world.store.accepts.load(Ordering::SeqCst), 2, "only what was taken is stored");
}

/// For all headers that are refused: the whole batch is, and nothing of it is stored.
#[tokio::test]
async fn a_batch_with_a_bad_header_is_refused_whole() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    let too_long = "k".repeat(256);
    for (name, value, status) in [
        ("idempotency-key", "", 400),
        ("idempotency-key", "a b", 400),
        ("idempotency-key", &too_long[..], 400),
        ("content-encoding", "gzip", 415),
        ("content-encoding", "", 415),
    ] {
        let call = world.post("/v1/events/batch").key(&tenant.key).header(name, value);
        assert_eq!(call.body("[{}]").send().await.status, status, "{name}: {value:.9}");
    }
    assert_eq!(world.store.accepts.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn what_is_no_batch_is_refused_whole() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    for (body, status) in [
        ("", 400),
        ("[", 400),
        ("[{}", 400),
        ("[{},]", 400),
        ("[]", 400),
        ("{\"events\":[]}", 400),
        ("null", 422),
        ("17", 422),
        ("{}", 422),
        ("{\"events\":{}}", 422),
        ("{\"events\":[{}],\"more\":1}", 422),
        ("{\"events\":[{}],\"events\":[{}]}", 422),
    ] {
        assert_eq!(post(&world, &tenant, body).await.status, status, "{body}");
    }
    let invalid = [&b"[{\"a\":\""[..], b"\xFF", b"\"}]"].concat();
    assert_eq!(post(&world, &tenant, invalid).await.status, 400);
    assert_eq!(world.store.accepts.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_batch_sent_again_with_its_key_is_the_same_events() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    let send = async |body: &'static str| {
        let call = world.post("/v1/events/batch").key(&tenant.key).header("idempotency-key", "b");
        call.body(body).send().await.json()["results"].take()
    };
    let first = send("[{\"a\":1},{\"a\":1},{\"a\":3}]").await;
    assert_ne!(first[0]["event_id"], first[1]["event_id"]);
    let again = send("[{\"a\":1},{\"a\":2},{\"a\":3}]").await;
    assert_eq!(again[0], first[0]);
    assert_eq!(again[1]["error"]["status"], 409);
    assert_eq!(again[2], first[2]);
    // A single event under the same key is something else.
    let call = world.post("/v1/events").key(&tenant.key).header("idempotency-key", "b");
    assert_eq!(call.body("{\"x\":1}").send().await.status, 201);
}
