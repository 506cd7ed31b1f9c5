//! Tenants: made, looked at, changed; what is not lawful is refused with its reason.

use posthaste_api::{Settings, Trouble};
use posthaste_domain::{ApiKey, TenantId, Timestamp, WebhookSecret};
use posthaste_ports::TenantStore as _;
use serde_json::json;

use crate::support::{Answer, START, TARGET, Tenant, World};

/// R: refused when set; A and D: accepted.
const TARGETS: &str = include_str!("../../../domain/tests/cases/target_urls.tsv");

async fn create(world: &World, body: impl ToString) -> Answer {
    world.post("/v1/tenants").key(&world.admin).body(body.to_string()).send().await
}

async fn record(world: &World, id: &str) -> std::sync::Arc<posthaste_ports::TenantRecord> {
    let id = TenantId::try_new(id).unwrap();
    world.store.inner.tenant(&id).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_tenant_gets_a_key_and_a_secret_once() {
    let world = World::new();
    let answer = create(&world, json!({"tenant_id": "acme", "target_url": TARGET})).await;
    assert_eq!(answer.status, 201);
    assert_eq!(answer.header("cache-control"), "no-store");
    let json = answer.json();
    let mut names: Vec<_> = json.as_object().unwrap().keys().collect();
    names.sort();
    assert_eq!(
        names,
        ["api_key", "created_at", "message", "target_url", "tenant_id", "webhook_secret"]
    );
    assert_eq!(json["tenant_id"], "acme");
    assert_eq!(json["target_url"], TARGET);
    assert_eq!(json["created_at"], START.to_rfc3339());
    let key = ApiKey::parse(json["api_key"].as_str().unwrap()).unwrap();
    let secret = WebhookSecret::try_new(json["webhook_secret"].as_str().unwrap()).unwrap();
    assert!(secret.expose().starts_with("whsec_"));
    assert_eq!(record(&world, "acme").await.secrets.current(), &secret);
    let list = world.get("/v1/events").key(key.expose()).send().await;
    assert_eq!(list.status, 200);
    // Nothing shows either again.
    for path in ["/v1/tenants/acme", "/v1/tenants/acme/keys"] {
        let answer = world.get(path).key(key.expose()).send().await;
        assert_eq!(answer.status, 200);
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        assert!(!text.contains(secret.expose()) && !text.contains(key.expose()), "{text}");
    }
}

#[tokio::test]
async fn a_chosen_secret_is_taken() {
    let world = World::new();
    let wanted = json!({"tenant_id": "acme", "target_url": TARGET, "webhook_secret": "my-secret"});
    let answer = create(&world, wanted).await;
    assert_eq!(answer.json()["webhook_secret"], "my-secret");
    assert_eq!(record(&world, "acme").await.secrets.current().expose(), "my-secret");
}

#[tokio::test]
async fn a_tenant_is_made_once() {
    let world = World::new();
    let acme = world.tenant("acme").await;
    let wanted = json!({"tenant_id": "acme", "target_url": "https://evil.example.com/"});
    assert_eq!(create(&world, wanted).await.status, 409);
    assert_eq!(record(&world, "acme").await.target.as_str(), TARGET);
    assert_eq!(world.get("/v1/tenants/acme").key(&acme.key).send().await.status, 200);
}

#[tokio::test]
async fn only_the_admin_makes_tenants_unless_it_is_open() {
    let world = World::new();
    let acme = world.tenant("acme").await;
    let wanted = json!({"tenant_id": "other", "target_url": TARGET}).to_string();
    let post = |world: &World| world.post("/v1/tenants").body(wanted.clone());
    assert_eq!(post(&world).send().await.status, 401);
    assert_eq!(post(&world).key(&acme.key).send().await.status, 403);
    let open = World::with(Settings { open_tenant_creation: true, ..Settings::default() });
    assert_eq!(post(&open).send().await.status, 201);
}

#[tokio::test]
async fn a_tenant_that_is_not_lawful_is_refused() {
    let world = World::new();
    let long = "x".repeat(51);
    for id in ["", "ab", &long, "Acme", "a_b", "a b", "äbc", "../x", "__GLOBAL_CONFIG__", "a\0b"] {
        let answer = create(&world, json!({"tenant_id": id, "target_url": TARGET})).await;
        assert_eq!(answer.status, 400, "{id}");
        assert!(answer.detail().starts_with("a tenant id is 3 to 50"), "{answer:?}");
    }
    for secret in ["", "short", "has a space", "ünïcödé!", &"x".repeat(257)] {
        let wanted = json!({"tenant_id": "acme", "target_url": TARGET, "webhook_secret": secret});
        let answer = create(&world, wanted).await;
        assert_eq!(answer.status, 400, "{secret}");
        assert!(answer.detail().starts_with("webhook_secret: "), "{answer:?}");
        assert!(secret.is_empty() || !answer.detail().contains(secret), "{answer:?}");
    }
    let acme = TenantId::try_new("acme").unwrap();
    assert_eq!(world.store.inner.tenant(&acme).await, Ok(None));
    // The store was asked for nothing: the admin is known without it.
    assert_eq!(world.store.calls(), 0);
}

/// For all bodies of another shape: 422, or 400 where it is not even JSON; nothing is made.
#[tokio::test]
async fn a_body_of_another_shape_is_refused() {
    let world = World::new();
    for (body, status) in [
        ("", 400),
        ("{", 400),
        ("null", 422),
        ("[\"acme\",\"https://example.com/\",null]", 422),
        ("{}", 422),
        ("{\"tenant_id\":\"acme\"}", 422),
        ("{\"tenant_id\":\"acme\",\"target_url\":null}", 422),
        ("{\"tenant_id\":7,\"target_url\":\"https://example.com/\"}", 422),
        ("{\"tenant_id\":\"acme\",\"target_url\":\"https://example.com/\",\"more\":1}", 422),
        (
            "{\"tenant_id\":\"acme\",\"tenant_id\":\"b\",\"target_url\":\"https://example.com/\"}",
            422,
        ),
        ("{\"tenant_id\":\"\\ud800\",\"target_url\":\"https://example.com/\"}", 400),
    ] {
        assert_eq!(create(&world, body).await.status, status, "{body}");
    }
    let acme = TenantId::try_new("acme").unwrap();
    assert_eq!(world.store.inner.tenant(&acme).await, Ok(None));
}

/// For all lines of the case list: refused ones are refused at creation and at change, with a
/// reason, and change nothing; the others are taken.
#[tokio::test]
async fn every_target_of_the_case_list_comes_out_right_at_creation_and_change() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    let mut counts = [0, 0];
    for (number, line) in TARGETS.lines().enumerate().filter(|(_, line)| !line.starts_with('#')) {
        let (verdict, url) = line.split_once('\t').unwrap();
        let escapes = [("\\t", "\t"), ("\\r", "\r"), ("\\n", "\n"), ("\\0", "\0")];
        let url = escapes.iter().fold(url.to_owned(), |url, (from, to)| url.replace(from, to));
        let id = format!("line-{number}");
        let created = create(&world, json!({"tenant_id": id, "target_url": url})).await;
        let change = json!({"target_url": url}).to_string();
        let call = world.patch("/v1/tenants/acme").key(&tenant.key).body(change);
        let before = record(&world, "acme").await;
        let changed = call.send().await;
        if verdict == "R" {
            for answer in [&created, &changed] {
                assert_eq!(answer.status, 400, "{line}");
                assert!(answer.detail().starts_with("target_url: "), "{line}: {answer:?}");
            }
            assert_eq!(record(&world, "acme").await, before, "{line}");
            let id = TenantId::try_new(&id).unwrap();
            assert_eq!(world.store.inner.tenant(&id).await, Ok(None), "{line}");
        } else {
            assert_eq!((created.status, changed.status), (201, 200), "{line}");
        }
        counts[usize::from(verdict == "R")] += 1;
    }
    assert_eq!(counts, [19, 125], "lines are missing from the list");
}

