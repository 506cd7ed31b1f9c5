//! Crash points 17 to 26: while retries wait, and when somebody else takes them over.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use posthaste_domain::{EventStatus, RowKey};
use rustix::process::Signal;
use serde_json::json;

use super::proxy::Calls;
use super::world::{After, Node, World, figure};
use crate::support::daemon::Daemon;
use crate::support::eventually;
use crate::support::sink::{Reply, Sink};

const HOUR_MS: i64 = 60 * 60 * 1000;
/// The write that takes a row over.
const CLAIM: &str = "\\\"wk\\\" IS NOT MISSING";

/// A receiver that refuses the first attempt of each event.
async fn second_time_lucky() -> Sink {
    Sink::start(|it| Reply::status(if it.attempt == 1 { 500 } else { 200 })).await
}

/// An event whose first attempt the receiver has refused, and the daemon that has its retry.
async fn a_retry_waits() -> (Sink, World, Node, Daemon, RowKey) {
    let sink = second_time_lucky().await;
    let world = World::with_acme(&sink.url("hook")).await;
    let node = Node::new(&world).await;
    let daemon = node.start().await;
    let event = world.accept().await;
    world.until_waiting(&event).await;
    (sink, world, node, daemon, event)
}

fn attempts(sink: &Sink) -> Vec<u32> {
    sink.received().iter().map(|received| received.attempt).collect()
}

/// 17: killed while a retry waits. The timer is on the disk, the lease is its own: nobody claims.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_point_17_killed_while_a_retry_waits() {
    let (sink, world, node, daemon, event) = a_retry_waits().await;
    let due = world.row(&event).await.next_attempt_at;
    let node = After::Restart.crash(&world, node, daemon).await;
    let claims = node.proxy.count(Calls::before("BatchExecuteStatement", CLAIM));
    let _daemon = node.start().await;
    assert_eq!(world.row(&event).await.next_attempt_at, due, "a restart changes no schedule");
    world.until_settled(&event, EventStatus::Delivered).await;
    assert_eq!((attempts(&sink), claims.met()), (vec![1, 2], 0));
}

/// 23: killed while a retry waits, and its clock is set back before it starts: by its own clock the
/// lease lasts for minutes, by the table's it is over. It claims the row before it attempts, and
/// says that its clock is off.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_point_23_a_clock_set_back_over_a_restart() {
    let (sink, world, node, daemon, event) = a_retry_waits().await;
    let node = After::Restart.crash(&world, node, daemon).await;
    world.sim.skip_ms(10 * 60 * 1000);
    let claims = node.proxy.count(Calls::before("BatchExecuteStatement", CLAIM));
    let daemon = node.start().await;
    world.until_settled(&event, EventStatus::Delivered).await;
    assert_eq!((attempts(&sink), claims.met()), (vec![1, 2], 1));
    eventually("it says so", async || daemon.printed().contains("clock is not the table's")).await;
}

/// 18: instance and disk are lost while a retry waits. Its lease ends, somebody else sweeps.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_point_18_disk_lost_while_a_retry_waits() {
    let (sink, world, node, daemon, event) = a_retry_waits().await;
    let node = After::TakeOver.crash(&world, node, daemon).await;
    let daemon = node.start().await;
    eventually("the other one sweeps", async || swept(&world) >= 64).await;
    assert_eq!(figure(&daemon, "claimed").await, 0, "not before the lease ends");
    world.end_lease(&event).await;
    world
        .until_row(&event, "it is taken over", |row| {
            row.is_final() || row.lease.as_ref().is_some_and(|lease| lease.epoch == 2)
        })
        .await;
    world.until_settled(&event, EventStatus::Delivered).await;
    assert_eq!(attempts(&sink), [1, 2]);
    assert_eq!(figure(&daemon, "claimed").await, 1);
}

/// Queries of the work index, of all daemons.
fn swept(world: &World) -> u64 {
    world.sim.counters().operations.get("Query").map_or(0, |count| count.requests)
}

/// 19: the disk comes back as it was some time ago. What it does not know any more is the same
/// instance's by the row, and found by its own sweep when the lease ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_point_19_ledger_silently_older() {
    let sink = second_time_lucky().await;
    let world = World::with_acme(&sink.url("hook")).await;
    let node = Node::new(&world).await;
    node.start().await.kill();
    let older = node.home.data().with_extension("older");
    copy(&node.home.data(), &older);
    let daemon = node.start().await;
    let event = world.accept().await;
    world.until_waiting(&event).await;
    daemon.kill();
    fs::remove_dir_all(node.home.data()).expect("the data directory");
    fs::rename(&older, node.home.data()).expect("the older one");
    let daemon = node.start().await;
    world.end_lease(&event).await;
    world.until_settled(&event, EventStatus::Delivered).await;
    assert_eq!(attempts(&sink), [1, 2]);
    assert_eq!(figure(&daemon, "claimed").await, 1, "its own row, by its own sweep");
}

