//! Putting and removing jobs, and reading them back.

use std::sync::Arc;

use bytes::Bytes;
use posthaste_domain::{EndpointId, TimerPosition, Timestamp};

use super::JobFixture;
use super::samples::{
    cut_off, delivery, dying, job, keys, one_of_each, owed, put, unsent, waiting,
};
use crate::contract::samples::{ALL_SHARDS, PLENTY, after};
use crate::{JobChange, JobState};

/// Changes that are made at the same time in one check.
const AT_ONCE: u64 = 64;

/// A job in any state is read as it was put: every field, and its payload byte for byte.
pub(super) async fn a_job_is_as_it_was_put(f: &mut JobFixture) {
    let jobs = one_of_each();
    f.put(&jobs).await;
    f.later().await;
    for (read, job) in f.jobs(&keys(&jobs)).await.into_iter().zip(jobs) {
        assert_eq!(read, Some(job));
    }
}

/// Whatever a job was, in its round or an earlier one, it is what was put last.
pub(super) async fn a_put_takes_the_place_of_what_was(f: &mut JobFixture) {
    let states = [dying(), waiting(after(10)), cut_off(after(20)), unsent(1).state];
    for before in &states {
        for now in &states {
            for later in [0, 1] {
                let first = job(1, before.clone());
                f.put_one(&first).await;
                f.later().await;
                let mut next = job(1, now.clone());
                next.round += later;
                f.put_one(&next).await;
                f.later().await;
                assert_eq!(f.job(&next.key).await.as_ref(), Some(&next));
                f.remove(std::slice::from_ref(&first.key)).await;
            }
        }
    }
}

/// For all states of both: what is put or ended for an earlier round leaves a job as it is, and is
/// found nowhere; what is ended for its own round, or a later one, is gone.
pub(super) async fn an_earlier_round_says_nothing_about_a_later_one(f: &mut JobFixture) {
    let states = [dying(), waiting(after(10)), cut_off(after(20)), unsent(1).state];
    for late in &states {
        for state in &states {
            let (earlier, mut stands) = (job(1, late.clone()), job(1, state.clone()));
            stands.round += 1;
            let key = stands.key.clone();
            f.put_one(&stands).await;
            f.later().await;
            f.apply(vec![put(&earlier), JobChange::End(key.clone(), earlier.round)]).await;
            f.later().await;
            assert_eq!(f.job(&key).await.as_ref(), Some(&stands));
            // The same within one call.
            f.remove(std::slice::from_ref(&key)).await;
            f.apply(vec![put(&stands), put(&earlier)]).await;
            assert_eq!(f.job(&key).await.as_ref(), Some(&stands));
            let found = f.timer_pages(ALL_SHARDS, Timestamp::MAX, PLENTY).await.len()
                + f.outbox_pages(PLENTY).await.len();
            assert_eq!(found, usize::from(!matches!(state, JobState::CutOff { .. })));
            let round = stands.round + u32::from(late == state);
            f.apply(vec![JobChange::End(key.clone(), round)]).await;
            f.later().await;
            assert_eq!(f.job(&key).await, None);
        }
    }
}

/// A removed job is found nowhere; removing what is not there is nothing.
pub(super) async fn a_removed_job_is_gone_from_every_view(f: &mut JobFixture) {
    let (jobs, stays) = (one_of_each(), job(100, waiting(after(30))));
    f.put(&jobs).await;
    f.put_one(&stays).await;
    f.later().await;
    f.remove(&keys(&jobs)).await;
    f.remove(&[jobs[0].key.clone(), delivery("nobody", 1)]).await;
    f.later().await;
    assert_eq!(f.jobs(&keys(&jobs)).await, vec![None; jobs.len()]);
    assert_eq!(f.timer_pages(ALL_SHARDS, Timestamp::MAX, PLENTY).await, [owed(&stays)]);
    assert_eq!(f.outbox_pages(PLENTY).await, []);
    assert_eq!(f.store().forget_cut_off(Timestamp::MAX, PLENTY).await, Ok(0));
}

/// For all numbers of times: what was removed and is put again, just as it was, is there as if it
/// had never been away, and goes as if it had never been there.
pub(super) async fn a_job_can_come_again(f: &mut JobFixture) {
    let jobs = one_of_each();
    let timers: Vec<_> = [&jobs[0], &jobs[8]].map(owed).into();
    for _ in 0..4 {
        f.put(&jobs).await;
        f.later().await;
        let found: Vec<_> = f.jobs(&keys(&jobs)).await.into_iter().flatten().collect();
        assert_eq!(found, jobs);
        assert_eq!(f.timer_pages(ALL_SHARDS, Timestamp::MAX, 1).await, timers);
        f.remove(&keys(&jobs)).await;
        f.later().await;
        assert_eq!(f.timer_pages(ALL_SHARDS, Timestamp::MAX, 1).await, []);
        assert_eq!(f.outbox_pages(1).await, []);
    }
}

