//! What one endpoint does to the others, and to itself, in the real process: left alone, paused,
//! paced.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::support::daemon::{Daemon, Home, Setup};
use crate::support::sink::{Reply, Sink};
use crate::support::{eventually, now};

/// Events of a tenant.
const EVENTS: usize = 100;
/// Failures in a row, and then nothing; what was in flight by then comes on top.
const FAILURES: usize = 10;
/// As many as a new endpoint is given at a time.
const FIRST: usize = 16;

/// The body of an event whose endpoint flaps.
const FLAPS: &[u8] = br#"{"flaps":1}"#;

async fn post(daemon: &Daemon, key: &str, events: usize) {
    let mut client = daemon.client(key);
    for _ in 0..events {
        let answer = client.post("/v1/events", r#"{"a":1}"#).await.expect("an answer");
        assert_eq!(answer.status, 201, "{:?}", answer.body);
    }
}

async fn change(daemon: &Daemon, tenant: &str, delivery: Value) {
    let path = format!("/v1/tenants/{tenant}");
    let change = json!({ "delivery": delivery }).to_string();
    let mut client = daemon.admin_client();
    let answer = client.send(Method::PATCH, &path, &[], change.into()).await.expect("an answer");
    assert_eq!(answer.status, 200, "{:?}", answer.body);
}

/// How the process shows an endpoint that is not attempted as usual.
async fn shown(daemon: &Daemon, tenant: &str) -> Value {
    let all = daemon.admin_get("/endpoints").await.json();
    let all = all.as_array().expect("a list").iter();
    all.clone().find(|it| it["tenant_id"] == tenant).cloned().unwrap_or_default()
}

/// A dead endpoint costs its neighbours nothing and its events no attempts; lifted, everything that
/// waited arrives, and nothing of it is in the dead letters.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_endpoint_is_left_alone_until_it_is_lifted() {
    let home = Home::new();
    let setup = Setup::default()
        .without("isolation.breaker-failures")
        .with("isolation.breaker-failures", FAILURES)
        .with("isolation.breaker-hold", "1h")
        .with("isolation.breaker-hold-max", "1h")
        .with("engine.shards", 1);
    let daemon = Daemon::start(&home, &setup).await;
    let well = Arc::new(AtomicBool::new(false));
    let is_well = Arc::clone(&well);
    let dead = Sink::start(move |_| {
        Reply::status(if is_well.load(Ordering::Relaxed) { 200 } else { 503 })
    })
    .await;
    let healthy = Sink::healthy().await;
    let acme = daemon.tenant("acme", &dead.url("hook")).await;
    let other = daemon.tenant("other", &healthy.url("hook")).await;
    post(&daemon, &acme, EVENTS).await;
    eventually("it is left alone", async || shown(&daemon, "acme").await["health"] == "tripped")
        .await;
    post(&daemon, &other, EVENTS).await;
    eventually("the other one gets its events", async || healthy.by_event().len() == EVENTS).await;
    let seen = daemon.client(&acme).get("/v1/tenants/acme").await.expect("an answer").json();
    assert_eq!(seen["tenant"]["trouble"]["health"], "tripped", "its tenant sees it: {seen}");
    let tried = dead.count();
    assert!((FAILURES..=FAILURES + FIRST).contains(&tried), "{tried} attempts");

    well.store(true, Ordering::Relaxed);
    let lifted = daemon.admin_client().post("/v1/tenants/acme/lift", "").await.expect("an answer");
    assert_eq!(lifted.status, 200, "{:?}", lifted.body);
    eventually("all of it arrives", async || dead.by_event().len() == EVENTS).await;
    eventually("all of it is settled", async || {
        daemon.metric("posthaste_deliveries_total", "delivered").await >= 2.0 * EVENTS as f64
    })
    .await;
    assert!(daemon.metric("posthaste_deliveries_total", "dead_lettered").await <= 0.0);
    assert_eq!(daemon.metric("posthaste_engine_invariant_violations", "").await.to_string(), "0");
}

/// A paused tenant's events are kept, over a restart too, and delivered when it is resumed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_tenants_events_are_kept() {
    let home = Home::new();
    let daemon = Daemon::start(&home, &Setup::default()).await;
    let sink = Sink::healthy().await;
    let acme = daemon.tenant("acme", &sink.url("hook")).await;
    let other = daemon.tenant("other", &sink.url("other")).await;
    // Known and well, so that nobody asks before its next attempt how it is now.
    post(&daemon, &acme, 1).await;
    eventually("it is delivered", async || sink.count() == 1).await;
    change(&daemon, "acme", json!({ "paused": true })).await;
    post(&daemon, &acme, EVENTS).await;
    post(&daemon, &other, 1).await;
    eventually("others go on", async || sink.count() == 2).await;
    eventually("it is shown", async || shown(&daemon, "acme").await["health"] == "paused").await;
    daemon.kill();
    let daemon = Daemon::start(&home, &Setup::default()).await;
    post(&daemon, &acme, 1).await;
    post(&daemon, &other, 1).await;
    eventually("others go on", async || sink.count() == 3).await;
    change(&daemon, "acme", json!({ "paused": false })).await;
    eventually("all of it arrives", async || sink.by_event().len() == EVENTS + 4).await;
    assert_eq!(sink.count(), EVENTS + 4, "once each");
}

