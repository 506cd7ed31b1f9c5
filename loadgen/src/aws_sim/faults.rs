//! What goes wrong, how often, and for which calls; decided by seed.
//!
//! Every call has a number, and seed and number decide what happens to it: a sequence of calls
//! meets the same faults every time. Shares of rules add to those of the service.

use serde::{Deserialize, Serialize};

use super::counters::{Counters, Fault};
use super::operation::{Operation, Service};
use super::refusal::Refusal;
use crate::chance::{Chance, fraction, mix};
use crate::clock::{MILLISECOND, Nanos};
use crate::units::floor;

use std::sync::atomic::{AtomicU64, Ordering};

/// A longer latency is a mistake.
const LATENCY_MS_MAX: f64 = 3_600_000.0;

/// What goes wrong.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Faults {
    /// For every call of SQS.
    pub sqs: Shares,
    /// For every call of DynamoDB.
    pub dynamodb: Shares,
    /// For some calls.
    pub rules: Vec<Rule>,
}

/// What goes wrong for some calls.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Rule {
    /// Only this operation, such as `DeleteMessageBatch`.
    pub operation: Option<String>,
    /// Only calls whose body names this queue or table.
    pub resource: Option<String>,
    /// The first calls that match are let through.
    pub skip: u64,
    /// Then it holds for so many calls that match; without, for all.
    pub times: Option<u64>,
    /// What goes wrong.
    pub faults: Shares,
}

/// Shares (0 to 1) of calls or entries, and delays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Shares {
    /// Each call takes this long; half of it passes before the call is served, half after.
    pub latency_ms: f64,
    /// On top: the median of a log-normal latency.
    pub latency_median_ms: f64,
    /// Its spread (the deviation of the logarithm).
    pub latency_sigma: f64,
    /// Told to come more slowly. DynamoDB's batches: this share of entries, each as AWS does it.
    pub throttle: f64,
    /// Answered with 503, not done.
    pub unavailable: f64,
    /// Not allowed.
    pub deny: f64,
    /// Refused because the token has expired.
    pub expired_token: f64,
    /// Never answered and not done; the connection stays open.
    pub hang: f64,
    /// The connection is closed; not done.
    pub drop: f64,
    /// Done, but the connection is closed without an answer.
    pub lose: f64,
    /// Entries of batches that fail while the call succeeds.
    pub partial: f64,
    /// SQS: messages that are given out once more while they are in flight.
    pub duplicate: f64,
    /// SQS: deletions that are acknowledged, but a copy comes back after the time-out.
    pub resurrect: f64,
    /// SQS: messages that are given out before their turn.
    pub reorder: f64,
    /// DynamoDB: indexes follow their table after this long. Not in rules: one change of an index
    /// never overtakes another.
    pub index_delay_ms: f64,
    /// DynamoDB: reads that are not consistent do not see the last write of an item for so long.
    pub read_delay_ms: f64,
}

/// Why faults are not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// Not JSON, or fields that do not exist.
    #[error("not readable: {0}")]
    Unreadable(String),
    /// A share below 0 or above 1.
    #[error("{0} is a share: between 0 and 1")]
    Share(&'static str),
    /// A time below 0 or above an hour.
    #[error("{0} is a time: between 0 and an hour")]
    Time(&'static str),
    /// Indexes follow all writes in the same way.
    #[error("index-delay-ms is for the service, not for a rule")]
    IndexDelay,
    /// No such call.
    #[error("no operation `{0}`")]
    Operation(String),
}

impl Faults {
    /// Reads JSON.
    ///
    /// # Errors
    /// [`Unusable`].
    pub fn parse(text: &[u8]) -> Result<Self, Unusable> {
        serde_json::from_slice(text).map_err(|error| Unusable::Unreadable(error.to_string()))
    }
}

impl Shares {
    fn check(&self) -> Result<(), Unusable> {
        let shares = [
            ("throttle", self.throttle),
            ("unavailable", self.unavailable),
            ("deny", self.deny),
            ("expired-token", self.expired_token),
            ("hang", self.hang),
            ("drop", self.drop),
            ("lose", self.lose),
            ("partial", self.partial),
            ("duplicate", self.duplicate),
            ("resurrect", self.resurrect),
            ("reorder", self.reorder),
        ];
        if let Some((name, _)) = shares.iter().find(|(_, share)| !(0.0..=1.0).contains(share)) {
            return Err(Unusable::Share(name));
        }
        let times = [
            ("latency-ms", self.latency_ms),
            ("latency-median-ms", self.latency_median_ms),
            ("latency-sigma", self.latency_sigma),
            ("index-delay-ms", self.index_delay_ms),
            ("read-delay-ms", self.read_delay_ms),
        ];
        match times.iter().find(|(_, time)| !(0.0..=LATENCY_MS_MAX).contains(time)) {
            Some((name, _)) => Err(Unusable::Time(name)),
            None => Ok(()),
        }
    }

    fn add(&mut self, other: &Self) {
        self.latency_ms += other.latency_ms;
        // Two log-normals do not add; the rule's, which is more specific, takes the place.
        if other.latency_median_ms > 0.0 {
            self.latency_median_ms = other.latency_median_ms;
            self.latency_sigma = other.latency_sigma;
        }
        self.throttle += other.throttle;
        self.unavailable += other.unavailable;
        self.deny += other.deny;
        self.expired_token += other.expired_token;
        self.hang += other.hang;
        self.drop += other.drop;
        self.lose += other.lose;
        self.partial += other.partial;
        self.duplicate += other.duplicate;
        self.resurrect += other.resurrect;
        self.reorder += other.reorder;
        self.read_delay_ms += other.read_delay_ms;
    }
}

/// Faults that were checked, and how far they have come.
#[derive(Debug)]
pub(super) struct Plan {
    seed: u64,
    // Invariant: checked.
    faults: Faults,
    /// Calls that each rule has matched.
    matched: Vec<AtomicU64>,
    calls: AtomicU64,
}

/// What happens to a call as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Serve,
    Throttle,
    Unavailable,
    Deny,
    Expired,
    Hang,
    Drop,
    Lose,
}