/// Copies a directory as it is.
pub(super) fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.expect("cp is there").success());
}

/// 20: the ledger does not open. It is set aside, the daemon starts with an empty one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_point_20_ledger_will_not_open() {
    let (sink, world, node, daemon, event) = a_retry_waits().await;
    daemon.kill();
    let mut files = Vec::new();
    files_in(&node.home.data().join("ledger"), &mut files);
    assert!(!files.is_empty(), "the store is where this test expects it");
    for file in files {
        let length = fs::metadata(&file).expect("a file").len();
        fs::write(&file, vec![0xA5; usize::try_from(length).expect("small")]).expect("written");
    }
    world.end_lease(&event).await;
    let daemon = node.start().await;
    let set_aside = fs::read_dir(node.home.data()).expect("the data directory").any(|entry| {
        entry.expect("readable").file_name().to_string_lossy().starts_with("quarantine-")
    });
    assert!(set_aside, "{}", daemon.printed());
    assert!(daemon.printed().contains("started empty"), "{}", daemon.printed());
    world.until_settled(&event, EventStatus::Delivered).await;
    assert_eq!(attempts(&sink), [1, 2]);
}

fn files_in(folder: &Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            files_in(&path, files);
        } else {
            files.push(path);
        }
    }
}

/// 21: paused until its lease is over and somebody else has delivered. At most one more request
/// goes out, and what comes of it changes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_point_21_paused_beyond_the_lease() {
    let sink = second_time_lucky().await;
    let world = World::with_acme(&sink.url("hook")).await;
    let (paused, other) = (Node::new(&world).await, Node::new(&world).await);
    let sleeper = paused.start().await;
    let event = world.accept().await;
    world.until_waiting(&event).await;
    sleeper.stand_still().await;
    world.end_lease(&event).await;
    let daemon = other.start().await;
    world.until_settled(&event, EventStatus::Delivered).await;
    assert_eq!(figure(&daemon, "claimed").await, 1);
    let delivered = world.row(&event).await;
    sleeper.signal(Signal::CONT);
    // Its timer is overdue: it has made up its mind when the job is gone.
    eventually("it has nothing left to do", async || {
        sleeper.metric("posthaste_engine_deliveries", "state=\"held\"").await == 0.0
            && figure(&sleeper, "unwritten").await == 0
            && sleeper.metric("posthaste_engine_deliveries", "").await == 0.0
    })
    .await;
    assert!([2, 3].contains(&sink.count()), "{:?}", attempts(&sink));
    assert_eq!(world.row(&event).await, delivered, "DELIVERED never changes");
}

/// 22: the lease ends while a retry is in flight, and somebody else delivers. What the first one
/// hears then is not written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_point_22_in_flight_as_the_lease_ends() {
    let seconds = AtomicUsize::new(0);
    let sink = Sink::start(move |it| {
        let is_slow = it.attempt == 2 && seconds.fetch_add(1, Ordering::Relaxed) == 0;
        let delay = Duration::from_secs(if is_slow { 5 } else { 0 });
        let fails = it.attempt == 1 || is_slow;
        Reply { delay, ..Reply::status(if fails { 500 } else { 200 }) }
    })
    .await;
    let world = World::with_acme(&sink.url("hook")).await;
    let node = Node::new(&world).await.with("retry.delays", "300ms");
    let slow = node.start().await;
    let event = world.accept().await;
    eventually("the second attempt is in flight", async || sink.count() == 2).await;
    world.end_lease(&event).await;
    let other = Node::new(&world).await;
    let _daemon = other.start().await;
    world.until_settled(&event, EventStatus::Delivered).await;
    let delivered = world.row(&event).await;
    eventually("the late answer is dropped", async || figure(&slow, "outcomes_dropped").await == 1)
        .await;
    assert_eq!(world.row(&event).await, delivered);
    assert_eq!(attempts(&sink), [1, 2, 2]);
}

/// 23: the owner's clock is an hour behind the table's. The retry is due when that clock says so,
/// and the lease lasts longer, by the table's: nobody takes the row before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_point_23_a_clock_that_is_an_hour_behind() {
    let sink = second_time_lucky().await;
    let world = World::with_acme(&sink.url("hook")).await;
    world.sim.skip_ms(HOUR_MS.unsigned_abs());
    let behind = Node::new(&world).await.with("retry.delays", "4s");
    let _owner = behind.start().await;
    let event = world.accept().await;
    world.until_waiting(&event).await;
    let row = world.row(&event).await;
    let (lease, due) = (row.lease.expect("it waits"), row.next_attempt_at.expect("it waits"));
    assert!(lease.until.millis_since(due) > HOUR_MS.unsigned_abs(), "{lease:?}, due {due}");
    let node = Node::new(&world).await;
    let other = node.start().await;
    world.until_settled(&event, EventStatus::Delivered).await;
    assert_eq!((attempts(&sink), figure(&other, "claimed").await), (vec![1, 2], 0));
    let row = world.row(&event).await;
    assert_eq!((row.status, row.attempts), (EventStatus::Delivered, 2));
}

