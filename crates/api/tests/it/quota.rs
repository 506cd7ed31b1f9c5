//! A tenant's quota: where there is one, what is beyond it is told to come back, and nothing of
//! it is stored.

use std::num::NonZeroU32;
use std::sync::atomic::Ordering;

use axum::body::Body;
use posthaste_api::Settings;

use crate::bodies::Unread;
use crate::support::{Answer, Tenant, World};

fn world(events_per_s: u32) -> World {
    let tenant_events_per_s_max = NonZeroU32::new(events_per_s);
    World::with(Settings { tenant_events_per_s_max, ..Settings::default() })
}

async fn post(world: &World, tenant: &Tenant, path: &str, body: &'static str) -> Answer {
    world.post(path).key(&tenant.key).body(body).send().await
}

#[tokio::test]
async fn what_is_over_the_quota_comes_back_later_and_is_not_stored() {
    let world = world(3);
    let (acme, other) = (world.tenant("acme").await, world.tenant("other").await);
    for _ in 0..3 {
        assert_eq!(post(&world, &acme, "/v1/events", "{}").await.status, 201);
    }
    for (path, body) in [("/v1/events", "{}"), ("/v1/events/batch", "[{}]")] {
        let answer = post(&world, &acme, path, body).await;
        assert_eq!((answer.status, answer.header("retry-after")), (429, "1"), "{path}");
        assert_eq!(answer.detail(), "more events than the tenant's quota allows");
    }
    assert_eq!(world.store.accepts.load(Ordering::SeqCst), 3);
    // Nobody else is affected, nor is anything else that the tenant does.
    assert_eq!(post(&world, &other, "/v1/events", "{}").await.status, 201);
    let list = world.get("/v1/events").key(&acme.key).send().await;
    assert_eq!(list.json()["total_count"], 3);
    world.clock.advance(1000);
    assert_eq!(post(&world, &acme, "/v1/events/batch", "[{},{},{}]").await.status, 207);
    assert_eq!(post(&world, &acme, "/v1/events", "{}").await.status, 429);
}

/// Without a key nobody uses up a tenant's quota, and a flood's bodies are not read.
#[tokio::test]
async fn the_quota_stands_between_the_key_and_the_body() {
    let world = world(1);
    let tenant = world.tenant("acme").await;
    for _ in 0..3 {
        assert_eq!(world.post("/v1/events").body("{}").send().await.status, 401);
    }
    assert_eq!(post(&world, &tenant, "/v1/events", "{}").await.status, 201);
    let flood = world.post("/v1/events").key(&tenant.key).body(Body::new(Unread));
    assert_eq!(flood.send().await.status, 429);
}

/// Where nobody sets a quota there is none.
#[tokio::test]
async fn there_is_no_quota_by_default() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    for _ in 0..5000 {
        assert_eq!(post(&world, &tenant, "/v1/events", "{}").await.status, 201);
    }
}
