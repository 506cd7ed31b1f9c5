//! Events as tenants see them: accepting, reading, listing, retrying by hand.

use async_trait::async_trait;
use posthaste_domain::{EventId, EventStatus, TenantId, Timestamp};

use super::row::Row;
use super::{MemoryStore, State};
use crate::{
    Acceptance, CLAIM_KEPT_MS, EventDetail, EventPage, EventStore, ListQuery, NewEvent, PortError,
    Retried,
};

/// The first use of an idempotency key.
pub(super) struct Claim {
    body: [u8; 32],
    event: EventId,
}

impl Claim {
    /// The first millisecond in which the claim holds no more.
    pub(super) const fn expires_at(&self) -> Timestamp {
        self.event.created_at().plus_millis(CLAIM_KEPT_MS)
    }
}

#[async_trait]
impl EventStore for MemoryStore {
    async fn accept(&self, events: Vec<NewEvent>) -> Result<Vec<Acceptance>, PortError> {
        let mut state = self.lock();
        let mut accepted = Vec::new();
        let mut answers = Vec::with_capacity(events.len());
        for event in events {
            let id = (event.tenant.clone(), event.id);
            let answer = state.accept(event);
            if matches!(answer, Acceptance::Accepted(_)) {
                accepted.push(id);
            }
            answers.push(answer);
        }
        self.announce(&state, &accepted);
        Ok(answers)
    }

    async fn event(
        &self,
        tenant: &TenantId,
        id: EventId,
        now: Timestamp,
    ) -> Result<Option<EventDetail>, PortError> {
        let state = self.lock();
        Ok(state.events.get(&(tenant.clone(), id)).map(|row| row.detail(id, now)))
    }

    async fn list(&self, tenant: &TenantId, query: ListQuery) -> Result<EventPage, PortError> {
        let state = self.lock();
        let mut matching = state
            .rows_of(tenant)
            .rev()
            .filter(|(id, _)| query.before.is_none_or(|before| *id < before))
            .map(|(id, row)| row.summary(id, query.now))
            .filter(|event| query.status.is_none_or(|status| event.status == status));
        let events: Vec<_> = matching.by_ref().take(query.limit).collect();
        let more = matching.next().is_some();
        let next = events.last().filter(|_| more).map(|last| last.id);
        Ok(EventPage { events, next })
    }

    async fn retry(
        &self,
        tenant: &TenantId,
        id: EventId,
        at: Timestamp,
    ) -> Result<Retried, PortError> {
        let mut state = self.lock();
        let key = (tenant.clone(), id);
        let Some(row) = state.events.get_mut(&key) else { return Ok(Retried::NotFound) };
        match row.standing.status(at) {
            EventStatus::Failed | EventStatus::Dlq => row.begin_round(),
            other => return Ok(Retried::NotRetryable(other)),
        }
        self.announce(&state, &[key]);
        Ok(Retried::Requeued)
    }
}

impl State {
    fn accept(&mut self, event: NewEvent) -> Acceptance {
        if !self.tenants.contains_key(&event.tenant) {
            return Acceptance::UnknownTenant;
        }
        if let Some(claim) = event.idempotency {
            let key = (event.tenant.clone(), claim.key);
            let earlier = self.claims.get(&key);
            let now = event.id.created_at();
            match earlier.filter(|earlier| now < earlier.expires_at()) {
                Some(earlier) if earlier.body == claim.body => {
                    return Acceptance::Replayed(earlier.event);
                }
                Some(_) => return Acceptance::Conflict,
                None => self.claims.insert(key, Claim { body: claim.body, event: event.id }),
            };
        }
        self.events.insert((event.tenant, event.id), Row::accepted(event.payload));
        Acceptance::Accepted(event.id)
    }
}
