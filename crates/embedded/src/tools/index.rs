//! What finds an event by where it stands: made of its row, and compared with it.

use std::collections::HashMap;

use lsm_tree::Slice;
use posthaste_domain::{DeliveryKey, EndpointId, EventId, TenantId, Timestamp};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::events::{Events, foreign, label};
use crate::codec::{self, ClaimRow, EventRow, FreshRow, Standing, TimerRow};
use crate::damage::Kind;
use crate::keys::{self, Layout};
use crate::raw::{RawStore, Told};
use crate::tables::{TIDE_KEY, Table};
use crate::writer::mark_of;

/// The tables that only find what stands elsewhere.
pub(crate) const INDEXES: [Table; 4] = [Table::Fresh, Table::Timers, Table::Marks, Table::Expiry];

/// What is told of an entry that is not there.
pub(crate) const MISSING: &str = "missing, though the row says that it is there";

/// A row of an index.
pub(crate) struct Entry {
    pub(crate) table: Table,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

/// The entries of an event's row in a directory of this layout; `shard_key` is its tenant's.
pub(crate) fn entries(
    (tenant, event): (&TenantId, EventId),
    row: &EventRow,
    shard_key: u32,
    layout: Layout,
) -> Vec<Entry> {
    let key = DeliveryKey { tenant: tenant.clone(), event, endpoint: EndpointId::DEFAULT };
    let bare = |table, key| Entry { table, key, value: Vec::new() };
    let mut entries = Vec::new();
    if layout.marks_every_event() {
        entries.push(bare(Table::Marks, layout.mark(keys::MARK_ANY, tenant, event)));
    }
    match row.standing {
        Standing::Fresh => {
            let fresh = FreshRow { round: row.round, interrupted: row.interrupted };
            let key = layout.fresh(tenant, key.endpoint, event);
            entries.push(Entry { table: Table::Fresh, key, value: codec::encode(&fresh) });
        }
        Standing::Timer { due } => {
            let EventRow { round, attempts, interrupted, .. } = *row;
            let timer = TimerRow { shard_key, round, attempts, interrupted };
            let key = keys::timer(Timestamp::from_millis(due), &key);
            entries.push(Entry { table: Table::Timers, key, value: codec::encode(&timer) });
        }
        Standing::Delivered { .. } | Standing::Dead { .. } | Standing::Purged { .. } => {}
    }
    if let Some(mark) = mark_of(row.standing) {
        entries.push(bare(Table::Marks, layout.mark(mark, tenant, event)));
    }
    if let Some(ends) = row.standing.ends() {
        let name = layout.event(tenant, event);
        entries.push(bare(Table::Expiry, keys::expiry(ends, keys::EXPIRES_EVENT, &name)));
    }
    entries
}

/// The entry of a claim whose key in its own table is `name`.
pub(crate) fn claim_entry(name: &[u8], claim: &ClaimRow) -> Entry {
    let ends = Timestamp::from_millis(claim.ends);
    let key = keys::expiry(ends, keys::EXPIRES_CLAIM, name);
    Entry { table: Table::Expiry, key, value: Vec::new() }
}

/// The entries that there must be, by their hashes: a million of them take some 20 MB.
#[derive(Default)]
pub(crate) struct Expected(HashMap<u64, u64>);

impl Expected {
    pub(crate) fn expect(&mut self, entry: &Entry) {
        self.0.insert(hash(entry.table, &entry.key), hash(entry.table, &entry.value));
    }

    /// Compares with what there is; what is left is missing.
    pub(crate) fn compare(&mut self, tables: &[Table], store: &RawStore, told: &Told<'_>) {
        for table in tables.iter().copied() {
            for (key, value) in store.rows(table, told) {
                if *key == *TIDE_KEY {
                    continue;
                }
                let what = match self.0.remove(&hash(table, &key)) {
                    Some(known) if known == hash(table, &value) => continue,
                    Some(_) => "it says something else than the row",
                    None => "there is no row that it belongs to",
                };
                match name_of(table, &key, store.layout()) {
                    Some(name) => told.row(Kind::Reference, table, name, what),
                    None => foreign(told, table, &key),
                }
            }
        }
    }

    /// Whether an entry was expected, and is not there.
    pub(crate) fn is_missing(&self, table: Table, key: &[u8]) -> bool {
        self.0.contains_key(&hash(table, key))
    }

    /// Names the rows whose entries are missing.
    pub(crate) fn name_missing(
        &self,
        store: &RawStore,
        told: &Told<'_>,
        shard_key: impl Fn(&TenantId) -> u32,
    ) {
        if self.0.is_empty() {
            return;
        }
        let missing = |entry: &Entry| self.is_missing(entry.table, &entry.key);
        let what = MISSING;
        let untold = Told::nobody();
        for gathered in Events::new(store, &untold) {
            let Some(row) = gathered.row.whole() else { continue };
            let named = (&gathered.tenant, gathered.event);
            for entry in entries(named, row, shard_key(&gathered.tenant), gathered.layout) {
                if missing(&entry) {
                    told.row(Kind::Reference, entry.table, gathered.label(), what);
                }
            }
        }
        for (key, value) in store.rows(Table::Claims, &untold) {
            let claim = codec::decode::<ClaimRow>(&value);
            if claim.is_ok_and(|claim| missing(&claim_entry(&key, &claim))) {
                told.row(Kind::Reference, Table::Expiry, claim_label(&key), what);
            }
        }
    }
}

fn hash(table: Table, bytes: &[u8]) -> u64 {
    xxh3_64_with_seed(bytes, table as u64)
}

/// How people name a claim.
pub(crate) fn claim_label(key: &[u8]) -> String {
    let tenant = keys::Reader::new(key).tenant();
    tenant.map_or_else(|| "a claim".to_owned(), |tenant| format!("a claim of tenant {tenant}"))
}

/// How people name what an entry belongs to.
fn name_of(table: Table, key: &Slice, layout: Layout) -> Option<String> {
    let of = |key: DeliveryKey| label(&key.tenant, key.event);
    match table {
        Table::Fresh => layout.parse_fresh(key).map(of),
        Table::Timers => keys::parse_timer(key).map(|(_, key)| of(key)),
        Table::JobIndex => keys::parse_indexed(key).map(of),
        Table::Marks => layout.parse_mark(key).map(|(tenant, event)| label(&tenant, event)),
        _ => {
            let mut reader = keys::Reader::new(key);
            reader.time()?;
            match reader.byte()? {
                keys::EXPIRES_CLAIM => Some(claim_label(reader.rest())),
                _ => layout.split(reader.rest()).map(|named| label(&named.tenant, named.event)),
            }
        }
    }
}
