//! The attributes of a queue: which there are, what they may be, and their defaults.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::message::MESSAGE_BYTES_MAX;
use super::refusals;
use crate::aws_sim::refusal::Refusal;

/// Numbers: name, default, smallest, largest.
const NUMBERS: [(&str, u32, u32, u32); 5] = [
    ("VisibilityTimeout", 30, 0, 43_200),
    ("DelaySeconds", 0, 0, 900),
    ("MaximumMessageSize", MESSAGE_BYTES_MAX, 1_024, MESSAGE_BYTES_MAX),
    ("MessageRetentionPeriod", 345_600, 60, 1_209_600),
    ("ReceiveMessageWaitTimeSeconds", 0, 0, 20),
];
/// Kept and given back, without an effect.
const TEXTS: [&str; 5] = [
    "Policy",
    "KmsMasterKeyId",
    "KmsDataKeyReusePeriodSeconds",
    "SqsManagedSseEnabled",
    "RedriveAllowPolicy",
];
const REDRIVE: &str = "RedrivePolicy";

/// Where messages go that were received too often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Redrive {
    /// The name of the queue.
    pub(super) target: String,
    pub(super) receives_max: u32,
}

/// The settings of a queue.
#[derive(Clone, Debug)]
pub(super) struct Attributes {
    pub(super) visibility_s: u32,
    pub(super) delay_s: u32,
    pub(super) message_bytes_max: u32,
    pub(super) retention_s: u32,
    pub(super) wait_s: u32,
    pub(super) redrive: Option<Redrive>,
    /// As they were set.
    raw: BTreeMap<String, String>,
}

impl Attributes {
    pub(super) fn try_new(raw: BTreeMap<String, String>) -> Result<Self, Refusal> {
        for name in raw.keys() {
            let known = NUMBERS.iter().any(|row| row.0 == name)
                || TEXTS.contains(&name.as_str())
                || name == REDRIVE;
            if name == "FifoQueue" {
                return Err(refusals::unsupported("The simulator has no FIFO queues."));
            }
            if !known {
                return Err(refusals::unknown_attribute(name));
            }
        }
        let mut numbers = [0; NUMBERS.len()];
        for (number, (name, default, least, most)) in numbers.iter_mut().zip(NUMBERS) {
            *number = match raw.get(name) {
                None => default,
                Some(text) => text
                    .parse()
                    .ok()
                    .filter(|value| (least..=most).contains(value))
                    .ok_or_else(|| refusals::bad_attribute(name))?,
            };
        }
        let redrive = match raw.get(REDRIVE).filter(|text| !text.is_empty()) {
            None => None,
            Some(text) => Some(redrive(text).ok_or_else(|| refusals::bad_attribute(REDRIVE))?),
        };
        let [visibility_s, delay_s, message_bytes_max, retention_s, wait_s] = numbers;
        Ok(Self { visibility_s, delay_s, message_bytes_max, retention_s, wait_s, redrive, raw })
    }

    /// With some of them set anew.
    pub(super) fn with(&self, changes: BTreeMap<String, String>) -> Result<Self, Refusal> {
        let mut raw = self.raw.clone();
        raw.extend(changes);
        Self::try_new(raw)
    }

    /// The first of `wanted` that has another value here.
    pub(super) fn first_difference(&self, wanted: &BTreeMap<String, String>) -> Option<String> {
        let current = self.all();
        wanted
            .iter()
            .find(|(name, value)| current.get(*name) != Some(value))
            .map(|(n, _)| n.clone())
    }

    /// All that have a value.
    pub(super) fn all(&self) -> BTreeMap<String, String> {
        let mut all: BTreeMap<String, String> =
            NUMBERS.iter().map(|row| (row.0.to_owned(), row.1.to_string())).collect();
        all.insert("SqsManagedSseEnabled".to_owned(), "true".to_owned());
        all.extend(self.raw.clone());
        all
    }
}

fn redrive(text: &str) -> Option<Redrive> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Policy {
        dead_letter_target_arn: String,
        max_receive_count: serde_json::Value,
    }
    let policy: Policy = serde_json::from_str(text).ok()?;
    let target = policy.dead_letter_target_arn.rsplit(':').next()?.to_owned();
    // Both forms are in use.
    let count = match &policy.max_receive_count {
        serde_json::Value::String(text) => text.parse().ok()?,
        other => other.as_u64()?,
    };
    let receives_max = u32::try_from(count).ok().filter(|count| (1..=1_000).contains(count))?;
    Some(Redrive { target, receives_max })
}
