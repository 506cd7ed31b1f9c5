//! What happens in a world: who is there, what fails, and when. Drawn from a seed, or made by hand.
//!
//! Each seed draws a few extremes rather than an average of everything (swarm testing): most
//! faults need two rare things at a time, such as a tiny inbox and a slow store.

use posthaste_domain::{EndpointId, RetrySchedule, TenantId, Timestamp};
use posthaste_engine::{Backoff, Options, Rate, Settings};

use crate::chance::Chance;
use crate::endpoint::{ATTEMPT_MS_MAX, Behaviour};
use crate::mutant::Mutant;

/// When every world begins.
pub const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// Times in milliseconds, from and to, both included.
pub type Millis = (u64, u64);

/// An endpoint and what it does.
#[derive(Clone, Debug)]
pub struct Place {
    /// Whose.
    pub tenant: TenantId,
    /// Which.
    pub endpoint: EndpointId,
    /// What it does.
    pub behaviour: Behaviour,
    /// How much more than others it gets, at least 1.
    pub weight: u64,
    /// How it is to be attempted at first. Its host and its schedule never change.
    pub options: Options,
    /// When its tenant is deleted, if it is.
    pub gone_at: Option<Timestamp>,
}

/// How the store behaves until calm.
#[derive(Clone, Copy, Debug)]
pub struct StorePlan {
    /// How long a commit takes.
    pub commit_ms: Millis,
    /// How long the answer to a commit is on its way, after the commit can be read.
    pub answer_ms: Millis,
    /// Of a thousand commits, how many stall.
    pub stalls_permille: u64,
    /// For how long they stall.
    pub stall_ms: Millis,
    /// Of a thousand commits, how many fail.
    pub fails_permille: u64,
    /// Of a thousand commits that fail, how many have been applied all the same.
    pub ambiguous_permille: u64,
    /// How long until a read is taken, and again until its answer is there.
    pub read_ms: Millis,
    /// Of a thousand reads, how many fail.
    pub read_fails_permille: u64,
    /// Whether the driver tells the engine that an outcome was superseded.
    pub tells_superseded: bool,
}

/// What happens to the process until calm.
#[derive(Clone, Copy, Debug)]
pub struct ProcessPlan {
    /// Time between crashes; none where it never crashes.
    pub crash_every_ms: Option<Millis>,
    /// Of a thousand crashes, how many take away what was not synced.
    pub power_cuts_permille: u64,
    /// Time between drains.
    pub drain_every_ms: Option<Millis>,
    /// How long it is down.
    pub down_ms: Millis,
    /// How many deliveries the inbox takes before it forgets them.
    pub inbox_max: usize,
    /// The process is killed after the so-manieth commit, before its answer; calm or not, since
    /// every world must see that.
    pub lost_ack_at: Option<u64>,
}

/// A world.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Decides everything that is drawn while it runs.
    pub seed: u64,
    /// The engine's.
    pub settings: Settings,
    /// Who is there.
    pub places: Vec<Place>,
    /// How many events are posted.
    pub deliveries: u64,
    /// Over which time they are posted, in milliseconds.
    pub post_ms: u64,
    /// Of a thousand posts, how many come in a burst with the one before.
    pub burst_permille: u64,
    /// From here on nothing fails but endpoints that fail for ever.
    pub calm_at: Timestamp,
    /// The store.
    pub store: StorePlan,
    /// The process.
    pub process: ProcessPlan,
    /// Times in which attempts fail by our own fault.
    pub local_faults: Vec<(Timestamp, Timestamp)>,
    /// How many requeues, retries and purges are asked for until calm.
    pub operations: u64,
    /// How often somebody changes, pauses, resumes or lifts an endpoint until calm.
    pub changes: u64,
    /// When the clock jumps forward by an hour.
    pub jumps: Vec<Timestamp>,
    /// Of a thousand facts, how many the engine hears of with a clock that went back.
    pub back_permille: u64,
    /// Each retry must start within so many milliseconds of its due time, unless its endpoint
    /// wants to be left alone or the process is down; unchecked where memory, caps and faults may
    /// hold it up.
    pub late_ms_max: Option<u64>,
    /// Everything is checked after each so many turns.
    pub check_every: u64,
    /// A deliberate fault.
    pub mutant: Option<Mutant>,
}

