//! What a condition says of an item.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::HashMap;

use super::Dialect;
use super::tree::{Comparison, Condition, Operand, Path, Step};
use crate::aws_sim::dynamo::number::{NotANumber, Number};
use crate::aws_sim::dynamo::value::{Item, Value};
use crate::aws_sim::refusal::Refusal;

/// What names and placeholders stand for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope<'s> {
    pub(crate) aliases: &'s HashMap<String, String>,
    pub(crate) values: &'s HashMap<String, Value>,
    pub(crate) parameters: &'s [Value],
    pub(crate) dialect: Dialect,
}

impl<'s> Scope<'s> {
    /// The attribute that a step names.
    pub(crate) fn name(&self, step: &'s Step) -> Result<&'s str, Refusal> {
        match step {
            Step::Name(name) => Ok(name),
            Step::Alias(alias) => self.aliases.get(alias).map(String::as_str).ok_or_else(|| {
                Refusal::invalid(format!("An attribute name is not defined: {alias}"))
            }),
            Step::Index(_) => Err(Refusal::invalid("An index where a name is needed")),
        }
    }

    fn placeholder(&self, name: &str) -> Result<&'s Value, Refusal> {
        self.values
            .get(name)
            .ok_or_else(|| Refusal::invalid(format!("An attribute value is not defined: {name}")))
    }

    fn parameter(&self, number: usize) -> Result<&'s Value, Refusal> {
        self.parameters.get(number).ok_or_else(|| {
            Refusal::invalid("Number of parameters in request and statement don't match.")
        })
    }

    /// The value of an operand that needs no item.
    pub(crate) fn constant(&self, operand: &'s Operand) -> Result<Cow<'s, Value>, Refusal> {
        let nothing = Item::new();
        match value(operand, &nothing, self)? {
            Some(found) => Ok(Cow::Owned(found.into_owned())),
            None => Err(Refusal::invalid("A value is needed here, not an attribute")),
        }
    }
}

/// What is at `path`, if anything.
pub(crate) fn find<'i>(
    item: &'i Item,
    path: &Path,
    scope: &Scope<'_>,
) -> Result<Option<&'i Value>, Refusal> {
    let Some((first, rest)) = path.split_first() else { return Ok(None) };
    let mut found = item.get(scope.name(first)?);
    for step in rest {
        found = match (found, step) {
            (Some(Value::L(list)), Step::Index(index)) => list.get(*index),
            (Some(Value::M(map)), Step::Name(_) | Step::Alias(_)) => map.get(scope.name(step)?),
            _ => return Ok(None),
        };
    }
    Ok(found)
}

/// The value of an operand; `None` where it is an attribute that does not exist.
pub(crate) fn value<'i>(
    operand: &'i Operand,
    item: &'i Item,
    scope: &Scope<'i>,
) -> Result<Option<Cow<'i, Value>>, Refusal> {
    let found = match operand {
        Operand::Path(path) => find(item, path, scope)?.map(Cow::Borrowed),
        Operand::Placeholder(name) => Some(Cow::Borrowed(scope.placeholder(name)?)),
        Operand::Parameter(number) => Some(Cow::Borrowed(scope.parameter(*number)?)),
        Operand::Literal(value) => Some(Cow::Borrowed(value)),
        Operand::List(operands) => {
            let list = operands.iter().map(|operand| present(operand, item, scope));
            Some(Cow::Owned(Value::L(list.collect::<Result<_, _>>()?)))
        }
        Operand::Map(entries) => {
            let map = entries
                .iter()
                .map(|(name, operand)| Ok((name.clone(), present(operand, item, scope)?)));
            Some(Cow::Owned(Value::M(map.collect::<Result<_, Refusal>>()?)))
        }
        Operand::Size(path) => {
            let size = find(item, path, scope)?.and_then(size);
            size.map(|size| Cow::Owned(Value::N(Number::from(size))))
        }
        Operand::Add(left, right) => Some(sum(left, right, item, scope, Number::add)?),
        Operand::Subtract(left, right) => Some(sum(left, right, item, scope, Number::subtract)?),
        Operand::IfNotExists(path, otherwise) => match find(item, path, scope)? {
            Some(found) => Some(Cow::Borrowed(found)),
            None => value(otherwise, item, scope)?,
        },
        Operand::ListAppend(left, right) => {
            match (present(left, item, scope)?, present(right, item, scope)?) {
                (Value::L(mut left), Value::L(right)) => {
                    left.extend(right);
                    Some(Cow::Owned(Value::L(left)))
                }
                _ => return Err(wrong_type()),
            }
        }
        Operand::SetAdd(path, set) => {
            let set = present(set, item, scope)?;
            Some(Cow::Owned(super::update::union(find(item, path, scope)?, set)?))
        }
        Operand::SetDelete(path, set) => {
            let set = present(set, item, scope)?;
            super::update::difference(find(item, path, scope)?, &set)?.map(Cow::Owned)
        }
    };
    Ok(found)
}

