//! Pages are what a look at every event makes of them, however small the steps are.

use std::ops::RangeInclusive;
use std::pin::pin;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread::{self, ThreadId};

use posthaste_domain::{DeadLetterCause, Owed, Resolution};
use posthaste_ports::memory::NullSink;
use posthaste_ports::{DeadLetters as _, EventStore, Journal as _, Scope, TenantStore as _};
use tempfile::TempDir;

use super::*;
use crate::ledger::Ledger;
use crate::settings::{Commit, Observer};
use crate::testing::{Chance, Watch, event, home, new_tenant, outcome, settings, tenant_id};

const NOW: Timestamp = Timestamp::from_millis(1_000);
const STATUSES: [Option<EventStatus>; 6] = [
    None,
    Some(EventStatus::Pending),
    Some(EventStatus::Delivered),
    Some(EventStatus::Failed),
    Some(EventStatus::Dlq),
    Some(EventStatus::Purged),
];

/// Events of a tenant between those of two others, settled as `resolve` says, if at all.
async fn ledger(
    count: u64,
    mut resolve: impl FnMut(usize) -> Option<Resolution>,
) -> (TempDir, Ledger, Vec<EventId>) {
    let home = home();
    let opened = Ledger::open(settings(&home), Arc::new(NullSink), Arc::new(Watch::default()));
    let ledger = opened.unwrap().0;
    let mut ids = Vec::new();
    for name in ["acmd", "acme", "acmf"] {
        ledger.create(new_tenant(name, 0)).await.unwrap();
        // Some at the same time.
        let at = |n| Timestamp::from_millis(n / 3);
        let events: Vec<_> = (0..count).map(|n| event(name, at(n), n.into())).collect();
        if name == "acme" {
            ids = events.iter().map(|event| event.id).collect();
        }
        for events in events.chunks(500) {
            ledger.accept(events.to_vec()).await.unwrap();
        }
    }
    let owed = owed(&ledger).await;
    let settled = owed.iter().enumerate().filter_map(|(n, owed)| Some((owed, resolve(n)?)));
    let settled = settled.map(|(owed, resolution)| outcome(owed, NOW, resolution)).collect();
    ledger.settle(settled).await.unwrap();
    (home, ledger, ids)
}

async fn owed(ledger: &Ledger) -> Vec<Owed> {
    let (tenant, all) = (tenant_id("acme"), usize::MAX);
    ledger.backlog(&tenant, EndpointId::DEFAULT, EventId::MIN, all).await.unwrap().owed
}

fn dead() -> Resolution {
    Resolution::DeadLettered { cause: DeadLetterCause::Gone }
}

fn retry(due: u64) -> Resolution {
    Resolution::Retry { due: Timestamp::from_millis(due) }
}

/// A page by steps of these sizes, and how many steps it took.
fn page(ledger: &Ledger, query: ListQuery, sizes: Sizes) -> (EventPage, usize) {
    let mut listing = Listing { sizes, ..Listing::new(query) };
    while !listing.step(&ledger.shared, &tenant_id("acme")).unwrap() {}
    let steps = listing.steps;
    (listing.page(), steps)
}

/// What the page should be, from a look at every event.
async fn expected(ledger: &Ledger, ids: &[EventId], query: ListQuery) -> EventPage {
    let mut events = Vec::new();
    for id in ids.iter().rev().filter(|id| query.before.is_none_or(|before| **id < before)) {
        let detail = ledger.event(&tenant_id("acme"), *id, query.now).await.unwrap().unwrap();
        if query.status.is_none_or(|status| status == detail.summary.status) {
            events.push(detail.summary);
        }
    }
    let more = events.len() > query.limit;
    events.truncate(query.limit);
    let next = events.last().filter(|_| more).map(|last| last.id);
    EventPage { events, next }
}

#[tokio::test]
async fn pages_are_what_a_look_at_every_event_makes_of_them() {
    for seed in 0..8 {
        let mut chance = Chance(seed);
        // Some histories have few of a kind, so that steps find nothing.
        let kinds = *chance.pick(&[3, 6, 6, 60]).unwrap();
        let mut draw = || match chance.below(kinds) {
            0 => Some(retry(1 + chance.below(2_000))),
            1 => Some(dead()),
            2 => Some(Resolution::Delivered),
            _ => None,
        };
        let (_home, ledger, ids) = ledger(200, |_| draw()).await;
        ledger.purge(&Scope::Tenant(tenant_id("acme")), NOW).await.unwrap();
        let rest = owed(&ledger).await;
        let more = rest.iter().filter(|_| chance.below(9) == 0);
        ledger.settle(more.map(|owed| outcome(owed, NOW, dead())).collect()).await.unwrap();
        for _ in 0..150 {
            let status = *chance.pick(&STATUSES).unwrap();
            let before = chance.pick(&ids).copied().filter(|_| chance.below(2) == 0);
            let limit = *chance.pick(&[1, 2, 7, 100]).unwrap();
            let query = ListQuery { status, before, limit, now: NOW };
            let mut size = || *chance.pick(&[1, 2, 3, 5, 9]).unwrap();
            let (rows, rows_first, marks, times) = (size(), size(), size(), size());
            let timers = *chance.pick(&[0, 1, 10, 40, 1_000]).unwrap();
            let sizes = Sizes { rows, rows_first, marks, times, timers };
            let expected = expected(&ledger, &ids, query).await;
            let case = format!("seed {seed}, {query:?}, {sizes:?}");
            assert_eq!(page(&ledger, query, sizes).0, expected, "{case}");
            let listed = EventStore::list(&ledger, &tenant_id("acme"), query).await.unwrap();
            assert_eq!(listed, expected, "{case}");
        }
        ledger.close().await;
    }
}

