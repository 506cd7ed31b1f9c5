//! Making and describing tables. They are active at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use super::key::{INVALID, Kind, Part, Schema};
use super::table::{Index, Projection, Table};
use super::{Call, Dynamo, bare, is_name, parse, served};
use crate::aws_sim::counters::Work;
use crate::aws_sim::refusal::Refusal;
use crate::aws_sim::state::Served;
use crate::shared::lock;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct CreateTable {
    table_name: String,
    attribute_definitions: Vec<Definition>,
    key_schema: Vec<Element>,
    #[serde(default)]
    global_secondary_indexes: Vec<IndexRequest>,
    billing_mode: Option<String>,
    provisioned_throughput: Option<Json>,
    #[serde(rename = "OnDemandThroughput")]
    _on_demand: Option<Json>,
    #[serde(rename = "SSESpecification")]
    _encryption: Option<Json>,
    #[serde(rename = "Tags")]
    _tags: Option<Json>,
    #[serde(rename = "TableClass")]
    _class: Option<String>,
    #[serde(rename = "DeletionProtectionEnabled")]
    _protected: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Definition {
    attribute_name: String,
    attribute_type: Kind,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Element {
    attribute_name: String,
    key_type: KeyType,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum KeyType {
    Hash,
    Range,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct IndexRequest {
    index_name: String,
    key_schema: Vec<Element>,
    projection: ProjectionRequest,
    #[serde(rename = "ProvisionedThroughput")]
    _throughput: Option<Json>,
    #[serde(rename = "OnDemandThroughput")]
    _on_demand: Option<Json>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct ProjectionRequest {
    projection_type: Option<ProjectionType>,
    #[serde(default)]
    non_key_attributes: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum ProjectionType {
    All,
    KeysOnly,
    Include,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct OfTable {
    table_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct ListTables {
    exclusive_start_table_name: Option<String>,
    limit: Option<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct UpdateTimeToLive {
    table_name: String,
    time_to_live_specification: Ttl,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Ttl {
    enabled: bool,
    attribute_name: String,
}

impl ProjectionRequest {
    fn read(&self) -> Result<Projection, Refusal> {
        let names = &self.non_key_attributes;
        match self.projection_type {
            Some(ProjectionType::All) if names.is_empty() => Ok(Projection::All),
            Some(ProjectionType::KeysOnly) if names.is_empty() => Ok(Projection::KeysOnly),
            Some(ProjectionType::Include) if !names.is_empty() => {
                Ok(Projection::Include(names.clone()))
            }
            None => Err(Refusal::invalid(format!("{INVALID} Unknown ProjectionType: null"))),
            Some(_) => Err(Refusal::invalid(format!(
                "{INVALID} NonKeyAttributes fit ProjectionType INCLUDE, and only that"
            ))),
        }
    }
}

fn schema(elements: &[Element], kinds: &BTreeMap<&str, Kind>) -> Result<Schema, Refusal> {
    let part = |element: &Element| {
        let name = element.attribute_name.clone();
        let kind = kinds.get(name.as_str()).copied().ok_or_else(|| {
            Refusal::invalid(format!(
                "{INVALID} Some index key attributes are not defined in AttributeDefinitions. \
                 Keys: [{name}]"
            ))
        })?;
        Ok::<_, Refusal>(Part { name, kind })
    };
    match elements {
        [hash] if hash.key_type == KeyType::Hash => Ok(Schema { hash: part(hash)?, range: None }),
        [hash, range] if hash.key_type == KeyType::Hash && range.key_type == KeyType::Range => {
            Ok(Schema { hash: part(hash)?, range: Some(part(range)?) })
        }
        _ => Err(Refusal::invalid(
            "Invalid KeySchema: the first element must be HASH, a second one RANGE",
        )),
    }
}

impl CreateTable {
    fn read(&self, body: &[u8], created_ms: u64) -> Result<Table, Refusal> {
        if !is_name(&self.table_name) {
            return Err(Refusal::invalid(
                "TableName must be at least 3 characters long and at most 255 characters long, \
                 and may contain only the characters a-z, A-Z, 0-9, '_', '-', and '.'",
            ));
        }
        let definitions = self.attribute_definitions.iter();
        let kinds: BTreeMap<&str, Kind> =
            definitions.map(|row| (row.attribute_name.as_str(), row.attribute_type)).collect();
        let schema_of_table = schema(&self.key_schema, &kinds)?;
        let mut indexes = Vec::new();
        for request in &self.global_secondary_indexes {
            let (name, projection) = (request.index_name.clone(), request.projection.read()?);
            if indexes.iter().any(|index: &Index| index.name == name) {
                return Err(Refusal::invalid(format!("{INVALID} Duplicate index name: {name}")));
            }
            indexes.push(Index::new(name, schema(&request.key_schema, &kinds)?, projection));
        }
        let is_used = |name: &str| {
            schema_of_table.has(name) || indexes.iter().any(|index| index.schema.has(name))
        };
        if kinds.keys().any(|name| !is_used(name)) {
            return Err(Refusal::invalid(format!(
                "{INVALID} Number of attributes in KeySchema does not exactly match number of \
                 attributes defined in AttributeDefinitions"
            )));
        }
        let on_demand = self.billing_mode.as_deref() == Some("PAY_PER_REQUEST");
        if !on_demand && self.provisioned_throughput.is_none() {
            return Err(Refusal::invalid(format!(
                "{INVALID} ReadCapacityUnits and WriteCapacityUnits must both be specified when \
                 BillingMode is PROVISIONED"
            )));
        }
        // It was read from there, so it is an object.
        let definition = serde_json::from_slice(body).unwrap_or_default();
        Ok(Table {
            name: self.table_name.clone(),
            schema: schema_of_table,
            indexes,
            partitions: BTreeMap::new(),
            item_count: 0,
            created_ms,
            ttl: None,
            definition,
        })
    }
}

impl Dynamo {
    pub(super) fn create(&self, call: &Call<'_>, body: &[u8]) -> Result<Served, Refusal> {
        let request: CreateTable = parse(body)?;
        let table = request.read(body, call.context.time.date_ms())?;
        let description = self.description(&table);
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        if tables.contains_key(&table.name) {
            let message = format!("Table already exists: {}", table.name);
            return Err(Refusal::new("ResourceInUseException", message));
        }
        tables.insert(table.name.clone(), Arc::new(Mutex::new(table)));
        Ok(served(&json!({ "TableDescription": description }), Work::default()))
    }

    pub(super) fn remove(&self, body: &[u8]) -> Result<Served, Refusal> {
        let request: OfTable = parse(body)?;
        let table = self.find_named(&request.table_name)?;
        let description = self.description(&lock(&table));
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        tables.remove(bare(&request.table_name));
        Ok(served(&json!({ "TableDescription": description }), Work::default()))
    }

    /// As the calls that manage tables say it.
    fn find_named(&self, name: &str) -> Result<Arc<Mutex<Table>>, Refusal> {
        self.find(name).map_err(|refusal| match refusal.code {
            "ResourceNotFoundException" => Refusal {
                message: format!("Requested resource not found: Table: {name} not found").into(),
                ..refusal
            },
            _ => refusal,
        })
    }

    pub(super) fn describe(&self, body: &[u8]) -> Result<Served, Refusal> {
        let request: OfTable = parse(body)?;
        let table = self.find_named(&request.table_name)?;
        let description = self.description(&lock(&table));
        Ok(served(&json!({ "Table": description }), Work::default()))
    }

    fn description(&self, table: &Table) -> Json {
        let arn = format!("arn:aws:dynamodb:{}:000000000000:table/{}", self.region, table.name);
        let mut description = Map::new();
        let mut copy = |name: &str| {
            if let Some(value) = table.definition.get(name) {
                description.insert(name.to_owned(), value.clone());
            }
        };
        for name in ["TableName", "AttributeDefinitions", "KeySchema", "DeletionProtectionEnabled"]
        {
            copy(name);
        }
        let mut add = |name: &str, value: Json| _ = description.insert(name.to_owned(), value);
        let throughput = table.definition.get("ProvisionedThroughput").cloned();
        let throughput = throughput.unwrap_or_else(|| {
            json!({ "ReadCapacityUnits": 0, "WriteCapacityUnits": 0, "NumberOfDecreasesToday": 0 })
        });
        add("ProvisionedThroughput", throughput);
        if let Some(mode) = table.definition.get("BillingMode") {
            add("BillingModeSummary", json!({ "BillingMode": mode }));
        }
        if let Some(Json::Array(requests)) = table.definition.get("GlobalSecondaryIndexes") {
            let indexes = requests.iter().zip(&table.indexes).map(|(request, index)| {
                let mut description = request.as_object().cloned().unwrap_or_default();
                let mut add = |name: &str, value: Json| {
                    _ = description.insert(name.to_owned(), value);
                };
                add("IndexStatus", "ACTIVE".into());
                add("IndexArn", format!("{arn}/index/{}", index.name).into());
                let places = index.entries.values().map(BTreeMap::len).sum::<usize>();
                add("ItemCount", places.into());
                Json::Object(description)
            });
            add("GlobalSecondaryIndexes", indexes.collect());
        }
        add("TableStatus", "ACTIVE".into());
        add("TableArn", arn.into());
        add("ItemCount", table.item_count.into());
        add("CreationDateTime", (table.created_ms as f64 / 1e3).into());
        Json::Object(description)
    }

    pub(super) fn list(&self, body: &[u8]) -> Result<Served, Refusal> {
        let request: ListTables = parse(body)?;
        let limit = request.limit.unwrap_or(100).clamp(1, 100);
        let after = request.exclusive_start_table_name.unwrap_or_default();
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        let mut names: Vec<_> =
            tables.keys().filter(|name| **name > after).take(limit + 1).collect();
        let mut answer = Map::new();
        if names.len() > limit {
            names.truncate(limit);
            answer.insert("LastEvaluatedTableName".to_owned(), json!(names.last()));
        }
        answer.insert("TableNames".to_owned(), json!(names));
        Ok(served(&answer, Work::default()))
    }

    pub(super) fn set_ttl(&self, body: &[u8]) -> Result<Served, Refusal> {
        let request: UpdateTimeToLive = parse(body)?;
        let table = self.find_named(&request.table_name)?;
        let Ttl { enabled, attribute_name } = request.time_to_live_specification;
        let mut table = lock(&table);
        if table.ttl.is_some() == enabled {
            let state = if enabled { "enabled" } else { "disabled" };
            return Err(Refusal::invalid(format!("TimeToLive is already {state}")));
        }
        let answer = json!({ "TimeToLiveSpecification": {
            "Enabled": enabled, "AttributeName": attribute_name } });
        table.ttl = enabled.then_some(attribute_name);
        drop(table);
        Ok(served(&answer, Work::default()))
    }

    pub(super) fn ttl(&self, body: &[u8]) -> Result<Served, Refusal> {
        let request: OfTable = parse(body)?;
        let table = self.find_named(&request.table_name)?;
        let description = match &lock(&table).ttl {
            Some(name) => json!({ "TimeToLiveStatus": "ENABLED", "AttributeName": name }),
            None => json!({ "TimeToLiveStatus": "DISABLED" }),
        };
        Ok(served(&json!({ "TimeToLiveDescription": description }), Work::default()))
    }
}
