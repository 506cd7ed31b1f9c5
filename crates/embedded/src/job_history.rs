//! Random histories of jobs: the ledger and the reference do the same, while tables are written
//! out, merged and opened again between any two commits.
//!
//! As [`crate::history`] does for events: keys that come and go, of all ages, are where a weak
//! removal can bring an older row back. At the end no keyspace may hold a row.

use std::sync::Arc;

use fjall::Readable as _;
use posthaste_domain::{DeliveryKey, EventId, TimerPosition, Timestamp};
use posthaste_ports::memory::MemoryJobs;
use posthaste_ports::{Job, JobChange, JobState, JobStore, ShardSpec, TimerPage};
use tempfile::TempDir;

use crate::ledger::Ledger;
use crate::settings::{Settings, SyncMode};
use crate::tables::{TIDE_KEY, Table};
use crate::testing::{Chance, Watch, delivery, home, instance, settings, tenant_id};

const SEEDS: u64 = 10;
const COMMITS: u64 = 60;
const ALL: ShardSpec = ShardSpec { index: 0, count: 1 };
const PLENTY: usize = 10_000;

/// For all seeds: every view of the ledger is the reference's, and nothing is left at the end.
#[test]
fn jobs_agree_with_the_reference_through_flushes_and_merges() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    for seed in 0..SEEDS {
        runtime.block_on(play(seed));
    }
}

fn open(home: &TempDir) -> Ledger {
    let settings = Settings { sync: SyncMode::Buffered, ..settings(home) };
    let (watch, now) = (Arc::new(Watch::default()), Timestamp::from_millis(5));
    let opened = Ledger::open_or_quarantine(settings, &instance("one"), now, watch);
    let (ledger, recovery) = opened.unwrap();
    assert_eq!(recovery.ledger.notes, Vec::<String>::new());
    ledger
}

async fn play(seed: u64) {
    let (home, mut chance, model) = (home(), Chance(seed), MemoryJobs::default());
    let mut ledger = open(&home);
    for commit in 0..COMMITS {
        let changes: Vec<_> = (0..=chance.below(4)).map(|_| draw(&mut chance)).collect();
        model.apply(changes.clone()).await.unwrap();
        ledger.apply(changes).await.unwrap();
        upheave(&ledger, &mut chance);
        if chance.below(8) == 0 {
            ledger.close().await;
            drop(ledger);
            ledger = open(&home);
        }
        assert_eq!(view(&ledger).await, view(&model).await, "seed {seed}, commit {commit}");
    }
    ledger.apply(keys().into_iter().map(JobChange::Remove).collect()).await.unwrap();
    for table in Table::ALL {
        let keyspace = ledger.shared.tables.keyspace(table);
        keyspace.rotate_memtable_and_wait().unwrap();
        keyspace.major_compact().unwrap();
    }
    let snapshot = ledger.shared.tables.database().snapshot();
    for table in Table::ALL.into_iter().filter(|table| *table != Table::Meta) {
        let rows = snapshot.iter(ledger.shared.tables.keyspace(table));
        let left: Vec<_> = rows.map(|guard| guard.key().unwrap().to_vec()).collect();
        assert!(left.iter().all(|key| key == TIDE_KEY), "seed {seed}, left in {table:?}: {left:?}");
    }
    assert_eq!(ledger.stats().damaged_rows, 0);
    drop(snapshot);
    ledger.close().await;
}

fn upheave(ledger: &Ledger, chance: &mut Chance) {
    for table in [Table::Jobs, Table::JobIndex, Table::Payloads, Table::Meta] {
        let keyspace = ledger.shared.tables.keyspace(table);
        if chance.below(4) == 0 {
            keyspace.rotate_memtable_and_wait().unwrap();
        }
        if chance.below(7) == 0 {
            keyspace.major_compact().unwrap();
        }
    }
}

fn keys() -> Vec<DeliveryKey> {
    let events = (0..6).map(EventId::from_u128);
    events.map(|event| delivery(&tenant_id("acme"), event)).collect()
}

fn draw(chance: &mut Chance) -> JobChange {
    let key = chance.pick(&keys()).unwrap().clone();
    // Few different times, so that the same one comes again.
    let time = Timestamp::from_millis(chance.below(3));
    let state = match chance.below(8) {
        0 | 1 => return JobChange::Remove(key),
        2..5 => JobState::Waiting { due: time, attempts: 1 },
        5 => JobState::CutOff { at: time },
        _ => {
            let cause = posthaste_domain::DeadLetterCause::Gone;
            JobState::Dying { cause, attempts: 1, error: None }
        }
    };
    JobChange::Put(Box::new(Job {
        key,
        round: 0,
        shard_key: 0,
        interrupted: 0,
        epoch: 1,
        lease_until: time,
        state,
        payload: (chance.below(2) == 0).then(|| vec![b'p'; 40].into()),
    }))
}

async fn view<S: JobStore>(store: &S) -> (Vec<Option<Job>>, TimerPage, Vec<Job>) {
    let jobs = store.jobs(&keys()).await.unwrap();
    let timers = store.timers(ALL, TimerPosition::START, Timestamp::MAX, PLENTY).await.unwrap();
    (jobs, timers, store.outbox(None, PLENTY).await.unwrap())
}
