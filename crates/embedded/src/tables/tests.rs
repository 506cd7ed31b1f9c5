//! What the store does in the background, under the loads that are hard on it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use lsm_tree::AbstractTree as _;
use posthaste_domain::{EndpointId, EventId, Resolution, TimerPosition, Timestamp};
use posthaste_ports::memory::NullSink;
use posthaste_ports::{EventStore as _, Journal as _, ShardSpec, TenantStore as _};
use tokio::task::JoinSet;

use super::*;
use crate::ledger::Ledger;
use crate::testing::{Chance, Watch, event, home, new_tenant, outcome, settings};

fn run(ledger: Ledger, load: impl AsyncFnOnce(&Ledger)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        ledger.create(new_tenant("acme", 0)).await.unwrap();
        load(&ledger).await;
        ledger.close().await;
    });
}

fn open(settings: Settings) -> Ledger {
    let (sink, watch) = (Arc::new(NullSink), Arc::new(Watch::default()));
    Ledger::open(settings, sink, watch).unwrap().0
}

pub(crate) fn noise(chance: &mut Chance, len: usize) -> Bytes {
    (0..len / 8).flat_map(|_| chance.next().to_be_bytes()).collect::<Vec<_>>().into()
}

/// Accepts an event and settles it as delivered, `times` over.
async fn deliver(ledger: &Ledger, chance: &mut Chance, times: u64, len: usize) {
    let tenant = crate::testing::tenant_id("acme");
    for n in 0..times {
        let mut new = event("acme", Timestamp::from_millis(100), u128::from(chance.next()));
        new.payload = noise(chance, len);
        ledger.accept(vec![new]).await.unwrap();
        let fresh = ledger.backlog(&tenant, EndpointId::DEFAULT, EventId::MIN, 9).await.unwrap();
        let at = Timestamp::from_millis(200 + n);
        let delivered = |owed| outcome(owed, at, Resolution::Delivered);
        ledger.settle(fresh.owed.iter().map(delivered).collect()).await.unwrap();
    }
}

/// A keyspace from which everything vanishes before it is written out still says how far it got:
/// a single retry, long ago, must not keep every journal since.
#[test]
fn what_vanishes_in_memory_pins_no_journal() {
    let home = home();
    run(open(settings(&home)), async |ledger| {
        let mut chance = Chance(1);
        ledger.accept(vec![event("acme", Timestamp::from_millis(1), 1)]).await.unwrap();
        let tenant = crate::testing::tenant_id("acme");
        let fresh = ledger.backlog(&tenant, EndpointId::DEFAULT, EventId::MIN, 9).await.unwrap();
        let due = Timestamp::from_millis(50);
        let retry = outcome(&fresh.owed[0], Timestamp::from_millis(9), Resolution::Retry { due });
        ledger.settle(vec![retry]).await.unwrap();
        let shard = ShardSpec { index: 0, count: 1 };
        let timers = ledger.timers(shard, TimerPosition::START, Timestamp::MAX, 9).await.unwrap();
        let delivered = outcome(&timers.owed[0], due, Resolution::Delivered);
        ledger.settle(vec![delivered]).await.unwrap();
        // Ten journals' worth.
        deliver(ledger, &mut chance, 3_200, 200_000).await;
        let journals = ledger.shared.tables.database().journal_count();
        assert!(journals <= 4, "{journals} journals");
    });
}

/// The store's one worker must not wait for room in the channel that only it empties, however
/// many commits find a memtable full while it is busy.
#[test]
#[expect(clippy::await_holding_lock, reason = "only the store's worker waits for it")]
fn a_busy_worker_is_never_stuck() {
    let home = home();
    let settings = Settings { memtable_bytes: 1, ..settings(&home) };
    let (done, ended) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        run(open(settings), async |ledger| {
            let mut load = JoinSet::new();
            for task in 0..8 {
                let ledger = ledger.clone();
                load.spawn(async move {
                    for n in 0.. {
                        let new = event("acme", Timestamp::from_millis(100), (task << 32) | n);
                        ledger.accept(vec![new]).await.unwrap();
                    }
                });
            }
            for _ in 0..10 {
                // A long merge, for as long as some hundred commits take.
                let rows = ledger.shared.tables.keyspace(Table::Rows).clone();
                let busy = rows.tree.get_flush_lock();
                commits(ledger, 400).await;
                drop(busy);
                commits(ledger, 100).await;
            }
            load.shutdown().await;
            for table in Table::ALL {
                ledger.shared.tables.keyspace(table).rotate_memtable_and_wait().unwrap();
            }
        });
        done.send(()).unwrap();
    });
    ended.recv_timeout(Duration::from_secs(30)).expect("memtables are written out");
}

