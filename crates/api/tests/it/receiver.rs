//! The receiver: what is verified, what is refused (all alike), what is a replay.

use std::sync::Arc;

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use posthaste_api::Settings;
use posthaste_domain::{
    EventId, SigningKey, Timestamp, WebhookSecret, standard_signature, stripe_signature,
};
use serde_json::json;

use crate::support::{Answer, Call, START, Tenant, World};

const BODY: &[u8] = b"{\"type\" : \"order.paid\"}";
const WEBHOOK: &str = "/receiver/acme/webhook";

fn signing(secret: &str) -> SigningKey {
    SigningKey::new(&WebhookSecret::try_new(secret).unwrap())
}

fn sign(secret: &str, at: Timestamp, body: &[u8]) -> String {
    stripe_signature([&signing(secret)], at, body)
}

async fn send(world: &World, header: &str, body: &[u8]) -> Answer {
    let call = world.post(WEBHOOK).header("stripe-signature", header);
    call.body(body.to_vec()).send().await
}

/// A delivery as the daemon makes it.
fn delivery(world: &World, tenant: &Tenant, event: EventId, body: &[u8]) -> Call {
    let key = signing(&tenant.secret);
    let at = world.now();
    world
        .post(&format!("/receiver/{}/webhook", tenant.id))
        .header("stripe-signature", stripe_signature([&key], at, body))
        .header("webhook-id", event.to_string())
        .header("webhook-timestamp", at.as_secs().to_string())
        .header("webhook-signature", standard_signature([&key], event, at, body))
        .header("webhook-attempt", "3")
        .body(body.to_vec())
}

fn seconds(offset: i64) -> Timestamp {
    Timestamp::from_millis(START.as_millis().checked_add_signed(offset * 1000).unwrap())
}

#[tokio::test]
async fn a_verified_webhook_is_received_and_observed() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    let event = EventId::from_parts(START, 7);
    let answer = delivery(&world, &tenant, event, BODY).send().await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json(), json!({"status": "received", "tenant_id": "acme"}));
    let received = world.received.lock().unwrap();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].tenant, tenant.tenant_id());
    assert_eq!(received[0].event, Some(event));
    assert_eq!(received[0].attempt, Some(3));
    assert_eq!(received[0].body, BODY);
    assert_eq!(received[0].at, START);
}

/// For all bodies: what is signed is the bytes as they came, whatever they are.
#[tokio::test]
async fn any_bytes_that_are_signed_are_received() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    let full = vec![b'x'; 1024 * 1024];
    for body in [&b""[..], b"\xEF\xBB\xBF{}", b"\xFF\xFE\x00", b"not json", &full] {
        let answer = send(&world, &sign(&tenant.secret, START, body), body).await;
        assert_eq!(answer.status, 200, "{}", body.len());
    }
    let zipped = sign(&tenant.secret, START, b"\x1f\x8b...");
    let call = world.post(WEBHOOK).header("stripe-signature", zipped);
    let call = call.header("content-encoding", "gzip").body(&b"\x1f\x8b..."[..]);
    assert_eq!(call.send().await.status, 200);
    let too_long = vec![b'x'; 1024 * 1024 + 1];
    let answer = send(&world, &sign(&tenant.secret, START, &too_long), &too_long).await;
    assert_eq!(answer.status, 413);
}

/// Headers that are no right signature of [`BODY`] by `secret` at [`START`].
fn wrong_headers(secret: &str) -> Vec<String> {
    let right = sign(secret, START, BODY);
    let (time, digest) = right.split_once(",v1=").unwrap();
    let wrong = "0".repeat(64);
    let many_wrong = format!("{time}{}", format!(",v1={wrong}").repeat(1000));
    let late_right = format!("{time}{},v1={digest}", format!(",v1={wrong}").repeat(10));
    let flipped =
        format!("{time},v1={}{}", if digest.starts_with('0') { "1" } else { "0" }, &digest[1..]);
    let number = START.as_secs();
    let hex = |at: usize| u8::from_str_radix(&digest[at..at + 2], 16).unwrap();
    let digest_bytes: Vec<u8> = (0..64).step_by(2).map(hex).collect();
    vec![
        String::new(),
        "t=1".into(),
        "v1=".into(),
        "t=,v1=".into(),
        "v1,".into(),
        "garbage".into(),
        time.into(),
        format!("v1={digest}"),
        format!("{time},v1={}", &digest[..31]),
        format!("{time},v1={}", &digest[..33]),
        format!("{time},v1={}", &digest[..62]),
        format!("{time},v1={}", &digest[..63]),
        format!("{time},v1="),
        format!("{time},v1={digest}0"),
        format!("{time},v1={digest}00"),
        format!("{time},v1={}", &digest[..2]),
        format!("{time},v1={}", digest.replace(&digest[..1], "g")),
        format!("{time},v1={}", digest.to_uppercase()),
        format!("{time},v1={}", STANDARD.encode(digest_bytes)),
        format!("{time}, v1={digest}"),
        format!("{time} ,v1={digest}"),
        format!("{time},v1= {digest}"),
        format!(" {time},v1={digest}"),
        format!("{time};v1={digest}"),
        format!("{time},v0={digest}"),
        format!("{time},V1={digest}"),
        format!("{time},{time},v1={digest}"),
        format!("t=+{number},v1={digest}"),
        format!("t=0{number},v1={digest}"),
        format!("t={number}.0,v1={digest}"),
        format!("t=1e9,v1={digest}"),
        format!("t=-1,v1={digest}"),
        format!("t=99999999999999999999,v1={digest}"),
        flipped,
        many_wrong,
        late_right,
        sign("another-secret", START, BODY),
        sign(secret, START, b"{\"type\":\"order.paid\"}"),
        sign(secret, seconds(-301), BODY),
        sign(secret, seconds(301), BODY),
    ]
}

