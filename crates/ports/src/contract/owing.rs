//! Reading what is owed: backlogs, timers, payloads, and the endpoints that have fresh deliveries.

use posthaste_domain::{
    DeliveryKey, EndpointId, EventId, Owed, TenantId, TimerPosition, Timestamp,
};

use super::Fixture;
use super::samples::{
    ALL_SHARDS, DELIVERED, EXHAUSTED, HOUR, PLENTY, SECOND, START, after, delivery_key, fresh,
    payload_of, retry_at, tenant_id, waiting,
};
use crate::{OwedEndpoint, ShardSpec};

impl Fixture {
    /// Posts an event that waits for a retry at `due`.
    async fn post_waiting(&mut self, tenant: &TenantId, due: Timestamp) -> Owed {
        let id = self.post_resolved(tenant, START, retry_at(due)).await;
        waiting(&fresh(tenant, id, 0), due)
    }

    async fn endpoints(&self, shard: ShardSpec) -> Vec<OwedEndpoint> {
        let endpoints = self.stores().journal.owed_endpoints(shard).await;
        let mut endpoints = endpoints.expect("reading endpoints works");
        endpoints.sort_by(|a, b| a.tenant.cmp(&b.tenant));
        endpoints
    }

    /// All pages of a shard's timers.
    async fn timer_pages(&self, shard: ShardSpec, until: Timestamp, max: usize) -> Vec<Owed> {
        let mut all: Vec<Owed> = Vec::new();
        let mut from = TimerPosition::START;
        loop {
            let page = self.stores().journal.timers(shard, from, until, max).await;
            let page = page.expect("reading timers works");
            let last = page.owed.last().map(position);
            all.extend(page.owed.iter().cloned());
            let Some(next) = page.next else {
                assert!(page.owed.len() <= max, "a page is longer than was asked for");
                return all;
            };
            assert_eq!(page.owed.len(), max, "a page that was cut is full");
            assert_eq!(Some(&next), last.as_ref(), "the next page begins after this one's last");
            assert!(all.len() < PLENTY, "the pages have no end");
            from = next;
        }
    }
}

fn position(owed: &Owed) -> TimerPosition {
    TimerPosition { due: owed.due(), key: Some(owed.key.clone()) }
}

/// In the order that every store has in common: due time, then tenant, then age.
fn sorted(mut timers: Vec<Owed>) -> Vec<Owed> {
    timers.sort_by_key(position);
    timers
}

fn endpoint(tenant: &TenantId, first: EventId) -> OwedEndpoint {
    OwedEndpoint { tenant: tenant.clone(), endpoint: EndpointId::DEFAULT, first }
}

/// For all backlogs: in event-id order, whatever the order of storing, and without payloads.
pub(super) async fn a_backlog_is_in_the_order_of_age(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let mut posted = Vec::new();
    for n in [5, 1, 9, 3, 7] {
        posted.push(f.post(&acme, after(n)).await);
    }
    posted.sort_unstable();
    f.later().await;
    let expected: Vec<_> = posted.iter().map(|id| fresh(&acme, *id, 0)).collect();
    assert_eq!(f.backlog(&acme, EventId::MIN, PLENTY).await, (expected, true));
}

/// For all places: a backlog begins with the first delivery at or after `from`.
pub(super) async fn a_backlog_begins_at_any_id(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let posted = f.posts(&acme, 5).await;
    f.later().await;
    for (from, first) in [
        (EventId::MIN, 0),
        (posted[0], 0),
        (posted[2], 2),
        (EventId::from_u128(posted[2].as_u128() + 1), 3),
        (EventId::from_u128(posted[2].as_u128() - 1), 2),
        (posted[4], 4),
        (EventId::MAX, 5),
    ] {
        let expected: Vec<_> = posted[first..].iter().map(|id| fresh(&acme, *id, 0)).collect();
        assert_eq!(f.backlog(&acme, from, PLENTY).await, (expected, true), "from {from}");
    }
}

/// For all limits: a backlog is exhausted where nothing follows, and only there.
pub(super) async fn a_backlog_is_exhausted_where_nothing_follows(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let next_door = f.tenant("acme-2").await;
    let posted = f.posts(&acme, 5).await;
    f.posts(&next_door, 2).await;
    f.post_waiting(&acme, after(HOUR)).await;
    f.later().await;
    for max in 1..=6 {
        let expected: Vec<_> = posted.iter().take(max).map(|id| fresh(&acme, *id, 0)).collect();
        assert_eq!(f.backlog(&acme, EventId::MIN, max).await, (expected, max >= 5), "max {max}");
    }
}

/// A backlog shrinks from its head as it is worked off, and holds nothing but fresh deliveries.
pub(super) async fn a_backlog_holds_only_what_is_fresh(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let posted = f.posts(&acme, 8).await;
    let outcomes = [DELIVERED, retry_at(after(HOUR)), EXHAUSTED, DELIVERED];
    for (done, resolution) in (1..).zip(outcomes) {
        f.resolve(&fresh(&acme, posted[done - 1], 0), after(SECOND), resolution).await;
        f.later().await;
        let left: Vec<_> = posted[done..].iter().map(|id| fresh(&acme, *id, 0)).collect();
        assert_eq!(f.backlog(&acme, EventId::MIN, PLENTY).await, (left, true));
    }
}

