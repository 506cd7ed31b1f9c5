//! A message: what was sent, and its digests.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::refusals;
use crate::aws_sim::refusal::Refusal;
use crate::chance::mix;

/// The most that a message, and a batch, may hold: SQS's limit since August 2025.
pub(super) const MESSAGE_BYTES_MAX: u32 = 1_048_576;
const ATTRIBUTES_MAX: usize = 10;

/// An attribute that the sender gives a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Attribute {
    data_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    string_value: Option<String>,
    /// Base64, as it travels.
    #[serde(skip_serializing_if = "Option::is_none")]
    binary_value: Option<String>,
}

/// By name; the order is the one of the digest.
pub(super) type Attributes = BTreeMap<String, Attribute>;

/// What was sent; shared by all receipts.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) body: String,
    pub(super) body_md5: String,
    pub(super) attributes: Attributes,
    pub(super) attributes_md5: Option<String>,
    pub(super) group: Option<String>,
    pub(super) trace: Option<String>,
    /// As SQS counts it.
    pub(super) bytes: usize,
    pub(super) sent_ms: u64,
}

/// What a sender gives.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) body: String,
    pub(super) attributes: Option<Attributes>,
    pub(super) system: Option<Attributes>,
    pub(super) group: Option<String>,
}

impl Draft {
    /// As SQS counts it: the body and the attributes.
    pub(super) fn bytes(&self) -> usize {
        let of = |(name, attribute): (&String, &Attribute)| {
            let text = attribute.string_value.as_ref().map_or(0, String::len);
            let binary = attribute.binary_value.as_ref().map_or(0, |text| text.len() / 4 * 3);
            name.len() + attribute.data_type.len() + text + binary
        };
        self.body.len() + self.attributes.iter().flatten().map(of).sum::<usize>()
    }

    /// Checks it.
    pub(super) fn finish(self, bytes_max: usize, sent_ms: u64) -> Result<Arc<Content>, Refusal> {
        let bytes = self.bytes();
        if self.body.is_empty() {
            return Err(refusals::missing("MessageBody"));
        }
        if bytes > bytes_max {
            return Err(refusals::bad_parameter(format!(
                "One or more parameters are invalid. Reason: Message must be shorter than \
                 {bytes_max} bytes."
            )));
        }
        if !self.body.chars().all(is_allowed) {
            return Err(refusals::bad_contents());
        }
        if let Some(group) = &self.group
            && !is_group(group)
        {
            return Err(refusals::bad_parameter(format!(
                "Value {group} for parameter MessageGroupId is invalid. Reason: MessageGroupId can \
                 only include alphanumeric and punctuation characters. 1 to 128 in length."
            )));
        }
        let mut system = self.system.unwrap_or_default();
        let trace = system.remove("AWSTraceHeader").and_then(|attribute| attribute.string_value);
        if let Some(name) = system.keys().next() {
            return Err(refusals::bad_parameter(format!(
                "Message system attribute name '{name}' is invalid."
            )));
        }
        let attributes = self.attributes.unwrap_or_default();
        let attributes_md5 = match attributes.is_empty() {
            true => None,
            false => Some(digest(&attributes)?),
        };
        let body_md5 = format!("{:x}", md5::compute(&self.body));
        let group = self.group;
        let body = self.body;
        Ok(Arc::new(Content {
            body,
            body_md5,
            attributes,
            attributes_md5,
            group,
            trace,
            bytes,
            sent_ms,
        }))
    }
}

const fn is_allowed(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | '\u{20}'..='\u{FFFD}' | '\u{10000}'..)
}

fn is_group(group: &str) -> bool {
    (1..=128).contains(&group.len()) && group.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The MD5 of attributes: each part with its length before it, in the order of names.
pub(super) fn digest(attributes: &Attributes) -> Result<String, Refusal> {
    use base64::Engine as _;
    if attributes.len() > ATTRIBUTES_MAX {
        let count = attributes.len();
        return Err(refusals::bad_parameter(format!(
            "Number of message attributes [{count}] exceeds the allowed maximum [10]."
        )));
    }
    let mut context = md5::Context::new();
    for (name, attribute) in attributes {
        let bad =
            |what: &str| refusals::bad_parameter(format!("The message attribute '{name}' {what}."));
        consume(&mut context, name.as_bytes());
        consume(&mut context, attribute.data_type.as_bytes());
        let kind = attribute.data_type.split('.').next().unwrap_or_default();
        match (kind, &attribute.string_value, &attribute.binary_value) {
            ("String" | "Number", Some(text), None) if !text.is_empty() => {
                if kind == "Number" && text.parse::<f64>().is_err() {
                    return Err(bad("has a value that is not a number"));
                }
                context.consume([1]);
                consume(&mut context, text.as_bytes());
            }
            ("Binary", None, Some(text)) => {
                let engine = base64::engine::general_purpose::STANDARD;
                let bytes = engine.decode(text).map_err(|_| bad("is not base64"))?;
                context.consume([2]);
                consume(&mut context, &bytes);
            }
            _ => return Err(bad("must have a value that fits its type")),
        }
    }
    Ok(format!("{:x}", context.finalize()))
}

fn consume(context: &mut md5::Context, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    context.consume(length.to_be_bytes());
    context.consume(bytes);
}

/// The id of a queue's message of this number: a UUID in form.
pub(super) fn id(queue: u64, number: u64) -> String {
    let (high, low) = (mix(queue, number), mix(!queue, number));
    let [a, b, c, d] = [high >> 32, high >> 16 & 0xFFFF, high & 0xFFF, low & 0x3FFF | 0x8000];
    format!("{a:08x}-{b:04x}-4{c:03x}-{d:04x}-{:012x}", low >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The digest that boto3's test suite expects, so that other clients accept it.
    #[test]
    fn the_digest_of_attributes_is_the_published_one() {
        let text = r#"{"timestamp": {"DataType": "Number", "StringValue": "1493147359900"}}"#;
        let attributes: Attributes = serde_json::from_str(text).unwrap();
        assert_eq!(digest(&attributes).unwrap(), "235c5c510d26fb653d073faed50ae77c");
    }

    #[test]
    fn ids_differ_and_look_like_uuids() {
        let (one, other) = (id(7, 1), id(7, 2));
        assert_ne!(one, other);
        assert_eq!(one.len(), 36);
        assert_eq!(one.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
    }
}
