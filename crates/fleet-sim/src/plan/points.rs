//! Worlds around one failpoint: small, and quiet but for what happens there.

use posthaste_domain::{RetrySchedule, TenantId};
use posthaste_engine::Settings;

use super::{Clients, DiskFate, Fault, Fleet, Happening, Oddities, Plan, Tenant, throttled};
use crate::endpoint::Behaviour;
use crate::failpoint::{Failpoint, How};
use posthaste_sim::Chance;

/// Events in each world.
const EVENTS: u64 = 16;
/// Over which time they are posted, in milliseconds.
const POST_MS: u64 = 5_000;
/// When daemons end that a row needs, in milliseconds.
const ENDS_MS: u64 = 8_000;
/// From here on nothing else happens, in milliseconds.
const CALM_MS: u64 = 60_000;

impl Plan {
    /// A world in which a row of the table of crash points happens.
    #[must_use]
    pub fn at_failpoint(row: u8, how: How, seed: u64) -> Self {
        let mut chance = Chance::new(seed ^ u64::from(row) << 32);
        let daemons = 3;
        // These places are come to often; the others once or twice.
        let is_often = matches!(row, 1..=3 | 6..=14 | 16..=19 | 21..=23 | 36..=41 | 43);
        let nth = if is_often { chance.within((1, 4)) } else { 1 };
        let quiet = Self::quiet(seed, EVENTS);
        Self {
            tenants: tenants(row),
            fleet: fleet(daemons, row == 42 && how == How::Error),
            index_lag_ms: if row == 26 { (1_000, 60_000) } else { (0, 100) },
            oddities: Oddities {
                doubled_permille: if row == 4 { 1_000 } else { 0 },
                come_back_permille: if matches!(row, 15 | 34) { 1_000 } else { 0 },
                ..Oddities::NONE
            },
            clients: Clients {
                post_ms: POST_MS,
                keyed_permille: chance.pick(&[500, 1_000]),
                by_reference_permille: chance.pick(&[0, 1_000]),
                operations: if matches!(row, 24 | 30..=33) { 60 } else { 0 },
                killer: (row == 35).then_some(3),
                ..quiet.clients
            },
            faults: ends_before(row),
            failpoint: Some(Failpoint { row, how, nth }),
            calm_ms: CALM_MS,
            ..quiet
        }
    }
}

/// Some rows need leases that end, a daemon that starts again, or a copy of a disk with jobs.
fn ends_before(row: u8) -> Vec<Fault> {
    let lost = Happening::Crash(DiskFate::Lost, 400_000);
    let what = match row {
        20 => Happening::Crash(DiskFate::Lost, 1_000),
        25 | 26 => lost,
        _ => return Vec::new(),
    };
    let fault = |daemon| Fault { at_ms: ENDS_MS, daemon, what };
    vec![fault(0), fault(1)]
}

fn tenants(row: u8) -> Vec<Tenant> {
    let healthy = Behaviour::Healthy { slowest_ms: 50 };
    // A poison event is one that would be delivered.
    let others = match row {
        35 => [healthy; 4],
        _ => [Behaviour::FailsFirst(1), Behaviour::FailsFirst(2), Behaviour::Dead, Behaviour::Gone],
    };
    let all = std::iter::once(healthy).chain(others).zip(0..);
    all.map(|(behaviour, number)| Tenant {
        id: TenantId::try_new(&format!("tenant-{number}")).expect("a lawful name"),
        behaviour,
        deleted_ms: None,
    })
    .collect()
}

fn fleet(daemons: usize, same_name: bool) -> Fleet {
    let schedule = RetrySchedule::try_new(&[3_000, 12_000], 0.1, 4).expect("lawful");
    Fleet {
        same_name,
        engine: Settings { schedule, breaker_failures: 0, ..Settings::default() },
        held_max: 1_000,
        held_per_tenant_max: 1_000,
        held_bytes_max: 1 << 20,
        intake_polls: 1,
        row_writers: 2,
        idle_turn_ms: 20_000,
        ..throttled::fleet(daemons)
    }
}