/// An endpoint that does not exist owes nothing.
pub(super) async fn another_endpoint_has_no_backlog(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let id = f.post(&acme, START).await;
    let other = EndpointId::from_u16(1);
    let read = f.stores().journal.backlog(&acme, other, EventId::MIN, PLENTY).await;
    let read = read.expect("reading a backlog works");
    assert_eq!((read.owed, read.exhausted), (Vec::new(), true));
    assert_eq!(f.owed(&acme).await, [fresh(&acme, id, 0)]);
}

/// For all timers: in due order, without payloads, and with the attempts made so far.
pub(super) async fn timers_are_in_due_order(f: &mut Fixture) {
    let (acme, globex) = (f.tenant("acme").await, f.tenant("globex").await);
    let mut timers = Vec::new();
    for (tenant, due) in [(&acme, 50), (&globex, 20), (&acme, 10), (&globex, 40), (&acme, 30)] {
        timers.push(f.post_waiting(tenant, after(due)).await);
    }
    f.later().await;
    let read = f.timers(TimerPosition::START, Timestamp::MAX, PLENTY).await;
    assert_eq!((read.owed, read.next), (sorted(timers), None));
}

/// Timers are read up to and with `until`.
pub(super) async fn timers_end_with_until(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let mut timers = Vec::new();
    for due in [10, 20, 30] {
        timers.push(f.post_waiting(&acme, after(due)).await);
    }
    f.later().await;
    for (until, count) in [(0, 0), (9, 0), (10, 1), (19, 1), (20, 2), (30, 3), (31, 3)] {
        let read = f.timers(TimerPosition::START, after(until), PLENTY).await;
        let expected = timers[..count].to_vec();
        assert_eq!((read.owed, read.next), (expected, None), "until {until}");
    }
}

/// For all places, whether or not a timer is there: timers are read from after it.
pub(super) async fn timers_begin_after_any_place(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let mut timers = Vec::new();
    for due in [10, 20, 20, 20, 30] {
        timers.push(f.post_waiting(&acme, after(due)).await);
    }
    f.later().await;
    let at = |due, key| TimerPosition { due: after(due), key };
    let beside = |owed: &Owed, up: bool| {
        let number = owed.key.event.as_u128();
        let event = EventId::from_u128(if up { number + 1 } else { number - 1 });
        let endpoint = EndpointId::from_u16(if up { 0 } else { u16::MAX });
        Some(DeliveryKey { event, endpoint, ..owed.key.clone() })
    };
    for (from, skipped) in [
        (at(10, None), 0),
        (position(&timers[0]), 1),
        (at(20, None), 1),
        (at(20, beside(&timers[2], false)), 2),
        (position(&timers[2]), 3),
        (at(20, beside(&timers[3], true)), 4),
        (at(21, None), 4),
        (position(&timers[4]), 5),
        (at(31, None), 5),
    ] {
        let read = f.timers(from.clone(), Timestamp::MAX, PLENTY).await;
        let expected = timers[skipped..].to_vec();
        assert_eq!((read.owed, read.next), (expected, None), "after {from:?}");
    }
}

/// For all page sizes: every timer is on exactly one page, also where many are due in one
/// millisecond, of several tenants.
pub(super) async fn pages_of_timers_leave_nothing_out(f: &mut Fixture) {
    let names = ["acme", "acme-2", "globex"];
    let mut timers = Vec::new();
    for name in names {
        let tenant = f.tenant(name).await;
        for due in [10, 10, 10, 10, 11, 11, 12] {
            timers.push(f.post_waiting(&tenant, after(due)).await);
        }
    }
    let timers = sorted(timers);
    f.later().await;
    for max in [1, 2, 3, 4, 5, 20, 21, 22] {
        let read = f.timer_pages(ALL_SHARDS, after(12), max).await;
        assert!(read.windows(2).all(|pair| pair[0].due() <= pair[1].due()), "by {max}");
        assert_eq!(sorted(read), timers, "by {max}");
    }
}

/// A page that is exactly full and has nothing after it up to `until` is the last.
pub(super) async fn a_full_page_of_timers_can_be_the_last(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let mut timers = Vec::new();
    for due in [10, 20, 30] {
        timers.push(f.post_waiting(&acme, after(due)).await);
    }
    f.later().await;
    let read = f.timers(TimerPosition::START, after(29), 2).await;
    assert_eq!((&read.owed[..], read.next), (&timers[..2], None));
    let read = f.timers(TimerPosition::START, after(30), 2).await;
    assert_eq!((&read.owed[..], read.next), (&timers[..2], Some(position(&timers[1]))));
    let read = f.timers(position(&timers[1]), after(30), 1).await;
    assert_eq!((&read.owed[..], read.next), (&timers[2..], None));
}

