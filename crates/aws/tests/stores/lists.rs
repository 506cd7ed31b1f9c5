//! Lists over many rows: what a call reads at most, and what a page says that it cut short.

use posthaste_domain::{EventStatus, RowChange, RowKey, RowWrite};
use posthaste_ports::{EventStore as _, ListQuery, Rows as _, Written};
use serde_json::json;

use crate::harness::{EVENTS, START, World, acme};
use crate::proxy::{Cut, Proxy};

/// For all bounds: a filtered list reads no more rows than its bound in a call, and its pages,
/// short ones and empty ones among them, leave nothing out.
#[tokio::test]
async fn a_page_that_reading_cut_short_says_where_to_go_on() {
    let mut world = World::start().await;
    let events: Vec<_> = (0..60).map(|n| world.event(START.plus_millis(n), b"{}")).collect();
    let ids: Vec<_> = events.iter().rev().map(|event| event.id).collect();
    world.stores.events.accept(events).await.unwrap();
    // The two oldest and the newest are delivered.
    let wanted = [ids[0], ids[58], ids[59]];
    for id in wanted {
        let change = RowChange::Deliver { attempts: 1, at: START, attempt: None };
        let key = RowKey { tenant: acme(), event: id };
        let write = RowWrite { key, round: 0, change };
        assert_eq!(world.stores.rows.write(vec![write]).await, [Ok(Written::Done)]);
    }
    for (bound, pages_min) in [(10, 6), (25, 3), (1_000, 1)] {
        let events = world.stores.events.clone().listing_at_most(bound);
        for (status, expected) in
            [(EventStatus::Delivered, wanted.to_vec()), (EventStatus::Pending, ids[1..58].to_vec())]
        {
            let (mut found, mut before, mut pages) = (Vec::new(), None, 0);
            loop {
                let query = ListQuery { status: Some(status), before, limit: 100, now: START };
                let page = events.list(&acme(), query).await.unwrap();
                pages += 1;
                assert!(pages <= 60, "the pages have no end");
                found.extend(page.events.iter().map(|event| event.id));
                before = page.next;
                if before.is_none() {
                    break;
                }
            }
            assert_eq!(found, expected, "{status:?} by {bound}");
            assert!(pages >= pages_min, "{bound} rows a call were not enough for {pages} pages");
        }
    }
}

/// What a list costs: one request where the first rows are enough, and no body is read.
#[tokio::test]
async fn a_list_of_large_events_is_one_request() {
    let mut world = World::start().await;
    let payload = vec![b'x'; 50_000];
    let events: Vec<_> = (0..20).map(|n| world.event(START.plus_millis(n), &payload)).collect();
    world.stores.events.accept(events).await.unwrap();
    let proxy = Proxy::start(&world.dynamo.url, Cut::Never).await;
    let queue = crate::harness::shared(&world.queue);
    let stores = crate::harness::Stores::new(&crate::harness::client(&proxy.url).await, &queue);
    for status in [None, Some(EventStatus::Pending)] {
        proxy.set(Cut::Never);
        let query = ListQuery { status, before: None, limit: 10, now: START };
        let page = stores.events.list(&acme(), query).await.unwrap();
        assert_eq!((page.events.len(), page.next.is_some()), (10, true));
        assert_eq!(proxy.calls(), ["query"], "{status:?}");
    }
}

/// Rows of earlier versions: no round, the payload as a map.
#[tokio::test]
async fn an_older_row_is_an_event() {
    let world = World::start().await;
    let id = posthaste_domain::EventId::from_parts(START, 5);
    let older = json!({ "tenantId": { "S": "acme" }, "eventId": { "S": id.to_string() },
        "status": { "S": "FAILED" }, "payload": { "M": { "order": { "N": "17" } } },
        "targetUrl": { "S": "https://example.com" }, "attempts": { "N": "2" },
        "createdAt": { "S": "1800000000" }, "lastAttemptAt": { "S": "1800000060" },
        "errorMessage": { "S": "HTTP 500" } });
    world.dynamo.put(EVENTS, &older);
    let detail = world.stores.events.event(&acme(), id, START).await.unwrap().expect("an event");
    assert_eq!(detail.payload, r#"{"order":17}"#);
    assert_eq!((detail.summary.status, detail.summary.attempts), (EventStatus::Failed, 2));
    assert_eq!(detail.error.as_deref(), Some("HTTP 500"));
    let query = ListQuery { status: None, before: None, limit: 10, now: START };
    let page = world.stores.events.list(&acme(), query).await.unwrap();
    assert_eq!(page.events, [detail.summary]);
}
