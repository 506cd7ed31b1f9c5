//! Events as tenants see them.

use std::sync::Arc;

use async_trait::async_trait;
use posthaste_domain::{EventId, TenantId, Timestamp};
use posthaste_ports::{
    Acceptance, EventDetail, EventPage, EventStore, ListQuery, LoggedAttempt, NewEvent, PortError,
    Retried,
};

use super::listing::{Listing, summary};
use crate::codec::{LogRow, Standing};
use crate::keys;
use crate::ledger::Ledger;
use crate::shared::Shared;
use crate::tables::{ReadError, Table, decoded, foreign_key, pair_of, unless_damaged};
use crate::writer::Operation;

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
        let mut listing = Listing::new(query);
        loop {
            let shared = Arc::clone(&self.shared);
            let clock = || shared.observer.monotonic_us();
            let turn = shared.turns.take(tenant, listing.has_begun(), clock).await;
            let tenant = tenant.clone();
            let step = self.read(move |shared| {
                let began = shared.observer.monotonic_us();
                let is_whole = listing.step(shared, &tenant)?;
                turn.end(began, shared.observer.monotonic_us());
                Ok((listing, is_whole))
            });
            match step.await? {
                (listing, true) => return Ok(listing.page()),
                (unfinished, false) => listing = unfinished,
            }
        }
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
        log.extend(unless_damaged(line, &id, shared)?);
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
