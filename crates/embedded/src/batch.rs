//! What one commit will write, as later steps of the same commit already see it.
//!
//! The store gives all writes of a batch one sequence number, so a key may be written once in it
//! only: a later write of a key takes the earlier one's place here.
//!
//! Invariant: a key that is taken away weakly has been written exactly once, ever. A weak removal
//! and the write before it vanish together when tables are merged, and take along whatever else
//! that merge has of the key, an earlier removal too: a write that is older still, in a table that
//! the merge has not, would come back to life.

use std::collections::HashMap;

use fjall::{PersistMode, Slice};
use foldhash::fast::RandomState;
use posthaste_domain::TenantId;
use posthaste_ports::{Arrival, TenantRecord};

use crate::codec::{self, Decodable};
use crate::tables::{ReadError, TIDE_KEY, Table, Tables, decoded, tenant_record};

enum Write {
    Insert(Slice),
    Remove,
    /// Takes away a row that was written once: both vanish when tables are merged, without the
    /// mark that a queue leaves behind otherwise.
    RemoveOnce,
}

/// The writes of one commit.
pub(crate) struct Batch {
    tables: Tables,
    writes: Vec<(Table, Slice, Write)>,
    places: HashMap<(Table, Slice), usize, RandomState>,
    /// Deliveries that become owed with this commit.
    pub(crate) arrivals: Vec<Arrival>,
    /// Tenants that this commit changes, for the cache.
    pub(crate) tenants: Vec<TenantRecord>,
    /// Whether an acknowledgement of this commit is a promise.
    pub(crate) needs_sync: bool,
    /// Events accepted in this commit.
    pub(crate) accepted: usize,
    /// Bytes written so far.
    pub(crate) bytes: usize,
    /// Index entries named so far.
    placed: u32,
}

impl Batch {
    pub(crate) fn new(tables: Tables) -> Self {
        Self {
            tables,
            writes: Vec::new(),
            places: HashMap::default(),
            arrivals: Vec::new(),
            tenants: Vec::new(),
            needs_sync: false,
            accepted: 0,
            bytes: 0,
            placed: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    pub(crate) const fn tables(&self) -> &Tables {
        &self.tables
    }

    /// A number that no other index entry of this commit has.
    pub(crate) const fn next_place(&mut self) -> u32 {
        let place = self.placed;
        // A commit ends at 8 MiB; one call that is larger has no room for so many either.
        self.placed += 1;
        place
    }

    fn write(&mut self, table: Table, key: Slice, write: Write) {
        self.bytes += key.len() + if let Write::Insert(value) = &write { value.len() } else { 0 };
        let next = self.writes.len();
        let place = *self.places.entry((table, key.clone())).or_insert(next);
        if place == next {
            self.writes.push((table, key, write));
            return;
        }
        // Once a commit has both, what was there before it is unknown: be sure.
        self.writes[place].2 = match write {
            Write::RemoveOnce => Write::Remove,
            other => other,
        };
    }

    /// Writes bytes as they are.
    pub(crate) fn insert_bytes(&mut self, table: Table, key: impl Into<Slice>, value: Vec<u8>) {
        self.write(table, key.into(), Write::Insert(value.into()));
    }

    /// Writes a record.
    pub(crate) fn insert<R: codec::Encodable>(
        &mut self,
        table: Table,
        key: impl Into<Slice>,
        record: &R,
    ) {
        self.write(table, key.into(), Write::Insert(codec::encode(record).into()));
    }

    /// Writes a row that has only a key.
    pub(crate) fn insert_key(&mut self, table: Table, key: impl Into<Slice>) {
        self.insert_bytes(table, key, Vec::new());
    }

    /// Takes a row away.
    pub(crate) fn remove(&mut self, table: Table, key: impl Into<Slice>) {
        self.write(table, key.into(), Write::Remove);
    }

    /// Takes away a row whose key has been written once, ever.
    pub(crate) fn remove_once(&mut self, table: Table, key: impl Into<Slice>) {
        self.write(table, key.into(), Write::RemoveOnce);
    }

    /// A row as it will be after this commit.
    pub(crate) fn row<R: Decodable>(
        &self,
        table: Table,
        key: &[u8],
    ) -> Result<Option<R>, ReadError> {
        self.written(table, key).unwrap_or_else(|| self.tables.row(table, key))
    }

    /// A row as it will be after this commit, where the commit has something of it so far.
    pub(crate) fn written<R: Decodable>(
        &self,
        table: Table,
        key: &[u8],
    ) -> Option<Result<Option<R>, ReadError>> {
        if self.places.is_empty() {
            return None;
        }
        let place = *self.places.get(&(table, Slice::from(key)))?;
        Some(match &self.writes[place].2 {
            Write::Insert(value) => decoded(table, value).map(Some),
            Write::Remove | Write::RemoveOnce => Ok(None),
        })
    }

    /// A tenant as it will be after this commit.
    pub(crate) fn tenant(
        &self,
        id: &TenantId,
        key: &[u8],
    ) -> Result<Option<TenantRecord>, ReadError> {
        self.row(Table::Tenants, key)?
            .map(|row| tenant_record(row, id, self.tables.vault()))
            .transpose()
    }

    /// Writes a row of no meaning to each table from which this commit takes rows away.
    ///
    /// A journal is kept until every table that it has rows of is written out as far as the newest
    /// of them. Rows and their removals vanish together before they are written out, and how far
    /// that was is not said: a single retry pinned every journal from then on. This row stays.
    fn mark_tides(&mut self) {
        let mut taken_from = [false; Table::ALL.len()];
        for (table, _, write) in &self.writes {
            taken_from[*table as usize] |= !matches!(write, Write::Insert(_));
        }
        for table in Table::ALL.into_iter().filter(|table| taken_from[*table as usize]) {
            self.insert_key(table, TIDE_KEY);
        }
    }

    /// Commits; when this returns, everything is in the journal: synced, or handed to the
    /// operating system, as `mode` says.
    pub(crate) fn commit(mut self, mode: PersistMode) -> fjall::Result<()> {
        self.mark_tides();
        let mut batch = self.tables.database().batch().durability(Some(mode));
        for (table, key, write) in self.writes {
            let keyspace = self.tables.keyspace(table);
            match write {
                Write::Insert(value) => batch.insert(keyspace, key, value),
                Write::Remove => batch.remove(keyspace, key),
                Write::RemoveOnce => batch.remove_weak(keyspace, key),
            }
        }
        batch.commit()
    }
}
