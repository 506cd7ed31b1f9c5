//! Brings a directory of format 1 over to this one, at its first start: what each event has gets
//! its new names, and each event its mark.
//!
//! Invariant: an event is moved whole in one commit, so a start that is cut off leaves each of them
//! under its old names or its new ones, and the next start goes on. No version before this one
//! starts with the directory meanwhile.

use std::io;
use std::ops::Bound;

use fjall::PersistMode;

use crate::batch::Batch;
use crate::codec::{self, EventRow};
use crate::error::OpenError;
use crate::keys::{FIRST_OF_TENANTS, Layout, Named};
use crate::loss;
use crate::shared::Shared;
use crate::tables::{ReadError, Table, View, pair_of};
use crate::tools::{Entry, entries};
use crate::writer::Writer;

/// Events in one commit, and bytes.
const EVENTS: usize = if cfg!(test) { 1 } else { 1_000 };
const BYTES: usize = 4 << 20;

/// Moves all events that still have their old names; gives how many.
pub(crate) fn run(shared: &Shared, writer: &mut Writer) -> Result<u64, OpenError> {
    let path = || shared.directory.path().to_owned();
    let unusable = |source| OpenError::Unusable { path: path(), source };
    let unread = |failed: ReadError| loss::unread(&shared.directory, failed);
    let failed = |error: fjall::Error| unusable(io::Error::other(error));
    shared.directory.begin_upgrade().map_err(unusable)?;
    let mut moved = 0;
    let mut from = Bound::Included(FIRST_OF_TENANTS.to_vec());
    loop {
        #[cfg(test)]
        tests::may_be_cut_off().map_err(unusable)?;
        let mut batch = Batch::new(shared.tables.clone());
        let (count, last) = step(shared, from, &mut batch).map_err(unread)?;
        let Some(last) = last else { break };
        from = Bound::Excluded(last);
        moved += count;
        let begin_us = shared.observer.monotonic_us();
        let committed = writer.commit(batch, Vec::new(), begin_us);
        committed.map_err(|source| OpenError::Unwritable { path: path(), source })?;
        shared.tables.write_out(shared.settings.memtable_bytes).map_err(failed)?;
    }
    // Sooner than the directory says that it is done, it is.
    shared.tables.database().persist(PersistMode::SyncAll).map_err(failed)?;
    shared.directory.finish().map_err(unusable)?;
    Ok(moved)
}

/// Moves the next events; gives how many, and the key of the last one.
fn step(
    shared: &Shared,
    from: Bound<Vec<u8>>,
    batch: &mut Batch,
) -> Result<(u64, Option<Vec<u8>>), ReadError> {
    let view = shared.tables.view();
    let (mut count, mut last) = (0, None);
    for guard in view.from(Table::Rows, from).take(EVENTS) {
        let (key, row) = pair_of(Table::Rows, guard)?;
        last = Some(key.to_vec());
        // What is no event's stays where it is, as it did.
        if let Some(named) = Layout::One.split(&key).filter(|named| named.rest == 0) {
            move_event(shared, &view, &named, &row, batch)?;
            count += 1;
        }
        if batch.bytes >= BYTES {
            break;
        }
    }
    Ok((count, last))
}

