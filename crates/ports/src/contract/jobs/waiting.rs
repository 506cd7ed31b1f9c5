//! Waiting jobs as timers.

use posthaste_domain::{TimerPosition, Timestamp};

use super::JobFixture;
use super::samples::{
    cut_off, delivery, dying, job, job_of, keys, owed, position, sorted, unsent, waiting,
};
use crate::contract::samples::{ALL_SHARDS, PLENTY, START, after};
use crate::{Job, ShardSpec};

/// What a timer says of its job is what the job says.
pub(super) async fn a_waiting_job_is_owed_as_a_timer(f: &mut JobFixture) {
    let one = job(1, waiting(after(10)));
    f.put_one(&one).await;
    f.later().await;
    let page = f.timers(ALL_SHARDS, TimerPosition::START, Timestamp::MAX, PLENTY).await;
    assert_eq!((page.owed, page.next), (vec![owed(&one)], None));
    // A job that waits on, and was cut off meanwhile.
    let mut again = one;
    (again.interrupted, again.round) = (2, 4);
    f.put_one(&again).await;
    f.later().await;
    assert_eq!(f.timer_pages(ALL_SHARDS, Timestamp::MAX, PLENTY).await, [owed(&again)]);
}

/// Timers come by due time, not in the order in which they were put.
pub(super) async fn timers_are_in_due_order(f: &mut JobFixture) {
    for (n, due) in [(1, 30), (2, 10), (3, 20), (4, 5)] {
        f.put(&[job(n, waiting(after(due)))]).await;
    }
    f.later().await;
    let read = f.timer_pages(ALL_SHARDS, Timestamp::MAX, PLENTY).await;
    let dues: Vec<_> = read.iter().map(|owed| owed.due().millis_since(START)).collect();
    assert_eq!(dues, [5, 10, 20, 30]);
    let same: Vec<_> = [9, 8, 7].map(|n| job(n, waiting(after(40)))).into();
    f.put(&same).await;
    f.later().await;
    let read = f.timers(ALL_SHARDS, TimerPosition { due: after(40), key: None }, after(40), 9);
    let events: Vec<_> = read.await.owed.into_iter().map(|owed| owed.key).collect();
    assert_eq!(events, [7, 8, 9].map(|n| delivery("acme", n)), "of one due time, by event");
}

/// `until` itself belongs to the page, the millisecond after it does not.
pub(super) async fn timers_end_with_until(f: &mut JobFixture) {
    let jobs = [10, 20, 21].map(|due| job(due, waiting(after(due))));
    f.put(&jobs).await;
    f.later().await;
    for (until, count) in [(9, 0), (10, 1), (19, 1), (20, 2), (21, 3)] {
        let read = f.timer_pages(ALL_SHARDS, after(until), PLENTY).await;
        assert_eq!(read.len(), count, "until {until}");
    }
}

/// A page begins after its place, whether or not a timer stands there.
pub(super) async fn timers_begin_after_any_place(f: &mut JobFixture) {
    let jobs = [10, 20, 30].map(|due| job(due, waiting(after(due))));
    f.put(&jobs).await;
    f.later().await;
    let timers = jobs.each_ref().map(owed);
    let nobody = delivery("acme", 1_000);
    let places = [
        (TimerPosition { due: after(10), key: None }, 0),
        (position(&timers[0]), 1),
        (TimerPosition { due: after(10), key: Some(nobody) }, 1),
        (TimerPosition { due: after(15), key: None }, 1),
        (TimerPosition { due: after(20), key: None }, 1),
        (position(&timers[1]), 2),
        (position(&timers[2]), 3),
    ];
    for (from, first) in places {
        let read = f.timers(ALL_SHARDS, from.clone(), Timestamp::MAX, PLENTY).await;
        assert_eq!(read.owed, timers[first..], "{from:?}");
    }
}

/// For all page sizes: pages together are all timers, each once, in order; also of those that are
/// due at the same time.
pub(super) async fn pages_of_timers_leave_nothing_out(f: &mut JobFixture) {
    let mut jobs = Vec::new();
    for (tenant, base) in [("acme", 0), ("beta", 100), ("acme-eu", 200)] {
        for n in 0..7 {
            jobs.push(job_of(delivery(tenant, base + n), waiting(after(10 + n / 3))));
        }
    }
    f.put(&jobs).await;
    f.later().await;
    let timers = sorted(jobs.iter().map(owed).collect());
    for max in [1, 2, 3, 4, 5, 20, 21, 22] {
        let read = f.timer_pages(ALL_SHARDS, after(12), max).await;
        assert!(read.windows(2).all(|pair| pair[0].due() <= pair[1].due()), "by {max}");
        assert_eq!(sorted(read), timers, "by {max}");
    }
}

