//! A second opinion on isolation: who may be attempted now, worked out from what the engine has
//! been told. Knows the rules, not how the engine keeps them.
//!
//! It is lenient where a rule leaves room (the jitter of a hold, when exactly an endpoint is found
//! to be slow), so that what it finds is a fault.

use std::collections::{BTreeMap, VecDeque};

use posthaste_domain::{Attempt, ErrorClass, TenantId, Timestamp, Verdict};
use posthaste_engine::{Invariant, Options, Rate, Settings};

use crate::process::Site;

/// What comes at once, in microseconds: 10 ms at the rate, and the clock's millisecond.
const BURST_US: u64 = 11_000;
/// How many starts are remembered of who has a rate.
const STARTS_MAX: usize = 128;
/// How long a ramp lasts, in milliseconds.
const RAMP_MS: u64 = 10_000;

/// What a rule says is wrong.
pub(crate) type Judged = Result<(), (Invariant, &'static str)>;

/// Starts of attempts that have a rate.
#[derive(Debug, Default)]
struct Starts {
    rate: Option<Rate>,
    set_at: Timestamp,
    at: VecDeque<Timestamp>,
}

impl Starts {
    fn set(&mut self, rate: Option<Rate>, now: Timestamp) {
        if self.rate != rate {
            (self.rate, self.set_at) = (rate, now);
            self.at.clear();
        }
    }

    fn judge(&mut self, now: Timestamp) -> bool {
        let Some(rate) = self.rate else { return true };
        if self.set_at == now {
            // Ordered before the engine heard of the rate, maybe.
            return true;
        }
        self.at.push_back(now);
        if self.at.len() > STARTS_MAX {
            self.at.pop_front();
        }
        let count = self.at.len() as u64;
        self.at.iter().zip(0..).all(|(at, before)| {
            let span_us = now.millis_since(*at) * 1_000;
            count - before <= (span_us + BURST_US) / rate.interval_us() + 1
        })
    }
}

/// How an endpoint is, as it must be taken to be.
#[derive(Clone, Copy, Debug)]
enum Health {
    Well { failures: u32 },
    Shut { first: Timestamp, since: Timestamp },
    Ramp { from: Timestamp, failures: u32, successes: usize, starts: u64 },
    GivenUp { first: Timestamp },
}

/// What is known of an endpoint.
#[derive(Debug)]
struct Known {
    options: Option<Options>,
    told_at: Timestamp,
    starts: Starts,
    health: Health,
    /// When each attempt in flight started.
    flights: BTreeMap<u64, Timestamp>,
    ended_at: Timestamp,
}

impl Default for Known {
    fn default() -> Self {
        Self {
            options: None,
            told_at: Timestamp::ZERO,
            starts: Starts::default(),
            health: Health::Well { failures: 0 },
            flights: BTreeMap::new(),
            ended_at: Timestamp::ZERO,
        }
    }
}

/// What the engine of a process has been told about endpoints.
#[derive(Debug, Default)]
pub(crate) struct Isolation {
    sites: BTreeMap<Site, Known>,
    tenants: BTreeMap<TenantId, (Starts, u32)>,
    started: u64,
}

impl Isolation {
    /// How many turns a tenant gets while another gets one.
    pub(crate) fn weight(&self, tenant: &TenantId) -> u64 {
        self.tenants.get(tenant).map_or(1, |(_, weight)| u64::from(*weight))
    }

    /// The engine hears how an endpoint is to be attempted.
    pub(crate) fn hear_options(&mut self, site: &Site, options: &Options, now: Timestamp) {
        let (starts, weight) = self.tenants.entry(site.0.clone()).or_default();
        starts.set(options.tenant_rate, now);
        *weight = options.weight;
        let known = self.sites.entry(site.clone()).or_default();
        known.starts.set(options.rate, now);
        known.told_at = now;
        let before = known.options.replace(options.clone());
        let resumed = before.as_ref().is_some_and(|before| before.paused) && !options.paused;
        let lifted_before = before.map_or(Timestamp::ZERO, |before| before.lifted_at);
        let since = known.shut_since();
        let lifted = options.lifted_at > lifted_before
            && since.is_some_and(|since| options.lifted_at > since);
        if resumed || lifted {
            known.ramp(now);
        }
    }

    /// The engine hears that an endpoint is well again.
    pub(crate) fn hear_lift(&mut self, site: &Site, now: Timestamp) {
        let known = self.sites.entry(site.clone()).or_default();
        if known.shut_since().is_some() {
            known.ramp(now);
        }
    }

    /// The engine hears what an attempt came to.
    pub(crate) fn hear(
        &mut self,
        site: &Site,
        attempt: &Attempt,
        now: Timestamp,
        rules: &Settings,
    ) {
        let known = self.sites.entry(site.clone()).or_default();
        known.ended_at = now;
        known.hear(attempt, now, rules);
    }

    /// An attempt is over, whatever the engine knows of it.
    pub(crate) fn land(&mut self, site: &Site, flight: u64) {
        if let Some(known) = self.sites.get_mut(site) {
            known.flights.remove(&flight);
        }
    }

    /// An attempt starts: whether it may, and its number.
    pub(crate) fn start(
        &mut self,
        site: &Site,
        now: Timestamp,
        rules: &Settings,
    ) -> Result<u64, (Invariant, &'static str)> {
        self.judge_caps(site, now, rules)?;
        self.judge_slow(site, now, rules)?;
        let (starts, _) = self.tenants.entry(site.0.clone()).or_default();
        if !starts.judge(now) {
            return Err((Invariant::KeptPace, "above the tenant's rate"));
        }
        let known = self.sites.entry(site.clone()).or_default();
        known.judge(now, rules)?;
        self.started += 1;
        known.flights.insert(self.started, now);
        Ok(self.started)
    }

    fn judge_caps(&self, site: &Site, now: Timestamp, rules: &Settings) -> Judged {
        let caps = |what| Err((Invariant::WithinCaps, what));
        let Some(options) = self.sites.get(site).and_then(|known| known.options.as_ref()) else {
            return Err((Invariant::LeftAlone, "before its options are known"));
        };
        let (own, told_at) = (self.sites[site].flights.len(), self.sites[site].told_at);
        if now > told_at && options.in_flight_max.is_some_and(|most| own >= most.max(1)) {
            return caps("more than its options allow");
        }
        let of_tenant = self.sites.iter().filter(|((tenant, _), _)| *tenant == site.0);
        let of_tenant: usize = of_tenant.map(|(_, known)| known.flights.len()).sum();
        if of_tenant >= rules.in_flight_per_tenant_max {
            return caps("more than a tenant may have");
        }
        let here =
            |known: &&Known| known.options.as_ref().is_some_and(|it| it.host == options.host);
        let of_host: usize = self.sites.values().filter(here).map(|it| it.flights.len()).sum();
        if options.host != 0 && of_host >= rules.in_flight_per_host_max {
            return caps("more than a host may have");
        }
        Ok(())
    }

    /// Who has ended nothing for long is slow, beyond doubt.
    fn judge_slow(&self, site: &Site, now: Timestamp, rules: &Settings) -> Judged {
        let slow = |known: &Known| {
            let since = known.flights.values().min().map(|at| (*at).max(known.ended_at));
            since.is_some_and(|since| now.millis_since(since) > 2 * rules.slow_ms)
        };
        if !slow(&self.sites[site]) {
            return Ok(());
        }
        let all = self.sites.values().filter(|known| slow(known));
        let in_flight: usize = all.map(|known| known.flights.len()).sum();
        let most = (rules.in_flight_max * rules.slow_percent_max / 100).max(1);
        if in_flight < most {
            return Ok(());
        }
        Err((Invariant::RoomForTheQuick, "slow endpoints have more than their share"))
    }
}

impl Known {
    /// Since when nothing has got through, where it is left alone for that.
    const fn shut_since(&self) -> Option<Timestamp> {
        match self.health {
            Health::Shut { first, .. } | Health::GivenUp { first } => Some(first),
            Health::Well { .. } | Health::Ramp { .. } => None,
        }
    }

    const fn ramp(&mut self, from: Timestamp) {
        self.health = Health::Ramp { from, failures: 0, successes: 0, starts: 0 };
    }

    fn hear(&mut self, attempt: &Attempt, now: Timestamp, rules: &Settings) {
        if let Health::Ramp { from, .. } = self.health
            && now.millis_since(from) >= RAMP_MS
        {
            self.health = Health::Well { failures: 0 };
        }
        let started = attempt.at;
        let answers = match attempt.verdict {
            Verdict::Delivered => {
                match &mut self.health {
                    Health::Well { failures } => *failures = 0,
                    Health::Ramp { failures, successes, .. } => {
                        *failures = 0;
                        *successes += 1;
                    }
                    Health::Shut { .. } | Health::GivenUp { .. } => self.ramp(now),
                }
                return;
            }
            Verdict::NotCharged { .. } | Verdict::Failed { retry_after_ms: Some(1..), .. } => {
                return;
            }
            Verdict::Gone => true,
            Verdict::Failed { class, .. } => {
                let ours = !matches!(attempt.status_code, Some(408 | 429));
                class == ErrorClass::ClientError && ours
            }
        };
        let most = rules.breaker_failures;
        match &mut self.health {
            Health::Well { .. } | Health::Ramp { .. } | Health::GivenUp { .. }
                if answers || most == 0 => {}
            Health::Well { failures } => {
                *failures += 1;
                if *failures >= most {
                    self.health = Health::Shut { first: now, since: now };
                }
            }
            Health::Ramp { from, failures, .. } if started >= *from => {
                *failures += 1;
                if *failures >= (most / 4).max(1) {
                    self.health = Health::Shut { first: now, since: now };
                }
            }
            Health::Shut { first, since } if started > *since => {
                if answers {
                    self.ramp(now);
                } else if now.millis_since(*first) >= rules.breaker_give_up_ms {
                    self.health = Health::GivenUp { first: *first };
                } else {
                    *since = now;
                }
            }
            Health::Ramp { .. } | Health::Shut { .. } | Health::GivenUp { .. } => {}
        }
    }

    fn judge(&mut self, now: Timestamp, rules: &Settings) -> Judged {
        if now > self.told_at && self.options.as_ref().is_some_and(|options| options.paused) {
            return Err((Invariant::LeftAlone, "paused"));
        }
        if !self.starts.judge(now) {
            return Err((Invariant::KeptPace, "above the endpoint's rate"));
        }
        let in_flight = self.flights.len();
        match &mut self.health {
            Health::Shut { since, .. } => {
                // What was ordered before the engine heard of it comes in the same millisecond.
                let held = now.millis_since(*since) < rules.breaker_hold.first_ms;
                let alone = in_flight == 0;
                if now > *since && (held || !alone) {
                    return Err((Invariant::LeftAlone, "it has tripped"));
                }
            }
            Health::Ramp { from, successes, starts, .. } => {
                let ms = now.millis_since(*from);
                // What was ordered before the engine heard of it comes in the same millisecond.
                if ms >= RAMP_MS || ms == 0 {
                    return Ok(());
                }
                *starts += 1;
                let burst = (u64::from(rules.ramp_first_per_s) << (ms / 1_000)) / 90 + 2;
                if *starts > ramp_sum(ms, rules.ramp_first_per_s) + burst {
                    return Err((Invariant::KeptPace, "above its ramp"));
                }
                if in_flight > 1 + *successes {
                    return Err((Invariant::KeptPace, "more in flight than its ramp allows"));
                }
            }
            Health::Well { .. } | Health::GivenUp { .. } => {}
        }
        Ok(())
    }
}

/// How many attempts a ramp has by then.
fn ramp_sum(ms: u64, first_per_s: u32) -> u64 {
    let first = u64::from(first_per_s);
    let seconds = ms / 1_000;
    let whole = first * ((1 << seconds) - 1);
    whole + (first << seconds) * (ms % 1_000) / 1_000
}
