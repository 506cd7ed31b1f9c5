//! Events, gathered from their row, their payload and their log, which stand in the same order.

use std::collections::BTreeMap;
use std::iter::Peekable;

use lsm_tree::Slice;
use posthaste_domain::{EventId, TenantId};

use crate::codec::{self, CodecError, EventRow, LogRow};
use crate::damage::Kind;
use crate::keys::{self, Layout, Named};
use crate::raw::merge::Rows;
use crate::raw::{RawStore, Told};
use crate::tables::{TIDE_KEY, Table};

const LINE_LEN: usize = 4;

/// A part of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part<T> {
    Missing,
    Damaged,
    Whole(T),
}

impl<T> Part<T> {
    pub(crate) const fn whole(&self) -> Option<&T> {
        match self {
            Self::Whole(part) => Some(part),
            Self::Missing | Self::Damaged => None,
        }
    }
}

/// All that there is of an event.
pub(crate) struct Gathered {
    /// The key of its row, as this version names it.
    pub(crate) name: Vec<u8>,
    /// How it is named on disk.
    pub(crate) layout: Layout,
    pub(crate) tenant: TenantId,
    pub(crate) event: EventId,
    pub(crate) row: Part<EventRow>,
    /// As it is on disk.
    pub(crate) payload: Part<Slice>,
    /// Lines by their number, those that are whole.
    pub(crate) log: BTreeMap<u32, LogRow>,
}

impl Gathered {
    /// How people name it.
    pub(crate) fn label(&self) -> String {
        label(&self.tenant, self.event)
    }
}

/// How people name an event.
pub(crate) fn label(tenant: &TenantId, event: EventId) -> String {
    format!("tenant {tenant}, event {event}")
}

/// Events, in the order of their keys.
pub(crate) struct Events<'a, 't> {
    rows: Peekable<Rows<'a, 't>>,
    payloads: Peekable<Rows<'a, 't>>,
    log: Peekable<Rows<'a, 't>>,
    told: &'a Told<'t>,
    layout: Layout,
    /// Payloads of jobs, which stand among those of events.
    pub(crate) of_jobs: u64,
}

impl<'a, 't> Events<'a, 't> {
    pub(crate) fn new(store: &'a RawStore, told: &'a Told<'t>) -> Self {
        let rows = |table| store.rows(table, told).peekable();
        let (payloads, log) = (rows(Table::Payloads), rows(Table::Log));
        Self { rows: rows(Table::Rows), payloads, log, told, layout: store.layout(), of_jobs: 0 }
    }

    /// Steps over what no event has.
    fn skip_others(&mut self) {
        let told = self.told;
        let layout = self.layout;
        skip(&mut self.rows, (Table::Rows, layout), told, 0);
        self.of_jobs += skip(&mut self.payloads, (Table::Payloads, layout), told, 0);
        skip(&mut self.log, (Table::Log, layout), told, LINE_LEN);
    }
}

impl Iterator for Events<'_, '_> {
    type Item = Gathered;

    fn next(&mut self) -> Option<Gathered> {
        self.skip_others();
        let peeked = [self.rows.peek(), self.payloads.peek(), self.log.peek()];
        let named = peeked.into_iter().flatten().filter_map(|(key, _)| self.layout.split(key));
        let Named { name, tenant, event, layout, .. } = named.min_by_key(|named| named.name)?;
        let on_disk = name.to_vec();
        let label = label(&tenant, event);
        let mut gathered = Gathered {
            name: keys::event(&tenant, event),
            layout,
            tenant,
            event,
            row: Part::Missing,
            payload: Part::Missing,
            log: BTreeMap::new(),
        };
        let name = &on_disk;
        if let Some((_, bytes)) = self.rows.next_if(|(key, _)| **key == **name) {
            let row = codec::decode::<EventRow>(&bytes);
            gathered.row = part(row, self.told, Table::Rows, &label);
        }
        if let Some((_, bytes)) = self.payloads.next_if(|(key, _)| **key == **name) {
            let whole = codec::unframe(&bytes).map(|_| ());
            gathered.payload = match part(whole, self.told, Table::Payloads, &label) {
                Part::Whole(()) => Part::Whole(bytes),
                _ => Part::Damaged,
            };
        }
        while let Some((key, bytes)) = self.log.next_if(|(key, _)| key.starts_with(name)) {
            let n = key[name.len()..].try_into().map_or(0, u32::from_be_bytes);
            let line = codec::decode::<LogRow>(&bytes)
                .and_then(|line| line.clone().attempt().map(|_| line));
            if let Part::Whole(line) = part(line, self.told, Table::Log, &label) {
                gathered.log.insert(n, line);
            }
        }
        Some(gathered)
    }
}

/// What was read, or that it is damaged, which is told.
pub(crate) fn part<T>(
    read: Result<T, CodecError>,
    told: &Told<'_>,
    table: Table,
    label: &str,
) -> Part<T> {
    match read {
        Ok(whole) => Part::Whole(whole),
        Err(error) => {
            told.row(Kind::Row, table, label.to_owned(), error.to_string());
            Part::Damaged
        }
    }
}

/// Steps over rows that are no event's, behind whose name are `rest` bytes, and tells of those that
/// nobody wrote. Gives how many were payloads of jobs.
fn skip(
    rows: &mut Peekable<Rows<'_, '_>>,
    (table, layout): (Table, Layout),
    told: &Told<'_>,
    rest: usize,
) -> u64 {
    let mut of_jobs = 0;
    while let Some((key, _)) = rows.peek() {
        if layout.split(key).is_some_and(|named| named.rest == rest) {
            break;
        }
        if table == Table::Payloads && keys::parse_job(key).is_some() {
            of_jobs += 1;
        } else if **key != *TIDE_KEY {
            foreign(told, table, key);
        }
        rows.next();
    }
    of_jobs
}

/// Tells of a key that is not of our making.
pub(crate) fn foreign(told: &Told<'_>, table: Table, key: &[u8]) {
    told.row(Kind::Row, table, key.escape_ascii().to_string(), "not a key of this table");
}
