//! Payloads come and go: what lives stays, what is gone stays away, and its room comes back.

use std::collections::BTreeSet;
use std::mem::take;
use std::thread::sleep;
use std::time::Duration;

use posthaste_domain::{EventId, Timestamp};
use tempfile::TempDir;

use super::*;
use crate::codec;
use crate::keys;
use crate::settings::Commit;
use crate::tables::tests::{noise, tables};
use crate::testing::{Chance, Watch, home, tenant_id};

/// Payloads and rows, as the writer has them come and go.
struct Store {
    tables: Tables,
    chance: Chance,
    reclaimer: Reclaimer,
    bytes: usize,
    alive: BTreeSet<u64>,
    _home: TempDir,
}

/// A clock by which no look takes any time.
struct Still;

impl Observer for Still {
    fn monotonic_us(&self) -> u64 {
        0
    }

    fn committed(&self, _commit: &Commit) {}

    fn failed(&self, _reason: &str) {}
}

/// The name of the event of this millisecond.
fn name(ms: u64) -> Vec<u8> {
    let at = Timestamp::from_millis(1_800_000_000_000 + ms);
    keys::event(&tenant_id("acme"), EventId::from_parts(at, 7))
}

impl Store {
    fn new(seed: u64, bytes: usize, written_again_max: u64) -> Self {
        let home = home();
        Self {
            tables: tables(&home),
            chance: Chance(seed),
            reclaimer: Reclaimer { written_again_max, ..Reclaimer::default() },
            bytes,
            alive: BTreeSet::new(),
            _home: home,
        }
    }

    fn accept(&mut self, ms: u64) {
        let payload = noise(&mut self.chance, self.bytes).to_vec();
        let mut batch = self.tables.database().batch();
        batch.insert(self.tables.keyspace(Table::Rows), name(ms), "row");
        batch.insert(self.tables.keyspace(Table::Payloads), name(ms), payload);
        batch.commit().unwrap();
        self.alive.insert(ms);
    }

    fn expire(&mut self, ms: u64) {
        let mut batch = self.tables.database().batch();
        batch.remove(self.tables.keyspace(Table::Rows), name(ms));
        batch.remove_weak(self.tables.keyspace(Table::Payloads), name(ms));
        // As the writer has it: see `Batch::commit`.
        batch.insert(self.tables.keyspace(Table::Payloads), TIDE_KEY, "");
        batch.commit().unwrap();
        self.alive.remove(&ms);
    }

    fn write_out(&self) {
        self.tables.write_out(1).unwrap();
    }

    fn look(&mut self) {
        self.reclaimer.look(&self.tables, &Still, || 0);
    }

    /// Searches to the end, whenever the store is not at it; says in how many parts.
    fn search(&mut self, observer: &dyn Observer, synced: u64) -> usize {
        let mut parts = 1;
        loop {
            match self.reclaimer.drop_tables(&self.tables, observer, || synced).unwrap() {
                Search::Done => return parts,
                Search::OutOfTime => parts += 1,
                Search::Busy => sleep(Duration::from_millis(1)),
            }
        }
    }

    fn disk(&self) -> u64 {
        self.tables.keyspace(Table::Payloads).tree.disk_space()
    }

    /// As [`come_and_go`] leaves it: without the room of what is gone it would be 178 MB and more.
    fn is_small(&self) {
        let (disk, kept) = (self.disk(), 6_000 * 8_192);
        assert!(disk < 5 * kept / 2, "{disk} bytes on disk, {kept} of them alive");
        self.check();
    }

    /// What can be read is what is alive, by search and by name.
    fn check(&self) {
        let view = self.tables.view();
        let found: Vec<Vec<u8>> = view
            .range(Table::Payloads, Vec::new()..TIDE_KEY.to_vec())
            .map(|row| key_of(Table::Payloads, row).unwrap().to_vec())
            .collect();
        let alive: Vec<Vec<u8>> = self.alive.iter().map(|ms| name(*ms)).collect();
        assert_eq!((found.len(), found == alive), (alive.len(), true));
        for name in alive.iter().step_by(97) {
            assert!(self.tables.get(Table::Payloads, name).unwrap().is_some());
        }
    }
}

