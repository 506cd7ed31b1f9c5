//! Crash points 42 and 43, and who a daemon is: copied disks, shared names, tenants that go.

use posthaste_domain::EventStatus;

use super::proxy::Calls;
use super::waiting::copy;
use super::world::{After, Node, World, both, figure};
use crate::support::eventually;
use crate::support::sink::{Reply, Sink};

/// 42: a snapshot of the disk starts beside the instance that it was taken of. Its leases are not
/// its own: it forgets the retries that wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_point_42_disk_snapshot_started_twice() {
    let sink = Sink::start(|it| Reply::status(if it.attempt == 1 { 500 } else { 200 })).await;
    let world = World::with_acme(&sink.url("hook")).await;
    let node = Node::new(&world).await.with("aws.instance", "one");
    let daemon = node.start().await;
    let event = world.accept().await;
    world.until_waiting(&event).await;
    let node = After::Restart.crash(&world, node, daemon).await;
    let twin = Node::new(&world).await.with("aws.instance", "two");
    copy(&node.home.data(), &twin.home.data());
    let second = twin.start().await;
    assert!(second.printed().contains("is a copy of another"), "{}", second.printed());
    let first = node.start().await;
    world.until_settled(&event, EventStatus::Delivered).await;
    assert_eq!(sink.count(), 2);
    assert_eq!(figure(&first, "claimed").await + figure(&second, "claimed").await, 0);
    // Both go on, each under a name of its own.
    let mut events = Vec::new();
    for _ in 0..20 {
        events.push(world.accept().await);
    }
    for event in &events {
        world.until_settled(event, EventStatus::Delivered).await;
    }
    assert_eq!(sink.by_event().len(), 21);
    assert!(sink.by_event().values().all(|times| times.len() == 2));
}

/// Two daemons that were given the same name, each with a disk of its own, share nothing but the
/// name: what waits at one is not the other's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_daemons_of_one_name_do_not_share_leases() {
    let sink = Sink::start(|it| Reply::status(if it.attempt == 1 { 500 } else { 200 })).await;
    let world = World::with_acme(&sink.url("hook")).await;
    let one = Node::new(&world).await.with("aws.instance", "twin");
    let two = Node::new(&world).await.with("aws.instance", "twin");
    let daemons = [one.start().await, two.start().await];
    let mut events = Vec::new();
    for _ in 0..40 {
        events.push(world.accept().await);
    }
    for event in &events {
        world.until_settled(event, EventStatus::Delivered).await;
    }
    assert!(sink.by_event().values().all(|times| times.len() == 2), "one failure, one success");
    let mut taken = 0;
    for daemon in &daemons {
        assert_eq!(figure(daemon, "outcomes_dropped").await, 0);
        taken += figure(daemon, "taken").await;
    }
    assert_eq!(taken, 40);
}

/// 43: the tenant's URL changes while a retry waits: the retry goes to the new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_point_43_url_changed_while_waiting() {
    both(async |after| {
        let (old, new) = (Sink::start(|_| Reply::status(500)).await, Sink::healthy().await);
        let world = World::with_acme(&old.url("hook")).await;
        let node = Node::new(&world).await;
        let daemon = node.start().await;
        let event = world.accept().await;
        world.until_waiting(&event).await;
        // A daemon may go by what it read a minute ago, so it is another life that has to see it.
        let node = after.crash(&world, node, daemon).await;
        world.move_tenant("acme", &new.url("hook")).await;
        if after == After::TakeOver {
            world.end_lease(&event).await;
        }
        let _daemon = node.start().await;
        world.until_settled(&event, EventStatus::Delivered).await;
        assert_eq!((old.count(), new.count()), (1, 1));
    })
    .await;
}

/// 43: the tenant is deleted while events of it wait, for a retry and for a first attempt: DLQ,
/// with the cause, and no request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_point_43_tenant_deleted_while_waiting() {
    both(async |after| {
        let sink = Sink::start(|_| Reply::status(500)).await;
        let world = World::with_acme(&sink.url("hook")).await;
        let node = Node::new(&world).await;
        let daemon = node.start().await;
        let retried = world.accept().await;
        world.until_waiting(&retried).await;
        let node = after.crash(&world, node, daemon).await;
        let fresh = world.accept().await;
        world.remove_tenant("acme").await;
        if after == After::TakeOver {
            world.end_lease(&retried).await;
        }
        let _daemon = node.start().await;
        world.until_settled(&retried, EventStatus::Dlq).await;
        world.until_settled(&fresh, EventStatus::Dlq).await;
        assert_eq!(sink.count(), 1);
        let letters = world.dead_bodies().await;
        assert_eq!(letters.len(), 2);
        assert!(letters.iter().all(|letter| letter["cause"] == "tenant_gone"), "{letters:?}");
    })
    .await;
}

/// An event's row is removed by hand, or by its TTL, while it waits: nothing is owed any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_is_removed_while_it_waits_is_let_go() {
    let sink = Sink::start(|_| Reply::status(500)).await;
    let world = World::with_acme(&sink.url("hook")).await;
    let node = Node::new(&world).await;
    let point = node.proxy.hold(Calls::before("BatchExecuteStatement", "SET \\\"nextAttemptAt"));
    let daemon = node.start().await;
    let written = world.accept().await;
    point.reached().await;
    // One whose outcome finds no row, and one whose retry finds none.
    world.remove_row(&written).await;
    point.open();
    eventually("the outcome is dropped", async || figure(&daemon, "outcomes_dropped").await == 1)
        .await;
    let waiting = world.accept().await;
    world.until_waiting(&waiting).await;
    world.remove_row(&waiting).await;
    eventually("the retry is dropped", async || {
        daemon.metric("posthaste_engine_deliveries", "state=\"held\"").await == 0.0
            && world.depth().await == (0, 0)
    })
    .await;
    for event in [&written, &waiting] {
        assert_eq!(world.stored(event).await, None, "nothing brings a row back");
    }
    assert!(sink.count() <= 3, "{}", sink.count());
}
