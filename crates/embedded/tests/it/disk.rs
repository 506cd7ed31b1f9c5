//! Directories that cannot be used, and disks that are full or fail.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use posthaste_domain::{Resolution, Timestamp};
use posthaste_embedded::{Health, Ledger, OpenError, Settings};
use posthaste_ports::memory::NullSink;
use posthaste_ports::{EventStore as _, Journal as _, PortError, Settled};

use crate::support::{Home, Witnessed, create, event, noise, outcome};

fn refused(settings: Settings) -> OpenError {
    Ledger::open(settings, Arc::new(NullSink), Arc::new(Witnessed::default()))
        .expect_err("this directory cannot be used")
}

#[tokio::test]
async fn a_directory_in_use_is_refused_with_its_user() {
    let home = Home::new();
    let (ledger, _) = home.open();
    let error = refused(home.settings());
    let OpenError::Locked { holder, .. } = &error else { panic!("{error}") };
    assert_eq!(*holder, Some(std::process::id()));
    assert!(error.to_string().contains("another process"), "{error}");
    // The owner does not notice.
    create(&ledger, "acme").await;
    ledger.close().await;
    drop(ledger);
    let (again, _) = home.open();
    again.close().await;
}

#[test]
fn what_is_no_directory_of_ours_is_refused_by_name() {
    let home = Home::new();
    fs::write(home.data(), "a file").unwrap();
    let error = refused(home.settings());
    assert!(matches!(error, OpenError::NotADirectory { .. }), "{error}");
    fs::remove_file(home.data()).unwrap();
    fs::create_dir(home.data()).unwrap();
    fs::write(home.data().join("FORMAT"), "999\n").unwrap();
    let error = refused(home.settings());
    assert!(matches!(error, OpenError::NewerFormat { found: 999, known: 2, .. }), "{error}");
    fs::write(home.data().join("FORMAT"), "a poem").unwrap();
    let error = refused(home.settings());
    assert!(matches!(error, OpenError::UnknownFormat { .. }), "{error}");
    // Where nobody may write, not even root.
    let error = refused(Settings::new("/proc/posthaste-data"));
    assert!(matches!(error, OpenError::Unusable { .. }), "{error}");
    assert!(error.to_string().contains("/proc/posthaste-data"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn below_the_floor_nothing_new_is_accepted_but_settled() {
    let home = Home::new();
    let (ledger, _) = home.open();
    create(&ledger, "acme").await;
    let new = event(1, "{}");
    let id = new.id;
    ledger.accept(vec![new]).await.unwrap();
    ledger.close().await;
    drop(ledger);
    let full = Settings { free_space_floor_bytes: u64::MAX, ..home.settings() };
    let (ledger, _) = home.open_with(full, Arc::new(NullSink)).unwrap();
    assert_eq!(ledger.health(), Health::Full);
    assert_eq!(ledger.accept(vec![event(2, "{}")]).await, Err(PortError::Full));
    let due = Timestamp::from_millis(9_000);
    let settled = ledger.settle(vec![outcome(id, Resolution::Retry { due })]).await;
    assert_eq!(settled, Ok(vec![Settled::Settled]));
    ledger.close().await;
}

/// A file system of a few MiB, where this process may mount one.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    pub(crate) fn mount(path: &Path, mib: u32) -> Option<Self> {
        fs::create_dir(path).ok()?;
        let size = format!("size={mib}m");
        let mut mount = Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", &size, "none"]).arg(path).output();
        mounted.is_ok_and(|output| output.status.success()).then(|| Self(path.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

/// A disk that is full in the middle of a commit: the batch is refused, so is everything after it,
/// and what was answered before is there when the disk has room again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_write_is_never_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(&folder.path().join("disk"), 24) else {
        println!("SKIPPED: mounting a small file system needs root");
        return;
    };
    // No floor and no ballast: this is what they are there to prevent.
    let settings = Settings {
        free_space_floor_bytes: 0,
        ballast_bytes: 0,
        ..Settings::new(disk.0.join("data"))
    };
    let watched = Arc::new(Witnessed::default());
    let observer = Arc::clone(&watched);
    let (ledger, _) = Ledger::open(settings.clone(), Arc::new(NullSink), observer).unwrap();
    create(&ledger, "acme").await;
    let mut answered = Vec::new();
    let failure = loop {
        let new = event(1 + answered.len() as u64, noise(answered.len(), 1 << 19));
        let id = new.id;
        match ledger.accept(vec![new]).await {
            Ok(_) => answered.push(id),
            Err(error) => break error,
        }
        assert!(answered.len() < 100, "the disk does not get full");
    };
    assert!(matches!(failure, PortError::Permanent(_)), "{failure}");
    assert!(answered.len() > 5, "{}", answered.len());
    assert!(matches!(ledger.health(), Health::Failed(_)));
    assert_eq!(watched.failures.lock().unwrap().len(), 1, "told once");
    // Refused for good, whether or not there is room again.
    let settled = ledger.settle(vec![outcome(answered[0], Resolution::Delivered)]).await;
    assert!(matches!(settled, Err(PortError::Permanent(_))), "{settled:?}");
    ledger.close().await;
    drop(ledger);
    let mut more = Command::new("mount");
    let status = more.args(["-o", "remount,size=200m"]).arg(&disk.0).status().unwrap();
    assert!(status.success());
    let again = Ledger::open(settings, Arc::new(NullSink), Arc::new(Witnessed::default()));
    let (ledger, _) = again.expect("the ledger opens when there is room");
    assert_eq!(crate::support::owed(&ledger).await, answered);
    ledger.close().await;
    drop(ledger);
}

/// Something else fills the disk: new events are refused, the ballast goes, what is owed settles;
/// with room again new events are accepted and the ballast is taken again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_degrades_and_recovers() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(&folder.path().join("disk"), 400) else {
        println!("SKIPPED: mounting a small file system needs root");
        return;
    };
    let mib = 1 << 20;
    let settings = Settings {
        free_space_floor_bytes: 100 * mib,
        ballast_bytes: 40 * mib,
        ..Settings::new(disk.0.join("data"))
    };
    let opened = Ledger::open(settings, Arc::new(NullSink), Arc::new(Witnessed::default()));
    let (ledger, _) = opened.unwrap();
    create(&ledger, "acme").await;
    assert!(ledger.stats().ballast_held);
    let new = event(1, "{}");
    let id = new.id;
    ledger.accept(vec![new]).await.unwrap();
    let filler = disk.0.join("filler");
    let free = ledger.stats().free_bytes;
    fs::write(&filler, vec![1; usize::try_from(free - 4 * mib).unwrap()]).unwrap();
    eventually(|| ledger.health() == Health::Full && !ledger.stats().ballast_held).await;
    assert_eq!(ledger.accept(vec![event(2, "{}")]).await, Err(PortError::Full));
    let settled = ledger.settle(vec![outcome(id, Resolution::Delivered)]).await;
    assert_eq!(settled, Ok(vec![Settled::Settled]));
    fs::remove_file(&filler).unwrap();
    eventually(|| ledger.health() == Health::Healthy && ledger.stats().ballast_held).await;
    ledger.accept(vec![event(3, "{}")]).await.unwrap();
    ledger.close().await;
    drop(ledger);
}

/// Waits for the keeper's next look, which real time brings.
async fn eventually(mut fact: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if fact() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within 20 s");
}
