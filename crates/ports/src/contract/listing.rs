//! Lists and single events: order, pages, the view of time, and who sees what.

use posthaste_domain::{EventId, EventStatus, Resolution, TenantId, Timestamp};

use super::Fixture;
use super::samples::{DAY, DELIVERED, EXHAUSTED, HOUR, START, after, retry_at, tenant_id};
use crate::{EventPage, EventSummary, ListQuery, Scope};

impl Fixture {
    /// All pages of a list, each of which must be full unless it is the last.
    async fn pages(
        &self,
        tenant: &TenantId,
        status: Option<EventStatus>,
        limit: usize,
        now: Timestamp,
    ) -> Vec<EventSummary> {
        let mut events: Vec<EventSummary> = Vec::new();
        let mut before = None;
        loop {
            let page = self.list(tenant, ListQuery { status, before, limit, now }).await;
            let last = page.events.last().map(|event| event.id);
            match page.next {
                Some(next) => {
                    assert_eq!(page.events.len(), limit, "a page that is not the last is full");
                    assert_eq!(Some(next), last, "the next page begins after this one's last");
                }
                None => assert!(page.events.len() <= limit, "a page is longer than was asked for"),
            }
            events.extend(page.events);
            let newest_first = events.windows(2).all(|pair| pair[0].id > pair[1].id);
            assert!(newest_first, "an event is out of order, or on two pages");
            if page.next.is_none() {
                return events;
            }
            before = page.next;
        }
    }
}

fn ids(events: &[EventSummary]) -> Vec<EventId> {
    events.iter().map(|event| event.id).collect()
}

fn newest_first(mut ids: Vec<EventId>) -> Vec<EventId> {
    ids.sort_by(|a, b| b.cmp(a));
    ids
}

/// For all events, in whatever order they were stored: the newest comes first.
pub(super) async fn a_list_begins_with_the_newest(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let mut posted = Vec::new();
    for n in [5, 1, 9, 3, 7] {
        posted.push(f.post(&acme, after(n)).await);
    }
    f.later().await;
    let listed = f.pages(&acme, None, 100, after(10)).await;
    assert_eq!(ids(&listed), newest_first(posted));
}

/// For all page sizes: every event is on exactly one page, and every page is full but the last.
pub(super) async fn pages_are_full_and_leave_nothing_out(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let expected = newest_first(f.posts(&acme, 23).await);
    f.later().await;
    for limit in [1, 2, 5, 22, 23, 24, 100] {
        assert_eq!(ids(&f.pages(&acme, None, limit, START).await), expected, "limit {limit}");
    }
}

/// A page that is exactly full and has nothing after it is the last.
pub(super) async fn a_full_page_can_be_the_last(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let expected = newest_first(f.posts(&acme, 6).await);
    f.later().await;
    let query = |before, limit| ListQuery { status: None, before, limit, now: START };
    let page = f.list(&acme, query(None, 6)).await;
    assert_eq!((ids(&page.events), page.next), (expected.clone(), None));
    let first = f.list(&acme, query(None, 3)).await;
    assert_eq!(first.next, Some(expected[2]));
    let second = f.list(&acme, query(first.next, 3)).await;
    assert_eq!((ids(&second.events), second.next), (expected[3..].to_vec(), None));
}

/// A page begins after `before`, whether or not there is such an event.
pub(super) async fn a_page_begins_after_any_id(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let posted = f.posts(&acme, 4).await;
    f.later().await;
    let neighbour =
        |id: EventId, up| EventId::from_u128(if up { id.as_u128() + 1 } else { id.as_u128() - 1 });
    for (before, expected) in [
        (posted[2], &posted[..2]),
        (neighbour(posted[2], true), &posted[..3]),
        (neighbour(posted[2], false), &posted[..2]),
        (EventId::MAX, &posted[..]),
        (posted[0], &[]),
        (EventId::MIN, &[]),
    ] {
        let query = ListQuery { status: None, before: Some(before), limit: 100, now: START };
        let page = f.list(&acme, query).await;
        assert_eq!(ids(&page.events), newest_first(expected.to_vec()), "before {before}");
        assert_eq!(page.next, None);
    }
}

