//! The ledger that is damaged: tables of several ages, a sealed journal and an active one, and
//! events in every standing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use posthaste_domain::{
    DeadLetterCause, EventId, EventStatus, Owed, Resolution, TenantId, TimerPosition, Timestamp,
};
use posthaste_ports::memory::NullSink;
use posthaste_ports::{
    DeadLetters, EventStore as _, Idempotency, Journal as _, Scope, ShardSpec, TenantStore as _,
};
use tempfile::TempDir;

use crate::ledger::Ledger;
use crate::settings::Settings;
use crate::tables::Table;
use crate::testing::{Chance, Watch, event, home, new_tenant, outcome, tenant_id};

pub(super) const TENANTS: [&str; 2] = ["acme", "beta"];
/// What every view is taken at.
pub(super) const NOW: Timestamp = Timestamp::from_millis(2_000_000);
const EVENTS: u64 = 50;

/// An event as its tenant sees it, and how often it is owed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) status: EventStatus,
    pub(super) payload: Bytes,
    pub(super) attempts: u32,
    pub(super) lines: usize,
    pub(super) owed: usize,
}

/// Every event; an error where it cannot be read.
pub(super) type View = BTreeMap<(TenantId, EventId), Result<Option<Seen>, String>>;

pub(super) struct Template {
    home: TempDir,
    pub(super) view: View,
}

/// A directory of its own, with a copy.
pub(super) struct Copy(TempDir);

impl Copy {
    pub(super) fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    /// Another one, as this one is now.
    pub(super) fn again(&self) -> Self {
        let home = home();
        copy_dir(&self.data(), &home.path().join("data"));
        Self(home)
    }