/// So many a second, and no attempt is charged for the wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_is_kept() {
    const PER_SECOND: usize = 50;
    let home = Home::new();
    let daemon = Daemon::start(&home, &Setup::default()).await;
    let sink = Sink::healthy().await;
    let acme = daemon.tenant("acme", &sink.url("hook")).await;
    change(&daemon, "acme", json!({ "rate_per_s": PER_SECOND })).await;
    post(&daemon, &acme, EVENTS).await;
    eventually("all of it arrives", async || sink.by_event().len() == EVENTS).await;
    let received = sink.received();
    assert!(received.iter().all(|it| it.attempt == 1));
    let took = received.last().expect("some").at - received.first().expect("some").at;
    // It may have begun late, but never went faster.
    let least = Duration::from_millis(1_000 * (EVENTS - 3) as u64 / PER_SECOND as u64);
    assert!(took >= least, "{took:?}");
}

/// An endpoint that is up one second and down the next gets everything, and its neighbour on the
/// same host notices nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_flaps_every_second_gets_everything() {
    let home = Home::new();
    let setup = Setup::default()
        .without("isolation.breaker-failures")
        .with("isolation.breaker-failures", 3)
        .with("isolation.breaker-hold", "100ms")
        .with("isolation.breaker-hold-max", "400ms")
        .with("retry.attempts-max", 20);
    let daemon = Daemon::start(&home, &setup).await;
    let start = now();
    let sink = Sink::start(move |received| {
        let is_down =
            start.elapsed().as_secs().is_multiple_of(2) && received.body.starts_with(FLAPS);
        Reply::status(if is_down { 503 } else { 200 })
    })
    .await;
    let acme = daemon.tenant("acme", &sink.url("acme")).await;
    let other = daemon.tenant("other", &sink.url("other")).await;
    let mut client = daemon.client(&acme);
    for _ in 0..EVENTS {
        let body = std::str::from_utf8(FLAPS).expect("text");
        let answer = client.post("/v1/events", body).await.expect("an answer");
        assert_eq!(answer.status, 201, "{:?}", answer.body);
        post(&daemon, &other, 1).await;
    }
    eventually("it is left alone", async || !shown(&daemon, "acme").await.is_null()).await;
    eventually("all of both is delivered", async || {
        daemon.metric("posthaste_deliveries_total", "delivered").await >= 2.0 * EVENTS as f64
    })
    .await;
    let (flapping, quiet): (Vec<_>, Vec<_>) =
        sink.received().into_iter().partition(|it| it.body.starts_with(FLAPS));
    assert!(flapping.len() > EVENTS, "it was down for some");
    assert_eq!(quiet.len(), EVENTS, "once each");
}

/// Whatever an endpoint asks for with its 429, only it waits, and never for longer than an hour:
/// what cannot be meant is as if it was not there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_absurd_retry_after_costs_nobody_else() {
    const MEANT_NOTHING: [&str; 5] = ["", "-1", "soon", "1e9", "Wed, 21 Oct 2015 07:28:00 GMT"];
    const AN_HOUR: [&str; 3] = ["315360000", "9999999999", "Fri, 31 Dec 9999 23:59:59 GMT"];
    let home = Home::new();
    let daemon = Daemon::start(&home, &Setup::default()).await;
    let sink = Sink::start(|received| {
        let asked: Value = serde_json::from_slice(&received.body).expect("what was posted");
        match (received.attempt, asked["asks_for"].as_str()) {
            (1, Some(text)) => {
                let headers = vec![("retry-after", text.to_owned())];
                Reply { headers, ..Reply::status(429) }
            }
            _ => Reply::status(200),
        }
    })
    .await;
    let mut keys = Vec::new();
    for (number, text) in MEANT_NOTHING.iter().chain(&AN_HOUR).enumerate() {
        let id = format!("tenant-{number}");
        // All on one host.
        let key = daemon.tenant(&id, &sink.url(&id)).await;
        let body = json!({ "asks_for": text }).to_string();
        let answer = daemon.client(&key).post("/v1/events", body).await.expect("an answer");
        assert_eq!(answer.status, 201, "{:?}", answer.body);
        keys.push(key);
    }
    let tenants = MEANT_NOTHING.len() + AN_HOUR.len();
    eventually("each has been attempted", async || sink.by_event().len() == tenants).await;
    let delivered = async || daemon.metric("posthaste_deliveries_total", "delivered").await;
    eventually("who has meant nothing is tried by the schedule", async || {
        delivered().await >= MEANT_NOTHING.len() as f64
    })
    .await;
    let other = daemon.tenant("other", &sink.url("other")).await;
    post(&daemon, &other, 1).await;
    eventually("others go on", async || delivered().await > MEANT_NOTHING.len() as f64).await;
    assert_eq!(sink.count(), tenants + MEANT_NOTHING.len() + 1, "the others wait");
    for key in &keys[MEANT_NOTHING.len()..] {
        let list = daemon.client(key).get("/v1/events").await.expect("an answer").json();
        assert_eq!(list["events"][0]["status"], "FAILED", "and keep their event: {list}");
    }
}
