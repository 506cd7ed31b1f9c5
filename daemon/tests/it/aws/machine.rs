//! Crash points 36 and 37: the disk is full, or fails.
//!
//! It needs a small file system of its own, so it is skipped, and says so, where none can
//! be mounted.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use posthaste_domain::EventStatus;
use tempfile::TempDir;

use super::outages::until_unready;
use super::proxy::Calls;
use super::world::{Node, World, figure};
use crate::support::daemon::Home;
use crate::support::eventually;
use crate::support::sink::{Reply, Sink};

/// A file system in memory of 192 MiB; unmounted when dropped.
struct Disk(TempDir);

impl Disk {
    #[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=192m", "posthaste-test"]).arg(folder.path());
        if mount.output().is_ok_and(|output| output.status.success()) {
            return Some(Self(folder));
        }
        println!("SKIPPED: no file system can be mounted here (it takes root)");
        None
    }

    /// Takes up room until less than `left` bytes are free.
    fn fill(&self, left: u64) -> PathBuf {
        let path = self.0.path().join("filler");
        let mut file = File::create(&path).expect("a file");
        let chunk = vec![0x55; 64 << 10];
        while self.free() >= left.max(1) && file.write_all(&chunk).is_ok() {}
        path
    }

    fn free(&self) -> u64 {
        let stat = rustix::fs::statvfs(self.0.path()).expect("mounted");
        stat.f_bavail * stat.f_frsize
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Where it does not go now, it goes with the mount namespace or the machine.
        drop(Command::new("umount").arg("--lazy").arg(self.0.path()).output());
    }
}

/// 36: the ledger cannot be written. The process says why and ends with 70; its next life, with
/// room, or another instance, brings everything to its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_point_36_a_failed_commit_ends_the_process() {
    const EVENTS: usize = 60;
    let Some(disk) = Disk::mount() else { return };
    let sink = Sink::start(|it| Reply::status(if it.attempt == 1 { 500 } else { 200 })).await;
    let world = World::with_acme(&sink.url("hook")).await;
    let node = Node::new(&world).await.with("data.free-space-floor", "0B");
    let node = Node { home: Home::at(disk.0.path()), ..node };
    let daemon = node.start().await;
    let filler = disk.fill(0);
    let payload = format!("\"{}\"", "x".repeat(50 << 10));
    let mut events = Vec::new();
    for _ in 0..EVENTS {
        events.push(world.accept_of("acme", payload.as_bytes()).await);
    }
    let (status, printed) = daemon.ended().await;
    assert_eq!(status.code(), Some(70), "{printed}");
    assert!(printed.contains("the ledger failed"), "{printed}");
    assert!(!printed.contains("panicked"), "{printed}");
    fs::remove_file(filler).expect("the filler is there");
    for event in &events {
        if world.row(event).await.lease.is_some() {
            world.end_lease(event).await;
        }
    }
    let _daemon = node.start().await;
    for event in &events {
        world.until_settled_shown(event, EventStatus::Delivered).await;
    }
    let seen = sink.by_event();
    assert_eq!(seen.len(), EVENTS);
    // The failure, the success, and once more what had no outcome in its row.
    assert!(seen.values().all(|times| times.len() <= 3), "more than one repeat");
}

/// 37: the disk is nearly full. `/readyz` says so, nothing is received any more, what is owed is
/// delivered, and with room again the rest is received.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_point_37_disk_full() {
    let Some(disk) = Disk::mount() else { return };
    let is_up = Arc::new(AtomicBool::new(false));
    let up = Arc::clone(&is_up);
    let sink =
        Sink::start(move |_| Reply::status(if up.load(Ordering::Relaxed) { 200 } else { 503 }))
            .await;
    let world = World::with_acme(&sink.url("hook")).await;
    let node = Node::new(&world).await;
    let node = Node { home: Home::at(disk.0.path()), ..node };
    let answered = node.proxy.count(Calls::after("ReceiveMessage", ""));
    let daemon = node.start().await;
    let waiting = world.accept().await;
    world.until_waiting(&waiting).await;
    let filler = disk.fill(48 << 20);
    until_unready(&daemon, "disk too full").await;
    // What was asked for before is answered, with nothing.
    eventually("no poll is under way", async || {
        world.show_hidden();
        usize::try_from(figure(&daemon, "polls").await) == Ok(answered.met())
    })
    .await;
    let fresh = world.accept().await;
    is_up.store(true, Ordering::Relaxed);
    world.until_row(&waiting, "delivered", |row| row.status == EventStatus::Delivered).await;
    assert_eq!(world.depth().await, (1, 0), "nobody has received it");
    fs::remove_file(filler).expect("the filler is there");
    daemon.ready().await;
    world.until_settled(&fresh, EventStatus::Delivered).await;
    assert_eq!(sink.count(), 3, "a failure and a success of the one, a success of the other");
}