impl Plan {
    /// The world of a seed, with this many deliveries.
    #[must_use]
    pub fn draw(seed: u64, deliveries: u64) -> Self {
        let mut chance = Chance::new(seed);
        let post_ms = chance.pick(&[1_000, 60_000, 600_000, 3_600_000]);
        let calm_at = START.plus_millis(post_ms + chance.pick(&[0, 10_000, 600_000, 3_600_000]));
        let span = calm_at.millis_since(START);
        Self {
            seed,
            settings: draw_settings(&mut chance),
            places: draw_places(&mut chance, span),
            deliveries,
            post_ms,
            burst_permille: chance.pick(&[0, 500, 950]),
            calm_at,
            store: draw_store(&mut chance),
            process: draw_process(&mut chance, span),
            local_faults: draw_local_faults(&mut chance, span),
            operations: chance.pick(&[0, 10, 100, 1_000]),
            changes: chance.pick(&[0, 10, 100]),
            jumps: draw_jumps(&mut chance, span),
            back_permille: chance.pick(&[0, 20]),
            late_ms_max: None,
            // To look at everything is most of what a long world costs.
            check_every: chance.pick(&[1, 20, 20]),
            mutant: None,
        }
    }
}

fn draw_settings(chance: &mut Chance) -> Settings {
    let in_flight_max = chance.pick(&[1, 2, 8, 64, 1_024]);
    let held_max = chance.pick(&[4, 16, 100, 1_000, 50_000]);
    let timers_read_max = chance.pick(&[1, 3, 50, 4_096]);
    Settings {
        schedule: draw_schedule(chance),
        in_flight_max,
        in_flight_per_endpoint_max: chance.pick(&[1, 2, 8, 64]).min(in_flight_max),
        settling_max: chance.pick(&[1, 8, 4_096]),
        held_max,
        held_per_endpoint_max: chance.pick(&[4, 8, 64, 8_192]).min(held_max),
        payload_bytes_max: chance.pick(&[0, 1_000, 1 << 20]),
        timers_window_ms: chance.pick(&[5_000, 60_000, 300_000]),
        timers_held_max: chance.pick(&[2, 10, 100, 200_000]).max(2 * timers_read_max),
        timers_read_max,
        backlog_read_max: chance.pick(&[1, 3, 50, 512]),
        backlog_reads_max: chance.pick(&[1, 2, 32]),
        not_charged_backoff: Backoff { first_ms: 250, most_ms: chance.pick(&[250, 30_000]) },
        store_backoff: Backoff { first_ms: chance.pick(&[1, 50]), most_ms: 5_000 },
        in_flight_first: chance.pick(&[1, 4, 16]),
        in_flight_per_host_max: chance.pick(&[1, 4, 256]),
        in_flight_per_tenant_max: chance.pick(&[1, 8, 256]),
        slow_percent_max: chance.pick(&[50, 75]),
        slow_ms: 1_000,
        breaker_failures: chance.pick(&[0, 3, 3, 20]),
        breaker_hold: Backoff { first_ms: 1_000, most_ms: chance.pick(&[1_000, 60_000]) },
        breaker_give_up_ms: chance.pick(&[60_000, 600_000, 600_000, 3 * 3_600_000]),
        ramp_first_per_s: chance.pick(&[1, 50]),
        options_refresh_ms: chance.pick(&[1_000, 10_000]),
        options_reads_max: chance.pick(&[1, 256]),
        overdue_spread_ms: chance.pick(&[1, 60_000]),
    }
}

