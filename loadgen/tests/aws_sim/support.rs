//! What the tests share: a simulator of its own for each test, and clients without retries, so
//! that every refusal is seen.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client as Dynamo;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, GlobalSecondaryIndex, KeySchemaElement,
    KeyType, Projection, ProjectionType, ScalarAttributeType,
};
use aws_sdk_sqs::Client as Sqs;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region, retry::RetryConfig};
use posthaste_loadgen::aws_sim::{AwsSim, Faults, Settings};

pub(crate) type Row = HashMap<String, AttributeValue>;

/// A simulator and its clients; it ends with the test.
pub(crate) struct Sim {
    sim: Option<AwsSim>,
    pub(crate) sqs: Sqs,
    pub(crate) dynamo: Dynamo,
}

impl Sim {
    pub(crate) fn start() -> Self {
        Self::with(Settings::default())
    }

    pub(crate) fn with(settings: Settings) -> Self {
        let sim = AwsSim::start(settings).unwrap();
        let sqs = sqs_config(&sim.url()).retry_config(RetryConfig::disabled()).build();
        let dynamo = dynamo_config(&sim.url()).retry_config(RetryConfig::disabled()).build();
        Self { sim: Some(sim), sqs: Sqs::from_conf(sqs), dynamo: Dynamo::from_conf(dynamo) }
    }

    pub(crate) fn sim(&self) -> &AwsSim {
        self.sim.as_ref().unwrap()
    }

    pub(crate) fn faults(&self, text: &str) {
        self.sim().set_faults(Faults::parse(text.as_bytes()).unwrap()).unwrap();
    }

    pub(crate) async fn queue(&self, name: &str) -> String {
        self.sqs.create_queue().queue_name(name).send().await.unwrap().queue_url.unwrap()
    }

    /// Tells its messages' bodies apart by number.
    pub(crate) async fn fill(&self, queue: &str, count: usize) {
        for number in 0..count {
            let body = number.to_string();
            self.sqs.send_message().queue_url(queue).message_body(body).send().await.unwrap();
        }
    }

    pub(crate) async fn receive(&self, queue: &str) -> Vec<aws_sdk_sqs::types::Message> {
        let call = self.sqs.receive_message().queue_url(queue).max_number_of_messages(10);
        let call = call
            .message_system_attribute_names(aws_sdk_sqs::types::MessageSystemAttributeName::All);
        call.send().await.unwrap().messages.unwrap_or_default()
    }

    /// A table like the one of events: hash key `t`, range key `e`, and the sparse index `work`
    /// (`wk`, `due`), keys only.
    pub(crate) async fn events(&self) {
        let kind = |name: &str, kind| {
            AttributeDefinition::builder()
                .attribute_name(name)
                .attribute_type(kind)
                .build()
                .unwrap()
        };
        let element = |name: &str, kind| {
            KeySchemaElement::builder().attribute_name(name).key_type(kind).build().unwrap()
        };
        let keys_only = Projection::builder().projection_type(ProjectionType::KeysOnly).build();
        let work = GlobalSecondaryIndex::builder()
            .index_name("work")
            .key_schema(element("wk", KeyType::Hash))
            .key_schema(element("due", KeyType::Range))
            .projection(keys_only)
            .build()
            .unwrap();
        let call = self.dynamo.create_table().table_name("events");
        let call = call
            .attribute_definitions(kind("t", ScalarAttributeType::S))
            .attribute_definitions(kind("e", ScalarAttributeType::S))
            .attribute_definitions(kind("wk", ScalarAttributeType::N))
            .attribute_definitions(kind("due", ScalarAttributeType::N))
            .key_schema(element("t", KeyType::Hash))
            .key_schema(element("e", KeyType::Range));
        let call = call.global_secondary_indexes(work).billing_mode(BillingMode::PayPerRequest);
        call.send().await.unwrap();
    }

    pub(crate) async fn put(&self, row: Row) {
        self.dynamo.put_item().table_name("events").set_item(Some(row)).send().await.unwrap();
    }

    pub(crate) async fn get(&self, t: &str, e: &str) -> Option<Row> {
        let call = self.dynamo.get_item().table_name("events").consistent_read(true);
        call.set_key(Some(key(t, e))).send().await.unwrap().item
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        if let Some(sim) = self.sim.take() {
            sim.stop().unwrap();
        }
    }
}

pub(crate) fn sqs_config(url: &str) -> aws_sdk_sqs::config::Builder {
    aws_sdk_sqs::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(credentials())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .endpoint_url(url)
}

pub(crate) fn dynamo_config(url: &str) -> aws_sdk_dynamodb::config::Builder {
    aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(credentials())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .endpoint_url(url)
}

fn credentials() -> Credentials {
    Credentials::new("sim", "sim", None, None, "tests")
}

pub(crate) fn s(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

pub(crate) fn n(number: i64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

pub(crate) fn row(attributes: &[(&str, AttributeValue)]) -> Row {
    attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

pub(crate) fn key(t: &str, e: &str) -> Row {
    row(&[("t", s(t)), ("e", s(e))])
}

/// The code of a refusal, or "ok".
pub(crate) trait Code {
    fn code(&self) -> String;
}

impl<T, E, R> Code for Result<T, aws_sdk_sqs::error::SdkError<E, R>>
where
    E: aws_sdk_sqs::error::ProvideErrorMetadata,
{
    fn code(&self) -> String {
        use aws_sdk_sqs::error::ProvideErrorMetadata as _;
        match self {
            Ok(_) => "ok".to_owned(),
            Err(error) => error.code().unwrap_or("no answer").to_owned(),
        }
    }
}
