//! One write of one item, whatever call it came with: the condition is looked at, what the item
//! becomes is worked out, and nothing is stored yet.

use std::sync::Arc;

use serde::Deserialize;

use super::expression::{Condition, Scope, Update, apply, test};
use super::key::{INVALID, Primary};
use super::table::Table;
use super::value::Item;
use crate::aws_sim::refusal::Refusal;

/// What is to become of an item.
#[derive(Clone, Debug)]
pub(super) enum Change<'a> {
    Put(Item),
    Update(&'a Update),
    Delete,
    /// Nothing: a condition is checked.
    Check,
}

/// A write that is asked for.
#[derive(Debug)]
pub(super) struct Action<'a> {
    pub(super) primary: Primary,
    /// The key's attributes.
    pub(super) key: Item,
    pub(super) change: Change<'a>,
    pub(super) condition: Option<&'a Condition>,
    pub(super) scope: Scope<'a>,
}

/// Whether the item that failed a condition is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum OnFailure {
    #[default]
    None,
    AllOld,
}

/// Why nothing is written.
#[derive(Debug)]
pub(super) enum Stopped {
    /// The condition does not hold of this.
    Condition(Option<Arc<Item>>),
    Refused(Refusal),
}

impl From<Refusal> for Stopped {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// What is to be written.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) old: Option<Arc<Item>>,
    /// `None`: it is deleted.
    pub(super) new: Option<Item>,
}

pub(super) const CONDITION_FAILED: &str = "The conditional request failed";

impl Stopped {
    /// As the error of a call.
    pub(super) fn into_refusal(self, wanted: OnFailure) -> Refusal {
        match self {
            Self::Refused(refusal) => refusal,
            Self::Condition(old) => {
                let refusal = Refusal::new("ConditionalCheckFailedException", CONDITION_FAILED);
                match old.filter(|_| wanted == OnFailure::AllOld) {
                    Some(old) => refusal.with(serde_json::json!({ "Item": *old })),
                    None => refusal,
                }
            }
        }
    }
}

impl Action<'_> {
    /// What it makes of the table's item.
    pub(super) fn weigh(self, table: &Table) -> Result<Outcome, Stopped> {
        let old = table.current(&self.primary).cloned();
        if let Some(condition) = self.condition {
            let nothing = Item::new();
            let holds = test(condition, old.as_deref().unwrap_or(&nothing), &self.scope)?;
            if !holds {
                return Err(Stopped::Condition(old));
            }
        }
        let new = match self.change {
            Change::Delete => None,
            Change::Check => old.as_deref().cloned(),
            Change::Put(item) => {
                table.check(&item)?;
                Some(item)
            }
            Change::Update(update) => {
                for path in update.paths() {
                    let Some(first) = path.first() else { continue };
                    let name = self.scope.name(first)?;
                    if table.schema.has(name) {
                        return Err(Stopped::Refused(Refusal::invalid(format!(
                            "{INVALID} Cannot update attribute {name}. This attribute is part of \
                             the key"
                        ))));
                    }
                }
                let mut item = old.as_deref().cloned().unwrap_or(self.key);
                apply(update, &mut item, &self.scope)?;
                table.check(&item)?;
                Some(item)
            }
        };
        Ok(Outcome { old, new })
    }
}