    /// A place beside it.
    pub(super) fn beside(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

pub(super) fn settings(dir: PathBuf) -> Settings {
    Settings { free_space_floor_bytes: 0, ballast_bytes: 0, ..Settings::new(dir) }
}

impl Template {
    pub(super) async fn make() -> Self {
        let home = home();
        let dir = home.path().join("data");
        let opened =
            Ledger::open(settings(dir.clone()), Arc::new(NullSink), Arc::new(Watch::default()));
        let (ledger, _) = opened.unwrap();
        for (tenant, shard_key) in TENANTS.into_iter().zip(0..) {
            ledger.create(new_tenant(tenant, shard_key)).await.unwrap();
        }
        ledger.set_setting("color", b"green").await.unwrap();
        let mut chance = Chance(7);
        let mut ids = Vec::new();
        for age in 0..4 {
            live(&ledger, age, &mut chance, &mut ids).await;
            // All tables, then some, then only the journals have it.
            for table in Table::ALL.into_iter().filter(|table| age + *table as u64 % 2 < 3) {
                if age < 3 {
                    ledger.shared.tables.keyspace(table).rotate_memtable_and_wait().unwrap();
                }
            }
        }
        ledger.shared.tables.keyspace(Table::Payloads).major_compact().unwrap();
        let view = view(&ledger, &ids).await;
        ledger.close().await;
        drop(ledger);
        seal_twice(&dir.join("ledger"));
        let template = Self { home, view };
        let all = template.view.values().all(|seen| matches!(seen, Ok(Some(_))));
        assert!(all && template.view.len() as u64 == 4 * EVENTS);
        template
    }

    pub(super) fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    pub(super) fn copy(&self) -> Copy {
        let home = home();
        copy_dir(&self.data(), &home.path().join("data"));
        Copy(home)
    }

    pub(super) fn ids(&self) -> Vec<(TenantId, EventId)> {
        self.view.keys().cloned().collect()
    }
}

/// Events of one age, some of which go on.
async fn live(ledger: &Ledger, age: u64, chance: &mut Chance, ids: &mut Vec<(TenantId, EventId)>) {
    for n in 0..EVENTS {
        let tenant = TENANTS[usize::try_from(n % 2).unwrap()];
        let at = Timestamp::from_millis(1_000_000 + age * 1_000 + n);
        let mut new = event(tenant, at, u128::from(age * EVENTS + n));
        // Some are packed in journals, some cannot be.
        let length = chance.below(300);
        let noise: Vec<u8> = (0..length).flat_map(|_| chance.next().to_le_bytes()).collect();
        let blank = vec![b' '; usize::try_from(chance.below(3) * 3_000).unwrap()];
        new.payload = [noise, blank].concat().into();
        if n % 5 == 0 {
            let key = [u8::try_from(n + age * 50).unwrap(); 32];
            new.idempotency = Some(Idempotency { key, body: [1; 32] });
        }
        ids.push((new.tenant.clone(), new.id));
        ledger.accept(vec![new]).await.unwrap();
    }
    for owed in owed(ledger).await {
        let at = Timestamp::from_millis(1_100_000 + age * 1_000);
        let due = at.plus_millis(chance.below(1 << 30));
        let resolution = match chance.below(6) {
            0 => Resolution::Delivered,
            1 => Resolution::DeadLettered { cause: DeadLetterCause::Gone },
            2 | 3 => Resolution::Retry { due },
            _ => continue,
        };
        ledger.settle(vec![outcome(&owed, at, resolution)]).await.unwrap();
    }
    let dead = DeadLetters::list(ledger, &Scope::All, 100).await.unwrap();
    for (n, dead) in dead.into_iter().enumerate() {
        match n % 4 {
            0 => {
                let _or_purged = ledger.retry(&dead.tenant, dead.event, NOW).await.unwrap();
            }
            1 if n < 4 => {
                let beta = Scope::Tenant(tenant_id("beta"));
                assert!(ledger.purge(&beta, NOW).await.is_ok());
            }
            _ => {}
        }
    }
}

async fn owed(ledger: &Ledger) -> Vec<Owed> {
    try_owed(ledger).await.unwrap()
}

async fn try_owed(ledger: &Ledger) -> Result<Vec<Owed>, String> {
    let all = ShardSpec { index: 0, count: 1 };
    let read = ledger.timers(all, TimerPosition::START, Timestamp::MAX, usize::MAX).await;
    let mut owed = read.map_err(|error| error.to_string())?.owed;
    for tenant in TENANTS {
        let endpoint = posthaste_domain::EndpointId::DEFAULT;
        let (tenant, all) = (tenant_id(tenant), usize::MAX);
        let fresh = ledger.backlog(&tenant, endpoint, EventId::MIN, all).await;
        owed.extend(fresh.map_err(|error| error.to_string())?.owed);
    }
    Ok(owed)
}

/// Every event as it is now.
pub(super) async fn view(ledger: &Ledger, ids: &[(TenantId, EventId)]) -> View {
    let owed = try_owed(ledger).await;
    let mut view = View::new();
    for (tenant, event) in ids {
        let read = ledger.event(tenant, *event, NOW).await.map_err(|error| error.to_string());
        let seen = match (read, &owed) {
            (Ok(detail), Ok(owed)) => Ok(detail.map(|detail| Seen {
                status: detail.summary.status,
                payload: detail.payload,
                attempts: detail.summary.attempts,
                lines: detail.log.len(),
                owed: owed.iter().filter(|owed| owed.key.event == *event).count(),
            })),
            (Err(error), _) => Err(error),
            (_, Err(error)) => Err(error.clone()),
        };
        view.insert((tenant.clone(), *event), seen);
    }
    view
}

/// Seals the only journal twice, at ends of batches, as if it had grown large; removes the first of
/// the three, all of which is in tables; and leaves a few zeros of what the store sets aside.
fn seal_twice(store: &Path) {
    let first = store.join("0.jnl");
    let bytes = fs::read(&first).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let boundary = b"FJL\x03\x01";
    let end_behind = |from: usize| {
        let found = bytes[from..used].windows(boundary.len()).position(|w| w == boundary);
        from + found.unwrap() + boundary.len() - 1
    };
    let (one, two) = (end_behind(used / 3), end_behind(used * 2 / 3));
    let active = [&bytes[two..used], &[0; 20_000]].concat();
    fs::write(store.join("1.jnl"), &bytes[one..two]).unwrap();
    fs::write(store.join("2.jnl"), active).unwrap();
    fs::remove_file(first).unwrap();
}

pub(super) fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy_dir(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// The files under a directory, in order.
pub(super) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// The table files of a keyspace of the store in `store`.
pub(super) fn tables(store: &Path, keyspace: u64) -> Vec<PathBuf> {
    files(&store.join(format!("keyspaces/{keyspace}/tables")))
}

/// The keyspace of a table.
pub(super) const fn keyspace_of(table: Table) -> u64 {
    table as u64 + 1
}

/// Flips a bit of a file, in place: who has it open must meet it.
pub(super) fn flip(path: &Path, at: usize) {
    let byte = fs::read(path).unwrap()[at] ^ 0x20;
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[byte], at as u64).unwrap();
}
