//! A tenant's delivery options, as its configuration row has them.
//!
//! ```text
//! deliveryOptions M    timeoutMs N, retry M of {delaysMs L of N, attemptsMax N}, ratePerS N,
//!                      inFlightMax N, headers M of S, paused BOOL, liftedAt N (ms)
//! ```
//!
//! Whatever is absent is as the process has it, and so is what makes no sense: people write these
//! rows, and a wrong limit must not stop a tenant's deliveries. Each such option is a fault that is
//! told, never with a header's value in it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use aws_sdk_dynamodb::types::AttributeValue as Value;
use posthaste_domain::{
    Bounded, DeliveryOptions, ExtraHeaders, HeaderError, OptionsChange, Part, RetryOption,
    TenantId, Timestamp,
};
use tracing::warn;

use super::record::number;
use crate::item::Item;

/// The attribute of a configuration row.
pub(super) const OPTIONS: &str = "deliveryOptions";

const TIMEOUT: &str = "timeoutMs";
const RETRY: &str = "retry";
const DELAYS: &str = "delaysMs";
const ATTEMPTS: &str = "attemptsMax";
const RATE: &str = "ratePerS";
const IN_FLIGHT: &str = "inFlightMax";
const HEADERS: &str = "headers";
const PAUSED: &str = "paused";
const LIFTED: &str = "liftedAt";
const NAMES: [&str; 7] = [TIMEOUT, RETRY, RATE, IN_FLIGHT, HEADERS, PAUSED, LIFTED];

/// An option that makes no sense, and is as the process has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// Which.
    pub(super) option: String,
    /// Why.
    pub(super) reason: String,
}

/// Tenants whose faults are remembered as told; beyond it all are told again.
const TOLD_MAX: usize = 10_000;

/// Whose faults have been told, each with the version of the row that has them: rows are read once
/// a minute, and a fault is told once.
#[derive(Debug, Default)]
pub(super) struct Told(Mutex<HashMap<TenantId, u64>>);

impl Told {
    /// Warns of what is wrong with a version of a row, where nobody has.
    pub(super) fn tell(&self, tenant: &TenantId, version: u64, faults: &[Fault]) {
        if !self.is_news(tenant, version, faults) {
            return;
        }
        for Fault { option, reason } in faults {
            warn!(%tenant, option, reason, "delivery option ignored");
        }
    }

    fn is_news(&self, tenant: &TenantId, version: u64, faults: &[Fault]) -> bool {
        if faults.is_empty() {
            return false;
        }
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= TOLD_MAX && !told.contains_key(tenant) {
            told.clear();
        }
        told.insert(tenant.clone(), version) != Some(version)
    }
}

/// The options of a row, and what is wrong with them.
pub(super) fn read(item: &Item) -> (DeliveryOptions, Vec<Fault>) {
    let stored = match item.get(OPTIONS) {
        None | Some(Value::Null(_)) => return (DeliveryOptions::default(), Vec::new()),
        Some(Value::M(stored)) => stored,
        Some(_) => {
            let fault = Fault { option: OPTIONS.to_owned(), reason: "not a map".to_owned() };
            return (DeliveryOptions::default(), vec![fault]);
        }
    };
    let mut reading = Reading { stored, faults: Vec::new() };
    let options = DeliveryOptions {
        timeout: reading.part(TIMEOUT, bounded),
        retry: reading.part(RETRY, retry),
        rate: reading.part(RATE, bounded),
        in_flight: reading.part(IN_FLIGHT, bounded),
        headers: reading
            .part(HEADERS, headers)
            .or_else(|| lawful_headers(stored))
            .unwrap_or_default(),
        paused: reading.part(PAUSED, switch).unwrap_or_default(),
        lifted_at: reading.part(LIFTED, time),
    };
    let mut unknown: Vec<_> = stored.keys().filter(|name| !NAMES.contains(&&***name)).collect();
    unknown.sort_unstable();
    for name in unknown {
        let reason = "not an option".to_owned();
        reading.faults.push(Fault { option: name.clone(), reason });
    }
    (options, reading.faults)
}

