//! Reads TOML tables key by key and notes everything that is wrong, instead of stopping at the
//! first fault as a derived deserialiser does.
//!
//! A key that nobody asked for is unknown; the keys that were asked for are what suggestions are
//! made of, so the two can never disagree.

use std::cell::RefCell;
use std::fmt;
use std::ops::RangeInclusive;

use toml::{Table, Value};

use crate::clock::Nanos;
use crate::units::{floor, parse_duration, parse_size, show_duration, show_size};

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The path of the key, such as `tenants.0.sink.delay`.
    pub key: String,
    /// What is wrong, and what would be right.
    pub text: String,
}

/// Everything that is wrong with a scenario; never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// A single problem.
    #[must_use]
    pub fn one(key: &str, text: String) -> Self {
        Self(vec![Problem { key: key.to_owned(), text }])
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let line = if index == 0 { "" } else { "\n" };
            match problem.key.as_str() {
                "" => write!(f, "{line}{}", problem.text)?,
                key => write!(f, "{line}{key}: {}", problem.text)?,
            }
        }
        Ok(())
    }
}

/// Where problems are collected.
#[derive(Debug, Default)]
pub(super) struct Notes(RefCell<Vec<Problem>>);

impl Notes {
    /// Something is wrong with `key`.
    pub(super) fn add(&self, key: &str, text: impl Into<String>) {
        self.0.borrow_mut().push(Problem { key: key.to_owned(), text: text.into() });
    }

    /// What there is to tell.
    pub(super) fn finish(self) -> Result<(), Problems> {
        let problems = self.0.into_inner();
        if problems.is_empty() { Ok(()) } else { Err(Problems(problems)) }
    }
}

/// A table that is being read.
#[derive(Debug)]
pub(super) struct Section<'n> {
    path: String,
    table: Table,
    asked: Vec<&'static str>,
    notes: &'n Notes,
}

impl<'n> Section<'n> {
    /// The whole file.
    pub(super) const fn top(table: Table, notes: &'n Notes) -> Self {
        Self { path: String::new(), table, asked: Vec::new(), notes }
    }

    /// The full path of `key`.
    pub(super) fn path(&self, key: &str) -> String {
        match self.path.as_str() {
            "" => key.to_owned(),
            path if key.is_empty() => path.to_owned(),
            path => format!("{path}.{key}"),
        }
    }

    /// Notes that `key` is wrong.
    pub(super) fn wrong(&self, key: &str, text: impl Into<String>) {
        self.notes.add(&self.path(key), text);
    }

