//! Crash points 6 to 16: from the queue to the first outcome in the row.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use posthaste_domain::EventStatus;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use super::proxy::{Calls, message};
use super::world::{After, Node, World, both, figure};
use crate::support::eventually;
use crate::support::sink::{Reply, Sink};

/// The write that says DELIVERED.
const DELIVER: &str = "\"DELIVERED\"";
/// The write that says FAILED.
const FAIL: &str = "SET \\\"nextAttemptAt\\\"";

/// 6: the queue has given the message out, the answer never arrived. It is hidden, then it comes
/// again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_point_06_receive_reply_lost() {
    let sink = Sink::healthy().await;
    let world = World::with_acme(&sink.url("hook")).await;
    let node = Node::new(&world).await;
    let lost = node.proxy.lose(Calls::after("ReceiveMessage", "").answered("MessageId"), 1);
    let daemon = node.start().await;
    let event = world.accept().await;
    lost.reached().await;
    assert_eq!((sink.count(), world.depth().await), (0, (0, 1)));
    world.show_hidden();
    world.until_row(&event, "DELIVERED", |row| row.status == EventStatus::Delivered).await;
    // Shown once more while its deletion is on its way, it would be looked up once more.
    eventually("its message is gone", async || world.depth().await == (0, 0)).await;
    assert_eq!(sink.count(), 1);
    assert_eq!(figure(&daemon, "rows_read").await, 1, "a second receipt is looked up first");
}

/// 7: received, and nothing begun: the daemon asks for the tenant when it dies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_point_07_received_before_started() {
    both(async |after| {
        let sink = Sink::healthy().await;
        let world = World::with_acme(&sink.url("hook")).await;
        let node = Node::new(&world).await;
        let point = node.proxy.hold(Calls::before("GetItem", "TenantWebhookConfig"));
        let daemon = node.start().await;
        let event = world.accept().await;
        point.reached().await;
        let node = after.crash(&world, node, daemon).await;
        let _daemon = node.start().await;
        assert_eq!((sink.count(), world.depth().await), (0, (0, 1)));
        world.show_hidden();
        world.until_settled(&event, EventStatus::Delivered).await;
        assert_eq!(sink.count(), 1);
    })
    .await;
}

/// 8: marked as started, and no byte of the POST is sent: the receiver's TLS never answers. The
/// next attempt goes to where the tenant is by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_point_08_started_post_not_begun() {
    both(async |after| {
        let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let target = format!("https://{}/", silent.local_addr().expect("bound"));
        let world = World::with_acme(&target).await;
        let node = Node::new(&world).await;
        let daemon = node.start().await;
        let event = world.accept().await;
        let _connection = silent.accept().await.expect("the daemon connects");
        let node = after.crash(&world, node, daemon).await;
        let sink = Sink::healthy().await;
        world.move_tenant("acme", &sink.url("hook")).await;
        let _daemon = node.start().await;
        world.show_hidden();
        world.until_settled(&event, EventStatus::Delivered).await;
        let attempts: Vec<u32> = sink.received().iter().map(|received| received.attempt).collect();
        assert_eq!(attempts, [1], "what was cut off is not counted as a failure");
    })
    .await;
}

/// A receiver that never answers its first request.
async fn silent_once() -> Sink {
    let requests = AtomicUsize::new(0);
    Sink::start(move |_| {
        let is_first = requests.fetch_add(1, Ordering::Relaxed) == 0;
        Reply { delay: Duration::from_secs(if is_first { 600 } else { 0 }), ..Reply::status(200) }
    })
    .await
}

/// 9: the POST is out, the answer is not in: it is sent again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_point_09_post_sent_no_answer_read() {
    both(async |after| {
        let sink = silent_once().await;
        let world = World::with_acme(&sink.url("hook")).await;
        let node = Node::new(&world).await;
        let daemon = node.start().await;
        let event = world.accept().await;
        eventually("the receiver has it", async || sink.count() == 1).await;
        let node = after.crash(&world, node, daemon).await;
        let _daemon = node.start().await;
        world.show_hidden();
        world.until_settled(&event, EventStatus::Delivered).await;
        let received = sink.received();
        let [first, second] = &received[..] else { panic!("{} requests", received.len()) };
        assert_eq!((&first.event, &first.body), (&second.event, &second.body));
        assert_eq!((first.attempt, second.attempt), (1, 1));
    })
    .await;
}

