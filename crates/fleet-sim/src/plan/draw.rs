//! Drawing a world from a seed: which kinds of faults it has, then how hard each of them is.

use posthaste_domain::{RetrySchedule, TenantId};
use posthaste_engine::{Backoff, Settings};

use super::swarm::{FaultKind as Kind, Swarm};
use super::{
    Clients, DiskFate, Fault, Fleet, Happening, Millis, Oddities, Plan, Service, Tenant, Window,
};
use crate::endpoint::Behaviour;
use posthaste_sim::Chance;

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: i64 = 3_600_000;
/// How long a service is out.
const OUT_MS: u64 = 5 * MINUTE_MS;

impl Plan {
    /// The world of a seed, with this many events.
    #[must_use]
    pub fn draw(seed: u64, events: u64) -> Self {
        let mut chance = Chance::new(seed);
        let swarm = Swarm::draw(&mut chance);
        let post_ms = chance.pick(&[1_000, 60_000, 10 * MINUTE_MS]);
        let calm_ms = post_ms + chance.pick(&[10_000, 5 * MINUTE_MS, 20 * MINUTE_MS]);
        let fleet = draw_fleet(&mut chance, swarm, calm_ms);
        let faults = draw_faults(&mut chance, swarm, (fleet.daemons, calm_ms));
        let mut on = |kind, of: &[u64], off| {
            let drawn = chance.pick(of);
            if swarm.has(kind) { drawn } else { off }
        };
        let oddities = Oddities {
            copies_permille: on(Kind::Copies, &[30, 300], 0),
            miscounted_permille: on(Kind::Miscounts, &[100, 500], 0),
            come_back_permille: on(Kind::ComesBack, &[20, 100, 500], 0),
            doubled_permille: on(Kind::Doubled, &[20, 50, 300], 0),
            look_ahead: usize::try_from(on(Kind::Reorder, &[4, 12, 100], 1)).unwrap_or(1),
        };
        let (strays, operations) =
            (on(Kind::Strays, &[4, 12], 0), on(Kind::Operations, &[10, 60], 0));
        let (changes, ours_permille) =
            (on(Kind::Changes, &[5, 40], 0), on(Kind::Ours, &[5, 50, 300], 0));
        let lag = chance.pick(&[(10, 2_000), (1_000, 60_000)]);
        let killer = chance.within((0, events.max(1) - 1));
        Self {
            seed,
            tenants: draw_tenants(&mut chance, swarm, calm_ms),
            rows: draw_service(&mut chance, &ROWS, swarm, calm_ms),
            queue: draw_service(&mut chance, &QUEUE, swarm, calm_ms),
            index_lag_ms: if swarm.has(Kind::StaleIndex) { lag } else { (0, 0) },
            oddities,
            clients: Clients {
                events,
                post_ms,
                keyed_permille: chance.pick(&[0, 500, 1000]),
                by_reference_permille: chance.pick(&[0, 200, 1000]),
                old_form_permille: chance.pick(&[0, 0, 200]),
                strays,
                operations,
                changes,
                killer: swarm.has(Kind::Poison).then_some(killer),
                spared: false,
            },
            ours_permille,
            swarm,
            fleet,
            faults,
            failpoint: None,
            calm_ms,
            check_every: chance.pick(&[1, 10]),
            mutant: None,
        }
    }
}

