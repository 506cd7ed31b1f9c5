//! The order of a commit and of what is told of it: `Writer::commit` in
//! `crates/embedded/src/writer.rs`.

use std::fmt;

use posthaste_ports::PortError;
use shuttle::future::block_on;
use shuttle::sync::{Arc, Mutex};
use shuttle::thread;

use crate::names::product;
use crate::run::prove;
use crate::tokio::sync::oneshot;

product!(commit, commit_answers_before_it_commits, commit_answers_before_it_tells);
product!(commit_answers_before_tenants_are_known, commit_fails_after_it_answers);

/// What the commit has beside it: a ledger that remembers in which order it heard what.
#[derive(Default)]
struct Shared {
    settings: Settings,
    tables: Full,
    sink: Sink,
    observer: Silent,
    durable: Arc<Mutex<Vec<u64>>>,
    tenants: Mutex<Vec<u64>>,
    failed: Mutex<Option<String>>,
}

#[derive(Default)]
struct Settings {
    sync: SyncMode,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum SyncMode {
    #[default]
    Data,
    Buffered,
}

#[derive(Clone, Copy)]
enum PersistMode {
    Buffer,
    SyncData,
}

enum Table {
    Meta,
}

const COMMIT_KEY: &[u8] = b"commit";

#[derive(Clone, Copy, Default)]
struct CommitRow {
    number: u64,
}

struct Commit {
    operations: usize,
    events: usize,
    synced: bool,
    micros: u64,
}

#[derive(Default)]
struct Full;

impl Full {
    const fn has_full(&self) -> bool {
        false
    }
}

#[derive(Default)]
struct Sink(Mutex<Vec<u64>>);

impl Sink {
    fn arrived(&self, arrivals: Vec<u64>) {
        self.0.lock().unwrap().extend(arrivals);
    }
}

#[derive(Default)]
struct Silent;

impl Silent {
    const fn monotonic_us(&self) -> u64 {
        0
    }

    fn committed(&self, commit: &Commit) {
        let Commit { operations, events, synced, micros } = commit;
        assert!(*synced && *operations >= *events && *micros == 0);
    }
}

impl Shared {
    const fn tell_of_panic(&self, _: &'static str) {}

    fn set_synced(&self, _: u64) {}

    fn count(&self, _: &Commit) {}

    const fn wake_keeper(&self) {}

    fn tenant_changed(&self, tenant: Arc<u64>) {
        self.tenants.lock().unwrap().push(*tenant);
    }

    fn fail(&self, reason: String) -> PortError {
        *self.failed.lock().unwrap() = Some(reason.clone());
        PortError::Permanent(reason)
    }
}

/// A batch of one event, which is a tenant's change too.
struct Batch {
    needs_sync: bool,
    accepted: usize,
    arrivals: Vec<u64>,
    tenants: Vec<u64>,
    number: u64,
    fails: bool,
    durable: Arc<Mutex<Vec<u64>>>,
}

impl Batch {
    const fn is_empty(&self) -> bool {
        false
    }

    fn insert(&mut self, table: Table, key: &[u8], row: &CommitRow) {
        assert!(matches!(table, Table::Meta) && key == COMMIT_KEY);
        self.number = row.number;
    }

    fn commit(self, mode: PersistMode) -> Result<(), impl fmt::Display> {
        assert!(matches!(mode, PersistMode::SyncData));
        if self.fails {
            return Err("the disk is gone");
        }
        self.durable.lock().unwrap().push(self.number);
        Ok(())
    }
}

type Ticket = Box<dyn FnOnce(Result<(), PortError>) + Send>;

fn complete(tickets: Vec<Ticket>, outcome: &Result<(), PortError>) {
    for ticket in tickets {
        ticket(outcome.clone());
    }
}

const fn proof(commit: &CommitRow) -> u64 {
    commit.number
}

macro_rules! scenario {
    ($module:ident) => {{
        fn scenario() {
            let shared = Arc::new(Shared::default());
            let mut tickets = Vec::new();
            let mut clients = Vec::new();
            for number in 1..=3 {
                let (done, answer) = oneshot::channel::<Result<(), PortError>>();
                let ticket: Ticket = Box::new(move |outcome| drop(done.send(outcome)));
                tickets.push(ticket);
                let shared = shared.clone();
                clients.push(thread::spawn(move || match block_on(answer).unwrap() {
                    Ok(()) => {
                        let has = |list: &Mutex<Vec<u64>>| list.lock().unwrap().contains(&number);
                        assert!(has(&shared.durable), "acknowledged, and not durable");
                        assert!(has(&shared.sink.0), "acknowledged, and nobody was told");
                        assert!(has(&shared.tenants), "acknowledged, and an older tenant is read");
                    }
                    Err(_) => assert!(shared.failed.lock().unwrap().is_some(), "no reason"),
                }));
            }
            let (last, next) = (CommitRow::default(), CommitRow::default());
            let kept = shared.clone();
            let mut writer =
                $module::Writer { shared, last, next, unseen_expiry_low: 0, unsynced: false };
            for (number, ticket) in (1..).zip(tickets) {
                let batch = Batch {
                    needs_sync: true,
                    accepted: 1,
                    arrivals: vec![number],
                    tenants: vec![number],
                    number: 0,
                    fails: number == 3,
                    durable: kept.durable.clone(),
                };
                drop(writer.commit(batch, vec![ticket], 0));
            }
            clients.into_iter().for_each(|client| client.join().unwrap());
        }
        scenario as fn()
    }};
}

/// For all orders (I1): whoever is told that something is done finds it durable, handed over, and
/// read by all; whoever is told that it failed finds the reason.
#[test]
fn an_acknowledgement_comes_last() {
    let wrong = [
        ("answering before it commits", scenario!(commit_answers_before_it_commits)),
        ("answering before it tells the shards", scenario!(commit_answers_before_it_tells)),
        ("answering before tenants", scenario!(commit_answers_before_tenants_are_known)),
        ("answering before the reason", scenario!(commit_fails_after_it_answers)),
    ];
    prove("commit", scenario!(commit), &wrong);
}
