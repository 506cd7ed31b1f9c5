//! The ledger as an instance's cache: whose it is, what a power cut or a damaged disk leaves, and
//! that a start without it always succeeds.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use posthaste_domain::{
    DeadLetterCause, DeliveryKey, EndpointId, EventId, InstanceId, TimerPosition, Timestamp,
};
use posthaste_embedded::{Ledger, OpenError, Settings};
use posthaste_ports::memory::NullSink;
use posthaste_ports::{EventStore as _, Job, JobChange, JobState, JobStore as _, ShardSpec};

use crate::support::{Home, OPENED_AT, create, event, noise, tenant_id};

/// A job that waits, or dies where `n` is odd.
pub(crate) fn job(n: u64, payload_bytes: usize) -> Job {
    let cause = DeadLetterCause::AttemptsExhausted;
    let state = match n % 2 {
        0 => JobState::Waiting { due: Timestamp::from_millis(1_000_000 + n), attempts: 2 },
        _ => JobState::Dying { cause, attempts: 6, error: Some("refused".into()) },
    };
    let seed = usize::try_from(n).expect("small");
    Job {
        key: DeliveryKey {
            tenant: tenant_id("acme"),
            event: EventId::from_u128(u128::from(n)),
            endpoint: EndpointId::DEFAULT,
        },
        round: 0,
        shard_key: 1,
        interrupted: 0,
        epoch: 1,
        lease_until: OPENED_AT,
        state,
        payload: n.is_multiple_of(2).then(|| noise(seed, payload_bytes).into()),
    }
}

async fn put(ledger: &Ledger, jobs: impl IntoIterator<Item = Job>) {
    let changes = jobs.into_iter().map(|job| JobChange::Put(Box::new(job))).collect();
    ledger.apply(changes).await.expect("changed");
}

/// All that can be found of jobs with numbers below `count`; each is found in the view that its
/// state belongs to, and nothing else is.
pub(crate) async fn found(ledger: &Ledger, count: u64) -> Vec<u64> {
    let keys: Vec<_> = (0..count).map(|n| job(n, 0).key).collect();
    let mut found = Vec::new();
    let (mut waiting, mut sent) = (Vec::new(), Vec::new());
    for (n, read) in (0..).zip(ledger.jobs(&keys).await.expect("readable")) {
        let Some(read) = read else { continue };
        assert_eq!(read.payload.is_some(), n % 2 == 0, "{n}");
        found.push(n);
        if n % 2 == 0 { waiting.push(read.key) } else { sent.push(read.key) }
    }
    let all = ShardSpec { index: 0, count: 1 };
    let page = ledger.timers(all, TimerPosition::START, Timestamp::MAX, usize::MAX).await;
    let timers: Vec<_> = page.expect("readable").owed.into_iter().map(|owed| owed.key).collect();
    assert_eq!(timers, waiting);
    let outbox = ledger.outbox(None, usize::MAX).await.expect("readable");
    assert_eq!(outbox.into_iter().map(|job| job.key).collect::<Vec<_>>(), sent);
    assert_eq!(ledger.stats().damaged_rows, 0);
    found
}

fn copy(from: &Path, to: &Path) {
    let mut cp = Command::new("cp");
    let copied = cp.args(["-a", "--sparse=always"]).arg(from).arg(to).status();
    assert!(copied.expect("cp").success());
}

fn quarantines(home: &Home) -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(home.data())
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.to_string_lossy().contains("quarantine-"))
        .collect();
    found.sort();
    found
}

