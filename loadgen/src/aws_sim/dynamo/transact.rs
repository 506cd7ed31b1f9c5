//! `TransactWriteItems`: all or nothing, over up to 100 items.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard};

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::action::{Action, CONDITION_FAILED, Change, OnFailure, Stopped};
use super::capacity::{Capacity, Ledger, Wanted};
use super::expression::{Condition, Names, Parsed, Update};
use super::key::Primary;
use super::table::Table;
use super::value::Item;
use super::{Aliases, Call, Dynamo, Values, bare, parse, served};
use crate::aws_sim::counters::Work;
use crate::aws_sim::refusal::Refusal;
use crate::aws_sim::state::Served;
use crate::clock::{Nanos, SECOND};
use crate::shared::lock;

const ACTIONS_MAX: usize = 100;
/// How long a token is known.
const TOKEN_LIFE: Nanos = 600 * SECOND;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Transact {
    transact_items: Vec<Entry>,
    #[serde(default)]
    return_consumed_capacity: Wanted,
    #[serde(rename = "ReturnItemCollectionMetrics")]
    _collections: Option<String>,
    client_request_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
enum Entry {
    ConditionCheck(Part),
    Put(Part),
    Update(Part),
    Delete(Part),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Part {
    table_name: String,
    key: Option<Item>,
    item: Option<Item>,
    update_expression: Option<String>,
    condition_expression: Option<String>,
    expression_attribute_names: Aliases,
    expression_attribute_values: Values,
    #[serde(default)]
    return_values_on_condition_check_failure: OnFailure,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Written {
    #[serde(skip_serializing_if = "Option::is_none")]
    consumed_capacity: Option<Vec<Capacity>>,
}

/// Transactions that were done, by the token that makes their repetition harmless: a client that
/// did not get the answer sends the same call again.
#[derive(Debug, Default)]
pub(super) struct Done {
    bodies: HashMap<String, u64>,
    ages: VecDeque<(Nanos, String)>,
}

impl Done {
    fn is_repeated(&mut self, token: &str, body: &[u8], now: Nanos) -> Result<bool, Refusal> {
        while self.ages.front().is_some_and(|(at, _)| *at + TOKEN_LIFE <= now) {
            if let Some((_, token)) = self.ages.pop_front() {
                self.bodies.remove(&token);
            }
        }
        match self.bodies.get(token) {
            None => Ok(false),
            Some(known) if *known == digest(body) => Ok(true),
            Some(_) => Err(Refusal::new(
                "IdempotentParameterMismatchException",
                "The request uses the same client token as a previous, but non-identical request",
            )),
        }
    }

    fn add(&mut self, token: String, body: &[u8], now: Nanos) {
        self.bodies.insert(token.clone(), digest(body));
        self.ages.push_back((now, token));
    }
}

/// The same for two bodies that say the same: the order of names is no difference.
fn digest(body: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    // It was parsed before, so it is JSON.
    hash(&serde_json::from_slice(body).unwrap_or_default(), &mut hasher);
    hasher.finish()
}

/// As deep as serde parses at most.
fn hash(value: &Json, hasher: &mut DefaultHasher) {
    match value {
        Json::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(name, _)| *name);
            for (name, value) in entries {
                name.hash(hasher);
                hash(value, hasher);
            }
        }
        Json::Array(list) => list.iter().for_each(|value| hash(value, hasher)),
        other => other.to_string().hash(hasher),
    }
}

/// An action whose expressions are parsed.
struct Ready {
    table: String,
    primary: Primary,
    key: Item,
    put: Option<Item>,
    update: Option<Arc<Parsed<Update>>>,
    condition: Option<Arc<Parsed<Condition>>>,
    names: Names,
    deletes: bool,
    on_failure: OnFailure,
}

impl Dynamo {
    pub(super) fn transact(&self, call: &Call<'_>, body: &[u8]) -> Result<Served, Refusal> {
        let request: Transact = parse(body)?;
        let count = request.transact_items.len();
        if !(1..=ACTIONS_MAX).contains(&count) {
            return Err(Refusal::invalid(format!(
                "1 validation error detected: Value at 'transactItems' failed to satisfy \
                 constraint: Member must have length between 1 and {ACTIONS_MAX}, but has {count}"
            )));
        }
        // Held to the end, so that a second call with this token sees what the first one did.
        let mut done = lock(&self.done);
        if let Some(token) = &request.client_request_token
            && done.is_repeated(token, body, call.now)?
        {
            return Ok(served(&Written { consumed_capacity: None }, Work::default()));
        }
        let mut tables: BTreeMap<String, Arc<Mutex<Table>>> = BTreeMap::new();
        let mut all = Vec::with_capacity(count);
        for entry in request.transact_items {
            let part = match &entry {
                Entry::ConditionCheck(part)
                | Entry::Put(part)
                | Entry::Update(part)
                | Entry::Delete(part) => part,
            };
            let name = bare(&part.table_name).to_owned();
            let table = self.find(&name)?;
            all.push(self.prepare(entry, &lock(&table))?);
            tables.insert(name, table);
        }
        let items: BTreeSet<_> = all.iter().map(|ready| (&ready.table, &ready.primary)).collect();
        if items.len() < all.len() {
            return Err(Refusal::invalid(
                "Transaction request cannot include multiple operations on one item",
            ));
        }
        // In the order of names, so that two transactions cannot wait for each other.
        let mut locked: BTreeMap<&str, MutexGuard<'_, Table>> =
            tables.iter().map(|(name, table)| (name.as_str(), lock(table))).collect();
        let news = weigh(&all, &locked)?;
        let mut ledger = Ledger::default();
        for (ready, new) in all.iter().zip(news) {
            let Some(table) = locked.get_mut(ready.table.as_str()) else { continue };
            let primary = ready.primary.clone();
            let cost = match ready.is_check() {
                true => table.refused_cost(&primary),
                false => table.write(primary, new, call.moment()),
            };
            ledger.of(&table.name).write(&cost, 2);
        }
        drop(locked);
        if let Some(token) = request.client_request_token {
            done.add(token, body, call.now);
        }
        drop(done);
        let consumed_capacity = ledger.report(request.return_consumed_capacity);
        Ok(served(&Written { consumed_capacity }, ledger.work()))
    }

    fn prepare(&self, entry: Entry, table: &Table) -> Result<Ready, Refusal> {
        let missing = |what: &str| Refusal::invalid(format!("The action must have {what}"));
        let is_check = matches!(entry, Entry::ConditionCheck(_));
        let is_update = matches!(entry, Entry::Update(_));
        let deletes = matches!(entry, Entry::Delete(_));
        let (Entry::ConditionCheck(part)
        | Entry::Put(part)
        | Entry::Update(part)
        | Entry::Delete(part)) = entry;
        if is_check && part.condition_expression.is_none() {
            return Err(missing("a ConditionExpression"));
        }
        if is_update != part.update_expression.is_some() {
            return Err(missing("an UpdateExpression, if and only if it is an Update"));
        }
        let condition = self.expressions.condition(part.condition_expression.as_deref())?;
        let update = self.expressions.update(part.update_expression.as_deref())?;
        let names = Names::new(part.expression_attribute_names, part.expression_attribute_values);
        names.check(&[
            condition.as_ref().map(|parsed| &parsed.uses),
            update.as_ref().map(|parsed| &parsed.uses),
        ])?;
        let primary = match (&part.item, &part.key) {
            (Some(item), None) => table.schema.of_item(item)?,
            (None, Some(key)) => table.schema.of_key(key)?,
            _ => return Err(missing("an Item or a Key")),
        };
        Ok(Ready {
            table: table.name.clone(),
            primary,
            key: part.key.unwrap_or_default(),
            put: part.item,
            update,
            condition,
            names,
            deletes,
            on_failure: part.return_values_on_condition_check_failure,
        })
    }
}

impl Ready {
    const fn is_check(&self) -> bool {
        self.put.is_none() && self.update.is_none() && !self.deletes
    }

    fn action(&self) -> Action<'_> {
        let change = match (&self.put, &self.update) {
            (Some(item), _) => Change::Put(item.clone()),
            (None, Some(update)) => Change::Update(&update.tree),
            (None, None) if self.deletes => Change::Delete,
            (None, None) => Change::Check,
        };
        Action {
            primary: self.primary.clone(),
            key: self.key.clone(),
            change,
            condition: self.condition.as_ref().map(|parsed| &parsed.tree),
            scope: self.names.scope(),
        }
    }
}

