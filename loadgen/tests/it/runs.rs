//! What whole runs find out.

use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use posthaste_loadgen::record::{InvalidKind, decode, read_summary};

use crate::daemon::measure;

const SHORT: [&str; 2] = ["phases.warm-up=500ms", "phases.measure=2s"];

/// Everything adds up, and the files say what the summary says.
#[test]
fn a_steady_run_accounts_for_every_event() {
    let Some(measured) = measure("steady", &[&SHORT[..], &["interval=500ms"]].concat()) else {
        return;
    };
    let summary = &measured.summary;
    let account = &summary.account;
    assert!(account.accepted > 300 && account.adds_up(), "{account:?}");
    assert_eq!((account.delivered, account.duplicated), (account.accepted, 0));
    assert_eq!(summary.answers.published[&201], account.accepted);
    assert!(summary.system.user_ns > 0 && summary.system.memory_peak_bytes > 1_000_000);
    assert!(!measured.invalid().contains(&InvalidKind::Account), "{:?}", summary.outcome);
    assert!(!measured.invalid().contains(&InvalidKind::Little), "{:?}", summary.little);
    let read = read_summary(measured.folder.path()).unwrap();
    assert_eq!(read.account, *account);
    assert_eq!(
        read.latencies.publish.decoded().unwrap().len(),
        summary.latencies.publish.quantiles.count
    );
    let log = std::fs::read(measured.folder.path().join("intervals.hlog")).unwrap();
    let mut count = 0;
    for entry in IntervalLogIterator::new(&log) {
        if let LogEntry::Interval(line) = entry.unwrap()
            && line.tag().unwrap().as_str() == "end-to-end"
        {
            count += decode(line.encoded_histogram()).unwrap().len();
        }
    }
    assert_eq!(count, account.delivered, "each delivery is in one interval");
}

/// SIGKILL in the middle: nothing accepted is lost, and the gap is measured.
#[test]
fn a_crash_is_survived_and_its_gap_is_known() {
    let Some(measured) = measure("crash", &["phases.warm-up=500ms", "phases.measure=3s"]) else {
        return;
    };
    let (account, chaos) = (&measured.summary.account, &measured.summary.chaos);
    assert!(account.adds_up() && account.missing == 0, "{account:?}");
    assert_eq!(chaos.len(), 1);
    let step = &chaos[0];
    assert!(step.ready_ns.is_some() && step.first_delivery_ns.is_some(), "{step:?}");
    assert!(step.gap_ns.unwrap() > step.ready_ns.unwrap() / 2, "{step:?}");
    assert!(!measured.invalid().contains(&InvalidKind::Account), "{:?}", measured.summary.outcome);
}

/// What piled up behind a receiver that hangs goes when it answers, and how fast is known.
#[test]
fn a_backlog_drains_at_a_known_rate() {
    let set = ["phases.warm-up=500ms", "phases.measure=2s", "arrival.rate=1000"];
    let Some(measured) = measure("drain-backlog", &set) else { return };
    let drain = &measured.summary.drain;
    assert!(drain.backlog > 1_500, "{drain:?}");
    let (nearly, whole) = (drain.seconds_to_99.unwrap(), drain.seconds.unwrap());
    assert!(nearly > 0.0 && nearly <= whole, "{drain:?}");
    let left = (drain.backlog / 100) as f64;
    let rate = (drain.backlog as f64 - left) / nearly;
    assert!((drain.rate_to_99.unwrap() - rate).abs() < 1.0, "{drain:?}");
}

/// For each fault of a sink: the account notices, and the run is invalid because of it.
#[test]
fn a_faulty_sink_is_caught() {
    for (fault, shows) in [
        ("sink.faults.drop-one-in=100", "missing"),
        ("sink.faults.double-one-in=100", "duplicated"),
        ("sink.faults.alter-one-in=100", "faulty"),
    ] {
        let set = [&SHORT[..], &[fault, "phases.drain=1s"]].concat();
        let Some(measured) = measure("steady", &set) else { return };
        let account = &measured.summary.account;
        let count = match shows {
            "missing" => account.missing,
            "duplicated" => account.duplicated,
            _ => account.faulty,
        };
        assert!(count > 0, "{fault}: {account:?}");
        assert!(measured.invalid().contains(&InvalidKind::Account), "{fault}");
        assert_eq!(measured.summary.outcome.exit_code, 5, "{fault}");
    }
}

/// A generator that may have one event in flight cannot send 50,000 a second: INVALID, not slow.
#[test]
fn a_rate_that_cannot_be_kept_is_invalid() {
    let set = [&SHORT[..], &["arrival.rate=50000", "generator.in-flight-max=1", "phases.drain=0s"]]
        .concat();
    let Some(measured) = measure("steady", &set) else { return };
    assert!(measured.invalid().contains(&InvalidKind::Rate), "{:?}", measured.summary.outcome);
    let load = &measured.summary.load;
    assert!(load.held_back > 0 && load.sent_rate < load.asked_rate / 2.0, "{load:?}");
}

/// What is not delivered is asked for: a receiver that always fails leaves events owed and dead.
#[test]
fn the_system_is_asked_for_what_it_owes() {
    let set = [
        &SHORT[..],
        &[
            "tenants=[{name = \"down\", sink = {statuses = {500 = 1.0}}}]",
            "system.settings.retry.delays=100ms,1h",
            "system.settings.retry.attempts-max=3",
            "system.settings.isolation.breaker-failures=0",
            "phases.drain=1s",
        ],
    ]
    .concat();
    let Some(measured) = measure("steady", &set) else { return };
    let account = &measured.summary.account;
    assert!(account.adds_up(), "{account:?}");
    assert_eq!((account.delivered, account.owed), (0, account.accepted));
    let set = [&set[..], &["system.settings.retry.attempts-max=1"]].concat();
    let Some(measured) = measure("steady", &set) else { return };
    let account = &measured.summary.account;
    assert!(account.adds_up(), "{account:?}");
    assert_eq!((account.delivered, account.dead_lettered), (0, account.accepted));
}

/// TLS, with an authority that the daemon is told to trust; and no connection is ever kept.
#[test]
fn tls_and_cold_connections_work() {
    for scenario in ["tls", "cold-connections"] {
        let Some(measured) = measure(scenario, &SHORT) else { return };
        let (account, answers) = (&measured.summary.account, &measured.summary.answers);
        assert!(account.adds_up() && account.delivered == account.accepted, "{account:?}");
        let is_cold = answers.connections >= account.sent;
        assert_eq!(is_cold, scenario == "cold-connections", "{answers:?}");
    }
}
