//! Pages of a tenant's events, newest first, read step by step.
//!
//! Each status is found by what stands for it: fresh rows and due retries for PENDING, marks
//! otherwise. Which retries are due their rows tell; where the first step does not do with those,
//! the timers are asked, as long as few are due or all but few. For DELIVERED nothing stands but
//! the mark that every event has: behind the first step, events that another mark or a fresh row
//! names are passed by without their rows. A step reads a bounded part of the way, from one view;
//! an event is judged in one step only, so it is never there twice.

use std::cmp::Reverse;
use std::ops::Bound;
use std::sync::atomic::Ordering;

use posthaste_domain::{EndpointId, EventId, EventStatus, TenantId, Timestamp};
use posthaste_ports::{EventPage, EventSummary, ListQuery};

use crate::codec::EventRow;
use crate::keys;
use crate::shared::Shared;
use crate::tables::{ReadError, Table, View, foreign_key, key_of};
use crate::writer::{MARK_DEAD, MARK_FAILED, MARK_PURGED};

/// How much a step does.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    /// Rows that are read, some microseconds each.
    rows: usize,
    /// Rows that are read before events are passed by without them: most pages need no more.
    rows_first: usize,
    /// Marks that are looked at together, less than a microsecond each.
    marks: usize,
    /// How often.
    times: usize,
    /// Timers that are looked at, everybody's: more than there are attempts in flight, which is
    /// how many are due where the engine keeps up.
    timers: usize,
}

const SIZES: Sizes = Sizes { rows: 250, rows_first: 200, marks: 256, times: 2, timers: 1_000 };

/// A page that is being read.
#[derive(Debug)]
pub(super) struct Listing {
    query: ListQuery,
    sizes: Sizes,
    /// Found so far: at most one more than the page has, to know whether it is the last.
    events: Vec<EventSummary>,
    /// Only what is older is left to be read; none at the very beginning. The largest id is a
    /// lawful one, but nobody begins a page behind it.
    below: Option<EventId>,
    steps: usize,
    /// Whether there are too many timers to be asked.
    many_timers: bool,
}

/// Which of a tenant's retries have the status that is asked for; the newest first.
enum Retries {
    Only(Vec<EventId>),
    AllBut(Vec<EventId>),
    Untold,
}

/// What a step has seen.
#[derive(Debug, Default)]
struct Seen {
    /// What it found.
    events: Vec<EventSummary>,
    /// The oldest event that it looked at; none where it came to the end.
    reached: Option<EventId>,
}

impl Listing {
    pub(super) fn new(query: ListQuery) -> Self {
        let events = Vec::with_capacity(query.limit.min(100) + 1);
        Self { query, sizes: SIZES, events, below: query.before, steps: 0, many_timers: false }
    }

    /// Whether it has begun.
    pub(super) const fn has_begun(&self) -> bool {
        self.steps > 0
    }

    /// Reads one step; says whether all is found.
    pub(super) fn step(&mut self, shared: &Shared, tenant: &TenantId) -> Result<bool, ReadError> {
        let view = shared.tables.view();
        let Self { query, sizes, below, .. } = *self;
        let wanted = (query.limit + 1).saturating_sub(self.events.len());
        let scan = Scan { shared, view: &view, tenant, query, below, wanted };
        let mut retries = Retries::Untold;
        let needs_retries =
            matches!(query.status, Some(EventStatus::Pending | EventStatus::Failed));
        // Not at first: timers are everybody's, and so are those that have gone but stand in the
        // way of who looks for the next.
        if needs_retries && self.has_begun() && !self.many_timers {
            retries = scan.told_apart(sizes.timers)?;
            self.many_timers = matches!(retries, Retries::Untold);
        }
        let seen = match query.status {
            None => scan.marked(keys::MARK_ANY, sizes.rows),
            Some(EventStatus::Pending) => scan.pending(retries, sizes.rows),
            Some(EventStatus::Failed) => scan.retries(retries, sizes.rows),
            Some(EventStatus::Delivered) if self.has_begun() => scan.delivered(sizes),
            Some(EventStatus::Delivered) => scan.marked(keys::MARK_ANY, sizes.rows_first),
            Some(EventStatus::Dlq) => scan.marked(MARK_DEAD, sizes.rows),
            Some(EventStatus::Purged) => scan.marked(MARK_PURGED, sizes.rows),
        }?;
        self.steps += 1;
        self.events.extend(seen.events);
        self.below = seen.reached;
        Ok(seen.reached.is_none() || self.events.len() > query.limit)
    }

