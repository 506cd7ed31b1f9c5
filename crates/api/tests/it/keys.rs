//! Keys of a tenant: made, listed, revoked at once.

use posthaste_api::Settings;
use posthaste_domain::ApiKey;
use serde_json::Value;

use crate::support::{START, World};

const KEYS: &str = "/v1/tenants/acme/keys";

async fn list(world: &World, key: &str) -> Vec<Value> {
    let answer = world.get(KEYS).key(key).send().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["keys"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_new_key_works_beside_the_old_one() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    world.clock.advance(1000);
    let answer = world.post(KEYS).key(&tenant.key).send().await;
    assert_eq!(answer.status, 201);
    assert_eq!(answer.header("cache-control"), "no-store");
    let json = answer.json();
    let key = ApiKey::parse(json["api_key"].as_str().unwrap()).unwrap();
    assert_eq!(json["key_id"], key.hash().key_id());
    assert_eq!(json["created_at"], world.now().to_rfc3339());
    for key in [&tenant.key[..], key.expose()] {
        assert_eq!(world.get("/v1/events").key(key).send().await.status, 200);
    }
    let keys = list(&world, key.expose()).await;
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[0]["created_at"], START.to_rfc3339());
    assert_eq!(keys[1]["key_id"], key.hash().key_id());
    assert!(keys.iter().all(|key| key["active"] == true));
    assert!(keys.iter().all(|key| key.as_object().unwrap().len() == 3));
}

/// A revoked key is refused by the next request, although it was cached a moment ago.
#[tokio::test]
async fn a_revoked_key_stops_at_once() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    let made = world.post(KEYS).key(&tenant.key).send().await.json();
    let (second, id) = (made["api_key"].as_str().unwrap(), made["key_id"].as_str().unwrap());
    assert_eq!(world.get("/v1/events").key(second).send().await.status, 200);
    let answer = world.delete(&format!("{KEYS}/{id}")).key(&tenant.key).send().await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["key_id"], id);
    assert_eq!(answer.json()["active"], false);
    assert_eq!(world.get("/v1/events").key(second).send().await.status, 401);
    assert_eq!(world.get("/v1/events").key(&tenant.key).send().await.status, 200);
    let keys = list(&world, &tenant.key).await;
    assert_eq!((keys[0]["active"].clone(), keys[1]["active"].clone()), (true.into(), false.into()));
    // Again is the same.
    let again = world.delete(&format!("{KEYS}/{id}")).key(&tenant.key).send().await;
    assert_eq!(again.status, 200);
}

#[tokio::test]
async fn a_key_may_revoke_itself_and_the_admin_makes_a_new_one() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    let id = list(&world, &tenant.key).await[0]["key_id"].as_str().unwrap().to_owned();
    let path = format!("{KEYS}/{id}");
    assert_eq!(world.delete(&path).key(&tenant.key).send().await.status, 200);
    assert_eq!(world.delete(&path).key(&tenant.key).send().await.status, 401);
    let answer = world.post(KEYS).key(&world.admin).send().await;
    assert_eq!(answer.status, 201);
    let key = answer.json()["api_key"].as_str().unwrap().to_owned();
    assert_eq!(world.get("/v1/events").key(&key).send().await.status, 200);
}

#[tokio::test]
async fn a_key_that_is_not_there_is_not_found() {
    let world = World::new();
    let (tenant, other) = (world.tenant("acme").await, world.tenant("other").await);
    let foreign = ApiKey::parse(&other.key).unwrap().hash().key_id();
    for id in [&foreign[..], "000000000000", "x", "..", "%FF"] {
        let answer = world.delete(&format!("{KEYS}/{id}")).key(&tenant.key).send().await;
        assert_eq!(answer.status, 404, "{id}");
        assert_eq!(answer.detail(), "no such key");
    }
    assert_eq!(world.get("/v1/events").key(&other.key).send().await.status, 200);
    for (path, method) in [
        ("/v1/tenants/nobody/keys", http::Method::GET),
        ("/v1/tenants/nobody/keys", http::Method::POST),
    ] {
        assert_eq!(world.call(method, path).key(&world.admin).send().await.status, 404);
    }
}

#[tokio::test]
async fn live_keys_have_a_limit() {
    let settings = Settings { keys_per_tenant_max: 2, ..Settings::default() };
    let world = World::with(settings);
    let tenant = world.tenant("acme").await;
    let second = world.post(KEYS).key(&tenant.key).send().await.json();
    assert_eq!(world.post(KEYS).key(&tenant.key).send().await.status, 409);
    let id = second["key_id"].as_str().unwrap();
    assert_eq!(world.delete(&format!("{KEYS}/{id}")).key(&tenant.key).send().await.status, 200);
    assert_eq!(world.post(KEYS).key(&tenant.key).send().await.status, 201);
}