/// What all of them make of their items, or why the transaction is cancelled.
fn weigh(
    all: &[Ready],
    tables: &BTreeMap<&str, MutexGuard<'_, Table>>,
) -> Result<Vec<Option<Item>>, Refusal> {
    let mut news = Vec::with_capacity(all.len());
    let mut reasons = Vec::with_capacity(all.len());
    let mut codes = Vec::with_capacity(all.len());
    for ready in all {
        let Some(table) = tables.get(ready.table.as_str()) else { continue };
        let (code, reason) = match ready.action().weigh(table) {
            Ok(outcome) => {
                news.push(outcome.new);
                ("None", json!({ "Code": "None" }))
            }
            Err(Stopped::Refused(refusal)) => {
                let reason = json!({ "Code": "ValidationError", "Message": refusal.message });
                ("ValidationError", reason)
            }
            Err(Stopped::Condition(old)) => {
                let code = "ConditionalCheckFailed";
                let mut reason = json!({ "Code": code, "Message": CONDITION_FAILED });
                if let Some(old) = old.filter(|_| ready.on_failure == OnFailure::AllOld) {
                    reason["Item"] = json!(*old);
                }
                (code, reason)
            }
        };
        codes.push(code);
        reasons.push(reason);
    }
    if codes.iter().all(|code| *code == "None") {
        return Ok(news);
    }
    let message = format!(
        "Transaction cancelled, please refer cancellation reasons for specific reasons [{}]",
        codes.join(", ")
    );
    let refusal = Refusal::new("TransactionCanceledException", message);
    Err(refusal.with(json!({ "CancellationReasons": reasons })))
}