/// What was decided for one call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decision {
    pub(super) fate: Fate,
    pub(super) latency: Nanos,
    /// Decides what happens within the call.
    seed: u64,
    shares: Shares,
}

impl Plan {
    /// # Errors
    /// [`Unusable`].
    pub(super) fn try_new(faults: Faults, seed: u64) -> Result<Self, Unusable> {
        faults.sqs.check()?;
        faults.dynamodb.check()?;
        for rule in &faults.rules {
            rule.faults.check()?;
            if rule.faults.index_delay_ms > 0.0 {
                return Err(Unusable::IndexDelay);
            }
            if let Some(name) = &rule.operation
                && !Operation::ALL.iter().any(|operation| operation.name() == name)
            {
                return Err(Unusable::Operation(name.clone()));
            }
        }
        let matched = faults.rules.iter().map(|_| AtomicU64::new(0)).collect();
        Ok(Self { seed, faults, matched, calls: AtomicU64::new(0) })
    }

    pub(super) const fn faults(&self) -> &Faults {
        &self.faults
    }

    /// How far indexes are behind their tables; the same for all of them.
    pub(super) fn index_delay(&self) -> Nanos {
        nanos_of(self.faults.dynamodb.index_delay_ms)
    }

    /// Whether some reads see what was before the last write.
    pub(super) fn keeps_versions(&self) -> bool {
        let rules = self.faults.rules.iter().map(|rule| &rule.faults);
        let mut shares = rules.chain([&self.faults.dynamodb]);
        shares.any(|shares| shares.read_delay_ms > 0.0)
    }

    /// What happens to the next call.
    pub(super) fn decide(&self, operation: Operation, body: &[u8]) -> Decision {
        let mut shares = match operation.service() {
            Service::Sqs => self.faults.sqs,
            Service::Dynamo => self.faults.dynamodb,
        };
        for (rule, matched) in self.faults.rules.iter().zip(&self.matched) {
            if !rule.matches(operation, body) {
                continue;
            }
            let number = matched.fetch_add(1, Ordering::Relaxed);
            let end = rule.times.map_or(u64::MAX, |times| rule.skip.saturating_add(times));
            if (rule.skip..end).contains(&number) {
                shares.add(&rule.faults);
            }
        }
        let seed = mix(self.seed, self.calls.fetch_add(1, Ordering::Relaxed));
        Decision::draw(shares, seed, operation)
    }
}

impl Rule {
    fn matches(&self, operation: Operation, body: &[u8]) -> bool {
        let is_operation = self.operation.as_ref().is_none_or(|name| name == operation.name());
        is_operation && self.resource.as_ref().is_none_or(|name| names(body, name.as_bytes()))
    }
}

/// Whether `body` contains `name`, not as part of a longer one.
fn names(body: &[u8], name: &[u8]) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    let ends = |at: Option<&u8>| !at.is_some_and(is_part);
    !name.is_empty()
        && body.windows(name.len()).enumerate().any(|(at, window)| {
            window == name
                && ends(at.checked_sub(1).and_then(|before| body.get(before)))
                && ends(body.get(at + name.len()))
        })
}

