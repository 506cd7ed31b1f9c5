//! Makes queues and tables, for demos and tests.
//!
//! In production they are made by the CDK app, which adds alarms, encryption and backups; this
//! makes the same shapes on demand. What exists already is left alone.

use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::operation::create_table::CreateTableError;
use aws_sdk_dynamodb::operation::update_time_to_live::UpdateTimeToLiveError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ScalarAttributeType, TableStatus, TimeToLiveSpecification,
};
use aws_sdk_sqs::types::QueueAttributeName;

use crate::error::Call;
use crate::item::name;
use crate::{Client, Error};

/// For how long a received message is hidden, in seconds (PROTOCOL, constants).
const VISIBILITY_S: u64 = 180;
/// How long a message is kept that nobody receives, in seconds: 14 days, the most that SQS grants.
const RETENTION_S: u64 = 14 * 24 * 60 * 60;
/// How often a table that is being made is looked at, and how long between.
const TABLE_LOOKS_MAX: u32 = 60;
const TABLE_LOOK_MS: u64 = 500;

impl Client {
    /// Makes queues and tables that are not there yet, with indexes and expiry, and waits until
    /// they can be used.
    ///
    /// # Errors
    /// What AWS says about the first that cannot be made.
    pub async fn create(&self) -> Result<(), Error> {
        let names = self.names();
        for queue in [&names.queue, &names.dead_letter_queue] {
            self.create_queue(queue, VISIBILITY_S).await?;
        }
        self.create_tables().await
    }

    /// The tables alone, where the queues are somewhere else.
    ///
    /// # Errors
    /// What AWS says about the first that cannot be made.
    pub async fn create_tables(&self) -> Result<(), Error> {
        let names = self.names();
        self.create_events_table().await?;
        self.create_table(&names.tenants, Shape::key(name::TENANT)).await?;
        self.create_table(&names.identities, Shape::key("apiKey")).await
    }

    /// Makes a queue whose messages are hidden for `visibility_s` when they are received.
    ///
    /// # Errors
    /// What AWS says.
    pub async fn create_queue(&self, queue: &str, visibility_s: u64) -> Result<(), Error> {
        let resource = self.queue_named(queue);
        let call = Call { action: "sqs:CreateQueue", resource: &resource };
        let request = self.queue().create_queue().queue_name(queue);
        let answer = request
            .attributes(QueueAttributeName::VisibilityTimeout, visibility_s.to_string())
            .attributes(QueueAttributeName::MessageRetentionPeriod, RETENTION_S.to_string())
            .send()
            .await;
        match answer {
            Ok(_) => Ok(()),
            // There is one with other attributes, which somebody wanted so.
            Err(error) if error.as_service_error().is_some_and(is_made_otherwise) => Ok(()),
            Err(error) => Err(call.failed(&error)),
        }
    }

    async fn create_events_table(&self) -> Result<(), Error> {
        let shape = Shape {
            texts: vec![name::TENANT, name::EVENT, name::STANDING],
            numbers: vec![name::PARTITION, name::DUE],
            hash: name::TENANT,
            range: Some(name::EVENT),
            indexes: vec![
                (name::WORK_INDEX, name::PARTITION, name::DUE),
                (name::STANDING_INDEX, name::STANDING, name::EVENT),
            ],
        };
        let table = self.names().events.clone();
        self.create_table(&table, shape).await?;
        self.expire(&table).await
    }

    async fn create_table(&self, table: &str, shape: Shape) -> Result<(), Error> {
        let resource = self.table_named(table);
        let call = Call { action: "dynamodb:CreateTable", resource: &resource };
        let mut request = self.table().create_table().table_name(table);
        request = request.billing_mode(BillingMode::PayPerRequest);
        let texts = shape.texts.iter().map(|name| (*name, ScalarAttributeType::S));
        let numbers = shape.numbers.iter().map(|name| (*name, ScalarAttributeType::N));
        for (name, kind) in texts.chain(numbers) {
            let attribute = AttributeDefinition::builder().attribute_name(name);
            let attribute = attribute.attribute_type(kind).build();
            request = request.attribute_definitions(attribute.expect("name and type are set"));
        }
        request = request.set_key_schema(Some(schema(shape.hash, shape.range)));
        for (index, hash, range) in &shape.indexes {
            let keys = Projection::builder().projection_type(ProjectionType::KeysOnly).build();
            let index = GlobalSecondaryIndex::builder()
                .index_name(*index)
                .set_key_schema(Some(schema(hash, Some(range))))
                .projection(keys)
                .build();
            request = request.global_secondary_indexes(index.expect("name and keys are set"));
        }
        match request.send().await {
            Ok(_) => self.await_table(table).await,
            Err(error) => match error.as_service_error() {
                Some(CreateTableError::ResourceInUseException(_)) => self.await_table(table).await,
                _ => Err(call.failed(&error)),
            },
        }
    }

    pub(crate) async fn await_table(&self, table: &str) -> Result<(), Error> {
        let resource = self.table_named(table);
        let call = Call { action: "dynamodb:DescribeTable", resource: &resource };
        for _ in 0..TABLE_LOOKS_MAX {
            let answer = self.table().describe_table().table_name(table).send().await;
            let answer = answer.map_err(|error| call.failed(&error))?;
            let status = answer.table().and_then(|table| table.table_status());
            if status == Some(&TableStatus::Active) {
                return Ok(());
            }
            // DynamoDB has no call that waits.
            tokio::time::sleep(std::time::Duration::from_millis(TABLE_LOOK_MS)).await;
        }
        Err(call.unreadable("the table does not become active"))
    }

    async fn expire(&self, table: &str) -> Result<(), Error> {
        let resource = self.table_named(table);
        let call = Call { action: "dynamodb:UpdateTimeToLive", resource: &resource };
        let by = TimeToLiveSpecification::builder().attribute_name(name::TTL).enabled(true).build();
        let request = self.table().update_time_to_live().table_name(table);
        let by = by.expect("name and switch are set");
        match request.time_to_live_specification(by).send().await {
            Ok(_) => Ok(()),
            Err(error) => match error.as_service_error() {
                Some(refused) if is_enabled_already(refused) => Ok(()),
                _ => Err(call.failed(&error)),
            },
        }
    }
}

/// What a table looks like.
struct Shape {
    texts: Vec<&'static str>,
    numbers: Vec<&'static str>,
    hash: &'static str,
    range: Option<&'static str>,
    indexes: Vec<(&'static str, &'static str, &'static str)>,
}

impl Shape {
    /// A table of one key and nothing else.
    fn key(hash: &'static str) -> Self {
        let (texts, numbers, indexes) = (vec![hash], Vec::new(), Vec::new());
        Self { texts, numbers, hash, range: None, indexes }
    }
}

fn schema(hash: &str, range: Option<&str>) -> Vec<KeySchemaElement> {
    let element = |name: &str, kind| {
        let element = KeySchemaElement::builder().attribute_name(name).key_type(kind);
        element.build().expect("name and type are set")
    };
    let mut schema = vec![element(hash, KeyType::Hash)];
    schema.extend(range.map(|name| element(name, KeyType::Range)));
    schema
}

fn is_made_otherwise(error: &aws_sdk_sqs::operation::create_queue::CreateQueueError) -> bool {
    error.is_queue_name_exists()
}

/// AWS has no code of its own for it.
fn is_enabled_already(error: &UpdateTimeToLiveError) -> bool {
    error.message().is_some_and(|message| message.contains("already enabled"))
}
