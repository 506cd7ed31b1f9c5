//! What an accepted event costs in requests and write units, counted on the wire.

use posthaste_ports::{Acceptance, EventStore as _, NewEvent};
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
