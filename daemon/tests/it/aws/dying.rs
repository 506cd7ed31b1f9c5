//! Crash points 27 to 29 and 35: the way to the DLQ.

use std::time::Duration;

use posthaste_domain::{EventStatus, RowKey};

use super::proxy::{Calls, Point};
use super::world::{After, Node, World, both};
use crate::support::eventually;
use crate::support::sink::{Reply, Sink};

/// The write that says DLQ.
const DIE: &str = "\"DLQ\"";

/// Lets an event fail for good, and kills the daemon at `calls`; another life goes on.
async fn die_at(after: After, calls: Calls) -> (World, Sink, RowKey) {
    let sink = Sink::start(|_| Reply::status(500)).await;
    let world = World::with_acme(&sink.url("hook")).await;
    let node = Node::new(&world).await.with("retry.attempts-max", 1);
    let point: Point = node.proxy.hold(calls);
    let daemon = node.start().await;
    let event = world.accept().await;
    point.reached().await;
    let node = after.crash(&world, node, daemon).await;
    if after == After::TakeOver && world.row(&event).await.lease.is_some() {
        world.end_lease(&event).await;
    }
    let _daemon = node.start().await;
    world.until_settled(&event, EventStatus::Dlq).await;
    eventually("the job is gone", async || {
        _daemon.metric("posthaste_engine_deliveries", "").await == 0.0
    })
    .await;
    (world, sink, event)
}

/// 27: the last failure is in the row, the DLQ has no message: it is sent, nothing is attempted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_point_27_last_failure_written_dlq_not_sent() {
    both(async |after| {
        let calls = Calls::before("SendMessageBatch", "events-dlq");
        let (world, sink, event) = die_at(after, calls).await;
        assert_eq!(sink.count(), 1);
        let [letter] = &world.dead_bodies().await[..] else { panic!("not one message") };
        assert_eq!(letter["eventId"], event.event.to_string());
        assert_eq!(letter["cause"], "attempts_exhausted");
        assert_eq!(letter["attempts"], 1);
    })
    .await;
}

/// 28: the DLQ has the message, the row is not marked: sent again, marked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_point_28_dlq_sent_row_not_marked() {
    both(async |after| {
        let calls = Calls::before("BatchExecuteStatement", DIE);
        let (world, sink, event) = die_at(after, calls).await;
        let letters = world.dead_bodies().await;
        assert_eq!((sink.count(), letters.len()), (1, 2), "a second message does no harm");
        assert!(letters.iter().all(|letter| letter["eventId"] == event.event.to_string()));
    })
    .await;
}

/// 29: the row says DLQ, the instance does not know: with its disk it finds a final row and forgets
/// its job.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_point_29_row_dlq_local_job_left() {
    both(async |after| {
        let calls = Calls::after("BatchExecuteStatement", DIE);
        let (world, sink, _) = die_at(after, calls).await;
        assert_eq!(sink.count(), 1);
        let letters = world.dead_bodies().await.len();
        assert_eq!(letters, if after == After::Restart { 2 } else { 1 });
    })
    .await;
}

/// 35: the daemon dies whenever it attempts one event. After three times it is set aside; the one
/// beside it is delivered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_point_35_what_is_in_flight_at_three_crashes_is_poison() {
    let sink = Sink::start(|it| {
        let never = it.body.windows(6).any(|window| window == b"poison");
        Reply { delay: Duration::from_secs(if never { 600 } else { 0 }), ..Reply::status(200) }
    })
    .await;
    let world = World::with_acme(&sink.url("hook")).await;
    let mut node = Node::new(&world).await;
    let event = world.accept_of("acme", b"\"poison\"").await;
    for crashes in 1..=3 {
        let daemon = node.start().await;
        eventually("it is in flight", async || {
            world.show_hidden();
            sink.count() == crashes
        })
        .await;
        node = After::Restart.crash(&world, node, daemon).await;
    }
    let _daemon = node.start().await;
    let other = world.accept().await;
    world.until_settled(&other, EventStatus::Delivered).await;
    world.until_settled(&event, EventStatus::Dlq).await;
    let [letter] = &world.dead_bodies().await[..] else { panic!("not one message") };
    assert_eq!(
        (&letter["cause"], &letter["eventId"]),
        (&"poison".into(), &event.event.to_string().into())
    );
    assert_eq!(sink.count(), 4, "three times the one, once the other");
}
