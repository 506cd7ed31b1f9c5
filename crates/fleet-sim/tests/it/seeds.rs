//! Worlds by seed.

use posthaste_fleet_sim::{Behaviour, Counts, Coverage, Oddities, Plan};

/// How many worlds, and events in each.
const SEEDS: u64 = 128;
const EVENTS: u64 = 40;

/// Decisions that a fleet cannot come to while its promises hold: a row does not vanish within a
/// month, and is never open and in nobody's care.
const NEVER: [&str; 6] = [
    "settled dropped gone",
    "settled dropped unexplained",
    "taken dropped gone",
    "taken dropped unexplained",
    "dead dropped gone",
    "dead dropped unexplained",
];
/// Decisions that take more worlds than these.
const RARE: [&str; 6] = [
    "after_read leave",
    "taken die",
    "dead dropped not_ours",
    "permission later",
    "permit renewed lease",
    "requeue leave_message",
];

/// For all seeds: nothing that was accepted is lost, no promise is broken, no duplicate is without
/// its fault; and what can happen does.
#[test]
fn seeds_hold() {
    let (mut counts, mut coverage) = (Counts::default(), Coverage::default());
    for seed in 0..SEEDS {
        let run = posthaste_fleet_sim::run(&Plan::draw(seed, EVENTS));
        let report = run.unwrap_or_else(|failure| panic!("{failure}"));
        let one = &report.counts;
        assert_eq!(one.accepted, one.delivered + one.dead_lettered + one.purged, "{one}");
        counts.add(one);
        coverage.add(&report.coverage);
    }
    for (decision, times) in coverage.seen() {
        if NEVER.contains(&decision) {
            assert_eq!(times, 0, "{decision}: {coverage}");
        } else if !RARE.contains(&decision) {
            assert!(times > 0, "{decision} is not reached: {coverage}");
        }
    }
    let happened = [counts.duplicates, counts.lost_disks, counts.copied_disks, counts.drains];
    assert!(happened.iter().all(|times| *times > 0), "{counts}");
}

/// For all seeds: two runs do the same things at the same times.
#[test]
fn the_same_seed_gives_the_same_trace() {
    let mut hashes = Vec::new();
    for seed in [3, 14, 15, 92] {
        let one = posthaste_fleet_sim::run(&Plan::draw(seed, EVENTS)).unwrap();
        let other = posthaste_fleet_sim::run(&Plan::draw(seed, EVENTS)).unwrap();
        assert_eq!(one, other, "seed {seed}");
        hashes.push(one.trace_hash);
    }
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), 4, "different seeds give different traces");
}

/// For all worlds without faults: every event is delivered by its first attempt, once.
#[test]
fn without_faults_everything_is_delivered_once() {
    for seed in 0..8 {
        let mut plan = Plan::draw(seed, 200);
        for service in [&mut plan.rows, &mut plan.queue] {
            (service.fails_permille, service.lost_permille) = (0, 0);
            service.entries_permille = 0;
            service.windows.clear();
        }
        plan.oddities = Oddities {
            copies_permille: 0,
            miscounted_permille: 0,
            come_back_permille: 0,
            doubled_permille: 0,
        };
        (plan.clients.operations, plan.clients.killer) = (0, None);
        plan.faults.clear();
        plan.fleet.skews_ms.fill(0);
        for tenant in &mut plan.tenants {
            tenant.behaviour = Behaviour::Healthy { slowest_ms: 50 };
            tenant.deleted_ms = None;
        }
        let run = posthaste_fleet_sim::run(&plan);
        let counts = run.unwrap_or_else(|failure| panic!("{failure}")).counts;
        assert_eq!((counts.delivered, counts.requests, counts.duplicates), (200, 200, 0));
    }
}