/// For all headers but right ones: 401, one and the same answer.
#[tokio::test]
async fn every_failure_has_the_same_answer() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    let other = world.tenant("other").await;
    let right = sign(&tenant.secret, START, BODY);
    let mut headers = wrong_headers(&tenant.secret);
    headers.push(sign(&other.secret, START, BODY));
    let missing = world.post(WEBHOOK).body(BODY).send().await;
    assert_eq!(missing.status, 401);
    for header in headers {
        let answer = send(&world, &header, BODY).await;
        assert_eq!(answer.status, 401, "{header:.200}");
        assert_eq!((answer.headers, answer.body), (missing.headers.clone(), missing.body.clone()));
    }
    let arabic = "t=١٧٦٣٩,v1=00";
    let calls = [
        world.post(WEBHOOK).header("stripe-signature", &right).header("stripe-signature", &right),
        world.post(WEBHOOK).header("stripe-signature", arabic),
        world.post(WEBHOOK).header("webhook-signature", &right),
        world.post("/receiver/other/webhook").header("stripe-signature", &right),
    ];
    for call in calls {
        let answer = call.body(BODY).send().await;
        assert_eq!((answer.status, answer.body), (401, missing.body.clone()));
    }
    assert!(world.received.lock().unwrap().is_empty());
}

/// For all times within 300 s either way: received.
#[tokio::test]
async fn the_time_may_be_off_by_the_tolerance() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    for (offset, status) in
        [(-301, 401), (-300, 200), (-299, 200), (0, 200), (299, 200), (300, 200), (301, 401)]
    {
        let header = sign(&tenant.secret, seconds(offset), BODY);
        assert_eq!(send(&world, &header, BODY).await.status, status, "{offset}");
    }
}

#[tokio::test]
async fn one_right_signature_among_wrong_ones_is_enough() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    let right = sign(&tenant.secret, START, BODY);
    let (time, digest) = right.split_once(",v1=").unwrap();
    let wrong = "0".repeat(64);
    for header in [
        format!("{time},v1={wrong},v1={digest}"),
        format!("{time},v1={digest},v1={wrong}"),
        format!("v1={digest},{time}"),
        format!("{time},v0=x,v1={digest}"),
    ] {
        assert_eq!(send(&world, &header, BODY).await.status, 200, "{header}");
    }
}

/// For all names that are no tenant: the same answer as for a wrong signature.
#[tokio::test]
async fn an_unknown_tenant_is_answered_like_a_wrong_signature() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    let wrong = send(&world, &sign("another-secret", START, BODY), BODY).await;
    let right = sign(&tenant.secret, START, BODY);
    let long = "x".repeat(10 * 1024);
    for name in ["", "nobody", "__GLOBAL_CONFIG__", "..%2fx", "%2e%2e", "ACME", "a", "%FF", &long] {
        let call = world.post(&format!("/receiver/{name}/webhook"));
        let answer = call.header("stripe-signature", &right).body(BODY).send().await;
        assert_eq!(answer.status, 401, "{name:.20}");
        assert_eq!((answer.headers, answer.body), (wrong.headers.clone(), wrong.body.clone()));
    }
}

/// Nor does the store hear more of one than of the other.
#[tokio::test]
async fn an_unknown_tenant_costs_the_store_what_a_known_one_does() {
    let world = World::new();
    world.tenant("acme").await;
    let wrong = sign("another-secret", START, BODY);
    let mut costs = vec![];
    for name in ["acme", "nobody"] {
        let before = world.store.calls();
        let call = world.post(&format!("/receiver/{name}/webhook"));
        assert_eq!(call.header("stripe-signature", &wrong).body(BODY).send().await.status, 401);
        costs.push(world.store.calls() - before);
    }
    assert_eq!(costs, [2, 2]);
}

/// Tenants may be called like our own pages.
#[tokio::test]
async fn no_tenant_is_hidden_by_a_page() {
    let world = World::new();
    for id in ["docs", "redoc", "enable", "disable", "status", "health", "receiver"] {
        let tenant = world.tenant(id).await;
        let call = world.post(&format!("/receiver/{id}/webhook"));
        let call = call.header("stripe-signature", sign(&tenant.secret, START, BODY));
        assert_eq!(call.body(BODY).send().await.status, 200, "{id}");
    }
}

