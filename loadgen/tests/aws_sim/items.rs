//! Reading and writing single items and batches of them.

use std::collections::HashMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{
    AttributeValue, DeleteRequest, KeysAndAttributes, PutRequest, ReturnConsumedCapacity,
    ReturnValue, ReturnValuesOnConditionCheckFailure as OnFailure, WriteRequest,
};

use crate::support::{Code as _, Sim, key, n, row, s};

#[tokio::test]
async fn every_type_comes_back_as_it_was_put() {
    let sim = Sim::start();
    sim.events().await;
    let mut item = key("acme", "evt_1");
    let values = [
        ("b", AttributeValue::B(Blob::new([0, 255]))),
        ("bool", AttributeValue::Bool(true)),
        ("l", AttributeValue::L(vec![s("x"), n(-1)])),
        ("m", AttributeValue::M(row(&[("deep", s("y"))]))),
        ("n", AttributeValue::N("-12.5".to_owned())),
        ("null", AttributeValue::Null(true)),
        ("ss", AttributeValue::Ss(vec!["p".to_owned(), "q".to_owned()])),
    ];
    item.extend(row(&values));
    sim.put(item.clone()).await;
    assert_eq!(sim.get("acme", "evt_1").await, Some(item));
    assert_eq!(sim.get("acme", "evt_2").await, None);
    let call = sim.dynamo.get_item().table_name("events").set_key(Some(key("acme", "evt_1")));
    let call = call.projection_expression("m.deep, #n").expression_attribute_names("#n", "n");
    let part = call.send().await.unwrap().item.unwrap();
    assert_eq!(part.len(), 2);
    assert_eq!(part["m"].as_m().unwrap()["deep"], s("y"));
}

/// The write that starts an event's life: a second one is refused, and says what is there.
#[tokio::test]
async fn a_failed_condition_gives_the_item_that_failed_it() {
    let sim = Sim::start();
    sim.events().await;
    let mut item = key("acme", "evt_1");
    item.insert("requestHash".to_owned(), s("h1"));
    let put = || {
        let call = sim.dynamo.put_item().table_name("events").set_item(Some(item.clone()));
        let call = call.condition_expression("attribute_not_exists(t)");
        call.return_values_on_condition_check_failure(OnFailure::AllOld).send()
    };
    put().await.unwrap();
    let refused = put().await.unwrap_err().into_service_error();
    let aws_sdk_dynamodb::operation::put_item::PutItemError::ConditionalCheckFailedException(
        refused,
    ) = refused
    else {
        panic!("{refused:?}")
    };
    assert_eq!(refused.item.unwrap()["requestHash"], s("h1"));
}

#[tokio::test]
async fn an_update_is_conditional_and_gives_what_was_asked() {
    let sim = Sim::start();
    sim.events().await;
    let mut item = key("acme", "evt_1");
    item.extend(row(&[("status", s("PENDING")), ("attempts", n(0)), ("gone", s("x"))]));
    sim.put(item).await;
    let update = |attempts: i64, returned: ReturnValue| {
        let call = sim.dynamo.update_item().table_name("events");
        let call = call.set_key(Some(key("acme", "evt_1")));
        let call = call
            .update_expression("SET #s = :failed, attempts = attempts + :one REMOVE gone")
            .condition_expression("attempts = :expected")
            .expression_attribute_names("#s", "status")
            .expression_attribute_values(":failed", s("FAILED"))
            .expression_attribute_values(":one", n(1))
            .expression_attribute_values(":expected", n(attempts));
        call.return_values(returned).send()
    };
    let new = update(0, ReturnValue::UpdatedNew).await.unwrap().attributes.unwrap();
    assert_eq!(new, row(&[("status", s("FAILED")), ("attempts", n(1))]));
    let refused = update(0, ReturnValue::None).await;
    assert_eq!(refused.code(), "ConditionalCheckFailedException");
    let old = update(1, ReturnValue::AllOld).await.unwrap().attributes.unwrap();
    assert_eq!((old["attempts"].clone(), old.len()), (n(1), 4));
    assert_eq!(sim.get("acme", "evt_1").await.unwrap()["attempts"], n(2));
}

#[tokio::test]
async fn a_delete_is_conditional_and_gives_the_old_item() {
    let sim = Sim::start();
    sim.events().await;
    sim.put(key("acme", "evt_1")).await;
    let delete = |condition: &str| {
        let call = sim.dynamo.delete_item().table_name("events");
        let call = call.set_key(Some(key("acme", "evt_1"))).condition_expression(condition);
        call.return_values(ReturnValue::AllOld).send()
    };
    let refused = delete("attribute_exists(gone)").await;
    assert_eq!(refused.code(), "ConditionalCheckFailedException");
    let old = delete("attribute_exists(t)").await.unwrap().attributes;
    assert_eq!(old, Some(key("acme", "evt_1")));
    assert_eq!(sim.get("acme", "evt_1").await, None);
}

