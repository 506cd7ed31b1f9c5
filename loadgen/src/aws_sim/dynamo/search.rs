//! `Query` and `Scan`, of tables and indexes.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::capacity::{Capacity, Consumed, Wanted};
use super::expression::{
    Comparison, Condition, Names, Operand, Parsed, Path, Scope, project, test,
};
use super::key::{Key, Primary, Schema};
use super::table::{Index, Place, Sight, Stored, Table};
use super::value::{Item, bytes};
use super::{Aliases, Call, Dynamo, Values, parse, served};
use crate::aws_sim::refusal::Refusal;
use crate::aws_sim::state::Served;
use crate::shared::lock;

/// A page ends here.
const PAGE_BYTES_MAX: u64 = 1 << 20;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Query {
    table_name: String,
    key_condition_expression: Option<String>,
    scan_index_forward: Option<bool>,
    index_name: Option<String>,
    filter_expression: Option<String>,
    projection_expression: Option<String>,
    expression_attribute_names: Aliases,
    expression_attribute_values: Values,
    exclusive_start_key: Option<Item>,
    limit: Option<i64>,
    #[serde(default)]
    consistent_read: bool,
    #[serde(default)]
    select: Select,
    #[serde(default)]
    return_consumed_capacity: Wanted,
    /// Parts of a parallel scan.
    segment: Option<u32>,
    total_segments: Option<u32>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Select {
    #[default]
    AllAttributes,
    AllProjectedAttributes,
    SpecificAttributes,
    Count,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Found {
    #[serde(skip_serializing_if = "Option::is_none")]
    items: Option<Vec<Item>>,
    count: usize,
    scanned_count: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_evaluated_key: Option<Item>,
    #[serde(skip_serializing_if = "Option::is_none")]
    consumed_capacity: Option<Capacity>,
}

/// Which keys are wanted.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) hash: Key,
    low: Bound<Key>,
    high: Bound<Key>,
    prefix: Option<Key>,
}

impl Keys {
    pub(super) const fn of_hash(hash: Key) -> Self {
        Self { hash, low: Bound::Unbounded, high: Bound::Unbounded, prefix: None }
    }

    fn holds(&self, range: Option<&Key>) -> bool {
        let Some(range) = range else { return true };
        let low = match &self.low {
            Bound::Included(low) => range >= low,
            Bound::Excluded(low) => range > low,
            Bound::Unbounded => true,
        };
        let high = match &self.high {
            Bound::Included(high) => range <= high,
            Bound::Excluded(high) => range < high,
            Bound::Unbounded => true,
        };
        low && high && self.prefix.as_ref().is_none_or(|prefix| range.starts(prefix))
    }

    /// No key below this one is wanted.
    fn floor(&self) -> Option<Key> {
        match (&self.prefix, &self.low) {
            (Some(prefix), _) => Some(prefix.clone()),
            (None, Bound::Included(low) | Bound::Excluded(low)) => Some(low.clone()),
            (None, Bound::Unbounded) => None,
        }
    }

    /// Whether every key from this one on is unwanted.
    fn is_beyond(&self, range: Option<&Key>) -> bool {
        let Some(range) = range else { return false };
        let high = match &self.high {
            Bound::Included(high) => range > high,
            Bound::Excluded(high) => range >= high,
            Bound::Unbounded => false,
        };
        high || self.prefix.as_ref().is_some_and(|prefix| range > prefix && !range.starts(prefix))
    }
}

const NOT_SUPPORTED: &str = "Query key condition not supported";

/// Reads a key condition: the hash key's equality, and at most one condition of the range key.
pub(super) fn keys(
    condition: &Condition,
    schema: &Schema,
    scope: &Scope<'_>,
) -> Result<Keys, Refusal> {
    let mut parts = Vec::new();
    flatten(condition, &mut parts);
    let name_of = |operand: &Operand| match operand {
        Operand::Path(path) if path.len() == 1 => scope.name(&path[0]).map(str::to_owned).ok(),
        _ => None,
    };
    let is_of = |operand: &Operand, name: &str| name_of(operand).is_some_and(|found| found == name);
    let key = |operand: &Operand| {
        Key::of(&*scope.constant(operand)?).ok_or_else(|| Refusal::invalid(NOT_SUPPORTED))
    };
    let hash_at = parts.iter().position(|part| match part {
        Condition::Compare(left, Comparison::Equal, _) => is_of(left, &schema.hash.name),
        _ => false,
    });
    let Some(hash_at) = hash_at else {
        let name = &schema.hash.name;
        return Err(Refusal::invalid(format!("Query condition missed key schema element: {name}")));
    };
    let Condition::Compare(_, _, right) = parts.swap_remove(hash_at) else {
        return Err(Refusal::invalid(NOT_SUPPORTED));
    };
    let hash = key(right)?;
    let mut keys = Keys::of_hash(hash);
    let (part, range) = match (parts.as_slice(), &schema.range) {
        ([], _) => return Ok(keys),
        ([part], Some(range)) => (*part, range),
        _ => return Err(Refusal::invalid(NOT_SUPPORTED)),
    };
    let own = |operand: &Operand| {
        if is_of(operand, &range.name) {
            return Ok(());
        }
        let name = &range.name;
        Err(Refusal::invalid(format!("Query condition missed key schema element: {name}")))
    };
    match part {
        Condition::Compare(left, comparison, right) => {
            own(left)?;
            let right = key(right)?;
            match comparison {
                Comparison::Equal => {
                    keys.low = Bound::Included(right.clone());
                    keys.high = Bound::Included(right);
                }
                Comparison::Less => keys.high = Bound::Excluded(right),
                Comparison::LessOrEqual => keys.high = Bound::Included(right),
                Comparison::More => keys.low = Bound::Excluded(right),
                Comparison::MoreOrEqual => keys.low = Bound::Included(right),
                Comparison::Differs => return Err(Refusal::invalid(NOT_SUPPORTED)),
            }
        }
        Condition::Between(operand, low, high) => {
            own(operand)?;
            keys.low = Bound::Included(key(low)?);
            keys.high = Bound::Included(key(high)?);
        }
        Condition::BeginsWith(operand, prefix) => {
            own(operand)?;
            keys.prefix = Some(key(prefix)?);
        }
        _ => return Err(Refusal::invalid(NOT_SUPPORTED)),
    }
    Ok(keys)
}

fn flatten<'c>(condition: &'c Condition, parts: &mut Vec<&'c Condition>) {
    match condition {
        Condition::And(left, right) => {
            flatten(left, parts);
            flatten(right, parts);
        }
        other => parts.push(other),
    }
}

