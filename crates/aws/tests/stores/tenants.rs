//! Rows that people and earlier versions wrote: bare keys, rows without the newer attributes,
//! rows that make no tenant.

use posthaste_domain::{ApiKey, KeyHash, OptionsChange, Part, TargetUrl, TimeoutMs, WebhookSecret};
use posthaste_ports::{
    Acceptance, EventStore as _, Identity, PortError, TenantChange, TenantStore as _,
};
use serde_json::{Value, json};

use crate::harness::{IDENTITIES, START, TENANTS, World, acme, new_tenant};

fn active(name: &str, plan: &str) -> Identity {
    Identity { tenant: new_tenant(name).id, active: true, plan: plan.into() }
}

fn config_key(name: &str) -> Value {
    json!({ "tenantId": { "S": name } })
}

/// What is in the tables is what the contract says, to the letter.
#[tokio::test]
async fn the_rows_are_the_contracts() {
    let world = World::start().await;
    let hash = new_tenant("acme").key;
    let key = json!({ "apiKey": { "S": format!("sha256:{hash}") } });
    let identity = world.dynamo.item(IDENTITIES, &key).expect("the key has a row");
    assert_eq!(identity["tenantId"]["S"], "acme");
    assert_eq!(identity["status"]["S"], "active");
    assert_eq!(identity["plan"]["S"], "standard");
    assert_eq!(identity["createdAt"]["S"], "1800000000");
    let config = world.dynamo.item(TENANTS, &config_key("acme")).expect("a row");
    assert_eq!(config["targetUrl"]["S"], "https://example.com/hook");
    assert_eq!(config["webhookSecret"]["S"], "whsec_of_a_test");
    assert_eq!(config["previousSecrets"]["L"], json!([]));
    assert_eq!(config["lastUpdated"]["S"], "1800000000");
    world.stores.tenants.set_reception_enabled(false).await.unwrap();
    let global = world.dynamo.item(TENANTS, &config_key("__GLOBAL_CONFIG__")).expect("a row");
    assert_eq!(global["webhookReceptionEnabled"]["BOOL"], false);
}

/// A key is found under its hash, or bare; who has read the table does not get in with a hash.
#[tokio::test]
async fn a_bare_key_is_honoured_and_a_hash_is_no_key() {
    let world = World::start().await;
    let older = json!({ "apiKey": { "S": "tenant_acme_key" }, "tenantId": { "S": "acme" },
        "status": { "S": "active" }, "plan": { "S": "gold" } });
    world.dynamo.put(IDENTITIES, &older);
    let key = ApiKey::from_entropy(&[7; 32]);
    let tenants = &world.stores.tenants;
    assert_eq!(tenants.add_key(&acme(), key.hash(), START).await, Ok(true));
    assert_eq!(tenants.identity_of("tenant_acme_key").await, Ok(Some(active("acme", "gold"))));
    assert_eq!(tenants.identity_of(key.expose()).await, Ok(Some(active("acme", "standard"))));
    let hash = format!("sha256:{}", key.hash());
    for wrong in ["", "tenant_acme_ke", "nobody's", &hash] {
        assert_eq!(tenants.identity_of(wrong).await, Ok(None), "{wrong}");
    }
}

/// A tenant is created whole or not at all: a key that is somebody's makes no tenant.
#[tokio::test]
async fn a_taken_key_creates_no_tenant() {
    let world = World::start().await;
    let mut thief = new_tenant("globex");
    thief.key = new_tenant("acme").key;
    let answer = world.stores.tenants.create(thief).await;
    assert!(matches!(answer, Err(PortError::Transient(_))), "{answer:?}");
    assert_eq!(world.dynamo.item(TENANTS, &config_key("globex")), None);
    let owner = world.stores.tenants.identity(&new_tenant("acme").key).await;
    assert_eq!(owner, Ok(Some(active("acme", "standard"))));
}