#[tokio::test]
async fn what_dynamodb_does_not_take_is_refused() {
    let sim = Sim::start();
    sim.events().await;
    let put = |item| sim.dynamo.put_item().table_name("events").set_item(Some(item)).send();
    assert_eq!(put(row(&[("t", s("a"))])).await.code(), "ValidationException");
    assert_eq!(put(key("", "b")).await.code(), "ValidationException");
    assert_eq!(put(row(&[("t", n(1)), ("e", s("b"))])).await.code(), "ValidationException");
    let mut wrong_index = key("a", "b");
    wrong_index.insert("due".to_owned(), s("soon"));
    assert_eq!(put(wrong_index).await.code(), "ValidationException");
    let mut large = key("a", "b");
    large.insert("payload".to_owned(), s(&"x".repeat(400 * 1024)));
    assert_eq!(put(large).await.code(), "ValidationException");
    let update = |text: &str| {
        let call = sim.dynamo.update_item().table_name("events").set_key(Some(key("a", "b")));
        call.update_expression(text).expression_attribute_values(":v", s("x")).send()
    };
    assert_eq!(update("SET e = :v").await.code(), "ValidationException", "a key");
    assert_eq!(update("SET status = :v").await.code(), "ValidationException", "a reserved word");
    assert_eq!(update("SET a = :w").await.code(), "ValidationException", "an unknown value");
    assert_eq!(update("SET a = :v").await.code(), "ok");
    // What the simulator has no meaning for is an error, not silence.
    let legacy = sim.dynamo.get_item().table_name("events").set_key(Some(key("a", "b")));
    assert_eq!(legacy.attributes_to_get("a").send().await.code(), "SerializationException");
}

#[tokio::test]
async fn batches_are_limited_and_write_what_they_say() {
    let sim = Sim::start();
    sim.events().await;
    let put = |number: usize| {
        let item = key("acme", &format!("evt_{number:02}"));
        let request = PutRequest::builder().set_item(Some(item)).build().unwrap();
        WriteRequest::builder().put_request(request).build()
    };
    let write = |requests| sim.dynamo.batch_write_item().request_items("events", requests).send();
    let written = write((0..25).map(put).collect()).await.unwrap();
    assert!(written.unprocessed_items.unwrap_or_default().is_empty());
    assert_eq!(write((0..26).map(put).collect()).await.code(), "ValidationException");
    assert_eq!(write(vec![put(1), put(1)]).await.code(), "ValidationException");
    let request = DeleteRequest::builder().set_key(Some(key("acme", "evt_03"))).build().unwrap();
    write(vec![WriteRequest::builder().delete_request(request).build()]).await.unwrap();
    let keys = (2..5).map(|number| key("acme", &format!("evt_{number:02}"))).collect();
    let keys = KeysAndAttributes::builder().set_keys(Some(keys)).build().unwrap();
    let read = sim.dynamo.batch_get_item().request_items("events", keys).send().await.unwrap();
    let found: HashMap<_, _> = read.responses.unwrap();
    assert_eq!(found["events"].len(), 2);
}

/// What a million deliveries cost is reckoned from these.
#[tokio::test]
async fn capacity_is_reckoned_as_dynamodb_bills_it() {
    let sim = Sim::start();
    sim.events().await;
    let put = |size: usize, in_index: bool| {
        let mut item = key("acme", "evt_1");
        item.insert("payload".to_owned(), s(&"x".repeat(size)));
        if in_index {
            item.extend(row(&[("wk", n(1)), ("due", n(1))]));
        }
        let call = sim.dynamo.put_item().table_name("events").set_item(Some(item));
        let call = call.return_consumed_capacity(ReturnConsumedCapacity::Indexes);
        async { call.send().await.unwrap().consumed_capacity.unwrap() }
    };
    assert_eq!(put(100, false).await.capacity_units(), Some(1.0));
    assert_eq!(put(1_500, false).await.capacity_units(), Some(2.0));
    assert_eq!(put(100, false).await.capacity_units(), Some(2.0), "the larger of old and new");
    let entered = put(100, true).await;
    assert_eq!(entered.capacity_units(), Some(2.0));
    assert_eq!(entered.global_secondary_indexes().unwrap()["work"].capacity_units(), Some(1.0));
    assert_eq!(put(200, true).await.capacity_units(), Some(1.0), "the index does not see it");
    sim.get("acme", "evt_1").await;
    let counted = sim.sim().counters().operations;
    assert_eq!(counted["PutItem"].write_units, 1 + 2 + 2 + 1 + 1);
    assert_eq!(counted["PutItem"].index_write_units, 1);
    assert!((counted["GetItem"].read_units - 1.0).abs() < f64::EPSILON);
}