/// A page of a search.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) items: Vec<Arc<Item>>,
    pub(super) scanned: usize,
    bytes: u64,
    /// Where it ended, if there may be more.
    pub(super) last: Option<Arc<Item>>,
}

/// Takes candidates until a page is full.
pub(super) fn page<'t>(
    candidates: impl Iterator<Item = &'t Arc<Item>>,
    limit: Option<usize>,
    filter: Option<&Condition>,
    scope: &Scope<'_>,
) -> Result<Page, Refusal> {
    let mut page = Page { items: Vec::new(), scanned: 0, bytes: 0, last: None };
    for item in candidates {
        page.scanned += 1;
        page.bytes += bytes(item) as u64;
        let passes = filter.map_or(Ok(true), |filter| test(filter, item, scope))?;
        if passes {
            page.items.push(Arc::clone(item));
        }
        if limit.is_some_and(|limit| page.scanned >= limit) || page.bytes >= PAGE_BYTES_MAX {
            page.last = Some(Arc::clone(item));
            break;
        }
    }
    Ok(page)
}

/// The items of one partition of a table, in order.
pub(super) fn of_partition<'t>(
    partition: &'t BTreeMap<Option<Key>, Stored>,
    keys: &'t Keys,
    start: Option<&Primary>,
    forward: bool,
    sight: Sight,
) -> Box<dyn Iterator<Item = &'t Arc<Item>> + 't> {
    let start = start.map(|primary| primary.range.clone());
    let floor = Bound::Included(keys.floor());
    let seen = move |(range, stored): (&'t Option<Key>, &'t Stored)| {
        stored.seen(sight).filter(|_| keys.holds(range.as_ref()))
    };
    if forward {
        let low = match start {
            // What comes first of the two would repeat, or would not be wanted.
            Some(range) if range >= keys.floor() => Bound::Excluded(range),
            _ => floor,
        };
        let range = partition.range((low, Bound::Unbounded));
        let wanted = range.take_while(|(range, _)| !keys.is_beyond(range.as_ref()));
        return Box::new(wanted.filter_map(seen));
    }
    let high = start.map_or(Bound::Unbounded, Bound::Excluded);
    if matches!((&high, &floor), (Bound::Excluded(high), Bound::Included(floor)) if high < floor) {
        return Box::new(std::iter::empty());
    }
    Box::new(partition.range((floor, high)).rev().filter_map(seen))
}

