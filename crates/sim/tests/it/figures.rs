//! What isolation is worth, in figures (issue 6): each a run beside a run without the trouble.

use posthaste_engine::{Options, Settings};

use crate::stage::{Answer, Stage, delivers, hangs, refuses};

/// Few places, so that whoever takes them is noticed: one endpoint may have half of them.
fn tight() -> Settings {
    Settings { in_flight_max: 128, ..Settings::default() }
}

/// A hundred tenants for twenty seconds, one of which may do something else than the others.
fn neighbours(settings: Settings, noisy_per_s: u64, noisy: Answer) -> Stage<'static> {
    let answers = move |tenant, _| if tenant == 0 { noisy } else { delivers(20) };
    let mut stage = Stage::new(settings, 100, answers);
    stage.posts(0, noisy_per_s, 0, 20_000);
    (1..100).for_each(|tenant| stage.posts(tenant, 10, 0, 20_000));
    stage.run(25_000);
    stage
}

/// One of a hundred hangs for 30 s at each request, or answers after 29 s for ever, and offers
/// half of the load: the others' p99 is 1.2 times what it was at most.
#[test]
fn a_tenant_that_hangs_costs_the_others_nothing() {
    let quiet = neighbours(tight(), 0, delivers(20));
    let before = quiet.p99(1..100, (0, 20_000));
    for noisy in [hangs(), delivers(29_000)] {
        let loud = neighbours(tight(), 990, noisy);
        let after = loud.p99(1..100, (0, 20_000));
        println!("one hangs or takes 29 s: others' p99 {after} ms, {before} ms without it");
        assert_eq!(loud.delivered(1..100), quiet.delivered(1..100));
        assert!(after * 10 <= before * 12, "{after} ms, and {before} ms without it");
    }
}

/// The control: where the noisy one may have as many places as there are, they pay for it.
#[test]
fn without_caps_a_tenant_that_hangs_costs_the_others_everything() {
    let caps = Settings {
        in_flight_max: 16,
        in_flight_first: 64,
        slow_percent_max: 100,
        slow_ms: 3_600_000,
        ..Settings::default()
    };
    let answers = |tenant, _| if tenant < 50 { hangs() } else { delivers(20) };
    let mut stage = Stage::new(caps, 100, answers);
    (0..50).for_each(|tenant| stage.posts(tenant, 10, 0, 20_000));
    (50..100).for_each(|tenant| stage.posts(tenant, 10, 1_000, 20_000));
    stage.run(20_000);
    assert!(stage.delivered(50..100) < 1_000, "{}", stage.delivered(50..100));
}

/// One of a hundred floods with ten times what all others offer together, more than there are
/// places for: the others get at least 95 % of what they asked for.
#[test]
fn a_flood_leaves_the_others_what_they_ask_for() {
    let settings = Settings { in_flight_max: 32, ..Settings::default() };
    let loud = neighbours(settings, 9_900, delivers(20));
    let asked = 99 * 10 * 20;
    let got = loud.delivered(1..100);
    println!("flood: the others got {got} of {asked}");
    assert!(got * 100 >= asked * 95, "{got} of {asked}");
    let p99 = loud.p99(1..100, (0, 20_000));
    assert!(p99 <= 120, "{p99} ms");
}

/// A hundred of a thousand are dead: the healthy cost no more attempts, and all together no more
/// than a tenth more steps of the engine than if nobody were dead.
#[test]
fn dead_endpoints_cost_next_to_nothing() {
    let run = |dead: usize| {
        let answers = move |tenant, _| if tenant < dead { refuses() } else { delivers(10) };
        let mut stage = Stage::new(Settings::default(), 1_000, answers);
        (0..1_000).for_each(|tenant| stage.posts(tenant, 1, 0, 120_000));
        stage.run(125_000);
        let attempts = stage.sums[100..].iter().map(|sum| sum.attempts).sum::<u64>();
        let wasted = stage.sums[..100].iter().map(|sum| sum.attempts).sum::<u64>();
        (attempts, wasted, stage.steps)
    };
    let (healthy, _, steps) = run(0);
    let (beside, wasted, steps_beside) = run(100);
    println!(
        "100 dead of 1,000: {wasted} attempts to the dead, {beside} to the healthy; \
         {steps_beside} steps, {steps} without them"
    );
    assert_eq!(beside, healthy);
    assert!(steps_beside * 10 <= steps * 11, "{steps_beside} steps, and {steps} without them");
    assert!(wasted <= 100 * 30, "{wasted} attempts to who is dead");
}

