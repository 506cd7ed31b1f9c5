//! `GET /v1/events`: pages, filters, and tokens that only we can make.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use posthaste_domain::{EventId, Resolution, Verdict};
use serde_json::Value;

use crate::support::{Answer, Tenant, World, server_error};

async fn list(world: &World, tenant: &Tenant, query: &str) -> Answer {
    world.get(&format!("/v1/events?{query}")).key(&tenant.key).send().await
}

fn ids(page: &Value) -> Vec<EventId> {
    let events = page["events"].as_array().unwrap();
    events.iter().map(|event| event["event_id"].as_str().unwrap().parse().unwrap()).collect()
}

async fn events(world: &World, tenant: &Tenant, count: usize) -> Vec<EventId> {
    let mut ids = vec![];
    for _ in 0..count {
        world.clock.advance(1);
        ids.push(world.event(tenant).await);
    }
    ids.reverse();
    ids
}

/// For all page sizes: the pages together are all events, newest first, each once, each page full
/// unless it is the last.
#[tokio::test]
async fn pages_together_are_all_events() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    world.event(&world.tenant("other").await).await;
    let all = events(&world, &tenant, 120).await;
    for limit in [1, 7, 60, 100] {
        let mut seen: Vec<EventId> = vec![];
        let mut token = String::new();
        loop {
            let page = list(&world, &tenant, &format!("limit={limit}{token}")).await.json();
            let page_ids = ids(&page);
            assert_eq!(page["total_count"], page_ids.len());
            seen.extend(page_ids.iter());
            let Some(next) = page["next_token"].as_str() else { break };
            assert_eq!(page_ids.len(), limit);
            token = format!("&next_token={next}");
        }
        assert_eq!(seen, all, "{limit}");
    }
    // Nobody says how many: 50.
    assert_eq!(list(&world, &tenant, "").await.json()["total_count"], 50);
    let bare = world.get("/v1/events").key(&tenant.key).send().await;
    assert_eq!(bare.json()["total_count"], 50);
}

/// For all page sizes: with a filter too a page is full unless it is the last, however far apart
/// the events that pass stand.
#[tokio::test]
async fn filtered_pages_are_full() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    let mut delivered = vec![];
    for (n, event) in events(&world, &tenant, 60).await.into_iter().enumerate() {
        if n % 7 == 3 {
            world.settle(&tenant, event, Verdict::Delivered, Resolution::Delivered).await;
            delivered.push(event);
        }
    }
    assert_eq!(delivered.len(), 9);
    for limit in [1, 3, 4, 9, 10] {
        let mut seen: Vec<EventId> = vec![];
        let mut token = String::new();
        loop {
            let query = format!("status=DELIVERED&limit={limit}{token}");
            let page = list(&world, &tenant, &query).await.json();
            let page_ids = ids(&page);
            seen.extend(page_ids.iter());
            let Some(next) = page["next_token"].as_str() else { break };
            assert_eq!(page_ids.len(), limit);
            token = format!("&next_token={next}");
        }
        assert_eq!(seen, delivered, "{limit}");
    }
}

#[tokio::test]
async fn an_item_has_its_fields() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    let empty = list(&world, &tenant, "").await;
    assert_eq!(empty.body, "{\"events\":[],\"next_token\":null,\"total_count\":0}");
    let event = world.event(&tenant).await;
    let page = list(&world, &tenant, "").await.json();
    let expected = serde_json::json!({
        "events": [{
            "event_id": event.to_string(),
            "status": "PENDING",
            "created_at": "2027-01-15T08:00:00.123Z",
            "attempts": 0,
            "last_attempt_at": null,
        }],
        "next_token": null,
        "total_count": 1,
    });
    assert_eq!(page, expected);
}

#[tokio::test]
async fn a_filter_shows_only_its_status() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    let ids_made = events(&world, &tenant, 5).await;
    let [purged, dead, failed, delivered, pending] = ids_made[..] else { panic!() };
    world.kill(&tenant, purged).await;
    world.post("/v1/admin/dlq/purge").key(&tenant.key).send().await;
    world.kill(&tenant, dead).await;
    let due = world.now().plus_millis(60_000);
    world.settle(&tenant, failed, server_error(), Resolution::Retry { due }).await;
    world.settle(&tenant, delivered, Verdict::Delivered, Resolution::Delivered).await;
    for (status, expected) in [
        ("PENDING", pending),
        ("DELIVERED", delivered),
        ("FAILED", failed),
        ("DLQ", dead),
        ("PURGED", purged),
    ] {
        let page = list(&world, &tenant, &format!("status={status}")).await.json();
        assert_eq!(ids(&page), [expected], "{status}");
        assert_eq!(page["events"][0]["status"], status);
    }
    assert_eq!(list(&world, &tenant, "").await.json()["total_count"], 5);
    // FAILED is a view: when the retry is due, the event counts as PENDING.
    world.clock.advance(60_000);
    assert_eq!(list(&world, &tenant, "status=FAILED").await.json()["total_count"], 0);
    assert_eq!(list(&world, &tenant, "status=PENDING").await.json()["total_count"], 2);
}

