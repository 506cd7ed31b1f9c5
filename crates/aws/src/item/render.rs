//! An edit in the two languages that DynamoDB understands: a PartiQL statement, and an update
//! expression with its condition.
//!
//! Values travel as parameters, so that the texts of all writes of one kind are the same but for
//! the name of the log entry, and nothing in a row can be mistaken for language.

use std::collections::HashMap;
use std::fmt::Write;

use aws_sdk_dynamodb::types::AttributeValue as Value;
use posthaste_domain::RowKey;

use super::edit::{Edit, Want};
use super::{Item, name};

/// A PartiQL `UPDATE` and its parameters. It never creates a row.
pub(crate) fn statement(table: &str, key: &RowKey, edit: Edit) -> (String, Vec<Value>) {
    let mut line = format!("UPDATE \"{table}\"");
    let mut values = Vec::with_capacity(edit.sets.len() + edit.wants.len() + 4);
    for (name, value) in edit.sets {
        push(&mut line, format_args!(" SET \"{name}\" = ?"));
        values.push(value);
    }
    for name in edit.removes {
        push(&mut line, format_args!(" REMOVE \"{name}\""));
    }
    push(&mut line, format_args!(" WHERE \"{}\" = ? AND \"{}\" = ?", name::TENANT, name::EVENT));
    values.push(Value::S(key.tenant.as_str().to_owned()));
    values.push(Value::S(key.event.to_string()));
    for want in edit.wants {
        match want {
            Want::Is(name, value) => {
                push(&mut line, format_args!(" AND \"{name}\" = ?"));
                values.push(value);
            }
            Want::IsEither(name, one, other) => {
                push(&mut line, format_args!(" AND \"{name}\" IN [?, ?]"));
                values.extend([one, other]);
            }
            Want::Absent(name) => push(&mut line, format_args!(" AND \"{name}\" IS MISSING")),
            Want::Present(name) => push(&mut line, format_args!(" AND \"{name}\" IS NOT MISSING")),
        }
    }
    (line, values)
}

/// An update expression, its condition, and what their placeholders stand for.
#[derive(Debug, Default)]
pub(crate) struct Rendered {
    /// `SET … REMOVE …`.
    pub(crate) update: String,
    /// What must hold; that the row exists is part of it.
    pub(crate) condition: String,
    /// What `#…` stands for.
    pub(crate) names: HashMap<String, String>,
    /// What `:…` stands for.
    pub(crate) values: Item,
}

/// The same for `UpdateItem` and `TransactWriteItems`.
pub(crate) fn update(edit: Edit) -> Rendered {
    let mut rendered = Rendered::default();
    for (index, (name, value)) in edit.sets.into_iter().enumerate() {
        let start = if index == 0 { "SET " } else { ", " };
        let (name, value) = (rendered.name(&name), rendered.value(value));
        push(&mut rendered.update, format_args!("{start}{name} = {value}"));
    }
    for (index, name) in edit.removes.into_iter().enumerate() {
        let start = if index == 0 { " REMOVE " } else { ", " };
        let name = rendered.name(name);
        push(&mut rendered.update, format_args!("{start}{name}"));
    }
    let exists = rendered.name(name::TENANT);
    push(&mut rendered.condition, format_args!("attribute_exists({exists})"));
    for want in edit.wants {
        let clause = rendered.clause(want);
        push(&mut rendered.condition, format_args!(" AND {clause}"));
    }
    rendered
}

impl Rendered {
    fn clause(&mut self, want: Want) -> String {
        match want {
            Want::Is(name, value) => format!("{} = {}", self.name(name), self.value(value)),
            Want::IsEither(name, one, other) => {
                let (name, one, other) = (self.name(name), self.value(one), self.value(other));
                format!("{name} IN ({one}, {other})")
            }
            Want::Absent(name) => format!("attribute_not_exists({})", self.name(name)),
            Want::Present(name) => format!("attribute_exists({})", self.name(name)),
        }
    }

    /// A placeholder for a name: its letters and digits, so that a request is readable.
    fn name(&mut self, name: &str) -> String {
        let letters = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' });
        let placeholder: String = std::iter::once('#').chain(letters).collect();
        self.names.entry(placeholder.clone()).or_insert_with(|| name.to_owned());
        placeholder
    }

    fn value(&mut self, value: Value) -> String {
        let placeholder = format!(":v{}", self.values.len());
        self.values.insert(placeholder.clone(), value);
        placeholder
    }
}

fn push(line: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing into a String cannot fail.
    let written = line.write_fmt(text);
    debug_assert!(written.is_ok(), "a String takes any text");
}
