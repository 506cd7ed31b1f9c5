//! Gives back the room of payloads that are gone.
//!
//! Ids grow, so tables of payloads move to the last level as they were written, and what takes
//! payloads away stays above them until it fills a level of its own: at 40 bytes each that is late,
//! and later the more there are. Left alone, a store of payloads of 1 KB would hold several times
//! what is alive. So the keeper looks after it, in two ways:
//!
//! * *Dropped*: tables that hold nothing but what is gone are removed, which costs nothing. Events
//!   expire about in the order of their ids, so these are most, however much there is.
//! * *Written again*: where more is gone than alive, and that is little.
//!
//! Invariant of what is dropped: between two names no event has a row, no table that stays holds a
//! payload (only marks of removal), and between the first and the last payload of each table there
//! are at least as many marks as payloads. So a payload without a row, which only a damage leaves
//! behind, stays for `repair`; and a payload never comes back because only its mark of removal was
//! dropped. (For each table, since marks may be left of neighbours that were dropped before.)

use std::thread::{self, JoinHandle};

use fjall::{Keyspace, Slice};
use lsm_tree::{AbstractTree as _, AnyTree, InternalValue};

use crate::codec::CommitRow;
use crate::keys::FIRST_OF_TENANTS;
use crate::settings::Observer;
use crate::tables::{COMMIT_KEY, ReadError, TABLE_BYTES, TIDE_KEY, Table, Tables, View, key_of};

/// Payloads that must have gone since the last time before their room is given back again.
const GONE_MIN: u64 = if cfg!(test) { 1_000 } else { 50_000 };
/// Payloads that are alive and are written again so that the room of others is free, in bytes: the
/// store's worker waits for that, a second or two.
const WRITTEN_AGAIN_MAX: u64 = 256 << 20;
/// Into so many parts the time that payloads are from is cut, to find those in which none lives.
const PARTS: u64 = 1_024;
/// How long one look may search, in microseconds: the keeper has memtables to look after.
const LOOK_US: u64 = 100_000;
/// How often a range is halved in which payloads are left without a mark of removal.
const HALVINGS: u32 = 6;
/// The bytes of a name that say when its event was accepted.
const TIME_LEN: usize = 6;

/// What the tables of payloads hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    /// Marks of removal.
    gone: u64,
    alive: u64,
    alive_bytes: u64,
}

/// A table, or what is in memory.
#[derive(Debug)]
struct Span {
    first: Slice,
    last: Slice,
    /// Payloads.
    written: u64,
    /// Marks of removal.
    gone: u64,
    rows: Rows,
}

#[derive(Debug)]
enum Rows {
    OnDisk(lsm_tree::Table),
    /// In order, with whether it is a mark of removal.
    InMemory(Vec<(Slice, bool)>),
}

/// Tables of payloads at one moment, by the number that the store gives to it.
#[derive(Debug)]
struct Spans {
    version: u64,
    all: Vec<Span>,
}

/// How far a search for tables to drop came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Search {
    /// To the end.
    Done,
    /// It goes on with the next look.
    OutOfTime,
    /// Not now: the store writes or merges tables of payloads, or has not synced the rows' end.
    Busy,
}

/// Names from the first on, up to the second one, which is not among them.
type Between = (Vec<u8>, Vec<u8>);

/// Times in which no event was accepted that still has a row, in milliseconds.
#[derive(Debug)]
struct Lifeless {
    /// From the first on, up to the second one, which is not among them.
    times: Vec<(u64, u64)>,
    /// Where to go on, if time ran out.
    next_ms: Option<u64>,
}

/// Has room given back; belongs to the thread that sends memtables on their way to the disk.
#[derive(Debug)]
pub(crate) struct Reclaimer {
    /// Those that stood for gone ones after the last time.
    left: u64,
    /// Where a search goes on that ran out of time, in milliseconds.
    from_ms: Option<u64>,
    /// What is written again at most, in bytes.
    written_again_max: u64,
    /// It takes seconds, so it has a thread of its own.
    writing: Option<JoinHandle<()>>,
}

impl Default for Reclaimer {
    fn default() -> Self {
        Self { left: 0, from_ms: None, written_again_max: WRITTEN_AGAIN_MAX, writing: None }
    }
}

