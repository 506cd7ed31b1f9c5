//! Verdicts of runs that went wrong in one way each.

use std::path::PathBuf;

use super::*;
use crate::account::Totals;
use crate::record::{
    Answers, Drain, Environment, Fairness, LatencySet, Little, Load, Outcome, ProcessRecord,
    RetryRecord, Run, SCHEMA, ScenarioRecord, record,
};

fn scenario(more: &str) -> Scenario {
    let text = format!("[arrival]\nprocess = \"poisson\"\nrate = 100\n{more}");
    Scenario::parse(&text, PathBuf::new(), &[]).unwrap()
}

/// A run in which all is well: 1,000 events, 10 ms each.
fn good() -> Summary {
    let mut set = LatencySet::new();
    for _ in 0..1000 {
        record(&mut set.publish, 10_000_000);
        record(&mut set.end_to_end, 12_000_000);
        record(&mut set.lag, 100_000);
    }
    Summary {
        schema: SCHEMA,
        generator_version: String::new(),
        run: Run {
            id: String::new(),
            started_at: String::new(),
            started_unix_ms: 0,
            duration_s: 10.0,
            seed: 1,
        },
        scenario: ScenarioRecord {
            name: String::new(),
            description: String::new(),
            closed_loop: false,
            toml: String::new(),
            overrides: Vec::new(),
            payload_bytes_mean: 512.0,
            tenants: 1,
            endpoints: 1,
        },
        environment: Environment { build: "release".into(), ..Environment::default() },
        outcome: Outcome {
            verdict: Verdict::Interrupted,
            exit_code: 0,
            invalid: Vec::new(),
            remarks: Vec::new(),
            gates: Vec::new(),
        },
        load: Load { asked: 1000, sent_in_time: 1000, asked_rate: 100.0, ..Load::default() },
        latencies: set.latencies(),
        phases: Vec::new(),
        groups: Vec::new(),
        fairness: Fairness::default(),
        answers: Answers::default(),
        retries: RetryRecord::default(),
        account: Totals { sent: 1000, accepted: 1000, delivered: 1000, ..Totals::default() },
        system: ProcessRecord::default(),
        generator: ProcessRecord::default(),
        little: Little { judged: true, ..Little::default() },
        aws: None,
        chaos: Vec::new(),
        drain: Drain::default(),
        intervals: Vec::new(),
    }
}

fn judged(scenario: &Scenario, change: impl Fn(&mut Summary)) -> Summary {
    let mut summary = good();
    change(&mut summary);
    judge(&mut summary, scenario, Vec::new(), false);
    summary
}

fn kinds(summary: &Summary) -> Vec<InvalidKind> {
    summary.outcome.invalid.iter().map(|invalid| invalid.kind).collect()
}

#[test]
fn a_good_run_is_ok() {
    let summary = judged(&scenario(""), |_| {});
    assert_eq!((summary.outcome.verdict, summary.outcome.exit_code), (Verdict::Ok, 0));
    assert_eq!(kinds(&summary), []);
}

/// Each thing that can spoil a measurement makes it invalid, and is named.
#[test]
fn each_fault_makes_a_run_invalid() {
    type Change = fn(&mut Summary);
    let cases: [(Change, InvalidKind); 9] = [
        (|s| s.load.sent_in_time = 980, InvalidKind::Rate),
        (|s| s.latencies.lag.quantiles.p99_ns = 6_000_000, InvalidKind::Starved),
        (|s| s.generator.scheduling_delay_ns = 6_000_000, InvalidKind::Starved),
        (|s| s.account = Totals { missing: 1, delivered: 999, ..s.account }, InvalidKind::Account),
        (|s| s.account.duplicated = 1, InvalidKind::Account),
        (|s| s.account.faulty = 1, InvalidKind::Account),
        (|s| s.account.foreign = 1, InvalidKind::Account),
        (|s| s.account.delivered = 999, InvalidKind::Account),
        (|s| s.little.deviation = 0.11, InvalidKind::Little),
    ];
    for (index, (change, kind)) in cases.into_iter().enumerate() {
        let summary = judged(&scenario(""), change);
        assert_eq!(kinds(&summary), [kind], "case {index}");
        assert_eq!(summary.outcome.exit_code, 5, "case {index}");
    }
    let empty = judged(&scenario(""), |s| s.latencies = LatencySet::new().latencies());
    assert_eq!(kinds(&empty), [InvalidKind::Empty]);
}