/// 10: the receiver has said yes, and nothing has noted it. Nothing outside the process lies
/// between reading an answer and noting it, so the process is stopped while the answer is on its
/// way, and killed with the answer in its socket.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_point_10_answered_outcome_not_stored() {
    both(async |after| {
        let receiver = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let target = format!("http://{}/", receiver.local_addr().expect("bound"));
        let world = World::with_acme(&target).await;
        let node = Node::new(&world).await;
        let daemon = node.start().await;
        let event = world.accept().await;
        let (mut connection, _) = receiver.accept().await.expect("the daemon connects");
        message(&mut connection).await.expect("a request");
        daemon.stand_still().await;
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        connection.write_all(answer).await.expect("the connection is there");
        let node = after.crash(&world, node, daemon).await;
        let sink = Sink::healthy().await;
        world.move_tenant("acme", &sink.url("hook")).await;
        let _daemon = node.start().await;
        world.show_hidden();
        world.until_settled(&event, EventStatus::Delivered).await;
        assert_eq!(sink.count(), 1, "once more, as the table allows");
    })
    .await;
}

/// 11: the outcome is in the outbox, the row does not have it. With the disk the outbox writes it;
/// without, somebody else sends again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_point_11_outcome_local_row_not_written() {
    both(async |after| {
        let sink = Sink::healthy().await;
        let world = World::with_acme(&sink.url("hook")).await;
        let node = Node::new(&world).await;
        let point = node.proxy.hold(Calls::before("BatchExecuteStatement", DELIVER));
        let daemon = node.start().await;
        let event = world.accept().await;
        point.reached().await;
        let node = after.crash(&world, node, daemon).await;
        assert_eq!(world.row(&event).await.status, EventStatus::Pending);
        let _daemon = node.start().await;
        world.show_hidden();
        world.until_settled(&event, EventStatus::Delivered).await;
        assert_eq!(sink.count(), if after == After::Restart { 1 } else { 2 });
    })
    .await;
}

/// 12 and 16: the row is written, and the instance does not know: the write is made again, refused,
/// and recognised, or the row is looked at. So the outbox is not cleared either (16); nothing
/// outside the process lies between the answer and the clearing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_point_12_and_16_row_written_outbox_not_cleared() {
    both(async |after| {
        let sink = Sink::healthy().await;
        let world = World::with_acme(&sink.url("hook")).await;
        let node = Node::new(&world).await;
        let point = node.proxy.hold(Calls::after("BatchExecuteStatement", DELIVER));
        let daemon = node.start().await;
        let event = world.accept().await;
        point.reached().await;
        let node = after.crash(&world, node, daemon).await;
        assert_eq!(world.row(&event).await.status, EventStatus::Delivered);
        let replayed = node.proxy.count(Calls::after("BatchExecuteStatement", DELIVER));
        let _daemon = node.start().await;
        world.until_settled(&event, EventStatus::Delivered).await;
        if after == After::Restart {
            replayed.reached().await;
        }
        assert_eq!(sink.count(), 1);
    })
    .await;
}

/// 12, and the process lives: it makes the write again and finds its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_point_12_row_written_reply_lost_and_written_again() {
    let sink = Sink::start(|it| Reply::status(if it.attempt == 1 { 500 } else { 200 })).await;
    let world = World::with_acme(&sink.url("hook")).await;
    let node = Node::new(&world).await;
    let failure = node.proxy.lose(Calls::after("BatchExecuteStatement", FAIL), 1);
    let success = node.proxy.lose(Calls::after("BatchExecuteStatement", DELIVER), 1);
    let daemon = node.start().await;
    let event = world.accept().await;
    world.until_settled(&event, EventStatus::Delivered).await;
    failure.reached_times(2).await;
    success.reached_times(2).await;
    assert_eq!(sink.count(), 2);
    eventually("both outcomes are its own", async || {
        figure(&daemon, "outcomes_written").await == 2
    })
    .await;
    assert_eq!(figure(&daemon, "outcomes_dropped").await, 0);
}

/// 13: the row is written, the message is still there: whoever receives it looks at the row.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_point_13_row_written_before_delete() {
    both(async |after| {
        let sink = Sink::healthy().await;
        let world = World::with_acme(&sink.url("hook")).await;
        let node = Node::new(&world).await;
        let point = node.proxy.hold(Calls::before("DeleteMessageBatch", ""));
        let daemon = node.start().await;
        let event = world.accept().await;
        point.reached().await;
        let node = after.crash(&world, node, daemon).await;
        assert_eq!(world.depth().await, (0, 1));
        let daemon = node.start().await;
        world.until_settled(&event, EventStatus::Delivered).await;
        assert_eq!(sink.count(), 1);
        assert_eq!(figure(&daemon, "copies_deleted").await, 1, "acked without an attempt");
    })
    .await;
}

