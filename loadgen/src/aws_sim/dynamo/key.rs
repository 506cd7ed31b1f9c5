//! Keys: what identifies an item, and what its place in a table or an index is.

use serde::{Deserialize, Serialize};

use super::number::Number;
use super::value::{Item, Value};
use crate::aws_sim::refusal::Refusal;

const HASH_BYTES_MAX: usize = 2_048;
const RANGE_BYTES_MAX: usize = 1_024;

/// The value of a key attribute.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    S(String),
    N(Number),
    B(Vec<u8>),
}

impl Key {
    pub(super) fn of(value: &Value) -> Option<Self> {
        match value {
            Value::S(text) => Some(Self::S(text.clone())),
            Value::N(number) => Some(Self::N(*number)),
            Value::B(bytes) => Some(Self::B(bytes.clone())),
            _ => None,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::S(text) => text.len(),
            Self::N(number) => number.bytes(),
            Self::B(bytes) => bytes.len(),
        }
    }

    /// Whether it begins with `prefix`.
    pub(super) fn starts(&self, prefix: &Self) -> bool {
        match (self, prefix) {
            (Self::S(text), Self::S(prefix)) => text.starts_with(prefix.as_str()),
            (Self::B(bytes), Self::B(prefix)) => bytes.starts_with(prefix),
            _ => false,
        }
    }
}

/// The types that a key attribute can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    S,
    N,
    B,
}

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::S => "S",
            Self::N => "N",
            Self::B => "B",
        }
    }
}

/// A key attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) name: String,
    pub(super) kind: Kind,
}

/// The key attributes of a table or an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Schema {
    pub(super) hash: Part,
    pub(super) range: Option<Part>,
}

/// What identifies an item.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Primary {
    pub(super) hash: Key,
    pub(super) range: Option<Key>,
}

pub(super) const INVALID: &str = "One or more parameter values were invalid:";

impl Schema {
    pub(super) fn parts(&self) -> impl Iterator<Item = &Part> {
        std::iter::once(&self.hash).chain(&self.range)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.parts().any(|part| part.name == name)
    }

    /// The key of a whole item.
    pub(super) fn of_item(&self, item: &Item) -> Result<Primary, Refusal> {
        let part = |part: &Part, bytes_max| {
            let Some(value) = item.get(&part.name) else {
                let name = &part.name;
                return Err(Refusal::invalid(format!(
                    "{INVALID} Missing the key {name} in the item"
                )));
            };
            part.read(value, bytes_max)
        };
        let hash = part(&self.hash, HASH_BYTES_MAX)?;
        let range = self.range.as_ref().map(|range| part(range, RANGE_BYTES_MAX)).transpose()?;
        Ok(Primary { hash, range })
    }

    /// A key that has nothing but the key's attributes.
    pub(super) fn of_key(&self, key: &Item) -> Result<Primary, Refusal> {
        let fits = key.len() == self.parts().count()
            && self.parts().all(|part| {
                key.get(&part.name).is_some_and(|value| value.kind() == part.kind.name())
            });
        if !fits {
            return Err(Refusal::invalid("The provided key element does not match the schema"));
        }
        self.of_item(key)
    }

    /// The key's attributes of an item.
    pub(super) fn attributes(&self, item: &Item) -> Item {
        let value = |part: &Part| Some((part.name.clone(), item.get(&part.name)?.clone()));
        self.parts().filter_map(value).collect()
    }
}

impl Part {
    fn read(&self, value: &Value, bytes_max: usize) -> Result<Key, Refusal> {
        let (name, expected, actual) = (&self.name, self.kind.name(), value.kind());
        let key = Key::of(value).filter(|_| expected == actual).ok_or_else(|| {
            Refusal::invalid(format!(
                "{INVALID} Type mismatch for key {name} expected: {expected} actual: {actual}"
            ))
        })?;
        if key.bytes() == 0 {
            return Err(Refusal::invalid(format!(
                "One or more parameter values are not valid. The AttributeValue for a key \
                 attribute cannot contain an empty string value. Key: {name}"
            )));
        }
        if key.bytes() > bytes_max {
            return Err(Refusal::invalid(format!(
                "{INVALID} Size of key attribute {name} has exceeded the maximum size limit of \
                 {bytes_max} bytes"
            )));
        }
        Ok(key)
    }
}