impl Decision {
    /// Nothing goes wrong, and nothing takes time.
    pub(super) fn none() -> Self {
        Self { fate: Fate::Serve, latency: 0, seed: 0, shares: Shares::default() }
    }

    fn draw(shares: Shares, seed: u64, operation: Operation) -> Self {
        let mut chance = Chance::new(seed, 0);
        let is_batch = matches!(
            operation,
            Operation::BatchExecuteStatement | Operation::BatchWriteItem | Operation::BatchGetItem
        );
        // A batch of DynamoDB is throttled entry by entry.
        let throttle = if is_batch { 0.0 } else { shares.throttle };
        let fates = [
            (throttle, Fate::Throttle),
            (shares.unavailable, Fate::Unavailable),
            (shares.deny, Fate::Deny),
            (shares.expired_token, Fate::Expired),
            (shares.hang, Fate::Hang),
            (shares.drop, Fate::Drop),
            (shares.lose, Fate::Lose),
        ];
        // Each is drawn, so that a share does not change what another one does.
        let mut fate = Fate::Serve;
        for (share, candidate) in fates {
            let happens = chance.fraction() < share;
            if happens && fate == Fate::Serve {
                fate = candidate;
            }
        }
        let spread = match shares.latency_median_ms {
            median if median > 0.0 => median * (shares.latency_sigma * chance.normal()).exp(),
            _ => 0.0,
        };
        let latency_ms = (shares.latency_ms + spread).min(LATENCY_MS_MAX);
        Self { fate, latency: nanos_of(latency_ms), seed, shares }
    }

    /// Whether an entry of a batch fails.
    pub(super) fn entry_fails(&self, entry: usize) -> bool {
        self.happens(self.shares.partial, 0x50, entry)
    }

    /// Whether an entry of a batch of DynamoDB is throttled.
    pub(super) fn entry_throttled(&self, entry: usize) -> bool {
        self.happens(self.shares.throttle, 0x54, entry)
    }

    pub(super) fn duplicates(&self, entry: usize) -> bool {
        self.happens(self.shares.duplicate, 0x44, entry)
    }

    pub(super) fn resurrects(&self, entry: usize) -> bool {
        self.happens(self.shares.resurrect, 0x52, entry)
    }

    /// Where the next message is taken from, of `count` in their order; 0 where it is its turn.
    pub(super) fn place(&self, entry: usize, count: usize) -> usize {
        if count < 2 || !self.happens(self.shares.reorder, 0x4F, entry) {
            return 0;
        }
        let bits = mix(self.seed ^ 0x4F4F, entry as u64);
        usize::try_from(bits % count as u64).unwrap_or(0)
    }

    pub(super) fn read_delay(&self) -> Nanos {
        nanos_of(self.shares.read_delay_ms)
    }

    fn happens(&self, share: f64, salt: u64, entry: usize) -> bool {
        share > 0.0 && fraction(mix(self.seed ^ (salt << 32), entry as u64)) < share
    }

    /// The refusal that was decided, if any.
    pub(super) fn refusal(&self, operation: Operation, counters: &Counters) -> Option<Refusal> {
        let (fault, refusal) = match self.fate {
            Fate::Serve | Fate::Hang | Fate::Drop | Fate::Lose => return None,
            Fate::Throttle => (Fault::Throttle, throttled(operation)),
            Fate::Unavailable => (Fault::Unavailable, unavailable(operation)),
            Fate::Deny => (Fault::Deny, denied(operation)),
            Fate::Expired => (Fault::Expired, expired(operation)),
        };
        counters.fault(fault);
        Some(refusal)
    }
}

fn nanos_of(ms: f64) -> Nanos {
    floor(ms * MILLISECOND as f64)
}

pub(super) const THROTTLED: &str = "The level of configured provisioned throughput for the table \
    was exceeded. Consider increasing your provisioning level with the UpdateTable API.";

/// The whole call is told to come more slowly.
pub(super) fn throttled(operation: Operation) -> Refusal {
    match operation.service() {
        Service::Sqs => Refusal::new("RequestThrottled", "Rate exceeded")
            .with_status(403)
            .with_query_code("RequestThrottled"),
        Service::Dynamo if operation.number() >= Operation::CreateTable.number() => {
            Refusal::new("ThrottlingException", "Rate exceeded")
        }
        Service::Dynamo => Refusal::new("ProvisionedThroughputExceededException", THROTTLED),
    }
}