/// The entries of one key of an index, in order.
fn of_index<'t>(
    places: &'t BTreeMap<Place, Arc<Item>>,
    keys: &'t Keys,
    start: Option<Place>,
    forward: bool,
) -> Box<dyn Iterator<Item = &'t Arc<Item>> + 't> {
    let wanted = move |((range, _), item): (&'t Place, &'t Arc<Item>)| {
        keys.holds(range.as_ref()).then_some(item)
    };
    if forward {
        let low = start.map_or(Bound::Unbounded, Bound::Excluded);
        let range = places.range((low, Bound::Unbounded));
        let range = range.take_while(|((range, _), _)| !keys.is_beyond(range.as_ref()));
        return Box::new(range.filter_map(wanted));
    }
    let high = start.map_or(Bound::Unbounded, Bound::Excluded);
    Box::new(places.range((Bound::Unbounded, high)).rev().filter_map(wanted))
}

/// A search whose expressions are parsed.
struct Plan {
    names: Names,
    key: Option<Arc<Parsed<Condition>>>,
    filter: Option<Arc<Parsed<Condition>>>,
    projection: Option<Arc<Parsed<Vec<Path>>>>,
    limit: Option<usize>,
}

impl Dynamo {
    fn plan(&self, request: &mut Query) -> Result<Plan, Refusal> {
        let key = self.expressions.key(request.key_condition_expression.as_deref())?;
        let filter = self.expressions.filter(request.filter_expression.as_deref())?;
        let projection = self.expressions.projection(request.projection_expression.as_deref())?;
        let names = Names::new(
            request.expression_attribute_names.take(),
            request.expression_attribute_values.take(),
        );
        names.check(&[
            key.as_ref().map(|parsed| &parsed.uses),
            filter.as_ref().map(|parsed| &parsed.uses),
            projection.as_ref().map(|parsed| &parsed.uses),
        ])?;
        let limit = match request.limit {
            None => None,
            Some(limit) => {
                Some(usize::try_from(limit).ok().filter(|&limit| limit > 0).ok_or_else(|| {
                    Refusal::invalid(format!(
                        "1 validation error detected: Value '{limit}' at 'limit' failed to satisfy \
                         constraint: Member must have value greater than or equal to 1"
                    ))
                })?)
            }
        };
        if request.consistent_read && request.index_name.is_some() {
            return Err(Refusal::invalid(
                "Consistent reads are not supported on global secondary indexes",
            ));
        }
        Ok(Plan { names, key, filter, projection, limit })
    }

    pub(super) fn query(&self, call: &Call<'_>, body: &[u8]) -> Result<Served, Refusal> {
        let mut request: Query = parse(body)?;
        let plan = self.plan(&mut request)?;
        let table = self.find(&request.table_name)?;
        let Some(condition) = &plan.key else {
            return Err(Refusal::invalid(
                "Either the KeyConditions or KeyConditionExpression parameter must be specified in \
                 the request.",
            ));
        };
        let scope = plan.names.scope();
        let forward = request.scan_index_forward.unwrap_or(true);
        let filter = plan.filter.as_ref().map(|parsed| &parsed.tree);
        let mut table = lock(&table);
        let (name, schema) = (table.name.clone(), table.schema.clone());
        let (page, last) = if let Some(index_name) = &request.index_name {
            let index = index_of(&mut table, index_name, call)?;
            let keys = keys(&condition.tree, &index.schema, &scope)?;
            let start = request.exclusive_start_key.as_ref();
            let start = start.map(|key| place_of(key, index, &schema)).transpose()?;
            let nothing = BTreeMap::new();
            let places = index.entries.get(&keys.hash).unwrap_or(&nothing);
            let start = start.map(|(_, place)| place);
            let page = page(of_index(places, &keys, start, forward), plan.limit, filter, &scope)?;
            let last = page.last.as_ref().map(|item| keys_of(item, &schema, Some(index)));
            (page, last)
        } else {
            let keys = keys(&condition.tree, &schema, &scope)?;
            let start = request.exclusive_start_key.as_ref();
            let start = start.map(|key| schema.of_key(key).map_err(bad_start)).transpose()?;
            let nothing = BTreeMap::new();
            let partition = table.partitions.get(&keys.hash).unwrap_or(&nothing);
            let sight = call.sight(request.consistent_read);
            let candidates = of_partition(partition, &keys, start.as_ref(), forward, sight);
            let page = page(candidates, plan.limit, filter, &scope)?;
            let last = page.last.as_ref().map(|item| keys_of(item, &schema, None));
            (page, last)
        };
        drop(table);
        finish(&request, &plan, (&name, page, last))
    }

