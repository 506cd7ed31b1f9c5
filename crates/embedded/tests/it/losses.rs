//! What is missing is found at start, wherever it was; and what was accepted to be lost is lost
//! once.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use posthaste_embedded::{OpenError, Settings};
use posthaste_ports::EventStore as _;
use posthaste_ports::memory::NullSink;

use crate::support::{Home, create, event, owed};

/// Events in the journals of [`sealed`].
const EVENTS: u64 = 60;

/// A closed ledger whose journal was sealed twice, as if it had grown large, before any table was
/// written out: three journals, of which the last one is the active one.
async fn sealed() -> (Home, [PathBuf; 3]) {
    let home = Home::in_memory();
    let (ledger, _) = home.open();
    create(&ledger, "acme").await;
    for n in 1..=EVENTS {
        ledger.accept(vec![event(n, vec![b'x'; 200])]).await.expect("accepted");
    }
    ledger.close().await;
    drop(ledger);
    let store = home.data().join("ledger");
    let first = store.join("0.jnl");
    let bytes = fs::read(&first).expect("a journal");
    let used = bytes.iter().rposition(|byte| *byte != 0).expect("batches") + 1;
    // A batch ends with this, and the next one begins with a 1.
    let boundary = b"FJL\x03\x01";
    let end_behind = |from: usize| {
        let found = bytes[from..used].windows(5).position(|window| window == boundary);
        from + found.expect("a batch ends") + 4
    };
    let (one, two) = (end_behind(used / 3), end_behind(used * 2 / 3));
    let parts = [&bytes[..one], &bytes[one..two], &bytes[two..used]];
    let names = [0, 1, 2].map(|n| store.join(format!("{n}.jnl")));
    for (name, part) in names.iter().zip(parts) {
        fs::write(name, part).expect("written");
    }
    (home, names)
}

fn accepting(home: &Home) -> Settings {
    Settings { accept_loss: true, ..home.settings() }
}

#[tokio::test]
async fn sealed_journals_are_read_in_order() {
    let (home, _) = sealed().await;
    let (ledger, recovery) = home.open();
    assert_eq!(recovery.notes, Vec::<String>::new());
    assert_eq!(owed(&ledger).await.len() as u64, EVENTS);
    ledger.close().await;
}

/// Rot in a journal before the active one: the newest commit is there, and yet something is gone.
/// Refused untouched; accepted, it opens, and later starts do not refuse again.
#[tokio::test]
async fn a_rotten_sealed_journal_is_refused() {
    for rot in [b'y', 0] {
        let (home, [_, middle, _]) = sealed().await;
        let mut bytes = fs::read(&middle).unwrap();
        let half = bytes.len() / 2;
        bytes[half..half + 300].fill(rot);
        fs::write(&middle, &bytes).unwrap();
        let error = home.open_with(home.settings(), Arc::new(NullSink)).unwrap_err();
        let OpenError::Loss { commits, damaged, .. } = &error else { panic!("{error}") };
        assert!(*commits > 3 && *commits < EVENTS, "{commits}");
        assert!(damaged.contains("1.jnl"), "{damaged}");
        assert_eq!(fs::read(&middle).unwrap(), bytes, "the evidence was changed");
        let (ledger, recovery) = home.open_with(accepting(&home), Arc::new(NullSink)).unwrap();
        let kept = owed(&ledger).await.len() as u64;
        let lost = recovery.accepted_lost.expect("said");
        assert!(kept < EVENTS && kept + lost >= EVENTS, "{kept} + {lost}");
        ledger.close().await;
        drop(ledger);
        let (ledger, recovery) = home.open();
        assert_eq!(recovery.accepted_lost, None);
        assert_eq!(owed(&ledger).await.len() as u64, kept);
        ledger.close().await;
    }
}

/// The power went after consent was noted, with what was to go, and before it was cut: the next
/// start cuts it. Other damage in that journal is refused.
#[tokio::test]
async fn a_cut_that_was_agreed_to_is_finished() {
    let (home, [_, middle, _]) = sealed().await;
    let mut bytes = fs::read(&middle).unwrap();
    let half = &bytes[..bytes.len() / 2];
    let whole_until = half.windows(5).rposition(|five| five == b"FJL\x03\x01").unwrap() + 4;
    bytes[whole_until + 40] ^= 0x40;
    fs::write(&middle, &bytes).unwrap();
    let note = middle.with_extension("lost");
    fs::write(&note, &bytes[whole_until + 1..]).unwrap();
    let error = home.open_with(home.settings(), Arc::new(NullSink)).unwrap_err();
    assert!(matches!(error, OpenError::Loss { .. }), "{error}");
    assert_eq!(fs::read(&middle).unwrap(), bytes, "the evidence was changed");
    fs::write(&note, &bytes[whole_until..]).unwrap();
    let (ledger, recovery) = home.open();
    assert_eq!((recovery.accepted_lost, recovery.notes.len()), (None, 1), "{recovery:?}");
    let kept = owed(&ledger).await.len() as u64;
    assert!(kept > EVENTS / 2 && kept < EVENTS, "{kept}");
    ledger.close().await;
    drop(ledger);
    home.open().0.close().await;
}

