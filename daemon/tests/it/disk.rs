//! A disk that fills up. Needs a small file system of its own, so it is skipped, and says so,
//! where none can be mounted.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempDir;

use crate::support::daemon::{Daemon, Home, Setup};
use crate::support::eventually;
use crate::support::sink::{Reply, Sink};

/// A file system in memory of 256 MiB; unmounted when dropped.
struct Disk(TempDir);

impl Disk {
    #[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=256m", "posthaste-test"]).arg(folder.path());
        if mount.output().is_ok_and(|output| output.status.success()) {
            return Some(Self(folder));
        }
        println!("SKIPPED: no file system can be mounted here (it takes root)");
        None
    }

    fn home(&self) -> Home {
        Home::at(self.0.path())
    }

    /// Takes up room until less than `left` bytes are free.
    fn fill(&self, left: u64) -> PathBuf {
        let path = self.0.path().join("filler");
        let mut file = File::create(&path).expect("a file");
        let chunk = vec![0x55; 64 << 10];
        while self.free() >= left.max(1) {
            if file.write_all(&chunk).is_err() {
                break;
            }
        }
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

/// Below the floor new events get 507 and `/readyz` says why, while what is owed is delivered and
/// settled; with room again, events are taken again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_events_and_delivers_what_is_owed() {
    let Some(disk) = Disk::mount() else { return };
    let home = disk.home();
    let setup = Setup::default()
        .with("data.free-space-floor", "64MiB")
        .with("data.ballast", "16MiB")
        .with("retry.delays", "100ms")
        .with("retry.attempts-max", 100);
    let daemon = Daemon::start(&home, &setup).await;
    let up = Arc::new(AtomicBool::new(false));
    let is_up = Arc::clone(&up);
    let sink =
        Sink::start(move |_| Reply::status(if is_up.load(Ordering::Relaxed) { 200 } else { 503 }))
            .await;
    let key = daemon.tenant("acme", &sink.url("hook")).await;
    let mut client = daemon.client(&key);
    for _ in 0..20 {
        assert_eq!(client.post("/v1/events", "{}").await.expect("an answer").status, 201);
    }
    let filler = disk.fill(48 << 20);
    eventually("events are refused", async || {
        let answer = client.post("/v1/events", "{}").await.expect("an answer");
        assert!([201, 507].contains(&answer.status.as_u16()), "{:?}", answer.body);
        answer.status == 507
    })
    .await;
    let ready = daemon.admin_get("/readyz").await;
    assert_eq!(ready.status, 503);
    assert!(String::from_utf8_lossy(&ready.body).contains("disk too full"), "{:?}", ready.body);
    up.store(true, Ordering::Relaxed);
    eventually("everything owed is delivered and settled", async || {
        daemon.metric("posthaste_engine_deliveries", "state=\"held\"").await == 0.0
            && daemon.metric("posthaste_deliveries_total", "\"delivered\"").await >= 20.0
    })
    .await;
    fs::remove_file(filler).expect("the filler is there");
    eventually("events are taken again", async || {
        client.post("/v1/events", "{}").await.expect("an answer").status == 201
    })
    .await;
    daemon.ready().await;
}

/// Where a write fails all the same, the process says why and ends with 70; nothing that got a 201
/// is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_write_ends_the_process_and_loses_nothing() {
    let Some(disk) = Disk::mount() else { return };
    let home = disk.home();
    // No floor and no ballast: the disk is met at full speed.
    let setup = Setup::default().with("data.free-space-floor", "0B").with("data.ballast", "0B");
    let sink = Sink::healthy().await;
    let daemon = Daemon::start(&home, &setup).await;
    let key = daemon.tenant("acme", &sink.url("hook")).await;
    let mut client = daemon.client(&key);
    let mut accepted = Vec::new();
    let filler = disk.fill(0);
    let body = format!("{{\"pad\":\"{}\"}}", "x".repeat(200 << 10));
    while let Ok(answer) = client.post("/v1/events", body.clone()).await {
        if answer.status != 201 {
            break;
        }
        accepted.push(answer.json()["event_id"].as_str().expect("an id").to_owned());
    }
    let (status, printed) = daemon.ended().await;
    assert_eq!(status.code(), Some(70), "{printed}");
    assert!(printed.contains("the ledger failed"), "{printed}");
    assert!(!printed.contains("panicked"), "{printed}");
    fs::remove_file(filler).expect("the filler is there");
    let _daemon = Daemon::start(&home, &setup).await;
    eventually("every accepted event is delivered", async || {
        let delivered = sink.by_event();
        accepted.iter().all(|event| delivered.contains_key(event))
    })
    .await;
}
