//! Crash point 41: a stop that was asked for gives back what was not begun and keeps what is its
//! own, or gives that away too.

use std::time::Duration;

use posthaste_domain::EventStatus;
use rustix::process::Signal;

use super::world::{Node, World, figure, wall};
use crate::support::eventually;
use crate::support::sink::{Reply, Sink};

/// 41: SIGTERM with one attempt in flight and the rest behind it: the attempt is finished and
/// recorded, the rest is in the queue at once, not after a time-out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_point_41_sigterm_gives_messages_back() {
    let sink =
        Sink::start(|_| Reply { delay: Duration::from_millis(300), ..Reply::status(200) }).await;
    let world = World::with_acme(&sink.url("hook")).await;
    let node = Node::new(&world).await.with("delivery.in-flight-per-endpoint-max", 1);
    let daemon = node.start().await;
    let mut events = Vec::new();
    for _ in 0..10 {
        events.push(world.accept().await);
    }
    eventually("all are held", async || world.depth().await.0 == 0 && sink.count() > 0).await;
    daemon.signal(Signal::TERM);
    let (status, printed) = daemon.ended().await;
    assert!(status.success(), "{status}: {printed}");
    let done = sink.count();
    assert!(done < 10, "nothing was left to give back");
    let left = u64::try_from(10 - done).expect("few");
    assert_eq!(world.depth().await, (left, 0), "{printed}");
    let next = Node::new(&world).await;
    let _daemon = next.start().await;
    for event in &events {
        world.until_settled(event, EventStatus::Delivered).await;
    }
    assert!(sink.by_event().values().all(|times| times.len() == 1), "something came twice");
    assert_eq!(sink.count(), 10);
}

/// 41: a deploy keeps the leases: the same instance makes the retry when it is due.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_point_41_a_deploy_keeps_the_leases() {
    let sink = Sink::start(|it| Reply::status(if it.attempt == 1 { 500 } else { 200 })).await;
    let world = World::with_acme(&sink.url("hook")).await;
    let node = Node::new(&world).await;
    let daemon = node.start().await;
    let event = world.accept().await;
    world.until_waiting(&event).await;
    let before = world.row(&event).await;
    daemon.signal(Signal::TERM);
    let (status, printed) = daemon.ended().await;
    assert!(status.success(), "{status}: {printed}");
    assert_eq!(world.row(&event).await, before);
    let daemon = node.start().await;
    world.until_settled(&event, EventStatus::Delivered).await;
    assert_eq!((sink.count(), figure(&daemon, "claimed").await), (2, 0));
}

/// 41: an instance that does not come back gives its leases away: another one makes the retry soon
/// after it is due, not minutes later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_point_41_a_termination_notice_gives_leases_away() {
    let sink = Sink::start(|it| Reply::status(if it.attempt == 1 { 500 } else { 200 })).await;
    let world = World::with_acme(&sink.url("hook")).await;
    let node = Node::new(&world).await.with("aws.release-at-stop", true);
    let daemon = node.start().await;
    let event = world.accept().await;
    world.until_waiting(&event).await;
    daemon.signal(Signal::TERM);
    let (status, printed) = daemon.ended().await;
    assert!(status.success(), "{status}: {printed}");
    assert!(printed.contains("gave away the leases"), "{printed}");
    let row = world.row(&event).await;
    let lease = row.lease.expect("waiting");
    let latest = row.next_attempt_at.expect("waiting").max(wall());
    assert!(lease.until <= latest, "given away at once, or when it is due");
    let next = Node::new(&world).await;
    let daemon = next.start().await;
    world.until_settled(&event, EventStatus::Delivered).await;
    assert_eq!((sink.count(), figure(&daemon, "claimed").await), (2, 1));
}
