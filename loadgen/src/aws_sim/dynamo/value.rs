//! Attribute values and items, as they travel and as DynamoDB sizes them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::number::Number;
use crate::aws_sim::refusal::VALIDATION;

/// Attributes by name.
pub(crate) type Item = BTreeMap<String, Value>;

/// Deeper nesting is refused, as DynamoDB does; recursion is bounded by it.
const DEPTH_MAX: usize = 32;

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    S(String),
    N(Number),
    B(Vec<u8>),
    Bool(bool),
    Null,
    L(Vec<Self>),
    M(Item),
    Ss(BTreeSet<String>),
    Ns(BTreeSet<Number>),
    Bs(BTreeSet<Vec<u8>>),
}

impl Value {
    /// The name of its type on the wire.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::S(_) => "S",
            Self::N(_) => "N",
            Self::B(_) => "B",
            Self::Bool(_) => "BOOL",
            Self::Null => "NULL",
            Self::L(_) => "L",
            Self::M(_) => "M",
            Self::Ss(_) => "SS",
            Self::Ns(_) => "NS",
            Self::Bs(_) => "BS",
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::S(text) => text.len(),
            Self::N(number) => number.bytes(),
            Self::B(bytes) => bytes.len(),
            Self::Bool(_) | Self::Null => 1,
            Self::L(list) => 3 + list.iter().map(|value| 1 + value.bytes()).sum::<usize>(),
            Self::M(map) => 3 + map.len() + bytes(map),
            Self::Ss(set) => set.iter().map(String::len).sum(),
            Self::Ns(set) => set.iter().map(|number| number.bytes()).sum(),
            Self::Bs(set) => set.iter().map(Vec::len).sum(),
        }
    }

    /// How deeply it is nested.
    pub(super) fn depth(&self) -> usize {
        match self {
            Self::L(list) => 1 + list.iter().map(Self::depth).max().unwrap_or(0),
            Self::M(map) => 1 + map.values().map(Self::depth).max().unwrap_or(0),
            _ => 0,
        }
    }
}

/// The size of an item: names and values.
pub(crate) fn bytes(item: &Item) -> usize {
    item.iter().map(|(name, value)| name.len() + value.bytes()).sum()
}

/// Whether every value is nested no deeper than DynamoDB allows.
pub(super) fn is_shallow(item: &Item) -> bool {
    item.values().all(|value| value.depth() <= DEPTH_MAX)
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        let kind = self.kind();
        match self {
            Self::S(text) => map.serialize_entry(kind, text)?,
            Self::N(number) => map.serialize_entry(kind, &AsText(number))?,
            Self::B(bytes) => map.serialize_entry(kind, &STANDARD.encode(bytes))?,
            Self::Bool(value) => map.serialize_entry(kind, value)?,
            Self::Null => map.serialize_entry(kind, &true)?,
            Self::L(list) => map.serialize_entry(kind, list)?,
            Self::M(item) => map.serialize_entry(kind, item)?,
            Self::Ss(set) => map.serialize_entry(kind, set)?,
            Self::Ns(set) => {
                map.serialize_entry(kind, &set.iter().map(AsText).collect::<Vec<_>>())?;
            }
            Self::Bs(set) => {
                let texts: Vec<_> = set.iter().map(|bytes| STANDARD.encode(bytes)).collect();
                map.serialize_entry(kind, &texts)?;
            }
        }
        map.end()
    }
}

struct AsText<'n>(&'n Number);

impl Serialize for AsText<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self.0)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OfType)
    }
}

struct OfType;

impl<'de> Visitor<'de> for OfType {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an attribute value: an object with one type")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        const EMPTY: &str = "Supplied AttributeValue is empty, must contain exactly one of the \
            supported datatypes";
        const MANY: &str = "Supplied AttributeValue has more than one datatypes set, must contain \
            exactly one of the supported datatypes";
        let Some(kind) = map.next_key::<Kind>()? else { return Err(refuse(EMPTY)) };
        let value = match kind {
            Kind::S => Value::S(map.next_value()?),
            Kind::N => Value::N(number(&map.next_value::<String>()?)?),
            Kind::B => Value::B(binary(&map.next_value::<String>()?)?),
            Kind::Bool => Value::Bool(map.next_value()?),
            Kind::Null if map.next_value()? => Value::Null,
            Kind::Null => {
                return Err(refuse("Null attribute value types must have the value of true"));
            }
            Kind::L => Value::L(map.next_value()?),
            Kind::M => Value::M(map.next_value()?),
            Kind::Ss => Value::Ss(set(map.next_value()?, "string", Ok)?),
            Kind::Ns => Value::Ns(set(map.next_value()?, "number", |text| number(&text))?),
            Kind::Bs => Value::Bs(set(map.next_value()?, "binary", |text| binary(&text))?),
        };
        match map.next_key::<Kind>()? {
            None => Ok(value),
            Some(_) => Err(refuse(MANY)),
        }
    }
}

