//! `BatchGetItem` and `BatchWriteItem`: up to 100 reads or 25 writes, some of which may be left
//! unprocessed.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::capacity::{Capacity, Ledger, Wanted};
use super::expression::{Names, project};
use super::key::Primary;
use super::value::{Item, bytes};
use super::{Aliases, Call, Dynamo, parse};
use crate::aws_sim::counters::Fault;
use crate::aws_sim::faults::throttled;
use crate::aws_sim::refusal::Refusal;
use crate::aws_sim::state::Served;
use crate::shared::lock;

const READS_MAX: usize = 100;
const WRITES_MAX: usize = 25;
/// More than this of items is left for the next call.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct BatchGet {
    request_items: BTreeMap<String, KeysOf>,
    #[serde(default)]
    return_consumed_capacity: Wanted,
}

#[derive(Clone, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct KeysOf {
    keys: Vec<Item>,
    #[serde(default)]
    consistent_read: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    projection_expression: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expression_attribute_names: Aliases,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct BatchWrite {
    request_items: BTreeMap<String, Vec<Write>>,
    #[serde(default)]
    return_consumed_capacity: Wanted,
    #[serde(rename = "ReturnItemCollectionMetrics")]
    _collections: Option<String>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Write {
    #[serde(skip_serializing_if = "Option::is_none")]
    put_request: Option<PutRequest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delete_request: Option<DeleteRequest>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct PutRequest {
    item: Item,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct DeleteRequest {
    key: Item,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Read {
    responses: BTreeMap<String, Vec<Item>>,
    unprocessed_keys: BTreeMap<String, KeysOf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    consumed_capacity: Option<Vec<Capacity>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Written {
    unprocessed_items: BTreeMap<String, Vec<Write>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    consumed_capacity: Option<Vec<Capacity>>,
}

fn count_of(name: &str, count: usize, most: usize) -> Result<(), Refusal> {
    if count == 0 {
        return Err(Refusal::invalid(format!(
            "1 validation error detected: Value at '{name}' failed to satisfy constraint: Member \
             must have length greater than or equal to 1"
        )));
    }
    if count > most {
        return Err(Refusal::invalid(format!(
            "Too many items requested for the {name} call: {count}, at most {most}"
        )));
    }
    Ok(())
}

const DUPLICATES: &str = "Provided list of item keys contains duplicates";

impl Call<'_> {
    /// Whether an entry is left undone; counts it.
    fn leaves(&self, entry: usize) -> bool {
        let fault = if self.decision.entry_throttled(entry) {
            Fault::Throttle
        } else if self.decision.entry_fails(entry) {
            Fault::Partial
        } else {
            return false;
        };
        self.context.counters.fault(fault);
        true
    }
}

impl Dynamo {
    pub(super) fn batch_get(&self, call: &Call<'_>, body: &[u8]) -> Result<Served, Refusal> {
        let request: BatchGet = parse(body)?;
        let total = request.request_items.values().map(|of| of.keys.len()).sum();
        count_of("BatchGetItem", total, READS_MAX)?;
        let mut answer = Read {
            responses: BTreeMap::new(),
            unprocessed_keys: BTreeMap::new(),
            consumed_capacity: None,
        };
        let (mut entry, mut failed, mut ledger) = (0, 0_u64, Ledger::default());
        for (name, mut of) in request.request_items {
            let table = self.find(&name)?;
            let projection = self.expressions.projection(of.projection_expression.as_deref())?;
            let names = Names::new(of.expression_attribute_names.clone(), None);
            names.check(&[projection.as_ref().map(|parsed| &parsed.uses)])?;
            let table = lock(&table);
            let keys = std::mem::take(&mut of.keys);
            let primaries: Vec<Primary> =
                keys.iter().map(|key| table.schema.of_key(key)).collect::<Result<_, _>>()?;
            if primaries.iter().collect::<BTreeSet<_>>().len() < primaries.len() {
                return Err(Refusal::invalid(DUPLICATES));
            }
            let found = answer.responses.entry(name.clone()).or_default();
            for (key, primary) in keys.into_iter().zip(&primaries) {
                let is_full = ledger.work().bytes >= ANSWER_BYTES_MAX;
                let is_left = is_full || call.leaves(entry);
                entry += 1;
                if is_left {
                    failed += 1;
                    of.keys.push(key);
                    continue;
                }
                let item = table.see(primary, call.sight(of.consistent_read));
                let size = item.map_or(0, |item| bytes(item)) as u64;
                let consumed = ledger.of(&table.name);
                consumed.read(u64::from(item.is_some()), size, of.consistent_read, None);
                found.extend(match (item, &projection) {
                    (None, _) => None,
                    (Some(item), None) => Some((**item).clone()),
                    (Some(item), Some(parsed)) => {
                        Some(project(item, &parsed.tree, &names.scope())?)
                    }
                });
            }
            drop(table);
            if !of.keys.is_empty() {
                answer.unprocessed_keys.insert(name, of);
            }
        }
        if failed == total as u64 {
            return Err(throttled(call.operation));
        }
        answer.consumed_capacity = ledger.report(request.return_consumed_capacity);
        Ok(Served { failed, ..super::served(&answer, ledger.work()) })
    }

    pub(super) fn batch_write(&self, call: &Call<'_>, body: &[u8]) -> Result<Served, Refusal> {
        let request: BatchWrite = parse(body)?;
        let total = request.request_items.values().map(Vec::len).sum();
        count_of("BatchWriteItem", total, WRITES_MAX)?;
        // Everything is checked before anything is written.
        let mut all = Vec::with_capacity(total);
        for (name, writes) in request.request_items {
            let table = self.find(&name)?;
            let mut seen = BTreeSet::new();
            for write in writes {
                let primary = write.check(&lock(&table))?;
                if !seen.insert(primary.clone()) {
                    return Err(Refusal::invalid(DUPLICATES));
                }
                all.push((name.clone(), std::sync::Arc::clone(&table), primary, write));
            }
        }
        let mut unprocessed: BTreeMap<String, Vec<Write>> = BTreeMap::new();
        let (mut failed, mut ledger) = (0, Ledger::default());
        for (entry, (name, table, primary, write)) in all.into_iter().enumerate() {
            if call.leaves(entry) {
                failed += 1;
                unprocessed.entry(name).or_default().push(write);
                continue;
            }
            let new = write.put_request.map(|put| put.item);
            let mut table = lock(&table);
            let cost = table.write(primary, new, call.moment());
            ledger.of(&table.name).write(&cost, 1);
        }
        if failed == total as u64 {
            return Err(throttled(call.operation));
        }
        let consumed_capacity = ledger.report(request.return_consumed_capacity);
        let answer = Written { unprocessed_items: unprocessed, consumed_capacity };
        Ok(Served { failed, ..super::served(&answer, ledger.work()) })
    }
}

impl Write {
    fn check(&self, table: &super::table::Table) -> Result<Primary, Refusal> {
        match (&self.put_request, &self.delete_request) {
            (Some(put), None) => {
                table.check(&put.item)?;
                table.schema.of_item(&put.item)
            }
            (None, Some(delete)) => table.schema.of_key(&delete.key),
            _ => Err(Refusal::invalid(
                "Supplied WriteRequest must contain exactly one of PutRequest and DeleteRequest",
            )),
        }
    }
}