/// Of several changes of one delivery in one call the last one stands, and leaves no trace of the
/// others.
pub(super) async fn changes_take_effect_in_order(f: &mut JobFixture) {
    let (first, second) = (job(1, waiting(after(10))), job(2, waiting(after(20))));
    let (gone, last) = (unsent(1), job(2, dying()));
    f.apply(vec![
        put(&first),
        put(&second),
        JobChange::Remove(second.key.clone()),
        put(&gone),
        JobChange::Remove(first.key.clone()),
        put(&job(2, cut_off(after(5)))),
        put(&last),
        JobChange::Remove(delivery("acme", 3)),
        put(&job(3, waiting(after(40)))),
        put(&job(3, waiting(after(30)))),
    ])
    .await;
    f.later().await;
    let third = job(3, waiting(after(30)));
    let read = f.jobs(&keys(&[first, second, third.clone()])).await;
    assert_eq!(read, [None, Some(last.clone()), Some(third.clone())]);
    assert_eq!(f.timer_pages(ALL_SHARDS, Timestamp::MAX, PLENTY).await, [owed(&third)]);
    assert_eq!(f.outbox_pages(PLENTY).await, [last]);
    assert_eq!(f.store().forget_cut_off(Timestamp::MAX, PLENTY).await, Ok(0));
}

/// For all keys, in any order and as often as asked: the job, or none where there is none.
pub(super) async fn jobs_are_answered_in_order(f: &mut JobFixture) {
    let jobs = [job(1, dying()), job(2, waiting(after(9))), unsent(3)];
    f.put(&jobs).await;
    f.later().await;
    let [one, two, three] = keys(&jobs).try_into().expect("three");
    let asked = [three.clone(), delivery("acme", 9), one, two, delivery("acm", 1), three];
    let [one, two, three] = jobs.map(Some);
    assert_eq!(f.jobs(&asked).await, [three.clone(), None, one, two, None, three]);
    assert_eq!(f.jobs(&[]).await, []);
}

/// One event's deliveries to different endpoints are different jobs.
pub(super) async fn endpoints_of_an_event_are_apart(f: &mut JobFixture) {
    let one = job(1, waiting(after(10)));
    let mut other = job(1, waiting(after(10)));
    other.key.endpoint = EndpointId::from_u16(9);
    other.payload = Some(Bytes::from_static(b"another"));
    f.put(&[one.clone(), other.clone()]).await;
    f.later().await;
    let both = keys(&[one.clone(), other.clone()]);
    assert_eq!(f.jobs(&both).await, [Some(one.clone()), Some(other.clone())]);
    assert_eq!(f.timer_pages(ALL_SHARDS, Timestamp::MAX, 1).await.len(), 2);
    f.remove(&both[..1]).await;
    f.later().await;
    assert_eq!(f.jobs(&both).await, [None, Some(other.clone())]);
    assert_eq!(f.timer_pages(ALL_SHARDS, Timestamp::MAX, 1).await, [owed(&other)]);
}

/// A job that is put without a payload has none, whatever it had before; another payload takes the
/// place of the first.
pub(super) async fn a_job_keeps_no_payload_that_it_was_put_without(f: &mut JobFixture) {
    let with = job(1, waiting(after(10)));
    let mut without = with.clone();
    without.payload = None;
    let mut other = with.clone();
    // As long as the first, so that its length does not tell them apart.
    other.payload = with.payload.as_ref().map(|bytes| vec![b'.'; bytes.len()].into());
    let mut empty = with.clone();
    empty.payload = Some(Bytes::new());
    for job in [&with, &without, &with, &other, &with, &with, &empty, &without] {
        f.put_one(job).await;
        f.later().await;
        assert_eq!(f.job(&job.key).await.as_ref(), Some(job));
    }
    f.remove(std::slice::from_ref(&with.key)).await;
    f.put_one(&without).await;
    assert_eq!(f.job(&with.key).await, Some(without));
}

/// An empty call is answered and does nothing.
pub(super) async fn nothing_to_change_changes_nothing(f: &mut JobFixture) {
    let jobs = one_of_each();
    f.put(&jobs).await;
    f.apply(Vec::new()).await;
    f.later().await;
    let found: Vec<_> = f.jobs(&keys(&jobs)).await.into_iter().flatten().collect();
    assert_eq!(found, jobs);
}

/// Whoever changes jobs at the same time loses nobody's change.
pub(super) async fn changes_at_the_same_time_are_all_made(f: &mut JobFixture) {
    let shared = job(0, waiting(after(1)));
    let mut tasks = tokio::task::JoinSet::new();
    for n in 1..=AT_ONCE {
        let (store, shared) = (Arc::clone(f.store()), shared.clone());
        tasks.spawn(async move {
            let own = job(n, waiting(after(n)));
            store.apply(vec![put(&own), put(&shared)]).await.expect("changing works");
            store.apply(vec![put(&unsent(n))]).await.expect("changing works");
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("nothing panics");
    }
    f.later().await;
    let sent: Vec<_> = (1..=AT_ONCE).map(unsent).collect();
    assert_eq!(f.outbox_pages(PLENTY).await, sent);
    let page = f.timers(ALL_SHARDS, TimerPosition::START, Timestamp::MAX, PLENTY).await;
    assert_eq!(page.owed, [owed(&shared)]);
}