#[tokio::test]
async fn an_old_secret_is_good_until_its_overlap_ends() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    let change = "{\"webhook_secret\":\"another-secret\"}";
    world.patch("/v1/tenants/acme").key(&tenant.key).body(change).send().await;
    let try_both = async || {
        let now = world.now();
        let old = send(&world, &sign(&tenant.secret, now, BODY), BODY).await.status;
        let new = send(&world, &sign("another-secret", now, BODY), BODY).await.status;
        (old, new)
    };
    assert_eq!(try_both().await, (200, 200));
    world.clock.advance(24 * 3_600_000 - 1);
    assert_eq!(try_both().await, (200, 200));
    world.clock.advance(1);
    assert_eq!(try_both().await, (401, 200));
}

/// For all replays within the window, however the header is written: the same answer, and not
/// processed again.
#[tokio::test]
async fn a_replay_is_answered_and_not_processed_again() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    let event = EventId::from_parts(START, 7);
    let first = delivery(&world, &tenant, event, BODY).send().await;
    let at = world.now();
    let right = sign(&tenant.secret, at, BODY);
    let (time, digest) = right.split_once(",v1=").unwrap();
    for advance in [0, 1000, 299_000] {
        world.clock.advance(advance);
        for header in [right.clone(), format!("v1={digest},{time},v0=x")] {
            // With its id, without it, with an id that is not signed.
            let call = || world.post(WEBHOOK).header("stripe-signature", &header);
            for call in [
                call(),
                call().header("webhook-id", EventId::from_parts(START, 8).to_string()),
                call()
                    .header("webhook-id", EventId::from_parts(START, 8).to_string())
                    .header("webhook-timestamp", at.as_secs().to_string())
                    .header("webhook-signature", "v1,AAAA"),
            ] {
                let again = call.body(BODY).send().await;
                assert_eq!((again.status, again.body), (200, first.body.clone()));
            }
        }
    }
    assert_eq!(world.received.lock().unwrap().len(), 1);
}

/// Two events with the same body in the same second are two; so are two attempts.
#[tokio::test]
async fn messages_that_only_look_alike_are_all_processed() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    for n in 0..3 {
        let event = EventId::from_parts(START, n);
        assert_eq!(delivery(&world, &tenant, event, BODY).send().await.status, 200);
    }
    world.clock.advance(1000);
    let event = EventId::from_parts(START, 0);
    assert_eq!(delivery(&world, &tenant, event, BODY).send().await.status, 200);
    let other = world.tenant("other").await;
    assert_eq!(delivery(&world, &other, event, BODY).send().await.status, 200);
    assert_eq!(world.received.lock().unwrap().len(), 5);
}

#[tokio::test]
async fn a_hundred_replays_at_once_are_processed_once() {
    let world = Arc::new(World::new());
    let tenant = world.tenant("acme").await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let event = EventId::from_parts(START, 7);
        tasks.spawn(delivery(&world, &tenant, event, BODY).send());
    }
    let answers = tasks.join_all().await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(world.received.lock().unwrap().len(), 1);
}

/// The switch is the admin's, is stored, and comes before everything else.
#[tokio::test]
async fn reception_can_be_switched_off() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    let right = sign(&tenant.secret, START, BODY);
    let status = async |world: &World| {
        let answer = world.get("/receiver/status").send().await;
        assert_eq!(answer.status, 200);
        answer.json()
    };
    let on = json!({"webhook_reception": "enabled", "accepts_webhooks": true});
    let off = json!({"webhook_reception": "disabled", "accepts_webhooks": false});
    assert_eq!(status(&world).await, on);
    for key in [None, Some(&tenant.key)] {
        let call = world.post("/receiver/disable");
        let call = if let Some(key) = key { call.key(key) } else { call };
        assert!([401, 403].contains(&call.send().await.status));
    }
    assert_eq!(status(&world).await, on);
    let answer = world.post("/receiver/disable").key(&world.admin).send().await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["webhook_reception"], "disabled");
    assert!(answer.json()["message"].is_string());
    assert_eq!(status(&world).await, off);
    // Right, wrong, unknown: all alike, and nothing is read.
    for header in [&right[..], "nonsense"] {
        let answer = send(&world, header, BODY).await;
        assert_eq!((answer.status, answer.header("retry-after")), (503, "60"));
    }
    // A restart does not forget it.
    let again = World::over(Settings::default(), world.store.clone());
    assert_eq!(status(&again).await, off);
    let answer = world.post("/receiver/enable").key(&world.admin).body(Body::empty()).send().await;
    assert_eq!(answer.json()["webhook_reception"], "enabled");
    assert_eq!(status(&world).await, on);
    assert_eq!(send(&world, &right, BODY).await.status, 200);
}

#[tokio::test]
async fn the_receiver_says_that_it_runs() {
    let world = World::new();
    let answer = world.get("/receiver/health").send().await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body, "{\"status\":\"healthy\",\"service\":\"webhook-receiver\"}");
}
