//! Pages of a tenant's events, newest first, read step by step.
//!
//! Each status is found by what stands for it: fresh rows and due retries for PENDING, marks
//! otherwise. For DELIVERED nothing stands but the mark that every event has: there, events that
//! another mark or a fresh row names are passed by without their rows. A step reads a bounded part
//! of the way, from one view; an event is judged in one step only, so it is never there twice.

use std::cmp::Reverse;

use fjall::Guard;
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
}

const SIZES: Sizes = Sizes { rows: 1_000, rows_first: 200, marks: 256, times: 8 };

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
        Self { query, sizes: SIZES, events, below: query.before, steps: 0 }
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
        let seen = match query.status {
            None => scan.marked(keys::MARK_ANY, sizes.rows),
            Some(EventStatus::Pending) => scan.pending(sizes.rows),
            Some(EventStatus::Delivered) if self.has_begun() => scan.delivered(sizes),
            Some(EventStatus::Delivered) => scan.marked(keys::MARK_ANY, sizes.rows_first),
            Some(EventStatus::Failed) => scan.marked(MARK_FAILED, sizes.rows),
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
    /// The rows of a keyspace whose keys are `prefix` and an event id, newest first.
    fn newest(&self, table: Table, prefix: &[u8]) -> impl Iterator<Item = Guard> {
        let mut end = key(prefix, self.below.unwrap_or(EventId::MAX));
        if self.below.is_none() {
            // Longer than any key with this id: the id itself is in.
            end.push(0);
        }
        self.view.range(table, prefix.to_vec()..end).rev()
    }

    /// What is wanted of an event.
    fn wanted(&self, id: EventId) -> Result<Option<EventSummary>, ReadError> {
        let row = self.view.event_unless_damaged(self.tenant, id, self.shared)?;
        let event = row.map(|row| summary(id, &row, self.query.now));
        Ok(event.filter(|it| self.query.status.is_none_or(|status| status == it.status)))
    }

    /// Events by a keyspace that only names them, at most so many of them looked at.
    fn named(&self, table: Table, prefix: &[u8], rows_max: usize) -> Result<Seen, ReadError> {
        let mut events = Vec::new();
        for (n, guard) in self.newest(table, prefix).enumerate() {
            let id = id_of(table, prefix, &key_of(table, guard)?)?;
            events.extend(self.wanted(id)?);
            if events.len() >= self.wanted || n + 1 >= rows_max {
                return Ok(Seen { events, reached: Some(id) });
            }
        }
        Ok(Seen { events, reached: None })
    }

    fn marked(&self, mark: u8, rows_max: usize) -> Result<Seen, ReadError> {
        self.named(Table::Marks, &keys::mark_prefix(mark, self.tenant), rows_max)
    }

    /// What is fresh, and retries that are due: as far as the latter were looked at.
    fn pending(&self, rows_max: usize) -> Result<Seen, ReadError> {
        let retries = self.marked(MARK_FAILED, rows_max)?;
        let fresh_prefix = keys::fresh_prefix(self.tenant, EndpointId::DEFAULT);
        let fresh = self.named(Table::Fresh, &fresh_prefix, rows_max)?;
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
        let prefix = keys::mark_prefix(keys::MARK_ANY, self.tenant);
        let mut marks = self.newest(Table::Marks, &prefix).map(|guard| {
            let key = key_of(Table::Marks, guard)?;
            id_of(Table::Marks, &prefix, &key)
        });
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