/// The attribute for these options.
pub(super) fn value(options: &DeliveryOptions) -> Value {
    let parts = parts(options).into_iter();
    Value::M(parts.filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
}

/// The attribute after a change, where `seen` was there and `options` are the options after it.
/// What the change leaves keeps its own form.
pub(super) fn changed(
    seen: Option<&Value>,
    options: &DeliveryOptions,
    change: &OptionsChange,
) -> Value {
    let mut stored = match seen {
        Some(Value::M(stored)) => stored.clone(),
        _ => HashMap::new(),
    };
    let OptionsChange { timeout, retry, rate, in_flight, headers, paused, lifted_at } = change;
    let left = [
        *timeout == Part::Leave,
        *retry == Part::Leave,
        *rate == Part::Leave,
        *in_flight == Part::Leave,
        *headers == Part::Leave,
        *paused == Part::Leave,
        *lifted_at == Part::Leave,
    ];
    for ((name, value), _) in parts(options).into_iter().zip(left).filter(|(_, left)| !left) {
        match value {
            Some(value) => stored.insert(name.to_owned(), value),
            None => stored.remove(name),
        };
    }
    Value::M(stored)
}

/// Each option in the order of [`NAMES`]; none where it is as the process has it.
fn parts(options: &DeliveryOptions) -> [(&'static str, Option<Value>); 7] {
    let DeliveryOptions { timeout, retry, rate, in_flight, headers, paused, lifted_at } = options;
    [
        (TIMEOUT, timeout.map(|own| n(own.value()))),
        (RETRY, retry.as_ref().map(retry_value)),
        (RATE, rate.map(|own| n(own.value()))),
        (IN_FLIGHT, in_flight.map(|own| n(own.value()))),
        (HEADERS, (!headers.is_empty()).then(|| headers_value(headers))),
        (PAUSED, paused.then_some(Value::Bool(true))),
        (LIFTED, lifted_at.map(n)),
    ]
}

fn retry_value(retry: &RetryOption) -> Value {
    let delays = retry.delays_ms().map(|delays| Value::L(delays.iter().map(n).collect()));
    let parts = [(DELAYS, delays), (ATTEMPTS, retry.attempts_max().map(n))].into_iter();
    Value::M(parts.filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
}

fn headers_value(headers: &ExtraHeaders) -> Value {
    let text = |(name, value): (&str, &str)| (name.to_owned(), Value::S(value.to_owned()));
    Value::M(headers.expose().map(text).collect())
}

fn n(number: impl ToString) -> Value {
    Value::N(number.to_string())
}

/// Reads parts, and remembers what is wrong with them.
struct Reading<'a> {
    stored: &'a Item,
    faults: Vec<Fault>,
}

impl Reading<'_> {
    fn part<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&Item, &str) -> Result<T, String>,
    ) -> Option<T> {
        if matches!(self.stored.get(name), None | Some(Value::Null(_))) {
            return None;
        }
        match read(self.stored, name) {
            Ok(part) => Some(part),
            Err(reason) => {
                self.faults.push(Fault { option: name.to_owned(), reason });
                None
            }
        }
    }
}

fn bounded<const MIN: u32, const MAX: u32>(
    stored: &Item,
    name: &str,
) -> Result<Bounded<MIN, MAX>, String> {
    let value = number(stored, name).ok_or_else(|| format!("no number from {MIN} to {MAX}"))?;
    Bounded::try_new(value).map_err(|error| error.to_string())
}

fn retry(stored: &Item, name: &str) -> Result<RetryOption, String> {
    let Some(Value::M(retry)) = stored.get(name) else { return Err("not a map".to_owned()) };
    let number_of = |value: &Value| match value {
        Value::N(text) | Value::S(text) => text.parse().ok(),
        _ => None,
    };
    let delays: Option<Vec<u64>> = match retry.get(DELAYS) {
        None => None,
        Some(Value::L(delays)) => {
            let delays: Option<_> = delays.iter().map(number_of).collect();
            Some(delays.ok_or_else(|| format!("{DELAYS} has what is no number"))?)
        }
        Some(_) => return Err(format!("{DELAYS} is not a list")),
    };
    let attempts_max = match retry.get(ATTEMPTS) {
        None => None,
        Some(_) => {
            let attempts = number(retry, ATTEMPTS);
            Some(attempts.ok_or_else(|| format!("{ATTEMPTS} is no number"))?)
        }
    };
    RetryOption::try_new(delays.as_deref(), attempts_max).map_err(|error| error.to_string())
}