    pub(super) fn scan(&self, call: &Call<'_>, body: &[u8]) -> Result<Served, Refusal> {
        let mut request: Query = parse(body)?;
        let plan = self.plan(&mut request)?;
        let table = self.find(&request.table_name)?;
        if plan.key.is_some() || request.scan_index_forward.is_some() {
            return Err(Refusal::new("SerializationException", "Scan takes no key condition"));
        }
        let (segment, total) =
            (request.segment.unwrap_or(0), request.total_segments.unwrap_or(1).max(1));
        let scope = plan.names.scope();
        let filter = plan.filter.as_ref().map(|parsed| &parsed.tree);
        let mut table = lock(&table);
        let (name, schema) = (table.name.clone(), table.schema.clone());
        let start = request.exclusive_start_key.as_ref();
        // Partitions are dealt out to the segments in turn.
        let mine = |number: &usize| *number as u64 % u64::from(total) == u64::from(segment);
        let (page, last) = if let Some(index_name) = &request.index_name {
            let index = index_of(&mut table, index_name, call)?;
            let start = start.map(|key| place_of(key, index, &schema)).transpose()?;
            let entries = index.entries.iter().enumerate().filter(|(number, _)| mine(number));
            let all = entries.flat_map(|(_, (key, places))| {
                places.iter().map(move |(place, item)| (key, place, item))
            });
            let after = all.filter(|(key, place, _)| match &start {
                Some((hash, from)) => (*key, *place) > (hash, from),
                None => true,
            });
            let page = page(after.map(|(_, _, item)| item), plan.limit, filter, &scope)?;
            let last = page.last.as_ref().map(|item| keys_of(item, &schema, Some(index)));
            (page, last)
        } else {
            let start = start.map(|key| schema.of_key(key).map_err(bad_start)).transpose()?;
            let sight = call.sight(request.consistent_read);
            let partitions = table.partitions.iter().enumerate().filter(|(number, _)| mine(number));
            let all = partitions.flat_map(|(_, (hash, partition))| {
                partition.iter().map(move |(range, stored)| (hash, range, stored))
            });
            let after = all.filter(|(hash, range, _)| match &start {
                Some(start) => (*hash, *range) > (&start.hash, &start.range),
                None => true,
            });
            let candidates = after.filter_map(|(_, _, stored)| stored.seen(sight));
            let page = page(candidates, plan.limit, filter, &scope)?;
            let last = page.last.as_ref().map(|item| keys_of(item, &schema, None));
            (page, last)
        };
        drop(table);
        finish(&request, &plan, (&name, page, last))
    }
}

fn bad_start(_: Refusal) -> Refusal {
    Refusal::invalid("The provided starting key is invalid")
}

fn index_of<'t>(table: &'t mut Table, name: &str, call: &Call<'_>) -> Result<&'t Index, Refusal> {
    table.index(name, call.now).ok_or_else(|| {
        Refusal::invalid(format!("The table does not have the specified index: {name}"))
    })
}

/// Where a starting key stands in an index.
fn place_of(key: &Item, index: &Index, table: &Schema) -> Result<(Key, Place), Refusal> {
    let own = index.schema.of_item(key).map_err(bad_start)?;
    let primary = table.of_item(key).map_err(bad_start)?;
    Ok((own.hash, (own.range, primary)))
}

fn keys_of(item: &Item, schema: &Schema, index: Option<&Index>) -> Item {
    let mut keys = schema.attributes(item);
    if let Some(index) = index {
        keys.extend(index.schema.attributes(item));
    }
    keys
}

fn finish(
    request: &Query,
    plan: &Plan,
    (table, page, last): (&str, Page, Option<Item>),
) -> Result<Served, Refusal> {
    let mut consumed = Consumed::default();
    let index = request.index_name.as_deref();
    consumed.read(page.scanned as u64, page.bytes, request.consistent_read, index);
    let shape = |item: &Arc<Item>| match &plan.projection {
        None => Ok((**item).clone()),
        Some(parsed) => project(item, &parsed.tree, &plan.names.scope()),
    };
    let items = match request.select {
        Select::Count => None,
        _ => Some(page.items.iter().map(shape).collect::<Result<Vec<_>, _>>()?),
    };
    let found = Found {
        items,
        count: page.items.len(),
        scanned_count: page.scanned,
        last_evaluated_key: last,
        consumed_capacity: consumed.report(table, request.return_consumed_capacity),
    };
    Ok(served(&found, consumed.work))
}
