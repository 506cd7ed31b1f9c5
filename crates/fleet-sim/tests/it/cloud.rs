//! AWS misbehaves in every way at once, under load.

use posthaste_fleet_sim::{Mutant, Plan};

use crate::long;

/// How long load goes on after the last outage, and after which part of it speed is judged.
const AFTER_MS: u64 = 120_000;
const SPEED_AFTER_S: u64 = 60;

/// Three calls of ten throttled, one of ten done without an answer, entries that fail, and each
/// service out for five minutes: nothing is lost, a minute after the last outage at least 95 % of
/// what comes in is settled, and endpoints see at most 1.02 requests an event.
#[test]
fn aws_misbehaving_is_survived() {
    let events_per_s = long(20, 200);
    let plan = Plan::misbehaving(3, events_per_s, AFTER_MS);
    let report = posthaste_fleet_sim::run(&plan).unwrap_or_else(|failure| panic!("{failure}"));
    let counts = &report.counts;
    assert_eq!(counts.accepted, counts.delivered, "{counts}");
    let end_s = plan.queue.windows[1].until_ms / 1_000;
    let settled_in = |second: u64| report.per_second.get(&second).copied().unwrap_or(0);
    let judged = end_s + SPEED_AFTER_S..end_s + AFTER_MS / 1_000;
    let offered = events_per_s * (judged.end - judged.start);
    let settled: u64 = judged.map(settled_in).sum();
    assert!(settled * 100 >= offered * 95, "{settled} of {offered}: {:?}", report.per_second);
    assert!(counts.requests * 100 <= counts.accepted * 102, "{counts}");
    let control = |mutant| Plan { mutant, ..Plan::misbehaving(3, 20, 1_000) };
    let found = posthaste_fleet_sim::run(&control(Some(Mutant::FailedWriteIsDone)));
    assert!(found.is_err(), "a write that failed and is taken for done is not found");
    let same = posthaste_fleet_sim::run(&control(None));
    assert!(same.is_ok(), "the control fails for another reason: {same:?}");
    println!(
        "proof: 14 tried {} held {} control failed-write-is-done is found; {} requests, {settled} \
         of {offered} settled from {SPEED_AFTER_S} s after the outages on",
        counts.accepted, counts.delivered, counts.requests
    );
}