impl Reclaimer {
    /// Begins, where it is worth it and nobody is at it. `synced` tells the newest commit that is
    /// on disk for certain.
    pub(crate) fn look(
        &mut self,
        tables: &Tables,
        observer: &dyn Observer,
        synced: impl Fn() -> u64,
    ) {
        if self.writing.as_ref().is_some_and(|writing| !writing.is_finished()) {
            return;
        }
        let before = tally(tables);
        if self.writing.take().is_some() {
            self.left = before.gone;
        }
        // The store's own merges take marks away, too.
        self.left = self.left.min(before.gone);
        if self.from_ms.is_none() && before.gone < self.left.saturating_add(GONE_MIN) {
            return;
        }
        let search = self.drop_tables(tables, observer, synced).unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot drop tables of payloads that are gone");
            Search::Done
        });
        let now = tally(tables);
        if search == Search::Done {
            self.left = now.gone;
        }
        let is_worth_it = now.gone >= GONE_MIN && now.gone > now.alive;
        if search != Search::OutOfTime && is_worth_it && now.alive_bytes <= self.written_again_max {
            self.write_again(tables);
        }
    }

    /// Waits until nobody is at it.
    pub(crate) fn finish(self) {
        // A panic in it has been told by the panic hook.
        drop(self.writing.map(JoinHandle::join));
    }

    /// Writes what is alive again, and frees the room of everything else. Meanwhile no table of
    /// payloads is merged.
    fn write_again(&mut self, tables: &Tables) {
        let tables = tables.clone();
        let write = move || {
            let tracker = &tables.database().supervisor.snapshot_tracker;
            let unseen = tracker.get_seqno_safe_to_gc();
            match tables.keyspace(Table::Payloads).tree.major_compact(TABLE_BYTES, unseen) {
                Ok(()) => tracing::debug!("the room of payloads that are gone is free"),
                Err(error) => {
                    tracing::warn!(%error, "cannot free the room of payloads that are gone");
                }
            }
        };
        let begun = thread::Builder::new().name("ledger-reclaim".to_owned()).spawn(write);
        self.writing = begun.ok();
    }

    /// Drops tables that hold nothing but what is gone.
    fn drop_tables(
        &mut self,
        tables: &Tables,
        observer: &dyn Observer,
        synced: impl Fn() -> u64,
    ) -> Result<Search, ReadError> {
        // Taken before the rows are looked at: a table that is written later may hold what they do
        // not show yet.
        let Some(mut spans) = spans(tables) else { return Ok(Search::Busy) };
        let Some((oldest_ms, newest_ms)) = spans.times() else { return Ok(Search::Done) };
        let step_ms = ((newest_ms - oldest_ms) / PARTS).max(1);
        let from_ms = self.from_ms.take().unwrap_or(0).max(oldest_ms);
        let begin_us = observer.monotonic_us();
        let is_over = || observer.monotonic_us().saturating_sub(begin_us) >= LOOK_US;
        let search = (from_ms, newest_ms, step_ms);
        let view = tables.view();
        let Lifeless { times, next_ms } = lifeless(&view, search, is_over)?;
        let seen = view.row::<CommitRow>(Table::Meta, COMMIT_KEY)?.unwrap_or_default();
        drop(view);
        // What took the rows away must not get lost after the payloads are. The writer syncs within
        // a second.
        if synced() < seen.number {
            self.from_ms = Some(from_ms);
            return Ok(Search::Busy);
        }
        self.from_ms = next_ms;
        let begin_us = observer.monotonic_us();
        for (from_ms, until_ms) in times {
            for range in spans.droppable((from_ms, until_ms), HALVINGS)? {
                match drop_range(tables, spans.version, &range)? {
                    Some(now) => spans = now,
                    None => return Ok(Search::Busy),
                }
            }
            if observer.monotonic_us().saturating_sub(begin_us) >= LOOK_US {
                self.from_ms = Some(until_ms);
                return Ok(Search::OutOfTime);
            }
        }
        Ok(if next_ms.is_some() { Search::OutOfTime } else { Search::Done })
    }
}

impl Span {
    fn overlaps(&self, (from, until): &Between) -> bool {
        *self.last >= **from && *self.first < **until
    }

    fn is_within(&self, (from, until): &Between) -> bool {
        *self.first >= **from && *self.last < **until
    }

    /// The first and the last payload that it has of a range.
    fn payloads(&self, range: &Between) -> Result<Option<(Slice, Slice)>, ReadError> {
        let mut payloads = None::<(Slice, Slice)>;
        self.each(range, |name, is_mark| match &mut payloads {
            _ if is_mark => {}
            Some((_, last)) => *last = name.clone(),
            none => *none = Some((name.clone(), name.clone())),
        })?;
        Ok(payloads)
    }