/// A journal between two others is gone altogether.
#[tokio::test]
async fn a_missing_sealed_journal_is_refused() {
    let (home, [_, middle, _]) = sealed().await;
    fs::remove_file(&middle).unwrap();
    let error = home.open_with(home.settings(), Arc::new(NullSink)).unwrap_err();
    assert!(matches!(error, OpenError::Loss { .. }), "{error}");
    let (ledger, recovery) = home.open_with(accepting(&home), Arc::new(NullSink)).unwrap();
    assert!(recovery.accepted_lost > Some(0), "{recovery:?}");
    ledger.close().await;
    drop(ledger);
    home.open().0.close().await;
}

/// A loss that an earlier version was told to go on without: its note had the name of the journal
/// before the one that is gone.
#[tokio::test]
async fn a_loss_accepted_by_an_earlier_version_is_not_refused() {
    let (home, [first, middle, _]) = sealed().await;
    fs::remove_file(&middle).unwrap();
    fs::write(first.with_extension("lost"), b"").unwrap();
    for _ in 0..3 {
        let (ledger, recovery) = home.open();
        assert_eq!(recovery.accepted_lost, None);
        ledger.close().await;
        // Now it is noted which one that was.
        assert!(fs::metadata(middle.with_extension("lost")).unwrap().len() > 0);
    }
}

/// A loss is accepted once: the start after it needs no flag, though nothing happened in between,
/// and wherever the commit stands that goes on behind it.
#[tokio::test]
async fn an_accepted_loss_is_lost_once() {
    let damages: [fn(&Path); 5] = [
        |last| fs::remove_file(last).unwrap(),
        |last| fs::write(last, b"").unwrap(),
        |last| {
            let length = fs::metadata(last).unwrap().len();
            fs::write(last, vec![0; usize::try_from(length).unwrap()]).unwrap();
        },
        |last| flip(last, 0),
        |last| flip(last, 40),
    ];
    for (n, damage) in damages.into_iter().enumerate() {
        let (home, [_, _, last]) = sealed().await;
        damage(&last);
        let error = home.open_with(home.settings(), Arc::new(NullSink)).unwrap_err();
        assert!(matches!(error, OpenError::Loss { .. }), "{n}: {error}");
        let (ledger, recovery) = home.open_with(accepting(&home), Arc::new(NullSink)).unwrap();
        assert!(recovery.accepted_lost > Some(0), "{n}: {recovery:?}");
        let kept = owed(&ledger).await;
        ledger.close().await;
        drop(ledger);
        // With the flag still there it is not counted again.
        for settings in [home.settings(), accepting(&home), home.settings()] {
            let opened = home.open_with(settings, Arc::new(NullSink));
            let (ledger, recovery) = opened.unwrap_or_else(|error| panic!("{n}: {error}"));
            assert_eq!((recovery.accepted_lost, recovery.notes), (None, Vec::new()), "{n}");
            assert_eq!(owed(&ledger).await, kept);
            ledger.close().await;
        }
    }
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).expect("a journal");
    bytes[at] ^= 0x40;
    fs::write(path, bytes).expect("written");
}

/// The store is gone and its witness is not: refused, and no empty one takes its place.
#[tokio::test]
async fn a_missing_store_is_refused() {
    let (home, _) = sealed().await;
    let store = home.data().join("ledger");
    fs::remove_dir_all(&store).unwrap();
    let error = home.open_with(home.settings(), Arc::new(NullSink)).unwrap_err();
    assert!(matches!(error, OpenError::Loss { .. }), "{error}");
    assert!(!store.exists(), "an empty store stands where one is missing");
    let (ledger, recovery) = home.open_with(accepting(&home), Arc::new(NullSink)).unwrap();
    assert_eq!(recovery.accepted_lost, Some(EVENTS));
    ledger.close().await;
}

/// A first start that was cut off before the store was whole: nothing was ever accepted, so the
/// next one begins afresh.
#[tokio::test]
async fn a_store_that_was_never_whole_is_made_afresh() {
    let whole = Home::in_memory();
    whole.open().0.close().await;
    let store = whole.data().join("ledger");
    // The store writes its version last.
    for (made, version) in [
        (&["lock"][..], None),
        (&["lock", "0.jnl"], None),
        (&["lock", "0.jnl", "keyspaces"], None),
        (&["lock", "0.jnl", "keyspaces"], Some(&b""[..])),
        (&["lock", "0.jnl", "keyspaces"], Some(b"FJL")),
    ] {
        let home = Home::in_memory();
        let half = home.data().join("ledger");
        fs::create_dir_all(&half).unwrap();
        for name in made {
            if store.join(name).is_dir() {
                fs::create_dir(half.join(name)).unwrap();
            } else {
                fs::copy(store.join(name), half.join(name)).unwrap();
            }
        }
        if half.join("0.jnl").exists() {
            fs::write(half.join("0.jnl"), vec![0; 1000]).unwrap();
        }
        if let Some(version) = version {
            fs::write(half.join("version"), version).unwrap();
        }
        let (ledger, _) = home.open();
        create(&ledger, "acme").await;
        ledger.accept(vec![event(1, "{}")]).await.unwrap();
        ledger.close().await;
        drop(ledger);
        let (ledger, _) = home.open();
        assert_eq!(owed(&ledger).await, [event(1, "").id]);
        ledger.close().await;
    }
}
