//! The table lets a tenth of all writes through for a minute, under load.

use posthaste_fleet_sim::Plan;

/// Full speed must be back within so many seconds.
const RECOVERS_WITHIN_S: u64 = 10;

/// Nothing is lost, nothing is delivered twice, memory stays within its limits (the judge fails
/// otherwise), and within ten seconds of its end as much is settled as comes in.
#[test]
fn a_throttled_table_costs_time_only() {
    let events_per_s = 200;
    let plan = Plan::throttled(7, events_per_s, 2);
    let report = posthaste_fleet_sim::run(&plan).unwrap_or_else(|failure| panic!("{failure}"));
    let counts = &report.counts;
    assert_eq!((counts.delivered, counts.duplicates), (plan.clients.events, 0), "{counts}");
    let end_s = plan.throttled_until_ms() / 1_000;
    let settled_in = |second: u64| report.per_second.get(&second).copied().unwrap_or(0);
    let held_back: u64 = (end_s - 30..end_s).map(settled_in).sum();
    assert!(held_back < 30 * events_per_s / 2, "it was throttled: {held_back} in 30 s");
    let back = (end_s..end_s + RECOVERS_WITHIN_S).find(|second| settled_in(*second) > events_per_s);
    assert!(back.is_some(), "full speed is back: {:?}", report.per_second);
}
