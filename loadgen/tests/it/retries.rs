//! Retries of the real daemon: seen, and judged by the schedule that it was given.

use crate::daemon::measure;

/// An outage of a second; the schedule is short, so that a run sees three of its steps.
const STORM: [&str; 6] = [
    "phases.warm-up=500ms",
    "phases.measure=2s",
    "phases.drain=20s",
    "interval=500ms",
    "system.settings.retry.delays=300ms,600ms,1s",
    "arrival.rate=100",
];

/// The daemon is never early, and the sink sees every retry of an outage.
#[test]
fn a_storm_of_retries_is_judged_by_its_schedule() {
    let Some(measured) = measure("retry-storm", &STORM) else { return };
    let summary = &measured.summary;
    let (retries, answers) = (&summary.retries, &summary.answers);
    assert!(retries.seen > 50, "{retries:?}");
    assert_eq!((retries.early, retries.awaited, retries.unmatched), (0, 0, 0), "{retries:?}");
    let beyond_the_first = answers.attempts.iter().filter(|(number, _)| **number > 1);
    let beyond_the_first: u64 = beyond_the_first.map(|(_, count)| count).sum();
    assert_eq!(retries.seen, beyond_the_first, "each one is judged");
    let told = &summary.latencies.retry_lateness.quantiles;
    assert_eq!(told.count, retries.seen, "all are of the measure phase");
    let over_time: u64 = summary.intervals.iter().map(|i| i.retry_lateness.count).sum();
    assert_eq!(over_time, retries.seen);
    let gate = summary.outcome.gates.iter().find(|gate| gate.metric == "retries.early");
    assert!(gate.unwrap().passed);
    assert!(measured.folder.path().join("retry-lateness.hgrm").exists());
}

/// A sink that takes some retries for early: caught, and the run fails by the gate that no
/// scenario has to name.
#[test]
fn an_early_retry_is_caught() {
    let set = [&STORM[..], &["sink.faults.early-one-in=20"]].concat();
    let Some(measured) = measure("retry-storm", &set) else { return };
    let (retries, outcome) = (&measured.summary.retries, &measured.summary.outcome);
    assert!(retries.early > 0 && retries.early < retries.seen / 4, "{retries:?}");
    assert!(retries.earliest_ns > 100_000_000, "{retries:?}");
    let gate = outcome.gates.iter().find(|gate| gate.metric == "retries.early");
    assert!(!gate.unwrap().passed, "{outcome:?}");
}

/// Attempts that the daemon gives up on end when the sink sees it, whether nothing would ever
/// have come or only too late.
#[test]
fn retries_after_hangs_are_judged_too() {
    for sink in ["{hang = 0.5}", "{delay = {uniform = {from = \"0ms\", to = \"1s\"}}}"] {
        let tenants = format!("tenants=[{{name = \"slow\", sink = {sink}}}]");
        let set = [
            "phases.warm-up=500ms",
            "phases.measure=2s",
            "phases.drain=10s",
            "arrival.rate=50",
            "system.settings.delivery.attempt-timeout=500ms",
            "system.settings.delivery.connect-timeout=500ms",
            "system.settings.retry.delays=300ms",
            "system.settings.retry.attempts-max=20",
            &tenants,
        ];
        let Some(measured) = measure("steady", &set) else { return };
        let retries = &measured.summary.retries;
        assert!(retries.seen > 10, "{sink}: {retries:?}");
        assert_eq!((retries.early, retries.unmatched), (0, 0), "{sink}: {retries:?}");
        assert_eq!(measured.summary.account.duplicated, 0, "{sink}: what is given up is not taken");
    }
}
