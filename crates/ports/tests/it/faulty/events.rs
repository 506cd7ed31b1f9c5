//! Faults in accepting, showing and retrying events.

use async_trait::async_trait;
use bytes::Bytes;
use posthaste_domain::{
    DeliveryKey, EndpointId, EventId, EventStatus, Owed, OwedAs, TenantId, Timestamp,
};
use posthaste_ports::{
    Acceptance, Arrival, EventDetail, EventPage, EventStore, Idempotency, ListQuery, NewEvent,
    PortError, Retried, TenantStore as _,
};

use super::{Fault, Faulty, NEVER_FAILS};

/// 25 hours, in milliseconds: one more than a claim may hold.
const TOO_LONG_MS: u64 = 25 * 3_600_000;

impl Faulty {
    /// Answers by claims of its own, which break their promises.
    async fn claimed(&self, event: &mut NewEvent) -> Option<Acceptance> {
        let claim = event.idempotency?;
        let known = self.inner.tenant(&event.tenant).await.expect(NEVER_FAILS).is_some();
        let owner = (!self.is(Fault::ClaimsOfAllTenants)).then(|| event.tenant.clone());
        let earlier = self.notes().claims.get(&(owner.clone(), claim.key)).copied();
        event.idempotency = None;
        if self.is(Fault::ClaimsRace) {
            self.let_another_in().await;
        }
        let now = event.id.created_at();
        let holds = |id: EventId| now < id.created_at().plus_millis(TOO_LONG_MS);
        match earlier {
            _ if !known => None,
            Some((body, id)) if holds(id) && body == claim.body => Some(Acceptance::Replayed(id)),
            Some((_, id)) if holds(id) => Some(Acceptance::Conflict),
            _ => {
                self.notes().claims.insert((owner, claim.key), (claim.body, event.id));
                None
            }
        }
    }

    async fn accept_one(&self, mut event: NewEvent) -> Result<Acceptance, PortError> {
        let (tenant, id) = (event.tenant.clone(), event.id);
        match self.fault {
            Fault::ClaimsIgnored => event.idempotency = None,
            Fault::ClaimsIgnoreBody => {
                event.idempotency =
                    event.idempotency.map(|claim| Idempotency { body: [0; 32], ..claim });
            }
            Fault::EveryEventClaims => {
                let any = Idempotency { key: [0; 32], body: [0; 32] };
                event.idempotency = event.idempotency.or(Some(any));
            }
            Fault::PayloadTrimmed => {
                event.payload = Bytes::copy_from_slice(event.payload.trim_ascii());
            }
            Fault::ClaimsHold25Hours | Fault::ClaimsOfAllTenants | Fault::ClaimsRace => {
                if let Some(answer) = self.claimed(&mut event).await {
                    return Ok(answer);
                }
            }
            Fault::IdsOfAllTenants => {
                let owner = self.owner(&tenant, id);
                if owner != tenant {
                    return Ok(Acceptance::Replayed(id));
                }
            }
            Fault::SinkEarly => self.tell(&event).await,
            _ => {}
        }
        let payload = event.payload.clone();
        let answer = self.inner.accept(vec![event]).await?[0];
        if let Acceptance::Accepted(_) = answer {
            self.notes().events.insert((tenant, id), payload);
        }
        match answer {
            Acceptance::UnknownTenant if self.is(Fault::UnknownTenantAccepted) => {
                Ok(Acceptance::Accepted(id))
            }
            answer => Ok(answer),
        }
    }

    /// Tells the sink of an event that is not stored yet.
    async fn tell(&self, event: &NewEvent) {
        let record = self.inner.tenant(&event.tenant).await.expect(NEVER_FAILS);
        let Some(record) = record else { return };
        let (tenant, id, payload) = (event.tenant.clone(), event.id, event.payload.clone());
        let owed = Owed {
            key: DeliveryKey { tenant, event: id, endpoint: EndpointId::DEFAULT },
            round: 0,
            attempts: 0,
            interrupted: 0,
            owed_as: OwedAs::Fresh,
            payload: Some(payload),
        };
        self.sink.arrived(vec![Arrival { shard_key: record.shard_key, owed }]);
        self.until_looked_for(id).await;
    }