/// An outage of ten minutes ends with a hundred thousand waiting: in its first second the endpoint
/// gets what its ramp says, twice as much in each that follows, and nobody else's p99 moves by
/// more than a fifth.
#[test]
fn a_recovered_endpoint_gets_its_ramp() {
    const OUTAGE_MS: u64 = 600_000;
    let answers = |tenant, ms| match tenant {
        0 if ms < OUTAGE_MS => refuses(),
        _ => delivers(10),
    };
    let mut stage = Stage::new(Settings::default(), 50, answers);
    stage.posts(0, 167, 0, OUTAGE_MS);
    (1..50).for_each(|tenant| stage.posts(tenant, 20, OUTAGE_MS - 60_000, OUTAGE_MS + 120_000));
    stage.run(OUTAGE_MS);
    let (attempts, held) = (stage.sums[0].attempts, stage.engine.stats().held);
    assert!(attempts < 60, "{attempts} attempts to who is down");
    assert!(held < 1_000, "{held} are held for who is down");
    stage.run(OUTAGE_MS + 125_000);
    let started = &stage.sums[0].started;
    let first = *started.iter().find(|at| **at >= OUTAGE_MS).expect("a probe");
    // The ramp begins when the probe has been answered.
    let ramp = first + 10;
    let seconds: Vec<usize> = (0..8)
        .map(|second| {
            let (from, to) = (ramp + second * 1_000, ramp + (second + 1) * 1_000);
            started.iter().filter(|at| (from..to).contains(*at)).count()
        })
        .collect();
    for (count, most) in seconds.iter().zip([50, 100, 200, 400, 800, 1_600, 3_200, 6_400]) {
        assert!(*count <= most + most / 50 + 2, "{seconds:?}");
    }
    println!("attempts in each second of the ramp: {seconds:?}");
    assert!(seconds[4] >= 700, "{seconds:?}");
    assert_eq!(stage.sums[0].delivered.len(), 100_200, "all of it is delivered");
    let before = stage.p99(1..50, (OUTAGE_MS - 60_000, OUTAGE_MS));
    let after = stage.p99(1..50, (first, first + 60_000));
    println!("others' p99 {after} ms, {before} ms before");
    assert!(after * 10 <= before * 12, "{after} ms, and {before} ms before");
}

/// However far one endpoint is behind, the engine holds no more of it than it may.
#[test]
fn an_endpoint_far_behind_is_held_within_bounds() {
    for answer in [delivers(10), hangs()] {
        let settings = Settings { in_flight_max: 64, ..Settings::default() };
        let most = settings.held_per_endpoint_max as u64;
        let mut stage = Stage::new(settings, 2, move |_, _| answer);
        stage.posts(0, 20_000, 0, 10_000);
        stage.run(15_000);
        println!("200,000 behind: {} held at most", stage.held_most);
        assert!(stage.held_most <= most, "{} held", stage.held_most);
    }
}

/// Ten tenants behind one host, one of which has a low rate and as much to send as all others: the
/// others share the host as if it were not there.
#[test]
fn a_limit_of_one_tenant_is_no_limit_of_its_host() {
    let settings = Settings { in_flight_per_host_max: 8, ..Settings::default() };
    let run = |noisy_per_s: u64| {
        let mut stage = Stage::new(settings.clone(), 10, |_, _| delivers(10)).with_options(|it| {
            let rate = (it == 0).then(|| posthaste_engine::Rate::per_second(5));
            Options { host: 1, rate, ..Options::default() }
        });
        stage.posts(0, noisy_per_s, 0, 10_000);
        (1..10).for_each(|tenant| stage.posts(tenant, 50, 0, 10_000));
        stage.run(12_000);
        assert_eq!(stage.delivered(1..10), 4_500);
        stage.p99(1..10, (0, 10_000))
    };
    let (before, after) = (run(0), run(450));
    println!("one tenant's rate on a shared host: others' p99 {after} ms, {before} ms before");
    assert!(after * 10 <= before * 12, "{after} ms, and {before} ms without it");
}