/// For all statuses and page sizes: a filtered list has the events with that status, all of
/// them, on full pages, however few they are among the others.
pub(super) async fn a_filter_finds_all_of_a_status(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let mut expected: Vec<(EventStatus, Vec<EventId>)> = Vec::new();
    expected.push((EventStatus::Purged, f.some(&acme, &[1, 8, 15], Some(EXHAUSTED)).await));
    assert_eq!(f.stores().dead_letters.purge(&Scope::All, after(DAY)).await, Ok(3));
    expected.push((EventStatus::Dlq, f.some(&acme, &[2, 3, 20, 25], Some(EXHAUSTED)).await));
    expected.push((EventStatus::Delivered, f.some(&acme, &[4, 9, 21], Some(DELIVERED)).await));
    let waits = Some(retry_at(after(2 * DAY)));
    expected.push((EventStatus::Failed, f.some(&acme, &[5, 6, 7, 22], waits).await));
    let mut pending = f.some(&acme, &[0, 11, 24], None).await;
    pending.extend(f.some(&acme, &[10, 12, 23], Some(retry_at(after(DAY)))).await);
    expected.push((EventStatus::Pending, pending));
    f.later().await;
    let mut all = Vec::new();
    for (status, events) in expected {
        for limit in [1, 2, 3, 100] {
            let listed = f.pages(&acme, Some(status), limit, after(DAY)).await;
            assert_eq!(ids(&listed), newest_first(events.clone()), "{status:?} by {limit}");
            assert!(listed.iter().all(|event| event.status == status), "{listed:?}");
        }
        all.extend(events);
    }
    assert_eq!(ids(&f.pages(&acme, None, 4, after(DAY)).await), newest_first(all));
}

/// A FAILED event is PENDING from the millisecond in which its retry is due, in every view.
pub(super) async fn a_failed_event_is_pending_when_it_is_due(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let id = f.post_resolved(&acme, START, retry_at(after(HOUR))).await;
    f.later().await;
    for (now, seen, not_seen) in [
        (after(HOUR - 1), EventStatus::Failed, EventStatus::Pending),
        (after(HOUR), EventStatus::Pending, EventStatus::Failed),
        (after(DAY), EventStatus::Pending, EventStatus::Failed),
    ] {
        let detail = f.detail(&acme, id, now).await.expect("it was accepted");
        assert_eq!((detail.summary.status, detail.next_attempt_at), (seen, Some(after(HOUR))));
        for filter in [None, Some(seen)] {
            let listed = f.pages(&acme, filter, 10, now).await;
            assert_eq!(listed, std::slice::from_ref(&detail.summary));
        }
        assert_eq!(f.pages(&acme, Some(not_seen), 10, now).await, []);
    }
}

/// For all events: what a list says of an event is what the event itself says.
pub(super) async fn a_list_says_what_the_event_says(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    f.post(&acme, START).await;
    for (n, resolution) in (1..).zip([DELIVERED, EXHAUSTED, retry_at(after(HOUR))]) {
        f.post_resolved(&acme, after(n), resolution).await;
    }
    f.later().await;
    let listed = f.pages(&acme, None, 10, after(9)).await;
    assert_eq!(listed.len(), 4);
    for summary in listed {
        let detail = f.detail(&acme, summary.id, after(9)).await.expect("it is listed");
        assert_eq!(detail.summary, summary);
    }
}

/// For all pairs of tenants, those with names that begin alike above all: no view of one shows
/// anything of the other.
pub(super) async fn tenants_never_see_each_other(f: &mut Fixture) {
    let names = ["acme", "acme-", "acme-0", "acmee", "acm", "acl", "acn", "zzz"];
    let mut owners = Vec::new();
    for name in names {
        let tenant = f.tenant(name).await;
        let mut own = vec![f.post(&tenant, START).await];
        for resolution in [DELIVERED, EXHAUSTED, retry_at(after(HOUR))] {
            own.push(f.post_resolved(&tenant, after(1), resolution).await);
        }
        owners.push((tenant, own));
    }
    f.later().await;
    for (tenant, own) in &owners {
        assert_eq!(ids(&f.pages(tenant, None, 3, START).await), newest_first(own.clone()));
        for status in [EventStatus::Pending, EventStatus::Dlq, EventStatus::Failed] {
            assert_eq!(f.pages(tenant, Some(status), 3, START).await.len(), 1, "{status:?}");
        }
        for (other, foreign) in owners.iter().filter(|(other, _)| other != tenant) {
            for id in foreign {
                assert_eq!(f.detail(tenant, *id, START).await, None, "{tenant} sees {other}'s");
            }
        }
    }
}

pub(super) async fn a_tenant_that_does_not_exist_has_no_events(f: &mut Fixture) {
    let acme = f.tenant("acme").await;
    let id = f.post(&acme, START).await;
    let nobody = tenant_id("acme-2");
    assert_eq!(f.detail(&nobody, id, START).await, None);
    let query = ListQuery { status: None, before: None, limit: 100, now: START };
    assert_eq!(f.list(&nobody, query).await, EventPage { events: Vec::new(), next: None });
    assert_eq!(f.owed(&nobody).await, []);
    assert_eq!(f.dead(&Scope::Tenant(nobody)).await, []);
}

impl Fixture {
    /// Events of the given milliseconds, each after one attempt with this resolution.
    async fn some(
        &mut self,
        tenant: &TenantId,
        millis: &[u64],
        resolution: Option<Resolution>,
    ) -> Vec<EventId> {
        let mut ids = Vec::new();
        for at in millis {
            ids.push(match resolution {
                Some(resolution) => self.post_resolved(tenant, after(*at), resolution).await,
                None => self.post(tenant, after(*at)).await,
            });
        }
        ids
    }
}
