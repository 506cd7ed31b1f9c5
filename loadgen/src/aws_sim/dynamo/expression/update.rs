//! What an update makes of an item.

use std::collections::BTreeSet;

use super::evaluate::{Scope, find, present, wrong_type};
use super::tree::{Path, Step, Update};
use crate::aws_sim::dynamo::value::{Item, Value};
use crate::aws_sim::refusal::Refusal;

/// A step whose alias was looked up. Names before indexes, and both in order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Resolved {
    Name(String),
    Index(usize),
}

fn resolve(path: &Path, scope: &Scope<'_>) -> Result<Vec<Resolved>, Refusal> {
    let step = |step: &Step| match step {
        Step::Index(index) => Ok(Resolved::Index(*index)),
        named => Ok(Resolved::Name(scope.name(named)?.to_owned())),
    };
    path.iter().map(step).collect()
}

/// Changes `item`. Every operand sees the item as it was.
pub(crate) fn apply(update: &Update, item: &mut Item, scope: &Scope<'_>) -> Result<(), Refusal> {
    let paths: Vec<_> =
        update.paths().map(|path| resolve(path, scope)).collect::<Result<_, _>>()?;
    no_overlap(&paths)?;
    let mut values = Vec::new();
    for (path, operand) in &update.set {
        // `set_delete` of a whole set leaves nothing.
        let value = super::evaluate::value(operand, item, scope)?;
        let is_set = matches!(operand, super::tree::Operand::SetDelete(..));
        match value {
            Some(value) => values.push((resolve(path, scope)?, Some(value.into_owned()))),
            None if is_set => values.push((resolve(path, scope)?, None)),
            None => values.push((resolve(path, scope)?, Some(present(operand, item, scope)?))),
        }
    }
    for (path, operand) in &update.add {
        let added = present(operand, item, scope)?;
        let found = find(item, path, scope)?;
        values.push((resolve(path, scope)?, Some(sum(found, added)?)));
    }
    for (path, operand) in &update.delete {
        let deleted = present(operand, item, scope)?;
        if let Some(found) = find(item, path, scope)? {
            values.push((resolve(path, scope)?, difference(Some(found), &deleted)?));
        }
    }
    let mut removed: Vec<_> =
        update.remove.iter().map(|path| resolve(path, scope)).collect::<Result<_, _>>()?;
    for (path, value) in values {
        match value {
            Some(value) => put(item, &path, value)?,
            None => removed.push(path),
        }
    }
    // From the back, so that an index means what it meant.
    removed.sort_unstable_by(|one, other| other.cmp(one));
    for path in &removed {
        remove(item, path)?;
    }
    Ok(())
}

fn no_overlap(paths: &[Vec<Resolved>]) -> Result<(), Refusal> {
    for (at, path) in paths.iter().enumerate() {
        for other in &paths[..at] {
            if path.starts_with(other) || other.starts_with(path) {
                return Err(Refusal::invalid(format!(
                    "Invalid UpdateExpression: Two document paths overlap with each other; must \
                     remove or rewrite one of these paths; path one: {other:?}, path two: {path:?}"
                )));
            }
        }
    }
    Ok(())
}

fn bad_path() -> Refusal {
    Refusal::invalid("The document path provided in the update expression is invalid for update")
}

/// The map or list that holds the last step.
fn parent<'i>(item: &'i mut Item, path: &[Resolved]) -> Result<Option<&'i mut Value>, Refusal> {
    let [Resolved::Name(first), rest @ ..] = path else { return Err(bad_path()) };
    let Some(mut found) = item.get_mut(first) else { return Ok(None) };
    let Some((_, middle)) = rest.split_last() else { return Err(bad_path()) };
    for step in middle {
        let next = match (found, step) {
            (Value::L(list), Resolved::Index(index)) => list.get_mut(*index),
            (Value::M(map), Resolved::Name(name)) => map.get_mut(name),
            _ => return Err(bad_path()),
        };
        match next {
            Some(next) => found = next,
            None => return Ok(None),
        }
    }
    Ok(Some(found))
}

fn put(item: &mut Item, path: &[Resolved], value: Value) -> Result<(), Refusal> {
    if let [Resolved::Name(name)] = path {
        item.insert(name.clone(), value);
        return Ok(());
    }
    match (parent(item, path)?, path.last()) {
        (Some(Value::M(map)), Some(Resolved::Name(name))) => _ = map.insert(name.clone(), value),
        (Some(Value::L(list)), Some(Resolved::Index(index))) => match list.get_mut(*index) {
            Some(place) => *place = value,
            // Beyond the end means at the end.
            None => list.push(value),
        },
        _ => return Err(bad_path()),
    }
    Ok(())
}

fn remove(item: &mut Item, path: &[Resolved]) -> Result<(), Refusal> {
    if let [Resolved::Name(name)] = path {
        item.remove(name);
        return Ok(());
    }
    match (parent(item, path)?, path.last()) {
        (Some(Value::M(map)), Some(Resolved::Name(name))) => _ = map.remove(name),
        (Some(Value::L(list)), Some(Resolved::Index(index))) => {
            if *index < list.len() {
                list.remove(*index);
            }
        }
        _ => return Err(bad_path()),
    }
    Ok(())
}

/// What `ADD` makes: a sum, or a larger set.
fn sum(found: Option<&Value>, added: Value) -> Result<Value, Refusal> {
    match (found, added) {
        (None, number @ Value::N(_)) => Ok(number),
        (Some(Value::N(found)), Value::N(added)) => {
            let sum = found.add(added);
            sum.map(Value::N).map_err(|error| Refusal::invalid(error.to_string()))
        }
        (found, set) => union(found, set),
    }
}

pub(super) fn union(found: Option<&Value>, added: Value) -> Result<Value, Refusal> {
    fn both<T: Ord + Clone>(found: &BTreeSet<T>, added: BTreeSet<T>) -> BTreeSet<T> {
        let mut all = found.clone();
        all.extend(added);
        all
    }
    match (found, added) {
        (None, set @ (Value::Ss(_) | Value::Ns(_) | Value::Bs(_))) => Ok(set),
        (Some(Value::Ss(found)), Value::Ss(added)) => Ok(Value::Ss(both(found, added))),
        (Some(Value::Ns(found)), Value::Ns(added)) => Ok(Value::Ns(both(found, added))),
        (Some(Value::Bs(found)), Value::Bs(added)) => Ok(Value::Bs(both(found, added))),
        _ => Err(wrong_type()),
    }
}

/// A set without the elements of another; `None` where nothing is left.
pub(super) fn difference(found: Option<&Value>, deleted: &Value) -> Result<Option<Value>, Refusal> {
    fn rest<T: Ord + Clone>(found: &BTreeSet<T>, deleted: &BTreeSet<T>) -> Option<BTreeSet<T>> {
        let rest: BTreeSet<T> = found.difference(deleted).cloned().collect();
        (!rest.is_empty()).then_some(rest)
    }
    match (found, deleted) {
        (None, Value::Ss(_) | Value::Ns(_) | Value::Bs(_)) => Ok(None),
        (Some(Value::Ss(found)), Value::Ss(deleted)) => Ok(rest(found, deleted).map(Value::Ss)),
        (Some(Value::Ns(found)), Value::Ns(deleted)) => Ok(rest(found, deleted).map(Value::Ns)),
        (Some(Value::Bs(found)), Value::Bs(deleted)) => Ok(rest(found, deleted).map(Value::Bs)),
        _ => Err(wrong_type()),
    }
}
