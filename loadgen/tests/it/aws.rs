//! Runs on the simulated AWS: the daemon in AWS mode takes its events from there.

use posthaste_loadgen::record::{AwsRecord, InvalidKind};

use crate::daemon::{Measured, measure};

/// The record of a run in which nothing was lost, doubled or left unsaid.
fn settled(measured: &Measured) -> &AwsRecord {
    let summary = &measured.summary;
    let account = &summary.account;
    assert!(account.accepted > 0 && account.adds_up(), "{account:?}");
    assert_eq!((account.delivered, account.duplicated), (account.accepted, 0));
    let invalid = measured.invalid();
    let wrong = |kind: &InvalidKind| matches!(kind, InvalidKind::Account | InvalidKind::System);
    assert!(!invalid.iter().any(wrong), "{:?}", summary.outcome);
    let aws = summary.aws.as_ref().unwrap();
    assert_eq!(aws.rows.len(), 1, "{:?}", aws.rows);
    assert_eq!(aws.rows["DELIVERED"], account.accepted);
    aws
}

/// A first attempt that succeeds costs one status write, no read and no write of an index.
#[test]
fn a_steady_run_costs_a_write_an_event_and_no_read() {
    let set = ["phases.warm-up=500ms", "phases.measure=2s", "arrival.rate=300"];
    let Some(measured) = measure("aws-steady", &set) else { return };
    let each = &settled(&measured).per_event;
    assert!((each.write_units - 1.0).abs() < 0.02, "{each:?}");
    assert!(each.index_write_units == 0.0, "{each:?}");
    assert!(each.read_units < 0.1, "{each:?}");
    // No faster than the queue, half of whose latency passes after a message was taken.
    let fastest = measured.summary.latencies.end_to_end.quantiles.min_ns;
    assert!(fastest > 4_900_000, "{fastest} ns");
}

/// Nothing of a backlog is delivered before the load ends, and all of it after that.
#[test]
fn a_backlog_waits_for_the_end_of_the_load() {
    let Some(measured) = measure("aws-drain", &["phases.measure=500ms"]) else { return };
    let aws = settled(&measured);
    let drain = &measured.summary.drain;
    assert_eq!(drain.backlog, measured.summary.account.accepted);
    assert_eq!(drain.delivered, drain.backlog);
    assert!(drain.backlog >= 4_999 && drain.rate_to_99.is_some(), "{drain:?}");
    assert!(aws.per_event.requests < 1.0, "{:?}", aws.per_event);
}

/// Copies of a message, in flight and after its deletion, are acknowledged without an attempt.
#[test]
fn copies_are_acknowledged_without_an_attempt() {
    let set = ["phases.warm-up=200ms", "phases.measure=2s", "aws.duplicated=0.2"];
    let Some(measured) = measure("aws-duplicates", &set) else { return };
    let aws = settled(&measured);
    let accepted = measured.summary.account.accepted;
    for (fault, share) in [("duplicate", 0.2), ("resurrect", 0.05)] {
        let expected = accepted as f64 * share;
        assert!(aws.faults[fault] as f64 > expected / 2.0, "{:?}", aws.faults);
    }
    let attempts: u64 = measured.summary.answers.attempts.values().sum();
    assert_eq!(attempts, accepted);
    assert!(aws.operations["ReceiveMessage"].items > accepted, "{:?}", aws.operations);
}

/// While writes are throttled nothing is lost, and afterwards the rows say what was delivered.
#[test]
fn a_throttled_table_is_caught_up_with() {
    let set = ["phases.warm-up=500ms", "phases.measure=5s", "arrival.rate=400"];
    let Some(measured) = measure("aws-throttled", &set) else { return };
    let aws = settled(&measured);
    let throttle = &aws.throttles[0];
    assert!((throttle.from_s - 1.5).abs() < 1e-9 && (throttle.to_s - 4.5).abs() < 1e-9);
    assert!(throttle.delivered_rate > 0.0, "{throttle:?}");
    assert!(aws.operations.values().any(|count| count.entries_failed > 0), "{:?}", aws.operations);
}

/// The system's own ingest costs what the contract says: a write and a message an event.
#[test]
fn the_way_through_the_api_is_counted_too() {
    let set = ["phases.warm-up=500ms", "phases.measure=2s", "arrival.rate=200"];
    let Some(measured) = measure("aws-ingest", &set) else { return };
    let aws = settled(&measured);
    assert!((aws.cost.ingest_per_million - 1.125).abs() < 0.02, "{:?}", aws.cost);
    assert!((aws.per_event.write_units - 2.0).abs() < 0.05, "{:?}", aws.per_event);
    let report = std::fs::read_to_string(measured.folder.path().join("summary.json")).unwrap();
    assert!(report.contains("simulator_user_ns"));
}