/// A row with the contract's attributes alone is a tenant; a change of ours keeps what it does not
/// know, and the shard of the first target.
#[tokio::test]
async fn an_older_row_is_a_tenant_and_keeps_what_we_do_not_know() {
    let world = World::start().await;
    let older = json!({ "tenantId": { "S": "globex" },
        "targetUrl": { "S": "https://older.example.com/in" },
        "webhookSecret": { "S": "whsec_older" }, "lastUpdated": { "S": "1700000000" },
        "maxAttempts": { "N": "9" } });
    world.dynamo.put(TENANTS, &older);
    let globex = new_tenant("globex").id;
    let tenants = &world.stores.tenants;
    let before = tenants.tenant(&globex).await.unwrap().expect("a tenant");
    let target = TargetUrl::parse_stored("https://newer.example.com/in").unwrap();
    let change = TenantChange {
        target: Some(target.clone()),
        secret: None,
        options: OptionsChange::NOTHING,
        at: START,
    };
    let after = tenants.update(&globex, change).await.unwrap().expect("a tenant");
    assert_eq!((&after.target, after.shard_key), (&target, before.shard_key));
    assert!(after.version > before.version);
    assert_eq!(tenants.tenant(&globex).await, Ok(Some(after)));
    let row = world.dynamo.item(TENANTS, &config_key("globex")).unwrap();
    assert_eq!(row["maxAttempts"]["N"], "9");
    assert_eq!(row["webhookSecret"]["S"], "whsec_older");
    assert!(tenants.add_key(&globex, KeyHash::from_bytes([9; 32]), START).await.unwrap());
    assert_eq!(tenants.keys(&globex).await.unwrap().len(), 1);
}

/// A row without a secret, or with a target that is refused, is one clear line and no tenant; its
/// events are accepted all the same, and a change through the API mends it.
#[tokio::test]
async fn a_wrong_row_is_a_clear_line_until_it_is_mended() {
    let mut world = World::start().await;
    for (name, target, secret, line) in [
        ("no-secret", "https://example.com/", None, "no-secret has no webhookSecret"),
        (
            "bad-target",
            "ftp://example.com/?t0ken",
            Some("whsec_good"),
            "bad-target has a targetUrl",
        ),
    ] {
        let mut row = json!({ "tenantId": { "S": name }, "targetUrl": { "S": target } });
        if let Some(secret) = secret {
            row["webhookSecret"] = json!({ "S": secret });
        }
        world.dynamo.put(TENANTS, &row);
        let id = new_tenant(name).id;
        let read = world.stores.tenants.tenant(&id).await;
        let Err(PortError::Transient(told)) = &read else { panic!("{read:?}") };
        assert!(told.contains(line) && !told.contains("t0ken") && !told.contains('\n'), "{told}");
        let event = world.event(START, b"{}");
        let event = posthaste_ports::NewEvent { tenant: id.clone(), ..event };
        let accepted = world.stores.events.accept(vec![event.clone()]).await;
        assert_eq!(accepted, Ok(vec![Acceptance::Accepted(event.id)]));
        let mended = TenantChange {
            target: Some(TargetUrl::parse_stored("https://example.com/").unwrap()),
            secret: Some((WebhookSecret::try_new("whsec_mended").unwrap(), 0)),
            options: OptionsChange::NOTHING,
            at: START,
        };
        let mended = world.stores.tenants.update(&id, mended).await.unwrap();
        assert_eq!(world.stores.tenants.tenant(&id).await, Ok(mended));
    }
}

/// Nonsense in one option costs that option alone, and a change of another leaves it where it is.
#[tokio::test]
async fn a_wrong_option_stops_nothing() {
    let world = World::start().await;
    let wrong = json!({ "M": { "timeoutMs": { "N": "5" }, "paused": { "BOOL": true },
        "retry": { "S": "often" }, "futureOption": { "N": "1" } } });
    let row = json!({ "tenantId": { "S": "globex" }, "targetUrl": { "S": "https://example.com/" },
        "webhookSecret": { "S": "whsec_older" }, "deliveryOptions": wrong });
    world.dynamo.put(TENANTS, &row);
    let globex = new_tenant("globex").id;
    let tenants = &world.stores.tenants;
    let read = tenants.tenant(&globex).await.unwrap().expect("a tenant");
    assert!(read.options.paused);
    assert_eq!((read.options.timeout, &read.options.retry), (None, &None));
    let timeout = TimeoutMs::try_new(2_000).unwrap();
    let options = OptionsChange {
        timeout: Part::Set(timeout),
        paused: Part::Reset,
        ..OptionsChange::NOTHING
    };
    let change = TenantChange { target: None, secret: None, options, at: START };
    let changed = tenants.update(&globex, change).await.unwrap().expect("a tenant");
    assert_eq!((changed.options.timeout, changed.options.paused), (Some(timeout), false));
    assert_eq!(tenants.tenant(&globex).await, Ok(Some(changed)));
    let row = world.dynamo.item(TENANTS, &config_key("globex")).unwrap();
    let kept = json!({ "timeoutMs": { "N": "2000" }, "retry": { "S": "often" },
        "futureOption": { "N": "1" } });
    assert_eq!(row["deliveryOptions"]["M"], kept);
}
