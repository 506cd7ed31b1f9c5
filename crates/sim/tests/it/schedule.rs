//! The real schedule of 1, 2, 4, 8 and 16 minutes, in virtual time.

use posthaste_domain::RetrySchedule;
use posthaste_engine::{Options, Settings};
use posthaste_sim::{Behaviour, Counts, Plan, START};

const MINUTE_MS: u64 = 60_000;
/// Reading a payload and two turns of the driver may come between due and started; and since all
/// that these endpoints do is fail, they have one attempt at a time, of 50 ms each.
const LATE_MS_MAX: u64 = 250;

/// A world with room for everything and a quick store, in which every endpoint fails.
fn plan(attempts_max: u32) -> Plan {
    let minutes = [1, 2, 4, 8, 16].map(|minutes| minutes * MINUTE_MS);
    let mut plan = Plan::draw(7, 1_000);
    plan.settings = Settings {
        schedule: RetrySchedule::try_new(&minutes, 0.1, attempts_max).expect("lawful"),
        // Nothing holds an attempt up: what an endpoint stands and when it is left alone is not
        // what this is about.
        in_flight_max: 10_000,
        in_flight_per_endpoint_max: 1_000,
        in_flight_per_tenant_max: 1_000,
        in_flight_first: 1_000,
        breaker_failures: 0,
        ..Settings::default()
    };
    plan.post_ms = 10 * MINUTE_MS;
    plan.calm_at = START.plus_millis(120 * MINUTE_MS);
    plan.store.commit_ms = (0, 2);
    plan.store.answer_ms = (0, 0);
    plan.store.read_ms = (0, 2);
    (plan.store.stalls_permille, plan.store.fails_permille) = (0, 0);
    plan.store.read_fails_permille = 0;
    (plan.process.crash_every_ms, plan.process.drain_every_ms) = (None, None);
    plan.process.lost_ack_at = None;
    plan.process.down_ms = (500, 500);
    plan.process.inbox_max = 8_192;
    (plan.operations, plan.changes, plan.back_permille) = (0, 0, 0);
    plan.jumps.clear();
    plan.local_faults.clear();
    plan.late_ms_max = Some(LATE_MS_MAX);
    let always = Behaviour::FailsFirst(attempts_max - 1);
    for place in &mut plan.places {
        (place.behaviour, place.options, place.gone_at) = (always, Options::default(), None);
    }
    plan
}

fn run(plan: &Plan) -> Counts {
    posthaste_sim::run(plan).unwrap_or_else(|failure| panic!("{failure}")).counts
}

/// For all retries: due within `[base, base × 1.1]` of the end of the attempt before (the store
/// judges each settlement), started no earlier than that and at most 250 ms later.
#[test]
fn each_retry_starts_within_its_jitter_window() {
    let counts = run(&plan(6));
    assert_eq!((counts.delivered, counts.attempts, counts.retries), (1_000, 6_000, 5_000));
    assert_eq!((counts.duplicates, counts.crashes), (0, 0));
}

/// For all restarts: the windows are the same, but for what falls due while the process is down,
/// which starts within 250 ms of the start.
#[test]
fn a_restart_in_the_middle_changes_nothing() {
    let mut plan = plan(6);
    plan.process.crash_every_ms = Some((97_000, 97_000));
    plan.process.power_cuts_permille = 0;
    let counts = run(&plan);
    assert!(counts.crashes > 20, "{counts}");
    // An attempt that a crash cuts off is made again; nothing else is.
    assert_eq!(counts.attempts, 6_000 + counts.cut_off, "{counts}");
    assert_eq!(counts.delivered + counts.poisoned, 1_000, "{counts}");
}

/// The same with drains, which cut nothing off.
#[test]
fn a_drain_in_the_middle_changes_nothing() {
    let mut plan = plan(6);
    plan.process.drain_every_ms = Some((97_000, 97_000));
    let counts = run(&plan);
    assert!(counts.drains > 20, "{counts}");
    let made = (counts.delivered, counts.attempts, counts.duplicates);
    assert_eq!(made, (1_000, 6_000, 0), "{counts}");
}

/// With the default of five attempts the fifth failure is the last.
#[test]
fn the_fifth_failure_ends_in_the_dead_letters() {
    let mut plan = plan(5);
    plan.places.iter_mut().for_each(|place| place.behaviour = Behaviour::Dead);
    let counts = run(&plan);
    assert_eq!((counts.dead_lettered, counts.attempts), (1_000, 5_000), "{counts}");
}