/// A page that is exactly full and has nothing after it up to `until` is the last.
pub(super) async fn a_full_page_of_timers_can_be_the_last(f: &mut JobFixture) {
    let jobs = [10, 20, 30].map(|due| job(due, waiting(after(due))));
    f.put(&jobs).await;
    f.later().await;
    let timers = jobs.each_ref().map(owed);
    let read = f.timers(ALL_SHARDS, TimerPosition::START, after(29), 2).await;
    assert_eq!((&read.owed[..], read.next), (&timers[..2], None));
    let read = f.timers(ALL_SHARDS, TimerPosition::START, after(30), 2).await;
    assert_eq!((&read.owed[..], read.next), (&timers[..2], Some(position(&timers[1]))));
    let read = f.timers(ALL_SHARDS, position(&timers[1]), after(30), 1).await;
    assert_eq!((&read.owed[..], read.next), (&timers[2..], None));
}

/// A due time may be anything from 1970 to the end of time.
pub(super) async fn timers_reach_from_1970_to_the_end_of_time(f: &mut JobFixture) {
    let dues = [0, 1, START.as_millis(), u64::MAX - 1, u64::MAX];
    let jobs: Vec<_> =
        (0..).zip(dues).map(|(n, due)| job(n, waiting(Timestamp::from_millis(due)))).collect();
    f.put(&jobs).await;
    f.later().await;
    let timers: Vec<_> = jobs.iter().map(owed).collect();
    assert_eq!(f.timer_pages(ALL_SHARDS, Timestamp::MAX, 1).await, timers);
    assert_eq!(f.timer_pages(ALL_SHARDS, Timestamp::ZERO, 9).await, timers[..1]);
}

/// For all numbers of shards: every timer is seen by the one shard that owns it.
pub(super) async fn a_shard_sees_only_its_own(f: &mut JobFixture) {
    let mut jobs: Vec<Job> = Vec::new();
    for (n, shard_key) in (0..).zip([0, 1, 7, u32::MAX, 6, 0, 7]) {
        jobs.push(Job { shard_key, ..job(n, waiting(after(n % 3))) });
    }
    f.put(&jobs).await;
    f.later().await;
    for count in [1, 2, 3, 8] {
        for index in 0..count {
            let shard = ShardSpec { index, count };
            let own = jobs.iter().filter(|job| shard.owns(job.shard_key));
            let own = sorted(own.map(owed).collect());
            for max in [1, 2, PLENTY] {
                let read = f.timer_pages(shard, Timestamp::MAX, max).await;
                assert_eq!(sorted(read), own, "{shard:?} by {max}");
            }
        }
    }
}

/// A job has one timer, at its due time as it is now: also where an earlier or a former one comes
/// back.
pub(super) async fn a_timer_moves_with_its_job(f: &mut JobFixture) {
    for due in [50, 60, 40, 60, 60, 50, 0, 50] {
        let moved = job(1, waiting(after(due)));
        f.put_one(&moved).await;
        f.later().await;
        assert_eq!(f.timer_pages(ALL_SHARDS, Timestamp::MAX, 1).await, [owed(&moved)], "{due}");
    }
}

/// However far timers have been taken, one that is put before that place is found.
pub(super) async fn an_earlier_timer_is_not_passed_over(f: &mut JobFixture) {
    let jobs: Vec<_> = (100..130).map(|n| job(n, waiting(after(n)))).collect();
    f.put(&jobs).await;
    for taken in jobs.chunks(6) {
        f.remove(&keys(taken)).await;
        f.later().await;
    }
    assert_eq!(f.timer_pages(ALL_SHARDS, Timestamp::MAX, PLENTY).await, []);
    let early = job(1, waiting(after(50)));
    f.put_one(&early).await;
    f.later().await;
    assert_eq!(f.timer_pages(ALL_SHARDS, Timestamp::MAX, PLENTY).await, [owed(&early)]);
}

/// A job in another state is no timer, whatever times it has.
pub(super) async fn only_waiting_jobs_are_timers(f: &mut JobFixture) {
    f.put(&[unsent(1), job(2, dying()), job(3, cut_off(after(5)))]).await;
    f.put(&[job(4, waiting(after(9))), job(5, waiting(after(9)))]).await;
    f.later().await;
    f.put(&[unsent(4)]).await;
    f.later().await;
    let timers = f.timer_pages(ALL_SHARDS, Timestamp::MAX, PLENTY).await;
    assert_eq!(timers, [owed(&job(5, waiting(after(9))))]);
}
