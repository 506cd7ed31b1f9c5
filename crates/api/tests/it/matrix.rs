//! Tenants are apart on every route: each operation of the OpenAPI documents, with every kind of
//! caller. A route without a row fails.

use std::collections::{BTreeMap, BTreeSet};

use http::Method;
use posthaste_api::{openapi, receiver_openapi};
use posthaste_domain::ApiKey;
use serde_json::Value;

use crate::support::{Answer, Tenant, World};

/// What a route answers to the tenant whose things the request names, to another tenant, and to
/// the admin. Nobody, a revoked and a malformed key get 401 wherever a key is needed.
struct Row {
    route: &'static str,
    body: &'static str,
    own: u16,
    other: u16,
    admin: u16,
}

const fn row(route: &'static str, body: &'static str, answers: [u16; 3]) -> Row {
    let [own, other, admin] = answers;
    Row { route, body, own, other, admin }
}

const NEW_TENANT: &str = "{\"tenant_id\":\"new\",\"target_url\":\"https://example.com/\"}";
const CHANGE: &str = "{\"target_url\":\"https://changed.example.com/\"}";

const ROWS: [Row; 20] = [
    // Events have no tenant in their path: another tenant posts and lists its own.
    row("POST /v1/events", "{}", [201, 201, 403]),
    row("POST /v1/events/batch", "[{}]", [207, 207, 403]),
    row("GET /v1/events", "", [200, 200, 403]),
    row("GET /v1/events/{event_id}", "", [200, 404, 403]),
    row("POST /v1/events/{event_id}/retry", "", [200, 404, 403]),
    row("POST /v1/tenants", NEW_TENANT, [403, 403, 201]),
    row("GET /v1/tenants/{tenant_id}", "", [200, 403, 200]),
    row("PATCH /v1/tenants/{tenant_id}", CHANGE, [200, 403, 200]),
    row("POST /v1/tenants/{tenant_id}/lift", "", [200, 403, 200]),
    row("POST /v1/tenants/{tenant_id}/keys", "", [201, 403, 201]),
    row("GET /v1/tenants/{tenant_id}/keys", "", [200, 403, 200]),
    row("DELETE /v1/tenants/{tenant_id}/keys/{key_id}", "", [200, 403, 200]),
    row("GET /v1/admin/dlq/messages", "", [200, 200, 200]),
    row("POST /v1/admin/dlq/requeue", "", [200, 200, 200]),
    row("POST /v1/admin/dlq/purge", "", [200, 200, 200]),
    row("POST /receiver/enable", "", [403, 403, 200]),
    row("POST /receiver/disable", "", [403, 403, 200]),
    // Without a key; a key changes nothing.
    row("POST /receiver/{tenant_id}/webhook", "{}", [401, 401, 401]),
    row("GET /receiver/status", "", [200, 200, 200]),
    row("GET /receiver/health", "", [200, 200, 200]),
];

/// The operations, each with the kinds of keys that it names.
fn operations() -> BTreeMap<String, BTreeSet<String>> {
    let mut found = BTreeMap::new();
    for document in [openapi(), receiver_openapi()] {
        let json = serde_json::to_value(&document).unwrap();
        for (path, item) in json["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let alternatives = operation["security"].as_array().cloned().unwrap_or_default();
                let keys = alternatives
                    .iter()
                    .flat_map(|alternative| alternative.as_object().unwrap().keys().cloned())
                    .collect();
                found.insert(format!("{} {path}", method.to_uppercase()), keys);
            }
        }
    }
    found
}

/// A world with two tenants, each with a dead event, a waiting event and a second key.
struct Scene {
    world: World,
    acme: Tenant,
    other: Tenant,
    dead: String,
    spare: ApiKey,
}

impl Scene {
    async fn new() -> Self {
        let world = World::new();
        let (acme, other) = (world.tenant("acme").await, world.tenant("other").await);
        let mut dead = vec![];
        for tenant in [&other, &acme] {
            world.event(tenant).await;
            let event = world.event(tenant).await;
            world.kill(tenant, event).await;
            dead.push(event.to_string());
        }
        let answer = world.post("/v1/tenants/acme/keys").key(&acme.key).send().await;
        let spare = ApiKey::parse(answer.json()["api_key"].as_str().unwrap()).unwrap();
        let dead = dead.pop().unwrap();
        Self { world, acme, other, dead, spare }
    }

