//! `GetItem`, `PutItem`, `UpdateItem` and `DeleteItem`.

use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use super::action::{Action, Change, OnFailure, Outcome, Stopped};
use super::capacity::{Capacity, Consumed, Wanted};
use super::expression::{Names, Path, Scope, project};
use super::key::Primary;
use super::table::Table;
use super::value::{Item, bytes};
use super::{Aliases, Call, Dynamo, Values, parse, served};
use crate::aws_sim::refusal::Refusal;
use crate::aws_sim::state::Served;
use crate::shared::lock;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Get {
    table_name: String,
    key: Item,
    #[serde(default)]
    consistent_read: bool,
    projection_expression: Option<String>,
    expression_attribute_names: Aliases,
    #[serde(default)]
    return_consumed_capacity: Wanted,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Put {
    table_name: String,
    item: Item,
    condition_expression: Option<String>,
    expression_attribute_names: Aliases,
    expression_attribute_values: Values,
    #[serde(default)]
    return_values: Return,
    #[serde(default)]
    return_values_on_condition_check_failure: OnFailure,
    #[serde(default)]
    return_consumed_capacity: Wanted,
    #[serde(rename = "ReturnItemCollectionMetrics")]
    _collections: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Update {
    table_name: String,
    key: Item,
    update_expression: Option<String>,
    condition_expression: Option<String>,
    expression_attribute_names: Aliases,
    expression_attribute_values: Values,
    #[serde(default)]
    return_values: Return,
    #[serde(default)]
    return_values_on_condition_check_failure: OnFailure,
    #[serde(default)]
    return_consumed_capacity: Wanted,
    #[serde(rename = "ReturnItemCollectionMetrics")]
    _collections: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Delete {
    table_name: String,
    key: Item,
    condition_expression: Option<String>,
    expression_attribute_names: Aliases,
    expression_attribute_values: Values,
    #[serde(default)]
    return_values: Return,
    #[serde(default)]
    return_values_on_condition_check_failure: OnFailure,
    #[serde(default)]
    return_consumed_capacity: Wanted,
    #[serde(rename = "ReturnItemCollectionMetrics")]
    _collections: Option<String>,
}

/// Which attributes a write gives back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Return {
    #[default]
    None,
    AllOld,
    UpdatedOld,
    AllNew,
    UpdatedNew,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Got {
    #[serde(skip_serializing_if = "Option::is_none")]
    item: Option<Item>,
    #[serde(skip_serializing_if = "Option::is_none")]
    consumed_capacity: Option<Capacity>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Written {
    #[serde(skip_serializing_if = "Option::is_none")]
    attributes: Option<Item>,
    #[serde(skip_serializing_if = "Option::is_none")]
    consumed_capacity: Option<Capacity>,
}

/// How a write of one item is answered.
#[derive(Clone, Copy, Debug)]
struct Manner<'a> {
    returned: Return,
    on_failure: OnFailure,
    capacity: Wanted,
    /// What an update changes.
    paths: &'a [&'a Path],
}

impl Dynamo {
    pub(super) fn get_item(&self, call: &Call<'_>, body: &[u8]) -> Result<Served, Refusal> {
        let request: Get = parse(body)?;
        let table = self.find(&request.table_name)?;
        let projection = self.expressions.projection(request.projection_expression.as_deref())?;
        let names = Names::new(request.expression_attribute_names, None);
        names.check(&[projection.as_ref().map(|parsed| &parsed.uses)])?;
        let table = lock(&table);
        let primary = table.schema.of_key(&request.key)?;
        let found = table.see(&primary, call.sight(request.consistent_read)).cloned();
        let name = table.name.clone();
        drop(table);
        let mut consumed = Consumed::default();
        let size = found.as_deref().map_or(0, bytes) as u64;
        consumed.read(u64::from(found.is_some()), size, request.consistent_read, None);
        let item = match (found, &projection) {
            (None, _) => None,
            (Some(item), None) => Some((*item).clone()),
            (Some(item), Some(parsed)) => Some(project(&item, &parsed.tree, &names.scope())?),
        };
        let consumed_capacity = consumed.report(&name, request.return_consumed_capacity);
        Ok(served(&Got { item, consumed_capacity }, consumed.work))
    }

    pub(super) fn put_item(&self, call: &Call<'_>, body: &[u8]) -> Result<Served, Refusal> {
        let request: Put = parse(body)?;
        only_old(request.return_values)?;
        let table = self.find(&request.table_name)?;
        let condition = self.expressions.condition(request.condition_expression.as_deref())?;
        let names =
            Names::new(request.expression_attribute_names, request.expression_attribute_values);
        names.check(&[condition.as_ref().map(|parsed| &parsed.uses)])?;
        let primary = lock(&table).schema.of_item(&request.item)?;
        let action = Action {
            primary,
            key: Item::new(),
            change: Change::Put(request.item),
            condition: condition.as_ref().map(|parsed| &parsed.tree),
            scope: names.scope(),
        };
        let manner = Manner {
            returned: request.return_values,
            on_failure: request.return_values_on_condition_check_failure,
            capacity: request.return_consumed_capacity,
            paths: &[],
        };
        write(call, &table, action, manner)
    }

    pub(super) fn update_item(&self, call: &Call<'_>, body: &[u8]) -> Result<Served, Refusal> {
        let request: Update = parse(body)?;
        let table = self.find(&request.table_name)?;
        let condition = self.expressions.condition(request.condition_expression.as_deref())?;
        let update = self.expressions.update(request.update_expression.as_deref())?;
        let names =
            Names::new(request.expression_attribute_names, request.expression_attribute_values);
        names.check(&[
            condition.as_ref().map(|parsed| &parsed.uses),
            update.as_ref().map(|parsed| &parsed.uses),
        ])?;
        let primary = lock(&table).schema.of_key(&request.key)?;
        let nothing = super::expression::Update::default();
        let update = update.as_ref().map_or(&nothing, |parsed| &parsed.tree);
        let action = Action {
            primary,
            key: request.key,
            change: Change::Update(update),
            condition: condition.as_ref().map(|parsed| &parsed.tree),
            scope: names.scope(),
        };
        let paths: Vec<_> = update.paths().collect();
        let manner = Manner {
            returned: request.return_values,
            on_failure: request.return_values_on_condition_check_failure,
            capacity: request.return_consumed_capacity,
            paths: &paths,
        };
        write(call, &table, action, manner)
    }

    pub(super) fn delete_item(&self, call: &Call<'_>, body: &[u8]) -> Result<Served, Refusal> {
        let request: Delete = parse(body)?;
        only_old(request.return_values)?;
        let table = self.find(&request.table_name)?;
        let condition = self.expressions.condition(request.condition_expression.as_deref())?;
        let names =
            Names::new(request.expression_attribute_names, request.expression_attribute_values);
        names.check(&[condition.as_ref().map(|parsed| &parsed.uses)])?;
        let primary = lock(&table).schema.of_key(&request.key)?;
        let action = Action {
            primary,
            key: Item::new(),
            change: Change::Delete,
            condition: condition.as_ref().map(|parsed| &parsed.tree),
            scope: names.scope(),
        };
        let manner = Manner {
            returned: request.return_values,
            on_failure: request.return_values_on_condition_check_failure,
            capacity: request.return_consumed_capacity,
            paths: &[],
        };
        write(call, &table, action, manner)
    }
}

fn only_old(returned: Return) -> Result<(), Refusal> {
    match returned {
        Return::None | Return::AllOld => Ok(()),
        Return::UpdatedOld | Return::AllNew | Return::UpdatedNew => {
            Err(Refusal::invalid("Return values set to invalid value"))
        }
    }
}

/// Does one write, and answers.
fn write(
    call: &Call<'_>,
    table: &Arc<Mutex<Table>>,
    action: Action<'_>,
    manner: Manner<'_>,
) -> Result<Served, Refusal> {
    let (primary, scope): (Primary, Scope<'_>) = (action.primary.clone(), action.scope);
    let mut consumed = Consumed::default();
    let mut table = lock(table);
    let outcome = match action.weigh(&table) {
        Ok(outcome) => outcome,
        Err(stopped) => {
            if matches!(stopped, Stopped::Condition(_)) {
                // It is paid for all the same.
                consumed.write(&table.refused_cost(&primary), 1);
                call.context.counters.work(call.operation, &consumed.work);
            }
            return Err(stopped.into_refusal(manner.on_failure));
        }
    };
    let Outcome { old, new } = outcome;
    let attributes = returned(manner, old.as_deref(), new.as_ref(), &scope)?;
    let cost = table.write(primary, new, call.moment());
    let name = table.name.clone();
    drop(table);
    consumed.write(&cost, 1);
    let consumed_capacity = consumed.report(&name, manner.capacity);
    Ok(served(&Written { attributes, consumed_capacity }, consumed.work))
}

fn returned(
    manner: Manner<'_>,
    old: Option<&Item>,
    new: Option<&Item>,
    scope: &Scope<'_>,
) -> Result<Option<Item>, Refusal> {
    let changed = |item: &Item| {
        let paths: Vec<Path> = manner.paths.iter().map(|path| (*path).clone()).collect();
        project(item, &paths, scope)
    };
    let attributes = match manner.returned {
        Return::None => None,
        Return::AllOld => old.cloned(),
        Return::AllNew => new.cloned(),
        Return::UpdatedOld => old.map(changed).transpose()?,
        Return::UpdatedNew => new.map(changed).transpose()?,
    };
    Ok(attributes.filter(|attributes| !attributes.is_empty()))
}
