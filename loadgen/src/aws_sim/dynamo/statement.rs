//! `ExecuteStatement` and `BatchExecuteStatement`: `PartiQL`.

mod grammar;

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use self::grammar::{Returning, Select, Statement};
use super::action::{Action, CONDITION_FAILED, Change, OnFailure, Outcome, Stopped};
use super::capacity::{Capacity, Ledger, Wanted};
use super::expression::{
    Comparison, Condition, Dialect, Kept, Operand, Parsed, Path, Scope, Step, project, test,
};
use super::key::{Key, Schema};
use super::search::{Keys, Page, of_partition, page};
use super::table::Table;
use super::value::{Item, Value, bytes};
use super::{Call, Dynamo, parse, served};
use crate::aws_sim::counters::Fault;
use crate::aws_sim::faults::THROTTLED;
use crate::aws_sim::refusal::Refusal;
use crate::aws_sim::state::Served;
use crate::shared::lock;

const STATEMENTS_MAX: usize = 25;

/// Parsed statements.
#[derive(Debug)]
pub(super) struct Statements {
    kept: Kept<Statement>,
    nothing: HashMap<String, String>,
    no_values: HashMap<String, Value>,
}

impl Statements {
    pub(super) fn new() -> Self {
        Self { kept: Kept::new("Statement"), nothing: HashMap::new(), no_values: HashMap::new() }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Execute {
    statement: String,
    #[serde(default)]
    parameters: Vec<Value>,
    #[serde(default)]
    consistent_read: bool,
    next_token: Option<String>,
    limit: Option<usize>,
    #[serde(default)]
    return_consumed_capacity: Wanted,
    #[serde(default)]
    return_values_on_condition_check_failure: OnFailure,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct ExecuteBatch {
    statements: Vec<One>,
    #[serde(default)]
    return_consumed_capacity: Wanted,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct One {
    statement: String,
    #[serde(default)]
    parameters: Vec<Value>,
    #[serde(default)]
    consistent_read: bool,
    #[serde(default)]
    return_values_on_condition_check_failure: OnFailure,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Executed {
    items: Vec<Item>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_evaluated_key: Option<Item>,
    #[serde(skip_serializing_if = "Option::is_none")]
    consumed_capacity: Option<Capacity>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Responses {
    responses: Vec<Response>,
    #[serde(skip_serializing_if = "Option::is_none")]
    consumed_capacity: Option<Vec<Capacity>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Response {
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Failure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    table_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    item: Option<Item>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Failure {
    code: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    item: Option<Item>,
}

/// A statement with what belongs to it.
#[derive(Clone, Copy)]
struct Bound<'b> {
    scope: Scope<'b>,
    consistent: bool,
    limit: Option<usize>,
    /// Where a search goes on.
    start: Option<&'b Item>,
    /// Only what one item answers.
    single: bool,
}

/// What a statement gave.
#[derive(Default)]
struct Yield {
    items: Vec<Item>,
    last: Option<Item>,
}

impl Dynamo {
    fn statement(
        &self,
        text: &str,
        parameters: &[Value],
    ) -> Result<Arc<Parsed<Statement>>, Refusal> {
        let parsed = self.statements.kept.parse(text, Dialect::Statement, grammar::read)?;
        if parsed.uses.parameters != parameters.len() {
            return Err(Refusal::invalid(
                "Number of parameters in request and statement don't match.",
            ));
        }
        Ok(parsed)
    }

    fn scope<'s>(&'s self, parameters: &'s [Value]) -> Scope<'s> {
        Scope {
            aliases: &self.statements.nothing,
            values: &self.statements.no_values,
            parameters,
            dialect: Dialect::Statement,
        }
    }

    pub(super) fn execute(&self, call: &Call<'_>, body: &[u8]) -> Result<Served, Refusal> {
        let request: Execute = parse(body)?;
        let parsed = self.statement(&request.statement, &request.parameters)?;
        let start = request.next_token.as_deref().map(start_of).transpose()?;
        let bound = Bound {
            scope: self.scope(&request.parameters),
            consistent: request.consistent_read,
            limit: request.limit,
            start: start.as_ref(),
            single: false,
        };
        let mut ledger = Ledger::default();
        let result = self.run(call, &parsed.tree, bound, &mut ledger);
        if matches!(result, Err(Stopped::Condition(_))) {
            call.context.counters.work(call.operation, &ledger.work());
        }
        let on_failure = request.return_values_on_condition_check_failure;
        let result = result.map_err(|stopped| stopped.into_refusal(on_failure))?;
        let wanted = request.return_consumed_capacity;
        let answer = Executed {
            items: result.items,
            next_token: result.last.as_ref().map(token_of),
            last_evaluated_key: result.last,
            consumed_capacity: ledger.report(wanted).and_then(|mut all| all.pop()),
        };
        Ok(served(&answer, ledger.work()))
    }

    pub(super) fn execute_batch(&self, call: &Call<'_>, body: &[u8]) -> Result<Served, Refusal> {
        let request: ExecuteBatch = parse(body)?;
        let count = request.statements.len();
        if !(1..=STATEMENTS_MAX).contains(&count) {
            return Err(Refusal::invalid(format!(
                "1 validation error detected: Value at 'statements' failed to satisfy constraint: \
                 Member must have length between 1 and {STATEMENTS_MAX}, but has {count}"
            )));
        }
        let parsed: Vec<_> = request
            .statements
            .iter()
            .map(|one| self.statement(&one.statement, &one.parameters))
            .collect();
        let is_read = |parsed: &Arc<Parsed<Statement>>| matches!(parsed.tree, Statement::Select(_));
        let reads = parsed.iter().flatten().filter(|parsed| is_read(parsed)).count();
        if reads > 0 && reads < parsed.iter().flatten().count() {
            return Err(Refusal::invalid(
                "Batch statements must be all reads or all writes; a mix is not supported",
            ));
        }
        let (mut responses, mut ledger) = (Vec::with_capacity(count), Ledger::default());
        for (entry, (one, parsed)) in request.statements.iter().zip(parsed).enumerate() {
            responses.push(self.one(call, (entry, one, parsed), &mut ledger));
        }
        let failed = responses.iter().filter(|response| response.error.is_some()).count() as u64;
        let consumed_capacity = ledger.report(request.return_consumed_capacity);
        let answer = Responses { responses, consumed_capacity };
        Ok(Served { failed, ..served(&answer, ledger.work()) })
    }

    /// One statement of a batch.
    fn one(
        &self,
        call: &Call<'_>,
        (entry, one, parsed): (usize, &One, Result<Arc<Parsed<Statement>>, Refusal>),
        ledger: &mut Ledger,
    ) -> Response {
        let failed = |code, message: &str, item| {
            let error = Failure { code, message: message.to_owned(), item };
            Response { error: Some(error), table_name: None, item: None }
        };
        if call.decision.entry_throttled(entry) {
            call.context.counters.fault(Fault::Throttle);
            return failed("ProvisionedThroughputExceeded", THROTTLED, None);
        }
        if call.decision.entry_fails(entry) {
            call.context.counters.fault(Fault::Partial);
            return failed("InternalServerError", "Internal server error", None);
        }
        let parsed = match parsed {
            Ok(parsed) => parsed,
            Err(refusal) => return failed("ValidationError", &refusal.message, None),
        };
        let bound = Bound {
            scope: self.scope(&one.parameters),
            consistent: one.consistent_read,
            limit: None,
            start: None,
            single: true,
        };
        match self.run(call, &parsed.tree, bound, ledger) {
            Ok(mut result) => Response {
                error: None,
                table_name: Some(parsed.tree.table().to_owned()),
                item: result.items.pop(),
            },
            Err(Stopped::Condition(old)) => {
                let wanted = one.return_values_on_condition_check_failure == OnFailure::AllOld;
                let old = old.filter(|_| wanted).map(|old| (*old).clone());
                failed("ConditionalCheckFailed", CONDITION_FAILED, old)
            }
            Err(Stopped::Refused(refusal)) => {
                let code = match refusal.code {
                    "ResourceNotFoundException" => "ResourceNotFound",
                    "DuplicateItemException" => "DuplicateItem",
                    _ => "ValidationError",
                };
                failed(code, &refusal.message, None)
            }
        }
    }

    fn run(
        &self,
        call: &Call<'_>,
        statement: &Statement,
        bound: Bound<'_>,
        ledger: &mut Ledger,
    ) -> Result<Yield, Stopped> {
        let table = self.find(statement.table())?;
        let mut table = lock(&table);
        let scope = bound.scope;
        match statement {
            Statement::Select(select) => Ok(read(call, &mut table, select, bound, ledger)?),
            Statement::Insert { item, .. } => {
                let Value::M(item) = scope.constant(item)?.into_owned() else {
                    return Err(Refusal::invalid("VALUE must be a tuple").into());
                };
                let primary = table.schema.of_item(&item)?;
                if table.current(&primary).is_some() {
                    let message = "Duplicate primary key exists in table";
                    return Err(Refusal::new("DuplicateItemException", message).into());
                }
                table.check(&item)?;
                let cost = table.write(primary, Some(item), call.moment());
                ledger.of(&table.name).write(&cost, 1);
                Ok(Yield::default())
            }
            Statement::Update { update, condition, returning, .. } => {
                let change = Change::Update(update);
                let paths: Vec<Path> = match returning {
                    Some(Returning::ModifiedOld | Returning::ModifiedNew) => {
                        update.paths().cloned().collect()
                    }
                    _ => Vec::new(),
                };
                let write = Write { condition, change, returning: *returning, paths };
                write.run(call, &mut table, scope, ledger)
            }
            Statement::Delete { condition, returning, .. } => {
                if returning.is_some_and(|returning| returning != Returning::AllOld) {
                    return Err(Refusal::invalid("DELETE can return ALL OLD * only").into());
                }
                let change = Change::Delete;
                let write = Write { condition, change, returning: *returning, paths: Vec::new() };
                write.run(call, &mut table, scope, ledger)
            }
        }
    }
}

/// An `UPDATE` or `DELETE`.
struct Write<'w> {
    condition: &'w Condition,
    change: Change<'w>,
    returning: Option<Returning>,
    paths: Vec<Path>,
}

impl Write<'_> {
    fn run(
        self,
        call: &Call<'_>,
        table: &mut Table,
        scope: Scope<'_>,
        ledger: &mut Ledger,
    ) -> Result<Yield, Stopped> {
        let mut rest = Vec::new();
        let key = key_of(self.condition, &table.schema, &scope, &mut rest)?;
        let Some(key) = key.filter(|key| key.len() == table.schema.parts().count()) else {
            return Err(Refusal::invalid(
                "Where clause does not contain a mandatory equality on all key attributes",
            )
            .into());
        };
        let primary = table.schema.of_key(&key)?;
        let found = table.current(&primary);
        let nothing = Item::new();
        let mut holds = found.is_some() || matches!(self.change, Change::Delete);
        for condition in &rest {
            holds = holds && test(condition, found.map_or(&nothing, |item| &**item), &scope)?;
        }
        if !holds {
            let found = found.cloned();
            ledger.of(&table.name).write(&table.refused_cost(&primary), 1);
            return Err(Stopped::Condition(found));
        }
        let action =
            Action { primary: primary.clone(), key, change: self.change, condition: None, scope };
        let Outcome { old, new } = action.weigh(table)?;
        let returned = match self.returning {
            None => None,
            Some(Returning::AllOld) => old.as_deref().cloned(),
            Some(Returning::AllNew) => new.clone(),
            Some(Returning::ModifiedOld) => {
                old.as_deref().map(|item| project(item, &self.paths, &scope)).transpose()?
            }
            Some(Returning::ModifiedNew) => {
                new.as_ref().map(|item| project(item, &self.paths, &scope)).transpose()?
            }
        };
        let cost = table.write(primary, new, call.moment());
        ledger.of(&table.name).write(&cost, 1);
        Ok(Yield { items: returned.into_iter().collect(), last: None })
    }
}

/// The key attributes that `condition` fixes; the other conditions go into `rest`.
fn key_of<'c>(
    condition: &'c Condition,
    schema: &Schema,
    scope: &Scope<'_>,
    rest: &mut Vec<&'c Condition>,
) -> Result<Option<Item>, Refusal> {
    let mut key = Item::new();
    let mut open = vec![condition];
    while let Some(condition) = open.pop() {
        match condition {
            Condition::And(left, right) => open.extend([&**right, &**left]),
            Condition::Compare(Operand::Path(path), Comparison::Equal, value)
            | Condition::Compare(value, Comparison::Equal, Operand::Path(path)) => {
                let name = match path.as_slice() {
                    [Step::Name(name)] if schema.has(name) && !key.contains_key(name) => name,
                    _ => {
                        rest.push(condition);
                        continue;
                    }
                };
                key.insert(name.clone(), scope.constant(value)?.into_owned());
            }
            other => rest.push(other),
        }
    }
    Ok(Some(key).filter(|key| key.contains_key(&schema.hash.name)))
}

/// A `SELECT`.
fn read(
    call: &Call<'_>,
    table: &mut Table,
    select: &Select,
    bound: Bound<'_>,
    ledger: &mut Ledger,
) -> Result<Yield, Refusal> {
    let (scope, name, schema) = (bound.scope, table.name.clone(), table.schema.clone());
    let page = match &select.index {
        Some(_) if bound.consistent => {
            return Err(Refusal::invalid(
                "Consistent reads are not supported on global secondary indexes",
            ));
        }
        Some(index) => {
            let found = table.index(index, call.now).ok_or_else(|| {
                Refusal::invalid(format!("The table does not have the specified index: {index}"))
            })?;
            let items = found.entries.values().flat_map(BTreeMap::values);
            let skipped = items.skip_while(|item| {
                bound.start.is_some_and(|start| schema.attributes(item) != schema.attributes(start))
            });
            let after = skipped.skip(usize::from(bound.start.is_some()));
            page(after, bound.limit, select.condition.as_ref(), &scope)?
        }
        None => read_table(call, table, select, bound)?,
    };
    let index = select.index.as_deref();
    let size = page.items.iter().map(|item| bytes(item) as u64).sum();
    ledger.of(&name).read(page.scanned as u64, size, bound.consistent, index);
    let shape = |item: &Arc<Item>| match &select.paths {
        None => Ok((**item).clone()),
        Some(paths) => project(item, paths, &scope),
    };
    let items = page.items.iter().map(shape).collect::<Result<_, _>>()?;
    let last = page.last.as_ref().map(|item| schema.attributes(item));
    Ok(Yield { items, last })
}

fn read_table(
    call: &Call<'_>,
    table: &Table,
    select: &Select,
    bound: Bound<'_>,
) -> Result<Page, Refusal> {
    let (scope, schema) = (bound.scope, &table.schema);
    let mut rest = Vec::new();
    let key = match &select.condition {
        None => None,
        Some(condition) => key_of(condition, schema, &scope, &mut rest)?,
    };
    let sight = call.sight(bound.consistent);
    let full = key.as_ref().filter(|key| key.len() == schema.parts().count());
    if let Some(full) = full {
        let primary = schema.of_key(full)?;
        let found = table.see(&primary, sight);
        let mut found = page(found.into_iter(), None, select.condition.as_ref(), &scope)?;
        found.last = None;
        return Ok(found);
    }
    if bound.single {
        return Err(Refusal::invalid(
            "Select statements within BatchExecuteStatement must specify the primary key in the \
             where clause.",
        ));
    }
    let start = bound.start.map(|start| schema.of_key(start)).transpose()?;
    let filter = select.condition.as_ref();
    let Some(hash) = key.as_ref().and_then(|key| Key::of(key.get(&schema.hash.name)?)) else {
        let all = table.partitions.iter().flat_map(|(hash, partition)| {
            partition.iter().map(move |(range, stored)| (hash, range, stored))
        });
        let after = all.filter(|(hash, range, _)| match &start {
            Some(start) => (*hash, *range) > (&start.hash, &start.range),
            None => true,
        });
        let items = after.filter_map(|(_, _, stored)| stored.seen(sight));
        return page(items, bound.limit, filter, &scope);
    };
    let keys = Keys::of_hash(hash);
    let nothing = BTreeMap::new();
    let partition = table.partitions.get(&keys.hash).unwrap_or(&nothing);
    let items = of_partition(partition, &keys, start.as_ref(), !select.descending, sight);
    page(items, bound.limit, filter, &scope)
}

/// Where a search goes on, as an opaque text.
fn token_of(last: &Item) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(last).unwrap_or_default())
}

fn start_of(token: &str) -> Result<Item, Refusal> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok();
    let item = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    item.ok_or_else(|| Refusal::invalid("Invalid NextToken"))
}