    async fn ask(&self, row: &Row, key: Option<&str>) -> Answer {
        let (method, path) = row.route.split_once(' ').unwrap();
        let path = path
            .replace("{tenant_id}", "acme")
            .replace("{event_id}", &self.dead)
            .replace("{key_id}", &self.spare.hash().key_id());
        let call = self.world.call(Method::from_bytes(method.as_bytes()).unwrap(), &path);
        let call = call.body(row.body);
        match key {
            Some(key) => call.key(key).send().await,
            None => call.send().await,
        }
    }

    /// Everything that acme can see of its own.
    async fn acme_sees(&self) -> Vec<Value> {
        let mut seen = vec![];
        let event = format!("/v1/events/{}", self.dead);
        for path in [
            "/v1/events",
            &event,
            "/v1/tenants/acme",
            "/v1/tenants/acme/keys",
            "/v1/admin/dlq/messages",
        ] {
            let answer = self.world.get(path).key(&self.acme.key).send().await;
            assert_eq!(answer.status, 200, "{path}");
            seen.push(answer.json());
        }
        seen
    }
}

/// For all operations: there is a row, and the documented keys are those that get in.
#[test]
fn every_operation_has_a_row() {
    let operations = operations();
    let rows: BTreeSet<_> = ROWS.iter().map(|row| row.route.to_owned()).collect();
    assert_eq!(rows, operations.keys().cloned().collect());
    for row in &ROWS {
        let keys = &operations[row.route];
        if keys.is_empty() {
            continue;
        }
        assert_eq!(keys.contains("tenant_key"), row.own < 300, "{}", row.route);
        assert_eq!(keys.contains("admin_key"), row.admin < 300, "{}", row.route);
    }
}

/// For all operations and all good keys: exactly what the row says.
#[tokio::test]
async fn every_caller_gets_its_answer() {
    for row in &ROWS {
        for (name, expected) in [("own", row.own), ("other", row.other), ("admin", row.admin)] {
            let scene = Scene::new().await;
            let key = match name {
                "own" => &scene.acme.key,
                "other" => &scene.other.key,
                _ => &scene.world.admin,
            };
            let answer = scene.ask(row, Some(key)).await;
            assert_eq!(answer.status, expected, "{} as {name}: {answer:?}", row.route);
        }
    }
}

/// For all operations that need a key: without a good one 401, and nothing happens.
#[tokio::test]
async fn without_a_good_key_nobody_gets_in() {
    let operations = operations();
    for row in ROWS.iter().filter(|row| !operations[row.route].is_empty()) {
        let scene = Scene::new().await;
        let path = format!("/v1/tenants/acme/keys/{}", scene.spare.hash().key_id());
        scene.world.delete(&path).key(&scene.acme.key).send().await;
        let before = scene.acme_sees().await;
        let unknown = ApiKey::from_entropy(&[66; 32]);
        let mut malformed = scene.acme.key.clone();
        malformed.truncate(malformed.len() - 1);
        for key in [
            None,
            Some(scene.spare.expose()),
            Some(unknown.expose()),
            Some(&malformed[..]),
            Some("admin"),
        ] {
            let answer = scene.ask(row, key).await;
            assert_eq!(answer.status, 401, "{} with {key:?}", row.route);
        }
        assert_eq!(scene.acme_sees().await, before, "{}", row.route);
    }
}

/// For all operations: another tenant's request shows nothing of acme's and changes nothing.
#[tokio::test]
async fn another_tenant_neither_sees_nor_changes_anything() {
    for row in &ROWS {
        let scene = Scene::new().await;
        let before = scene.acme_sees().await;
        let answer = scene.ask(row, Some(&scene.other.key)).await;
        let text = String::from_utf8_lossy(&answer.body);
        assert!(!text.contains("acme"), "{}: {text}", row.route);
        assert!(!text.contains(&scene.dead), "{}: {text}", row.route);
        assert_eq!(scene.acme_sees().await, before, "{}", row.route);
    }
}

/// The control: the same comparison sees what the tenant itself changes.
#[tokio::test]
async fn the_comparison_sees_a_change() {
    let changing = ["PATCH", "DELETE"];
    let rows = ROWS.iter().filter(|row| {
        changing.iter().any(|method| row.route.starts_with(method))
            || ["/retry", "/requeue", "/purge", "/v1/events", "/lift"]
                .iter()
                .any(|end| row.route.starts_with("POST") && row.route.ends_with(end))
    });
    let mut count = 0;
    for row in rows {
        let scene = Scene::new().await;
        let before = scene.acme_sees().await;
        scene.ask(row, Some(&scene.acme.key)).await;
        assert_ne!(scene.acme_sees().await, before, "{}", row.route);
        count += 1;
    }
    assert_eq!(count, 7);
}