fn unavailable(operation: Operation) -> Refusal {
    const MESSAGE: &str = "The service is temporarily unavailable. Try again later.";
    let refusal = Refusal::new("ServiceUnavailable", MESSAGE).with_status(503);
    match operation.service() {
        Service::Sqs => refusal.with_query_code("ServiceUnavailable"),
        Service::Dynamo => refusal,
    }
}

fn denied(operation: Operation) -> Refusal {
    let service = match operation.service() {
        Service::Sqs => "sqs",
        Service::Dynamo => "dynamodb",
    };
    let message = format!(
        "User: arn:aws:iam::000000000000:user/sim is not authorized to perform: {service}:{} \
         because no identity-based policy allows the action",
        operation.name()
    );
    let refusal = Refusal::new("AccessDeniedException", message);
    match operation.service() {
        Service::Sqs => refusal.with_status(403).with_query_code("AccessDenied"),
        Service::Dynamo => refusal,
    }
}

fn expired(operation: Operation) -> Refusal {
    const MESSAGE: &str = "The security token included in the request is expired";
    let refusal = Refusal::new("ExpiredTokenException", MESSAGE);
    match operation.service() {
        Service::Sqs => refusal.with_status(403).with_query_code("ExpiredToken"),
        Service::Dynamo => refusal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(text: &str, seed: u64) -> Plan {
        Plan::try_new(Faults::parse(text.as_bytes()).unwrap(), seed).unwrap()
    }

    fn fates(plan: &Plan, count: usize) -> Vec<Fate> {
        (0..count).map(|_| plan.decide(Operation::GetItem, b"{}").fate).collect()
    }

    #[test]
    fn the_seed_decides() {
        let text = r#"{"dynamodb": {"throttle": 0.3, "lose": 0.2}}"#;
        let first = fates(&plan(text, 1), 200);
        assert_eq!(first, fates(&plan(text, 1), 200));
        assert_ne!(first, fates(&plan(text, 2), 200));
    }

    #[test]
    fn shares_hold_on_average() {
        let fates = fates(&plan(r#"{"dynamodb": {"throttle": 0.9}}"#, 7), 10_000);
        let throttled = fates.iter().filter(|&&fate| fate == Fate::Throttle).count();
        assert!((8_850..9_150).contains(&throttled), "{throttled} of 10,000");
    }

    #[test]
    fn a_rule_holds_for_its_calls_only() {
        let text = r#"{"rules": [{"operation": "GetItem", "resource": "a", "skip": 1, "times": 2,
            "faults": {"drop": 1}}]}"#;
        let plan = plan(text, 0);
        let decide = |operation, body: &str| plan.decide(operation, body.as_bytes()).fate;
        assert_eq!(decide(Operation::PutItem, r#"{"TableName":"a"}"#), Fate::Serve);
        assert_eq!(decide(Operation::GetItem, r#"{"TableName":"a-b"}"#), Fate::Serve);
        let own: Vec<_> =
            (0..4).map(|_| decide(Operation::GetItem, r#"{"TableName":"a"}"#)).collect();
        assert_eq!(own, [Fate::Serve, Fate::Drop, Fate::Drop, Fate::Serve]);
    }

    #[test]
    fn the_median_of_the_latency_is_as_asked() {
        let text = r#"{"sqs": {"latency-ms": 2, "latency-median-ms": 8, "latency-sigma": 0.5}}"#;
        let plan = plan(text, 3);
        let mut latencies: Vec<_> =
            (0..2_001).map(|_| plan.decide(Operation::SendMessage, b"").latency).collect();
        latencies.sort_unstable();
        let median_ms = latencies[1_000] as f64 / 1e6;
        assert!((9.5..10.5).contains(&median_ms), "{median_ms} ms");
        assert!(latencies[0] >= 2 * MILLISECOND);
        assert!(latencies[2_000] > 20 * MILLISECOND, "no tail");
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let of = |text: &str| {
            Faults::parse(text.as_bytes()).and_then(|faults| Plan::try_new(faults, 0).map(|_| ()))
        };
        assert_eq!(of(r#"{"sqs": {"lose": 1.5}}"#), Err(Unusable::Share("lose")));
        assert_eq!(of(r#"{"sqs": {"latency-ms": -1}}"#), Err(Unusable::Time("latency-ms")));
        let unknown = r#"{"rules": [{"operation": "GetItems"}]}"#;
        assert_eq!(of(unknown), Err(Unusable::Operation("GetItems".to_owned())));
        assert!(matches!(of(r#"{"sqs": {"loose": 1}}"#), Err(Unusable::Unreadable(_))));
    }
}
