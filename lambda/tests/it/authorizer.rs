//! The authorizer: who gets in, who does not, and that no fault is an Allow.

use std::time::Duration;

use posthaste_domain::ApiKey;
use posthaste_ports::TenantStore as _;
use serde_json::{Value, json};

use crate::host::{Function, Invoked};
use crate::proxy::{Calls, Proxy};
use crate::support::{AUTHORIZER, PATIENCE, World, acme, hostile_events, new_key, refused};

const STAGE: &str = "arn:aws:execute-api:us-east-1:123456789012:70ixmpl4fl/prod/*";

/// The recorded event with another header.
fn token_event(header: Value) -> String {
    let recorded = include_str!("../events/token.json");
    let mut event: Value = serde_json::from_str(recorded).unwrap();
    event["authorizationToken"] = header;
    event.to_string()
}

fn bearer(key: &ApiKey) -> String {
    token_event(format!("Bearer {}", key.expose()).into())
}

async fn policy(function: &Function, event: String) -> Value {
    match function.invoke(event, PATIENCE).await {
        Invoked::Answer(answer) => serde_json::from_slice(&answer).unwrap(),
        other => panic!("{other:?}: {}", function.log()),
    }
}

fn statement(effect: &str) -> Value {
    json!({
        "Version": "2012-10-17",
        "Statement": [{ "Action": "execute-api:Invoke", "Effect": effect, "Resource": STAGE }],
    })
}

#[tokio::test]
async fn a_live_key_gets_in_until_it_is_revoked() {
    let world = World::start().await;
    let function = world.function(AUTHORIZER);
    let allowed = json!({
        "principalId": "acme",
        "policyDocument": statement("Allow"),
        "context": { "tenantId": "acme", "status": "active", "plan": "gold" },
    });
    assert_eq!(policy(&function, bearer(&world.key)).await, allowed);
    let denied = json!({ "principalId": "nobody", "policyDocument": statement("Deny") });
    assert_eq!(policy(&function, bearer(&new_key())).await, denied, "unknown");
    // The function remembers nothing: what API Gateway remembers (300 s) is the whole bound.
    world.tenants.revoke_key(&acme(), &world.key.hash()).await.unwrap();
    assert_eq!(policy(&function, bearer(&world.key)).await, denied, "revoked");
    let admin = policy(&function, bearer(&world.admin)).await;
    assert_eq!(admin["policyDocument"], statement("Allow"));
    assert_eq!(admin["context"]["tenantId"], "__ADMIN__");
}

/// For each key: one read of the one table that the function may read, and of no more of it.
#[tokio::test]
async fn a_look_up_is_one_read_of_what_is_needed() {
    let world = World::start().await;
    let proxy = Proxy::start(&world.sim.url()).await;
    let function = world.function_at(AUTHORIZER, &proxy.url);
    let reads = proxy.count(Calls::before("GetItem", ""));
    let table = "\"TableName\":\"posthaste-TenantIdentity\"";
    let lawful = [table, "\"ProjectionExpression\":\"#t, #s, #p\""]
        .map(|words| proxy.count(Calls::before("GetItem", words)));
    assert_eq!(policy(&function, bearer(&world.key)).await["principalId"], "acme");
    policy(&function, bearer(&world.admin)).await;
    assert_eq!(reads.met(), 1, "the admin costs none");
    assert_eq!(lawful.map(|reads| reads.met()), [1, 1]);
    let others = ["Query", "Scan", "BatchGetItem", "BatchExecuteStatement", "UpdateItem"];
    let others = others.map(|operation| proxy.count(Calls::before(operation, "")));
    policy(&function, bearer(&new_key())).await;
    assert_eq!(others.map(|calls| calls.met()), [0; 5]);
}

/// For all headers that are no key: 401, and nothing is looked up, which would fail here.
#[tokio::test]
async fn a_malformed_token_is_unauthorized() {
    let world = World::start().await;
    world.faults(&json!({ "dynamodb": { "unavailable": 1.0 } }));
    let function = world.function(AUTHORIZER);
    let key = world.key.expose();
    let unauthorized = ("Unauthorized".to_owned(), "Unauthorized".to_owned());
    for header in [
        Value::Null,
        json!(""),
        json!("Bearer"),
        json!("Bearer "),
        json!("Bearer x y"),
        json!(key),
        json!(format!("Basic {key}")),
        json!(format!("Bearer  {key}")),
        json!(format!("Bearer {}!", &key[..key.len() - 1])),
        json!(format!("Bearer phk_{}", "x".repeat(49))),
        json!("Bearer schlüssel"),
        json!("Bearer \u{0}\u{1f}"),
        json!(format!("Bearer {}", "x".repeat(1_000_000))),
    ] {
        let refused = refused(&function, &token_event(header.clone())).await;
        assert_eq!(refused, unauthorized, "{:.80}", header.to_string());
    }
    let pid = function.pid().await;
    assert!(pid.is_some(), "one process has answered all of them");
}

/// For all faults of the table: an error that API Gateway answers with 500 and does not remember.
#[tokio::test]
async fn a_fault_of_the_table_lets_nobody_in() {
    let world = World::start().await;
    let function = world.function(AUTHORIZER);
    for fault in ["throttle", "unavailable", "deny", "expired-token", "drop"] {
        world.faults(&json!({ "dynamodb": { fault: 1.0 } }));
        for key in [&world.key, &new_key()] {
            let (kind, message) = refused(&function, &bearer(key)).await;
            assert_eq!(
                (kind.as_str(), message.as_str()),
                ("Fault", "keys cannot be looked up now")
            );
        }
    }
    let log = function.stop().await;
    assert!(log.contains("no answer"), "{log}");
    world.mend();
    assert_eq!(policy(&function, bearer(&world.key)).await["principalId"], "acme");
}

/// A table that does not answer: Lambda ends the process, and the next one works.
#[tokio::test]
async fn a_hanging_table_ends_with_the_time_of_the_function() {
    let world = World::start().await;
    let function = world.function(AUTHORIZER);
    world.faults(&json!({ "dynamodb": { "hang": 1.0 } }));
    let invoked = function.invoke(bearer(&world.key), Duration::from_millis(300)).await;
    assert_eq!(invoked, Invoked::TimedOut);
    world.mend();
    assert_eq!(policy(&function, bearer(&world.key)).await["principalId"], "acme");
}

/// For all events that are not a TOKEN authorizer's: an error, in words that quote nothing, and
/// the process lives on.
#[tokio::test]
async fn a_hostile_event_is_an_error() {
    let world = World::start().await;
    let function = world.function(AUTHORIZER);
    assert_eq!(policy(&function, bearer(&world.key)).await["principalId"], "acme");
    let pid = function.pid().await;
    for event in hostile_events() {
        let (_, message) = refused(&function, &event.to_string()).await;
        assert!(!message.contains("canary"), "{message}");
    }
    assert_eq!(function.pid().await, pid, "the same process");
    let log = function.stop().await;
    assert!(!log.contains("canary"), "{log}");
}