#[test]
fn what_a_scenario_allows_is_allowed() {
    let allowed = scenario("[validity]\nduplicates-max = 3\nlag-p99-max = \"10ms\"\n");
    let summary = judged(&allowed, |s| {
        s.account.duplicated = 3;
        s.latencies.lag.quantiles.p99_ns = 9_000_000;
    });
    assert_eq!(summary.outcome.verdict, Verdict::Ok);
    let summary = judged(&allowed, |s| s.account.duplicated = 4);
    assert_eq!(summary.outcome.verdict, Verdict::Invalid);
}

/// Lag that the system causes by keeping everything in flight is the system's; only if the rate
/// suffers is the run invalid.
#[test]
fn being_held_back_is_told_from_being_slow() {
    let summary = judged(&scenario(""), |s| {
        s.load.held_back = 5;
        s.latencies.lag.quantiles.p99_ns = 900_000_000;
    });
    assert_eq!(summary.outcome.verdict, Verdict::Ok);
    let summary = judged(&scenario(""), |s| {
        s.load.held_back = 5;
        s.load.sent_in_time = 500;
    });
    assert!(summary.outcome.invalid[0].reason.contains("in-flight-max"));
}

#[test]
fn gates_hold_fail_and_need_a_figure() {
    let gated = scenario(
        "[gates]\n\"publish.p99\" = { max = \"20ms\" }\n\"end-to-end.p50\" = { max = \"5ms\" }\n\
         \"chaos.ready\" = { max = \"1s\" }\n\"account.missing\" = { max = 0 }\n",
    );
    let summary = judged(&gated, |_| {});
    let passed = |name: &str| {
        let gate = summary.outcome.gates.iter().find(|gate| gate.metric == name).unwrap();
        gate.passed
    };
    assert!(passed("publish.p99") && passed("account.missing"));
    assert!(!passed("end-to-end.p50"), "12 ms are more than 5 ms");
    assert!(!passed("chaos.ready"), "what was not measured does not hold");
    assert_eq!(summary.outcome.exit_code, 4);
    let summary = judged(&gated, |s| s.account.foreign = 1);
    assert_eq!(summary.outcome.exit_code, 5, "what is no measurement has failed no gate");
}

#[test]
fn an_interrupted_run_is_never_more_than_that() {
    let mut summary = good();
    summary.account.missing = 7;
    judge(&mut summary, &scenario(""), Vec::new(), true);
    assert_eq!((summary.outcome.verdict, summary.outcome.exit_code), (Verdict::Interrupted, 130));
}

#[test]
fn figures_are_found_by_name() {
    let summary = good();
    assert!(figure(&summary, "publish.p99.9").unwrap() > 9e6);
    assert!(figure(&summary, "lag.mean").unwrap() > 9e4);
    assert_eq!(figure(&summary, "group.nobody.p50"), None);
    assert_eq!(figure(&summary, "nonsense"), None);
}

/// No scenario has to ask for it: a retry before its time fails the run, unless it may.
#[test]
fn an_early_retry_fails_the_run() {
    let early = |summary: &mut Summary| {
        summary.retries = RetryRecord { seen: 500, early: 1, ..RetryRecord::default() };
    };
    let summary = judged(&scenario(""), early);
    assert_eq!((summary.outcome.verdict, summary.outcome.exit_code), (Verdict::GateFailed, 4));
    assert_eq!(summary.outcome.gates[0].metric, RETRIES_EARLY);
    let punctual = judged(&scenario(""), |s| s.retries.seen = 500);
    assert_eq!((punctual.outcome.verdict, punctual.outcome.gates.len()), (Verdict::Ok, 1));
    let allowed = judged(&scenario("[gates]\n\"retries.early\" = { max = 1 }\n"), early);
    assert_eq!((allowed.outcome.verdict, allowed.outcome.gates.len()), (Verdict::Ok, 1));
    assert_eq!(judged(&scenario(""), |_| {}).outcome.gates, [], "nothing to hold");
}

#[test]
fn retry_lateness_can_be_a_gate_and_what_never_came_is_remarked() {
    let gate = scenario("[gates]\n\"retry-lateness.p99\" = { max = \"1s\" }\n");
    let late = |nanos| {
        judged(&gate, |summary| {
            let mut set = LatencySet::new();
            record(&mut set.retry_lateness, nanos);
            summary.latencies.retry_lateness = set.latencies().retry_lateness;
            summary.retries = RetryRecord { seen: 1, overdue: 3, ..RetryRecord::default() };
        })
    };
    assert_eq!(late(900_000_000).outcome.verdict, Verdict::Ok);
    assert_eq!(late(1_100_000_000).outcome.verdict, Verdict::GateFailed);
    assert!(late(0).outcome.remarks.iter().any(|remark| remark.starts_with("3 retries")));
}
