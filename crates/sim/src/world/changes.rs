//! What people do to endpoints while they are at work: other limits, pauses, lifts, deleted
//! tenants; and what clocks do. Also how the engine hears of it.

use std::collections::BTreeMap;

use posthaste_domain::{ErrorClass, RetrySchedule, Timestamp, Verdict};
use posthaste_engine::{Input, Options, Rate};

use super::World;
use crate::mutant::Mutant;
use crate::plan::Plan;
use crate::process::{Process, Site};
use crate::trace::Step;

/// How far the clock jumps, and goes back, in milliseconds.
const HOUR_MS: u64 = 3_600_000;

/// The schedules of endpoints that have one of their own.
pub(super) fn schedules(plan: &Plan) -> BTreeMap<Site, RetrySchedule> {
    let own = plan.places.iter().filter_map(|place| {
        let schedule = place.options.schedule.clone()?;
        Some(((place.tenant.clone(), place.endpoint), schedule))
    });
    own.collect()
}

impl World<'_> {
    /// Whether the tenant of a place is deleted.
    pub(super) fn is_gone(&self, place: usize) -> bool {
        self.plan.places[place].gone_at.is_some_and(|at| at <= self.now)
    }

    /// The clock jumps forward.
    pub(super) fn jump(&mut self) {
        self.trace.note(self.now, Step::Jumped, None, [HOUR_MS, 0]);
        self.now = self.now.plus_millis(HOUR_MS);
        self.counts.jumps += 1;
        if let Some(process) = &mut self.process {
            process.turn_at = None;
        }
        self.wake(self.now);
    }

    /// What the driver's clock says when it hands over a fact; it may have gone back since the
    /// fact before.
    pub(super) fn clock(&mut self, process: &mut Process, now: Timestamp) -> Timestamp {
        let seen = std::mem::replace(&mut process.told_at, now) == now;
        if !seen || self.is_calm() || !self.chance.permille(self.plan.back_permille) {
            return now;
        }
        Timestamp::from_millis(now.as_millis() - self.chance.within((1, HOUR_MS)))
    }

    /// Somebody changes how an endpoint is to be attempted.
    pub(super) fn change_options(&mut self) {
        if self.is_calm() {
            return;
        }
        let place = self.chance.index(self.options.len());
        let now = self.now;
        let rates = [None, Some(Rate::per_second(2)), Some(Rate::per_second(50))];
        let options = &mut self.options[place];
        match self.chance.within((0, 6)) {
            0 | 1 => options.paused = !options.paused,
            2 => options.lifted_at = now,
            3 => options.rate = self.chance.pick(&rates),
            4 => options.tenant_rate = self.chance.pick(&rates),
            5 => options.in_flight_max = self.chance.pick(&[None, Some(1), Some(4)]),
            _ => options.weight = self.chance.pick(&[1, 3, 100]),
        }
        self.counts.changes += 1;
        self.trace.note(now, Step::Changed, None, [place as u64, 0]);
        let site = self.site(place);
        if self.chance.permille(500) {
            self.tell_options(site, false);
        } else if self.chance.permille(200) {
            let (tenant, endpoint) = site;
            self.give(Input::Lift { tenant, endpoint });
        }
    }

    /// Nobody is paused any more, and half of them are told so; the engine finds out about the
    /// others.
    pub(super) fn resume_all(&mut self) {
        for place in 0..self.options.len() {
            self.options[place].paused = false;
            if self.chance.permille(500) {
                let site = self.site(place);
                self.tell_options(site, false);
            }
        }
    }

    fn site(&self, place: usize) -> Site {
        let place = &self.plan.places[place];
        (place.tenant.clone(), place.endpoint)
    }

    /// The engine is told how an endpoint is to be attempted, or that it cannot be said for now.
    pub(super) fn tell_options(&mut self, site: Site, fails: bool) {
        let here =
            |place: &crate::plan::Place| (&place.tenant, place.endpoint) == (&site.0, site.1);
        let place = self.plan.places.iter().position(here);
        let options = place.map(|place| self.options[place].clone()).unwrap_or_default();
        let (tenant, endpoint) = site;
        self.give(if fails {
            Input::OptionsReadFailed { tenant, endpoint }
        } else {
            Input::OptionsRead { tenant, endpoint, options: Box::new(options) }
        });
    }

    /// Notes what the engine is going to hear, and spoils it where a mutant does.
    pub(super) fn hear(&mut self, process: &mut Process, mut input: Input) -> Input {
        match &mut input {
            Input::OptionsRead { tenant, endpoint, options } => {
                let site = (tenant.clone(), *endpoint);
                if process.engine.knows(&site.0, site.1) {
                    process.isolation.hear_options(&site, options, self.now);
                }
                // Others' shares may be other ones from now on.
                process.queued.clear();
                self.spoil_options(options, &site);
            }
            Input::Lift { tenant, endpoint } => {
                process.isolation.hear_lift(&(tenant.clone(), *endpoint), self.now);
            }
            Input::Attempted { delivery, attempt } => {
                let site = process.landed.remove(delivery);
                if let Some(site) = site {
                    process.isolation.hear(&site, attempt, self.now, &self.plan.settings);
                    if self.is_mutant(Mutant::LiftUnasked) {
                        let (tenant, endpoint) = site;
                        process.engine.handle(self.now, Input::Lift { tenant, endpoint });
                    }
                }
                if self.is_mutant(Mutant::DeafToFailures)
                    && let Verdict::Failed { class, retry_after_ms: None } = &mut attempt.verdict
                {
                    *class = ErrorClass::ClientError;
                    attempt.status_code = Some(400);
                }
            }
            _ => {}
        }
        input
    }

    fn spoil_options(&self, options: &mut Options, site: &Site) {
        if self.is_mutant(Mutant::ForgetPauses) {
            options.paused = false;
        }
        if self.is_mutant(Mutant::HostsApart) {
            let place = self.plan.places.iter().position(|it| it.tenant == site.0);
            options.host = 100 + place.unwrap_or(0) as u64 * 100 + u64::from(site.1.as_u16());
        }
        if self.is_mutant(Mutant::FasterRates) {
            for rate in [&mut options.rate, &mut options.tenant_rate] {
                *rate = rate.map(|rate| Rate::new(2_000, rate.interval_us()));
            }
        }
    }
}