/// A disk that does not keep up holds up the writer, not memory; and lets go of it.
#[test]
#[expect(clippy::await_holding_lock, reason = "only the store's worker waits for it")]
fn what_cannot_be_written_out_holds_up_the_writer() {
    const TASKS: u64 = 8;
    // Ten times as many as fill what memory may hold, however late memtables are rotated.
    const EVENTS_MAX: u64 = 50_000;
    let home = home();
    let settings = Settings { memtable_bytes: 1, ..settings(&home) };
    run(open(settings), async |ledger| {
        let rows = ledger.shared.tables.keyspace(Table::Rows).clone();
        let busy = rows.tree.get_flush_lock();
        let enough = Arc::new(AtomicBool::new(false));
        let mut load = JoinSet::new();
        for task in 0..TASKS {
            let (ledger, enough) = (ledger.clone(), Arc::clone(&enough));
            load.spawn(async move {
                for n in 0..EVENTS_MAX {
                    if enough.load(Ordering::Relaxed) {
                        return;
                    }
                    let entropy = u128::from((task << 32) | n);
                    let new = event("acme", Timestamp::from_millis(100), entropy);
                    ledger.accept(vec![new]).await.unwrap();
                }
            });
        }
        // Until the store's worker gets to this keyspace, others that become too large are written
        // out, and the writer goes on; then it stands still.
        let tables = &ledger.shared.tables;
        let mut stands = false;
        while !stands {
            assert!(load.try_join_next().is_none(), "the writer has gone on to the end");
            let commits = ledger.stats().commits;
            let mut waits = true;
            for _ in 0..30_000 {
                waits &= rows.sealed_memtable_count() > 0 && tables.has_overfull();
                waits &= !tables.has_full() && ledger.stats().queued >= TASKS - 1;
                std::thread::yield_now();
                tokio::task::yield_now().await;
            }
            stands = waits && ledger.stats().commits == commits;
        }
        enough.store(true, Ordering::Relaxed);
        drop(busy);
        load.join_all().await;
    });
}

/// Waits for so many commits.
async fn commits(ledger: &Ledger, more: u64) {
    let until = ledger.stats().commits + more;
    while ledger.stats().commits < until {
        tokio::task::yield_now().await;
    }
}

pub(crate) fn tables(home: &tempfile::TempDir) -> Tables {
    let database = Database::builder(home.path().join("store")).manual_journal_persist(true);
    Tables::open(database.open().unwrap(), &settings(home)).unwrap()
}

/// More than any memtable may hold.
fn fill(tables: &Tables, table: Table, chance: &mut Chance) {
    let bytes = usize::try_from(tables.memtable_bytes_max(table)).unwrap() / 8 + 1;
    for row in 0_u8..8 {
        tables.keyspace(table).insert([row], noise(chance, bytes).to_vec()).unwrap();
    }
}

/// One at a time, the fullest first, until none is full.
#[test]
fn the_fullest_memtable_goes_first_and_alone() {
    let (home, mut chance) = (home(), Chance(7));
    let tables = tables(&home);
    assert!(!tables.has_full() && !tables.rotate_one().unwrap());
    for table in [Table::Tenants, Table::Payloads] {
        fill(&tables, table, &mut chance);
        assert!(tables.is_full(table));
    }
    for (payloads, tenants) in [(false, true), (false, false)] {
        assert!(tables.rotate_one().unwrap());
        assert_eq!(
            [Table::Payloads, Table::Tenants].map(|it| tables.is_full(it)),
            [payloads, tenants]
        );
    }
    assert!(!tables.rotate_one().unwrap());
}

/// Whoever rotates a memtable, it is kept until the store has let go of it, and then no longer.
#[test]
fn memtables_are_kept_until_the_store_lets_go_of_them() {
    let (home, mut chance) = (home(), Chance(8));
    let tables = tables(&home);
    let mut memtables = Memtables::default();
    memtables.look(&tables);
    let rows = tables.keyspace(Table::Rows);
    for round in 0..20 {
        fill(&tables, Table::Rows, &mut chance);
        let written = rows.tree.active_memtable();
        rows.rotate_memtable_and_wait().unwrap();
        memtables.look(&tables);
        assert!(memtables.sealed.iter().any(|it| Arc::ptr_eq(it, &written)), "in round {round}");
        drop(written);
        memtables.look(&tables);
        assert!(memtables.sealed.len() <= 3, "{} in round {round}", memtables.sealed.len());
    }
}

/// However much is in the tables, memory holds the lists of the pieces of their indexes and filters
/// only; ids grow, so most tables move down as they were written.
#[test]
fn what_tables_keep_in_memory_is_small_beside_them() {
    const TABLES: u64 = 24;
    const ROWS: u64 = 2_000;
    let (home, mut chance) = (home(), Chance(7));
    let tables = tables(&home);
    let keyspace = tables.keyspace(Table::Payloads);
    for row in 0..TABLES * ROWS {
        keyspace.insert(row.to_be_bytes(), noise(&mut chance, 512).to_vec()).unwrap();
        if row % ROWS == ROWS - 1 {
            tables.write_out(1).unwrap();
        }
    }
    let tree = &keyspace.tree;
    assert!(tree.table_count() > 1 && tree.disk_space() > TABLES * ROWS * 512);
    let kept = tree.pinned_block_index_size() + tree.pinned_filter_size();
    // In one piece they would be 234 KB.
    assert!(kept < 12_000, "{kept} bytes of {} tables", tree.table_count());
    let row = 777_u64.to_be_bytes();
    assert_eq!(tables.get(Table::Payloads, &row).unwrap().unwrap().len(), 512);
    assert!(tables.get(Table::Payloads, &[1; 8]).unwrap().is_none());
}
