//! The DLQ: looking, requeueing, purging, and whose it is.

use posthaste_domain::{
    DeadLetterCause, EventId, EventStatus, Owed, Resolution, Settlement, TenantId,
};

use super::Fixture;
use super::samples::{
    EXHAUSTED, HOUR, SECOND, START, after, fresh, payload_of, retry_at, settlement, waiting,
};
use crate::{DeadLetter, Requeued, Scope, Settled};

impl Fixture {
    /// Dead letters, a millisecond apart, oldest first.
    async fn dead_events(&mut self, tenant: &TenantId, count: u64) -> Vec<EventId> {
        let mut ids = Vec::new();
        for n in 0..count {
            ids.push(self.post_resolved(tenant, after(n), EXHAUSTED).await);
        }
        ids
    }

    async fn requeue(&self, scope: &Scope, batch: usize, max: usize) -> Requeued {
        let done = self.stores().dead_letters.requeue(scope, batch, max, after(HOUR)).await;
        done.expect("requeueing works")
    }

    async fn purge(&self, scope: &Scope) -> u64 {
        let done = self.stores().dead_letters.purge(scope, after(HOUR)).await;
        done.expect("purging works")
    }

    async fn dead_ids(&self, scope: &Scope) -> Vec<EventId> {
        self.dead(scope).await.into_iter().map(|letter| letter.event).collect()
    }
}

const fn all_of(requeued: u64) -> Requeued {
    Requeued { requeued, failed: 0 }
}

/// For all causes: a dead letter says why, when, and what the last attempt said.
pub(super) async fn a_dead_letter_says_why(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let mut expected = Vec::new();
    for (n, cause) in (0..).zip(DeadLetterCause::ALL) {
        let owed = fresh(&acme, f.post(&acme, after(n)).await, 0);
        f.resolve(&owed, after(SECOND), retry_at(after(HOUR))).await;
        let timer = waiting(&owed, after(HOUR));
        let at = after(HOUR + n);
        f.resolve(&timer, at, Resolution::DeadLettered { cause }).await;
        let code = if cause == DeadLetterCause::Gone { 410 } else { 503 };
        expected.push(DeadLetter {
            tenant: acme.clone(),
            event: owed.key.event,
            cause,
            attempts: 2,
            round: 0,
            error: Some(format!("attempt 2 was answered {code}").into()),
            at,
        });
    }
    f.later().await;
    assert_eq!(f.dead(&Scope::All).await, expected);
    assert_eq!(f.dead(&Scope::Tenant(acme)).await, expected);
}

/// A delivery can die without an attempt; then its letter has no error to tell.
pub(super) async fn a_dead_letter_without_an_attempt_has_no_error(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let owed = fresh(&acme, f.post(&acme, START).await, 0);
    let resolution = Resolution::DeadLettered { cause: DeadLetterCause::Poison };
    let poison = settlement(&owed, after(SECOND), resolution);
    let poison = Settlement { attempts: 0, attempt: None, ..poison };
    assert_eq!(f.settle(poison).await, Settled::Settled);
    f.later().await;
    let letters = f.dead(&Scope::All).await;
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].attempts, &letters[0].error), (0, &None));
    assert_eq!((letters[0].cause, letters[0].at), (DeadLetterCause::Poison, after(SECOND)));
}

/// The oldest come first, by event id and not by time of death, and no more than were asked for.
pub(super) async fn the_oldest_dead_letters_come_first(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let mut ids = Vec::new();
    for at in [30, 10, 20, 50, 40] {
        ids.push(f.post_resolved(&acme, after(at), EXHAUSTED).await);
    }
    ids.sort_unstable();
    f.later().await;
    for limit in [1, 2, 5, 10] {
        for scope in [Scope::All, Scope::Tenant(acme.clone())] {
            let letters = f.stores().dead_letters.list(&scope, limit).await;
            let letters = letters.expect("looking works");
            let seen: Vec<_> = letters.into_iter().map(|letter| letter.event).collect();
            assert_eq!(seen, ids[..limit.min(5)], "{limit} of {scope:?}");
        }
    }
}

/// Looking hides and deletes nothing, however often.
pub(super) async fn looking_changes_nothing(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let ids = f.dead_events(&acme, 3).await;
    f.heard();
    let first = f.dead(&Scope::All).await;
    f.later().await;
    for _ in 0..3 {
        assert_eq!(f.dead(&Scope::All).await, first);
    }
    assert_eq!(first.len(), 3);
    for id in ids {
        assert_eq!(f.status(&acme, id, after(1)).await, Some(EventStatus::Dlq));
    }
    assert_eq!((f.owed(&acme).await, f.heard()), (Vec::new(), Vec::new()));
}

/// The admin sees everybody's, tenant by tenant.
pub(super) async fn the_admin_sees_everybodys(f: &mut Fixture) {
    let (globex, acme) = (f.tenant("globex").await, f.tenant("acme").await);
    let theirs = f.dead_events(&globex, 2).await;
    let mine = f.dead_events(&acme, 2).await;
    f.later().await;
    let seen: Vec<_> = f.dead(&Scope::All).await.into_iter().map(|l| (l.tenant, l.event)).collect();
    let own = |tenant: &TenantId, ids: &[EventId]| -> Vec<_> {
        ids.iter().map(|id| (tenant.clone(), *id)).collect()
    };
    assert_eq!(seen, [own(&acme, &mine), own(&globex, &theirs)].concat());
}

