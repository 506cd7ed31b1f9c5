//! What expires, when, and what never does.

use posthaste_domain::{EventId, EventStatus, TenantId, Timestamp};

use super::Fixture;
use super::samples::{
    DAY, DELIVERED, EXHAUSTED, HOUR, PLENTY, SECOND, START, after, claim, delivery_key, fresh,
    retry_at, settlement, waiting,
};
use crate::{Acceptance, ListQuery, NewEvent, Requeued, Retried, Scope, Settled};

impl Fixture {
    /// Sweeps one millisecond before the end, and then at the end.
    async fn lives_until(&mut self, tenant: &TenantId, id: EventId, end: Timestamp) {
        let before = Timestamp::from_millis(end.as_millis() - 1);
        self.sweep(before).await;
        self.later().await;
        assert!(self.detail(tenant, id, before).await.is_some(), "gone too early");
        self.sweep(end).await;
        self.later().await;
        assert_eq!(self.detail(tenant, id, end).await, None, "still there at its end");
    }
}

/// A DELIVERED event is kept for 30 days from its delivery.
pub(super) async fn a_delivered_event_is_kept_for_30_days(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let owed = fresh(&acme, f.post(&acme, START).await, 0);
    f.resolve(&owed, after(1), retry_at(after(DAY))).await;
    f.resolve(&waiting(&owed, after(DAY)), after(DAY), DELIVERED).await;
    f.later().await;
    f.lives_until(&acme, owed.key.event, after(31 * DAY)).await;
}

/// A DLQ event is kept for 14 days from its death.
pub(super) async fn a_dead_event_is_kept_for_14_days(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let owed = fresh(&acme, f.post(&acme, START).await, 0);
    f.resolve(&owed, after(HOUR), EXHAUSTED).await;
    f.later().await;
    f.lives_until(&acme, owed.key.event, after(14 * DAY + HOUR)).await;
    assert_eq!(f.dead(&Scope::All).await, []);
}

/// A PURGED event is kept for 14 days from the purge.
pub(super) async fn a_purged_event_is_kept_for_14_days(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let id = f.post_resolved(&acme, START, EXHAUSTED).await;
    f.later().await;
    let purged = f.stores().dead_letters.purge(&Scope::All, after(10 * DAY)).await;
    assert_eq!(purged, Ok(1));
    f.later().await;
    f.lives_until(&acme, id, after(24 * DAY)).await;
}

/// For all that is owed: it never expires.
pub(super) async fn what_is_owed_never_expires(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let pending = f.post(&acme, START).await;
    let failed = f.post_resolved(&acme, after(1), retry_at(after(HOUR))).await;
    let far_off = f.post_resolved(&acme, after(2), retry_at(Timestamp::MAX)).await;
    let owed = f.owed(&acme).await;
    f.later().await;
    f.sweep(after(36_500 * DAY)).await;
    f.later().await;
    assert_eq!(f.owed(&acme).await, owed);
    for id in [pending, failed, far_off] {
        assert!(f.detail(&acme, id, START).await.is_some());
    }
}

/// An expired event is gone from every view, with its log and payload, as if it had never been;
/// its neighbours stay.
pub(super) async fn an_expired_event_is_gone_from_every_view(f: &mut Fixture) {
    let (acme, globex) = (f.tenant("acme").await, f.tenant("globex").await);
    let mut gone = Vec::new();
    for resolution in [DELIVERED, EXHAUSTED, EXHAUSTED] {
        gone.push(f.post_resolved(&acme, START, resolution).await);
    }
    let kept = f.post(&acme, START).await;
    let young = f.post_resolved(&acme, after(20 * DAY), EXHAUSTED).await;
    let foreign = f.post_resolved(&globex, after(20 * DAY), EXHAUSTED).await;
    f.later().await;
    let now = after(30 * DAY);
    f.sweep(now).await;
    f.later().await;
    for id in &gone {
        assert_eq!(f.detail(&acme, *id, now).await, None);
        let retried = f.stores().events.retry(&acme, *id, now).await;
        assert_eq!(retried, Ok(Retried::NotFound));
        let late = settlement(&fresh(&acme, *id, 0), now, DELIVERED);
        assert_eq!(f.settle(late).await, Settled::Superseded);
        assert_eq!(f.detail(&acme, *id, now).await, None);
    }
    for status in [None, Some(EventStatus::Delivered), Some(EventStatus::Dlq)] {
        let page = f.list(&acme, ListQuery { status, before: None, limit: 100, now }).await;
        let listed: Vec<_> = page.events.into_iter().map(|event| event.id).collect();
        let expected: &[EventId] = match status {
            None => &[young, kept],
            Some(EventStatus::Dlq) => &[young],
            Some(_) => &[],
        };
        assert_eq!(listed, expected, "{status:?}");
    }
    let keys: Vec<_> = gone.iter().map(|id| delivery_key(&acme, *id)).collect();
    assert_eq!(f.stores().journal.payloads(&keys).await, Ok(vec![None; gone.len()]));
    let dead: Vec<_> = f.dead(&Scope::All).await.into_iter().map(|l| l.event).collect();
    assert_eq!(dead, [young, foreign]);
}

