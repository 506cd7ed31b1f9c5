//! A daemon vanishes with its disk, or stands still for longer than its leases last.

use posthaste_fleet_sim::{Counts, Mutant, Plan};

use crate::long;

/// The longest lease beyond an attempt's due time, the longest pause between two sweeps, a sweep
/// that meets the row late, and the skew, in milliseconds.
const LEASE_AND_SWEEP_MS: u64 = 180_000 + 2 * 30_000 + 60_000;

/// For all worlds: a daemon and its disk are gone while retries wait there; others take them over
/// within a lease and a sweep, and nothing is lost.
#[test]
fn a_daemon_and_its_disk_vanish() {
    let worlds = long(20, 200);
    let (mut held, mut sum) = (0, Counts::default());
    for seed in 0..worlds {
        let run = posthaste_fleet_sim::run(&Plan::vanishing(seed));
        let counts = run.unwrap_or_else(|failure| panic!("{failure}")).counts;
        assert_eq!(counts.accepted, counts.delivered + counts.dead_lettered, "{counts}");
        sum.add(&counts);
        held += 1;
    }
    assert!(sum.claims > worlds, "{sum}");
    assert!(sum.taken_over_ms <= LEASE_AND_SWEEP_MS, "{sum}");
    // The first of these worlds, which held.
    let control = Plan { mutant: Some(Mutant::NoSweep), ..Plan::vanishing(0) };
    assert!(posthaste_fleet_sim::run(&control).is_err(), "without a sweep it is lost");
    println!(
        "proof: 5 tried {worlds} held {held} control no-sweep never settles; {} of {} events \
         taken over, at most {} s after they were due",
        sum.claims,
        sum.accepted,
        sum.taken_over_ms / 1_000
    );
}

/// For all worlds: a daemon stands still beyond its leases, others go on with what it had, and when
/// it wakes it changes nothing of that: what is final stays final, and its late writes are refused.
#[test]
fn a_fenced_owner_writes_nothing() {
    let worlds = long(10, 500);
    let (mut held, mut sum, mut refused) = (0, Counts::default(), 0);
    for seed in 0..worlds {
        let run = posthaste_fleet_sim::run(&Plan::standing_still(seed));
        let report = run.unwrap_or_else(|failure| panic!("{failure}"));
        sum.add(&report.counts);
        held += 1;
        let late = ["row fail: refused", "row deliver: refused", "row claim: refused"];
        refused += late.iter().map(|what| report.coverage.times(what)).sum::<u64>();
    }
    assert!(refused > 0, "nothing was fenced: {sum}");
    assert!(sum.duplicates <= sum.excused, "{sum}");
    let found = (0..200).find(|seed| {
        let mutant = Some(Mutant::UnfencedFails);
        posthaste_fleet_sim::run(&Plan { mutant, ..Plan::standing_still(*seed) }).is_err()
    });
    let found = found.expect("writes without a fence are not found");
    let same = posthaste_fleet_sim::run(&Plan::standing_still(found));
    assert!(same.is_ok(), "the control fails for another reason: {same:?}");
    println!(
        "proof: 10 tried {worlds} held {held} control unfenced-fails is found; {} pauses, \
         {refused} late writes refused, {} of {} requests repeated",
        sum.pauses, sum.duplicates, sum.requests
    );
}
