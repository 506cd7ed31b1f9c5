//! What is on disk when, what a crash leaves, and what a start does about it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use posthaste_domain::{DeadLetterCause, Resolution, Timestamp};
use posthaste_embedded::{OpenError, Settings};
use posthaste_ports::memory::NullSink;
use posthaste_ports::{Acceptance, EventStore as _, Journal as _, Settled};

use crate::support::{Home, create, event, noise, outcome, owed, tenant_id};

/// Copies a directory as it is at this moment, as a crash would leave it (files that are being
/// written included).
fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp");
    assert!(status.success());
}

/// Events that wait while a sync runs share the next one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_is_committed_together() {
    let home = Home::new();
    let (ledger, _, watched) = home.open_watched(home.settings());
    create(&ledger, "acme").await;
    let many = (0..2000_u64).map(|n| {
        let ledger = ledger.clone();
        async move { ledger.accept(vec![event(1000 + n, "{}")]).await }
    });
    let mut tasks = tokio::task::JoinSet::new();
    many.for_each(|task| drop(tasks.spawn(task)));
    while let Some(answer) = tasks.join_next().await {
        assert!(matches!(answer.unwrap().unwrap()[..], [Acceptance::Accepted(_)]));
    }
    let stats = ledger.stats();
    assert_eq!(stats.events_accepted, 2000);
    assert!(stats.commits < 500, "{} commits for 2000 events", stats.commits);
    let commits = watched.commits.lock().unwrap().clone();
    assert!(commits.iter().all(|commit| commit.synced), "an accepted event without a sync");
    assert_eq!(commits.iter().map(|commit| commit.events).sum::<usize>(), 2000);
    ledger.close().await;
}

/// A delivered mark waits for no sync; anything that the API has promised does.
#[tokio::test]
async fn only_a_delivered_mark_goes_without_a_sync() {
    let home = Home::new();
    let (ledger, _, watched) = home.open_watched(home.settings());
    create(&ledger, "acme").await;
    let events: Vec<_> = (0..3).map(|n| event(n, "{}")).collect();
    let ids: Vec<_> = events.iter().map(|event| event.id).collect();
    ledger.accept(events).await.unwrap();
    let due = Timestamp::from_millis(9_000);
    let cause = DeadLetterCause::Gone;
    let outcomes = [
        (Resolution::Delivered, false),
        (Resolution::Retry { due }, true),
        (Resolution::DeadLettered { cause }, true),
    ];
    for (id, (resolution, synced)) in ids.into_iter().zip(outcomes) {
        let settled = ledger.settle(vec![outcome(id, resolution)]).await;
        assert_eq!(settled, Ok(vec![Settled::Settled]));
        assert_eq!(watched.commits.lock().unwrap().last().unwrap().synced, synced);
    }
    ledger.close().await;
}

/// For a directory copied under load, without a close: it opens, and has everything that was
/// answered before the copy began.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_loses_nothing_that_was_answered() {
    let home = Home::new();
    let (ledger, _) = home.open();
    create(&ledger, "acme").await;
    let mut answered = Vec::new();
    for round in 0..5_u64 {
        for n in 0..50 {
            let new = event(round * 1000 + n, vec![b'x'; 3000]);
            answered.push(new.id);
            ledger.accept(vec![new]).await.unwrap();
        }
        // Some of each round are settled, so that a crash finds rows in every state.
        let newest = answered.len() - 1;
        let due = Timestamp::from_millis(70_000 + round);
        let retried = outcome(answered[newest - 1], Resolution::Retry { due });
        let delivered = outcome(answered.remove(newest), Resolution::Delivered);
        let settled = ledger.settle(vec![retried, delivered]).await;
        assert_eq!(settled, Ok(vec![Settled::Settled; 2]));
        let crashed = Home::new();
        copy(&home.data(), &crashed.data());
        let (again, recovery) = crashed.open();
        assert!(!recovery.created);
        assert_eq!(recovery.notes, Vec::<String>::new());
        assert_eq!(owed(&again).await, answered);
        again.close().await;
    }
    ledger.close().await;
}

/// An older copy of the store beside a newer witness is what a disk that lies leaves: refused, with
/// nothing changed, until the operator says otherwise; then it goes on, and so do later starts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_commits_are_proven_and_refused() {
    let home = Home::new();
    let (ledger, _) = home.open();
    create(&ledger, "acme").await;
    ledger.accept(vec![event(1, "{}")]).await.unwrap();
    ledger.close().await;
    drop(ledger);
    let older = Home::new();
    copy(&home.data(), &older.data());
    let (ledger, _) = home.open();
    for n in 2..=8 {
        ledger.accept(vec![event(n, "{}")]).await.unwrap();
    }
    ledger.close().await;
    drop(ledger);
    fs::copy(home.data().join("witness"), older.data().join("witness")).unwrap();
    let error = older.open_with(older.settings(), Arc::new(NullSink)).unwrap_err();
    let OpenError::Loss { commits, events, .. } = &error else { panic!("{error}") };
    assert_eq!((*commits, *events), (7, Some(7)));
    assert!(error.exit_config());
    assert!(error.to_string().contains("--accept-loss"), "{error}");
    let accepting = Settings { accept_loss: true, ..older.settings() };
    let (ledger, recovery) = older.open_with(accepting, Arc::new(NullSink)).unwrap();
    assert_eq!(recovery.accepted_lost, Some(7));
    assert_eq!(owed(&ledger).await, [event(1, "").id]);
    ledger.accept(vec![event(9, "{}")]).await.unwrap();
    ledger.close().await;
    drop(ledger);
    let (ledger, recovery) = older.open();
    assert_eq!(recovery.notes, Vec::<String>::new());
    assert_eq!(owed(&ledger).await, [event(1, "").id, event(9, "").id]);
    ledger.close().await;
}

