//! The keyspaces and how they are read: names, sizes, and decoded rows.
//!
//! Reads of one row see what is committed. Reads that must agree with each other go through one
//! [`View`]. A row that cannot be decoded is an error that names its place; whoever meets it
//! decides what that costs, because one rotten row must not stop every tenant.

use std::fmt::Display;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fjall::compaction::Leveled;
use fjall::config::PartitioningPolicy;
use fjall::{
    Database, Guard, Iter, Keyspace, KeyspaceCreateOptions, PersistMode, Readable as _, Snapshot,
};
use lsm_tree::{AbstractTree as _, Memtable};
use posthaste_domain::{EventId, TenantId};
use posthaste_ports::{PortError, TenantRecord};
use thiserror::Error;

use crate::codec::{self, CodecError, Decodable, EventRow, LogRow, TenantRow};
use crate::error;
use crate::keys;
use crate::settings::Settings;
use crate::shared::Shared;
use crate::vault::Vault;

/// The name of the one row that is written with every commit.
pub(crate) const COMMIT_KEY: &[u8] = b"commit";
/// The name of the row that says whose directory it is.
pub(crate) const IDENTITY_KEY: &[u8] = b"identity";
/// Written with the commit by which an operator went on without what was lost: the commit that was
/// the last one then. (Empty in earlier versions.)
pub(crate) const ACCEPTED_LOSS_KEY: &[u8] = b"accepted loss";
/// The name of the row that says which key tenants are sealed with; see `vault.rs`.
pub(crate) const SEAL_KEY: &[u8] = b"seal key";
/// The name of a row without meaning, behind all others of its table; see
/// [`crate::batch::Batch::commit`].
pub(crate) const TIDE_KEY: &[u8] = &[0xFF; 9];
/// No memtable is smaller, in bytes.
const MEMTABLE_BYTES_MIN: u64 = 64 << 10;
/// A memtable that has grown to so many times its size holds up the writer until it is written
/// out: the disk does not keep up, and memory is not to pay for it.
const OVERFULL: u64 = 16;

/// How long until a table that is being written out is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// The size of a table on disk. The last one of a merge gets its filter and its sync while the
/// store holds the lock that every commit needs: 64 MiB, which is usual, take 40 ms, these 5.
pub(crate) const TABLE_BYTES: u64 = 8 << 20;

/// The keyspaces, by what is in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Table {
    /// Where each event stands.
    Rows,
    /// The bytes to deliver.
    Payloads,
    /// Lines of attempt logs.
    Log,
    /// Deliveries that no attempt of their round has failed.
    Fresh,
    /// Waiting retries, by due time.
    Timers,
    /// All events by tenant; and again those that wait for a retry, are dead, or purged.
    Marks,
    /// Idempotency claims.
    Claims,
    /// What goes when.
    Expiry,
    /// Tenants, keys, settings.
    Tenants,
    /// The commit record, and whose directory it is.
    Meta,
    /// In AWS mode: jobs, by delivery.
    Jobs,
    /// What finds jobs: timers by due time, the outbox by delivery, cut-off ones by age.
    JobIndex,
}

impl Table {
    pub(crate) const ALL: [Self; 12] = [
        Self::Rows,
        Self::Payloads,
        Self::Log,
        Self::Fresh,
        Self::Timers,
        Self::Marks,
        Self::Claims,
        Self::Expiry,
        Self::Tenants,
        Self::Meta,
        Self::Jobs,
        Self::JobIndex,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::Payloads => "payloads",
            Self::Log => "log",
            Self::Fresh => "fresh",
            Self::Timers => "timers",
            Self::Marks => "marks",
            Self::Claims => "claims",
            Self::Expiry => "expiry",
            Self::Tenants => "tenants",
            Self::Meta => "meta",
            Self::Jobs => "jobs",
            Self::JobIndex => "job-index",
        }
    }

    /// Whether every event writes to it.
    const fn is_busy(self) -> bool {
        match self {
            Self::Rows
            | Self::Payloads
            | Self::Log
            | Self::Fresh
            | Self::Timers
            | Self::Expiry
            | Self::Marks
            | Self::Jobs
            | Self::JobIndex => true,
            Self::Claims | Self::Tenants | Self::Meta => false,
        }
    }
}

/// Why a read gave nothing.
#[derive(Debug, Error)]
pub(crate) enum ReadError {
    /// The store could not read.
    #[error("cannot read {table}")]
    Store {
        /// Which keyspace.
        table: &'static str,
        /// Why.
        source: fjall::Error,
    },
    /// What was read is not what was written.
    #[error("damaged row in {table}: {source}")]
    Damaged {
        /// Which keyspace.
        table: &'static str,
        /// How.
        source: CodecError,
    },
}

