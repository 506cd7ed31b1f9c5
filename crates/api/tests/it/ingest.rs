//! `POST /v1/events`: what is taken, byte for byte, and what is not.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use posthaste_domain::{DeliveryKey, EndpointId, EventId};
use posthaste_ports::Journal as _;
use tokio::task::JoinSet;

use crate::support::{Answer, START, Tenant, World};

async fn stored(world: &World, tenant: &Tenant, event: EventId) -> Bytes {
    let key = DeliveryKey { tenant: tenant.tenant_id(), event, endpoint: EndpointId::DEFAULT };
    world.store.inner.payloads(&[key]).await.unwrap()[0].clone().unwrap()
}

fn event_id(answer: &Answer) -> EventId {
    answer.json()["event_id"].as_str().unwrap().parse().unwrap()
}

fn nested(depth: usize) -> String {
    format!("{}{{}}{}", "{\"a\":".repeat(depth - 1), "}".repeat(depth - 1))
}

/// For all lawful bodies: 201, and what is owed is what was posted, byte for byte.
#[tokio::test]
async fn a_lawful_event_is_stored_byte_for_byte() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    let full = format!("{{\"a\":\"{}\"}}", "x".repeat(256 * 1024 - 8));
    assert_eq!(full.len(), 256 * 1024);
    let keys: Vec<_> = (0..20_000).map(|n| format!("\"{n}\":{n}")).collect();
    let many_keys = format!("{{{}}}", keys.join(","));
    for body in [
        "{}",
        " \r\n{ \"b\" : 1.0e+2 , \"a\":-0 }\t\n",
        "{\"dup\":1,\"dup\":2}",
        "{\"lone\":\"\\ud800\",\"nul\":\"\\u0000\"}",
        "{\"big\":9223372036854775808,\"huge\":1e400}",
        "{\"ü\":\"日本\"}",
        &nested(128),
        &full,
        &many_keys,
    ] {
        let answer = world.post("/v1/events").key(&tenant.key).body(body.to_owned()).send().await;
        assert_eq!(answer.status, 201, "{body:.60}: {answer:?}");
        assert_eq!(answer.header("content-type"), "application/json");
        let json = answer.json();
        assert_eq!(json["status"], "PENDING");
        assert_eq!(json.as_object().unwrap().len(), 2);
        assert_eq!(event_id(&answer).created_at(), START);
        assert_eq!(stored(&world, &tenant, event_id(&answer)).await, body.as_bytes());
        // The detail shows the same document, whatever is in it.
        let path = format!("/v1/events/{}", event_id(&answer));
        let detail = world.get(&path).key(&tenant.key).send().await;
        assert_eq!(detail.status, 200);
        let text = String::from_utf8(detail.body.to_vec()).unwrap();
        assert!(text.contains(&format!("\"payload\":{},", body.trim())), "{text:.200}");
    }
}

/// For all bodies that are no event: a named refusal, and the store is not asked to keep anything.
#[tokio::test]
async fn what_is_no_event_is_refused_by_name() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    let too_long = format!("{{\"a\":\"{}\"}}", "x".repeat(256 * 1024 - 7));
    let cases: [(&[u8], u16, &str); 27] = [
        (b"", 400, "the body is empty"),
        (b"  \n", 400, "the body is empty"),
        (b"null", 422, "not a JSON object"),
        (b"[]", 422, "not a JSON object"),
        (b"[{\"a\":1}]", 422, "not a JSON object"),
        (b"\"text\"", 422, "not a JSON object"),
        (b"17", 422, "not a JSON object"),
        (b"true", 422, "not a JSON object"),
        (b"not json", 400, "not JSON (byte 0)"),
        (b"{\"a\":1", 400, "not JSON (byte 6)"),
        (b"{\"a\":1} trailing", 400, "not JSON (byte 8)"),
        (b"{\"a\":1}{}", 400, "not JSON (byte 7)"),
        (b"{\"a\":NaN}", 400, "not JSON (byte 5)"),
        (b"{\"a\":Infinity}", 400, "not JSON (byte 5)"),
        (b"{'a':1}", 400, "not JSON (byte 1)"),
        (b"{\"a\":\"\0\"}", 400, "not JSON (byte 6)"),
        (b"{\"a\":\"\xC3\x28\"}", 400, "not valid UTF-8 (byte 6)"),
        (b"\xEF\xBB\xBF{}", 400, "not JSON (byte 0)"),
        (b"\xFF\xFE{\0}\0", 400, "not valid UTF-8 (byte 0)"),
        (b"\x1f\x8b\x08\0{}", 400, "not valid UTF-8 (byte 1)"),
        (b"{\"a\":1,}", 400, "not JSON (byte 7)"),
        (b"{\"a\":01}", 400, "not JSON (byte 6)"),
        (b"a=1&b=2", 400, "not JSON (byte 0)"),
        (nested(129).leak().as_bytes(), 400, "nested deeper than 128 levels"),
        ("{\"a\":".repeat(52_000).leak().as_bytes(), 400, "nested deeper than 128 levels"),
        ("[".repeat(200_000).leak().as_bytes(), 400, "nested deeper than 128 levels"),
        (too_long.leak().as_bytes(), 413, "the body is longer than 262144 bytes"),
    ];
    for (body, status, detail) in cases {
        let answer = world.post("/v1/events").key(&tenant.key).body(body).send().await;
        let shown = String::from_utf8_lossy(&body[..body.len().min(40)]);
        assert_eq!((answer.status, &answer.detail()[..]), (status, detail), "{shown}");
    }
    assert_eq!(world.store.accepts.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn the_content_type_does_not_matter_and_compression_is_refused() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    let post = || world.post("/v1/events").key(&tenant.key).body("{}");
    for kind in ["text/plain", "application/json; charset=utf-16", "", "nonsense"] {
        assert_eq!(post().header("content-type", kind).send().await.status, 201, "{kind}");
    }
    assert_eq!(post().header("content-encoding", "identity").send().await.status, 201);
    for encoding in ["gzip", "br", "gzip, gzip", "identity, gzip", ""] {
        let answer = post().header("content-encoding", encoding).send().await;
        assert_eq!(answer.status, 415, "{encoding}");
    }
    let twice = post().header("content-encoding", "identity").header("content-encoding", "gzip");
    assert_eq!(twice.send().await.status, 415);
    assert_eq!(world.store.accepts.load(Ordering::SeqCst), 5, "only what was taken is stored");
}

