//! What an accepted event, and its outcomes, cost in requests and write units, counted on the wire.

use posthaste_domain::{
    Attempt, ErrorClass, InstanceId, PhaseTimings, RowChange, RowKey, RowWrite, Verdict,
};
use posthaste_ports::{Acceptance, EventStore as _, NewEvent, Rows as _, Written};
use serde_json::{Value, json};

use crate::harness::{EVENTS, START, Stores, World, client, shared};
use crate::proxy::{Cut, Proxy};

/// What some events have cost.
#[derive(Debug, PartialEq)]
struct Cost {
    /// To DynamoDB.
    requests: usize,
    /// By DynamoDB's own reckoning of each item that was written.
    write_units: f64,
}

/// The cost of a call, its tenant known.
async fn cost(count: u8, payload: &[u8], with_key: bool) -> Cost {
    let mut world = World::start().await;
    let proxy = Proxy::start(&world.dynamo.url, Cut::Never).await;
    let stores = Stores::new(&client(&proxy.url).await, &shared(&world.queue));
    let first = world.event(START, b"{}");
    stores.events.accept(vec![first]).await.unwrap();
    let before = world.dynamo.items(EVENTS);
    proxy.set(Cut::Never);
    let events: Vec<NewEvent> =
        (0..count)
            .map(|n| {
                if with_key {
                    world.event_with_key(n, payload)
                } else {
                    world.event(START, payload)
                }
            })
            .collect();
    let accepted = stores.events.accept(events.clone()).await.unwrap();
    assert!(accepted.into_iter().eq(events.iter().map(|event| Acceptance::Accepted(event.id))));
    let requests = proxy.calls().len();
    let written: Vec<Value> =
        world.dynamo.items(EVENTS).into_iter().filter(|item| !before.contains(item)).collect();
    let write_units = written.iter().map(|item| units(&world, item)).sum();
    Cost { requests, write_units }
}

/// What writing an item costs, indexes included.
fn units(world: &World, item: &Value) -> f64 {
    let request =
        json!({ "TableName": "test-Events", "Item": item, "ReturnConsumedCapacity": "TOTAL" });
    let done = world.dynamo.database.put_item(serde_json::from_value(request).unwrap()).unwrap();
    let done = serde_json::to_value(done).unwrap();
    done["ConsumedCapacity"]["CapacityUnits"].as_f64().expect("a number")
}

/// The figures of the cost table: small, 2 KB and 10 KB payloads; without a key, with one,
/// and in a batch.
#[tokio::test]
async fn an_accepted_event_costs_what_is_said() {
    for (count, bytes, with_key, requests, write_units) in [
        (1, 500, false, 1, 1.0),
        (1, 2_000, false, 2, 4.0),
        (1, 10_000, false, 2, 11.0),
        (1, 500, true, 2, 2.0),
        (1, 2_000, true, 3, 5.0),
        (1, 10_000, true, 3, 12.0),
        (100, 500, false, 4, 100.0),
        (100, 2_000, true, 12, 500.0),
    ] {
        let payload = vec![b'x'; bytes];
        let cost = cost(count, &payload, with_key).await;
        println!("{count} of {bytes} bytes, key {with_key}: {cost:?}");
        assert_eq!(cost, Cost { requests, write_units }, "{count} of {bytes}, key {with_key}");
    }
}

/// An attempt whose receiver answered with so many bytes.
fn attempt(number: u32, verdict: Verdict, response: usize) -> Option<Box<Attempt>> {
    Some(Box::new(Attempt {
        number,
        at: START,
        duration_ms: 1_234,
        status_code: Some(if verdict == Verdict::Delivered { 200 } else { 503 }),
        verdict,
        error: (verdict != Verdict::Delivered).then(|| "e".repeat(100).into()),
        response: vec![b'r'; response].into(),
        phases: PhaseTimings::default(),
    }))
}

/// What the events that are written cost in units of the table, one after the other. The item is
/// put once more as each write leaves it, which costs what the write does.
async fn outcome_units(response: usize, verdicts: &[Verdict]) -> Vec<f64> {
    let mut world = World::start().await;
    let event = world.event(START, &[b'x'; 500]);
    world.stores.events.accept(vec![event.clone()]).await.unwrap();
    let key = RowKey { tenant: event.tenant, event: event.id };
    let mut costs = Vec::new();
    for (number, verdict) in (1..).zip(verdicts) {
        let attempt = attempt(number, *verdict, response);
        let change = if *verdict == Verdict::Delivered {
            RowChange::Deliver { attempts: number, at: START, attempt }
        } else {
            RowChange::Fail {
                attempts: number,
                attempts_seen: number - 1,
                interrupted: 0,
                owner: InstanceId::try_new("a-daemon").unwrap(),
                epoch_seen: u64::from(number > 1),
                next_attempt_at: START.plus_millis(60_000),
                until: START.plus_millis(240_000),
                cause: None,
                at: START,
                attempt,
            }
        };
        let write = RowWrite { key: key.clone(), round: 0, change };
        assert_eq!(world.stores.rows.write(vec![write]).await, [Ok(Written::Done)]);
        let rows = world.dynamo.items(EVENTS);
        let row = rows.iter().find(|item| item["eventId"]["S"] == key.event.to_string());
        let request = json!({
            "TableName": "test-Events",
            "Item": row.expect("the row is there"),
            "ReturnConsumedCapacity": "INDEXES",
        });
        let done = world.dynamo.database.put_item(serde_json::from_value(request).unwrap());
        let done = serde_json::to_value(done.unwrap()).unwrap();
        let units = done["ConsumedCapacity"]["Table"]["CapacityUnits"].as_f64();
        costs.push(units.unwrap_or_else(|| panic!("{done}")));
    }
    costs
}

/// A first attempt that succeeds costs one write unit, whatever the receiver answers. A failure
/// costs one more where the receiver's whole answer is kept, and it is kept once, not once an
/// attempt.
#[tokio::test]
async fn an_outcome_costs_what_is_said() {
    let failed = Verdict::Failed { class: ErrorClass::ServerError, retry_after_ms: None };
    let five = [failed; 5];
    for response in [0, 64, 1024] {
        assert_eq!(outcome_units(response, &[Verdict::Delivered]).await, [1.0], "{response}");
    }
    let short = outcome_units(64, &five).await;
    let whole = outcome_units(1024, &five).await;
    println!("failures answered with 64 bytes: {short:?}, with 1 KiB: {whole:?}");
    for (short, whole) in short.iter().zip(&whole) {
        assert_eq!(whole - short, 1.0, "{short} {whole}");
    }
}