/// A store keeps its name; another one has another.
#[tokio::test]
async fn a_store_keeps_its_name() {
    let (home, other) = (Home::in_memory(), Home::in_memory());
    let (ledger, recovery) = home.open_cache("one");
    assert!(recovery.ledger.created);
    let name = ledger.store_id();
    ledger.close().await;
    drop(ledger);
    let (ledger, recovery) = home.open_cache("one");
    assert_eq!((ledger.store_id(), recovery.cloned_from), (name, None));
    ledger.close().await;
    let (ledger, _) = other.open();
    assert_ne!(ledger.store_id(), name);
    let (standalone, name) = (ledger.clone(), ledger.store_id());
    ledger.close().await;
    drop((ledger, standalone));
    // A directory of standalone mode that owes nothing may become a cache: no clone of anybody.
    let (ledger, recovery) = other.open_cache("one");
    assert_eq!((ledger.store_id(), recovery.cloned_from), (name, None));
    ledger.close().await;
}

/// A copy that another instance starts says whose it was, until all of it was claimed, and is
/// another store from then on; its origin notices nothing.
#[tokio::test]
async fn a_clone_says_so_until_it_has_claimed_everything() {
    let (home, clone) = (Home::in_memory(), Home::in_memory());
    let (ledger, _) = home.open_cache("one");
    put(&ledger, [job(0, 10)]).await;
    let name = ledger.store_id();
    ledger.close().await;
    drop(ledger);
    copy(&home.data(), &clone.data());
    let origin = InstanceId::try_new("one");
    let mut names = vec![name];
    for _ in 0..2 {
        let (ledger, recovery) = clone.open_cache("two");
        assert_eq!(recovery.cloned_from, origin);
        assert_eq!(found(&ledger, 3).await, [0]);
        names.push(ledger.store_id());
        // Neither an end without a word nor a clean one says that everything was claimed.
        ledger.close().await;
    }
    assert!(names[0] != names[1] && names[1] == names[2], "{names:?}");
    let (ledger, _) = clone.open_cache("two");
    ledger.own_clone().await.unwrap();
    ledger.close().await;
    drop(ledger);
    let (ledger, recovery) = clone.open_cache("two");
    assert_eq!((recovery.cloned_from, ledger.store_id()), (None, names[1]));
    ledger.close().await;
    let (ledger, recovery) = home.open_cache("one");
    assert_eq!((recovery.cloned_from, ledger.store_id()), (None, name));
    ledger.close().await;
}

/// No change of a job waits for a sync; a clean end has all of them proven.
#[tokio::test]
async fn a_buffered_cache_syncs_no_commit() {
    let home = Home::in_memory();
    let (ledger, _) = home.open_cache("one");
    for n in 0..20 {
        put(&ledger, [job(n, 100)]).await;
    }
    assert_eq!(ledger.stats().commits_synced, 0);
    let commits = ledger.stats().commits;
    assert!(commits >= 20, "{commits}");
    ledger.close().await;
    assert!(ledger.stats().commit_witnessed >= commits);
}

/// For all moments of a power cut: whatever the disk had of the last second, the store opens with
/// a beginning of what was done, or is set aside. Never with rows that contradict each other.
#[tokio::test]
async fn a_power_cut_leaves_a_beginning_or_nothing() {
    let home = Home::in_memory();
    let settings = Settings { memtable_bytes: 1 << 16, ..home.cache_settings() };
    let (ledger, _) = home.try_open_cache(settings.clone(), "one").unwrap();
    for n in 0..120 {
        put(&ledger, [job(n, 3_000)]).await;
    }
    let cut = Home::in_memory();
    copy(&home.data(), &cut.data());
    ledger.close().await;
    drop(ledger);
    let journal = newest_journal(&cut);
    let whole = fs::read(&journal).unwrap();
    let end = whole.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let (mut opened, mut set_aside) = (0, 0);
    for step in 0..24 {
        let torn = Home::in_memory();
        copy(&cut.data(), &torn.data());
        let mut bytes = whole.clone();
        let at = end * step / 24;
        match step % 3 {
            // The file's new length was not there yet; or the pages were not; or one of them was
            // not, and later ones were.
            0 => bytes.truncate(at),
            1 => bytes[at..end].fill(0),
            _ => bytes[at..(at + 4096).min(end)].fill(0),
        }
        fs::write(newest_journal(&torn), bytes).unwrap();
        let settings = Settings { dir: torn.data(), ..settings.clone() };
        let (ledger, recovery) = torn.try_open_cache(settings, "one").expect("it always opens");
        let seen = found(&ledger, 120).await;
        let beginning: Vec<_> = (0..seen.len() as u64).collect();
        assert_eq!(seen, beginning, "step {step}");
        match recovery.quarantined {
            Some(_) => {
                assert_eq!(seen, []);
                set_aside += 1;
            }
            None => opened += 1,
        }
        put(&ledger, [job(200, 10)]).await;
        ledger.close().await;
    }
    assert!(opened > 0, "{opened} opened, {set_aside} set aside");
}

