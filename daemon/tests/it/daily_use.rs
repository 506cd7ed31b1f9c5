//! What a tenant does every day, through the public API of the real process.

use http::Method;
use posthaste_domain::{SigningKey, Timestamp, WebhookSecret, verify_stripe};
use serde_json::json;

use crate::support::daemon::{Daemon, Home, Setup};
use crate::support::eventually;
use crate::support::sink::{Received, Sink};

/// Real GitHub payloads, 1 to 28 KB.
const PAYLOADS: &str = include_str!("../../../testdata/payloads/github-sample.ndjson");

/// For all payloads: what arrives is what was posted, byte for byte, signed, with every header.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payloads_arrive_byte_for_byte_and_signed() {
    let home = Home::new();
    let daemon = Daemon::start(&home, &Setup::default()).await;
    let sink = Sink::healthy().await;
    let body = json!({"tenant_id": "acme", "target_url": sink.url("hook")}).to_string();
    let tenant = daemon.admin_client().post("/v1/tenants", body).await.expect("an answer").json();
    let secret = WebhookSecret::try_new(tenant["webhook_secret"].as_str().unwrap()).unwrap();
    let mut client = daemon.client(tenant["api_key"].as_str().unwrap());
    // White space and odd numbers must survive too: nothing is parsed and written again.
    let odd = "  {\"a\" :1.0e+2,\r\n \"ü\":\"\\u00fc\", \"a\":1}\n";
    let mut posted = Vec::new();
    for payload in PAYLOADS.lines().chain([odd]) {
        let answer = client.post("/v1/events", payload.to_owned()).await.expect("an answer");
        assert_eq!(answer.status, 201, "{:?}", answer.body);
        assert_eq!(answer.json()["status"], "PENDING");
        posted.push((answer.json()["event_id"].as_str().unwrap().to_owned(), payload));
    }
    eventually("all arrive", async || sink.count() == posted.len()).await;
    let received = sink.by_event();
    for (event, payload) in posted {
        let [only] = received[&event].as_slice() else { panic!("not once: {event}") };
        assert_eq!(only.body, payload.as_bytes());
        check_headers(only, &event, &secret);
    }
}

fn check_headers(received: &Received, event: &str, secret: &WebhookSecret) {
    let header = |name| received.headers[name].to_str().expect("text");
    assert_eq!(header("content-type"), "application/json");
    assert!(header("user-agent").starts_with("posthaste/"));
    assert_eq!(header("webhook-id"), event);
    assert_eq!(header("webhook-attempt"), "1");
    let at = Timestamp::from_millis(
        header("webhook-timestamp").parse::<u64>().expect("a number") * 1000,
    );
    let key = SigningKey::new(secret);
    assert_eq!(verify_stripe(header("stripe-signature"), [&key], &received.body, at), Ok(()));
}

/// A rotated secret signs beside the new one; nothing fails while receivers change over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotated_secret_signs_beside_the_new_one() {
    let home = Home::new();
    let daemon = Daemon::start(&home, &Setup::default()).await;
    let sink = Sink::healthy().await;
    let key = daemon.tenant("acme", &sink.url("hook")).await;
    let mut client = daemon.client(&key);
    for (n, secret) in ["first-secret", "second-secret"].into_iter().enumerate() {
        let change = json!({"webhook_secret": secret}).to_string();
        let path = "/v1/tenants/acme";
        let answer = client.send(Method::PATCH, path, &[], change.into()).await.expect("an answer");
        assert_eq!(answer.status, 200, "{:?}", answer.body);
        client.post("/v1/events", "{}").await.expect("an answer");
        eventually("it arrives", async || sink.count() == n + 1).await;
    }
    let last = sink.received().pop().unwrap();
    let header = last.headers["stripe-signature"].to_str().unwrap().to_owned();
    // Newest first: second, first, and the generated one of the creation.
    assert_eq!(header.matches("v1=").count(), 3, "{header}");
    let at: u64 = last.headers["webhook-timestamp"].to_str().unwrap().parse().unwrap();
    for secret in ["first-secret", "second-secret"] {
        let key = SigningKey::new(&WebhookSecret::try_new(secret).unwrap());
        let at = Timestamp::from_millis(at * 1000);
        assert_eq!(verify_stripe(&header, [&key], &last.body, at), Ok(()));
    }
}

/// The built-in receiver takes what the daemon delivers to it, and refuses what it did not sign.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_built_in_receiver_verifies_deliveries() {
    let home = Home::new();
    let daemon = Daemon::start(&home, &Setup::default()).await;
    let target = format!("http://{}/receiver/acme/webhook", daemon.api);
    let key = daemon.tenant("acme", &target).await;
    let mut client = daemon.client(&key);
    let event = client.post("/v1/events", "{}").await.expect("an answer").json();
    let path = format!("/v1/events/{}", event["event_id"].as_str().unwrap());
    eventually("delivered", async || {
        client.get(&path).await.expect("an answer").json()["event"]["status"] == "DELIVERED"
    })
    .await;
    let forged = [("stripe-signature", "t=1,v1=00")];
    let answer = client
        .send(Method::POST, "/receiver/acme/webhook", &forged, "{}".into())
        .await
        .expect("an answer");
    assert_eq!(answer.status, 401);
}

/// The same key and body a hundred times at once is one event; another tenant's is another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_idempotency_key_is_one_event() {
    let home = Home::new();
    let daemon = Daemon::start(&home, &Setup::default()).await;
    let sink = Sink::healthy().await;
    let key = daemon.tenant("acme", &sink.url("hook")).await;
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let mut client = daemon.client(&key);
            #[expect(clippy::disallowed_methods, reason = "a test's own task, awaited below")]
            tokio::spawn(async move {
                let key = [("idempotency-key", "order-17")];
                let body = "{\"a\":1}".into();
                client.send(Method::POST, "/v1/events", &key, body).await.expect("an answer")
            })
        })
        .collect();
    let mut events = std::collections::BTreeSet::new();
    for task in tasks {
        let answer = task.await.expect("no panic");
        assert_eq!(answer.status, 201);
        events.insert(answer.json()["event_id"].as_str().unwrap().to_owned());
    }
    assert_eq!(events.len(), 1);
    let mut client = daemon.client(&key);
    let other = [("idempotency-key", "order-17")];
    let answer = client
        .send(Method::POST, "/v1/events", &other, "{\"a\":2}".into())
        .await
        .expect("an answer");
    assert_eq!(answer.status, 409);
    eventually("delivered", async || sink.count() >= 1).await;
    assert_eq!(sink.count(), 1);
}