impl ReadError {
    /// Whether it only concerns one row: trying again does not help, and the others are as they
    /// were.
    pub(crate) const fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. })
    }

    /// Whether the store's files are not what was written: whoever reads there again meets it
    /// again, and so will the next merge, behind which nothing can be written any more.
    pub(crate) fn is_rot(&self) -> bool {
        let Self::Store { source, .. } = self else { return false };
        match source {
            fjall::Error::Io(source) | fjall::Error::Storage(fjall::LsmError::Io(source)) => {
                error::is_damage(source)
            }
            fjall::Error::Storage(_) => true,
            _ => false,
        }
    }
}

impl ReadError {
    /// The error with its cause, in one line.
    pub(crate) fn told(&self) -> String {
        match self {
            Self::Store { source, .. } => format!("{self}: {source}"),
            Self::Damaged { .. } => self.to_string(),
        }
    }
}

impl From<ReadError> for PortError {
    /// A damaged row concerns one event, and does not end the process; a damaged file does.
    fn from(error: ReadError) -> Self {
        if error.is_rot() { Self::Permanent(error.told()) } else { Self::Transient(error.told()) }
    }
}

/// Every memtable, kept until the store has let go of it.
///
/// To take one apart, entry by entry, takes tens of milliseconds. Whoever lets go of it last does
/// that, and the store does it under the lock that every commit needs.
#[derive(Default)]
pub(crate) struct Memtables {
    active: Vec<Arc<Memtable>>,
    sealed: Vec<Arc<Memtable>>,
}

impl Memtables {
    /// Takes note of those that are new, whoever has made them, and takes those apart that nobody
    /// else has any more.
    pub(crate) fn look(&mut self, tables: &Tables) {
        for (index, keyspace) in tables.keyspaces.iter().enumerate() {
            let active = keyspace.tree.active_memtable();
            match self.active.get_mut(index) {
                None => self.active.push(active),
                Some(known) if Arc::ptr_eq(known, &active) => {}
                Some(known) => self.sealed.push(std::mem::replace(known, active)),
            }
        }
        self.sealed.retain(|memtable| Arc::strong_count(memtable) > 1);
    }
}

/// The open keyspaces.
#[derive(Clone)]
pub(crate) struct Tables {
    database: Database,
    keyspaces: [Keyspace; Table::ALL.len()],
    memtable_bytes: u64,
    /// What opens tenants; a cache (AWS mode) has none.
    vault: Option<Arc<Vault>>,
}

impl Tables {
    /// Opens every keyspace, making those that are missing.
    pub(crate) fn open(database: Database, settings: &Settings) -> fjall::Result<Self> {
        let open = |table: Table| {
            database.keyspace(table.name(), || {
                KeyspaceCreateOptions::default()
                    // Never rotated by the store itself: after each commit it would send its
                    // worker one more message for each memtable that is full, and a worker that
                    // meets a full channel waits for ever for room that only it can make.
                    .max_memtable_size(u64::MAX)
                    // In pieces, from the first level on, of which a table keeps only the list in
                    // memory; the pieces come by the cache, which is bounded. In one piece they are
                    // kept by every table that was written in the upper levels, also when it has
                    // moved down as it is, which tables of ids that grow do: 100 KB of 8 MB, and
                    // so memory would grow with the backlog.
                    .index_block_partitioning_policy(PartitioningPolicy::all(true))
                    .filter_block_partitioning_policy(PartitioningPolicy::all(true))
                    .compaction_strategy(Arc::new(
                        Leveled::default().with_table_target_size(TABLE_BYTES),
                    ))
                    .manual_journal_persist(true)
            })
        };
        let keyspaces = Table::ALL.map(open).into_iter().collect::<fjall::Result<Vec<_>>>()?;
        let keyspaces = keyspaces.try_into().unwrap_or_else(|_| unreachable!("one for each"));
        let memtable_bytes = settings.memtable_bytes.max(MEMTABLE_BYTES_MIN);
        Ok(Self { database, keyspaces, memtable_bytes, vault: None })
    }

    /// Has tenants opened and sealed by it.
    pub(crate) fn set_vault(&mut self, vault: Arc<Vault>) {
        self.vault = Some(vault);
    }

    pub(crate) fn vault(&self) -> Option<&Vault> {
        self.vault.as_deref()
    }

    /// The size at which a memtable is to be written out. Quiet keyspaces would pin the journals
    /// for as long as a large memtable takes to fill.
    fn memtable_bytes_max(&self, table: Table) -> u64 {
        let quiet = (self.memtable_bytes / 4).max(MEMTABLE_BYTES_MIN);
        if table.is_busy() { self.memtable_bytes } else { quiet }
    }

