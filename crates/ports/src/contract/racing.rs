//! Calls at the same time: what only one of them may win, and what all of them must see.

use std::collections::BTreeSet;

use posthaste_domain::{EventId, EventStatus, OwedAs, Resolution};
use tokio::task::JoinSet;

use super::Fixture;
use super::samples::{
    DELIVERED, EXHAUSTED, HOUR, PLENTY, START, after, claim, fresh, key_hash, new_tenant, retry_at,
    settlement,
};
use crate::{Acceptance, Created, ListQuery, NewEvent, NewTenant, Retried, Scope, Settled};

/// The same key and body, a hundred times at once: one event.
pub(super) async fn one_key_a_hundred_times_is_one_event(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let mut calls = JoinSet::new();
    for _ in 0..100 {
        let event = f.new_event(&acme, START);
        let event = NewEvent { idempotency: claim("key", "body"), ..event };
        let events = f.stores().events.clone();
        calls.spawn(async move { events.accept(vec![event]).await });
    }
    let mut winners = Vec::new();
    let mut replayed = BTreeSet::new();
    for answer in calls.join_all().await {
        match answer.expect("accepting works")[0] {
            Acceptance::Accepted(id) => winners.push(id),
            Acceptance::Replayed(id) => {
                replayed.insert(id);
            }
            other => panic!("{other:?} to the same key and body"),
        }
    }
    assert_eq!(winners.len(), 1, "one call wins");
    assert_eq!(replayed.into_iter().collect::<Vec<_>>(), winners, "all others hear of its event");
    f.later().await;
    assert_eq!(f.owed(&acme).await, [fresh(&acme, winners[0], 0)]);
    assert_eq!(f.heard().len(), 1);
}

/// A hundred different bodies under one key at once: one event, and 99 conflicts.
pub(super) async fn one_key_with_a_hundred_bodies_is_one_event(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let mut calls = JoinSet::new();
    for n in 0..100 {
        let event = f.new_event(&acme, START);
        let event = NewEvent { idempotency: claim("key", &format!("body {n}")), ..event };
        let events = f.stores().events.clone();
        calls.spawn(async move { events.accept(vec![event]).await });
    }
    let answers = calls.join_all().await;
    let conflicts = answers.iter().filter(|a| **a == Ok(vec![Acceptance::Conflict])).count();
    assert_eq!(conflicts, 99, "{answers:?}");
    f.later().await;
    assert_eq!(f.owed(&acme).await.len(), 1);
}

/// For all events that are accepted at the same time: each is stored, and heard of once.
pub(super) async fn events_at_the_same_time_are_all_stored(f: &mut Fixture) {
    let mut expected = BTreeSet::new();
    let mut calls = JoinSet::new();
    for name in ["acme", "globex", "initech", "umbrella"] {
        let tenant = f.tenant(name).await;
        for _ in 0..50 {
            let event = f.new_event(&tenant, START);
            expected.insert((tenant.clone(), event.id));
            let events = f.stores().events.clone();
            calls.spawn(async move { events.accept(vec![event]).await });
        }
    }
    for answer in calls.join_all().await {
        assert!(matches!(answer.expect("accepting works")[..], [Acceptance::Accepted(_)]));
    }
    let heard = f.heard();
    assert_eq!(heard.len(), expected.len(), "each is heard of once");
    let heard: BTreeSet<_> = heard
        .into_iter()
        .map(|arrival| (arrival.owed.key.tenant, arrival.owed.key.event))
        .collect();
    assert_eq!(heard, expected);
    f.later().await;
    for (tenant, id) in expected {
        let status = f.status(&tenant, id, START).await;
        assert_eq!(status, Some(EventStatus::Pending), "{id} of {tenant}");
    }
}

/// Fifty outcomes of one delivery at once: one is taken, and everything agrees on which.
pub(super) async fn one_of_many_outcomes_is_taken(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    for turn in 0..5 {
        let owed = fresh(&acme, f.post(&acme, after(turn)).await, 0);
        let mut calls = JoinSet::new();
        for n in 0..48 {
            let resolution = match n % 3 {
                0 => DELIVERED,
                1 => EXHAUSTED,
                _ => retry_at(after(HOUR + n)),
            };
            let outcome = settlement(&owed, after(n), resolution);
            let journal = f.stores().journal.clone();
            calls.spawn(async move { (resolution, journal.settle(vec![outcome]).await) });
        }
        let answers = calls.join_all().await;
        let mut taken = answers.iter().filter(|(_, a)| *a == Ok(vec![Settled::Settled]));
        let (winner, _) = taken.next().expect("one outcome is taken");
        assert_eq!(taken.count(), 0, "only one is taken: {answers:?}");
        f.later().await;
        let detail = f.detail(&acme, owed.key.event, START).await.expect("it was accepted");
        let left = f.owed(&acme).await;
        let held = left.iter().find(|left| left.key == owed.key).map(|left| left.owed_as);
        let (status, owed_as) = match *winner {
            Resolution::Delivered => (EventStatus::Delivered, None),
            Resolution::Retry { due } => (EventStatus::Failed, Some(OwedAs::Timer(due))),
            Resolution::DeadLettered { .. } => (EventStatus::Dlq, None),
        };
        assert_eq!((detail.summary.status, held), (status, owed_as));
        assert_eq!(detail.log.len(), 1);
    }
}