fn newest_journal(home: &Home) -> PathBuf {
    let journals = fs::read_dir(home.data().join("ledger")).expect("a store").flatten();
    let number = |path: &PathBuf| path.file_stem()?.to_str()?.parse::<u64>().ok();
    let journals = journals.map(|entry| entry.path());
    let journals = journals.filter(|path| path.extension().is_some_and(|kind| kind == "jnl"));
    journals.max_by_key(number).expect("a journal")
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory").flatten() {
        let path = entry.path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// For all files of a cache: emptied, cut, scrambled or removed, the next start has a ledger that
/// works, as full as before or empty.
#[tokio::test]
async fn no_damaged_file_keeps_a_cache_from_starting() {
    let home = Home::in_memory();
    let settings = Settings { memtable_bytes: 1 << 16, ..home.cache_settings() };
    let (ledger, _) = home.try_open_cache(settings.clone(), "one").unwrap();
    for n in 0..100 {
        put(&ledger, [job(n, 3_000)]).await;
    }
    ledger.register(0, 4).unwrap();
    ledger.close().await;
    drop(ledger);
    let mut set_aside = 0;
    let all = files(&home.data());
    assert!(all.len() > 30, "{all:?}");
    for (index, path) in all.iter().enumerate() {
        let name = path.strip_prefix(home.data()).unwrap();
        let damaged = Home::in_memory();
        copy(&home.data(), &damaged.data());
        let target = damaged.data().join(name);
        let mut bytes = fs::read(&target).unwrap();
        match index % 4 {
            0 => fs::write(&target, b"").unwrap(),
            1 => fs::write(&target, &bytes[..bytes.len() / 2]).unwrap(),
            2 => {
                let part = bytes.len() / 4..bytes.len().div_ceil(2);
                bytes[part].iter_mut().for_each(|byte| *byte ^= 0x5A);
                fs::write(&target, bytes).unwrap();
            }
            _ => fs::remove_file(&target).unwrap(),
        }
        let settings = Settings { dir: damaged.data(), ..settings.clone() };
        let opened = damaged.try_open_cache(settings, "one");
        let (ledger, recovery) = opened.unwrap_or_else(|error| panic!("{name:?}: {error}"));
        set_aside += usize::from(recovery.quarantined.is_some());
        assert_eq!(recovery.quarantined.into_iter().collect::<Vec<_>>(), quarantines(&damaged));
        put(&ledger, [job(200, 10)]).await;
        let key = job(200, 0).key;
        assert!(ledger.jobs(&[key]).await.unwrap()[0].is_some(), "{name:?}");
        ledger.close().await;
    }
    assert!(set_aside > 5, "{set_aside} of {} set aside", all.len());
}

/// What is set aside is kept whole and said; only the newest are kept; and the disk is not filled.
#[tokio::test]
async fn few_quarantines_are_kept() {
    let home = Home::in_memory();
    let mut name = None;
    for round in 0..4_u64 {
        let (ledger, recovery) = home.open_cache("one");
        assert_ne!(Some(ledger.store_id()), name, "an empty store is another one");
        name = Some(ledger.store_id());
        if round > 0 {
            let place = recovery.quarantined.expect("set aside");
            assert!(place.join("ledger").is_dir() && place.join("witness").is_file());
            assert!(recovery.ledger.notes[0].contains(&place.display().to_string()));
            assert!(recovery.ledger.created);
        }
        assert_eq!(found(&ledger, 1).await, []);
        put(&ledger, [job(0, 10)]).await;
        ledger.close().await;
        drop(ledger);
        fs::write(home.data().join("FORMAT"), "999\n").unwrap();
    }
    let millis = OPENED_AT.as_millis();
    let kept = [1, 2].map(|n| home.data().join(format!("quarantine-{}", millis + n)));
    assert_eq!(quarantines(&home), kept, "of the same time, under the names that were free");
}

/// A cache that fails again and again while it runs is set aside; one failure is none too many.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_that_fails_twice_in_a_row_is_set_aside() {
    let home = Home::in_memory();
    let fail = async |expected: bool| {
        let (ledger, recovery) = home.open_cache("one");
        assert_eq!(recovery.quarantined.is_some(), expected, "{recovery:?}");
        // The journal is gone, which the next sync notices.
        let journal = newest_journal(&home);
        fs::rename(&journal, journal.with_extension("away")).unwrap();
        put(&ledger, [job(0, 10)]).await;
        ledger.close().await;
        assert!(matches!(ledger.health(), posthaste_embedded::Health::Failed(_)));
        drop(ledger);
        fs::rename(journal.with_extension("away"), &journal).unwrap();
    };
    fail(false).await;
    // A life that ends well begins the count anew.
    let (ledger, recovery) = home.open_cache("one");
    assert_eq!(recovery.quarantined, None);
    ledger.close().await;
    drop(ledger);
    fail(false).await;
    fail(false).await;
    fail(true).await;
}