    /// What was found.
    pub(super) fn page(self) -> EventPage {
        let Self { query, mut events, .. } = self;
        let more = events.len() > query.limit;
        events.truncate(query.limit);
        let next = events.last().filter(|_| more).map(|last| last.id);
        EventPage { events, next }
    }
}

/// As tenants see it.
pub(super) fn summary(id: EventId, row: &EventRow, now: Timestamp) -> EventSummary {
    EventSummary {
        id,
        status: row.standing.status(now),
        attempts: row.attempts,
        last_attempt_at: row.last_attempt_at.map(Timestamp::from_millis),
    }
}

/// One step's view of one tenant's events.
struct Scan<'a> {
    shared: &'a Shared,
    view: &'a View<'a>,
    tenant: &'a TenantId,
    query: ListQuery,
    below: Option<EventId>,
    /// So many are enough.
    wanted: usize,
}

impl Scan<'_> {
    /// The events that a keyspace names behind `prefix`, newest first.
    fn newest(
        &self,
        table: Table,
        prefix: Vec<u8>,
    ) -> impl Iterator<Item = Result<EventId, ReadError>> {
        let mut end = key(&prefix, self.below.unwrap_or(EventId::MAX));
        if self.below.is_none() {
            // Longer than any key with this id: the id itself is in.
            end.push(0);
        }
        let guards = self.view.range(table, prefix.clone()..end).rev();
        guards.map(move |guard| id_of(table, &prefix, &key_of(table, guard)?))
    }

    fn marks(&self, mark: u8) -> impl Iterator<Item = Result<EventId, ReadError>> {
        self.newest(Table::Marks, keys::mark_prefix(mark, self.tenant))
    }

    /// What is wanted of an event.
    fn wanted(&self, id: EventId) -> Result<Option<EventSummary>, ReadError> {
        let row = self.view.event_unless_damaged(self.tenant, id, self.shared)?;
        let event = row.map(|row| summary(id, &row, self.query.now));
        Ok(event.filter(|it| self.query.status.is_none_or(|status| status == it.status)))
    }

    /// What is wanted of these, newest first, at most so many of them looked at.
    fn among(
        &self,
        ids: impl Iterator<Item = Result<EventId, ReadError>>,
        rows_max: usize,
    ) -> Result<Seen, ReadError> {
        let mut events = Vec::new();
        for (n, id) in ids.enumerate() {
            let id = id?;
            events.extend(self.wanted(id)?);
            if events.len() >= self.wanted || n + 1 >= rows_max {
                return Ok(Seen { events, reached: Some(id) });
            }
        }
        Ok(Seen { events, reached: None })
    }

    fn marked(&self, mark: u8, rows_max: usize) -> Result<Seen, ReadError> {
        self.among(self.marks(mark), rows_max)
    }

    /// What the timers say of the tenant's retries, as long as those that are due or those that are
    /// not are at most so many, with all others'.
    fn told_apart(&self, timers_max: usize) -> Result<Retries, ReadError> {
        // Read after the view is taken: it is lowered before a commit can be seen.
        let low = Timestamp::from_millis(self.shared.timers_low.load(Ordering::SeqCst));
        let later = self.query.now.plus_millis(1);
        let is_pending = self.query.status == Some(EventStatus::Pending);
        Ok(if let Some(due) = self.timers(low, Some(self.query.now), timers_max)? {
            if is_pending { Retries::Only(due) } else { Retries::AllBut(due) }
        } else if let Some(later) = self.timers(later, None, timers_max)? {
            if is_pending { Retries::AllBut(later) } else { Retries::Only(later) }
        } else {
            Retries::Untold
        })
    }

    /// The tenant's retries of a time, newest first, unless more timers are than so many.
    fn timers(
        &self,
        from: Timestamp,
        until: Option<Timestamp>,
        timers_max: usize,
    ) -> Result<Option<Vec<EventId>>, ReadError> {
        let mut events = Vec::new();
        let timers = self.view.from(Table::Timers, Bound::Included(keys::time(from).to_vec()));
        for (n, guard) in timers.enumerate() {
            let timer = keys::parse_timer(&key_of(Table::Timers, guard)?);
            match timer {
                Some((due, _)) if until.is_some_and(|until| due > until) => break,
                _ if n >= timers_max => return Ok(None),
                Some((_, key)) if key.tenant == *self.tenant => events.push(key.event),
                // What is no timer of ours is told of by who delivers.
                _ => {}
            }
        }
        events.sort_unstable_by_key(|id| Reverse(*id));
        Ok(Some(events))
    }

    fn retries(&self, retries: Retries, rows_max: usize) -> Result<Seen, ReadError> {
        match retries {
            Retries::Only(events) => {
                let is_older = |id: &EventId| self.below.is_none_or(|below| *id < below);
                self.among(events.into_iter().filter(is_older).map(Ok), rows_max)
            }
            Retries::AllBut(others) => {
                let is_other =
                    |id: &EventId| others.binary_search_by_key(&Reverse(id), Reverse).is_ok();
                let marks = self.marks(MARK_FAILED);
                self.among(marks.filter(|id| !id.as_ref().is_ok_and(is_other)), rows_max)
            }
            Retries::Untold => self.marked(MARK_FAILED, rows_max),
        }
    }

    /// What is fresh, and retries that are due: as far as the latter were looked at.
    fn pending(&self, retries: Retries, rows_max: usize) -> Result<Seen, ReadError> {
        let retries = self.retries(retries, rows_max)?;
        let fresh = self.newest(Table::Fresh, keys::fresh_prefix(self.tenant, EndpointId::DEFAULT));
        let fresh = self.among(fresh, rows_max)?;
        // What is older than either came to is left to the next step.
        let reached = retries.reached.max(fresh.reached);
        let mut events = fresh.events;
        events.extend(retries.events);
        events.retain(|event| reached.is_none_or(|reached| event.id >= reached));
        events.sort_by_key(|event| Reverse(event.id));
        Ok(Seen { events, reached })
    }

    /// What no fresh row and no mark of its own names.
    fn delivered(&self, sizes: Sizes) -> Result<Seen, ReadError> {
        let mut marks = self.marks(keys::MARK_ANY);
        let mut seen = Seen::default();
        for _ in 0..sizes.times {
            let ids = marks.by_ref().take(sizes.marks).collect::<Result<Vec<_>, _>>()?;
            let others = self.others(&ids)?;
            for id in ids.iter().filter(|id| others.binary_search(id).is_err()) {
                seen.events.extend(self.wanted(*id)?);
                if seen.events.len() >= self.wanted {
                    seen.reached = Some(*id);
                    return Ok(seen);
                }
            }
            seen.reached = ids.last().copied();
            if ids.len() < sizes.marks {
                seen.reached = None;
                break;
            }
        }
        Ok(seen)
    }

    /// The events among these, newest first, that have not been delivered; the oldest first.
    fn others(&self, ids: &[EventId]) -> Result<Vec<EventId>, ReadError> {
        let (Some(newest), Some(oldest)) = (ids.first(), ids.last()) else {
            return Ok(Vec::new());
        };
        let fresh = (Table::Fresh, keys::fresh_prefix(self.tenant, EndpointId::DEFAULT));
        let marks = [MARK_FAILED, MARK_DEAD, MARK_PURGED]
            .map(|mark| (Table::Marks, keys::mark_prefix(mark, self.tenant)));
        let mut others = Vec::new();
        for (table, prefix) in marks.into_iter().chain([fresh]) {
            for guard in self.view.range(table, key(&prefix, *oldest)..=key(&prefix, *newest)) {
                others.push(id_of(table, &prefix, &key_of(table, guard)?)?);
            }
        }
        others.sort_unstable();
        Ok(others)
    }
}

fn key(prefix: &[u8], id: EventId) -> Vec<u8> {
    [prefix, &id.as_u128().to_be_bytes()].concat()
}

/// The event id that ends a key.
fn id_of(table: Table, prefix: &[u8], key: &[u8]) -> Result<EventId, ReadError> {
    let id = key.strip_prefix(prefix).and_then(|id| id.try_into().ok()).map(u128::from_be_bytes);
    id.map(EventId::from_u128).ok_or_else(|| foreign_key(table))
}

#[cfg(test)]
mod tests;
