//! Crash points 38 to 40: DynamoDB or SQS is down, or says no for a while.
//!
//! In each of them the daemon lives, says why it does not work, and works again by itself.

use posthaste_domain::EventStatus;
use serde_json::{Value, json};

use super::proxy::Calls;
use super::world::{Node, World, figure};
use crate::support::daemon::Daemon;
use crate::support::eventually;
use crate::support::sink::{Reply, Sink};

/// Waits until `/readyz` says that, for this reason.
pub(super) async fn until_unready(daemon: &Daemon, reason: &str) {
    eventually(&format!("unready: {reason}"), async || {
        let ready = daemon.admin_get("/readyz").await;
        ready.status == 503 && String::from_utf8_lossy(&ready.body).contains(reason)
    })
    .await;
}

/// 38: DynamoDB is down while an attempt is in flight. Its outcome is kept, the message stays
/// hidden, and the row is written when it can be; nothing is sent twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_point_38_dynamodb_down() {
    let sink = Sink::healthy().await;
    let world = World::with_acme(&sink.url("hook")).await;
    let node = Node::new(&world).await;
    let point = node.proxy.hold(Calls::before("BatchExecuteStatement", "\"DELIVERED\""));
    let daemon = node.start().await;
    let event = world.accept().await;
    point.reached().await;
    world.faults(&json!({ "dynamodb": { "unavailable": 1.0 } }));
    point.open();
    until_unready(&daemon, "cannot write rows").await;
    assert_eq!(world.depth().await, (0, 1), "the message is kept");
    // A copy meanwhile: its outcome is in the outbox, so that it is left alone.
    world.show_hidden();
    eventually("the copy is left alone", async || {
        figure(&daemon, "left_alone").await + figure(&daemon, "copies_renewed").await > 0
    })
    .await;
    world.faults(&json!({}));
    daemon.ready().await;
    world.until_settled(&event, EventStatus::Delivered).await;
    assert_eq!(sink.count(), 1);
}

/// 38: DynamoDB throttles nine of ten writes: everything arrives once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_point_38_dynamodb_throttles() {
    let sink = Sink::healthy().await;
    let world = World::with_acme(&sink.url("hook")).await;
    let node = Node::new(&world).await;
    let daemon = node.start().await;
    let mut events = Vec::new();
    for _ in 0..20 {
        events.push(world.accept().await);
    }
    let throttle = json!({ "operation": "BatchExecuteStatement", "faults": { "throttle": 0.9 } });
    world.faults(&json!({ "rules": [throttle] }));
    for event in &events {
        world.until_row(event, "delivered", |row| row.status == EventStatus::Delivered).await;
    }
    assert_eq!(sink.count(), 20);
    assert!(figure(&daemon, "throttled").await > 0, "nothing was throttled, no test");
    world.faults(&json!({}));
    daemon.ready().await;
}

/// 39: SQS is down. Retries go on, and new events get 503; with SQS back, the daemon is ready.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_point_39_sqs_down() {
    let sink = Sink::start(|it| Reply::status(if it.attempt == 1 { 500 } else { 200 })).await;
    let world = World::start().await;
    let node = Node::new(&world).await;
    let daemon = node.start().await;
    let key = daemon.tenant("acme", &sink.url("hook")).await;
    let event = world.accept().await;
    world.until_waiting(&event).await;
    world.faults(&json!({ "sqs": { "unavailable": 1.0 } }));
    let answer = daemon.client(&key).post("/v1/events", "{}").await.expect("an answer");
    assert_eq!(answer.status, 503, "{:?}", answer.body);
    // The polls that wait come to their end.
    world.show_hidden();
    until_unready(&daemon, "cannot receive messages").await;
    world.until_row(&event, "retried", |row| row.status == EventStatus::Delivered).await;
    world.faults(&json!({}));
    daemon.ready().await;
    let answer = daemon.client(&key).post("/v1/events", "{}").await.expect("an answer");
    assert_eq!(answer.status, 201, "{:?}", answer.body);
    eventually("a new one arrives", async || sink.by_event().len() == 2).await;
}

/// Denied, expired, unreachable: at the start or later, the daemon says so and works when it may.
async fn refused_for_a_while(faults: Value, reason: &str) {
    let sink = Sink::healthy().await;
    let world = World::with_acme(&sink.url("hook")).await;
    let node = Node::new(&world).await;
    let daemon = node.start().await;
    world.faults(&faults);
    // Whatever is on its way already is answered yet.
    world.show_hidden();
    until_unready(&daemon, reason).await;
    world.faults(&json!({}));
    daemon.ready().await;
    let event = world.accept().await;
    world.until_settled(&event, EventStatus::Delivered).await;
    assert_eq!(sink.count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn access_denied_is_told_and_passes() {
    let faults = json!({ "dynamodb": { "deny": 1.0 } });
    refused_for_a_while(faults, "access denied: dynamodb:").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_credentials_are_told_and_pass() {
    let faults = json!({ "dynamodb": { "expired-token": 1.0 } });
    refused_for_a_while(faults, "credentials have expired: dynamodb:").await;
}

/// 40: the tenants' table alone, with targets and secrets, cannot be read: no attempt is charged,
/// and the first one is made when it can be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_point_40_our_secrets_cannot_be_read() {
    let sink = Sink::healthy().await;
    let world = World::with_acme(&sink.url("hook")).await;
    let node = Node::new(&world).await;
    let tries = node.proxy.lose(Calls::before("GetItem", "TenantWebhookConfig"), usize::MAX);
    let daemon = node.start().await;
    let event = world.accept().await;
    // The client's three tries.
    tries.reached_times(3).await;
    assert_eq!((sink.count(), world.row(&event).await.attempts), (0, 0));
    tries.open();
    world.until_settled_shown(&event, EventStatus::Delivered).await;
    let received = sink.received();
    assert_eq!((received.len(), received[0].attempt), (1, 1));
    assert_eq!(figure(&daemon, "outcomes_written").await, 1);
}