    fn seen_owner(&self, tenant: &TenantId, id: EventId) -> TenantId {
        let owner = self.owner(tenant, id);
        let begins_alike = owner.as_str().starts_with(tenant.as_str());
        let seen =
            self.is(Fault::EventsOfAllTenants) || (self.is(Fault::PrefixesShared) && begins_alike);
        if seen { owner } else { tenant.clone() }
    }
}

#[async_trait]
impl EventStore for Faulty {
    async fn accept(&self, events: Vec<NewEvent>) -> Result<Vec<Acceptance>, PortError> {
        let mut answers = Vec::new();
        let mut claimed = Vec::new();
        for mut event in events {
            if let (Fault::ClaimsBlindInBatch, Some(claim)) = (self.fault, event.idempotency) {
                if claimed.contains(&(event.tenant.clone(), claim.key)) {
                    event.idempotency = None;
                }
                claimed.push((event.tenant.clone(), claim.key));
            }
            let cut = self.is(Fault::LargeBatchCut) && answers.len() >= 499;
            let id = event.id;
            answers.push(if cut {
                Acceptance::Accepted(id)
            } else {
                self.accept_one(event).await?
            });
        }
        if self.is(Fault::AnswersReversed) {
            answers.reverse();
        }
        Ok(answers)
    }

    async fn event(
        &self,
        tenant: &TenantId,
        id: EventId,
        now: Timestamp,
    ) -> Result<Option<EventDetail>, PortError> {
        self.look_for(id);
        if self.is_hidden(tenant, id) {
            return Ok(None);
        }
        let now = if self.is(Fault::FailedForEver) { Timestamp::ZERO } else { now };
        let mut detail = self.inner.event(&self.seen_owner(tenant, id), id, now).await?;
        if let (Fault::LogOfThisRoundOnly, Some(detail)) = (self.fault, &mut detail) {
            let last = detail.log.last().map(|logged| logged.round);
            detail.log.retain(|logged| Some(logged.round) == last);
            if detail.summary.attempts == 0 {
                detail.log.clear();
            }
        }
        Ok(detail)
    }

    async fn list(&self, tenant: &TenantId, mut query: ListQuery) -> Result<EventPage, PortError> {
        let wanted = query.status;
        match self.fault {
            Fault::FailedForEver => query.now = Timestamp::ZERO,
            Fault::FilterAfterPage => query.status = None,
            Fault::ListShort if query.limit > 1 => query.limit -= 1,
            Fault::BeforeInclusive => {
                let after = |id: EventId| EventId::from_u128(id.as_u128().saturating_add(1));
                query.before = query.before.map(after);
            }
            _ => {}
        }
        let mut page = self.inner.list(tenant, query).await?;
        match self.fault {
            Fault::ListBackwards => page.events.reverse(),
            Fault::ListNeverEnds => page.next = page.events.last().map(|last| last.id),
            Fault::FilterAfterPage => {
                page.events.retain(|event| wanted.is_none_or(|status| event.status == status));
            }
            Fault::ListCountsOtherwise => {
                page.events.iter_mut().for_each(|event| event.attempts = 0);
            }
            Fault::MoveInTwoSteps | Fault::RequeueKeepsEnd | Fault::OwedExpires => {
                page.events.retain(|event| !self.is_hidden(tenant, event.id));
                self.looked.notify_waiters();
            }
            Fault::EventsOfAllTenants if query.before.is_none() && page.events.is_empty() => {
                let owners = self.notes().tenants.clone();
                for other in owners {
                    let page = self.inner.list(&other, query).await?;
                    if !page.events.is_empty() {
                        return Ok(page);
                    }
                }
            }
            _ => {}
        }
        Ok(page)
    }

    async fn retry(
        &self,
        tenant: &TenantId,
        id: EventId,
        at: Timestamp,
    ) -> Result<Retried, PortError> {
        let at = if self.is(Fault::RetryOfDue) { Timestamp::ZERO } else { at };
        let owner = self.owner(tenant, id);
        let owner = if self.is(Fault::RetryOfForeign) { &owner } else { tenant };
        match self.inner.retry(owner, id, at).await? {
            Retried::NotRetryable(EventStatus::Delivered | EventStatus::Purged)
                if self.is(Fault::RetryOfAnything) =>
            {
                Ok(Retried::Requeued)
            }
            answer => Ok(answer),
        }
    }
}