/// A directory that owes events is nobody's cache, damaged or not: refused, and left as it is.
#[tokio::test]
async fn a_directory_that_owes_events_is_no_cache() {
    let home = Home::in_memory();
    let (ledger, _) = home.open();
    create(&ledger, "acme").await;
    ledger.accept(vec![event(1, "{}")]).await.unwrap();
    ledger.close().await;
    drop(ledger);
    let refused = home.try_open_cache(home.cache_settings(), "one").unwrap_err();
    assert!(matches!(refused, OpenError::HoldsEvents { .. }), "{refused}");
    assert!(refused.exit_config());
    fs::remove_dir_all(home.data().join("ledger")).unwrap();
    let refused = home.try_open_cache(home.cache_settings(), "one").unwrap_err();
    assert!(matches!(refused, OpenError::Loss { .. }), "{refused}");
    assert_eq!(quarantines(&home), Vec::<PathBuf>::new());
}

/// What is not the directory's fault is not cured by an empty one.
#[tokio::test]
async fn what_is_no_damage_sets_nothing_aside() {
    let home = Home::in_memory();
    let (ledger, _) = home.open_cache("one");
    put(&ledger, [job(0, 10)]).await;
    let second = home.try_open_cache(home.cache_settings(), "one").unwrap_err();
    assert!(matches!(second, OpenError::Locked { .. }), "{second}");
    ledger.close().await;
    drop(ledger);
    let settings = Settings { dir: home.data().join("FORMAT"), ..home.cache_settings() };
    let file = home.try_open_cache(settings, "one").unwrap_err();
    assert!(matches!(file, OpenError::NotADirectory { .. }), "{file}");
    assert_eq!(quarantines(&home), Vec::<PathBuf>::new());
    // Standalone mode never sets anything aside.
    fs::write(home.data().join("FORMAT"), "999\n").unwrap();
    let refused = home.open_with(home.settings(), Arc::new(NullSink)).unwrap_err();
    assert!(matches!(refused, OpenError::NewerFormat { .. }), "{refused}");
    assert_eq!(quarantines(&home), Vec::<PathBuf>::new());
}