/// For all pairs of tenants: neither sees, requeues or purges the other's.
pub(super) async fn a_tenant_reaches_only_its_own(f: &mut Fixture) {
    let names = ["acme", "acme-", "acme-2", "acm"];
    let mut dead = Vec::new();
    for name in names {
        let tenant = f.tenant(name).await;
        dead.push((tenant.clone(), f.dead_events(&tenant, 2).await));
    }
    f.later().await;
    for (tenant, ids) in &dead {
        assert_eq!(f.dead_ids(&Scope::Tenant(tenant.clone())).await, *ids, "{tenant}");
    }
    let (acme, purged) = (&dead[0], &dead[2]);
    assert_eq!(f.requeue(&Scope::Tenant(acme.0.clone()), 10, 100).await, all_of(2));
    assert_eq!(f.purge(&Scope::Tenant(purged.0.clone())).await, 2);
    f.later().await;
    for ((tenant, ids), status) in dead.iter().zip([
        EventStatus::Pending,
        EventStatus::Dlq,
        EventStatus::Purged,
        EventStatus::Dlq,
    ]) {
        for id in ids {
            assert_eq!(f.status(tenant, *id, after(HOUR)).await, Some(status), "{tenant}");
        }
    }
}

/// Requeued events are owed at once, in their next round, with their log.
pub(super) async fn a_requeue_begins_a_fresh_round(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let ids = f.dead_events(&acme, 3).await;
    f.later().await;
    assert_eq!(f.requeue(&Scope::Tenant(acme.clone()), 10, 100).await, all_of(3));
    f.later().await;
    assert_eq!(f.dead(&Scope::All).await, []);
    let expected: Vec<_> = ids.iter().map(|id| fresh(&acme, *id, 1)).collect();
    assert_eq!(f.owed(&acme).await, expected);
    for id in ids {
        let detail = f.detail(&acme, id, after(HOUR)).await.expect("it was accepted");
        assert_eq!((detail.summary.status, detail.summary.attempts), (EventStatus::Pending, 0));
        assert_eq!((detail.log.len(), detail.log[0].round), (1, 0));
        f.resolve(&fresh(&acme, id, 1), after(HOUR), EXHAUSTED).await;
    }
    f.later().await;
    let letters = f.dead(&Scope::All).await;
    assert!(letters.iter().all(|letter| (letter.round, letter.attempts) == (1, 1)));
    assert_eq!(letters.len(), 3);
}

/// For all batch sizes: the oldest are requeued, as many as were asked for.
pub(super) async fn a_requeue_takes_the_oldest(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let mut left = f.dead_events(&acme, 20).await;
    for (batch, max, taken) in [(1, 3, 3), (2, 5, 5), (10, 4, 4), (3, 1, 1), (4, 100, 7)] {
        f.later().await;
        assert_eq!(f.requeue(&Scope::All, batch, max).await, all_of(taken), "{max} by {batch}");
        left.drain(..usize::try_from(taken).expect("a handful"));
        assert_eq!(f.dead_ids(&Scope::All).await, left);
    }
    assert_eq!(f.requeue(&Scope::All, 10, 100).await, all_of(0));
    assert_eq!(f.owed(&acme).await.len(), 20);
}

/// When the call returns, the sink has heard of each requeued event, once.
pub(super) async fn the_sink_hears_of_requeued_events(f: &mut Fixture) {
    let acme = f.tenant_of_shard("acme", 5).await;
    let ids = f.dead_events(&acme, 5).await;
    f.later().await;
    f.heard();
    assert_eq!(f.requeue(&Scope::All, 2, 4).await, all_of(4));
    let mut heard = f.heard();
    heard.sort_by_key(|arrival| arrival.owed.key.event);
    assert_eq!(heard.len(), 4);
    for (arrival, id) in heard.into_iter().zip(ids) {
        assert_eq!(arrival.shard_key, 5);
        if let Some(payload) = &arrival.owed.payload {
            assert_eq!(*payload, payload_of(id));
        }
        assert_eq!(Owed { payload: None, ..arrival.owed }, fresh(&acme, id, 1));
    }
}

/// Purged events are out of the DLQ for good, and still there to be read.
pub(super) async fn a_purge_empties_the_queue_for_good(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let ids = f.dead_events(&acme, 12).await;
    let alive = f.post_resolved(&acme, after(50), retry_at(after(HOUR))).await;
    let globex = f.tenant("globex").await;
    f.dead_events(&globex, 3).await;
    let before = f.detail(&acme, ids[0], after(1)).await.expect("it was accepted");
    f.later().await;
    assert_eq!(f.purge(&Scope::All).await, 15);
    f.later().await;
    assert_eq!(f.dead(&Scope::All).await, []);
    assert_eq!(f.purge(&Scope::All).await, 0);
    assert_eq!(f.requeue(&Scope::All, 10, 100).await, all_of(0));
    for id in &ids {
        assert_eq!(f.status(&acme, *id, after(1)).await, Some(EventStatus::Purged));
    }
    let now = f.detail(&acme, ids[0], after(1)).await.expect("it was accepted");
    assert_eq!((now.log, now.payload), (before.log, before.payload));
    assert_eq!((now.error, now.summary.attempts), (before.error, before.summary.attempts));
    let owed = f.owed(&acme).await;
    assert_eq!(owed, [waiting(&fresh(&acme, alive, 0), after(HOUR))]);
}
