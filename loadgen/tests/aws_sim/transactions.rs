//! `TransactWriteItems`.

use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{
    ConditionCheck, Put, ReturnValuesOnConditionCheckFailure as OnFailure, TransactWriteItem,
    Update,
};

use crate::support::{Code as _, Sim, key, n, row, s};

fn put(e: &str) -> TransactWriteItem {
    let put = Put::builder().table_name("events").set_item(Some(key("acme", e)));
    let put = put.condition_expression("attribute_not_exists(t)").build().unwrap();
    TransactWriteItem::builder().put(put).build()
}

fn count(e: &str, expected: i64) -> TransactWriteItem {
    let update = Update::builder().table_name("events").set_key(Some(key("acme", e)));
    let update = update
        .update_expression("SET attempts = attempts + :one")
        .condition_expression("attempts = :expected")
        .expression_attribute_values(":one", n(1))
        .expression_attribute_values(":expected", n(expected))
        .return_values_on_condition_check_failure(OnFailure::AllOld);
    TransactWriteItem::builder().update(update.build().unwrap()).build()
}

#[tokio::test]
async fn all_is_written_or_nothing() {
    let sim = Sim::start();
    sim.events().await;
    let mut item = key("acme", "evt_1");
    item.extend(row(&[("attempts", n(0))]));
    sim.put(item).await;
    let write = |items| sim.dynamo.transact_write_items().set_transact_items(Some(items)).send();
    write(vec![put("evt_2"), count("evt_1", 0)]).await.unwrap();
    let refused = write(vec![put("evt_3"), count("evt_1", 0)]).await.unwrap_err();
    let TransactWriteItemsError::TransactionCanceledException(refused) =
        refused.into_service_error()
    else {
        panic!("another error")
    };
    let reasons = refused.cancellation_reasons();
    assert_eq!(reasons[0].code(), Some("None"));
    assert_eq!(reasons[1].code(), Some("ConditionalCheckFailed"));
    assert_eq!(reasons[1].item().unwrap()["attempts"], n(1));
    assert_eq!(sim.get("acme", "evt_3").await, None);
    let check = ConditionCheck::builder().table_name("events").set_key(Some(key("acme", "evt_2")));
    let check = check.condition_expression("attribute_exists(t)").build().unwrap();
    let check = TransactWriteItem::builder().condition_check(check).build();
    write(vec![check, put("evt_3")]).await.unwrap();
    assert_eq!(write(vec![put("evt_4"), count("evt_4", 0)]).await.code(), "ValidationException");
}

/// A client that lost the answer sends the same call again, with the same token.
#[tokio::test]
async fn a_token_makes_a_repetition_harmless() {
    let sim = Sim::start();
    sim.events().await;
    let mut item = key("acme", "evt_1");
    item.extend(row(&[("attempts", n(0)), ("x", s("y"))]));
    sim.put(item).await;
    let write = |expected| {
        let call = sim.dynamo.transact_write_items().client_request_token("token");
        call.transact_items(count("evt_1", expected)).send()
    };
    write(0).await.unwrap();
    write(0).await.unwrap();
    assert_eq!(write(1).await.code(), "IdempotentParameterMismatchException");
    assert_eq!(sim.get("acme", "evt_1").await.unwrap()["attempts"], n(1));
    sim.sim().skip_ms(600_000);
    assert_eq!(write(0).await.code(), "TransactionCanceledException");
}
