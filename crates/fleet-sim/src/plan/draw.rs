//! Drawing a world from a seed.

use posthaste_domain::{RetrySchedule, TenantId};
use posthaste_engine::{Backoff, Settings};

use super::{
    Clients, DiskFate, Fault, Fleet, Happening, Millis, Oddities, Plan, Service, Tenant, Window,
};
use crate::endpoint::Behaviour;
use posthaste_sim::Chance;

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: i64 = 3_600_000;

impl Plan {
    /// The world of a seed, with this many events.
    #[must_use]
    pub fn draw(seed: u64, events: u64) -> Self {
        let mut chance = Chance::new(seed);
        let post_ms = chance.pick(&[1_000, 60_000, 10 * MINUTE_MS]);
        let calm_ms = post_ms + chance.pick(&[10_000, 5 * MINUTE_MS, 20 * MINUTE_MS]);
        let fleet = draw_fleet(&mut chance);
        let faults = draw_faults(&mut chance, &fleet, calm_ms);
        Self {
            seed,
            tenants: draw_tenants(&mut chance, calm_ms),
            rows: draw_service(&mut chance, calm_ms),
            queue: draw_service(&mut chance, calm_ms),
            index_lag_ms: chance.pick(&[(0, 0), (10, 2_000), (1_000, 60_000)]),
            oddities: Oddities {
                copies_permille: chance.pick(&[0, 0, 30, 300]),
                miscounted_permille: chance.pick(&[0, 500]),
                come_back_permille: chance.pick(&[0, 0, 100]),
                doubled_permille: chance.pick(&[0, 0, 0, 50]),
            },
            clients: Clients {
                events,
                post_ms,
                keyed_permille: chance.pick(&[0, 500, 1000]),
                by_reference_permille: chance.pick(&[0, 200, 1000]),
                old_form_permille: chance.pick(&[0, 0, 200]),
                strays: chance.pick(&[0, 0, 4]),
                operations: chance.pick(&[0, 10, 60]),
                killer: chance.permille(100).then(|| chance.within((0, events.max(1) - 1))),
                spared: false,
            },
            fleet,
            faults,
            calm_ms,
            check_every: 1,
            mutant: None,
        }
    }
}

fn draw_tenants(chance: &mut Chance, span: u64) -> Vec<Tenant> {
    let count = chance.pick(&[1, 3, 8]);
    let kinds = chance.pick(&[2, 10, 10]);
    let mut tenants = Vec::new();
    for number in 0..count {
        tenants.push(Tenant {
            id: TenantId::try_new(&format!("tenant-{number}")).expect("a lawful name"),
            behaviour: draw_behaviour(chance, kinds, span),
            deleted_ms: chance.permille(80).then(|| chance.within((0, span))),
        });
    }
    tenants
}

fn draw_behaviour(chance: &mut Chance, kinds: u64, span: u64) -> Behaviour {
    match chance.within((0, kinds)) {
        0 => Behaviour::Healthy { slowest_ms: chance.pick(&[50, 5_000, 29_000]) },
        1 | 2 => Behaviour::FailsFirst(u32::try_from(chance.within((1, 5))).expect("at most five")),
        3 => Behaviour::DownUntil(chance.within((0, span))),
        4 => Behaviour::SilentUntil(chance.within((0, span))),
        5 => Behaviour::Throttling {
            permille: chance.pick(&[100, 700]),
            retry_after_ms: chance.pick(&[0, 1_000, 30_000, 400_000]),
        },
        6 => Behaviour::Gone,
        7 => Behaviour::Dead,
        8 => Behaviour::LosesAnswers { permille: chance.pick(&[50, 500]) },
        _ => Behaviour::Shaky { permille: chance.pick(&[50, 500]) },
    }
}

