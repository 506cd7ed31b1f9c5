//! `--set KEY=VALUE`: one value of a scenario, from the command line.
//!
//! A key is a path with dots; a number names one of a list. Where a table's own keys have dots
//! (settings of the system, its environment, gates), the rest of the path is one key.

use toml::{Table, Value};

use super::reader::Notes;

/// Tables whose keys may have dots in them.
const FREE: [&str; 2] = ["system.settings", "system.environment"];

/// Puts the value in its place.
pub(super) fn apply(table: &mut Table, given: &str, notes: &Notes) {
    let Some((key, text)) = given.split_once('=') else {
        notes.add(given, "KEY=VALUE is expected after --set, such as phases.measure=5s");
        return;
    };
    let (key, text) = (key.trim(), text.trim());
    let steps = steps(key);
    let free = FREE.iter().any(|prefix| key.starts_with(&format!("{prefix}.")));
    // The system's own settings are texts, whatever they look like.
    let value = if free { Value::String(text.to_owned()) } else { parse(text) };
    if let Err(reason) = put(table, &steps, value) {
        notes.add(key, reason);
    }
}

/// `5`, `true` and `[1, 2]` are what they are in TOML; anything else is a text.
fn parse(text: &str) -> Value {
    let line = format!("value = {text}");
    let parsed = line.parse::<Table>().ok().and_then(|mut table| table.remove("value"));
    parsed.unwrap_or_else(|| Value::String(text.to_owned()))
}

fn steps(key: &str) -> Vec<&str> {
    for prefix in FREE {
        if let Some(rest) = key.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('.')) {
            return prefix.split('.').chain([rest]).collect();
        }
    }
    if let Some((metric, bound)) =
        key.strip_prefix("gates.").and_then(|metric| metric.rsplit_once('.'))
    {
        return vec!["gates", metric, bound];
    }
    key.split('.').collect()
}

fn put(table: &mut Table, steps: &[&str], value: Value) -> Result<(), String> {
    let (first, rest) = steps.split_first().ok_or("a key is expected before =")?;
    if first.is_empty() {
        return Err("a key has no empty parts".to_owned());
    }
    if rest.is_empty() {
        table.insert((*first).to_owned(), value);
        return Ok(());
    }
    let next = table.entry((*first).to_owned()).or_insert_with(|| Value::Table(Table::new()));
    match next {
        Value::Table(table) => put(table, rest, value),
        Value::Array(values) => {
            let count = values.len();
            let place = rest[0].parse::<usize>().ok().and_then(|index| values.get_mut(index));
            match (place, &rest[1..]) {
                (Some(place), []) => *place = value,
                (Some(Value::Table(table)), deeper) => return put(table, deeper, value),
                (Some(_), _) => return Err("has no keys of its own".to_owned()),
                (None, _) => {
                    return Err(format!("{first} has {count} entries, counted from 0"));
                }
            }
            Ok(())
        }
        other => Err(format!("{first} is {}, which has no keys", super::reader::show(other))),
    }
}