fn active_journal(home: &Home) -> PathBuf {
    let mut found: Vec<_> = fs::read_dir(home.data().join("ledger"))
        .expect("a store")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jnl"))
        .collect();
    found.sort();
    found.pop().expect("a journal")
}

/// A damaged page in the middle of the journal, behind which the store alone would drop everything
/// without a word: refused, and the journal is left as it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotten_journal_page_is_refused_untouched() {
    let home = Home::new();
    let (ledger, _) = home.open();
    create(&ledger, "acme").await;
    for n in 0..200 {
        ledger.accept(vec![event(n, vec![b'x'; 2000])]).await.unwrap();
    }
    ledger.close().await;
    drop(ledger);
    let journal = active_journal(&home);
    let mut bytes = fs::read(&journal).unwrap();
    bytes[40_960..45_056].fill(0);
    fs::write(&journal, &bytes).unwrap();
    let error = home.open_with(home.settings(), Arc::new(NullSink)).unwrap_err();
    assert!(matches!(error, OpenError::Loss { .. }), "{error}");
    assert_eq!(fs::read(&journal).unwrap(), bytes, "the evidence was changed");
    let accepting = Settings { accept_loss: true, ..home.settings() };
    let (ledger, recovery) = home.open_with(accepting, Arc::new(NullSink)).unwrap();
    let kept = owed(&ledger).await;
    let lost = usize::try_from(recovery.accepted_lost.unwrap()).unwrap();
    assert!(!kept.is_empty() && kept.len() + lost == 200, "{} + {lost}", kept.len());
    ledger.close().await;
}

/// A last batch that was being written and never acknowledged is cut, not fatal: whatever page of
/// it is missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_tail_is_cut() {
    let home = Home::new();
    let (ledger, _) = home.open();
    create(&ledger, "acme").await;
    ledger.accept(vec![event(1, noise(7, 100_000))]).await.unwrap();
    ledger.close().await;
    drop(ledger);
    // The same bytes again, as a batch that a power cut tore: its head and end are there, a page
    // in the middle is not. The store alone refuses this for good.
    let journal = active_journal(&home);
    let mut bytes = fs::read(&journal).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let payload = noise(7, 100_000);
    let large = bytes.windows(64).position(|window| window == &payload[..64]).expect("the payload");
    // Five items: payload, row, mark, fresh delivery, commit record.
    let start = [1, 5, 0, 0, 0];
    let batch = bytes[..large].windows(5).rposition(|w| w == start).expect("its start");
    let torn = bytes[batch..used].to_vec();
    bytes.splice(used..used, torn);
    let seqno = used + 5;
    bytes[seqno] = bytes[seqno].wrapping_add(40);
    bytes[used + 20_000..used + 24_096].fill(0);
    fs::write(&journal, &bytes).unwrap();
    let (ledger, recovery) = home.open();
    assert_eq!(recovery.notes.len(), 1, "{:?}", recovery.notes);
    assert!(recovery.notes[0].contains("never acknowledged"), "{:?}", recovery.notes);
    assert_eq!(owed(&ledger).await, [event(1, "").id]);
    ledger.close().await;
}

/// What was in flight when the process ended is counted, once for each end; what was settled is
/// not, and an orderly end leaves nothing to count.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interruptions_are_counted_durably() {
    let home = Home::new();
    let (ledger, _) = home.open();
    create(&ledger, "acme").await;
    let events: Vec<_> = (1..=3).map(|n| event(n, "{}")).collect();
    let keys: Vec<_> = events.iter().map(|e| outcome(e.id, Resolution::Delivered).key).collect();
    ledger.accept(events).await.unwrap();
    let mut register = ledger.register(0, 4).unwrap();
    for (index, key) in (0..).zip(&keys) {
        register.begin(index, key, 0, 1);
    }
    register.flush().unwrap();
    let due = Timestamp::from_millis(9_000);
    ledger.settle(vec![outcome(keys[0].event, Resolution::Delivered)]).await.unwrap();
    ledger.settle(vec![outcome(keys[1].event, Resolution::Retry { due })]).await.unwrap();
    ledger.close().await;
    drop((ledger, register));
    for times in 1..=2 {
        let (ledger, recovery) = home.open();
        // The first was delivered and the second's attempt was settled: only the third was cut off.
        assert_eq!(recovery.interrupted, 1);
        let tenant = tenant_id("acme");
        let fresh = ledger.backlog(&tenant, keys[2].endpoint, keys[2].event, 9).await.unwrap().owed;
        assert_eq!(fresh.iter().map(|owed| owed.interrupted).collect::<Vec<_>>(), [times]);
        let mut register = ledger.register(0, 4).unwrap();
        register.begin(0, &keys[2], 0, 1);
        register.flush().unwrap();
        ledger.close().await;
    }
    let (ledger, recovery) = home.open();
    assert_eq!(recovery.interrupted, 1);
    // A row that was written again must go for good when it goes.
    let mut last = outcome(keys[2].event, Resolution::Delivered);
    last.interrupted = 3;
    assert_eq!(ledger.settle(vec![last]).await, Ok(vec![Settled::Settled]));
    ledger.register(0, 4).unwrap().close().unwrap();
    ledger.close().await;
    drop(ledger);
    let (ledger, recovery) = home.open();
    assert_eq!(recovery.interrupted, 0);
    assert_eq!(owed(&ledger).await, [keys[1].event]);
    ledger.close().await;
}