fn draw_tenants(chance: &mut Chance, swarm: Swarm, span: u64) -> Vec<Tenant> {
    let count = chance.pick(&[1, 3, 8]);
    let kinds = chance.pick(&[2, 14, 14]);
    let mut tenants = Vec::new();
    for number in 0..count {
        let behaviour = draw_behaviour(chance, kinds, span);
        let at = chance.within((0, span));
        let is_deleted = chance.permille(150) && swarm.has(Kind::TenantGone);
        tenants.push(Tenant {
            id: TenantId::try_new(&format!("tenant-{number}")).expect("a lawful name"),
            behaviour,
            deleted_ms: is_deleted.then_some(at),
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
        5 | 6 => Behaviour::Throttling {
            permille: chance.pick(&[100, 700]),
            retry_after_ms: chance.pick(&[
                None,
                Some(0),
                Some(1_000),
                Some(30_000),
                Some(400_000),
                Some(3_600_000),
            ]),
        },
        7 => Behaviour::Gone,
        8 => Behaviour::Dead,
        9 => Behaviour::LosesAnswers { permille: chance.pick(&[50, 500]) },
        10 => Behaviour::Picky { permille: chance.pick(&[50, 900]) },
        11 => Behaviour::Flapping { half_ms: chance.pick(&[1_000, MINUTE_MS]) },
        12 => Behaviour::Sluggish { takes_ms: 29_000 },
        _ => Behaviour::Shaky { permille: chance.pick(&[50, 500]) },
    }
}

fn draw_fleet(chance: &mut Chance, swarm: Swarm, span: u64) -> Fleet {
    let daemons = chance.pick(&[1, 2, 3, 3]);
    let in_flight_max = chance.pick(&[1, 8, 64]);
    let held_max = chance.pick(&[4, 50, 1_000]);
    let (skews_ms, drifts_ppm) = draw_clocks(chance, swarm, daemons);
    let full_disks = (0..chance.pick(&[1, 3]))
        .map(|_| {
            let from = chance.within((0, span));
            let until = (from + chance.pick(&[2_000, MINUTE_MS, OUT_MS])).min(span);
            (chance.index(daemons), (from, until))
        })
        .collect();
    let failed_commits = chance.pick(&[1, 5]);
    Fleet {
        daemons,
        shards: chance.pick(&[1, 1, 2]),
        same_name: daemons > 1 && chance.permille(100),
        engine: draw_engine(chance, in_flight_max),
        held_max,
        held_per_tenant_max: chance.pick(&[1, 10, 1_000]).min(held_max),
        held_bytes_max: chance.pick(&[200, 1 << 20]),
        intake_polls: chance.pick(&[1, 2, 4]),
        row_writers: chance.pick(&[1, 2, 8]),
        row_batch_max: chance.pick(&[1, 3, 25]),
        inbox_max: chance.pick(&[1, 8_192, 8_192]),
        disk_ms: chance.pick(&[(0, 0), (0, 2), (1, 50)]),
        skews_ms,
        drifts_ppm,
        full_disks: if swarm.has(Kind::FullDisk) { full_disks } else { Vec::new() },
        failed_commits_permille: u64::from(swarm.has(Kind::FailedCommit)) * failed_commits,
        // The first are what a courier comes with; the others make hours of calm cheap.
        sweep_pause_ms: chance.pick(&[15_000, 60_000, 60_000]),
        poll_wait_ms: chance.pick(&[3_000, 20_000]),
        // A wake-up that got lost shows where nobody looks around by himself.
        idle_turn_ms: chance.pick(&[500, 5_000, 20_000, 20_000, 20_000]),
    }
}

fn draw_clocks(chance: &mut Chance, swarm: Swarm, daemons: usize) -> (Vec<i64>, Vec<i64>) {
    // Worlds without wild clocks are judged more strictly, and have to be many.
    let is_wild = chance.permille(250);
    let skews = (0..daemons).map(|_| {
        let wild: i64 = chance.pick(&[-HOUR_MS, -60_000, 60_000, HOUR_MS]);
        chance.pick(&[0, -1_500, 1_500, if is_wild { wild } else { 1_000 }])
    });
    let skews: Vec<i64> = skews.collect();
    let drifts: Vec<i64> = (0..daemons).map(|_| chance.pick(&[-1_000, -100, 100, 1_000])).collect();
    let kept = |kind, drawn: Vec<i64>| if swarm.has(kind) { drawn } else { vec![0; daemons] };
    (kept(Kind::ClockSkew, skews), kept(Kind::ClockDrift, drifts))
}

fn draw_engine(chance: &mut Chance, in_flight_max: usize) -> Settings {
    Settings {
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

/// What a service's faults are called: calls fail, replies get lost, entries fail, throttled, out.
type ServiceKinds = [Kind; 5];

const ROWS: ServiceKinds =
    [Kind::RowsFail, Kind::RowsAmbiguous, Kind::RowsEntries, Kind::RowsThrottled, Kind::RowsOut];
const QUEUE: ServiceKinds = [
    Kind::QueueFails,
    Kind::QueueLosesReplies,
    Kind::QueueEntries,
    Kind::QueueThrottled,
    Kind::QueueOut,
];

fn draw_service(
    chance: &mut Chance,
    [fails, loses, entries, throttled, out]: &ServiceKinds,
    swarm: Swarm,
    span: u64,
) -> Service {
    let mut on = |kind: &Kind, of: &[u64]| {
        let drawn = chance.pick(of);
        if swarm.has(*kind) { drawn } else { 0 }
    };
    let (fails, lost, entries) =
        (on(fails, &[10, 100]), on(loses, &[10, 100]), on(entries, &[10, 100]));
    let (throttles, outs) = (on(throttled, &[1, 3]), on(out, &[1, 2]));
    let mut windows = Vec::new();
    for number in 0..throttles + outs {
        let from_ms = chance.within((0, span));
        let lasts = chance.pick(&[2_000, MINUTE_MS, OUT_MS, 12 * MINUTE_MS]);
        let passes = chance.pick(&[100, 500]);
        let (lasts, passes_permille) =
            if number < throttles { (lasts, passes) } else { (OUT_MS, 0) };
        windows.push(Window { from_ms, until_ms: (from_ms + lasts).min(span), passes_permille });
    }
    Service {
        latency_ms: chance.pick(&[(0, 1), (1, 20), (1, 20), (50, 1_500)]),
        fails_permille: fails,
        lost_permille: lost,
        entries_permille: entries,
        windows,
    }
}

fn draw_faults(chance: &mut Chance, swarm: Swarm, (daemons, span): (usize, u64)) -> Vec<Fault> {
    const KINDS: [Kind; 9] = [
        Kind::Crash,
        Kind::Fuse,
        Kind::Pause,
        Kind::Drain,
        Kind::Replace,
        Kind::PowerCut,
        Kind::Torn,
        Kind::LostDisk,
        Kind::CopiedDisk,
    ];
    let mut kinds: Vec<Kind> = KINDS.into_iter().filter(|kind| swarm.has(*kind)).collect();
    // A clock that was put back by an hour judges no lease for an hour: few worlds have that.
    if swarm.has(Kind::ClockSteps) && chance.permille(400) {
        kinds.push(Kind::ClockSteps);
    }
    let every: Millis = chance.pick(&[
        (span / 3 + 1, span + 2),
        (span / 12 + 1_000, span / 4 + 2_000),
        (span / 40 + 500, span / 15 + 1_000),
    ]);
    let mut faults = Vec::new();
    let mut at_ms = 0;
    loop {
        at_ms += chance.within(every);
        if kinds.is_empty() || at_ms >= span {
            return faults;
        }
        let daemon = chance.index(daemons);
        let kind = chance.pick(&kinds);
        faults.push(Fault { at_ms, daemon, what: draw_happening(chance, kind, daemons) });
    }
}

fn draw_happening(chance: &mut Chance, kind: Kind, daemons: usize) -> Happening {
    let down = chance.pick(&[10, 2_000, 60_000, 400_000]);
    let steps = chance.within((1, 60));
    let lately = chance.pick(&[10, 1_000, 30_000]);
    match kind {
        Kind::Fuse => Happening::Fuse(DiskFate::Kept, steps),
        Kind::PowerCut => Happening::Fuse(DiskFate::PowerCut(lately), steps),
        Kind::Torn => Happening::Fuse(DiskFate::Torn(lately), steps),
        Kind::LostDisk if chance.permille(500) => Happening::Fuse(DiskFate::Lost, steps),
        Kind::LostDisk => Happening::Crash(DiskFate::Lost, down),
        Kind::CopiedDisk => Happening::Crash(DiskFate::CopyOf(chance.index(daemons)), down),
        Kind::Drain => Happening::Drain(down),
        Kind::Replace => Happening::Replace(10),
        Kind::Pause => Happening::Pause(chance.pick(&[1_000, 40_000, 200_000, 500_000])),
        Kind::ClockSteps => Happening::Step(chance.pick(&[0, -HOUR_MS, HOUR_MS, -20_000, 20_000])),
        _ => Happening::Crash(DiskFate::Kept, down),
    }
}
