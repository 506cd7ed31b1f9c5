//! The retry schedule in the real process, shortened, with and without a restart in the middle.

use std::time::Duration;

use serde_json::Value;

use crate::support::daemon::{Daemon, Home, Setup};
use crate::support::sink::{Reply, Sink};

/// What the schedule of these tests is, in milliseconds.
const DELAYS_MS: [u64; 4] = [300, 600, 1200, 1200];
/// Up to 10 % on top of a delay.
const JITTER: f64 = 0.10;
/// How late a busy test machine may be beyond the jitter window. Generous, because lateness is
/// measured elsewhere; what must never happen is an early retry.
const LATE_MS: u64 = 2000;
/// A test may run over midnight.
const DAY_MS: u64 = 86_400_000;

fn schedule() -> Setup {
    Setup::default().with("retry.delays", "300ms,600ms,1200ms").with("retry.jitter", JITTER)
}

/// Each retry starts within its jitter window and never early; five failures end in the DLQ.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_failures_follow_the_schedule_into_the_dlq() {
    let home = Home::new();
    let daemon = Daemon::start(&home, &schedule()).await;
    let sink = Sink::start(|_| Reply::status(500)).await;
    let key = daemon.tenant("acme", &sink.url("hook")).await;
    let detail = post_and_wait_for(&daemon, &key, "DLQ").await;
    assert_eq!(sink.count(), 5);
    check_log(&detail, 5);
}

/// A restart in the middle of a schedule changes nothing: same attempts, same windows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_in_the_middle_changes_nothing() {
    let home = Home::new();
    let sink = Sink::start(|_| Reply::status(503)).await;
    let daemon = Daemon::start(&home, &schedule()).await;
    let key = daemon.tenant("acme", &sink.url("hook")).await;
    let answer = daemon.client(&key).post("/v1/events", r#"{"a":1}"#).await.expect("an answer");
    let event = answer.json()["event_id"].as_str().expect("an id").to_owned();
    // The second failure is durable once the API shows two attempts.
    daemon.event(&key, &event, |event| event["attempts"] == 2).await;
    daemon.kill();
    let daemon = Daemon::start(&home, &schedule()).await;
    let detail = daemon.event(&key, &event, |event| event["status"] == "DLQ").await;
    check_log(&detail, 5);
    let attempts: Vec<_> = sink.received().iter().map(|r| r.attempt).collect();
    assert_eq!(attempts, [1, 2, 3, 4, 5]);
}

/// `Retry-After` moves the attempt beyond its schedule.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retry_after_is_honoured() {
    let home = Home::new();
    let daemon = Daemon::start(&home, &schedule()).await;
    let sink = Sink::start(|received| {
        let asked = vec![("retry-after", "2".to_owned())];
        if received.attempt == 1 {
            Reply { headers: asked, ..Reply::status(429) }
        } else {
            Reply::status(204)
        }
    })
    .await;
    let key = daemon.tenant("acme", &sink.url("hook")).await;
    post_and_wait_for(&daemon, &key, "DELIVERED").await;
    let received = sink.received();
    assert_eq!(received.len(), 2);
    assert!(received[1].at - received[0].at >= Duration::from_secs(2));
}

/// A 410 ends the event at once, with its cause.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_410_is_dead_lettered_at_once() {
    let home = Home::new();
    let daemon = Daemon::start(&home, &schedule()).await;
    let sink = Sink::start(|_| Reply::status(410)).await;
    let key = daemon.tenant("acme", &sink.url("hook")).await;
    post_and_wait_for(&daemon, &key, "DLQ").await;
    assert_eq!(sink.count(), 1);
    let list = daemon.client(&key).get("/v1/admin/dlq/messages").await.expect("an answer").json();
    assert_eq!(list["messages"][0]["attributes"]["cause"], "gone");
}

/// A requeue starts a fresh round of attempts and keeps the earlier ones in the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_requeue_is_a_fresh_round() {
    let home = Home::new();
    let setup = Setup::default().with("retry.delays", "50ms").with("retry.attempts-max", 2);
    let daemon = Daemon::start(&home, &setup).await;
    let failures = std::sync::atomic::AtomicU32::new(0);
    let sink = Sink::start(move |_| {
        let before = failures.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Reply::status(if before < 3 { 500 } else { 200 })
    })
    .await;
    let key = daemon.tenant("acme", &sink.url("hook")).await;
    let detail = post_and_wait_for(&daemon, &key, "DLQ").await;
    let event = detail["event_id"].as_str().expect("an id").to_owned();
    let mut client = daemon.client(&key);
    let requeued = client.post("/v1/admin/dlq/requeue", "{}").await.expect("an answer");
    assert_eq!(requeued.json(), serde_json::json!({"requeued": 1, "failed": 0}));
    let detail = daemon.event(&key, &event, |event| event["status"] == "DELIVERED").await;
    assert_eq!(detail["attempts"], 2);
    assert_eq!(detail["attempt_log"].as_array().map(Vec::len), Some(4));
    let attempts: Vec<_> = sink.received().iter().map(|r| r.attempt).collect();
    assert_eq!(attempts, [1, 2, 1, 2]);
}

async fn post_and_wait_for(daemon: &Daemon, key: &str, status: &str) -> Value {
    let answer = daemon.client(key).post("/v1/events", r#"{"a":1}"#).await.expect("an answer");
    assert_eq!(answer.status, 201, "{:?}", answer.body);
    let event = answer.json()["event_id"].as_str().expect("an id").to_owned();
    daemon.event(key, &event, |event| event["status"] == status).await
}

/// The log has `count` attempts; each began in the window that the end of the one before opens.
fn check_log(detail: &Value, count: usize) {
    let log = detail["attempt_log"].as_array().expect("a log");
    assert_eq!(log.len(), count, "{log:#?}");
    let starts: Vec<u64> =
        log.iter().map(|row| millis(row["at"].as_str().expect("a time"))).collect();
    for (n, pair) in starts.windows(2).enumerate() {
        let ended = pair[0] + log[n]["duration_ms"].as_u64().expect("a duration");
        let next = if pair[1] < pair[0] { pair[1] + DAY_MS } else { pair[1] };
        let waited = next.saturating_sub(ended);
        let base = DELAYS_MS[n];
        assert!(waited >= base, "retry {n} was {} ms early", base - waited);
        assert!(waited <= base + base / 10 + LATE_MS, "retry {n} waited {waited} ms");
    }
}

/// Milliseconds of the day of a time as the API shows it.
fn millis(text: &str) -> u64 {
    let time = text.split_once('T').expect("RFC 3339").1.trim_end_matches('Z');
    let (clock, fraction) = time.split_once('.').expect("milliseconds");
    let number = |text: &str| text.parse::<u64>().expect("a number");
    let seconds = clock.split(':').fold(0, |sum, part| sum * 60 + number(part));
    seconds * 1000 + number(fraction)
}