/// 23: the owner's clock was an hour ahead, and it is gone with its disk. Its lease lasts an hour
/// longer, which costs the event that time and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_point_23_a_clock_that_is_an_hour_ahead() {
    let (sink, world, node, daemon, event) = a_retry_waits().await;
    world.move_lease(&event, HOUR_MS).await;
    let node = After::TakeOver.crash(&world, node, daemon).await;
    let daemon = node.start().await;
    let before = swept(&world);
    eventually("it sweeps twice", async || swept(&world) >= before + 128).await;
    assert_eq!((figure(&daemon, "claimed").await, attempts(&sink)), (0, vec![1]));
    // The hour passes.
    world.move_lease(&event, -2 * HOUR_MS).await;
    world.until_settled(&event, EventStatus::Delivered).await;
    assert_eq!(attempts(&sink), [1, 2]);
}

/// A row whose daemon has gone, with its disk, and whose lease is over.
async fn orphan(world: &World) -> RowKey {
    let node = Node::new(world).await;
    let daemon: Daemon = node.start().await;
    let event = world.accept().await;
    world.until_waiting(&event).await;
    daemon.kill();
    world.end_lease(&event).await;
    event
}

/// 24: a claim is written and its answer is lost. The daemon makes it again and finds its own; or
/// it dies, and the row is taken over once more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_point_24_claim_written_reply_lost() {
    let sink = second_time_lucky().await;
    let world = World::with_acme(&sink.url("hook")).await;
    let event = orphan(&world).await;
    let node = Node::new(&world).await;
    let point = node.proxy.hold(Calls::after("BatchExecuteStatement", CLAIM));
    let daemon = Daemon::spawn(&node.home, &node.setup);
    point.reached().await;
    let node = After::Restart.crash(&world, node, daemon).await;
    assert_eq!(world.row(&event).await.lease.expect("claimed").epoch, 2);
    world.end_lease(&event).await;
    let lost = node.proxy.lose(Calls::after("BatchExecuteStatement", CLAIM), 1);
    let daemon = node.start().await;
    lost.reached_times(2).await;
    world.until_settled(&event, EventStatus::Delivered).await;
    assert_eq!(attempts(&sink), [1, 2]);
    assert_eq!(figure(&daemon, "claimed").await, 1);
}

/// 25: two sweep the same row at the same time: one gets it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_point_25_two_sweepers_one_row() {
    let sink = second_time_lucky().await;
    let world = World::with_acme(&sink.url("hook")).await;
    let event = orphan(&world).await;
    let (one, two) = (Node::new(&world).await, Node::new(&world).await);
    let points =
        [&one, &two].map(|node| node.proxy.hold(Calls::before("BatchExecuteStatement", CLAIM)));
    let daemons = [&one, &two].map(|node| Daemon::spawn(&node.home, &node.setup));
    for point in &points {
        point.reached().await;
    }
    for point in &points {
        point.open();
    }
    world.until_settled(&event, EventStatus::Delivered).await;
    let mut claimed = 0;
    for daemon in &daemons {
        claimed += figure(daemon, "claimed").await;
    }
    assert_eq!((claimed, attempts(&sink)), (1, vec![1, 2]));
}

/// 26: the index still shows a row that owes nothing any more: nobody claims it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_point_26_stale_index_entry() {
    let sink = second_time_lucky().await;
    let world = World::with_acme(&sink.url("hook")).await;
    world.faults(&json!({ "dynamodb": { "index-delay-ms": 4000 } }));
    let node = Node::new(&world).await.with("retry.delays", "3s");
    let _owner = node.start().await;
    let event = world.accept().await;
    world.until_waiting(&event).await;
    // The index shows it after 4 s; delivered after 3 s, it is gone from there after 7 s.
    world.end_lease(&event).await;
    let other = Node::new(&world).await;
    let seen = other.proxy.count(Calls::after("Query", "\"work\"").answered(event_text(&event)));
    let claims = other.proxy.count(Calls::before("BatchExecuteStatement", CLAIM));
    let daemon = other.start().await;
    seen.reached().await;
    assert_eq!(world.row(&event).await.status, EventStatus::Delivered);
    eventually("it has looked", async || swept(&world) > 0).await;
    let reads = other.proxy.count(Calls::after("Query", "\"work\""));
    reads.reached_times(64).await;
    assert_eq!((claims.met(), figure(&daemon, "claimed").await), (0, 0));
    assert_eq!(attempts(&sink), [1, 2]);
}

/// Words of an answer that names this event.
fn event_text(event: &RowKey) -> &'static str {
    // A test's own, once.
    Box::leak(event.event.to_string().into_boxed_str())
}
