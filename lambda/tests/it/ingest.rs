//! Ingest on AWS (PROTOCOL 1 to 3): the row, the message, then the 201; and every way in which it
//! can be kept from it.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use posthaste_domain::EventId;
use serde_json::{Value, json};

use crate::host::Invoked;
use crate::proxy::{Calls, Proxy};
use crate::support::{Answer, INGEST, PATIENCE, World, ask, proxy_event, refuses_what_is_hostile};

const PAYLOAD: &str = "{ \"type\":\"order.paid\",  \"ü\":1.0 }";

fn post(body: &str, key: Option<&str>) -> Value {
    let mut headers = json!({ "content-type": ["application/json"] });
    if let Some(key) = key {
        headers["Idempotency-Key"] = json!([key]);
    }
    proxy_event(json!({ "body": body, "multiValueHeaders": headers }))
}

fn event_id(answer: &Answer) -> EventId {
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.body["event_id"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_201_means_a_row_and_a_message_with_the_bytes_that_came() {
    let world = World::start().await;
    let function = world.function(INGEST);
    let id = event_id(&ask(&function, &post(PAYLOAD, None)).await);
    let stored = world.stored(id).await.expect("the row is there");
    assert_eq!(stored.payload.as_deref(), Some(PAYLOAD.as_bytes()));
    let messages = world.messages().await;
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert_eq!(messages[0]["eventId"], id.to_string());
    assert_eq!(
        (&messages[0]["tenantId"], &messages[0]["payload"]),
        (&"acme".into(), &PAYLOAD.into())
    );
}

/// As API Gateway sends it with binary media types; bytes that are no text are refused as such.
#[tokio::test]
async fn a_base64_body_is_the_bytes_that_it_stands_for() {
    let world = World::start().await;
    let function = world.function(INGEST);
    let encoded = |bytes: &[u8]| {
        proxy_event(json!({ "body": STANDARD.encode(bytes), "isBase64Encoded": true }))
    };
    let id = event_id(&ask(&function, &encoded(PAYLOAD.as_bytes())).await);
    let stored = world.stored(id).await.expect("the row is there");
    assert_eq!(stored.payload.as_deref(), Some(PAYLOAD.as_bytes()));
    for bad in [encoded(b"{\"a\":\"\xff\"}"), encoded(b"\xef\xbb\xbf{}"), encoded(b"")] {
        assert_eq!(ask(&function, &bad).await.status, 400);
    }
    let no_base64 = proxy_event(json!({ "body": "{\"a\":1}", "isBase64Encoded": true }));
    let answer = ask(&function, &no_base64).await;
    assert_eq!(answer.status, 400);
    assert!(answer.body["detail"].as_str().unwrap().contains("base64"), "{answer:?}");
    assert_eq!(world.messages().await.len(), 1);
}

/// A route that was left open by mistake is open to nobody, whatever the client says it is.
#[tokio::test]
async fn without_the_authorizers_context_nobody_gets_in() {
    let world = World::start().await;
    let function = world.function(INGEST);
    for authorizer in [
        Value::Null,
        json!({}),
        json!({ "principalId": "acme" }),
        json!({ "tenantId": "acme", "status": "suspended", "plan": "gold" }),
        json!({ "tenantId": "../acme", "status": "active" }),
    ] {
        let mut event = post(PAYLOAD, None);
        event["multiValueHeaders"]["Authorization"] =
            json!([format!("Bearer {}", world.key.expose())]);
        event["multiValueHeaders"]["tenantId"] = json!(["acme"]);
        event["requestContext"]["authorizer"] = authorizer.clone();
        let answer = ask(&function, &event).await;
        assert_eq!(answer.status, 401, "{authorizer}: {answer:?}");
    }
    let log = function.stop().await;
    assert!(log.contains("without the authorizer's context"), "{log}");
    assert_eq!(world.messages().await, Vec::<Value>::new());
}

/// The body's bytes say what it is; its declared type does not.
#[tokio::test]
async fn the_content_type_decides_nothing() {
    let world = World::start().await;
    let function = world.function(INGEST);
    for kind in ["text/plain", "application/xml", "application/json; charset=utf-16", "x", ""] {
        let mut event = post(PAYLOAD, None);
        event["multiValueHeaders"]["content-type"] = json!([kind]);
        assert_eq!(ask(&function, &event).await.status, 201, "{kind}");
        event["body"] = "<order/>".into();
        assert_eq!(ask(&function, &event).await.status, 400, "{kind}");
    }
    let mut compressed = post(PAYLOAD, None);
    compressed["multiValueHeaders"]["content-encoding"] = json!(["gzip"]);
    assert_eq!(ask(&function, &compressed).await.status, 415);
}

#[tokio::test]
async fn a_body_of_six_megabytes_is_refused() {
    let world = World::start().await;
    let function = world.function(INGEST);
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(6_000_000));
    let plain = post(&large, None);
    let encoded = proxy_event(json!({ "body": STANDARD.encode(&large), "isBase64Encoded": true }));
    let batch = proxy_event(json!({ "path": "/v1/events/batch", "body": format!("[{large}]") }));
    for event in [plain, encoded, batch] {
        let answer = ask(&function, &event).await;
        assert_eq!(answer.status, 413, "{answer:?}");
        assert!(answer.body["detail"].is_string());
    }
    assert_eq!(ask(&function, &post(PAYLOAD, None)).await.status, 201, "and it lives on");
}

/// A batch is one of rows and one of messages, with an answer for each entry.
#[tokio::test]
async fn a_batch_has_an_answer_for_each_entry() {
    let world = World::start().await;
    let function = world.function(INGEST);
    let entries = (0..30).map(|n| if n == 7 { "7".to_owned() } else { format!("{{\"n\":{n}}}") });
    let body = format!("[{}]", entries.collect::<Vec<_>>().join(","));
    let answer =
        ask(&function, &proxy_event(json!({ "path": "/v1/events/batch", "body": body }))).await;
    assert_eq!(answer.status, 207, "{answer:?}");
    let results = answer.body["results"].as_array().unwrap();
    assert_eq!(results.len(), 30);
    assert_eq!(results[7]["error"]["status"], 422);
    assert_eq!(results.iter().filter(|result| result["event_id"].is_string()).count(), 29);
    assert_eq!(world.messages().await.len(), 29);
    let stored = world.stored(results[29]["event_id"].as_str().unwrap().parse().unwrap()).await;
    assert_eq!(stored.unwrap().payload.as_deref(), Some(&b"{\"n\":29}"[..]));
}

/// SQS refuses some messages of a batch: each entry has its own answer, so that a client without a
/// key sends only those again that were not taken.
#[tokio::test]
async fn a_fault_with_an_entry_is_that_entrys_alone() {
    let world = World::start().await;
    let function = world.function(INGEST);
    world.faults(&json!({ "sqs": { "partial": 0.8 } }));
    let entries = (0..30).map(|n| format!("{{\"n\":{n}}}")).collect::<Vec<_>>().join(",");
    let batch = json!({ "path": "/v1/events/batch", "body": format!("[{entries}]") });
    let answer = ask(&function, &proxy_event(batch)).await;
    world.mend();
    assert_eq!(answer.status, 207, "{answer:?}");
    let results = answer.body["results"].as_array().unwrap();
    let failed: Vec<_> = results.iter().filter(|it| it["error"].is_object()).collect();
    assert!(!failed.is_empty() && failed.len() < 30, "{failed:?}");
    assert!(failed.iter().all(|it| it["error"]["status"] == 503), "{failed:?}");
    let taken = results.iter().filter_map(|it| it["event_id"].as_str());
    let messages = world.messages().await;
    let sent = messages.iter().filter_map(|message| message["eventId"].as_str());
    assert_eq!(sent.collect::<BTreeSet<_>>(), taken.collect::<BTreeSet<_>>());
}

/// SQS down: 503 and nothing promised; the client's retry with its key makes one event of it.
#[tokio::test]
async fn without_sqs_nothing_is_promised() {
    let world = World::start().await;
    let function = world.function(INGEST);
    let event = post(PAYLOAD, Some("order-17"));
    for fault in ["unavailable", "throttle", "deny"] {
        world.faults(&json!({ "sqs": { fault: 1.0 } }));
        let answer = ask(&function, &event).await;
        assert_eq!(answer.status, 503, "{fault}: {answer:?}");
        assert!(answer.headers["retry-after"][0].is_string(), "{answer:?}");
    }
    world.mend();
    assert_eq!(world.messages().await, Vec::<Value>::new());
    let id = event_id(&ask(&function, &event).await);
    assert_eq!(event_id(&ask(&function, &event).await), id, "the same key, the same event");
    let messages = world.messages().await;
    assert!(messages.iter().all(|message| message["eventId"] == id.to_string()), "{messages:?}");
    let first = messages.iter().filter(|message| message.get("again").is_none()).count();
    assert_eq!(first, 0, "whoever receives a second message reads the row first: {messages:?}");
    let log = function.stop().await;
    assert!(log.contains("access denied: sqs:"), "the operator is told why: {log}");
}

/// DynamoDB down: 503, and no message of an event that has no row.
#[tokio::test]
async fn without_dynamodb_nothing_is_sent() {
    let world = World::start().await;
    let function = world.function(INGEST);
    for fault in ["unavailable", "deny", "drop"] {
        world.faults(&json!({ "dynamodb": { fault: 1.0 } }));
        let answer = ask(&function, &post(PAYLOAD, None)).await;
        assert_eq!(answer.status, 503, "{fault}: {answer:?}");
        let batch = json!({ "path": "/v1/events/batch", "body": "[{},{}]" });
        assert_eq!(ask(&function, &proxy_event(batch)).await.status, 503, "{fault}");
    }
    world.mend();
    assert_eq!(world.messages().await, Vec::<Value>::new());
    assert_eq!(ask(&function, &post(PAYLOAD, None)).await.status, 201);
}

/// A queue that does not answer: a 503 while there is still time for one.
#[tokio::test]
async fn what_takes_too_long_is_given_up_in_time() {
    let world = World::start().await;
    let function = world.function(INGEST);
    world.faults(&json!({ "sqs": { "hang": 1.0 } }));
    let invoked = function.invoke(post(PAYLOAD, None).to_string(), Duration::from_secs(2)).await;
    let Invoked::Answer(answer) = invoked else { panic!("{invoked:?}") };
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(answer["statusCode"], 503, "{answer}");
    assert_eq!(answer["multiValueHeaders"]["retry-after"], json!(["1"]));
}

/// Killed at each step, before it and after it: the client's retry with its key makes one event
/// of it, and a 201 is given once its message is there.
#[tokio::test]
async fn killed_anywhere_a_retry_makes_one_event_of_it() {
    let world = World::start().await;
    let steps = [
        ("GetItem", ""),
        ("BatchExecuteStatement", "claimant"),
        ("BatchExecuteStatement", "PENDING"),
        ("GetQueueUrl", ""),
        ("SendMessageBatch", ""),
    ];
    for (number, (operation, words)) in steps.into_iter().enumerate() {
        for (moment, calls) in
            [("before", Calls::before(operation, words)), ("after", Calls::after(operation, words))]
        {
            let proxy = Proxy::start(&world.sim.url()).await;
            let function = world.function_at(INGEST, &proxy.url);
            let key = format!("order-{number}-{moment}");
            let event = post(PAYLOAD, Some(&key));
            let point = proxy.hold(calls);
            let invoked = tokio::join!(function.invoke(event.to_string(), PATIENCE), async {
                point.reached().await;
                function.kill();
            });
            assert_eq!(invoked.0, Invoked::Ended, "{operation} {moment}");
            point.open();
            let id = event_id(&ask(&function, &event).await);
            let is_it = |message: &&Value| message["eventId"] == id.to_string();
            let messages = world.messages().await;
            let mine: Vec<_> = messages.iter().filter(is_it).collect();
            let first = mine.iter().filter(|message| message.get("again").is_none()).count();
            assert!(first <= 1 && !mine.is_empty(), "{operation} {moment}: {mine:?}");
            assert!(world.stored(id).await.is_some(), "{operation} {moment}");
        }
    }
}

#[tokio::test]
async fn a_hostile_event_is_an_error() {
    refuses_what_is_hostile(INGEST).await;
}

#[tokio::test]
async fn a_hostile_request_is_answered() {
    let world = World::start().await;
    let function = world.function(INGEST);
    for fields in [
        json!({ "httpMethod": "G\u{e9}T" }),
        json!({ "path": "x".repeat(70_000) }),
        json!({ "multiValueHeaders": { "a\nb": ["c"] } }),
        json!({ "multiValueHeaders": { "a": ["b\u{0}"] } }),
    ] {
        assert_eq!(ask(&function, &proxy_event(fields.clone())).await.status, 400);
    }
    for (fields, status) in [
        (json!({ "path": "/v1/\u{0}\u{fc}?#%" }), 404),
        (json!({ "path": "//v1/events" }), 404),
        (json!({ "path": "/v1/events/" }), 404),
        (json!({ "path": "/v1/%65vents" }), 404),
        (json!({ "httpMethod": "TRACE" }), 405),
        (json!({ "httpMethod": "HEAD", "path": "/v1/tenants" }), 405),
        (json!({ "body": null }), 400),
        (json!({ "body": "[".repeat(100_000) }), 400),
    ] {
        let answer = ask(&function, &proxy_event(fields.clone())).await;
        assert_eq!(answer.status, status, "{:.60}: {answer:?}", fields.to_string());
    }
}
