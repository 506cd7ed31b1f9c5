//! Searching tables and indexes.

use aws_sdk_dynamodb::types::Select;

use crate::support::{Code as _, Row, Sim, key, n, row, s};

async fn filled() -> Sim {
    let sim = Sim::start();
    sim.events().await;
    for number in 0..10 {
        let mut item = key("acme", &format!("evt_{number}"));
        item.insert("number".to_owned(), n(number));
        if number % 2 == 0 {
            item.extend(row(&[("wk", n(7)), ("due", n(100 - number))]));
        }
        sim.put(item).await;
    }
    sim.put(key("other", "evt_0")).await;
    sim
}

fn ids(items: &[Row]) -> Vec<String> {
    items.iter().map(|item| item["e"].as_s().unwrap().clone()).collect()
}

#[tokio::test]
async fn a_partition_is_read_in_order_and_by_pages() {
    let sim = filled().await;
    let query = |condition: &str| {
        let call = sim.dynamo.query().table_name("events").key_condition_expression(condition);
        call.expression_attribute_values(":t", s("acme"))
    };
    let all = query("t = :t").send().await.unwrap();
    assert_eq!(all.count(), 10);
    assert!(ids(all.items()).is_sorted());
    let mut seen = Vec::new();
    let mut start = None;
    loop {
        let page = query("t = :t").limit(3).scan_index_forward(false);
        let page = page.set_exclusive_start_key(start).send().await.unwrap();
        seen.extend(ids(page.items()));
        start = page.last_evaluated_key;
        if start.is_none() {
            break;
        }
    }
    let mut expected = ids(all.items());
    expected.reverse();
    assert_eq!(seen, expected);
    let from = query("t = :t AND e BETWEEN :a AND :b");
    let from = from.expression_attribute_values(":a", s("evt_3"));
    let from = from.expression_attribute_values(":b", s("evt_5")).send().await.unwrap();
    assert_eq!(ids(from.items()), ["evt_3", "evt_4", "evt_5"]);
    let prefix = query("t = :t AND begins_with(e, :a)");
    let prefix = prefix.expression_attribute_values(":a", s("evt_9")).send().await.unwrap();
    assert_eq!(ids(prefix.items()), ["evt_9"]);
}

#[tokio::test]
async fn forward_pages_neither_repeat_nor_skip() {
    let sim = filled().await;
    let (mut seen, mut start) = (Vec::new(), None);
    loop {
        let call = sim.dynamo.query().table_name("events").limit(4);
        let call = call.key_condition_expression("t = :t AND e > :e");
        let call = call.expression_attribute_values(":t", s("acme"));
        let call = call.expression_attribute_values(":e", s("evt_0"));
        let page = call.set_exclusive_start_key(start).send().await.unwrap();
        seen.extend(ids(page.items()));
        start = page.last_evaluated_key;
        if start.is_none() {
            break;
        }
    }
    let expected: Vec<_> = (1..10).map(|number| format!("evt_{number}")).collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_filter_is_looked_at_after_the_limit() {
    let sim = filled().await;
    let call = sim.dynamo.query().table_name("events").key_condition_expression("t = :t");
    let call = call.expression_attribute_values(":t", s("acme")).limit(4);
    let call = call.filter_expression("#n >= :three").expression_attribute_names("#n", "number");
    let page = call.expression_attribute_values(":three", n(3)).send().await.unwrap();
    assert_eq!((page.count(), page.scanned_count()), (1, 4));
    assert_eq!(page.last_evaluated_key.unwrap(), key("acme", "evt_3"));
}

/// The sweep: what is due, in the order in which it fell due, keys only.
#[tokio::test]
async fn a_sparse_index_holds_what_has_its_key() {
    let sim = filled().await;
    let due = |until: i64| {
        let call = sim.dynamo.query().table_name("events").index_name("work");
        let call = call.key_condition_expression("wk = :k AND due < :until");
        let call = call.expression_attribute_values(":k", n(7));
        call.expression_attribute_values(":until", n(until))
    };
    let found = due(97).send().await.unwrap();
    assert_eq!(ids(found.items()), ["evt_8", "evt_6", "evt_4"]);
    assert_eq!(found.items()[0].len(), 4, "keys only");
    let first = due(1_000).limit(2).send().await.unwrap();
    let rest = due(1_000).set_exclusive_start_key(first.last_evaluated_key).send().await.unwrap();
    assert_eq!((first.count, rest.count()), (2, 3));
    let leave = sim.dynamo.update_item().table_name("events");
    let leave = leave.set_key(Some(key("acme", "evt_8"))).update_expression("REMOVE wk, due");
    leave.send().await.unwrap();
    assert_eq!(ids(due(97).send().await.unwrap().items()), ["evt_6", "evt_4"]);
    let consistent = due(97).consistent_read(true).send().await;
    assert_eq!(consistent.code(), "ValidationException");
}

#[tokio::test]
async fn a_scan_sees_everything_once() {
    let sim = filled().await;
    let (mut seen, mut start) = (0, None);
    loop {
        let page = sim.dynamo.scan().table_name("events").limit(4);
        let page = page.set_exclusive_start_key(start).send().await.unwrap();
        seen += page.count();
        start = page.last_evaluated_key;
        if start.is_none() {
            break;
        }
    }
    assert_eq!(seen, 11);
    let mut counted = 0;
    for segment in 0..3 {
        let part = sim.dynamo.scan().table_name("events").segment(segment).total_segments(3);
        let part = part.select(Select::Count).send().await.unwrap();
        assert!(part.items.is_none());
        counted += part.count;
    }
    assert_eq!(counted, 11);
}

#[tokio::test]
async fn key_conditions_that_dynamodb_cannot_serve_are_refused() {
    let sim = filled().await;
    for condition in
        ["e = :v", "t > :v", "t = :v AND e <> :v", "t = :v OR e = :v", "t = :v AND x = :v"]
    {
        let call = sim.dynamo.query().table_name("events").key_condition_expression(condition);
        let refused = call.expression_attribute_values(":v", s("x")).send().await;
        assert_eq!(refused.code(), "ValidationException", "{condition}");
    }
}