/// Two requeues at once: each dead letter begins one round, not two.
pub(super) async fn requeues_at_the_same_time_share_the_queue(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let mut ids = Vec::new();
    for n in 0..40 {
        ids.push(f.post_resolved(&acme, after(n), EXHAUSTED).await);
    }
    f.heard();
    let mut calls = JoinSet::new();
    for _ in 0..4 {
        let dead_letters = f.stores().dead_letters.clone();
        calls.spawn(async move { dead_letters.requeue(&Scope::All, 3, 100, after(HOUR)).await });
    }
    let mut requeued = 0;
    for done in calls.join_all().await {
        requeued += done.expect("requeueing works").requeued;
    }
    assert_eq!(requeued, 40);
    assert_eq!(f.heard().len(), 40);
    f.later().await;
    let expected: Vec<_> = ids.iter().map(|id| fresh(&acme, *id, 1)).collect();
    assert_eq!(f.owed(&acme).await, expected);
    assert_eq!(f.dead(&Scope::All).await, []);
}

/// A purge while a requeue and retries run: every dead letter ends in one of the two ways.
pub(super) async fn a_purge_beside_a_requeue_leaves_nothing_in_between(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let mut ids = Vec::new();
    for n in 0..40 {
        ids.push(f.post_resolved(&acme, after(n), EXHAUSTED).await);
    }
    let stores = f.stores().clone();
    let requeue = stores.dead_letters.requeue(&Scope::All, 2, 100, after(HOUR));
    let mut retries = JoinSet::new();
    for id in ids.iter().rev().take(10).copied() {
        let (events, tenant) = (stores.events.clone(), acme.clone());
        retries.spawn(async move { events.retry(&tenant, id, after(HOUR)).await });
    }
    let purge = stores.dead_letters.purge(&Scope::All, after(HOUR));
    let (requeued, purged) = tokio::join!(requeue, purge);
    let retries = retries.join_all().await;
    drop(stores);
    let retried = retries.iter().filter(|answer| **answer == Ok(Retried::Requeued)).count() as u64;
    let (requeued, purged) = (requeued.expect("it works").requeued, purged.expect("it works"));
    assert_eq!(requeued + purged + retried, 40);
    f.later().await;
    assert_eq!(f.dead(&Scope::All).await, []);
    let owed = f.owed(&acme).await;
    assert_eq!(owed.len() as u64, requeued + retried);
    for id in ids {
        let round = owed.iter().find(|owed| owed.key.event == id).map(|owed| owed.round);
        let expected = if round.is_some() { EventStatus::Pending } else { EventStatus::Purged };
        assert_eq!(f.status(&acme, id, after(HOUR)).await, Some(expected));
        assert!(round.is_none_or(|round| round == 1), "{id} began two rounds");
    }
}

/// Twenty tenants of one name at once: one of them is, and the others' keys are nobody's.
pub(super) async fn one_of_many_tenants_of_a_name_is_created(f: &mut Fixture) {
    let mut calls = JoinSet::new();
    for n in 0..20 {
        let key = key_hash(&format!("key {n}"));
        let new = NewTenant { key, ..new_tenant("acme") };
        let tenants = f.stores().tenants.clone();
        calls.spawn(async move { (key, tenants.create(new).await) });
    }
    let mut winners = Vec::new();
    let answers = calls.join_all().await;
    for (key, answer) in &answers {
        if let Ok(Created::Created(_)) = answer {
            winners.push(*key);
        } else {
            assert_eq!(*answer, Ok(Created::AlreadyExists));
        }
    }
    assert_eq!(winners.len(), 1, "one tenant is created");
    f.later().await;
    for (key, _) in answers {
        let identity = f.stores().tenants.identity(&key).await.expect("reading works");
        assert_eq!(identity.is_some(), key == winners[0]);
    }
}

/// For all arrivals: when the sink hears of one, the store has it already.
pub(super) async fn what_is_heard_of_is_stored(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let mut calls = JoinSet::new();
    for _ in 0..100 {
        let event = f.new_event(&acme, START);
        let events = f.stores().events.clone();
        calls.spawn(async move { events.accept(vec![event]).await });
    }
    let (mut heard, mut calling) = (0, true);
    while calling {
        // What is heard after the last call has ended is looked at as well.
        calling = !calls.is_empty();
        while let Some(answer) = calls.try_join_next() {
            assert!(matches!(answer, Ok(Ok(_))), "{answer:?}");
        }
        for arrival in f.heard() {
            let id = arrival.owed.key.event;
            assert!(f.detail(&acme, id, START).await.is_some(), "{id} was heard of too early");
            heard += 1;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(heard, 100);
}

/// A reader beside a writer sees each event either fresh or waiting, never twice and never not.
pub(super) async fn a_move_is_seen_whole(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let ids = f.posts(&acme, 60).await;
    let journal = f.stores().journal.clone();
    let mut writer = JoinSet::new();
    let owed: Vec<_> = ids.iter().map(|id| fresh(&acme, *id, 0)).collect();
    writer.spawn(async move {
        for owed in owed {
            let outcome = settlement(&owed, after(100), retry_at(after(HOUR)));
            let answer = journal.settle(vec![outcome]).await;
            assert_eq!(answer, Ok(vec![Settled::Settled]));
            tokio::task::yield_now().await;
        }
    });
    let query = |status| ListQuery { status, before: None, limit: 100, now: after(100) };
    let mut moving = true;
    while moving {
        if let Some(moved) = writer.try_join_next() {
            moved.expect("every outcome is taken");
            moving = false;
        }
        let page = f.list(&acme, query(None)).await;
        assert_eq!(page.events.len(), ids.len(), "an event is missing while it moves");
        // Read in the direction of the move, so that what moves in between is seen again, not
        // missed.
        let (backlog, _) = f.backlog(&acme, EventId::MIN, PLENTY).await;
        let failed = f.list(&acme, query(Some(EventStatus::Failed))).await;
        assert!(backlog.len() + failed.events.len() >= ids.len(), "an event is in neither place");
    }
    f.later().await;
    assert_eq!(f.owed(&acme).await.len(), ids.len());
}
