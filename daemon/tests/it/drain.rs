//! Stopping: SIGTERM finishes what is in flight, says what it did, and repeats nothing.

use std::time::Duration;

use rustix::process::Signal;

use crate::support::daemon::{Daemon, Home, Setup};
use crate::support::eventually;
use crate::support::sink::{Reply, Sink};

/// SIGTERM with attempts in flight: they finish and are recorded; after a restart nothing is sent
/// twice and the rest is delivered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_finishes_what_is_in_flight() {
    let home = Home::new();
    let setup = Setup::default().with("delivery.in-flight-per-endpoint-max", 8);
    let sink =
        Sink::start(|_| Reply { delay: Duration::from_millis(200), ..Reply::status(200) }).await;
    let daemon = Daemon::start(&home, &setup).await;
    let key = daemon.tenant("acme", &sink.url("hook")).await;
    let mut client = daemon.client(&key);
    for _ in 0..40 {
        assert_eq!(client.post("/v1/events", "{}").await.expect("an answer").status, 201);
    }
    eventually("some are in flight", async || sink.count() >= 8).await;
    daemon.signal(Signal::TERM);
    let (status, printed) = daemon.ended().await;
    assert!(status.success(), "{status}: {printed}");
    let summary = printed.lines().find(|line| line.contains("drained in")).expect(&printed);
    println!("{summary}");
    assert!(sink.count() < 40, "nothing was left to do after the drain");
    let daemon = Daemon::start(&home, &setup).await;
    eventually("the rest arrives", async || sink.by_event().len() == 40).await;
    daemon.signal(Signal::TERM);
    daemon.ended().await;
    assert!(sink.by_event().values().all(|times| times.len() == 1), "something came twice");
}

/// A second signal does not wait for a receiver that never answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_exits_at_once() {
    let home = Home::new();
    let sink =
        Sink::start(|_| Reply { delay: Duration::from_secs(25), ..Reply::status(200) }).await;
    let daemon = Daemon::start(&home, &Setup::default()).await;
    let key = daemon.tenant("acme", &sink.url("hook")).await;
    daemon.client(&key).post("/v1/events", "{}").await.expect("an answer");
    eventually("it is in flight", async || sink.count() == 1).await;
    daemon.signal(Signal::TERM);
    eventually("it drains", async || daemon.printed().contains("draining")).await;
    daemon.signal(Signal::INT);
    let (status, printed) = daemon.ended().await;
    assert_eq!(status.code(), Some(130), "{printed}");
    // The event was accepted, so it is still owed.
    let sink_count = sink.count();
    let _daemon = Daemon::start(&home, &Setup::default()).await;
    eventually("it is sent again", async || sink.count() > sink_count).await;
}

/// During the drain new events get 503 and a hint, `/readyz` says what is going on, and the
/// built-in receiver still takes what is on its way to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_refuses_new_events_and_says_so() {
    let home = Home::new();
    let sink = Sink::start(|_| Reply { delay: Duration::from_secs(2), ..Reply::status(200) }).await;
    let daemon = Daemon::start(&home, &Setup::default()).await;
    let key = daemon.tenant("acme", &sink.url("hook")).await;
    let mut client = daemon.client(&key);
    client.post("/v1/events", "{}").await.expect("an answer");
    eventually("it is in flight", async || sink.count() == 1).await;
    daemon.signal(Signal::TERM);
    eventually("it drains", async || daemon.admin_get("/readyz").await.status == 503).await;
    let ready = daemon.admin_get("/readyz").await;
    assert_eq!(ready.body, "draining\n");
    let refused = client.post("/v1/events", "{}").await.expect("an answer");
    assert_eq!(refused.status, 503, "{:?}", refused.body);
    assert_eq!(refused.headers["retry-after"], "5");
    assert!(refused.json()["detail"].is_string());
    let answer = daemon.client(&key).post("/receiver/acme/webhook", "{}").await;
    assert_eq!(answer.expect("the receiver answers").status, 401);
    let (status, printed) = daemon.ended().await;
    assert!(status.success(), "{status}: {printed}");
    assert!(printed.contains("1 attempts finished, 0 cut off, 0 held"), "{printed}");
}