/// The value of an operand that must have one.
pub(super) fn present(operand: &Operand, item: &Item, scope: &Scope<'_>) -> Result<Value, Refusal> {
    match value(operand, item, scope)? {
        Some(found) => Ok(found.into_owned()),
        None => Err(Refusal::invalid(
            "The provided expression refers to an attribute that does not exist in the item",
        )),
    }
}

pub(super) fn wrong_type() -> Refusal {
    Refusal::invalid("An operand in the update expression has an incorrect data type")
}

fn sum<'i>(
    left: &Operand,
    right: &Operand,
    item: &Item,
    scope: &Scope<'_>,
    combine: impl FnOnce(Number, Number) -> Result<Number, NotANumber>,
) -> Result<Cow<'i, Value>, Refusal> {
    match (present(left, item, scope)?, present(right, item, scope)?) {
        (Value::N(left), Value::N(right)) => {
            let number = combine(left, right);
            let number = number.map_err(|error| Refusal::invalid(error.to_string()))?;
            Ok(Cow::Owned(Value::N(number)))
        }
        _ => Err(wrong_type()),
    }
}

/// What the function `size` gives.
fn size(value: &Value) -> Option<usize> {
    match value {
        Value::S(text) => Some(text.chars().count()),
        Value::B(bytes) => Some(bytes.len()),
        Value::L(list) => Some(list.len()),
        Value::M(map) => Some(map.len()),
        Value::Ss(set) => Some(set.len()),
        Value::Ns(set) => Some(set.len()),
        Value::Bs(set) => Some(set.len()),
        Value::N(_) | Value::Bool(_) | Value::Null => None,
    }
}

/// Whether a condition holds of an item; of nothing, where there is no item.
pub(crate) fn test(condition: &Condition, item: &Item, scope: &Scope<'_>) -> Result<bool, Refusal> {
    Ok(match condition {
        Condition::And(left, right) => test(left, item, scope)? && test(right, item, scope)?,
        Condition::Or(left, right) => test(left, item, scope)? || test(right, item, scope)?,
        Condition::Not(inner) => !test(inner, item, scope)?,
        Condition::Exists(path) => find(item, path, scope)?.is_some(),
        Condition::Compare(left, comparison, right) => {
            let (left, right) = (value(left, item, scope)?, value(right, item, scope)?);
            compare(left.as_deref(), *comparison, right.as_deref(), scope.dialect)?
        }
        Condition::Between(operand, low, high) => {
            let operand = value(operand, item, scope)?;
            let (low, high) = (value(low, item, scope)?, value(high, item, scope)?);
            if let (Some(low), Some(high)) = (&low, &high)
                && order(low, high).is_some_and(Ordering::is_gt)
            {
                return Err(Refusal::invalid(
                    "The BETWEEN operator requires upper bound to be greater than or equal to \
                     lower bound",
                ));
            }
            let holds = |bound: Option<Cow<'_, Value>>, wanted: fn(Ordering) -> bool| {
                let pair = operand.as_deref().zip(bound.as_deref());
                pair.and_then(|(one, other)| order(one, other)).is_some_and(wanted)
            };
            holds(low, Ordering::is_ge) && holds(high, Ordering::is_le)
        }
        Condition::In(operand, list) => {
            let Some(operand) = value(operand, item, scope)? else { return Ok(false) };
            for candidate in list {
                if value(candidate, item, scope)?.as_deref() == Some(&*operand) {
                    return Ok(true);
                }
            }
            false
        }
        Condition::IsType(path, kind) => {
            let Some(kind) = value(kind, item, scope)? else { return Ok(false) };
            let Value::S(kind) = &*kind else { return Err(wrong_type()) };
            find(item, path, scope)?.is_some_and(|found| found.kind() == kind)
        }
        Condition::BeginsWith(operand, prefix) => {
            match (value(operand, item, scope)?.as_deref(), value(prefix, item, scope)?.as_deref())
            {
                (Some(Value::S(text)), Some(Value::S(prefix))) => text.starts_with(prefix.as_str()),
                (Some(Value::B(bytes)), Some(Value::B(prefix))) => bytes.starts_with(prefix),
                _ => false,
            }
        }
        Condition::Contains(operand, part) => {
            match (value(operand, item, scope)?.as_deref(), value(part, item, scope)?.as_deref()) {
                (Some(whole), Some(part)) => contains(whole, part),
                _ => false,
            }
        }
    })
}

fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::S(text), Value::S(part)) => text.contains(part.as_str()),
        (Value::Ss(set), Value::S(part)) => set.contains(part),
        (Value::Ns(set), Value::N(part)) => set.contains(part),
        (Value::Bs(set), Value::B(part)) => set.contains(part),
        (Value::L(list), part) => list.contains(part),
        _ => false,
    }
}

fn compare(
    left: Option<&Value>,
    comparison: Comparison,
    right: Option<&Value>,
    dialect: Dialect,
) -> Result<bool, Refusal> {
    let (Some(left), Some(right)) = (left, right) else {
        // What does not exist differs from everything; in PartiQL, nothing can be said of it.
        return Ok(comparison == Comparison::Differs && dialect == Dialect::Expression);
    };
    let wanted: fn(Ordering) -> bool = match comparison {
        Comparison::Equal => return Ok(left == right),
        Comparison::Differs => return Ok(left != right),
        Comparison::Less => Ordering::is_lt,
        Comparison::LessOrEqual => Ordering::is_le,
        Comparison::More => Ordering::is_gt,
        Comparison::MoreOrEqual => Ordering::is_ge,
    };
    if !matches!(right, Value::S(_) | Value::N(_) | Value::B(_)) {
        return Err(Refusal::invalid(format!(
            "Incorrect operand type for operator or function; operand type: {}",
            right.kind()
        )));
    }
    Ok(order(left, right).is_some_and(wanted))
}

/// How two values of one type that has an order stand.
fn order(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::S(left), Value::S(right)) => Some(left.cmp(right)),
        (Value::N(left), Value::N(right)) => Some(left.cmp(right)),
        (Value::B(left), Value::B(right)) => Some(left.cmp(right)),
        _ => None,
    }
}

/// The parts of an item at `paths`. List elements keep their order and close up.
pub(crate) fn project(item: &Item, paths: &[Path], scope: &Scope<'_>) -> Result<Item, Refusal> {
    let mut projected = Item::new();
    for path in paths {
        let Some(found) = find(item, path, scope)? else { continue };
        let mut steps = path.iter();
        let Some(first) = steps.next() else { continue };
        let mut value = found.clone();
        for step in steps.rev() {
            value = match step {
                Step::Index(_) => Value::L(vec![value]),
                named => Value::M(Item::from([(scope.name(named)?.to_owned(), value)])),
            };
        }
        let name = scope.name(first)?;
        match projected.get_mut(name) {
            Some(present) => merge(present, value),
            None => _ = projected.insert(name.to_owned(), value),
        }
    }
    Ok(projected)
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::L(into), Value::L(from)) => into.extend(from),
        (Value::M(into), Value::M(from)) => {
            for (name, value) in from {
                match into.get_mut(&name) {
                    Some(present) => merge(present, value),
                    None => _ = into.insert(name, value),
                }
            }
        }
        (into, from) => *into = from,
    }
}
