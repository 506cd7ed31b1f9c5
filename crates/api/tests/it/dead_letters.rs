//! The DLQ: looking, requeueing, purging, and whose.

use std::collections::BTreeSet;

use posthaste_ports::Expiry as _;
use serde_json::{Value, json};

use crate::support::{Answer, Tenant, World};

const MESSAGES: &str = "/v1/admin/dlq/messages";
const REQUEUE: &str = "/v1/admin/dlq/requeue";
const PURGE: &str = "/v1/admin/dlq/purge";

async fn messages(world: &World, key: &str) -> Vec<Value> {
    let answer = world.get(MESSAGES).key(key).send().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["messages"].as_array().unwrap().clone()
}

async fn requeue(world: &World, key: &str, body: &'static str) -> Answer {
    world.post(REQUEUE).key(key).body(body).send().await
}

/// Posts and kills that many events.
async fn dead(world: &World, tenant: &Tenant, count: usize) -> Vec<String> {
    let mut ids = vec![];
    for _ in 0..count {
        world.clock.advance(1);
        let event = world.event(tenant).await;
        world.kill(tenant, event).await;
        ids.push(event.to_string());
    }
    ids
}

async fn status(world: &World, tenant: &Tenant, event: &str) -> Value {
    let answer = world.get(&format!("/v1/events/{event}")).key(&tenant.key).send().await;
    answer.json()["event"]["status"].take()
}

#[tokio::test]
async fn a_message_has_its_fields_and_looking_changes_nothing() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    assert_eq!(messages(&world, &tenant.key).await, [] as [Value; 0]);
    let ids = dead(&world, &tenant, 1).await;
    let first = messages(&world, &tenant.key).await;
    let mut message = first[0].clone();
    assert!(message["receiptHandle"].take().as_str().unwrap().len() > 20);
    let expected = json!({
        "messageId": ids[0],
        "receiptHandle": null,
        "body": {"tenantId": "acme", "eventId": ids[0]},
        "attributes": {
            "cause": "attempts_exhausted",
            "attempts": 1,
            "round": 0,
            "lastError": "the endpoint answered 503",
            "deadLetteredAt": world.now().to_rfc3339(),
        },
    });
    assert_eq!(message, expected);
    assert_eq!(messages(&world, &tenant.key).await, first);
    assert_eq!(status(&world, &tenant, &ids[0]).await, "DLQ");
}

#[tokio::test]
async fn the_oldest_come_first_and_at_most_ten() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    let ids = dead(&world, &tenant, 12).await;
    let shown = |messages: Vec<Value>| {
        let id = |message: &Value| message["body"]["eventId"].as_str().unwrap().to_owned();
        messages.iter().map(id).collect::<Vec<_>>()
    };
    assert_eq!(shown(messages(&world, &tenant.key).await), ids[..10]);
    let answer = world.get(&format!("{MESSAGES}?limit=3")).key(&tenant.key).send().await;
    assert_eq!(shown(answer.json()["messages"].as_array().unwrap().clone()), ids[..3]);
    for query in
        ["limit=0", "limit=11", "limit=-1", "limit=abc", "limit=", "limit=1&limit=1", "tenant=x"]
    {
        let answer = world.get(&format!("{MESSAGES}?{query}")).key(&tenant.key).send().await;
        assert_eq!(answer.status, 400, "{query}");
    }
}

/// For all DLQ routes: a tenant sees and moves its own, the admin everybody's.
#[tokio::test]
async fn a_tenant_sees_its_own_and_the_admin_all() {
    let world = World::new();
    let (acme, other) = (world.tenant("acme").await, world.tenant("other").await);
    let (own, foreign) = (dead(&world, &acme, 2).await, dead(&world, &other, 2).await);
    let tenants = |messages: &[Value]| {
        let tenant = |message: &Value| message["body"]["tenantId"].as_str().unwrap().to_owned();
        messages.iter().map(tenant).collect::<BTreeSet<_>>()
    };
    let seen = messages(&world, &acme.key).await;
    assert_eq!((seen.len(), tenants(&seen)), (2, BTreeSet::from(["acme".to_owned()])));
    assert_eq!(messages(&world, &world.admin).await.len(), 4);
    // Moving one's own leaves the other's alone.
    let requeued = requeue(&world, &acme.key, "").await.json();
    assert_eq!(requeued, json!({"requeued": 2, "failed": 0}));
    assert_eq!(status(&world, &acme, &own[0]).await, "PENDING");
    assert_eq!(status(&world, &other, &foreign[0]).await, "DLQ");
    let purged = world.post(PURGE).key(&acme.key).send().await;
    assert_eq!(purged.json(), json!({"status": "purged", "queue": "dlq"}));
    assert_eq!(status(&world, &other, &foreign[0]).await, "DLQ");
    // The admin moves everybody's.
    assert_eq!(world.post(PURGE).key(&world.admin).send().await.status, 200);
    for event in &foreign {
        assert_eq!(status(&world, &other, event).await, "PURGED");
    }
    assert_eq!(messages(&world, &world.admin).await.len(), 0);
}