/// Payloads that come and go leave no more behind than there are of those that stay: what takes
/// them away waits in a level of its own while tables of payloads pile up below.
fn come_and_go(written_again_max: u64, is_looked_after: bool) -> Store {
    const BATCH: u64 = 500;
    const KEPT: u64 = 12 * BATCH;
    let mut store = Store::new(7, 8_192, written_again_max);
    for n in 0..60 * BATCH {
        store.accept(n);
        if let Some(gone) = n.checked_sub(KEPT) {
            store.expire(gone);
        }
        if n % BATCH == BATCH - 1 {
            store.write_out();
            if is_looked_after {
                store.look();
            }
        }
    }
    store
}

#[test]
fn little_is_written_again() {
    let mut store = come_and_go(WRITTEN_AGAIN_MAX, true);
    take(&mut store.reclaimer).finish();
    store.is_small();
}

/// However much it is, tables in which nothing lives are dropped, and nothing is written for it.
#[test]
fn tables_of_what_is_gone_are_dropped() {
    let mut store = come_and_go(0, true);
    store.search(&Still, 0);
    store.is_small();
}

/// A search that runs out of time goes on with the next look.
#[test]
fn a_long_search_is_made_in_parts() {
    let mut store = come_and_go(0, false);
    // By this clock each look comes to a tenth of all, and a table at each seam stays.
    let (before, parts) = (store.disk(), store.search(&Watch::default(), 0));
    let dropped = before - store.disk();
    assert!(parts > 3 && dropped > before / 3, "{parts} parts, {dropped} bytes of {before}");
    store.check();
}

/// Rows whose end could get lost with the power keep their payloads.
#[test]
fn what_is_not_synced_is_not_gone() {
    let mut store = come_and_go(0, false);
    let seen = codec::encode(&CommitRow { number: 7, ..CommitRow::default() });
    store.tables.keyspace(Table::Meta).insert(COMMIT_KEY, seen).unwrap();
    let before = store.disk();
    let mut idle = 0;
    while idle < 20 {
        let search = store.reclaimer.drop_tables(&store.tables, &Still, || 6).unwrap();
        assert_eq!(search, Search::Busy);
        // Not for the sake of the store's own work alone.
        idle += usize::from(spans(&store.tables).is_some());
        sleep(Duration::from_millis(1));
    }
    store.search(&Still, 7);
    assert!(store.disk() < before / 2);
    store.check();
}

/// For worlds drawn from seeds: whatever expires when and is written out when, nothing that lives
/// is dropped, and nothing that is gone comes back.
#[test]
fn what_lives_stays_and_what_is_gone_stays_away() {
    let mut dropped = 0;
    for seed in 0_usize..12 {
        let mut store = Store::new(seed as u64 + 1, 256, 0);
        store.accept(0);
        let (mut next, survive_permille) = (1, [0, 0, 3, 30][seed % 4]);
        let mut survivors = BTreeSet::new();
        for _ in 0..40 {
            for _ in 0..store.chance.next() % 600 {
                store.accept(next);
                if store.chance.next() % 1_000 < survive_permille {
                    survivors.insert(next);
                }
                // Now and then a quiet hour.
                next += if store.chance.next().is_multiple_of(500) { 3_600_000 } else { 1 };
            }
            let due: Vec<u64> =
                store.alive.iter().filter(|ms| !survivors.contains(ms)).copied().collect();
            let expired = usize::try_from(store.chance.next() % 600).unwrap();
            for ms in due.into_iter().take(expired) {
                store.expire(ms);
            }
            if !store.chance.next().is_multiple_of(3) {
                store.write_out();
            }
            let before = store.disk();
            store.reclaimer.left = 0;
            store.look();
            dropped += before.saturating_sub(store.disk());
            store.check();
        }
        store.write_out();
        store.search(&Still, 0);
        store.check();
    }
    assert!(dropped > 500_000, "{dropped} bytes dropped");
}

/// The control, and what `repair` lives on: a payload whose row got lost has no mark of removal,
/// so its table stays, and those beside it go.
#[test]
fn a_payload_without_a_row_stays() {
    let mut store = Store::new(3, 2_048, 0);
    for ms in 0..20_000 {
        store.accept(ms);
        if ms % 500 == 499 {
            store.write_out();
        }
    }
    let lost = 7_777;
    store.tables.keyspace(Table::Rows).remove(name(lost)).unwrap();
    for ms in (0..19_000).filter(|ms| *ms != lost) {
        store.expire(ms);
        if ms % 4_000 == 3_999 {
            store.write_out();
        }
    }
    store.write_out();
    store.search(&Still, 0);
    store.check();
    assert!(store.disk() < 20_000_000, "{} bytes", store.disk());
    // Nor later: the marks of what was dropped are still there, and speak for themselves alone.
    for _ in 0..3 {
        store.search(&Still, 0);
        store.check();
    }
}

