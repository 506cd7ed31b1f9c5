//! A tenant's delivery options, as the API takes and shows them.
//!
//! What the schema says is held with 422, and what it cannot say (a header that is not the
//! tenant's to set, two names that differ in case, too many bytes together) with 400. Either is one
//! line that names the field and its limits. Header values go in and never out.

mod node;
mod schema;

use posthaste_domain::{
    Bounded, DeliveryOptions, ExtraHeaders, HeaderError, OptionsChange, Part, RetryOption,
    Timestamp,
};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use self::node::Node;
use crate::refusal::Refusal;

/// Delivery options that are wanted, as they came.
#[derive(Debug)]
pub(super) struct Wanted(Node);

impl<'de> Deserialize<'de> for Wanted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Node::deserialize(deserializer).map(Self)
    }
}

impl Wanted {
    /// What they change.
    pub(super) fn change(self) -> Result<OptionsChange, Refusal> {
        let fields = object(self.0, "delivery")?;
        if fields.is_empty() {
            return Err(Refusal::shape("delivery: give at least one option"));
        }
        let mut change = OptionsChange::NOTHING;
        for (name, value) in fields {
            match &*name {
                "timeout_ms" => change.timeout = part(value, |value| bounded(&name, &value))?,
                "retry" => change.retry = part(value, retry)?,
                "rate_per_s" => change.rate = part(value, |value| bounded(&name, &value))?,
                "in_flight_max" => change.in_flight = part(value, |value| bounded(&name, &value))?,
                "headers" => change.headers = part(value, headers)?,
                "paused" => change.paused = part(value, |value| switch(&value))?,
                _ => {
                    // Not named: it may be a header, with its value, in the wrong place.
                    return Err(Refusal::shape(
                        "delivery: an unknown option; timeout_ms, retry, rate_per_s, \
                         in_flight_max, headers and paused are known",
                    ));
                }
            }
        }
        Ok(change)
    }
}

/// A tenant's delivery options, without the values of its headers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeliveryBody {
    /// As long as the operator's is not shorter.
    #[schema(example = 10_000)]
    timeout_ms: Option<u32>,
    retry: Option<RetryBody>,
    rate_per_s: Option<u32>,
    in_flight_max: Option<u32>,
    /// The names; values are not shown.
    #[schema(example = json!(["authorization"]))]
    headers: Vec<String>,
    paused: bool,
    /// When somebody last said that the endpoint works again.
    #[schema(example = "2026-11-24T08:56:00.123Z")]
    lifted_at: Option<String>,
}

/// A tenant's own retry schedule.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RetryBody {
    delays_ms: Option<Vec<u64>>,
    attempts_max: Option<u32>,
}

impl DeliveryBody {
    pub(super) fn of(options: &DeliveryOptions) -> Self {
        let DeliveryOptions { timeout, retry, rate, in_flight, headers, paused, lifted_at } =
            options;
        Self {
            timeout_ms: timeout.map(Bounded::value),
            retry: retry.as_ref().map(|retry| RetryBody {
                delays_ms: retry.delays_ms().map(<[u64]>::to_vec),
                attempts_max: retry.attempts_max(),
            }),
            rate_per_s: rate.map(Bounded::value),
            in_flight_max: in_flight.map(Bounded::value),
            headers: headers.names().map(str::to_owned).collect(),
            paused: *paused,
            lifted_at: lifted_at.map(Timestamp::to_rfc3339),
        }
    }
}

fn part<T>(value: Node, read: impl FnOnce(Node) -> Result<T, Refusal>) -> Result<Part<T>, Refusal> {
    match value {
        Node::Null => Ok(Part::Reset),
        value => read(value).map(Part::Set),
    }
}

/// The fields of an object, each once.
fn object(value: Node, path: &str) -> Result<Vec<(String, Node)>, Refusal> {
    let Node::Object(fields) = value else {
        return Err(Refusal::shape(format!("{path}: not an object")));
    };
    let mut names: Vec<_> = fields.iter().map(|(name, _)| name).collect();
    names.sort_unstable();
    match names.array_windows().find(|[one, next]| one == next) {
        Some(_) => Err(Refusal::shape(format!("{path}: a name is given twice"))),
        None => Ok(fields),
    }
}

fn bounded<const MIN: u32, const MAX: u32>(
    name: &str,
    value: &Node,
) -> Result<Bounded<MIN, MAX>, Refusal> {
    let Node::Whole(value) = value else {
        return Err(Refusal::shape(format!(
            "delivery.{name}: not a whole number from {MIN} to {MAX}"
        )));
    };
    Bounded::try_new(*value).map_err(|error| Refusal::shape(format!("delivery.{name}: {error}")))
}

fn switch(value: &Node) -> Result<bool, Refusal> {
    match value {
        Node::Bool(on) => Ok(*on),
        _ => Err(Refusal::shape("delivery.paused: neither true nor false")),
    }
}

fn retry(value: Node) -> Result<RetryOption, Refusal> {
    let refused = |text: &str| Refusal::shape(format!("delivery.retry{text}"));
    let (mut delays, mut attempts_max) = (None, None);
    for (name, value) in object(value, "delivery.retry")? {
        match (&*name, value) {
            ("delays_ms", Node::List(values)) => {
                let whole = |value: &Node| if let Node::Whole(n) = value { Some(*n) } else { None };
                let all: Option<Vec<_>> = values.iter().map(whole).collect();
                let wrong = || refused(".delays_ms: not whole numbers from 1 ms to 30 days");
                delays = Some(all.ok_or_else(wrong)?);
            }
            ("delays_ms", _) => return Err(refused(".delays_ms: not a list of milliseconds")),
            // Beyond 32 bits it is out of bounds in any case.
            ("attempts_max", Node::Whole(most)) => {
                attempts_max = Some(u32::try_from(most).unwrap_or(u32::MAX));
            }
            ("attempts_max", _) => {
                return Err(refused(".attempts_max: not a whole number from 1 to 100"));
            }
            _ => {
                return Err(refused(": an unknown field; delays_ms and attempts_max are known"));
            }
        }
    }
    RetryOption::try_new(delays.as_deref(), attempts_max)
        .map_err(|error| refused(&format!(": {error}")))
}

fn headers(value: Node) -> Result<ExtraHeaders, Refusal> {
    let mut texts = Vec::new();
    for (name, value) in object(value, "delivery.headers")? {
        // A name that is none may be a whole header: it is not repeated.
        let Node::Text(value) = value else {
            return Err(Refusal::shape("delivery.headers: a value is not a text"));
        };
        texts.push((name, value));
    }
    ExtraHeaders::try_new(texts).map_err(|error| {
        let text = format!("delivery.headers: {error}");
        match error {
            HeaderError::TooMany | HeaderError::Name | HeaderError::Value(_) => {
                Refusal::shape(text)
            }
            HeaderError::TooLong | HeaderError::Reserved(_) | HeaderError::Twice(_) => {
                Refusal::bad_value(text)
            }
        }
    })
}
