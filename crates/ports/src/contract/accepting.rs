//! Accepting events: answers, idempotency, and what is told to the sink.

use posthaste_domain::EventStatus;

use super::Fixture;
use super::samples::{
    HOUR, PLENTY, START, after, claim, delivery_key, fresh, new_tenant, payload_of, tenant_id,
};
use crate::{Acceptance, Arrival, EventDetail, EventSummary, ListQuery, NewEvent, NewTenant};

pub(super) async fn an_accepted_event_can_be_read(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let id = f.post(&acme, START).await;
    f.later().await;
    let summary =
        EventSummary { id, status: EventStatus::Pending, attempts: 0, last_attempt_at: None };
    let payload = payload_of(id);
    let detail =
        EventDetail { summary, payload, error: None, next_attempt_at: None, log: Vec::new() };
    assert_eq!(f.detail(&acme, id, after(1)).await, Some(detail));
    assert_eq!(f.owed(&acme).await, [fresh(&acme, id, 0)]);
}