/// What is named by tenant first (jobs, and events of format 1) is nothing to this.
#[test]
fn what_is_not_named_by_event_stays() {
    let (home, watch) = (home(), Watch::default());
    let (tables, mut reclaimer) = (tables(&home), Reclaimer::default());
    let keyspace = tables.keyspace(Table::Payloads);
    for n in 0_u64..3_000 {
        keyspace.insert([b"acme\0", &n.to_be_bytes()[..]].concat(), "payload").unwrap();
        keyspace.insert([b"gone\0", &n.to_be_bytes()[..]].concat(), "payload").unwrap();
    }
    tables.write_out(1).unwrap();
    for n in 0_u64..3_000 {
        keyspace.remove([b"gone\0", &n.to_be_bytes()[..]].concat()).unwrap();
    }
    tables.write_out(1).unwrap();
    for _ in 0..20 {
        reclaimer.look(&tables, &watch, || 0);
    }
    reclaimer.finish();
    let left = tables.view().prefix(Table::Payloads, b"acme").count();
    assert_eq!(left, 3_000);
}

#[test]
fn times_are_those_of_names() {
    let ms = 1_800_000_000_123;
    assert_eq!(time_of(&name(123)), ms);
    assert!(time_name(ms) < name(123) && name(123) < time_name(ms + 1));
    assert!(name(122) < time_name(ms));
    assert_eq!(time_of(&[0, 0, 0, 0, 1]), 1 << 8);
}

/// A table of payloads or marks of removal, each named by a time.
fn span(rows: impl IntoIterator<Item = (u64, bool)>) -> Span {
    let rows = rows.into_iter().map(|(ms, is_mark)| (time_name(ms).into(), is_mark));
    let rows: Vec<(Slice, bool)> = rows.collect();
    let gone = rows.iter().filter(|(_, is_mark)| *is_mark).count() as u64;
    let (first, last) = (rows[0].0.clone(), rows[rows.len() - 1].0.clone());
    Span { first, last, written: rows.len() as u64 - gone, gone, rows: Rows::InMemory(rows) }
}

/// A range loses what a table that stays has payloads of, and is halved where there are too few
/// marks of removal.
#[test]
fn nothing_stays_without_its_mark() {
    let all = |tables: &[&[(u64, bool)]]| {
        let all = tables.iter().map(|rows| span(rows.iter().copied())).collect();
        Spans { version: 1, all }
    };
    let dropped = |spans: &Spans, from_ms, until_ms, halvings| -> Vec<(u64, u64)> {
        let ranges = spans.droppable((from_ms, until_ms), halvings).unwrap();
        ranges.iter().map(|(from, until)| (time_of(from), time_of(until))).collect()
    };
    let (old, new) = ([(10, false), (20, false)], [(30, false), (90, false)]);
    let marked = [(10, true), (20, true), (30, true)];
    let spans = all(&[&old, &new, &marked]);
    assert_eq!(spans.times(), Some((10, 90)));
    assert_eq!(dropped(&spans, 0, 60, 6), [(0, 30)], "one with 30 stays");
    assert_eq!(dropped(&spans, 0, 25, 0), [(0, 25)], "marks may stay");
    assert_eq!(dropped(&spans, 15, 60, 6), [], "the one with 20 stays, and so does that with 30");
    assert_eq!(dropped(&spans, 40, 50, 6), [], "there is nothing");
    let unmarked = all(&[&old, &new, &marked[..1]]);
    assert_eq!(dropped(&unmarked, 0, 25, 6), []);
    let [first, second] = [[(10, false)], [(20, false)]];
    let left_over = all(&[&second, &[(5, true), (7, true), (30, true)]]);
    assert_eq!(dropped(&left_over, 0, 25, 6), [], "those are of others");
    let beside = all(&[&[(10, false), (14, false)], &[(12, false), (20, false)], &marked]);
    assert_eq!(dropped(&beside, 0, 25, 0), [], "two overlap, and two of the four have no mark");
    let halved = all(&[&first, &second, &marked[..1]]);
    assert_eq!(dropped(&halved, 0, 25, 6), [(0, 12)], "20 has no mark");
    assert_eq!(dropped(&halved, 0, 25, 0), []);
}
