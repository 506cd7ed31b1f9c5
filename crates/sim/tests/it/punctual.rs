//! A retry never starts before its due time, whatever the clock does, and hardly later.

use posthaste_domain::RetrySchedule;
use posthaste_engine::Settings;

use crate::long;
use crate::stage::{Answer, Stage, delivers, refuses};

/// Retries of each delivery.
const RETRIES: u64 = 4;
const TENANTS: usize = 100;

/// Everybody fails and has room for everything.
fn settings() -> Settings {
    let seconds = [1_000, 2_000, 4_000, 8_000];
    Settings {
        schedule: RetrySchedule::try_new(&seconds, 0.1, 5).expect("lawful"),
        in_flight_max: 1_000_000,
        in_flight_per_endpoint_max: 1_000_000,
        in_flight_per_tenant_max: 1_000_000,
        in_flight_per_host_max: 1_000_000,
        in_flight_first: 1_000_000,
        held_max: 5_000_000,
        held_per_endpoint_max: 1_000_000,
        timers_held_max: 5_000_000,
        slow_percent_max: 100,
        breaker_failures: 0,
        ..Settings::default()
    }
}

/// Every event has all its attempts; the clock jumps by an hour now and then.
fn run(deliveries: u64, jumps: &[u64], back_permille: u64) -> Stage<'static> {
    let fails: fn(usize, u64) -> Answer = |_, _| refuses();
    let mut stage = Stage::new(settings(), TENANTS, fails).with_steps(jumps, back_permille);
    let per_s = deliveries / TENANTS as u64 / 10;
    (0..TENANTS).for_each(|tenant| stage.posts(tenant, per_s, 0, 10_000));
    stage.run(60_000 + jumps.len() as u64 * 3_600_000);
    assert_eq!(stage.owed_count(), 0, "all have come to their end");
    stage
}

/// For a million retries: none starts before its due time, and at a steady clock none starts more
/// than 250 ms later (100 tenants of which thousands fail in the same millisecond).
#[test]
fn no_retry_of_a_million_is_early() {
    let half = 500_000 / RETRIES;
    let steady = run(half, &[], 0).retries;
    let jumps: Vec<u64> = (1..20).map(|number| number * 900).collect();
    let stepped = run(long(half, 10 * half), &jumps, 20).retries;
    let tried = steady.started + stepped.started;
    assert!(tried >= 1_000_000, "{tried}");
    assert_eq!((steady.early, stepped.early), (0, 0));
    assert!(steady.latest_ms <= 250, "{steady:?}");
    println!(
        "proof: 12 tried {tried} held {tried} control a store with due times a second early is \
         found (early-timers); steps of an hour ahead {} times, back for one fact in 50; {} ms \
         late at most at a steady clock",
        jumps.len(),
        steady.latest_ms
    );
}

/// The control: the stage sees attempts that start early, here because a fact about the store was
/// a lie.
#[test]
fn an_early_retry_is_seen() {
    let mut stage = Stage::new(settings(), 1, |_, _| delivers(1)).with_lying_timers();
    stage.owes_soon(0, 10);
    stage.restart();
    stage.run(10_000);
    assert_eq!(stage.retries.early, 10, "{:?}", stage.retries);
}
