//! Requeue (PROTOCOL 15 to 17): 1,000 dead letters, a function that is killed at every step, and
//! afterwards none is lost, none is stuck, and at most one batch of messages is double.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use posthaste_aws::SqsQueue;
use posthaste_domain::{
    DeadLetterCause, EventId, EventStatus, InstanceId, RowChange, RowKey, RowWrite, TenantId,
};
use posthaste_ports::{
    EventStore as _, NewEvent, Outgoing, Queue, Rows as _, WORK_PARTITIONS, Written,
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::host::{Function, Invoked};
use crate::proxy::{Calls, Proxy};
use crate::support::{
    PATIENCE, REQUEUE, World, acme, ask, now, proxy_event, refuses_what_is_hostile,
};

/// What one request of SQS carries: a step's messages.
const BATCH: usize = 10;
/// Enough for several steps, where a test is not about numbers.
const SOME: usize = 35;
/// It looks for them, writes their rounds, sends them, and tidies the DLQ.
const CALLS_MIN: usize = 12;
/// Crashes that are tried side by side.
const AT_ONCE: usize = 12;
const DAY_MS: u64 = 24 * 3_600_000;

/// Dead events of `acme`, each with its message in the DLQ.
async fn dead(world: &World, count: usize) -> Vec<RowKey> {
    let at = now();
    let number = |n: usize| u128::try_from(n).unwrap();
    let keys: Vec<_> = (0..count)
        .map(|n| RowKey { tenant: acme(), event: EventId::from_parts(at, number(n)) })
        .collect();
    let new = |key: &RowKey| NewEvent {
        tenant: key.tenant.clone(),
        id: key.event,
        payload: "{\"dead\":true}".into(),
        idempotency: None,
    };
    let accepted = world.events().accept_each(keys.iter().map(new).collect()).await;
    let accepted = accepted.unwrap();
    assert!(accepted.iter().all(Result::is_ok), "{accepted:?}");
    empty(world).await;
    let owner = || InstanceId::try_new("a-daemon").unwrap();
    let fail = RowChange::Fail {
        attempts: 1,
        attempts_seen: 0,
        interrupted: 0,
        owner: owner(),
        epoch_seen: 0,
        next_attempt_at: at,
        until: at.plus_millis(180_000),
        cause: Some(DeadLetterCause::AttemptsExhausted),
        at,
        attempt: None,
    };
    let die = RowChange::Die { owner: owner(), epoch: 1, attempts: 1, at };
    for change in [fail, die] {
        let write = |key: &RowKey| RowWrite { key: key.clone(), round: 0, change: change.clone() };
        let written = world.rows.write(keys.iter().map(write).collect()).await;
        assert!(written.iter().all(|answer| *answer == Ok(Written::Done)), "{written:?}");
    }
    let messages = keys.iter().map(|key| Outgoing {
        body: dead_body(key).to_string().into(),
        group: key.tenant.as_str().into(),
    });
    let sent = SqsQueue::dead_letters(&world.client).send(messages.collect()).await;
    assert!(sent.iter().all(Result::is_ok), "{sent:?}");
    keys
}

fn dead_body(key: &RowKey) -> Value {
    json!({ "tenantId": key.tenant.as_str(), "eventId": key.event.to_string(), "gen": 0,
        "cause": "attempts_exhausted", "attempts": 1, "error": null })
}

async fn empty(world: &World) {
    let queue = SqsQueue::main(&world.client);
    loop {
        let received = queue.receive(10, 0).await.unwrap();
        if received.is_empty() {
            return;
        }
        queue.delete(received.into_iter().map(|message| message.receipt).collect()).await;
    }
}

async fn invoke(function: &Function, event: &Value) -> Value {
    match function.invoke(event.to_string(), PATIENCE).await {
        Invoked::Answer(answer) => serde_json::from_slice(&answer).unwrap(),
        other => panic!("{other:?}: {}", function.log()),
    }
}

/// Every event is in a fresh round, and in the work index: a sweep finds it, whatever became of
/// its message. Says how many have no message, and how many more than one.
async fn check(world: &World, keys: &[RowKey]) -> (usize, usize) {
    for stored in world.rows.read(keys).await.unwrap() {
        let row = stored.expect("no event is lost").row;
        assert_eq!((row.status, row.round, row.attempts), (EventStatus::Pending, 1, 0));
    }
    let mut owed = BTreeSet::new();
    for partition in 0..WORK_PARTITIONS {
        let found = world.rows.owed(partition, now().plus_millis(DAY_MS), keys.len()).await;
        owed.extend(found.unwrap());
    }
    assert!(keys.iter().all(|key| owed.contains(key)), "no event is stuck");
    let mut sent: BTreeMap<String, usize> = BTreeMap::new();
    for message in world.messages().await {
        assert_eq!(message["gen"], 1, "{message}");
        *sent.entry(message["eventId"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    assert!(sent.values().all(|times| *times <= 2), "a message too many");
    let double = sent.values().filter(|times| **times > 1).count();
    (keys.len() - sent.len(), double)
}

#[tokio::test]
async fn a_thousand_dead_letters_survive_a_crash_at_every_step() {
    let world = World::start().await;
    let keys = dead(&world, 1_000).await;
    let event = json!({ "tenant": "acme" });
    let steps = [
        "Query",
        "BatchGetItem",
        "BatchExecuteStatement",
        "SendMessageBatch",
        "ReceiveMessage",
        "DeleteMessageBatch",
    ];
    let mut crashes = 0;
    for operation in steps {
        for calls in [Calls::before(operation, ""), Calls::after(operation, "")] {
            let proxy = Proxy::start(&world.sim.url()).await;
            let function = world.function_at(REQUEUE, &proxy.url);
            let point = proxy.hold(calls);
            // Bounded, so that there is something left for the next crash.
            let bounded = json!({ "tenant": "acme", "max": 60 });
            let (invoked, ()) =
                tokio::join!(function.invoke(bounded.to_string(), PATIENCE), async {
                    point.reached().await;
                    function.kill();
                });
            assert_eq!(invoked, Invoked::Ended, "{operation}");
            crashes += 1;
            // What the dead process had received is shown again.
            world.dead_messages().await;
        }
    }
    let function = world.function(REQUEUE);
    let answer = invoke(&function, &event).await;
    assert_eq!(answer["done"], true, "{answer}");
    let (missing, double) = check(&world, &keys).await;
    assert!(missing <= crashes * BATCH, "{missing} messages are missing");
    assert_eq!(double, 0, "a round is begun, and told, by one call");
    // What was received by processes that died comes again, and is stale by now.
    for _ in 0..4 {
        world.dead_messages().await;
        invoke(&function, &event).await;
    }
    assert_eq!(world.dead_messages().await, Vec::<Value>::new(), "the DLQ is empty");
}

/// For each call that it makes, whichever it is: a crash there costs at most one batch.
#[tokio::test]
async fn one_crash_costs_at_most_one_batch() {
    for (moment, calls) in [("before", Calls::before("", "")), ("after", Calls::after("", ""))] {
        let mut crashes = 0;
        loop {
            // They wait most of the time, so several go at once.
            let several = crashes..crashes + AT_ONCE;
            let all: JoinSet<_> =
                several.map(|passed| crashes_after(passed, calls, moment)).collect();
            let crashed = all.join_all().await.into_iter().filter(|crashed| *crashed).count();
            crashes += crashed;
            if crashed < AT_ONCE {
                break;
            }
        }
        assert!(crashes >= CALLS_MIN, "{moment}: only {crashes} calls");
    }
}

/// A crash at this call, and another function that goes on; false where there is no such call.
async fn crashes_after(passed: usize, calls: Calls, moment: &str) -> bool {
    let world = World::start().await;
    let keys = dead(&world, SOME).await;
    // So that there is something to give back.
    let foreign = json!({ "cause": "unreadable", "body": "x", "bytes": 1 }).to_string();
    let dlq = SqsQueue::dead_letters(&world.client);
    dlq.send(vec![Outgoing { body: foreign.into(), group: "nobody".into() }]).await;
    let proxy = Proxy::start(&world.sim.url()).await;
    let function = world.function_at(REQUEUE, &proxy.url);
    let given_back = proxy.count(Calls::before("ChangeMessageVisibilityBatch", ""));
    let point = proxy.hold_after(passed, calls);
    let event = json!({ "everything": true });
    let invoked = tokio::select! {
        biased;
        invoked = function.invoke(event.to_string(), PATIENCE) => invoked,
        () = async {
            point.reached_times(passed + 1).await;
            function.kill();
            std::future::pending().await
        } => unreachable!("it waits for ever"),
    };
    let crashed = match invoked {
        Invoked::Ended => true,
        Invoked::Answer(_) => false,
        other => panic!("{moment} {passed}: {other:?}"),
    };
    assert_eq!(crashed, point.met() > passed, "it ends there and nowhere else");
    assert!(crashed || given_back.met() > 0, "what belongs to no event is given back");
    point.open();
    world.dead_messages().await;
    assert_eq!(invoke(&function, &event).await["done"], true);
    let (missing, double) = check(&world, &keys).await;
    assert!(missing <= BATCH && double <= BATCH, "{moment} {passed}: {missing} {double}");
    crashed
}

/// A send whose answer is lost is sent again: that is the batch that may be double.
#[tokio::test]
async fn a_lost_answer_doubles_at_most_one_batch() {
    let world = World::start().await;
    let keys = dead(&world, SOME).await;
    let rule = json!({ "operation": "SendMessageBatch", "times": 1, "faults": { "lose": 1.0 } });
    world.faults(&json!({ "rules": [rule] }));
    let answer = invoke(&world.function(REQUEUE), &json!({ "tenant": "acme" })).await;
    assert_eq!((&answer["requeued"], &answer["done"]), (&json!(SOME), &json!(true)), "{answer}");
    world.mend();
    let (missing, double) = check(&world, &keys).await;
    assert_eq!(missing, 0);
    assert!((1..=BATCH).contains(&double), "{double}: the control is that one is");
}

#[tokio::test]
async fn an_outage_ends_the_call_and_the_next_one_goes_on() {
    let world = World::start().await;
    let keys = dead(&world, SOME).await;
    let function = world.function(REQUEUE);
    let faults = json!({ "unavailable": 1.0 });
    let down = json!({ "operation": "BatchExecuteStatement", "skip": 1, "faults": faults });
    world.faults(&json!({ "rules": [down] }));
    let answer = invoke(&function, &json!({ "tenant": "acme" })).await;
    assert_eq!(answer["done"], false, "{answer}");
    assert!(answer["fault"].is_string(), "{answer}");
    world.mend();
    let answer = invoke(&function, &json!({ "tenant": "acme" })).await;
    assert_eq!((&answer["done"], answer.get("fault")), (&json!(true), None), "{answer}");
    // Without SQS the rounds begin all the same, and a sweep finds them.
    assert_eq!(check(&world, &keys).await.1, 0);
}

/// It stops in time, and says that it did.
#[tokio::test]
async fn a_call_ends_before_its_time_does() {
    let world = World::start().await;
    let keys = dead(&world, SOME).await;
    let function = world.function(REQUEUE);
    // Less than what it keeps in hand: nothing is begun.
    let event = json!({ "tenant": "acme" }).to_string();
    let invoked = function.invoke(event, Duration::from_secs(4)).await;
    let Invoked::Answer(answer) = invoked else { panic!("{invoked:?}") };
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!((&answer["requeued"], &answer["done"]), (&json!(0), &json!(false)));
    let answer = invoke(&function, &json!({ "tenant": "acme", "max": 20 })).await;
    assert_eq!((&answer["requeued"], &answer["done"]), (&json!(20), &json!(false)), "{answer}");
    assert_eq!(answer["tidied"]["deleted"], 20, "only theirs: {answer}");
    let answer = invoke(&function, &json!({ "tenant": "acme" })).await;
    assert_eq!((&answer["requeued"], &answer["done"]), (&json!(15), &json!(true)), "{answer}");
    assert_eq!(check(&world, &keys).await, (0, 0));
    assert_eq!(world.dead_messages().await, Vec::<Value>::new());
}

/// What is named, or one tenant's, and nothing else; and what is no event's stays for people.
#[tokio::test]
async fn only_what_is_asked_for_is_requeued() {
    let world = World::start().await;
    let keys = dead(&world, SOME).await;
    let foreign = json!({ "cause": "unreadable", "body": "x", "bytes": 1 }).to_string();
    let dlq: Arc<dyn Queue> = Arc::new(SqsQueue::dead_letters(&world.client));
    dlq.send(vec![Outgoing { body: foreign.into(), group: "nobody".into() }]).await;
    let function = world.function(REQUEUE);
    let other = invoke(&function, &json!({ "tenant": "somebody-else" })).await;
    assert_eq!((&other["requeued"], &other["done"]), (&json!(0), &json!(true)), "{other}");
    assert_eq!(other["tidied"]["deleted"], 0, "{other}");
    let unknown = EventId::from_u128(7).to_string();
    let ids = [keys[3].event.to_string(), keys[9].event.to_string(), unknown];
    let answer = invoke(&function, &json!({ "tenant": "acme", "events": ids })).await;
    assert_eq!((&answer["requeued"], &answer["failed"]), (&json!(2), &json!(1)), "{answer}");
    check(&world, &[keys[3].clone(), keys[9].clone()]).await;
    let others = world.rows.read(&[keys[0].clone()]).await.unwrap();
    assert_eq!(others[0].as_ref().unwrap().row.status, EventStatus::Dlq);
    let answer = invoke(&function, &json!({ "everything": true })).await;
    assert_eq!(answer["requeued"], SOME - 2, "{answer}");
    assert_eq!(answer["tidied"]["foreign"], 1, "{answer}");
    assert_eq!(world.dead_messages().await.len(), 1, "the one that belongs to no event");
}

/// Behind the gateway it answers as ingest does, and tidies the queue.
#[tokio::test]
async fn the_api_requeues_and_tidies() {
    let world = World::start().await;
    let keys = dead(&world, SOME).await;
    let function = world.function(REQUEUE);
    let post = |authorizer: Value, key: &str| {
        proxy_event(json!({
            "path": "/v1/admin/dlq/requeue",
            "multiValueHeaders": { "authorization": [format!("Bearer {key}")] },
            "requestContext": { "authorizer": authorizer },
            "body": "{\"maxMessages\":1000}",
        }))
    };
    let context = |tenant: &str| json!({ "tenantId": tenant, "status": "active", "plan": "x" });
    let (key, admin) = (world.key.expose(), world.admin.expose());
    for (context, key) in [
        (Value::Null, key),
        (context("somebody-else"), key),
        (context("__ADMIN__"), key),
        (context("acme"), admin),
        (context("acme"), "phk_nobody"),
    ] {
        assert_eq!(ask(&function, &post(context.clone(), key)).await.status, 401, "{context}");
    }
    let answer = ask(&function, &post(context("acme"), key)).await;
    assert_eq!(answer.body, json!({ "requeued": SOME, "failed": 0 }));
    check(&world, &keys).await;
    assert_eq!(world.dead_messages().await, Vec::<Value>::new());
    assert!(TenantId::try_new("__ADMIN__").is_err());
}

/// The same for a purge: the rows say so, and no message of theirs keeps the queue's alarm up.
#[tokio::test]
async fn the_api_purges_and_tidies() {
    let world = World::start().await;
    let keys = dead(&world, SOME).await;
    let purge = proxy_event(json!({
        "path": "/v1/admin/dlq/purge",
        "multiValueHeaders": { "authorization": [format!("Bearer {}", world.key.expose())] },
        "requestContext": {
            "authorizer": { "tenantId": "acme", "status": "active", "plan": "x" },
        },
    }));
    let answer = ask(&world.function(REQUEUE), &purge).await;
    assert_eq!((answer.status, &answer.body["status"]), (200, &json!("purged")), "{answer:?}");
    for stored in world.rows.read(&keys).await.unwrap() {
        assert_eq!(stored.unwrap().row.status, EventStatus::Purged);
    }
    assert_eq!(world.dead_messages().await, Vec::<Value>::new());
}

#[tokio::test]
async fn a_hostile_event_is_an_error() {
    refuses_what_is_hostile(REQUEUE).await;
}
