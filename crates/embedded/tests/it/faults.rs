//! Faults under a running ledger: each is survived, or told once and followed by refusals; never
//! an answer that is not kept, never a caller that waits for ever.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use posthaste_domain::Resolution;
use posthaste_embedded::{Health, Ledger, OpenError, Settings};
use posthaste_ports::memory::NullSink;
use posthaste_ports::{Arrival, ArrivalSink, EventStore as _, Journal as _, PortError};

use crate::support::{Home, Witnessed, create, event, noise, outcome, owed};

/// Accepts events until one is refused; gives the events that were answered, and the refusal.
async fn fill(ledger: &Ledger, bytes: usize) -> (Vec<posthaste_domain::EventId>, PortError) {
    let mut answered = Vec::new();
    for n in 1..20_000 {
        let new = event(n, noise(answered.len(), bytes));
        let id = new.id;
        match ledger.accept(vec![new]).await {
            Ok(_) => answered.push(id),
            Err(error) => return (answered, error),
        }
    }
    panic!("never refused");
}

/// It has failed, has said so once, and refuses what comes.
async fn assert_failed(ledger: &Ledger, watched: &Witnessed) {
    assert!(matches!(ledger.health(), Health::Failed(_)), "{:?}", ledger.health());
    assert_eq!(watched.failures.lock().expect("nobody panicked").len(), 1, "told once");
    let refused = ledger.accept(vec![event(999_999, "{}")]).await;
    assert!(matches!(refused, Err(PortError::Permanent(_))), "{refused:?}");
    let settled = outcome(event(1, "").id, Resolution::Delivered);
    let refused = ledger.settle(vec![settled]).await;
    assert!(matches!(refused, Err(PortError::Permanent(_))), "{refused:?}");
}

async fn ends(what: impl Future<Output = ()>) {
    tokio::time::timeout(Duration::from_secs(60), what).await.expect("nobody waits for ever");
}

/// A file that was removed takes writes and syncs as before. Nothing is answered that cannot be
/// found again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_directory_is_noticed_before_the_next_answer() {
    ends(async {
        let home = Home::in_memory();
        let (ledger, _, watched) = home.open_watched(home.settings());
        create(&ledger, "acme").await;
        ledger.accept(vec![event(1, "{}")]).await.unwrap();
        fs::remove_dir_all(home.data()).unwrap();
        let refused = ledger.accept(vec![event(2, "{}")]).await;
        assert!(matches!(refused, Err(PortError::Permanent(_))), "{refused:?}");
        assert_failed(&ledger, &watched).await;
        ledger.close().await;
    })
    .await;
}

/// Tables cannot be written out any more: told, although every journal write succeeds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_that_cannot_be_written_out_end_the_ledger() {
    ends(async {
        let home = Home::in_memory();
        let small = Settings { memtable_bytes: 1, ..home.settings() };
        let (ledger, _, watched) = home.open_watched(small);
        create(&ledger, "acme").await;
        fs::remove_dir_all(home.data().join("ledger/keyspaces")).unwrap();
        let (answered, refused) = fill(&ledger, 1000).await;
        assert!(matches!(refused, PortError::Permanent(_)), "{refused}");
        assert!(!answered.is_empty());
        assert_failed(&ledger, &watched).await;
        ledger.close().await;
    })
    .await;
}

/// A table that cannot be written out is told without anybody asking for anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_in_the_background_is_told_by_itself() {
    ends(async {
        let home = Home::in_memory();
        let small = Settings { memtable_bytes: 1, ..home.settings() };
        let (ledger, _, watched) = home.open_watched(small);
        create(&ledger, "acme").await;
        fs::remove_dir_all(home.data().join("ledger/keyspaces")).unwrap();
        // More than the smallest memtable holds, in one commit.
        ledger.accept((1..=100).map(|n| event(n, noise(9, 1000))).collect()).await.unwrap();
        while ledger.health() == Health::Healthy {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_failed(&ledger, &watched).await;
        ledger.close().await;
    })
    .await;
}

struct PanickingSink;

impl ArrivalSink for PanickingSink {
    fn arrived(&self, _arrivals: Vec<Arrival>) {
        panic!("a sink that panics");
    }
}