/// A due time may be anything from 1970 to the end of time.
pub(super) async fn timers_reach_from_1970_to_the_end_of_time(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let year_9999 = 253_402_300_799_999;
    let dues = [0, 1, START.as_millis(), year_9999, u64::MAX - 1, u64::MAX];
    let mut timers = Vec::new();
    for due in dues {
        timers.push(f.post_waiting(&acme, Timestamp::from_millis(due)).await);
    }
    f.later().await;
    assert_eq!(f.timer_pages(ALL_SHARDS, Timestamp::MAX, 1).await, timers);
    assert_eq!(f.timer_pages(ALL_SHARDS, Timestamp::ZERO, 9).await, timers[..1]);
    assert_eq!(f.timer_pages(ALL_SHARDS, after(0), 9).await, timers[..3]);
    assert_eq!(f.owed(&acme).await, timers);
}

/// For all numbers of shards: every timer and every endpoint is seen by the one shard that owns
/// its tenant.
pub(super) async fn a_shard_sees_only_its_own(f: &mut Fixture) {
    let (mut timers, mut endpoints) = (Vec::new(), Vec::new());
    for (name, shard_key) in [("aaa", 0), ("bbb", 1), ("ccc", 7), ("ddd", u32::MAX), ("eee", 6)] {
        let tenant = f.tenant_of_shard(name, shard_key).await;
        for due in [10, 20] {
            timers.push((shard_key, f.post_waiting(&tenant, after(due)).await));
        }
        let first = f.post(&tenant, after(1)).await;
        endpoints.push((shard_key, endpoint(&tenant, first)));
    }
    f.later().await;
    for count in [1, 2, 3, 8] {
        for index in 0..count {
            let shard = ShardSpec { index, count };
            let own = timers.iter().filter(|(key, _)| shard.owns(*key));
            let own = sorted(own.map(|(_, owed)| owed.clone()).collect());
            for max in [1, 2, PLENTY] {
                let read = f.timer_pages(shard, Timestamp::MAX, max).await;
                assert_eq!(sorted(read), own, "{shard:?} by {max}");
            }
            let own = endpoints.iter().filter(|(key, _)| shard.owns(*key));
            let own: Vec<_> = own.map(|(_, endpoint)| endpoint.clone()).collect();
            assert_eq!(f.endpoints(shard).await, own, "{shard:?}");
        }
    }
}

/// An endpoint is owed from its oldest fresh delivery on, and not at all when it has none.
pub(super) async fn an_endpoint_is_owed_from_its_oldest_fresh_delivery(f: &mut Fixture) {
    let (acme, globex) = (f.tenant("acme").await, f.tenant("globex").await);
    f.tenant("idle").await;
    let mine = f.posts(&acme, 3).await;
    let other = f.post(&globex, START).await;
    f.post_waiting(&tenant_id("idle"), after(HOUR)).await;
    f.later().await;
    let read = f.endpoints(ALL_SHARDS).await;
    assert_eq!(read, [endpoint(&acme, mine[0]), endpoint(&globex, other)]);
    f.resolve(&fresh(&acme, mine[1], 0), after(SECOND), DELIVERED).await;
    f.resolve(&fresh(&acme, mine[0], 0), after(SECOND), retry_at(after(HOUR))).await;
    f.resolve(&fresh(&globex, other, 0), after(SECOND), EXHAUSTED).await;
    f.later().await;
    assert_eq!(f.endpoints(ALL_SHARDS).await, [endpoint(&acme, mine[2])]);
    f.resolve(&fresh(&acme, mine[2], 0), after(SECOND), DELIVERED).await;
    f.later().await;
    assert_eq!(f.endpoints(ALL_SHARDS).await, []);
}

/// For all keys, in any order and as often as asked: the payload, or none where there is no such
/// delivery.
pub(super) async fn payloads_are_answered_in_order(f: &mut Fixture) {
    let (acme, globex) = (f.tenant("acme").await, f.tenant("globex").await);
    let mine = f.posts(&acme, 3).await;
    let other = f.post_resolved(&globex, START, DELIVERED).await;
    f.later().await;
    let keys = [
        delivery_key(&acme, mine[2]),
        delivery_key(&globex, mine[0]),
        delivery_key(&globex, other),
        delivery_key(&acme, mine[0]),
        delivery_key(&tenant_id("nobody"), mine[0]),
        delivery_key(&acme, EventId::MAX),
        delivery_key(&acme, mine[2]),
    ];
    let read = f.stores().journal.payloads(&keys).await.expect("reading works");
    let expected = [Some(mine[2]), None, Some(other), Some(mine[0]), None, None, Some(mine[2])];
    assert!(read.into_iter().eq(expected.map(|id| id.map(payload_of))));
    assert_eq!(f.stores().journal.payloads(&[]).await, Ok(Vec::new()));
}
