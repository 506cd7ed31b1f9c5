//! A quiet world, on which the others made by hand build, and worlds of one promise each: a daemon
//! that vanishes, one that stands still beyond its leases, and a cloud that misbehaves in every way
//! under load.

use posthaste_domain::RetrySchedule;
use posthaste_engine::Settings;

use super::throttled::{fleet, healthy};
use super::{Clients, DiskFate, Fault, Happening, Oddities, Plan, Service, Swarm, Tenant, Window};
use crate::endpoint::Behaviour;
use posthaste_sim::Chance;

const MINUTE_MS: u64 = 60_000;
/// Longer than anything in a world: such a daemon is away until calm.
const FOR_EVER_MS: u64 = 24 * 60 * MINUTE_MS;
/// Events in a small world.
const EVENTS: u64 = 40;

impl Plan {
    /// A quiet world of three daemons and some events, most of which fail first: a place for one
    /// thing to happen.
    #[must_use]
    pub fn quiet(seed: u64, events: u64) -> Self {
        let of = [
            Behaviour::Healthy { slowest_ms: 50 },
            Behaviour::FailsFirst(1),
            Behaviour::FailsFirst(3),
            Behaviour::Dead,
        ];
        let tenants = of.into_iter().zip(0..);
        let schedule = RetrySchedule::try_new(&[20_000, 40_000], 0.1, 5).expect("lawful");
        let mut fleet = fleet(3);
        fleet.engine = Settings { schedule, breaker_failures: 0, ..Settings::default() };
        fleet.idle_turn_ms = 20_000;
        fleet.intake_polls = 1;
        Self {
            seed,
            tenants: tenants
                .map(|(behaviour, number)| Tenant { behaviour, ..healthy(number) })
                .collect(),
            fleet,
            rows: Service::faultless((1, 20)),
            queue: Service::faultless((1, 20)),
            index_lag_ms: (10, 2_000),
            oddities: Oddities::NONE,
            clients: Clients {
                events,
                post_ms: 10_000,
                keyed_permille: 0,
                by_reference_permille: 200,
                old_form_permille: 0,
                strays: 0,
                operations: 0,
                changes: 0,
                killer: None,
                spared: false,
            },
            ours_permille: 0,
            swarm: Swarm::NONE,
            faults: Vec::new(),
            failpoint: None,
            calm_ms: 2 * MINUTE_MS,
            check_every: 1,
            mutant: None,
        }
    }

    /// A daemon dies with its disk while retries wait there, and stays away until calm.
    #[must_use]
    pub fn vanishing(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let mut plan = Self::quiet(seed, EVENTS);
        let at_ms = chance.within((11_000, 35_000));
        let daemon = chance.index(plan.fleet.daemons);
        let what = Happening::Crash(DiskFate::Lost, FOR_EVER_MS);
        plan.faults = vec![Fault { at_ms, daemon, what }];
        // Time enough for a lease, a sweep and the retries: others take over what it had.
        plan.calm_ms = 8 * MINUTE_MS;
        plan
    }

    /// A daemon stands still for longer than its leases last, while its retries wait or its
    /// attempts are out, and goes on.
    #[must_use]
    pub fn standing_still(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let mut plan = Self::quiet(seed, EVENTS);
        let silent = Behaviour::Healthy { slowest_ms: 20_000 };
        plan.tenants[0].behaviour = silent;
        plan.faults = (0..chance.within((1, 3)))
            .map(|_| {
                let at_ms = chance.within((2_000, 60_000));
                let daemon = chance.index(plan.fleet.daemons);
                Fault { at_ms, daemon, what: Happening::Pause(chance.pick(&[260_000, 500_000])) }
            })
            .collect();
        plan.faults.sort_by_key(|fault| fault.at_ms);
        plan.calm_ms = 12 * MINUTE_MS;
        plan
    }

    /// AWS as it can be: three calls of ten throttled, one of ten done without an answer, entries
    /// of batches that fail, and each service out for five minutes, one after the other. Healthy
    /// endpoints; so many events a second until `after_ms` behind the last outage.
    #[must_use]
    pub fn misbehaving(seed: u64, events_per_s: u64, after_ms: u64) -> Self {
        const OUT_MS: u64 = 5 * MINUTE_MS;
        let (rows_out, queue_out) = (MINUTE_MS, 2 * MINUTE_MS + OUT_MS);
        let end = queue_out + OUT_MS;
        let mut plan = Self::throttled(seed, events_per_s, 3);
        let service = |out_ms| Service {
            lost_permille: 100,
            entries_permille: 50,
            windows: vec![
                Window { from_ms: 0, until_ms: end, passes_permille: 700 },
                Window { from_ms: out_ms, until_ms: out_ms + OUT_MS, passes_permille: 0 },
            ],
            ..Service::faultless((3, 8))
        };
        (plan.rows, plan.queue) = (service(rows_out), service(queue_out));
        plan.clients.post_ms = end + after_ms;
        plan.clients.events = events_per_s * plan.clients.post_ms / 1_000;
        plan.clients.keyed_permille = 1_000;
        plan.ours_permille = 0;
        // Faults of single calls go on; the judge of speed looks at what follows the outages.
        plan.calm_ms = end + after_ms;
        plan.fleet.idle_turn_ms = 5_000;
        plan
    }
}