fn draw_schedule(chance: &mut Chance) -> RetrySchedule {
    let delays: &[u64] = chance.pick(&[
        &[60_000, 120_000, 240_000, 480_000, 960_000],
        &[1_000, 5_000, 25_000],
        &[50],
        &[10_000, 10_000],
    ]);
    let attempts_max = chance.pick(&[1, 3, 5, 5, 7]);
    RetrySchedule::try_new(delays, chance.pick(&[0.0, 0.1, 1.0]), attempts_max)
        .expect("the delays above are within the limits")
}

fn draw_places(chance: &mut Chance, span: u64) -> Vec<Place> {
    let tenants = chance.pick(&[1, 3, 12, 40]);
    let kinds = chance.pick(&[1, 3, 11]);
    let mut places = Vec::new();
    for tenant in 0..tenants {
        let name = TenantId::try_new(&format!("tenant-{tenant}")).expect("a lawful name");
        for endpoint in 0..chance.pick(&[1, 1, 1, 2, 3]) {
            places.push(Place {
                tenant: name.clone(),
                endpoint: EndpointId::from_u16(endpoint),
                behaviour: draw_behaviour(chance, kinds, span),
                weight: chance.pick(&[1, 1, 1, 20]),
                options: draw_options(chance),
                gone_at: None,
            });
        }
    }
    if chance.permille(200) {
        // So many that are slow that they would take all places.
        let takes_ms = chance.pick(&[3_000, ATTEMPT_MS_MAX - 1_000]);
        for place in places.iter_mut().step_by(2) {
            place.behaviour = Behaviour::Sluggish { takes_ms };
        }
    }
    draw_troubled(chance, &mut places);
    if tenants > 3 && chance.permille(300) {
        let gone_at = Some(START.plus_millis(chance.within((0, span))));
        let tenant = places[places.len() - 1].tenant.clone();
        let of_tenant = places.iter_mut().filter(|place| place.tenant == tenant);
        of_tenant.for_each(|place| place.gone_at = gone_at);
    }
    places
}

fn draw_options(chance: &mut Chance) -> Options {
    let rate = |chance: &mut Chance| {
        let rates = [Rate::per_second(1), Rate::per_second(20), Rate::per_second(3_000)];
        chance.permille(150).then(|| chance.pick(&rates))
    };
    let schedule = chance.permille(100).then(|| draw_schedule(chance));
    Options {
        host: chance.pick(&[0, 0, 1, 2]),
        weight: chance.pick(&[1, 1, 2, 100]),
        in_flight_max: chance.permille(150).then(|| chance.pick(&[0, 1, 3, 1_000])),
        rate: rate(chance),
        tenant_rate: rate(chance),
        schedule,
        paused: chance.permille(50),
        lifted_at: Timestamp::ZERO,
    }
}

fn draw_jumps(chance: &mut Chance, span: u64) -> Vec<Timestamp> {
    let count = chance.pick(&[0, 0, 0, 2]);
    (0..count).map(|_| START.plus_millis(chance.within((0, span)))).collect()
}

/// In every world one endpoint fails, one is slow and one recovers, each with a fair share of the
/// events; what else there is may be anything.
fn draw_troubled(chance: &mut Chance, places: &mut Vec<Place>) {
    let troubled = [
        match chance.within((0, 3)) {
            0 => Behaviour::FailsFirst(u32::try_from(chance.within((1, 6))).expect("at most 6")),
            1 => Behaviour::Gone,
            2 => Behaviour::Dead,
            _ => Behaviour::Shaky { permille: 500 },
        },
        match chance.within((0, 2)) {
            0 => Behaviour::Sluggish { takes_ms: ATTEMPT_MS_MAX - 1_000 },
            1 => Behaviour::Healthy { slowest_ms: 5_000 },
            _ => Behaviour::Healthy { slowest_ms: ATTEMPT_MS_MAX },
        },
        Behaviour::RecoversAfter(chance.within((1, 3))),
    ];
    while places.len() < troubled.len() {
        let (tenant, last) = (places[0].tenant.clone(), places.len());
        let endpoint = EndpointId::from_u16(100 + u16::try_from(last).expect("below three"));
        let (behaviour, options) = (troubled[last], draw_options(chance));
        places.push(Place { tenant, endpoint, behaviour, weight: 20, options, gone_at: None });
    }
    let weights: &[u64] = if places.len() <= 12 { &[5, 20] } else { &[20] };
    for (place, behaviour) in places.iter_mut().zip(troubled) {
        place.behaviour = behaviour;
        place.weight = chance.pick(weights);
    }
}

