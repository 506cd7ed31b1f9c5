//! Which events a damage has hit: those of which a block or a batch has anything that it touches.
//!
//! More than these a repair may neither lose nor change. Read from the whole template, since what
//! is damaged does not say what it had.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use posthaste_domain::{DeliveryKey, EventId, TenantId};

use super::editor::{Edit, How, What};
use super::template::{Template, files};
use crate::journal::placed;
use crate::keys::{self, Reader};
use crate::raw::archive;
use crate::raw::manifest::TableFile;
use crate::raw::table::{Blocks, Next};
use crate::tables::Table;

/// Events, by their labels.
#[derive(Debug, Default)]
pub(super) struct Hit {
    /// Those whose payload is hit: it may be lost.
    pub(super) payloads: BTreeSet<String>,
    /// Those of which anything is hit: they may be other than they were.
    pub(super) any: BTreeSet<String>,
}

impl Hit {
    pub(super) fn by(edit: &Edit, template: &Template) -> Self {
        let mut hit = Self::default();
        let path = template.data().join(&edit.file);
        let length = usize::try_from(fs::metadata(&path).unwrap().len()).unwrap();
        match (edit.what(), edit.how) {
            (What::Journal, _) => hit.journal(&path, edit.range(length)),
            (What::Table, _) => hit.table(&path, edit.range(length)),
            (What::Rest, How::RemoveTree) => {
                let tables = tree(&path).join("tables");
                files(&tables).iter().for_each(|path| hit.table(path, 0..usize::MAX));
            }
            // No row is in it.
            (What::Rest, _) => {}
        }
        hit
    }

    fn journal(&mut self, path: &Path, range: Range<usize>) {
        for (place, rows) in placed(path) {
            if touches(&place, &range) {
                for written in rows {
                    self.row(written.keyspace, &written.item.key);
                }
            }
        }
    }

    fn table(&mut self, path: &Path, range: Range<usize>) {
        let keyspace = tree(path).file_name().and_then(|name| name.to_str()?.parse().ok());
        let keyspace = keyspace.unwrap();
        let path = path.to_owned();
        let file = TableFile { path, checksum: None, seqno_base: 0, is_shuffled: false };
        let mut blocks = Blocks::open(&file).unwrap();
        loop {
            let from = blocks.at();
            match blocks.next().unwrap() {
                Next::Items(items) if touches(&(from..blocks.at()), &range) => {
                    items.iter().for_each(|item| self.row(keyspace, &item.key));
                }
                Next::Items(_) => {}
                Next::Damage { .. } => panic!("the template is damaged"),
                Next::End => return,
            }
        }
    }

    fn row(&mut self, keyspace: u64, key: &[u8]) {
        // Keyspaces are numbered as they are made; the first one has their names.
        let table = keyspace.checked_sub(1).map(|n| Table::ALL[usize::try_from(n).unwrap()]);
        let Some(table) = table else { return };
        if let Some((tenant, event)) = event_of(table, key) {
            let label = crate::tools::label(&tenant, event);
            if table == Table::Payloads {
                self.payloads.insert(label.clone());
            }
            self.any.insert(label);
        }
    }
}

/// Whose row it is.
fn event_of(table: Table, key: &[u8]) -> Option<(TenantId, EventId)> {
    let of = |key: DeliveryKey| (key.tenant, key.event);
    match table {
        Table::Rows | Table::Payloads | Table::Log => keys::parse_event(key),
        Table::Fresh => keys::parse_fresh(key).map(of),
        Table::Timers => keys::parse_timer(key).map(|(_, key)| of(key)),
        Table::Marks => keys::parse_mark(key),
        Table::Expiry => {
            let mut reader = Reader::new(key);
            reader.time()?;
            let is_events = reader.byte()? == keys::EXPIRES_EVENT;
            is_events.then(|| keys::parse_event(reader.rest())).flatten()
        }
        Table::Claims | Table::Tenants | Table::Meta | Table::Jobs | Table::JobIndex => None,
    }
}

fn touches(place: &Range<u64>, range: &Range<usize>) -> bool {
    place.start < range.end as u64 && (range.start as u64) < place.end
}

/// The directory of the tree that a file belongs to.
fn tree(path: &Path) -> PathBuf {
    let in_keyspaces = |dir: &&Path| dir.parent().is_some_and(|up| up.ends_with("keyspaces"));
    path.ancestors().find(in_keyspaces).unwrap().to_owned()
}

/// Where the rows of a table's file end, and what finds them begins.
pub(super) fn rows_end(path: &Path) -> u64 {
    let sections = archive::sections(&fs::File::open(path).unwrap()).unwrap();
    let others = sections.iter().filter(|section| section.name != b"data");
    others.map(|section| section.pos).min().unwrap()
}
