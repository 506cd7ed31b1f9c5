//! Settings of what keeps tenants and endpoints apart.

use std::collections::BTreeMap;

use toml::Value;

use super::kinds::numbers::{Count, CountOrZero, DAY, Fraction, HOUR, MINUTE, SECOND, Time};
use super::kinds::{Kind, List};
use super::reader::Section;

/// As the engine has it.
const WEIGHT_MAX: u32 = posthaste_engine::WEIGHT_MAX;

/// `[isolation]`: what one tenant or endpoint may take, and when it is left alone.
#[derive(Clone, Debug)]
pub struct Isolation {
    /// Attempts in flight to one host, whoever's endpoints are there.
    pub in_flight_per_host_max: usize,
    /// Attempts in flight of one tenant.
    pub in_flight_per_tenant_max: usize,
    /// The part of the attempts in flight that slow endpoints may have, in percent.
    pub slow_percent_max: usize,
    /// How long attempts take on average where an endpoint is slow, in milliseconds.
    pub slow_ms: u64,
    /// When an endpoint is left alone, and for how long.
    pub breaker: Breaker,
    /// Over how long late retries are spread, in milliseconds.
    pub overdue_spread_ms: u64,
    /// Turns of a plan's tenants while others get one.
    pub plan_weights: BTreeMap<String, u32>,
}

/// When an endpoint is left alone, for how long, and how it is approached again.
#[derive(Clone, Debug)]
pub struct Breaker {
    /// Failures in a row after which it is; 0 for never.
    pub failures: u32,
    /// For how long at first, in milliseconds.
    pub hold_ms: u64,
    /// For how long at most, in milliseconds.
    pub hold_ms_max: u64,
    /// After how long without an answer the schedule holds again, in milliseconds.
    pub give_up_ms: u64,
    /// Attempts in the first second after that.
    pub ramp_first_per_s: u32,
}

impl Isolation {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let s = &mut section;
        Self {
            in_flight_per_host_max: s.key(
                "in-flight-per-host-max",
                Count::new(1..=1_000_000),
                "256",
                "Attempts at the same time to one host and port, whoever's endpoints are there; \
                 each shard counts its own, up to a quarter of its part of delivery.in-flight-max. \
                 Four busy tenants behind one gateway.",
            ),
            in_flight_per_tenant_max: s.key(
                "in-flight-per-tenant-max",
                Count::new(1..=1_000_000),
                "256",
                "Attempts at the same time of one tenant.",
            ),
            slow_percent_max: percent(s.key(
                "slow-share",
                Fraction,
                "0.75",
                "The part of delivery.in-flight-max that all slow endpoints together may have, so \
                 that those that answer soon never wait for them; a hundredth at least.",
            )),
            slow_ms: s.key(
                "slow-after",
                Time::new(10..=MINUTE),
                "1s",
                "An endpoint is slow whose attempts take that long on average.",
            ),
            breaker: Breaker::read(s),
            overdue_spread_ms: s.key(
                "overdue-spread",
                Time::new(1..=HOUR),
                "1m",
                "Retries that are late since the process was not there are spread over as long as \
                 they are late, but over no more than this.",
            ),
            plan_weights: s
                .key(
                    "plan-weights",
                    List { item: PlanWeight, min: 0, max: 100 },
                    "",
                    "Turns that tenants of a plan get while others get one, such as \"pro=4\". It \
                     matters while there is more to do than can be done. Where a plan is named \
                     twice the last one counts.",
                )
                .into_iter()
                .collect(),
        }
    }
}

impl Breaker {
    fn read(s: &mut Section<'_>) -> Self {
        let narrow = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Self {
            failures: narrow(
                s.key(
                    "breaker-failures",
                    CountOrZero { max: 10_000, zero: "never" },
                    "20",
                    "Failures in a row (no connection, no or a broken answer, a redirect, 5xx, \
                     408, 429 without Retry-After) after which an endpoint is left alone. Its \
                     events wait and cost no attempt.",
                )
                .map_or(0, std::num::NonZeroUsize::get),
            ),
            hold_ms: s.key(
                "breaker-hold",
                Time::new(10..=HOUR),
                "1s",
                "How long it is left alone at first; twice as long after each attempt in vain.",
            ),
            hold_ms_max: s.key(
                "breaker-hold-max",
                Time::new(10..=HOUR),
                "1m",
                "How long at most, and so how long an endpoint that is well again waits.",
            ),
            give_up_ms: s.key(
                "breaker-give-up",
                Time::new(SECOND..=30 * DAY),
                "24h",
                "An endpoint that has not answered for so long is attempted by the schedule \
                 again, so that its events end in the dead-letter queue.",
            ),
            ramp_first_per_s: narrow(s.key(
                "ramp",
                Count::new(1..=100_000),
                "50",
                "Attempts in the first second after an endpoint was left alone or paused; twice as \
                 many in each that follows, until after ten seconds nothing limits it.",
            )),
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a fraction from 0 to 1 makes 0 to 100"
)]
fn percent(fraction: f64) -> usize {
    ((fraction * 100.0).round() as usize).max(1)
}

/// A plan's name and its weight.
struct PlanWeight;

impl Kind for PlanWeight {
    type Value = (String, u32);

    fn form(&self) -> String {
        format!("a plan's name, =, and a number from 1 to {WEIGHT_MAX}")
    }

    fn parse(&self, text: &str) -> Result<Self::Value, String> {
        let wrong = || format!("is not {}", self.form());
        let (plan, weight) = text.split_once('=').ok_or_else(wrong)?;
        let weight = weight.trim().parse().ok().filter(|weight| (1..=WEIGHT_MAX).contains(weight));
        let plan = plan.trim();
        if plan.is_empty() {
            Err(wrong())
        } else {
            Ok((plan.to_owned(), weight.ok_or_else(wrong)?))
        }
    }

    fn show(&self, (plan, weight): &Self::Value) -> Value {
        Value::from(format!("{plan}={weight}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_has_a_weight() {
        assert_eq!(PlanWeight.parse("pro = 4"), Ok(("pro".to_owned(), 4)));
        for wrong in ["", "pro", "=4", "pro=", "pro=0", "pro=101", "pro=-1", "pro=4=4"] {
            assert!(PlanWeight.parse(wrong).is_err(), "{wrong}");
        }
    }
}