fn draw_behaviour(chance: &mut Chance, kinds: u64, span: u64) -> Behaviour {
    let later = |chance: &mut Chance| START.plus_millis(chance.within((0, span)));
    match chance.within((0, kinds)) {
        0 => Behaviour::Healthy { slowest_ms: chance.pick(&[50, 50, 5_000]) },
        1 => Behaviour::FailsFirst(u32::try_from(chance.within((1, 6))).expect("at most 6")),
        2 => Behaviour::DownUntil(later(chance)),
        3 => Behaviour::SilentUntil(later(chance)),
        4 => Behaviour::Throttling {
            permille: chance.pick(&[100, 900]),
            retry_after_ms: chance.pick(&[
                None,
                Some(0),
                Some(1_000),
                Some(30_000),
                Some(3_600_000),
            ]),
        },
        5 => Behaviour::Flapping { half_ms: chance.pick(&[1_000, 60_000, 900_000]) },
        6 => Behaviour::Gone,
        7 => Behaviour::Dead,
        8 => Behaviour::Picky { permille: chance.pick(&[50, 900]) },
        9 => Behaviour::Sluggish { takes_ms: ATTEMPT_MS_MAX - 1_000 },
        _ => Behaviour::Shaky { permille: chance.pick(&[50, 500]) },
    }
}

fn draw_store(chance: &mut Chance) -> StorePlan {
    let trouble = chance.pick(&[0, 0, 20, 200]);
    StorePlan {
        commit_ms: chance.pick(&[(0, 1), (1, 10), (1, 100)]),
        answer_ms: chance.pick(&[(0, 0), (0, 5), (0, 100)]),
        stalls_permille: chance.pick(&[0, 5]),
        stall_ms: (100, 5_000),
        fails_permille: trouble,
        ambiguous_permille: chance.pick(&[0, 300]),
        read_ms: chance.pick(&[(0, 1), (0, 20), (0, 500), (0, 5_000)]),
        read_fails_permille: chance.pick(&[0, trouble]),
        tells_superseded: chance.permille(500),
    }
}

fn draw_process(chance: &mut Chance, span: u64) -> ProcessPlan {
    let every = |chance: &mut Chance| match chance.within((0, 4)) {
        0 | 1 => None,
        2 => Some((span / 10 + 1, span / 2 + 2)),
        3 => Some((span / 100 + 500, span / 20 + 1_000)),
        // Again and again while the same attempts are in flight.
        _ => Some((span / 500 + 20, span / 100 + 500)),
    };
    ProcessPlan {
        crash_every_ms: every(chance),
        power_cuts_permille: chance.pick(&[0, 500]),
        drain_every_ms: every(chance),
        down_ms: chance.pick(&[(10, 500), (1_000, 120_000)]),
        inbox_max: chance.pick(&[1, 8, 8_192]),
        lost_ack_at: Some(chance.within((1, 20))),
    }
}

fn draw_local_faults(chance: &mut Chance, span: u64) -> Vec<(Timestamp, Timestamp)> {
    let count = chance.pick(&[0, 0, 1, 4]);
    (0..count)
        .map(|_| {
            let from = START.plus_millis(chance.within((0, span)));
            (from, from.plus_millis(chance.pick(&[100, 5_000, 120_000])))
        })
        .collect()
}
