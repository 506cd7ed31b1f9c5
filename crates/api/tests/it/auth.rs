//! The authorizer: who gets in, what it costs the store, and how soon a revoked key stops.

use std::sync::atomic::Ordering;

use posthaste_api::Settings;
use posthaste_domain::ApiKey;
use posthaste_ports::{PortError, TenantStore as _};

use crate::support::{Tenant, World};

fn identities(world: &World) -> usize {
    world.store.identities.load(Ordering::SeqCst)
}

async fn list(world: &World, key: &str) -> u16 {
    world.get("/v1/events").key(key).send().await.status
}

/// For all headers that cannot be a key of ours: 401, and the store is not asked.
#[tokio::test]
async fn what_cannot_be_a_key_costs_the_store_nothing() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    let (key, calls) = (&tenant.key, world.store.calls());
    let mut mistyped = key.clone();
    let last = if mistyped.pop() == Some('a') { 'b' } else { 'a' };
    mistyped.push(last);
    let right = format!("Bearer {key}");
    let cases: Vec<Vec<Vec<u8>>> = vec![
        vec![],
        vec![b"".into()],
        vec![b"Bearer".into()],
        vec![b"Bearer ".into()],
        vec![b"bearer x".into()],
        vec![format!("Bearer  {key}").into()],
        vec![format!("Bearer\t{key}").into()],
        vec![format!("Bearer {key} ").into()],
        vec![format!("Bearer {key} more").into()],
        vec![format!("Bearer {key},{key}").into()],
        vec![format!(" Bearer {key}").into()],
        vec![format!("Bearer{key}").into()],
        vec![key.clone().into()],
        vec![format!("Basic {key}").into()],
        vec![b"Basic YWNtZTpzZWNyZXQ=".into()],
        vec![format!("Token {key}").into()],
        vec![right.clone().into(), right.clone().into()],
        vec![right.clone().into(), b"Basic x".into()],
        vec![format!("Bearer {}", "x".repeat(8192)).into()],
        vec![format!("Bearer {}", "ü".repeat(20)).into()],
        vec![format!("Bearer {mistyped}").into()],
        vec![format!("Bearer {}", key.to_lowercase()).into()],
        vec![format!("Bearer {}", &key[..key.len() - 1]).into()],
        vec![format!("Bearer {key}0").into()],
        vec![b"Bearer tenant_acme_key".into()],
        vec![b"Bearer phk_".into()],
        vec![b"Bearer null".into()],
    ];
    for headers in cases {
        let shown = headers.iter().map(|value| String::from_utf8_lossy(value)).collect::<Vec<_>>();
        let call = world.get("/v1/events");
        let call = headers.iter().fold(call, |call, value| call.header("authorization", value));
        let answer = call.send().await;
        assert_eq!(answer.status, 401, "{shown:.99?}");
        let detail = if headers.is_empty() {
            "an API key is needed: Authorization: Bearer <key>"
        } else {
            "the API key is not valid"
        };
        assert_eq!(answer.detail(), detail, "{shown:.99?}");
        assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"posthaste\"");
    }
    assert_eq!(world.store.calls(), calls);
    // Other places for a key are no places for a key.
    for call in [
        world.get(&format!("/v1/events?api_key={key}")),
        world.get("/v1/events").header("x-api-key", key),
        world.get("/v1/events").header("cookie", format!("authorization={key}")),
    ] {
        assert_eq!(call.send().await.status, 401);
    }
}

#[tokio::test]
async fn the_scheme_is_read_in_any_case() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let call =
            world.get("/v1/events").header("authorization", format!("{scheme} {}", tenant.key));
        assert_eq!(call.send().await.status, 200, "{scheme}");
    }
}

/// For all keys, known and unknown: the store is asked once while its answer is fresh.
#[tokio::test]
async fn the_store_is_asked_once_while_its_answer_is_fresh() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    let stranger = ApiKey::from_entropy(&[77; 32]);
    let minutes = 60_000;
    for _ in 0..10 {
        assert_eq!(list(&world, &tenant.key).await, 200);
    }
    assert_eq!(identities(&world), 1);
    world.clock.advance(5 * minutes - 1);
    assert_eq!(list(&world, &tenant.key).await, 200);
    assert_eq!(identities(&world), 1);
    world.clock.advance(1);
    assert_eq!(list(&world, &tenant.key).await, 200);
    assert_eq!(identities(&world), 2);
    for _ in 0..10 {
        assert_eq!(list(&world, stranger.expose()).await, 401);
    }
    assert_eq!(identities(&world), 3);
    world.clock.advance(10_000);
    assert_eq!(list(&world, stranger.expose()).await, 401);
    assert_eq!(identities(&world), 4);
    // The admin is not in the store.
    world.get("/v1/admin/dlq/messages").key(&world.admin).send().await;
    assert_eq!(identities(&world), 4);
}