/// Moves an event, whatever its rows hold: what is damaged stays so, under the new name.
fn move_event(
    shared: &Shared,
    view: &View<'_>,
    Named { name: old, tenant, event, .. }: &Named<'_>,
    row: &[u8],
    batch: &mut Batch,
) -> Result<(), ReadError> {
    let new = Layout::Current.event(tenant, *event);
    if let Some(payload) = shared.tables.get(Table::Payloads, old)? {
        batch.insert_bytes(Table::Payloads, new.as_slice(), payload.to_vec());
        batch.remove(Table::Payloads, *old);
    }
    for guard in view.prefix(Table::Log, old) {
        let (key, line) = pair_of(Table::Log, guard)?;
        let name = [&new, &key[old.len()..]].concat();
        batch.insert_bytes(Table::Log, name, line.to_vec());
        batch.remove(Table::Log, key);
    }
    if let Ok(row) = codec::decode::<EventRow>(row) {
        // Only a timer says whose shard it is, and timers keep their names: they stay as they are.
        let any_shard = 0;
        let [olds, news] = [Layout::One, Layout::Current]
            .map(|layout| entries((tenant, *event), &row, any_shard, layout));
        // What keeps its name is not written again: it may be taken away weakly.
        let is_in = |all: &[Entry], one: &Entry| {
            all.iter().any(|other| (other.table, &other.key) == (one.table, &one.key))
        };
        for entry in olds.iter().filter(|entry| !is_in(&news, entry)) {
            batch.remove(entry.table, entry.key.as_slice());
        }
        for entry in news.iter().filter(|entry| !is_in(&olds, entry)) {
            batch.insert_bytes(entry.table, entry.key.as_slice(), entry.value.clone());
        }
    }
    batch.insert_bytes(Table::Rows, new, row.to_vec());
    batch.remove(Table::Rows, *old);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};
    use std::process::Command;
    use std::sync::Arc;

    use fjall::Database;
    use posthaste_domain::{Resolution, Settlement, TimerPosition, Timestamp};
    use posthaste_ports::memory::NullSink;
    use posthaste_ports::{Journal as _, Settled, ShardSpec, TenantStore as _};
    use tempfile::TempDir;

    use super::*;
    use crate::keys::{self, RegistryKey};
    use crate::ledger::Ledger;
    use crate::settings::Settings;
    use crate::tables::Tables;
    use crate::testing::{Watch, home};
    use crate::tools::{self, Verified};

    thread_local! {
        /// Commits until the next start is cut off.
        static LEFT: Cell<Option<u64>> = const { Cell::new(None) };
    }

    pub(super) fn may_be_cut_off() -> io::Result<()> {
        match LEFT.get() {
            Some(0) => Err(io::Error::other("cut off")),
            left => {
                LEFT.set(left.map(|left| left - 1));
                Ok(())
            }
        }
    }

    /// A directory of format 1: see `tests/it/formats.rs`.
    fn unpack(home: &TempDir) -> PathBuf {
        let packed = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/format-1/data.tar.gz");
        let tar = Command::new("tar").args(["-xzf", packed, "-C"]).arg(home.path()).status();
        assert!(tar.unwrap().success());
        home.path().join("data")
    }

    fn verify(dir: &Path) -> Verified {
        let mut told = Vec::new();
        let verified = tools::verify(dir, &mut |damage| told.push(damage.to_string())).unwrap();
        assert_eq!(told, Vec::<String>::new());
        verified
    }

    fn settings(dir: &Path) -> Settings {
        Settings { free_space_floor_bytes: 0, ballast_bytes: 0, ..Settings::new(dir) }
    }

    fn open(dir: &Path) -> Result<Ledger, OpenError> {
        let opened = Ledger::open(settings(dir), Arc::new(NullSink), Arc::new(Watch::default()));
        opened.map(|(ledger, _)| ledger)
    }

    /// Cut off before the first event and between others: the tools find all of it whole and can
    /// copy it, no version before this one starts with it, and the next start goes on.
    #[test]
    fn an_upgrade_that_is_cut_off_goes_on() {
        let home = home();
        let data = unpack(&home);
        let stand = [("DELIVERED", 5), ("DLQ", 3), ("FAILED", 3), ("PENDING", 4)];
        let stand = BTreeMap::from(stand);
        assert_eq!(verify(&data).events, stand);
        let mut starts = 0_u64;
        let ledger = loop {
            // Four events more each time.
            LEFT.set(Some(if starts == 0 { 0 } else { 4 }));
            match open(&data) {
                Ok(ledger) => break ledger,
                Err(error) => assert!(error.to_string().contains("cut off"), "{error}"),
            }
            let format = std::fs::read_to_string(data.join("FORMAT")).unwrap();
            assert!(format.trim().parse::<u32>().is_err(), "an earlier version takes it");
            assert_eq!(verify(&data).events, stand, "after {starts} starts");
            let copy = home.path().join(format!("copy-{starts}"));
            let repaired = tools::repair(&data, &copy, &mut |found| panic!("{found:?}"));
            let repaired = repaired.unwrap();
            assert!(repaired.is_complete() && repaired.mended == 0, "{repaired:?}");
            assert_eq!(verify(&copy).events, stand);
            std::fs::remove_dir_all(copy).unwrap();
            starts += 1;
        };
        assert_eq!(starts, 4, "of 15 events");
        tokio::runtime::Runtime::new().unwrap().block_on(ledger.close());
        drop(ledger);
        assert_eq!(verify(&data).events, stand);
        assert_eq!(std::fs::read_to_string(data.join("FORMAT")).unwrap(), "2\n");
    }

    /// One rotten tenant holds up nobody: its events get their new names like all others.
    #[test]
    fn a_rotten_tenant_holds_up_no_upgrade() {
        let home = home();
        let data = unpack(&home);
        let before = verify(&data).events;
        {
            let database = Database::builder(data.join("ledger")).open().unwrap();
            let tables = Tables::open(database, &settings(&data)).unwrap();
            let rows = tables.keyspace(Table::Tenants);
            let all: Vec<_> = rows.iter().map(|guard| guard.into_inner().unwrap()).collect();
            let mut damaged = 0;
            for (key, value) in all {
                if let Some(RegistryKey::Tenant(_)) = keys::parse_registry(&key) {
                    let mut value = value.to_vec();
                    value[1] ^= 1;
                    rows.insert(key, value).unwrap();
                    damaged += 1;
                }
            }
            assert!(damaged > 0);
            tables.database().persist(PersistMode::SyncAll).unwrap();
        }
        let ledger = open(&data).unwrap();
        tokio::runtime::Runtime::new().unwrap().block_on(ledger.close());
        drop(ledger);
        assert_eq!(std::fs::read_to_string(data.join("FORMAT")).unwrap(), "2\n");
        let mut told = Vec::new();
        let after = tools::verify(&data, &mut |damage| told.push(damage.to_string())).unwrap();
        assert_eq!(after.events, before);
        assert!(told.iter().all(|damage| damage.contains("tenant")), "{told:?}");
    }

    /// A retry keeps its name, and so is not written a second time: it is taken away weakly later,
    /// and then its first writing would come back to life.
    #[test]
    fn a_retry_that_was_settled_behind_an_upgrade_stays_away() {
        let home = home();
        let data = unpack(&home);
        // On disk before: what one merge has of a key vanishes together.
        let database = Database::builder(data.join("ledger")).open().unwrap();
        let tables = Tables::open(database, &settings(&data)).unwrap();
        tables.write_out(0).unwrap();
        drop(tables);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let ledger = open(&data).unwrap();
            let all = ShardSpec { index: 0, count: 1 };
            let timers = async || {
                let page = ledger.timers(all, TimerPosition::START, Timestamp::MAX, 10).await;
                page.unwrap().owed
            };
            let owed = timers().await;
            assert_eq!(owed.len(), 3);
            let settlements = owed.into_iter().map(|owed| Settlement {
                key: owed.key,
                round: owed.round,
                attempts: owed.attempts,
                owed_as: owed.owed_as,
                interrupted: 0,
                at: Timestamp::from_millis(1),
                attempt: None,
                resolution: Resolution::Delivered,
            });
            let settled = ledger.settle(settlements.collect()).await.unwrap();
            assert_eq!(settled, [Settled::Settled; 3]);
            // Later commits, behind which nobody can see what stood before.
            for n in 0..3_u8 {
                ledger.set_setting("color", &[n]).await.unwrap();
                ledger.shared.tables.write_out(0).unwrap();
            }
            assert_eq!(timers().await, []);
            ledger.close().await;
        });
    }
}