fn headers(stored: &Item, name: &str) -> Result<ExtraHeaders, String> {
    headers_by(stored, name, ExtraHeaders::try_new)
}

/// Those that are left where a name is reserved, since the row was written or by hand: it costs
/// itself and no other.
fn lawful_headers(stored: &Item) -> Option<ExtraHeaders> {
    headers_by(stored, HEADERS, ExtraHeaders::stored).ok()
}

fn headers_by<'i>(
    stored: &'i Item,
    name: &str,
    make: impl FnOnce(Vec<(&'i String, &'i String)>) -> Result<ExtraHeaders, HeaderError>,
) -> Result<ExtraHeaders, String> {
    let Some(Value::M(headers)) = stored.get(name) else { return Err("not a map".to_owned()) };
    let texts: Option<Vec<_>> =
        headers.iter().map(|(name, value)| value.as_s().ok().map(|value| (name, value))).collect();
    let texts = texts.ok_or_else(|| "a value is not a text".to_owned())?;
    make(texts).map_err(|error| error.to_string())
}

fn switch(stored: &Item, name: &str) -> Result<bool, String> {
    match stored.get(name) {
        Some(Value::Bool(on)) => Ok(*on),
        _ => Err("neither true nor false".to_owned()),
    }
}

fn time(stored: &Item, name: &str) -> Result<Timestamp, String> {
    let millis = number(stored, name).ok_or_else(|| "no time in milliseconds".to_owned())?;
    Ok(Timestamp::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use posthaste_domain::{InFlightMax, RatePerS, TimeoutMs};

    use super::*;

    fn all() -> DeliveryOptions {
        DeliveryOptions {
            timeout: Some(TimeoutMs::try_new(2_000).unwrap()),
            retry: Some(RetryOption::try_new(Some(&[5, 60_000]), Some(3)).unwrap()),
            rate: Some(RatePerS::try_new(7).unwrap()),
            in_flight: Some(InFlightMax::try_new(8).unwrap()),
            headers: ExtraHeaders::try_new([("authorization", "Bearer hush"), ("x-a", "")])
                .unwrap(),
            paused: true,
            lifted_at: Some(Timestamp::from_millis(1_800_000_000_123)),
        }
    }

    fn row(options: Value) -> Item {
        HashMap::from([(OPTIONS.to_owned(), options)])
    }

    fn map<const N: usize>(entries: [(&str, Value); N]) -> Value {
        Value::M(entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    #[test]
    fn options_are_read_as_they_were_written() {
        for options in [all(), DeliveryOptions::default()] {
            assert_eq!(read(&row(value(&options))), (options, Vec::new()));
        }
        let attempts = RetryOption::try_new(None, Some(1)).unwrap();
        let options = DeliveryOptions { retry: Some(attempts), ..DeliveryOptions::default() };
        assert_eq!(read(&row(value(&options))), (options, Vec::new()));
        assert_eq!(read(&Item::new()), (DeliveryOptions::default(), Vec::new()));
    }

    /// For all options: nonsense in one is told once, without a value, and costs that one only.
    #[test]
    fn nonsense_in_one_option_leaves_the_others() {
        let none = DeliveryOptions::default();
        let text = |text: &str| Value::S(text.to_owned());
        let cases = [
            (TIMEOUT, n(5), DeliveryOptions { timeout: None, ..all() }),
            (TIMEOUT, text("hush"), DeliveryOptions { timeout: None, ..all() }),
            (TIMEOUT, n("1500.5"), DeliveryOptions { timeout: None, ..all() }),
            (RETRY, n(3), DeliveryOptions { retry: None, ..all() }),
            (RETRY, map([]), DeliveryOptions { retry: None, ..all() }),
            (RETRY, map([(DELAYS, n(3))]), DeliveryOptions { retry: None, ..all() }),
            (
                RETRY,
                map([(DELAYS, Value::L(vec![n(3), text("hush")]))]),
                DeliveryOptions { retry: None, ..all() },
            ),
            (RETRY, map([(ATTEMPTS, n(-1))]), DeliveryOptions { retry: None, ..all() }),
            (RATE, n(0), DeliveryOptions { rate: None, ..all() }),
            (IN_FLIGHT, n("1e3"), DeliveryOptions { in_flight: None, ..all() }),
            (HEADERS, text("hush"), DeliveryOptions { headers: none.headers.clone(), ..all() }),
            (
                HEADERS,
                map([("x-a", text("hush\r\n"))]),
                DeliveryOptions { headers: none.headers.clone(), ..all() },
            ),
            (
                HEADERS,
                map([("host", text("hush"))]),
                DeliveryOptions { headers: none.headers.clone(), ..all() },
            ),
            (HEADERS, map([("x-a", n(1))]), DeliveryOptions { headers: none.headers, ..all() }),
            (PAUSED, text("yes"), DeliveryOptions { paused: false, ..all() }),
            (LIFTED, text("now"), DeliveryOptions { lifted_at: None, ..all() }),
            ("hurry", Value::Bool(true), all()),
        ];
        for (name, nonsense, expected) in cases {
            let Value::M(mut stored) = value(&all()) else { panic!("a map") };
            stored.insert(name.to_owned(), nonsense);
            let (options, faults) = read(&row(Value::M(stored)));
            assert_eq!(options, expected, "{name}");
            let [fault] = &*faults else { panic!("{name}: {faults:?}") };
            assert_eq!(fault.option, name);
            assert!(!fault.reason.contains("hush") && !fault.reason.is_empty(), "{fault:?}");
        }
        let (options, faults) = read(&row(text("hush")));
        assert!(options.is_default() && faults.len() == 1);
    }

    /// A name that is reserved is told of, and the other headers stay.
    #[test]
    fn a_reserved_header_costs_itself() {
        let text = |text: &str| Value::S(text.to_owned());
        let headers = map([("authorization", text("hush")), ("metadata-flavor", text("Google"))]);
        let (options, faults) = read(&row(map([(HEADERS, headers)])));
        let kept = ExtraHeaders::try_new([("authorization", "hush")]).unwrap();
        assert_eq!(options, DeliveryOptions { headers: kept, ..DeliveryOptions::default() });
        let [fault] = &*faults else { panic!("{faults:?}") };
        assert!(fault.option == HEADERS && fault.reason.contains("metadata-flavor"), "{fault:?}");
    }

    #[test]
    fn a_fault_is_told_once_a_version() {
        let told = Told::default();
        let tenant = |n: usize| TenantId::try_new(&format!("tenant-{n}")).unwrap();
        let faults = [Fault { option: RATE.to_owned(), reason: "nonsense".to_owned() }];
        let news = |n, version| told.is_news(&tenant(n), version, &faults);
        assert!(!told.is_news(&tenant(1), 1, &[]));
        assert_eq!([news(1, 1), news(1, 1), news(2, 1), news(1, 2)], [true, false, true, true]);
        for n in 3..=TOLD_MAX {
            assert!(news(n, 1));
        }
        assert!(!news(1, 2), "it is known");
        assert!(news(TOLD_MAX + 1, 1) && news(1, 2), "memory is bounded");
    }

    /// For all parts: a change writes that part and no other, and what it does not know stays.
    #[test]
    fn a_change_writes_what_it_changes() {
        let seen = map([(RATE, n(0)), ("hurry", Value::Bool(true)), (PAUSED, Value::Bool(true))]);
        let (before, _) = read(&row(seen.clone()));
        let change = OptionsChange {
            timeout: Part::Set(TimeoutMs::try_new(2_000).unwrap()),
            paused: Part::Reset,
            ..OptionsChange::NOTHING
        };
        let after = before.changed(change.clone());
        let written = changed(Some(&seen), &after, &change);
        let expected = map([(RATE, n(0)), ("hurry", Value::Bool(true)), (TIMEOUT, n(2_000))]);
        assert_eq!(written, expected);
        let reset = before.changed(OptionsChange::RESET);
        let written = changed(Some(&seen), &reset, &OptionsChange::RESET);
        assert_eq!(written, map([("hurry", Value::Bool(true))]));
        assert_eq!(changed(None, &reset, &OptionsChange::RESET), map([]));
    }
}