/// 13 with a failure in the row: the message goes, the retry comes from the timer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_point_13_failure_written_before_delete() {
    both(async |after| {
        let sink = Sink::start(|it| Reply::status(if it.attempt == 1 { 500 } else { 200 })).await;
        let world = World::with_acme(&sink.url("hook")).await;
        let node = Node::new(&world).await;
        let point = node.proxy.hold(Calls::before("DeleteMessageBatch", ""));
        let daemon = node.start().await;
        let event = world.accept().await;
        point.reached().await;
        let node = after.crash(&world, node, daemon).await;
        if after == After::TakeOver {
            world.end_lease(&event).await;
        }
        let _daemon = node.start().await;
        world.until_settled(&event, EventStatus::Delivered).await;
        let attempts: Vec<u32> = sink.received().iter().map(|received| received.attempt).collect();
        assert_eq!(attempts, [1, 2]);
    })
    .await;
}

/// 14: the answer to a deletion is lost, or one of its entries fails: it is made again, and a copy
/// that comes back is deleted without an attempt.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_point_14_delete_failed_or_reply_lost() {
    let sink = Sink::healthy().await;
    let world = World::with_acme(&sink.url("hook")).await;
    let node = Node::new(&world).await;
    let lost = node.proxy.lose(Calls::after("DeleteMessageBatch", ""), 1);
    let _daemon = node.start().await;
    let event = world.accept().await;
    lost.reached_times(2).await;
    world.until_settled(&event, EventStatus::Delivered).await;
    let rule = json!({
        "operation": "DeleteMessageBatch", "times": 1, "faults": { "partial": 1.0 },
    });
    world.faults(&json!({ "rules": [rule] }));
    let event = world.accept().await;
    world.until_settled(&event, EventStatus::Delivered).await;
    assert_eq!(world.sim.counters().faults.get("partial"), Some(&1));
    assert_eq!(sink.count(), 2);
}

/// 15: SQS acknowledges a deletion, and a copy comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_point_15_copy_comes_back_after_its_deletion() {
    let sink = Sink::healthy().await;
    let world = World::with_acme(&sink.url("hook")).await;
    let rule = json!({
        "operation": "DeleteMessageBatch", "times": 1, "faults": { "resurrect": 1.0 },
    });
    world.faults(&json!({ "rules": [rule] }));
    let node = Node::new(&world).await;
    let daemon = node.start().await;
    let event = world.accept().await;
    eventually("it comes back", async || world.sim.counters().faults.get("resurrect") == Some(&1))
        .await;
    world.until_settled(&event, EventStatus::Delivered).await;
    eventually("the copy is deleted", async || {
        world.show_hidden();
        figure(&daemon, "copies_deleted").await == 1
    })
    .await;
    world.until_settled(&event, EventStatus::Delivered).await;
    assert_eq!(sink.count(), 1);
}

/// For all ways in which SQS gives out more than it got: one attempt.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duplicates_are_deleted_without_an_attempt() {
    let sink = Sink::healthy().await;
    let world = World::with_acme(&sink.url("hook")).await;
    world.faults(&json!({ "sqs": { "duplicate": 0.5, "resurrect": 0.2, "reorder": 0.5 } }));
    let node = Node::new(&world).await;
    let daemon = node.start().await;
    let mut events = Vec::new();
    for _ in 0..50 {
        events.push(world.accept().await);
    }
    eventually("each has arrived", async || sink.by_event().len() == 50).await;
    world.faults(&json!({}));
    for event in &events {
        world.until_settled(event, EventStatus::Delivered).await;
    }
    assert_eq!(sink.count(), 50);
    let copies = figure(&daemon, "received").await - figure(&daemon, "taken").await;
    assert!(copies > 0, "no copies, no test");
    let [deleted, renewed, left] = [
        figure(&daemon, "copies_deleted").await,
        figure(&daemon, "copies_renewed").await,
        figure(&daemon, "left_alone").await,
    ];
    assert_eq!(copies, deleted + renewed + left);
}
