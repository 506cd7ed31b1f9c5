//! What the store does in the background, under the loads that are hard on it.

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

fn noise(chance: &mut Chance, len: usize) -> Bytes {
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
    let home = home();
    let settings = Settings { memtable_bytes: 1, ..settings(&home) };
    run(open(settings), async |ledger| {
        let rows = ledger.shared.tables.keyspace(Table::Rows).clone();
        let busy = rows.tree.get_flush_lock();
        let mut load = JoinSet::new();
        for task in 0..TASKS {
            let ledger = ledger.clone();
            load.spawn(async move {
                for n in 0..4_000 {
                    let entropy = u128::from((task << 32) | n);
                    let new = event("acme", Timestamp::from_millis(100), entropy);
                    ledger.accept(vec![new]).await.unwrap();
                }
            });
        }
        while !ledger.shared.tables.has_overfull() || ledger.stats().queued < TASKS - 1 {
            tokio::task::yield_now().await;
        }
        let commits = ledger.stats().commits;
        for _ in 0..30_000 {
            std::thread::yield_now();
            tokio::task::yield_now().await;
        }
        // One was under way when the memtable became too large.
        assert!(ledger.stats().commits <= commits + 1, "the writer goes on");
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