/// A writer that panics has failed like any other: it does not look healthy for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_of_the_writer_is_told() {
    ends(async {
        let home = Home::in_memory();
        let watched = Arc::new(Witnessed::default());
        let opened =
            Ledger::open(home.settings(), Arc::new(PanickingSink), Arc::clone(&watched) as _);
        let (ledger, _) = opened.unwrap();
        create(&ledger, "acme").await;
        let refused = ledger.accept(vec![event(1, "{}")]).await;
        assert!(matches!(refused, Err(PortError::Permanent(_))), "{refused:?}");
        assert_failed(&ledger, &watched).await;
        ledger.close().await;
        drop(ledger);
        // Nobody was told that it was accepted; it was all the same.
        let (ledger, _) = home.open();
        assert_eq!(owed(&ledger).await, [event(1, "").id]);
        ledger.close().await;
    })
    .await;
}

/// Operations that wait behind a close are refused, and close waits for those before it.
#[tokio::test]
async fn what_waits_behind_a_close_is_refused() {
    ends(async {
        let home = Home::in_memory();
        let (ledger, _) = home.open();
        create(&ledger, "acme").await;
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..50 {
            let ledger = ledger.clone();
            tasks.spawn(async move {
                if n == 25 {
                    ledger.close().await;
                    return None;
                }
                let new = event(n, "{}");
                let id = new.id;
                ledger.accept(vec![new]).await.is_ok().then_some(id)
            });
        }
        let mut answered: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
        answered.sort();
        drop(ledger);
        let (again, _) = home.open();
        assert_eq!(owed(&again).await, answered, "what was answered, and nothing else");
        again.close().await;
    })
    .await;
}

/// A ledger that is dropped without a close ends its threads and frees its directory, and what was
/// answered is there.
#[tokio::test]
async fn a_drop_without_a_close_frees_the_directory() {
    ends(async {
        let home = Home::in_memory();
        let (ledger, _) = home.open();
        create(&ledger, "acme").await;
        ledger.accept(vec![event(1, "{}")]).await.unwrap();
        drop(ledger);
        let again = loop {
            match home.open_with(home.settings(), Arc::new(NullSink)) {
                Ok((again, _)) => break again,
                Err(OpenError::Locked { .. }) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        };
        assert_eq!(owed(&again).await, [event(1, "").id]);
        again.close().await;
    })
    .await;
}

/// The disk fills at every point of a small ledger's life, tables and journals alike: whatever was
/// answered is there once there is room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fills_anywhere_loses_nothing() {
    ends(async {
        for mib in [8, 11, 17, 23] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("disk");
            let Some(_disk) = crate::disk::SmallDisk::mount(&path, mib) else {
                println!("SKIPPED: mounting a small file system needs root");
                return;
            };
            let settings = Settings {
                memtable_bytes: 1,
                free_space_floor_bytes: 0,
                ballast_bytes: 0,
                ..Settings::new(path.join("data"))
            };
            fills(settings, &path).await;
        }
    })
    .await;
}

async fn fills(settings: Settings, disk: &Path) {
    let watched = Arc::new(Witnessed::default());
    let opened = Ledger::open(settings.clone(), Arc::new(NullSink), Arc::clone(&watched) as _);
    let (ledger, _) = opened.expect("the ledger opens");
    create(&ledger, "acme").await;
    let (answered, refused) = fill(&ledger, 40_000).await;
    assert!(matches!(refused, PortError::Permanent(_)), "{refused}");
    assert!(answered.len() > 20, "{}", answered.len());
    assert_failed(&ledger, &watched).await;
    ledger.close().await;
    drop(ledger);
    let mut more = Command::new("mount");
    let status = more.args(["-o", "remount,size=300m"]).arg(disk).status().expect("mount");
    assert!(status.success());
    let again = Ledger::open(settings, Arc::new(NullSink), Arc::new(Witnessed::default()));
    let (ledger, _) = again.expect("the ledger opens when there is room");
    let there = owed(&ledger).await;
    assert!(answered.iter().all(|id| there.contains(id)), "{} of {}", there.len(), answered.len());
    ledger.close().await;
}
