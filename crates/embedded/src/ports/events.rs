//! Events as tenants see them.
//!
//! Lists merge what each status is found by: fresh rows and due retries for PENDING, marks
//! otherwise, those of every event for DELIVERED. All of one page is read from one view.

use std::cmp::Reverse;

use async_trait::async_trait;
use fjall::Guard;
use posthaste_domain::{EndpointId, EventId, EventStatus, TenantId, Timestamp};
use posthaste_ports::{
    Acceptance, EventDetail, EventPage, EventStore, EventSummary, ListQuery, LoggedAttempt,
    NewEvent, PortError, Retried,
};

use crate::codec::{EventRow, LogRow, Standing};
use crate::keys;
use crate::ledger::Ledger;
use crate::shared::Shared;
use crate::tables::{
    ReadError, Table, View, decoded, foreign_key, key_of, pair_of, unless_damaged,
};
use crate::writer::{MARK_DEAD, MARK_FAILED, MARK_PURGED, Operation};

#[async_trait]
impl EventStore for Ledger {
    async fn accept(&self, events: Vec<NewEvent>) -> Result<Vec<Acceptance>, PortError> {
        self.ask(|done| Operation::Accept { events, done }).await
    }

    async fn event(
        &self,
        tenant: &TenantId,
        id: EventId,
        now: Timestamp,
    ) -> Result<Option<EventDetail>, PortError> {
        let tenant = tenant.clone();
        self.read(move |shared| detail(shared, &tenant, id, now)).await
    }

    async fn list(&self, tenant: &TenantId, query: ListQuery) -> Result<EventPage, PortError> {
        let tenant = tenant.clone();
        self.read(move |shared| page(shared, &tenant, &query)).await
    }

    async fn retry(
        &self,
        tenant: &TenantId,
        id: EventId,
        at: Timestamp,
    ) -> Result<Retried, PortError> {
        let tenant = tenant.clone();
        self.ask(|done| Operation::Retry { tenant, event: id, at, done }).await
    }
}

fn summary(id: EventId, row: &EventRow, now: Timestamp) -> EventSummary {
    EventSummary {
        id,
        status: row.standing.status(now),
        attempts: row.attempts,
        last_attempt_at: row.last_attempt_at.map(Timestamp::from_millis),
    }
}

fn detail(
    shared: &Shared,
    tenant: &TenantId,
    id: EventId,
    now: Timestamp,
) -> Result<Option<EventDetail>, ReadError> {
    let view = shared.tables.view();
    let Some(row) = view.event(tenant, id)? else { return Ok(None) };
    let payload = view.payload(tenant, id)?.ok_or_else(|| foreign_key(Table::Payloads))?;
    let mut log: Vec<LoggedAttempt> = Vec::new();
    for guard in view.prefix(Table::Log, &keys::event(tenant, id)) {
        let (_, bytes) = pair_of(Table::Log, guard)?;
        let line = decoded::<LogRow>(Table::Log, &bytes);
        let line = line.and_then(|line| line.attempt().map_err(|_| foreign_key(Table::Log)));
        log.extend(unless_damaged(line, id, shared)?);
    }
    let next_attempt_at = match row.standing {
        Standing::Timer { due } => Some(Timestamp::from_millis(due)),
        _ => None,
    };
    Ok(Some(EventDetail {
        summary: summary(id, &row, now),
        payload,
        error: log.last().and_then(|last| last.attempt.error.clone()),
        next_attempt_at,
        log,
    }))
}

/// A page and one more, to know whether it is the last.
fn page(shared: &Shared, tenant: &TenantId, query: &ListQuery) -> Result<EventPage, ReadError> {
    let view = shared.tables.view();
    let before = query.before.unwrap_or(EventId::MAX);
    // The largest id is a lawful one, but nobody begins a page behind it.
    let open = query.before.is_none();
    let scan = Scan { shared, view: &view, tenant, before, open };
    let mut events = match query.status {
        None | Some(EventStatus::Delivered) => scan.marked(keys::MARK_ANY, query)?,
        Some(EventStatus::Pending) => scan.pending(query)?,
        Some(EventStatus::Failed) => scan.marked(MARK_FAILED, query)?,
        Some(EventStatus::Dlq) => scan.marked(MARK_DEAD, query)?,
        Some(EventStatus::Purged) => scan.marked(MARK_PURGED, query)?,
    };
    let more = events.len() > query.limit;
    events.truncate(query.limit);
    let next = events.last().filter(|_| more).map(|last| last.id);
    Ok(EventPage { events, next })
}

/// A reading of one tenant's events, newest first, older than `before`.
struct Scan<'a> {
    shared: &'a Shared,
    view: &'a View<'a>,
    tenant: &'a TenantId,
    before: EventId,
    open: bool,
}

impl Scan<'_> {
    /// The rows of a keyspace whose keys are `prefix` and an event id, newest first.
    fn newest(&self, table: Table, prefix: &[u8]) -> impl Iterator<Item = Guard> {
        let mut end = prefix.to_vec();
        end.extend_from_slice(&self.before.as_u128().to_be_bytes());
        if self.open {
            // Longer than any key with this id: the id itself is in.
            end.push(0);
        }
        self.view.range(table, prefix.to_vec()..end).rev()
    }

    /// Events by a keyspace that only names them.
    fn named(&self, table: Table, prefix: &[u8], query: &ListQuery) -> Found {
        collect(query, self.newest(table, prefix), |guard| {
            let id = id_of(table, prefix, &key_of(table, guard)?)?;
            let row = self.view.event_unless_damaged(self.tenant, id, self.shared)?;
            Ok(row.map(|row| (id, row)))
        })
    }

    fn marked(&self, mark: u8, query: &ListQuery) -> Found {
        self.named(Table::Marks, &keys::mark_prefix(mark, self.tenant), query)
    }

    /// What is fresh, and retries that are due.
    fn pending(&self, query: &ListQuery) -> Found {
        let fresh = keys::fresh_prefix(self.tenant, EndpointId::DEFAULT);
        let mut events = self.named(Table::Fresh, &fresh, query)?;
        events.extend(self.marked(MARK_FAILED, query)?);
        events.sort_by_key(|event| Reverse(event.id));
        Ok(events)
    }
}

type Found = Result<Vec<EventSummary>, ReadError>;

/// Summaries of what `read` makes of rows, as far as the query wants them, and one more.
fn collect(
    query: &ListQuery,
    rows: impl Iterator<Item = Guard>,
    read: impl Fn(Guard) -> Result<Option<(EventId, EventRow)>, ReadError>,
) -> Found {
    let mut events = Vec::with_capacity(query.limit.min(100) + 1);
    for guard in rows {
        let Some((id, row)) = read(guard)? else { continue };
        let event = summary(id, &row, query.now);
        if query.status.is_none_or(|status| status == event.status) {
            events.push(event);
            if events.len() > query.limit {
                break;
            }
        }
    }
    Ok(events)
}

/// The event id that ends a key.
fn id_of(table: Table, prefix: &[u8], key: &[u8]) -> Result<EventId, ReadError> {
    let id = key.strip_prefix(prefix).and_then(|id| id.try_into().ok()).map(u128::from_be_bytes);
    id.map(EventId::from_u128).ok_or_else(|| foreign_key(table))
}