    /// Whether a memtable is full and nothing is before it on its way to the disk.
    fn is_full(&self, table: Table) -> bool {
        let keyspace = self.keyspace(table);
        self.memtable_bytes(table) > self.memtable_bytes_max(table)
            && keyspace.sealed_memtable_count() == 0
    }

    /// Whether [`Tables::rotate_one`] has something to do.
    pub(crate) fn has_full(&self) -> bool {
        Table::ALL.into_iter().any(|table| self.is_full(table))
    }

    /// Sends the fullest memtable on its way to the disk; says whether one was full.
    ///
    /// One, since the store then looks through all tables for what it can let go of, and removes
    /// files while it holds the lock of each in turn: 10 ms a memtable, and the next commit would
    /// have to wait for all of them.
    pub(crate) fn rotate_one(&self) -> fjall::Result<bool> {
        let full = Table::ALL.into_iter().filter(|table| self.is_full(*table));
        let Some(fullest) = full.max_by_key(|table| self.memtable_bytes(*table)) else {
            return Ok(false);
        };
        self.keyspace(fullest).rotate_memtable()?;
        Ok(true)
    }

    /// Writes out every memtable that has grown to `bytes_max`, and waits for it.
    pub(crate) fn write_out(&self, bytes_max: u64) -> fjall::Result<()> {
        for table in Table::ALL {
            if self.memtable_bytes(table) < bytes_max {
                continue;
            }
            let keyspace = self.keyspace(table);
            keyspace.rotate_memtable()?;
            // The store's own wait has no end where a table cannot be written.
            while keyspace.sealed_memtable_count() > 0 {
                self.check()?;
                std::thread::sleep(LOOK_AGAIN);
            }
        }
        Ok(())
    }

    /// The size of the memtable that is written to.
    fn memtable_bytes(&self, table: Table) -> u64 {
        self.keyspace(table).tree.active_memtable().size()
    }

    /// Whether a memtable has outgrown what memory is to hold.
    pub(crate) fn has_overfull(&self) -> bool {
        Table::ALL.into_iter().any(|table| {
            self.memtable_bytes(table) > self.memtable_bytes_max(table).saturating_mul(OVERFULL)
        })
    }

    /// An error where the store has given up: its worker failed to write out or merge a table.
    pub(crate) fn check(&self) -> fjall::Result<()> {
        self.database.persist(PersistMode::Buffer)
    }

    pub(crate) const fn database(&self) -> &Database {
        &self.database
    }

    pub(crate) const fn keyspace(&self, table: Table) -> &Keyspace {
        &self.keyspaces[table as usize]
    }

    /// The bytes of one row, as committed.
    pub(crate) fn get(&self, table: Table, key: &[u8]) -> Result<Option<fjall::Slice>, ReadError> {
        let read = self.keyspace(table).get(key);
        read.map_err(|source| ReadError::Store { table: table.name(), source })
    }

    /// One row, as committed.
    pub(crate) fn row<R: Decodable>(
        &self,
        table: Table,
        key: &[u8],
    ) -> Result<Option<R>, ReadError> {
        self.get(table, key)?.map(|bytes| decoded(table, &bytes)).transpose()
    }

    /// A tenant, as committed.
    pub(crate) fn tenant(&self, id: &TenantId) -> Result<Option<TenantRecord>, ReadError> {
        let row = self.row::<TenantRow>(Table::Tenants, &keys::tenant(id))?;
        row.map(|row| tenant_record(row, id, self.vault())).transpose()
    }

    /// A payload, as committed.
    pub(crate) fn payload(&self, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        self.get(Table::Payloads, key)?.map(|bytes| payload(&bytes)).transpose()
    }

    /// All keyspaces as they are now, until the view is dropped.
    pub(crate) fn view(&self) -> View<'_> {
        View { tables: self, snapshot: self.database.snapshot() }
    }
}

/// All keyspaces at one moment.
pub(crate) struct View<'a> {
    tables: &'a Tables,
    snapshot: Snapshot,
}

