//! Thresholds: figures of a run that must keep to a bound.
//!
//! ```toml
//! [gates]
//! "end-to-end.p99" = { max = "250ms" }
//! "rate.delivered" = { min = 5000 }
//! ```

use serde::{Deserialize, Serialize};
use toml::Value;

use super::parts::Group;
use super::reader::{Section, as_float, closest, show};
use crate::units::floor;
use crate::units::{parse_duration, parse_size, show_count, show_duration, show_size};

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Nanoseconds.
    Nanoseconds,
    /// Events a second.
    PerSecond,
    /// Things.
    Count,
    /// Bytes.
    Bytes,
    /// A fraction of one.
    Fraction,
}

impl Unit {
    /// A figure as people read it.
    #[must_use]
    pub fn show(self, value: f64) -> String {
        match self {
            Self::Nanoseconds => show_duration(floor(value)),
            Self::PerSecond => format!("{value:.1}/s"),
            Self::Count => show_count(floor(value)),
            Self::Bytes => show_size(floor(value)),
            Self::Fraction => format!("{value:.4}"),
        }
    }

    fn parse(self, value: &Value) -> Option<f64> {
        match self {
            Self::Nanoseconds => value.as_str().and_then(parse_duration).map(|nanos| nanos as f64),
            Self::Bytes => value.as_str().and_then(parse_size).map(|bytes| bytes as f64),
            _ => as_float(value).filter(|number| *number >= 0.0),
        }
    }

    const fn example(self) -> &'static str {
        match self {
            Self::Nanoseconds => "a duration such as \"250ms\"",
            Self::Bytes => "a size such as \"200MB\"",
            _ => "a number",
        }
    }
}

/// A figure by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Such as `end-to-end.p99`.
    pub name: String,
    /// What it counts.
    pub unit: Unit,
}

/// Retries before their time: none may be, in any scenario, unless its gates say otherwise.
pub const RETRIES_EARLY: &str = "retries.early";

/// The statistics that every distribution has.
pub const STATISTICS: [&str; 6] = ["mean", "p50", "p90", "p99", "p99.9", "max"];
const DISTRIBUTIONS: [&str; 4] = ["publish", "end-to-end", "lag", "retry-lateness"];
const SINGLE: [(&str, Unit); 28] = [
    ("rate.sent", Unit::PerSecond),
    ("rate.accepted", Unit::PerSecond),
    ("rate.delivered", Unit::PerSecond),
    ("account.missing", Unit::Count),
    ("account.duplicated", Unit::Count),
    ("account.late", Unit::Count),
    ("account.unknown", Unit::Count),
    ("account.dead-lettered", Unit::Count),
    ("account.owed", Unit::Count),
    (RETRIES_EARLY, Unit::Count),
    ("retries.overdue", Unit::Count),
    ("system.cpu-per-event", Unit::Nanoseconds),
    ("system.memory-peak", Unit::Bytes),
    ("generator.cpu-per-event", Unit::Nanoseconds),
    ("chaos.ready", Unit::Nanoseconds),
    ("chaos.first-delivery", Unit::Nanoseconds),
    ("drain.time", Unit::Nanoseconds),
    ("drain.rate", Unit::PerSecond),
    ("drain.rate-to-99", Unit::PerSecond),
    ("fairness", Unit::Fraction),
    ("aws.requests-per-event", Unit::Fraction),
    ("aws.sqs-requests-per-event", Unit::Fraction),
    ("aws.dynamodb-requests-per-event", Unit::Fraction),
    ("aws.write-units-per-event", Unit::Fraction),
    ("aws.index-write-units-per-event", Unit::Fraction),
    ("aws.read-units-per-event", Unit::Fraction),
    ("aws.cost-per-million", Unit::Fraction),
    ("aws.full-speed", Unit::Nanoseconds),
];

/// The side on which a bound lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bound {
    /// The figure must not be greater.
    Max,
    /// The figure must not be smaller.
    Min,
}

/// A figure and its bound.
#[derive(Clone, Debug, PartialEq)]
pub struct Gate {
    /// The figure.
    pub metric: Metric,
    /// The side of the bound.
    pub bound: Bound,
    /// The bound, in the figure's unit.
    pub limit: f64,
}

impl Gate {
    /// Whether the figure keeps to it.
    #[must_use]
    pub fn holds(&self, actual: f64) -> bool {
        match self.bound {
            Bound::Max => actual <= self.limit,
            Bound::Min => actual >= self.limit,
        }
    }
}

/// All figures that there are.
fn metrics(groups: &[Group]) -> Vec<Metric> {
    let distributions = DISTRIBUTIONS.iter().map(|&name| name.to_owned());
    let distributions = distributions.chain(groups.iter().map(|g| format!("group.{}", g.name)));
    let statistics = distributions.flat_map(|name| {
        STATISTICS.map(|s| Metric { name: format!("{name}.{s}"), unit: Unit::Nanoseconds })
    });
    let single = SINGLE.iter().map(|&(name, unit)| Metric { name: name.to_owned(), unit });
    statistics.chain(single).collect()
}

/// Reads the gates. Names may be quoted, or written as tables (`end-to-end.p99.max = …`).
pub(super) fn read(mut section: Section<'_>, groups: &[Group]) -> Vec<Gate> {
    let known = metrics(groups);
    let mut given = Vec::new();
    flatten(String::new(), &Value::Table(section.rest()), &mut given);
    let mut gates = Vec::new();
    for (path, value) in given {
        let (name, bound) = match path.rsplit_once('.') {
            Some((name, "max")) => (name, Bound::Max),
            Some((name, "min")) => (name, Bound::Min),
            _ => {
                section.wrong(&path, "{ max = … } or { min = … } is expected");
                continue;
            }
        };
        let Some(metric) = known.iter().find(|metric| metric.name == name) else {
            let hint = closest(name, known.iter().map(|metric| metric.name.as_str()));
            section.wrong(name, format!("no such figure{hint}"));
            continue;
        };
        match metric.unit.parse(&value) {
            Some(limit) => gates.push(Gate { metric: metric.clone(), bound, limit }),
            None => {
                let expected = metric.unit.example();
                section.wrong(&path, format!("{expected} is expected, not {}", show(&value)));
            }
        }
    }
    gates
}

fn flatten(path: String, value: &Value, into: &mut Vec<(String, Value)>) {
    let Value::Table(table) = value else {
        into.push((path, value.clone()));
        return;
    };
    for (key, value) in table {
        let deeper = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        flatten(deeper, value, into);
    }
}