    /// Takes a value out.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Value> {
        self.asked.push(key);
        self.table.remove(key)
    }

    /// Whether it has the key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// All that has not been taken, for tables whose keys are free.
    pub(super) fn rest(&mut self) -> Table {
        std::mem::take(&mut self.table)
    }

    /// A table in it; an empty one where it is left out.
    pub(super) fn section(&mut self, key: &'static str) -> Self {
        let path = self.path(key);
        let table = match self.take(key) {
            None => Table::new(),
            Some(Value::Table(table)) => table,
            Some(other) => {
                self.wrong(key, format!("a table is expected here, not {}", show(&other)));
                Table::new()
            }
        };
        Self { path, table, asked: Vec::new(), notes: self.notes }
    }

    /// A list of tables in it.
    pub(super) fn sections(&mut self, key: &'static str) -> Vec<Self> {
        let path = self.path(key);
        let values = match self.take(key) {
            None => Vec::new(),
            Some(Value::Array(values)) => values,
            Some(other) => {
                self.wrong(key, format!("a list of tables is expected, not {}", show(&other)));
                Vec::new()
            }
        };
        let section = |(index, value)| {
            let path = format!("{path}.{index}");
            let table = match value {
                Value::Table(table) => table,
                other => {
                    self.notes.add(&path, format!("a table is expected, not {}", show(&other)));
                    Table::new()
                }
            };
            Self { path, table, asked: Vec::new(), notes: self.notes }
        };
        values.into_iter().enumerate().map(section).collect()
    }

    /// A text.
    pub(super) fn text(&mut self, key: &'static str, default: &str) -> String {
        self.optional_text(key).unwrap_or_else(|| default.to_owned())
    }

    /// A text that may be left out.
    pub(super) fn optional_text(&mut self, key: &'static str) -> Option<String> {
        match self.take(key)? {
            Value::String(text) => Some(text),
            other => {
                self.wrong(key, format!("a text is expected, not {}", show(&other)));
                None
            }
        }
    }

    /// One of several words; the first is the default.
    pub(super) fn word(
        &mut self,
        key: &'static str,
        words: &'static [&'static str],
    ) -> &'static str {
        let default = words[0];
        let Some(text) = self.optional_text(key) else { return default };
        words.iter().find(|&&word| word == text).copied().unwrap_or_else(|| {
            let hint = closest(&text, words.iter().copied());
            self.wrong(key, format!("one of {} is expected{hint}", words.join(", ")));
            default
        })
    }

    /// A list of texts.
    pub(super) fn texts(&mut self, key: &'static str) -> Vec<String> {
        let Some(value) = self.take(key) else { return Vec::new() };
        let Value::Array(values) = value else {
            self.wrong(key, format!("a list of texts is expected, not {}", show(&value)));
            return Vec::new();
        };
        let text = |value: Value| match value {
            Value::String(text) => Some(text),
            other => {
                self.wrong(key, format!("a list of texts is expected; {} is none", show(&other)));
                None
            }
        };
        values.into_iter().filter_map(text).collect()
    }

    /// True or false.
    pub(super) fn flag(&mut self, key: &'static str, default: bool) -> bool {
        match self.take(key) {
            None => default,
            Some(Value::Boolean(flag)) => flag,
            Some(other) => {
                self.wrong(key, format!("true or false is expected, not {}", show(&other)));
                default
            }
        }
    }

    /// A whole number.
    pub(super) fn number(
        &mut self,
        key: &'static str,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> u64 {
        let value = self.take(key);
        let expected =
            || format!("a whole number from {} to {} is expected", range.start(), range.end());
        match value {
            None => default,
            Some(Value::Integer(number)) => match u64::try_from(number) {
                Ok(number) if range.contains(&number) => number,
                _ => {
                    self.wrong(key, format!("{}, not {number}", expected()));
                    default
                }
            },
            Some(other) => {
                self.wrong(key, format!("{}, not {}", expected(), show(&other)));
                default
            }
        }
    }

    /// A number with or without a fraction.
    pub(super) fn decimal(
        &mut self,
        key: &'static str,
        default: f64,
        range: RangeInclusive<f64>,
    ) -> f64 {
        let Some(value) = self.take(key) else { return default };
        match as_float(&value) {
            Some(number) if range.contains(&number) => number,
            _ => {
                let (least, most) = (range.start(), range.end());
                let given = show(&value);
                self.wrong(
                    key,
                    format!("a number from {least} to {most} is expected, not {given}"),
                );
                default
            }
        }
    }

    /// A duration within bounds.
    pub(super) fn duration(
        &mut self,
        key: &'static str,
        default: Nanos,
        range: RangeInclusive<Nanos>,
    ) -> Nanos {
        let Some(value) = self.take(key) else { return default };
        match value.as_str().and_then(parse_duration) {
            Some(duration) if range.contains(&duration) => duration,
            _ => {
                let (least, most) = (show_duration(*range.start()), show_duration(*range.end()));
                let given = show(&value);
                self.wrong(
                    key,
                    format!(
                        "a duration from {least} to {most} is expected (5s, 250ms), not {given}"
                    ),
                );
                default
            }
        }
    }

    /// A size within bounds.
    pub(super) fn size(&mut self, key: &'static str, default: u64, most: u64) -> u64 {
        let Some(value) = self.take(key) else { return default };
        match value.as_str().and_then(parse_size) {
            Some(size) if size <= most => size,
            _ => {
                let (most, given) = (show_size(most), show(&value));
                self.wrong(
                    key,
                    format!("a size up to {most} is expected (512B, 256KiB), not {given}"),
                );
                default
            }
        }
    }

    /// A moment: a duration from the beginning of the measure phase, or a percentage of it.
    pub(super) fn moment(&mut self, key: &'static str, default: Nanos, measure: Nanos) -> Nanos {
        let Some(value) = self.take(key) else { return default };
        let percent = |text: &str| {
            let share: f64 = text.strip_suffix('%')?.parse().ok()?;
            (0.0..=1000.0).contains(&share).then(|| floor(measure as f64 * share / 100.0))
        };
        let text = value.as_str().unwrap_or_default();
        parse_duration(text).or_else(|| percent(text)).unwrap_or_else(|| {
            let given = show(&value);
            self.wrong(
                key,
                format!("a moment of the measure phase is expected (10s or 50%), not {given}"),
            );
            default
        })
    }

    /// Everything has been read: what is left is unknown.
    pub(super) fn finish(self) {
        for key in self.table.keys() {
            let known = self.asked.iter().copied();
            let mut hint = closest(key, known);
            if hint.is_empty() {
                hint = format!("; known here: {}", self.asked.join(", "));
            }
            self.wrong(key, format!("no such key{hint}"));
        }
    }
}

/// A number of either kind.
pub(super) fn as_float(value: &Value) -> Option<f64> {
    match value {
        Value::Float(number) => Some(*number),
        Value::Integer(number) => Some(*number as f64),
        _ => None,
    }
}

/// `; did you mean …?` where one of `known` is near.
pub(super) fn closest<'k>(text: &str, known: impl Iterator<Item = &'k str>) -> String {
    let near = known
        .map(|known| (strsim::jaro_winkler(text, known), known))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    near.map_or_else(String::new, |(_, known)| format!("; did you mean {known}?"))
}

/// A value as it was written, but short.
pub(super) fn show(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