#[tokio::test]
async fn one_key_and_body_is_one_event() {
    let world = World::new();
    let (acme, other) = (world.tenant("acme").await, world.tenant("other").await);
    let post = async |tenant: &Tenant, key: &str, body: &'static str| {
        let call = world.post("/v1/events").key(&tenant.key).header("idempotency-key", key);
        call.body(body).send().await
    };
    let first = post(&acme, "order-17", "{\"a\":1}").await;
    world.clock.advance(60_000);
    let again = post(&acme, "order-17", "{\"a\":1}").await;
    assert_eq!((first.status, again.status), (201, 201));
    assert_eq!(first.body, again.body);
    let conflict = post(&acme, "order-17", "{\"a\":2}").await;
    assert_eq!(conflict.status, 409);
    assert_eq!(conflict.detail(), "this Idempotency-Key came before with another body");
    // Another key, another tenant: other events.
    for (tenant, key) in [(&acme, "order-18"), (&other, "order-17")] {
        let answer = post(tenant, key, "{\"a\":1}").await;
        assert_eq!(answer.status, 201);
        assert_ne!(answer.body, first.body);
    }
    // A day after its first use the key is free.
    world.clock.advance(24 * 3_600_000);
    let later = post(&acme, "order-17", "{\"a\":2}").await;
    assert_eq!(later.status, 201);
    assert_ne!(later.body, first.body);
}

#[tokio::test]
async fn a_hundred_at_once_with_one_key_are_one_event() {
    let world = Arc::new(World::new());
    let tenant = world.tenant("acme").await;
    let mut tasks = JoinSet::new();
    for _ in 0..100 {
        let call = world.post("/v1/events").key(&tenant.key).header("idempotency-key", "k");
        tasks.spawn(call.body("{}").send());
    }
    let answers = tasks.join_all().await;
    assert!(answers.iter().all(|answer| answer.status == 201));
    assert!(answers.iter().all(|answer| answer.body == answers[0].body));
    let list = world.get("/v1/events").key(&tenant.key).send().await;
    assert_eq!(list.json()["total_count"], 1);
}

#[tokio::test]
async fn an_unlawful_idempotency_key_is_refused() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    let post = || world.post("/v1/events").key(&tenant.key).body("{}");
    let (longest, too_long) = ("k".repeat(255), "k".repeat(256));
    for good in ["k", "\"8e03978e-40d5\"", &longest] {
        assert_eq!(post().header("idempotency-key", good).send().await.status, 201, "{good}");
    }
    for bad in [&b""[..], too_long.as_bytes(), b"a b", b"a\tb", b"\xFF", "ü".as_bytes()] {
        let answer = post().header("idempotency-key", bad).send().await;
        assert_eq!(answer.status, 400, "{bad:?}");
        assert!(answer.detail().starts_with("Idempotency-Key must be"), "{answer:?}");
    }
    let twice = post().header("idempotency-key", "a").header("idempotency-key", "a");
    assert_eq!(twice.send().await.status, 400);
    assert_eq!(world.store.accepts.load(Ordering::SeqCst), 3, "only what was taken is stored");
}

#[tokio::test]
async fn ids_of_one_millisecond_differ() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..100 {
        ids.insert(world.event(&tenant).await);
    }
    assert_eq!(ids.len(), 100);
}