#[tokio::test]
async fn a_tenant_is_shown_without_its_secret() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    let expected = json!({"tenant": {
        "tenant_id": "acme",
        "target_url": TARGET,
        "created_at": START.to_rfc3339(),
        "updated_at": START.to_rfc3339(),
        "delivery": {
            "timeout_ms": null,
            "retry": null,
            "rate_per_s": null,
            "in_flight_max": null,
            "headers": [],
            "paused": false,
            "lifted_at": null,
        },
    }});
    for key in [&tenant.key, &world.admin] {
        let answer = world.get("/v1/tenants/acme").key(key).send().await;
        assert_eq!((answer.status, answer.json()), (200, expected.clone()));
    }
}

#[tokio::test]
async fn a_change_is_told_without_its_secret() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    world.clock.advance(1000);
    let now = world.now();
    let patch = async |body: serde_json::Value| {
        world.patch("/v1/tenants/acme").key(&tenant.key).body(body.to_string()).send().await
    };
    let answer = patch(json!({"target_url": "https://example.org/x"})).await;
    let json = answer.json();
    assert_eq!(answer.status, 200);
    assert_eq!(json["tenant_id"], "acme");
    assert_eq!(json["target_url"], "https://example.org/x");
    assert_eq!(json["updated_at"], now.to_rfc3339());
    assert!(json["message"].is_string());
    assert_eq!(json.as_object().unwrap().len(), 4);
    let answer = patch(json!({"webhook_secret": "another-secret"})).await;
    assert_eq!(answer.status, 200);
    assert!(!String::from_utf8_lossy(&answer.body).contains("another-secret"));
    let secrets = record(&world, "acme").await.secrets.clone();
    let live = |at| secrets.live(at).map(WebhookSecret::expose).collect::<Vec<_>>();
    // The old one signs beside it for a day.
    let day = 24 * 3_600_000;
    assert_eq!(live(now.plus_millis(day - 1)), ["another-secret", &tenant.secret]);
    assert_eq!(live(now.plus_millis(day)), ["another-secret"]);
    // The admin may change it too.
    let both = json!({"target_url": TARGET, "webhook_secret": "third-secret"}).to_string();
    let answer = world.patch("/v1/tenants/acme").key(&world.admin).body(both).send().await;
    assert_eq!(answer.status, 200);
}