    /// How many marks of removal it has of a range.
    fn marks(&self, range: &Between) -> Result<u64, ReadError> {
        if self.is_within(range) {
            return Ok(self.gone);
        }
        let mut marks = 0;
        self.each(range, |_, is_mark| marks += u64::from(is_mark))?;
        Ok(marks)
    }

    /// Each name of a range that it has, with whether it is a mark of removal.
    fn each(
        &self,
        (from, until): &Between,
        mut tell: impl FnMut(&Slice, bool),
    ) -> Result<(), ReadError> {
        match &self.rows {
            Rows::OnDisk(table) => {
                let range = Slice::from(from.as_slice())..Slice::from(until.as_slice());
                for row in table.range(range) {
                    let row = row.map_err(unread)?;
                    tell(&row.key.user_key, row.is_tombstone());
                }
            }
            Rows::InMemory(rows) => {
                let before = rows.partition_point(|(name, _)| **name < **from);
                let rows = rows[before..].iter().take_while(|(name, _)| **name < **until);
                rows.for_each(|(name, is_mark)| tell(name, *is_mark));
            }
        }
        Ok(())
    }
}

impl Spans {
    /// From when the events are whose payloads are here, in milliseconds: the first and the last.
    fn times(&self) -> Option<(u64, u64)> {
        let by_event = |name: &Slice| **name < *FIRST_OF_TENANTS;
        let all = || self.all.iter().filter(|span| by_event(&span.first));
        let oldest = all().map(|span| time_of(&span.first)).min()?;
        let last =
            |span: &Span| time_of(if by_event(&span.last) { &span.last } else { &span.first });
        Some((oldest, all().map(last).max()?))
    }

    /// Names between these times to be dropped.
    fn droppable(
        &self,
        (from_ms, until_ms): (u64, u64),
        halvings: u32,
    ) -> Result<Vec<Between>, ReadError> {
        let whole = (time_name(from_ms), time_name(until_ms));
        let Some(range) = self.uncut(whole)? else { return Ok(Vec::new()) };
        if !self.all.iter().any(|span| span.is_within(&range)) {
            return Ok(Vec::new());
        }
        if self.are_marked(&range)? {
            return Ok(vec![range]);
        }
        let middle_ms = from_ms.midpoint(until_ms);
        if halvings == 0 || middle_ms == from_ms {
            return Ok(Vec::new());
        }
        let mut halves = self.droppable((from_ms, middle_ms), halvings - 1)?;
        halves.extend(self.droppable((middle_ms, until_ms), halvings - 1)?);
        Ok(halves)
    }