#[derive(Deserialize)]
enum Kind {
    S,
    N,
    B,
    #[serde(rename = "BOOL")]
    Bool,
    #[serde(rename = "NULL")]
    Null,
    L,
    M,
    #[serde(rename = "SS")]
    Ss,
    #[serde(rename = "NS")]
    Ns,
    #[serde(rename = "BS")]
    Bs,
}

fn refuse<E: serde::de::Error>(message: &str) -> E {
    E::custom(format_args!("{VALIDATION}{message}"))
}

fn number<E: serde::de::Error>(text: &str) -> Result<Number, E> {
    Number::parse(text).map_err(|error| refuse(&error.to_string()))
}

fn binary<E: serde::de::Error>(text: &str) -> Result<Vec<u8>, E> {
    STANDARD.decode(text).map_err(|_| E::custom("not base64"))
}

fn set<T: Ord, E: serde::de::Error>(
    texts: Vec<String>,
    kind: &str,
    read: impl Fn(String) -> Result<T, E>,
) -> Result<BTreeSet<T>, E> {
    const INVALID: &str = "One or more parameter values were invalid:";
    let count = texts.len();
    if count == 0 {
        return Err(refuse(&format!("{INVALID} An {kind} set  may not be empty")));
    }
    let set: BTreeSet<T> = texts.into_iter().map(read).collect::<Result<_, _>>()?;
    if set.len() == count {
        Ok(set)
    } else {
        Err(refuse(&format!("{INVALID} Input collection contains duplicates.")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_travels() {
        let text = r#"{"b":{"B":"AQI="},"bs":{"BS":["AQ==","Ag=="]},"f":{"BOOL":false},
            "l":{"L":[{"S":"x"},{"N":"1"}]},"m":{"M":{"k":{"NULL":true}}},"n":{"N":"-1.5"},
            "ns":{"NS":["1","2"]},"s":{"S":"ä\n"},"ss":{"SS":["a","b"]}}"#;
        let item: Item = serde_json::from_str(text).unwrap();
        let written: serde_json::Value = serde_json::to_value(&item).unwrap();
        assert_eq!(written, serde_json::from_str::<serde_json::Value>(text).unwrap());
    }

    /// The sizes of the example in the developer guide's chapter on item sizes, by its rules.
    #[test]
    fn sizes_follow_the_guide() {
        let size = |text: &str| bytes(&serde_json::from_str::<Item>(text).unwrap());
        assert_eq!(size(r#"{"abc":{"S":"ä"}}"#), 5);
        assert_eq!(size(r#"{"n":{"N":"12345"}}"#), 1 + 4);
        assert_eq!(size(r#"{"n":{"N":"-12345"}}"#), 1 + 5);
        assert_eq!(size(r#"{"l":{"L":[{"BOOL":true}]}}"#), 1 + 3 + 1 + 1);
        assert_eq!(size(r#"{"m":{"M":{"a":{"S":"bc"}}}}"#), 1 + 3 + 1 + 3);
    }

    #[test]
    fn what_is_not_a_value_is_refused() {
        for text in [
            "{}",
            r#"{"S":"a","N":"1"}"#,
            r#"{"N":"x"}"#,
            r#"{"NULL":false}"#,
            r#"{"SS":[]}"#,
            r#"{"SS":["a","a"]}"#,
        ] {
            let error = serde_json::from_str::<Value>(text).unwrap_err().to_string();
            assert!(error.contains(VALIDATION), "{text}: {error}");
        }
        assert!(serde_json::from_str::<Value>(r#"{"X":1}"#).is_err());
    }
}