#[tokio::test]
async fn a_parameter_that_is_not_lawful_is_refused() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    for query in [
        "limit=0",
        "limit=-1",
        "limit=101",
        "limit=1e9",
        "limit=1000000000",
        "limit=99999999999999999999",
        "limit=abc",
        "limit=",
        "limit",
        "limit=5.0",
        "limit=5&limit=5",
        "status=pending",
        "status=NOPE",
        "status=",
        "status=DLQ&status=DLQ",
        "next_token=",
        "next_token=garbage",
        "next_token=%FF%00",
        "limits=5",
        "tenant_id=other",
        "__proto__=1",
    ] {
        let answer = list(&world, &tenant, query).await;
        assert_eq!(answer.status, 400, "{query}: {answer:?}");
    }
    let huge = format!("next_token={}", "A".repeat(10 * 1024));
    let answer = list(&world, &tenant, &huge).await;
    assert_eq!(answer.status, 400);
    assert!(answer.body.len() < 500, "a refusal does not echo what was sent");
    for query in ["limit=1", "limit=100", "status=%44LQ", "limit=%31"] {
        assert_eq!(list(&world, &tenant, query).await.status, 200, "{query}");
    }
}

/// For all changes of a token, and all other uses: refused.
#[tokio::test]
async fn a_token_is_good_for_its_tenant_and_query_only() {
    let world = World::new();
    let (tenant, other) = (world.tenant("acme").await, world.tenant("other").await);
    events(&world, &tenant, 3).await;
    let first = list(&world, &tenant, "limit=1").await.json();
    let token = first["next_token"].as_str().unwrap();
    let with = async |tenant: &Tenant, query: &str, token: &str| {
        list(&world, tenant, &format!("{query}&next_token={token}")).await.status
    };
    assert_eq!(with(&tenant, "limit=1", token).await, 200);
    // Another page size is the same query.
    assert_eq!(with(&tenant, "limit=2", token).await, 200);
    assert_eq!(with(&other, "limit=1", token).await, 400);
    assert_eq!(with(&tenant, "limit=1&status=PENDING", token).await, 400);
    let bytes = URL_SAFE_NO_PAD.decode(token).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let flipped = URL_SAFE_NO_PAD.encode(flipped);
        assert_eq!(with(&tenant, "limit=1", &flipped).await, 400, "bit {bit}");
    }
    for changed in [&token[..token.len() - 1], &format!("{token}A"), &format!("{token}=")] {
        assert_eq!(with(&tenant, "limit=1", changed).await, 400, "{changed}");
    }
    // A token of another deployment, whose key is another.
    let elsewhere = World::new();
    // Its chance begins elsewhere.
    elsewhere.tenant("first").await;
    let stranger = elsewhere.tenant("acme").await;
    events(&elsewhere, &stranger, 2).await;
    let page = list(&elsewhere, &stranger, "limit=1").await.json();
    let foreign = page["next_token"].as_str().unwrap();
    assert_eq!(with(&tenant, "limit=1", foreign).await, 400);
    // It lasts a day.
    world.clock.advance(24 * 3_600_000 - 1);
    assert_eq!(with(&tenant, "limit=1", token).await, 200);
    world.clock.advance(1);
    assert_eq!(with(&tenant, "limit=1", token).await, 400);
}

/// The key of tokens is kept with the data: a restart in the middle of a walk changes nothing.
#[tokio::test]
async fn a_token_outlives_a_restart() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    let all = events(&world, &tenant, 2).await;
    let page = list(&world, &tenant, "limit=1").await.json();
    let again = World::over(posthaste_api::Settings::default(), world.store.clone());
    let token = page["next_token"].as_str().unwrap();
    let answer = list(&again, &tenant, &format!("limit=1&next_token={token}")).await;
    assert_eq!(ids(&answer.json()), all[1..]);
}