    /// Whether there are as many marks of removal as payloads wherever a table within a range has
    /// payloads. Tables whose names overlap are looked at together.
    fn are_marked(&self, range: &Between) -> Result<bool, ReadError> {
        let has_payloads = |span: &&Span| span.written > 0 && span.is_within(range);
        let mut tables: Vec<&Span> = self.all.iter().filter(has_payloads).collect();
        tables.sort_unstable_by(|a, b| a.first.cmp(&b.first));
        let mut stretches: Vec<(Between, u64)> = Vec::new();
        for table in tables {
            let end = behind(&table.last);
            match stretches.last_mut() {
                Some(((_, until), written)) if **until > *table.first => {
                    *written += table.written;
                    if end > *until {
                        *until = end;
                    }
                }
                _ => stretches.push(((table.first.to_vec(), end), table.written)),
            }
        }
        for (stretch, written) in stretches {
            let mut marks = 0;
            for span in self.all.iter().filter(|span| span.overlaps(&stretch)) {
                marks += span.marks(&stretch)?;
            }
            if marks < written {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// As much of a range as leaves no payload of it in a table that would stay.
    fn uncut(&self, mut range: Between) -> Result<Option<Between>, ReadError> {
        'again: while range.0 < range.1 {
            for span in &self.all {
                if !span.overlaps(&range) || span.is_within(&range) {
                    continue;
                }
                match span.payloads(&range)? {
                    None => {}
                    Some((first, _)) if *span.last >= *range.1 => {
                        range.1 = first.to_vec();
                        continue 'again;
                    }
                    Some((_, last)) => {
                        range.0 = behind(&last);
                        continue 'again;
                    }
                }
            }
            return Ok(Some(range));
        }
        Ok(None)
    }
}

/// The next name there can be.
fn behind(name: &[u8]) -> Vec<u8> {
    [name, &[0]].concat()
}

fn tally(tables: &Tables) -> Tally {
    let tree = &tables.keyspace(Table::Payloads).tree;
    let gone = tree.tombstone_count();
    let written = (tree.approximate_len() as u64).saturating_sub(gone);
    let alive = written.saturating_sub(gone);
    Tally { gone, alive, alive_bytes: tree.disk_space() / written.max(1) * alive }
}

/// What the store has of a keyspace, or none where it is writing or merging tables.
fn idle_tree(keyspace: &Keyspace) -> Option<&lsm_tree::Tree> {
    let AnyTree::Standard(tree) = &keyspace.tree else { return None };
    let is_busy = tree.is_compacting() || keyspace.sealed_memtable_count() > 0;
    (!is_busy).then_some(tree)
}

/// The tables of payloads, or none where the store is at them.
fn spans(tables: &Tables) -> Option<Spans> {
    let keyspace = tables.keyspace(Table::Payloads);
    let tree = idle_tree(keyspace)?;
    let version = tree.current_version();
    let on_disk = |table: &lsm_tree::Table| Span {
        first: table.metadata.key_range.min().clone(),
        last: table.metadata.key_range.max().clone(),
        written: table.metadata.item_count.saturating_sub(table.metadata.tombstone_count),
        gone: table.metadata.tombstone_count,
        rows: Rows::OnDisk(table.clone()),
    };
    let mut all: Vec<Span> = version.iter_tables().map(on_disk).collect();
    let in_memory = tree.active_memtable();
    let row = |row: InternalValue| (row.key.user_key.clone(), row.is_tombstone());
    let rows: Vec<(Slice, bool)> = in_memory.iter().map(row).collect();
    if let Some((first, _)) = rows.first() {
        // Behind everything: what is in memory is not dropped, and so is never within a range.
        let (first, last) = (first.clone(), Slice::from(TIDE_KEY));
        all.push(Span { first, last, written: 0, gone: 0, rows: Rows::InMemory(rows) });
    }
    Some(Spans { version: version.id(), all })
}

/// Drops the tables within a range, if they are those of this version; gives those that are left,
/// or none where the store is at them.
fn drop_range(
    tables: &Tables,
    version: u64,
    (from, until): &Between,
) -> Result<Option<Spans>, ReadError> {
    // Who writes a table out in the microseconds from here on comes too late to bring in a name
    // from this range: it would have to be accepted, committed and written first. A merge that
    // begins in them is waited for, and may leave a payload in a table that reaches out of the
    // range, without its mark: no row names it, and it goes with the next range that is wider.
    let keyspace = tables.keyspace(Table::Payloads);
    let Some(tree) = idle_tree(keyspace).filter(|tree| tree.current_version().id() == version)
    else {
        return Ok(None);
    };
    tree.drop_range(from.as_slice()..until.as_slice()).map_err(unread)?;
    Ok(spans(tables).filter(|now| now.version == version + 1))
}

/// Looks for times between which no event has a row.
fn lifeless(
    view: &View<'_>,
    (from_ms, newest_ms, step_ms): (u64, u64, u64),
    is_over: impl Fn() -> bool,
) -> Result<Lifeless, ReadError> {
    let (mut times, mut run_ms, mut at_ms) = (Vec::new(), from_ms, from_ms);
    let end_ms = newest_ms.saturating_add(1);
    let mut close = |from: u64, until: u64| {
        if from < until {
            times.push((from, until));
        }
    };
    while at_ms < end_ms {
        if at_ms > from_ms && is_over() {
            close(run_ms, at_ms);
            // Once more from where it began, so that its tables are not cut there.
            let next_ms = if run_ms > from_ms { run_ms } else { at_ms };
            return Ok(Lifeless { times, next_ms: Some(next_ms) });
        }
        let part_ms = at_ms.saturating_add(step_ms).min(end_ms);
        let mut rows = view.range(Table::Rows, time_name(at_ms)..time_name(part_ms));
        if let Some(row) = rows.next() {
            close(run_ms, time_of(&key_of(Table::Rows, row)?));
            run_ms = part_ms;
        }
        at_ms = part_ms;
    }
    close(run_ms, end_ms);
    Ok(Lifeless { times, next_ms: None })
}

fn unread(source: lsm_tree::Error) -> ReadError {
    ReadError::Store { table: Table::Payloads.name(), source: source.into() }
}

/// The beginning of all names of events that were accepted in this millisecond or later.
fn time_name(ms: u64) -> Vec<u8> {
    ms.to_be_bytes()[8 - TIME_LEN..].to_vec()
}

/// When the event was accepted that has this name, in milliseconds.
fn time_of(name: &[u8]) -> u64 {
    name.iter().chain(&[0; TIME_LEN]).take(TIME_LEN).fold(0, |ms, byte| ms << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests;