fn draw_fleet(chance: &mut Chance) -> Fleet {
    let daemons = chance.pick(&[1, 2, 3, 3]);
    let in_flight_max = chance.pick(&[1, 8, 64]);
    let held_max = chance.pick(&[4, 50, 1_000]);
    let skew = |chance: &mut Chance| {
        let wild: i64 = chance.pick(&[-HOUR_MS, -60_000, 60_000, HOUR_MS]);
        chance.pick(&[0, -2_000, 2_000, wild])
    };
    let skewed = chance.permille(250);
    Fleet {
        daemons,
        shards: chance.pick(&[1, 1, 2]),
        same_name: daemons > 1 && chance.permille(100),
        engine: Settings {
            schedule: draw_schedule(chance),
            in_flight_max,
            in_flight_per_endpoint_max: chance.pick(&[1, 8, 64]).min(in_flight_max),
            settling_max: chance.pick(&[1, 8, 4_096]),
            held_max: chance.pick(&[4, 100, 50_000]),
            held_per_endpoint_max: chance.pick(&[4, 64, 8_192]),
            payload_bytes_max: chance.pick(&[0, 1_000, 1 << 20]),
            timers_window_ms: chance.pick(&[5_000, 60_000]),
            timers_held_max: chance.pick(&[10, 200_000]),
            timers_read_max: chance.pick(&[1, 4_096]),
            not_charged_backoff: Backoff { first_ms: 250, most_ms: 30_000 },
            store_backoff: Backoff { first_ms: 50, most_ms: 5_000 },
            breaker_failures: chance.pick(&[0, 2, 20]),
            // A day is usual. Whoever fails for ever would not be done with within a run.
            breaker_give_up_ms: chance.pick(&[MINUTE_MS, 20 * MINUTE_MS]),
            ..Settings::default()
        },
        held_max,
        held_per_tenant_max: chance.pick(&[1, 10, 1_000]).min(held_max),
        held_bytes_max: chance.pick(&[200, 1 << 20]),
        intake_polls: chance.pick(&[1, 2, 4]),
        row_writers: chance.pick(&[1, 2, 8]),
        row_batch_max: chance.pick(&[1, 3, 25]),
        inbox_max: chance.pick(&[1, 8_192, 8_192]),
        disk_ms: chance.pick(&[(0, 0), (0, 2), (1, 50)]),
        skews_ms: (0..daemons).map(|_| if skewed { skew(chance) } else { 0 }).collect(),
    }
}

fn draw_schedule(chance: &mut Chance) -> RetrySchedule {
    let delays: &[u64] = chance.pick(&[
        &[60_000, 120_000, 240_000],
        &[1_000, 5_000, 25_000],
        &[50],
        // Longer than a lease lasts beyond its due time.
        &[400_000, 10_000],
    ]);
    let attempts_max = chance.pick(&[1, 2, 3, 5]);
    RetrySchedule::try_new(delays, chance.pick(&[0.0, 0.1, 1.0]), attempts_max)
        .expect("the delays above are within the limits")
}

fn draw_service(chance: &mut Chance, span: u64) -> Service {
    let trouble = chance.pick(&[0, 0, 10, 100]);
    Service {
        latency_ms: chance.pick(&[(0, 1), (1, 20), (1, 20), (50, 1_500)]),
        fails_permille: trouble,
        lost_permille: chance.pick(&[0, trouble, 100]),
        entries_permille: chance.pick(&[0, trouble]),
        windows: draw_windows(chance, span),
    }
}

fn draw_windows(chance: &mut Chance, span: u64) -> Vec<Window> {
    let count = chance.pick(&[0, 0, 1, 3]);
    let window = |chance: &mut Chance| {
        let from_ms = chance.within((0, span));
        let lasts = chance.pick(&[2_000, MINUTE_MS, 5 * MINUTE_MS, 12 * MINUTE_MS]);
        let until_ms = (from_ms + lasts).min(span);
        Window { from_ms, until_ms, passes_permille: chance.pick(&[0, 100, 500]) }
    };
    (0..count).map(|_| window(chance)).collect()
}

fn draw_faults(chance: &mut Chance, fleet: &Fleet, span: u64) -> Vec<Fault> {
    let kinds = chance.pick(&[0, 1, 2, 5, 9, 9]);
    let every: Millis = chance.pick(&[
        (span / 3 + 1, span + 2),
        (span / 12 + 1_000, span / 4 + 2_000),
        (span / 40 + 500, span / 15 + 1_000),
    ]);
    let may_step = chance.permille(150);
    let mut faults = Vec::new();
    let mut at_ms = 0;
    loop {
        at_ms += chance.within(every);
        if kinds == 0 || at_ms >= span {
            return faults;
        }
        let daemon = chance.index(fleet.daemons);
        let what = draw_happening(chance, kinds, fleet.daemons);
        if may_step || !matches!(what, Happening::Step(_)) {
            faults.push(Fault { at_ms, daemon, what });
        }
    }
}

fn draw_happening(chance: &mut Chance, kinds: u64, daemons: usize) -> Happening {
    let down = chance.pick(&[10, 2_000, 60_000, 400_000]);
    match chance.within((0, kinds)) {
        0 => Happening::Fuse(DiskFate::Kept, chance.within((1, 60))),
        1 => Happening::Crash(DiskFate::Kept, down),
        2 => Happening::Crash(DiskFate::Lost, down),
        3 => Happening::Fuse(DiskFate::PowerCut(chance.pick(&[10, 1_000, 30_000])), 20),
        4 => Happening::Drain(down),
        5 => Happening::Pause(chance.pick(&[1_000, 40_000, 200_000, 500_000])),
        6 => Happening::Crash(DiskFate::CopyOf(chance.index(daemons)), down),
        7 => Happening::Step(chance.pick(&[0, -HOUR_MS, HOUR_MS, -20_000, 20_000])),
        8 => Happening::Fuse(DiskFate::Lost, chance.within((1, 60))),
        _ => Happening::Replace(10),
    }
}