#[tokio::test]
async fn a_requeue_takes_the_oldest_up_to_its_limits() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    let ids = dead(&world, &tenant, 12).await;
    let first = requeue(&world, &tenant.key, "{\"batchSize\":2,\"maxMessages\":5.0}").await;
    assert_eq!(first.json(), json!({"requeued": 5, "failed": 0}));
    for (n, event) in ids.iter().enumerate() {
        let expected = if n < 5 { "PENDING" } else { "DLQ" };
        assert_eq!(status(&world, &tenant, event).await, expected, "{n}");
    }
    assert_eq!(requeue(&world, &tenant.key, "{}").await.json()["requeued"], 7);
    assert_eq!(requeue(&world, &tenant.key, "").await.json()["requeued"], 0);
}

/// For all requeues at once: each event moves once.
#[tokio::test]
async fn two_requeues_at_once_move_each_event_once() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    dead(&world, &tenant, 20).await;
    let (one, other) =
        tokio::join!(requeue(&world, &tenant.key, ""), requeue(&world, &world.admin, "{}"));
    let moved = |answer: &Answer| answer.json()["requeued"].as_u64().unwrap();
    assert_eq!(moved(&one) + moved(&other), 20);
    assert_eq!(messages(&world, &tenant.key).await.len(), 0);
}

/// For all orders of a purge and a requeue: each event ends PURGED or PENDING, none is lost.
#[tokio::test]
async fn a_purge_beside_a_requeue_leaves_each_event_in_one_place() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    let ids = dead(&world, &tenant, 20).await;
    let purge = world.post(PURGE).key(&tenant.key).send();
    let (moved, purged) = tokio::join!(requeue(&world, &tenant.key, "{\"maxMessages\":7}"), purge);
    assert_eq!((moved.status, purged.status), (200, 200));
    let mut counts = [0, 0];
    for event in &ids {
        let status = status(&world, &tenant, event).await;
        assert!(["PENDING", "PURGED"].contains(&status.as_str().unwrap()), "{status}");
        counts[usize::from(status == "PURGED")] += 1;
    }
    assert_eq!(counts[0], moved.json()["requeued"]);
    assert_eq!(messages(&world, &tenant.key).await.len(), 0);
}

/// What has expired is nowhere: neither shown, nor retried, nor requeued.
#[tokio::test]
async fn an_expired_event_is_not_found() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    let ids = dead(&world, &tenant, 1).await;
    let (path, day) = (format!("/v1/events/{}", ids[0]), 24 * 3_600_000);
    for (advance, status) in [(14 * day - 1, 200), (1, 404)] {
        world.clock.advance(advance);
        while world.store.inner.sweep(world.now(), 100).await.unwrap() > 0 {}
        assert_eq!(world.get(&path).key(&tenant.key).send().await.status, status);
    }
    let retry = world.post(&format!("{path}/retry")).key(&tenant.key).send().await;
    assert_eq!(retry.status, 404);
    assert_eq!(requeue(&world, &tenant.key, "").await.json(), json!({"requeued": 0, "failed": 0}));
    assert_eq!(messages(&world, &world.admin).await.len(), 0);
}

#[tokio::test]
async fn a_requeue_that_is_not_lawful_moves_nothing() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    let ids = dead(&world, &tenant, 1).await;
    for (body, status) in [
        ("nonsense", 400),
        ("null", 422),
        ("[1,2]", 422),
        ("{\"batchSize\":0}", 400),
        ("{\"batchSize\":11}", 400),
        ("{\"batchSize\":-1}", 422),
        ("{\"batchSize\":\"1\"}", 422),
        ("{\"batchSize\":1.5}", 422),
        ("{\"maxMessages\":0}", 400),
        ("{\"maxMessages\":1001}", 400),
        ("{\"maxMessages\":1e9}", 400),
        ("{\"maxMessages\":1e300}", 422),
        ("{\"maxmessages\":1}", 422),
        ("{\"tenantId\":\"other\"}", 422),
        ("{\"batchSize\":1,\"batchSize\":1}", 422),
    ] {
        assert_eq!(requeue(&world, &tenant.key, body).await.status, status, "{body}");
    }
    // A filter that does not exist must not be taken for one.
    for path in [REQUEUE, PURGE] {
        let answer = world.post(&format!("{path}?tenant=x")).key(&world.admin).send().await;
        assert_eq!(answer.status, 400);
    }
    let zipped = world.post(REQUEUE).key(&tenant.key).header("content-encoding", "gzip");
    assert_eq!(zipped.send().await.status, 415);
    assert_eq!(status(&world, &tenant, &ids[0]).await, "DLQ");
}