/// Where secrets do not overlap the old one is void at once, and the answer says so.
#[tokio::test]
async fn without_an_overlap_the_old_secret_is_void() {
    for (secret_overlap_ms, said) in [(0, "is void"), (1, "signs beside the new one")] {
        let world = World::with(Settings { secret_overlap_ms, ..Settings::default() });
        let tenant = world.tenant("acme").await;
        let body = json!({"webhook_secret": "another-secret"}).to_string();
        let answer = world.patch("/v1/tenants/acme").key(&tenant.key).body(body).send().await;
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(message.contains(said), "{message}");
        let secrets = record(&world, "acme").await.secrets.clone();
        let live = secrets.live(posthaste_api::Clock::now(&*world.clock)).count();
        assert_eq!(live, if secret_overlap_ms == 0 { 1 } else { 2 });
    }
}

/// For all changes that are none or not lawful: refused, and nothing changes.
#[tokio::test]
async fn a_change_that_is_not_lawful_changes_nothing() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    let before = record(&world, "acme").await;
    for (body, status) in [
        ("", 400),
        ("nonsense", 400),
        ("{}", 400),
        ("{\"target_url\":null,\"webhook_secret\":null}", 400),
        ("{\"webhook_secret\":\"short\"}", 400),
        ("{\"target_url\":\"https://example.org/\",\"webhook_secret\":\"short\"}", 400),
        ("{\"status\":\"DELIVERED\"}", 422),
        ("{\"tenant_id\":\"other\"}", 422),
        ("{\"target_url\":7}", 422),
        ("{\"target_url\":\"https://example.org/\",\"target_url\":\"https://example.org/\"}", 422),
        ("[\"https://example.org/\",null]", 422),
    ] {
        let call = world.patch("/v1/tenants/acme").key(&tenant.key).body(body);
        assert_eq!(call.send().await.status, status, "{body}");
    }
    assert_eq!(record(&world, "acme").await, before);
}

/// For all other tenants, there or not: the same 403; for the admin, 404.
#[tokio::test]
async fn another_tenant_is_out_of_sight() {
    let world = World::new();
    let tenant = world.tenant("acme").await;
    world.tenant("other").await;
    let change = "{\"target_url\":\"https://evil.example.com/\"}";
    for name in ["other", "nobody", "Not-Lawful", "..", "%2e%2e", "__GLOBAL_CONFIG__"] {
        let path = format!("/v1/tenants/{name}");
        let get = world.get(&path).key(&tenant.key).send().await;
        let patch = world.patch(&path).key(&tenant.key).body(change).send().await;
        let keys = world.get(&format!("{path}/keys")).key(&tenant.key).send().await;
        for answer in [get, patch, keys] {
            assert_eq!(answer.status, 403, "{name}");
            assert_eq!(answer.detail(), "this key belongs to another tenant");
        }
    }
    for name in ["nobody", "Not-Lawful", "%2e%2e"] {
        let path = format!("/v1/tenants/{name}");
        assert_eq!(world.get(&path).key(&world.admin).send().await.status, 404);
        let patch = world.patch(&path).key(&world.admin).body(change).send().await;
        assert_eq!(patch.status, 404);
    }
    assert_eq!(record(&world, "other").await.target.as_str(), TARGET);
}

/// A tenant sees that its endpoint is left alone, since when and until when; nobody else does.
#[tokio::test]
async fn a_tenant_sees_how_its_endpoint_is() {
    let world = World::new();
    let (acme, other) = (world.tenant("acme").await, world.tenant("other").await);
    let look = async |tenant: &Tenant| {
        let path = format!("/v1/tenants/{}", tenant.id);
        world.get(&path).key(&tenant.key).send().await.json()["tenant"]["trouble"].clone()
    };
    assert!(look(&acme).await.is_null(), "all is well");
    let trouble = Trouble {
        health: "tripped",
        since: Timestamp::from_millis(1_764_000_000_000),
        next_attempt_at: Some(Timestamp::from_millis(1_764_000_060_000)),
    };
    world.troubles.lock().unwrap().insert(acme.tenant_id(), trouble);
    let shown = json!({
        "health": "tripped",
        "since": "2025-11-24T16:00:00.000Z",
        "next_attempt_at": "2025-11-24T16:01:00.000Z",
    });
    assert_eq!(look(&acme).await, shown);
    assert!(look(&other).await.is_null());
}