/// A key revoked by another process stops when the cached answer ends, and at once on every route
/// that changes or destroys.
#[tokio::test]
async fn a_key_revoked_elsewhere_stops_within_the_cache_time() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    assert_eq!(list(&world, &tenant.key).await, 200);
    let hash = ApiKey::parse(&tenant.key).unwrap().hash();
    assert!(world.store.inner.revoke_key(&tenant.tenant_id(), &hash).await.unwrap());
    assert_eq!(list(&world, &tenant.key).await, 200);
    let own_key = format!("/v1/tenants/acme/keys/{}", hash.key_id());
    for call in [
        world.post("/v1/admin/dlq/purge"),
        world.post("/v1/admin/dlq/requeue"),
        world.patch("/v1/tenants/acme").body("{\"webhook_secret\":\"another-secret\"}"),
        world.post("/v1/tenants/acme/keys"),
        world.delete(&own_key),
    ] {
        assert_eq!(call.key(&tenant.key).send().await.status, 401);
    }
    // What one of them has learned, all know.
    assert_eq!(list(&world, &tenant.key).await, 401);
}

#[tokio::test]
async fn a_cached_key_ends_with_its_cache_time() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    assert_eq!(list(&world, &tenant.key).await, 200);
    let hash = ApiKey::parse(&tenant.key).unwrap().hash();
    world.store.inner.revoke_key(&tenant.tenant_id(), &hash).await.unwrap();
    world.clock.advance(5 * 60_000);
    assert_eq!(list(&world, &tenant.key).await, 401);
}

/// Whoever shares the cache can end a key at once.
#[tokio::test]
async fn an_invalidated_key_is_asked_for_again() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    assert_eq!(list(&world, &tenant.key).await, 200);
    let hash = ApiKey::parse(&tenant.key).unwrap().hash();
    world.store.inner.revoke_key(&tenant.tenant_id(), &hash).await.unwrap();
    world.auth_cache.invalidate(&hash);
    assert_eq!(list(&world, &tenant.key).await, 401);
}

/// A key that is made after somebody tried it works soon.
#[tokio::test]
async fn a_key_made_elsewhere_works_when_the_refusal_ends() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    let key = ApiKey::from_entropy(&[5; 32]);
    assert_eq!(list(&world, key.expose()).await, 401);
    let id = tenant.tenant_id();
    assert!(world.store.inner.add_key(&id, key.hash(), world.now()).await.unwrap());
    world.clock.advance(10_000);
    assert_eq!(list(&world, key.expose()).await, 200);
}

/// For all faults of the store: 503, never 401, and not remembered.
#[tokio::test]
async fn a_fault_of_the_store_is_no_refusal() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    let stranger = ApiKey::from_entropy(&[77; 32]);
    for failure in [
        PortError::Transient("gone".into()),
        PortError::Throttled { retry_after_ms: 2500 },
        PortError::Permanent("broken".into()),
    ] {
        world.store.fail(Some(failure.clone()));
        for key in [&tenant.key[..], stranger.expose()] {
            let answer = world.get("/v1/events").key(key).send().await;
            assert_eq!(answer.status, 503, "{failure:?}");
            assert!(!answer.detail().contains("gone") && !answer.detail().contains("broken"));
        }
        world.store.fail(None);
        assert_eq!(list(&world, stranger.expose()).await, 401);
        world.clock.advance(10_000);
    }
    assert_eq!(list(&world, &tenant.key).await, 200);
    // A known key needs no store; what it asks for may.
    world.store.fail(Some(PortError::Full));
    let answer = world.post("/v1/events").key(&tenant.key).body("{}").send().await;
    assert_eq!(answer.status, 507);
}

/// For every admin key: it is the admin, and no tenant.
#[tokio::test]
async fn the_admin_has_no_events() {
    let world = World::new();
    let both = [ApiKey::from_entropy(&[8; 32]), ApiKey::from_entropy(&[9; 32])];
    for key in both {
        let all = world.get("/v1/admin/dlq/messages").key(key.expose()).send().await;
        assert_eq!(all.status, 200);
        let events = world.get("/v1/events").key(key.expose()).send().await;
        assert_eq!(events.status, 403);
        assert_eq!(events.detail(), "this route takes a tenant's key");
    }
}

#[tokio::test]
async fn without_caching_every_request_asks() {
    let settings = Settings { auth_cache_ms: 0, auth_refusal_cache_ms: 0, ..Settings::default() };
    let world = World::with(settings);
    let tenant: Tenant = world.tenant("acme").await;
    for n in 1..=3 {
        assert_eq!(list(&world, &tenant.key).await, 200);
        assert_eq!(identities(&world), n);
    }
}
