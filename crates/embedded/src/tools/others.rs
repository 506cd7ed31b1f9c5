//! What is lost beside events: tenants, API keys, settings, idempotency keys and jobs.
//!
//! What is not whole has a key of its own. What is gone is named by what still speaks of it: its
//! tenant's events, a list of keys, an entry of an index. Of what nothing speaks any more, the file
//! is named in which it stood; so are the files of events, where nothing would speak of an event
//! that stood in them alone.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use posthaste_domain::TenantId;

use super::events::label;
use super::index::claim_label;
use super::jobs;
use super::registry::Registry;
use crate::codec::{self, ClaimRow};
use crate::keys::{self, Reader};
use crate::raw::{RawStore, Told};
use crate::tables::{TIDE_KEY, Table};

/// The tables that hold what is no event's, and that nothing can be made anew from.
const TABLES: [Table; 3] = [Table::Tenants, Table::Claims, Table::Jobs];

/// The tables that hold events.
const OF_EVENTS: [Table; 2] = [Table::Rows, Table::Payloads];
/// The tables of which one at least has an entry of each event.
const OF_ENTRIES: [Table; 3] = [Table::Fresh, Table::Timers, Table::Expiry];

const ONLY_ENTRY: &str = "lost; only the entry is there that finds it";

/// Gives `lose` the name of each, with what is known of it. `of_events` are tenants that have
/// events and no record.
pub(crate) fn each_lost(
    store: &RawStore,
    registry: &Registry,
    of_events: &BTreeSet<TenantId>,
    lose: &mut dyn FnMut(String, String),
) {
    let mut lost: BTreeMap<String, String> = registry.lost.clone();
    for tenant in of_events.union(&registry.named).filter(|tenant| !registry.knows(tenant)) {
        let what = "lost; its events or its keys are there";
        lost.entry(format!("tenant {tenant}")).or_insert_with(|| what.to_owned());
    }
    for (name, what) in lost {
        lose(name, what);
    }
    claims(store, lose);
    of_jobs(store, lose);
    for table in TABLES {
        for place in store.unread(table) {
            let what = format!("lost in part, and with it what else of {} it held", table.name());
            lose(place, what);
        }
    }
    unnamed_events(store, lose);
}

/// Names the files of events and of what finds them, where both cannot be read whole: nothing names
/// an event that only they had.
fn unnamed_events(store: &RawStore, lose: &mut dyn FnMut(String, String)) {
    let [rows, payloads] = OF_EVENTS.map(|table| store.unread(table).collect::<Vec<_>>());
    let entries: Vec<_> = OF_ENTRIES.into_iter().flat_map(|table| store.unread(table)).collect();
    let mut all = vec![rows, payloads, entries];
    if store.layout().marks_every_event() {
        // Each event is named there once more.
        all.push(store.unread(Table::Marks).collect());
    }
    if all.iter().any(Vec::is_empty) {
        return;
    }
    for place in all.into_iter().flatten() {
        let what = "lost in part, and with it events that nothing names, where there were any";
        lose(place, what.to_owned());
    }
}

fn claims(store: &RawStore, lose: &mut dyn FnMut(String, String)) {
    let untold = Told::nobody();
    let mut known = HashSet::new();
    for (key, value) in store.rows(Table::Claims, &untold) {
        if *key == *TIDE_KEY {
            continue;
        }
        if let Err(error) = codec::decode::<ClaimRow>(&value) {
            lose(claim_label(&key), error.to_string());
        }
        known.insert(key);
    }
    for (key, _) in store.rows(Table::Expiry, &untold) {
        let mut reader = Reader::new(&key);
        let (_, kind) = (reader.time(), reader.byte());
        if kind == Some(keys::EXPIRES_CLAIM) && !known.contains(reader.rest()) {
            lose(claim_label(reader.rest()), ONLY_ENTRY.to_owned());
        }
    }
}

fn of_jobs(store: &RawStore, lose: &mut dyn FnMut(String, String)) {
    let untold = Told::nobody();
    let mut known = HashSet::new();
    jobs::each(store, &untold, |found| {
        known.insert(found.name.to_vec());
    });
    for (name, _) in store.rows(Table::Jobs, &untold) {
        if let Some(key) = keys::parse_job(&name)
            && known.insert(name.to_vec())
        {
            let label = label(&key.tenant, key.event);
            lose(format!("the job of {label}"), "not what was written".to_owned());
        }
    }
    for (entry, _) in store.rows(Table::JobIndex, &untold) {
        if let Some(key) = keys::parse_indexed(&entry)
            && known.insert(keys::job(&key))
        {
            let label = label(&key.tenant, key.event);
            lose(format!("the job of {label}"), ONLY_ENTRY.to_owned());
        }
    }
}
