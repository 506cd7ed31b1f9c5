//! JSON as it came, with duplicate keys where they are, so that what is wrong can be said with the
//! field's own name. Only for small bodies: everything is copied.
//!
//! Refuses nothing; how deep and how long it may be has been checked before.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// From here on a number with a fraction or an exponent may stand for several whole ones.
const WHOLE_BELOW: f64 = 9_007_199_254_740_992.0;

/// A value.
#[derive(Clone, PartialEq)]
pub(super) enum Node {
    Null,
    Bool(bool),
    /// A whole number that is not negative; 1.0 is one, as in a JSON schema.
    Whole(u64),
    /// Any other number.
    Number,
    Text(String),
    List(Vec<Self>),
    Object(Vec<(String, Self)>),
}

/// Shows the kind only: texts may be secrets.
impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Whole(_) | Self::Number => "number",
            Self::Text(_) => "text",
            Self::List(_) => "list",
            Self::Object(_) => "object",
        })
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Builder)
    }
}

struct Builder;

impl<'de> Visitor<'de> for Builder {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Whole(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(u64::try_from(value).map_or(Node::Number, Node::Whole))
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole, not negative, and below 2^53"
    )]
    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        let is_whole = value.fract() == 0.0 && (0.0..WHOLE_BELOW).contains(&value);
        Ok(if is_whole { Node::Whole(value as u64) } else { Node::Number })
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element()? {
            values.push(value);
        }
        Ok(Node::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Node, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = object.next_entry()? {
            fields.push(field);
        }
        Ok(Node::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_whole_by_their_value() {
        for (text, expected) in [
            ("1500", Node::Whole(1_500)),
            ("1500.0", Node::Whole(1_500)),
            ("1.5e3", Node::Whole(1_500)),
            ("-0.0", Node::Whole(0)),
            ("18446744073709551615", Node::Whole(u64::MAX)),
            ("18446744073709551616", Node::Number),
            ("1500.5", Node::Number),
            ("-1", Node::Number),
            ("-1.0", Node::Number),
            ("1e300", Node::Number),
        ] {
            let read: Node = serde_json::from_str(text).unwrap();
            assert!(read == expected, "{text}: {read:?}");
        }
    }

    #[test]
    fn duplicates_are_kept_and_debug_shows_no_text() {
        let read: Node = serde_json::from_str(r#"{"a":["hush",null],"a":true}"#).unwrap();
        let list = Node::List(vec![Node::Text("hush".to_owned()), Node::Null]);
        let expected = vec![("a".to_owned(), list), ("a".to_owned(), Node::Bool(true))];
        assert!(read == Node::Object(expected));
        assert_eq!(format!("{read:?}"), "object");
    }
}