impl View<'_> {
    pub(crate) fn row<R: Decodable>(
        &self,
        table: Table,
        key: &[u8],
    ) -> Result<Option<R>, ReadError> {
        let read = self.snapshot.get(self.tables.keyspace(table), key);
        let bytes = read.map_err(|source| ReadError::Store { table: table.name(), source })?;
        bytes.map(|bytes| decoded(table, &bytes)).transpose()
    }

    /// An event's row.
    pub(crate) fn event(
        &self,
        tenant: &TenantId,
        event: EventId,
    ) -> Result<Option<EventRow>, ReadError> {
        self.row(Table::Rows, &keys::event(tenant, event))
    }

    /// An event's payload.
    pub(crate) fn payload(
        &self,
        tenant: &TenantId,
        event: EventId,
    ) -> Result<Option<Bytes>, ReadError> {
        self.payload_at(&keys::event(tenant, event))
    }

    /// The payload of this name.
    pub(crate) fn payload_at(&self, name: &[u8]) -> Result<Option<Bytes>, ReadError> {
        let table = Table::Payloads;
        let read = self.snapshot.get(self.tables.keyspace(table), name);
        let bytes = read.map_err(|source| ReadError::Store { table: table.name(), source })?;
        bytes.map(|bytes| payload(&bytes)).transpose()
    }

    /// The last line of an event's log.
    pub(crate) fn last_log(
        &self,
        tenant: &TenantId,
        event: EventId,
        row: &EventRow,
    ) -> Result<Option<LogRow>, ReadError> {
        match row.logged.checked_sub(1) {
            Some(last) => self.row(Table::Log, &keys::log(tenant, event, last)),
            None => Ok(None),
        }
    }

    /// Rows from a key on to the last one, in order.
    pub(crate) fn from(&self, table: Table, from: Bound<Vec<u8>>) -> Iter {
        self.range(table, (from, Bound::Excluded(TIDE_KEY.to_vec())))
    }

    /// An event's row, or none where it is damaged, which is told.
    pub(crate) fn event_unless_damaged(
        &self,
        tenant: &TenantId,
        event: EventId,
        shared: &Shared,
    ) -> Result<Option<EventRow>, ReadError> {
        unless_damaged(self.event(tenant, event), &event, shared).map(Option::flatten)
    }

    /// Rows whose keys begin with `prefix`, in order.
    pub(crate) fn prefix(&self, table: Table, prefix: &[u8]) -> Iter {
        self.snapshot.prefix(self.tables.keyspace(table), prefix)
    }

    /// Rows of a range of keys, in order.
    pub(crate) fn range<R: std::ops::RangeBounds<Vec<u8>>>(&self, table: Table, range: R) -> Iter {
        self.snapshot.range(self.tables.keyspace(table), range)
    }
}

/// The key of a row that a scan found.
pub(crate) fn key_of(table: Table, guard: Guard) -> Result<fjall::Slice, ReadError> {
    guard.key().map_err(|source| ReadError::Store { table: table.name(), source })
}

/// Key and bytes of a row that a scan found.
pub(crate) fn pair_of(
    table: Table,
    guard: Guard,
) -> Result<(fjall::Slice, fjall::Slice), ReadError> {
    guard.into_inner().map_err(|source| ReadError::Store { table: table.name(), source })
}

/// What was read, or none where it is damaged, which is told: one rotten row must not hide others.
pub(crate) fn unless_damaged<T>(
    read: Result<T, ReadError>,
    of: &dyn Display,
    shared: &Shared,
) -> Result<Option<T>, ReadError> {
    match read {
        Err(error) if error.is_damage() => {
            shared.damaged(&error, of);
            Ok(None)
        }
        read => read.map(Some),
    }
}

/// The record that a row's bytes are.
pub(crate) fn decoded<R: Decodable>(table: Table, bytes: &[u8]) -> Result<R, ReadError> {
    codec::decode(bytes).map_err(|source| ReadError::Damaged { table: table.name(), source })
}

/// What a row means, or that it means nothing.
pub(crate) fn decoded_as<T>(table: Table, meaning: Result<T, CodecError>) -> Result<T, ReadError> {
    meaning.map_err(|source| ReadError::Damaged { table: table.name(), source })
}

/// A key that is not one of ours.
pub(crate) const fn foreign_key(table: Table) -> ReadError {
    ReadError::Damaged { table: table.name(), source: CodecError::Fields }
}

/// The tenant that a row is.
pub(crate) fn tenant_record(
    row: TenantRow,
    id: &TenantId,
    vault: Option<&Vault>,
) -> Result<TenantRecord, ReadError> {
    let table = Table::Tenants.name();
    let opened = row.opened(id, vault).and_then(|row| row.record(id.clone()));
    opened.map_err(|source| ReadError::Damaged { table, source })
}

fn payload(bytes: &[u8]) -> Result<Bytes, ReadError> {
    let table = Table::Payloads.name();
    let payload = codec::unframe(bytes).map_err(|source| ReadError::Damaged { table, source })?;
    Ok(Bytes::copy_from_slice(payload))
}

#[cfg(test)]
pub(crate) mod tests;
