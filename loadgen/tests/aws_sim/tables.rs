//! Making and describing tables.

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType, TableStatus,
    TimeToLiveSpecification, TimeToLiveStatus,
};

use crate::support::{Code as _, Sim, key, n};

#[tokio::test]
async fn a_table_is_described_as_it_was_made() {
    let sim = Sim::start();
    sim.events().await;
    let mut row = key("acme", "evt_1");
    row.insert("wk".to_owned(), n(1));
    row.insert("due".to_owned(), n(5));
    sim.put(row).await;
    let described = sim.dynamo.describe_table().table_name("events").send().await.unwrap();
    let table = described.table.unwrap();
    assert_eq!(table.table_status(), Some(&TableStatus::Active));
    assert_eq!(table.item_count(), Some(1));
    assert_eq!(table.key_schema()[1].attribute_name(), "e");
    assert_eq!(table.attribute_definitions().len(), 4);
    let mode = table.billing_mode_summary().unwrap().billing_mode();
    assert_eq!(mode, Some(&BillingMode::PayPerRequest));
    let index = &table.global_secondary_indexes()[0];
    assert_eq!((index.index_name(), index.item_count()), (Some("work"), Some(1)));
    let listed = sim.dynamo.list_tables().send().await.unwrap();
    assert_eq!(listed.table_names(), ["events"]);
}

#[tokio::test]
async fn tables_that_are_there_or_not_are_refused() {
    let sim = Sim::start();
    sim.events().await;
    let create = |name: &str, kind: &str| {
        let element = KeySchemaElement::builder().attribute_name("t").key_type(KeyType::Hash);
        let definition = AttributeDefinition::builder().attribute_name(kind);
        let definition = definition.attribute_type(ScalarAttributeType::S).build().unwrap();
        let call = sim.dynamo.create_table().table_name(name).key_schema(element.build().unwrap());
        let call = call.attribute_definitions(definition);
        call.billing_mode(BillingMode::PayPerRequest).send()
    };
    assert_eq!(create("events", "t").await.code(), "ResourceInUseException");
    assert_eq!(create("other", "u").await.code(), "ValidationException");
    assert_eq!(create("a b", "t").await.code(), "ValidationException");
    let lost = sim.dynamo.describe_table().table_name("nowhere").send().await;
    assert_eq!(lost.code(), "ResourceNotFoundException");
    let lost = sim.dynamo.get_item().table_name("nowhere").set_key(Some(key("a", "b")));
    assert_eq!(lost.send().await.code(), "ResourceNotFoundException");
    sim.dynamo.delete_table().table_name("events").send().await.unwrap();
    assert_eq!(create("events", "t").await.code(), "ok");
}

#[tokio::test]
async fn time_to_live_is_kept() {
    let sim = Sim::start();
    sim.events().await;
    let status = || async {
        let call = sim.dynamo.describe_time_to_live().table_name("events");
        let described = call.send().await.unwrap().time_to_live_description.unwrap();
        (described.time_to_live_status.unwrap(), described.attribute_name)
    };
    assert_eq!(status().await, (TimeToLiveStatus::Disabled, None));
    let ttl = TimeToLiveSpecification::builder().enabled(true).attribute_name("ttl");
    let ttl = ttl.build().unwrap();
    let set = || {
        let call = sim.dynamo.update_time_to_live().table_name("events");
        call.time_to_live_specification(ttl.clone()).send()
    };
    set().await.unwrap();
    assert_eq!(status().await, (TimeToLiveStatus::Enabled, Some("ttl".to_owned())));
    assert_eq!(set().await.code(), "ValidationException");
}