/// However many there are of another status, no step reads more of them than its sizes say; and
/// where few retries are due, or all but few, no more than the page takes.
#[tokio::test]
async fn a_step_is_bounded() {
    const EVENTS: usize = 10_000;
    const UNTOLD: Sizes = Sizes { timers: 0, ..SIZES };
    let waiting = |n| (n < 3).then_some(Resolution::Delivered);
    let failed = |n| Some(if n < 3 { retry(1) } else { retry(2_000) });
    let due = |n| Some(if n < 3 { retry(2_000) } else { retry(1) });
    let bound = |rows: usize| EVENTS.div_ceil(rows) + 1;
    let chunk = SIZES.marks * SIZES.times;
    let two = 2..=2;
    type Resolve<'a> = &'a dyn Fn(usize) -> Option<Resolution>;
    let cases: [(EventStatus, Resolve<'_>, Sizes, RangeInclusive<usize>); 5] = [
        (EventStatus::Delivered, &waiting, SIZES, 4..=bound(chunk)),
        (EventStatus::Pending, &failed, UNTOLD, 4..=bound(SIZES.rows)),
        (EventStatus::Pending, &failed, SIZES, two.clone()),
        (EventStatus::Failed, &due, UNTOLD, 4..=bound(SIZES.rows)),
        (EventStatus::Failed, &due, SIZES, two),
    ];
    for (status, resolve, sizes, expected) in cases {
        let (_home, ledger, ids) = ledger(EVENTS as u64, resolve).await;
        let query = ListQuery { status: Some(status), before: None, limit: 100, now: NOW };
        let (found, steps) = page(&ledger, query, sizes);
        let events: Vec<_> = found.events.iter().map(|event| event.id).collect();
        assert_eq!(events, [ids[2], ids[1], ids[0]], "{status:?}");
        assert!(expected.contains(&steps), "{status:?}, {sizes:?}: {steps} steps");
        // And the commonest page is one.
        let any = ListQuery { status: None, ..query };
        assert_eq!(page(&ledger, any, sizes).1, 1);
        ledger.close().await;
    }
}

/// A clock before which every thread but the test's stands still while it is stopped, and with it
/// whoever reads a step.
struct Stopped {
    test: ThreadId,
    /// Whether it is stopped, and how many stand before it.
    state: Mutex<(bool, u32)>,
    changed: Condvar,
    micros: AtomicU64,
}

impl Stopped {
    fn stop(&self, is_stopped: bool) {
        self.state.lock().unwrap().0 = is_stopped;
        self.changed.notify_all();
    }

    fn somebody_stands(&self) {
        let state = self.state.lock().unwrap();
        drop(self.changed.wait_while(state, |(_, standing)| *standing == 0).unwrap());
    }
}

impl Observer for Stopped {
    fn monotonic_us(&self) -> u64 {
        if thread::current().id() != self.test {
            let mut state = self.state.lock().unwrap();
            state.1 += 1;
            self.changed.notify_all();
            state = self.changed.wait_while(state, |(is_stopped, _)| *is_stopped).unwrap();
            state.1 -= 1;
        }
        self.micros.fetch_add(1, Ordering::Relaxed)
    }

    fn committed(&self, _commit: &Commit) {}

    fn failed(&self, reason: &str) {
        panic!("{reason}");
    }
}

/// Who hangs up and asks again has not gained a second turn.
#[tokio::test]
async fn a_list_that_is_given_up_has_its_turn_until_its_step_ends() {
    let home = home();
    let (state, changed) = (Mutex::default(), Condvar::new());
    let micros = AtomicU64::new(0);
    let clock = Arc::new(Stopped { test: thread::current().id(), state, changed, micros });
    let observer: Arc<dyn Observer> = Arc::clone(&clock) as _;
    let ledger = Ledger::open(settings(&home), Arc::new(NullSink), observer).unwrap().0;
    let [acme, other] = ["acme", "other"].map(tenant_id);
    ledger.create(new_tenant("acme", 0)).await.unwrap();
    ledger.accept(vec![event("acme", NOW, 1)]).await.unwrap();
    let query = ListQuery { status: None, before: None, limit: 10, now: NOW };
    let mut nobody = Context::from_waker(Waker::noop());

    clock.stop(true);
    {
        let mut given_up = pin!(EventStore::list(&ledger, &acme, query));
        assert!(given_up.as_mut().poll(&mut nobody).is_pending());
        clock.somebody_stands();
    }
    let mut next = pin!(ledger.shared.turns.take(&acme, false, || 0));
    assert!(next.as_mut().poll(&mut nobody).is_pending(), "its step has not ended");
    let mut beside = pin!(ledger.shared.turns.take(&other, false, || 0));
    assert!(matches!(beside.as_mut().poll(&mut nobody), Poll::Ready(_)));
    clock.stop(false);
    next.await.end(0, 0);
    let page = EventStore::list(&ledger, &acme, query).await.unwrap();
    assert_eq!(page.events.len(), 1);
    ledger.close().await;
}
