//! Retrying by hand: a fresh round for what has failed.

use posthaste_domain::{EventId, EventStatus, Owed, TenantId, Timestamp};

use super::Fixture;
use super::samples::{
    DELIVERED, EXHAUSTED, HOUR, SECOND, START, after, fresh, payload_of, retry_at, settlement,
    tenant_id, waiting,
};
use crate::{Retried, Scope, Settled};

use Retried::{NotFound, NotRetryable, Requeued};

impl Fixture {
    async fn retry(&self, tenant: &TenantId, id: EventId, at: Timestamp) -> Retried {
        self.stores().events.retry(tenant, id, at).await.expect("retrying works")
    }
}

/// A FAILED event leaves its timer and is owed at once, in its next round.
pub(super) async fn a_failed_event_begins_a_fresh_round(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let id = f.post_resolved(&acme, START, retry_at(after(HOUR))).await;
    f.later().await;
    assert_eq!(f.retry(&acme, id, after(SECOND)).await, Requeued);
    f.later().await;
    assert_eq!(f.owed(&acme).await, [fresh(&acme, id, 1)]);
    let detail = f.detail(&acme, id, after(SECOND)).await.expect("it was accepted");
    assert_eq!((detail.summary.status, detail.summary.attempts), (EventStatus::Pending, 0));
    assert_eq!(detail.next_attempt_at, None);
}

/// A dead letter leaves the DLQ and is owed at once, in its next round.
pub(super) async fn a_dead_event_begins_a_fresh_round(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let id = f.post_resolved(&acme, START, EXHAUSTED).await;
    f.later().await;
    for round in 1..=3 {
        assert_eq!(f.retry(&acme, id, after(SECOND)).await, Requeued);
        f.later().await;
        assert_eq!(f.dead(&Scope::All).await, []);
        assert_eq!(f.owed(&acme).await, [fresh(&acme, id, round)]);
        assert_eq!(f.status(&acme, id, after(SECOND)).await, Some(EventStatus::Pending));
        f.resolve(&fresh(&acme, id, round), after(SECOND), EXHAUSTED).await;
        f.later().await;
    }
    assert_eq!(f.dead(&Scope::All).await[0].round, 3);
}

/// A fresh round keeps what happened in the rounds before, and forgets what was held against it.
pub(super) async fn a_fresh_round_keeps_the_log(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let id = f.post(&acme, START).await;
    let cut_off = Owed { interrupted: 2, ..fresh(&acme, id, 0) };
    f.resolve(&cut_off, after(SECOND), retry_at(after(HOUR))).await;
    let before = f.detail(&acme, id, after(SECOND)).await.expect("it was accepted");
    assert_eq!(f.retry(&acme, id, after(2 * SECOND)).await, Requeued);
    f.later().await;
    let detail = f.detail(&acme, id, after(2 * SECOND)).await.expect("it was accepted");
    assert_eq!(detail.log, before.log);
    assert_eq!(detail.error, before.error);
    assert_eq!(detail.summary.last_attempt_at, before.summary.last_attempt_at);
    assert_eq!(detail.payload, before.payload);
    assert_eq!(f.owed(&acme).await, [fresh(&acme, id, 1)], "interruptions are forgotten");
}

/// A retry that is due is PENDING, and PENDING cannot be retried.
pub(super) async fn an_event_that_is_due_cannot_be_retried(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let owed = fresh(&acme, f.post(&acme, START).await, 0);
    f.resolve(&owed, START, retry_at(after(HOUR))).await;
    let timer = waiting(&owed, after(HOUR));
    f.later().await;
    for at in [after(HOUR), after(2 * HOUR)] {
        let answer = f.retry(&acme, owed.key.event, at).await;
        assert_eq!(answer, NotRetryable(EventStatus::Pending));
        assert_eq!(f.owed(&acme).await, std::slice::from_ref(&timer));
    }
    assert_eq!(f.retry(&acme, owed.key.event, after(HOUR - 1)).await, Requeued);
}

/// For all events that are neither FAILED nor DLQ: the answer says what they are, and nothing
/// changes.
pub(super) async fn only_failed_and_dead_events_can_be_retried(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let purged = f.post_resolved(&acme, START, EXHAUSTED).await;
    assert_eq!(f.stores().dead_letters.purge(&Scope::All, START).await, Ok(1));
    let delivered = f.post_resolved(&acme, START, DELIVERED).await;
    let pending = f.post(&acme, START).await;
    f.later().await;
    f.heard();
    for (id, status) in [
        (purged, EventStatus::Purged),
        (delivered, EventStatus::Delivered),
        (pending, EventStatus::Pending),
    ] {
        let before = f.detail(&acme, id, after(1)).await;
        assert_eq!(f.retry(&acme, id, after(1)).await, NotRetryable(status));
        assert_eq!(f.detail(&acme, id, after(1)).await, before);
    }
    assert_eq!(f.owed(&acme).await, [fresh(&acme, pending, 0)]);
    assert_eq!(f.heard(), [], "what is refused does not arrive");
}

/// An event of another tenant is no event.
pub(super) async fn a_foreign_event_cannot_be_retried(f: &mut Fixture) {
    let (acme, globex) = (f.tenant("acme").await, f.tenant("globex").await);
    let id = f.post_resolved(&acme, START, EXHAUSTED).await;
    f.later().await;
    f.heard();
    assert_eq!(f.retry(&globex, id, after(1)).await, NotFound);
    assert_eq!(f.retry(&tenant_id("nobody"), id, after(1)).await, NotFound);
    assert_eq!(f.retry(&acme, EventId::MAX, after(1)).await, NotFound);
    assert_eq!(f.status(&acme, id, after(1)).await, Some(EventStatus::Dlq));
    assert_eq!((f.heard(), f.owed(&globex).await), (Vec::new(), Vec::new()));
}

/// When the call returns, the sink has heard of the fresh round.
pub(super) async fn the_sink_hears_of_a_retried_event(f: &mut Fixture) {
    let acme = f.tenant_of_shard("acme", 9).await;
    for resolution in [EXHAUSTED, retry_at(after(HOUR))] {
        let id = f.post_resolved(&acme, START, resolution).await;
        f.later().await;
        f.heard();
        assert_eq!(f.retry(&acme, id, after(SECOND)).await, Requeued);
        let heard = f.heard();
        assert_eq!(heard.len(), 1);
        assert_eq!(heard[0].shard_key, 9);
        // A payload may be told, where it is at hand; then it is the right one.
        if let Some(payload) = &heard[0].owed.payload {
            assert_eq!(*payload, payload_of(id));
        }
        assert_eq!(Owed { payload: None, ..heard[0].owed.clone() }, fresh(&acme, id, 1));
    }
}

/// An attempt that was under way when its event was retried comes too late.
pub(super) async fn an_outcome_of_the_round_before_comes_too_late(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let owed = fresh(&acme, f.post(&acme, START).await, 0);
    f.resolve(&owed, START, retry_at(after(HOUR))).await;
    assert_eq!(f.retry(&acme, owed.key.event, after(SECOND)).await, Requeued);
    f.later().await;
    let timer = waiting(&owed, after(HOUR));
    for resolution in [DELIVERED, EXHAUSTED, retry_at(after(2 * HOUR))] {
        let late = settlement(&timer, after(2 * SECOND), resolution);
        assert_eq!(f.settle(late).await, Settled::Superseded);
    }
    f.later().await;
    assert_eq!(f.owed(&acme).await, [fresh(&acme, owed.key.event, 1)]);
    assert_eq!(f.dead(&Scope::All).await, []);
}
