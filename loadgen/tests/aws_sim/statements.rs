//! `PartiQL`, one by one and in batches.

use aws_sdk_dynamodb::types::{
    AttributeValue, BatchStatementErrorCodeEnum as Code_, BatchStatementRequest,
    ReturnValuesOnConditionCheckFailure as OnFailure,
};

use crate::support::{Code as _, Sim, key, n, row, s};

/// The write of an outcome, as the daemon would send it.
const SETTLE: &str = "UPDATE \"events\" SET \"status\"=?, attempts=? REMOVE wk, due \
    WHERE t=? AND e=? AND (\"status\"='PENDING' OR attempts=?)";

async fn filled(count: usize) -> Sim {
    let sim = Sim::start();
    sim.events().await;
    for number in 0..count {
        let mut item = key("acme", &format!("evt_{number}"));
        item.extend(row(&[("status", s("PENDING")), ("attempts", n(0))]));
        item.extend(row(&[("wk", n(1)), ("due", n(5))]));
        sim.put(item).await;
    }
    sim
}

fn settle(e: &str, attempts: i64) -> BatchStatementRequest {
    let request = BatchStatementRequest::builder().statement(SETTLE);
    let values = [s("DELIVERED"), n(attempts), s("acme"), s(e), n(attempts - 1)];
    let request = request.set_parameters(Some(values.to_vec()));
    request.return_values_on_condition_check_failure(OnFailure::AllOld).build().unwrap()
}

#[tokio::test]
async fn a_batch_settles_each_row_by_its_own_condition() {
    let sim = filled(3).await;
    let batch =
        |requests| sim.dynamo.batch_execute_statement().set_statements(Some(requests)).send();
    let first = batch((0..3).map(|number| settle(&format!("evt_{number}"), 1)).collect());
    let first = first.await.unwrap().responses.unwrap();
    assert!(first.iter().all(|response| response.error().is_none()));
    let row = sim.get("acme", "evt_0").await.unwrap();
    assert_eq!((row["status"].clone(), row.contains_key("wk")), (s("DELIVERED"), false));
    let second = vec![settle("evt_0", 2), settle("evt_1", 7), settle("evt_9", 1)];
    let second = batch(second).await.unwrap().responses.unwrap();
    assert!(second[0].error().is_none());
    let failed = second[1].error().unwrap();
    assert_eq!(failed.code(), Some(&Code_::ConditionalCheckFailed));
    assert_eq!(failed.item().unwrap()["attempts"], n(1));
    let missing = second[2].error().unwrap();
    assert_eq!(missing.code(), Some(&Code_::ConditionalCheckFailed));
    assert!(missing.item().is_none());
}

#[tokio::test]
async fn statements_insert_select_update_and_delete() {
    let sim = filled(2).await;
    let run = |text: &str, values: Vec<AttributeValue>| {
        let values = Some(values).filter(|values| !values.is_empty());
        sim.dynamo.execute_statement().statement(text).set_parameters(values).send()
    };
    let insert =
        "INSERT INTO \"events\" VALUE {'t': 'acme', 'e': ?, 'tags': ['x', 1], 'a': {'b': ?}}";
    run(insert, vec![s("evt_7"), n(3)]).await.unwrap();
    let twice = run(insert, vec![s("evt_7"), n(3)]).await;
    assert_eq!(twice.code(), "DuplicateItemException");
    let select = "SELECT e, a.b FROM events WHERE t = 'acme' AND e = ?";
    let found = run(select, vec![s("evt_7")]).await.unwrap().items.unwrap();
    assert_eq!(found[0]["a"].as_m().unwrap()["b"], n(3));
    let many = run("SELECT * FROM \"events\" WHERE t='acme' AND attempts IS NOT MISSING", vec![]);
    assert_eq!(many.await.unwrap().items.unwrap().len(), 2);
    let index = run("SELECT e FROM \"events\".\"work\" WHERE wk = 1 AND due < ?", vec![n(9)]);
    assert_eq!(index.await.unwrap().items.unwrap().len(), 2);
    let update = "UPDATE events SET attempts = attempts + 1 SET note='it''s' \
        WHERE t='acme' AND e='evt_0' AND note IS MISSING RETURNING ALL OLD *";
    let old = run(update, vec![]).await.unwrap().items.unwrap();
    assert_eq!(old[0]["attempts"], n(0));
    assert_eq!(run(update, vec![]).await.code(), "ConditionalCheckFailedException");
    assert_eq!(sim.get("acme", "evt_0").await.unwrap()["note"], s("it's"));
    run("DELETE FROM events WHERE t='acme' AND e='evt_0'", vec![]).await.unwrap();
    assert_eq!(sim.get("acme", "evt_0").await, None);
}

#[tokio::test]
async fn a_search_by_statement_goes_on_where_it_stopped() {
    let sim = filled(7).await;
    let (mut seen, mut token) = (Vec::new(), None);
    loop {
        let call = sim.dynamo.execute_statement().statement("SELECT e FROM events WHERE t='acme'");
        let page = call.limit(3).set_next_token(token).send().await.unwrap();
        seen.extend(page.items.unwrap().iter().map(|item| item["e"].clone()));
        token = page.next_token;
        if token.is_none() {
            break;
        }
    }
    assert_eq!(seen, (0..7).map(|number| s(&format!("evt_{number}"))).collect::<Vec<_>>());
}

#[tokio::test]
async fn statements_that_dynamodb_does_not_take_are_refused() {
    let sim = filled(1).await;
    for text in [
        "UPDATE events SET a=1",
        "UPDATE events SET a=1 WHERE t='acme'",
        "UPDATE events SET e='x' WHERE t='acme' AND e='evt_0'",
        "UPDATE events SET a=? WHERE t='acme' AND e='evt_0'",
        "DELETE events WHERE t='acme'",
        "SELECT * FROM",
        "",
    ] {
        let refused = sim.dynamo.execute_statement().statement(text).send().await;
        assert_eq!(refused.code(), "ValidationException", "{text}");
    }
    let lost = sim.dynamo.execute_statement().statement("SELECT * FROM nowhere").send().await;
    assert_eq!(lost.code(), "ResourceNotFoundException");
    let request = |text: &str| BatchStatementRequest::builder().statement(text).build().unwrap();
    let mixed = sim.dynamo.batch_execute_statement().statements(settle("evt_0", 1));
    let mixed = mixed.statements(request("SELECT * FROM events WHERE t='acme' AND e='x'"));
    assert_eq!(mixed.send().await.code(), "ValidationException");
    let many = (0..26).map(|_| settle("evt_0", 1)).collect();
    let many = sim.dynamo.batch_execute_statement().set_statements(Some(many));
    assert_eq!(many.send().await.code(), "ValidationException");
    // One that is wrong does not keep the others.
    let some = sim.dynamo.batch_execute_statement().statements(request("UPDATE nonsense"));
    let some = some.statements(settle("evt_0", 1)).send().await.unwrap().responses.unwrap();
    assert_eq!(some[0].error().unwrap().code(), Some(&Code_::ValidationError));
    assert!(some[1].error().is_none());
}