/// A requeue or a retry takes the end away; only the next final status sets another.
pub(super) async fn a_fresh_round_takes_the_end_away(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let requeued = f.post_resolved(&acme, START, EXHAUSTED).await;
    let done = f.stores().dead_letters.requeue(&Scope::All, 10, 10, after(DAY)).await;
    assert_eq!(done, Ok(Requeued { requeued: 1, failed: 0 }));
    let retried = f.post_resolved(&acme, after(1), EXHAUSTED).await;
    let done = f.stores().events.retry(&acme, retried, after(DAY)).await;
    assert_eq!(done, Ok(Retried::Requeued));
    f.later().await;
    f.sweep(after(100 * DAY)).await;
    f.later().await;
    assert_eq!(f.owed(&acme).await, [fresh(&acme, requeued, 1), fresh(&acme, retried, 1)]);
    f.resolve(&fresh(&acme, requeued, 1), after(100 * DAY), DELIVERED).await;
    f.resolve(&fresh(&acme, retried, 1), after(101 * DAY), EXHAUSTED).await;
    f.later().await;
    f.lives_until(&acme, retried, after(115 * DAY)).await;
    f.lives_until(&acme, requeued, after(130 * DAY)).await;
}

/// A sweep takes no more than it was told to, and says how much it took, so that small steps
/// come to the end.
pub(super) async fn a_sweep_is_as_small_as_one_wants(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    for n in 0..7 {
        f.post_resolved(&acme, after(n), DELIVERED).await;
    }
    f.later().await;
    let now = after(31 * DAY);
    for left in [5, 3, 1, 0] {
        let swept = f.stores().expiry.sweep(now, 2).await.expect("sweeping works");
        assert!((1..=2).contains(&swept), "{swept} swept, {left} should be left");
        let query = ListQuery { status: None, before: None, limit: 100, now };
        assert_eq!(f.list(&acme, query).await.events.len(), left);
        f.later().await;
    }
    assert_eq!(f.stores().expiry.sweep(now, 2).await, Ok(0));
}

/// A sweep with nothing to take takes nothing.
pub(super) async fn a_sweep_of_nothing_takes_nothing(f: &mut Fixture) {
    assert_eq!(f.stores().expiry.sweep(Timestamp::MAX, PLENTY).await, Ok(0));
    let acme = f.tenant("acme").await;
    let id = f.post_resolved(&acme, START, DELIVERED).await;
    f.later().await;
    assert_eq!(f.stores().expiry.sweep(after(29 * DAY), PLENTY).await, Ok(0));
    assert_eq!(f.status(&acme, id, START).await, Some(EventStatus::Delivered));
}

/// A sweep takes claims that are over, and none that still holds; tenants, keys and settings
/// never expire.
pub(super) async fn a_sweep_takes_claims_that_are_over(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let first = NewEvent { idempotency: claim("key", "body"), ..f.new_event(&acme, START) };
    let id = first.id;
    f.accept(vec![first]).await;
    assert_eq!(f.stores().tenants.set_setting("name", b"value").await, Ok(()));
    f.later().await;
    f.sweep(after(DAY - SECOND)).await;
    let again = f.new_event(&acme, after(DAY - SECOND));
    let again = NewEvent { idempotency: claim("key", "body"), ..again };
    assert_eq!(f.accept(vec![again]).await, [Acceptance::Replayed(id)]);
    f.sweep(after(DAY)).await;
    f.later().await;
    let anew = f.new_event(&acme, after(DAY));
    let anew = NewEvent { idempotency: claim("key", "changed"), ..anew };
    let second = anew.id;
    assert_eq!(f.accept(vec![anew]).await, [Acceptance::Accepted(second)]);
    f.sweep(after(36_500 * DAY)).await;
    assert_eq!(f.owed(&acme).await, [fresh(&acme, id, 0), fresh(&acme, second, 0)]);
    assert!(f.stores().tenants.tenant(&acme).await.expect("reading works").is_some());
    assert_eq!(f.stores().tenants.setting("name").await, Ok(Some(b"value".to_vec())));
}
