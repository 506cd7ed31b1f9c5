//! Jobs of AWS mode, with their payloads, and what finds them.

use posthaste_domain::DeliveryKey;

use super::events::{Part, foreign, label, part};
use super::index::{Entry, Expected, MISSING};
use crate::codec::{self, JobRow};
use crate::damage::Kind;
use crate::keys;
use crate::raw::{RawStore, Told};
use crate::tables::{TIDE_KEY, Table};
use crate::writer::{index_key, index_value};
use lsm_tree::Slice;

/// A job, and its payload where it has a whole one.
pub(crate) struct Found {
    pub(crate) name: Slice,
    pub(crate) key: DeliveryKey,
    pub(crate) row: JobRow,
    pub(crate) payload: Option<Slice>,
}

/// Gives `each` every whole job, in order, and tells of what is not whole.
pub(crate) fn each(store: &RawStore, told: &Told<'_>, mut each: impl FnMut(Found)) {
    let mut payloads = store
        .rows(Table::Payloads, told)
        .filter_map(|(name, bytes)| Some((keys::parse_job(&name)?, name, bytes)))
        .peekable();
    let no_job = |key: &DeliveryKey| {
        let what = "there is no job that it belongs to";
        told.row(Kind::Reference, Table::Payloads, label(&key.tenant, key.event), what);
    };
    for (name, bytes) in store.rows(Table::Jobs, told) {
        let Some(key) = keys::parse_job(&name) else {
            if *name != *TIDE_KEY {
                foreign(told, Table::Jobs, &name);
            }
            continue;
        };
        while let Some((key, ..)) = payloads.next_if(|(_, other, _)| *other < name) {
            no_job(&key);
        }
        let payload = payloads.next_if(|(_, other, _)| *other == name).map(|(.., bytes)| bytes);
        let named = label(&key.tenant, key.event);
        let row = codec::decode::<JobRow>(&bytes)
            .and_then(|row| row.clone().job(key.clone(), None).map(|_| row));
        let Part::Whole(row) = part(row, told, Table::Jobs, &named) else { continue };
        let payload = payload.filter(|bytes| {
            let whole = codec::unframe(bytes).map(|_| ());
            part(whole, told, Table::Payloads, &named) == Part::Whole(())
        });
        if row.payload.is_some() != payload.is_some() {
            let what = if payload.is_some() { "the job says that it has none" } else { MISSING };
            told.row(Kind::Reference, Table::Payloads, named, what);
        }
        let payload = payload.filter(|_| row.payload.is_some());
        each(Found { name, key, row, payload });
    }
    for (key, ..) in payloads {
        no_job(&key);
    }
}

/// The entry by which a job is found.
pub(crate) fn entry(found: &Found) -> Entry {
    let (key, value) = (index_key(&found.key, &found.row), index_value(&found.row));
    Entry { table: Table::JobIndex, key, value }
}

/// Looks at all jobs and their index; gives how many there are.
pub(crate) fn verify(store: &RawStore, told: &Told<'_>) -> u64 {
    let mut expected = Expected::default();
    let mut jobs = 0;
    each(store, told, |found| {
        jobs += 1;
        expected.expect(&entry(&found));
    });
    expected.compare(&[Table::JobIndex], store, told);
    each(store, &Told::nobody(), |found| {
        if expected.is_missing(Table::JobIndex, &entry(&found).key) {
            let named = label(&found.key.tenant, found.key.event);
            told.row(Kind::Reference, Table::JobIndex, named, MISSING);
        }
    });
    jobs
}
