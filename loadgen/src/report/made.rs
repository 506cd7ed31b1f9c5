//! Runs that nobody made, for tests of what shows and compares runs: log-normal latencies whose
//! level wanders from interval to interval, as that of a machine with neighbours does.

use std::collections::BTreeMap;
use std::path::Path;

use posthaste_domain::Timestamp;

use crate::account::Totals;
use crate::chance::Chance;
use crate::record::{
    Answers, ChaosRecord, Distribution, Drain, Environment, Fairness, GateResult, GroupRecord,
    HlogWriter, Interval, LatencySet, Little, Load, Outcome, PhaseRecord, ProcessRecord,
    ProcessSample, Quantiles, RetryRecord, Run, SCHEMA, ScenarioRecord, Summary, TenantRecord,
    Verdict, record, write_summary,
};
use crate::scenario::{Bound, Unit};
use crate::units::floor;

/// What a made run is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Making {
    /// Of its chance.
    pub seed: u64,
    /// Seconds of its measure phase, each one an interval.
    pub seconds: u32,
    /// Events a second.
    pub rate: u64,
    /// What is added to every latency, in nanoseconds.
    pub added_ns: f64,
    /// What every latency is multiplied with.
    pub factor: f64,
    /// How far a whole run's level may be from another's, as a fraction.
    pub between_runs: f64,
    /// Processor time an event.
    pub cpu_ns: f64,
    /// Deliveries for each event: less than 1 where the system does not keep up.
    pub kept_up: f64,
}

impl Default for Making {
    fn default() -> Self {
        Self {
            seed: 1,
            seconds: 30,
            rate: 1000,
            added_ns: 0.0,
            factor: 1.0,
            between_runs: 0.03,
            cpu_ns: 80_000.0,
            kept_up: 1.0,
        }
    }
}

/// Seconds before the measure phase; the histograms of these count for nothing.
const WARM_UP: u32 = 2;

/// A made run, with the histograms of its intervals.
pub(crate) fn make(making: &Making) -> (Summary, Vec<LatencySet>) {
    let mut chance = Chance::new(making.seed, 9);
    let level = (making.between_runs * chance.normal()).exp();
    let (mut wander, mut sets, mut intervals) = (0.0, Vec::new(), Vec::new());
    let mut whole = LatencySet::new();
    for second in 0..WARM_UP + making.seconds {
        wander = 0.6 * wander + 0.03 * chance.normal();
        let set = events(making, &mut chance, level * f64::exp(wander));
        intervals.push(interval(making, second, &set));
        if second >= WARM_UP {
            whole.publish.add(&set.publish).unwrap();
            whole.end_to_end.add(&set.end_to_end).unwrap();
            whole.lag.add(&set.lag).unwrap();
        }
        sets.push(set);
    }
    (summary(making, &whole, intervals), sets)
}

/// Writes a made run as a run is written.
pub(crate) fn write(folder: &Path, making: &Making) {
    let (summary, sets) = make(making);
    std::fs::create_dir_all(folder).unwrap();
    let started = Timestamp::from_millis(summary.run.started_unix_ms);
    let mut log = HlogWriter::create(&folder.join("intervals.hlog"), started).unwrap();
    for (interval, set) in summary.intervals.iter().zip(&sets) {
        log.add(interval.from_s, interval.length_s, set).unwrap();
    }
    write_summary(folder, &summary).unwrap();
}

fn events(making: &Making, chance: &mut Chance, level: f64) -> LatencySet {
    let mut set = LatencySet::new();
    for _ in 0..making.rate {
        let mut latency = |median: f64, spread: f64| {
            let made = median * level * (spread * chance.normal()).exp();
            floor(made * making.factor + making.added_ns)
        };
        record(&mut set.publish, latency(3e6, 0.35));
        record(&mut set.end_to_end, latency(4e6, 0.4));
        record(&mut set.lag, floor(20_000.0 + chance.exponential(15_000.0)));
    }
    set
}

fn interval(making: &Making, second: u32, set: &LatencySet) -> Interval {
    let phase = if second < WARM_UP { "warm-up" } else { "measure" };
    let delivered = floor(making.rate as f64 * making.kept_up);
    Interval {
        from_s: f64::from(second),
        length_s: 1.0,
        phase: phase.to_owned(),
        sent: making.rate,
        accepted: making.rate,
        delivered,
        attempts: delivered,
        in_flight: 3,
        backlog: (making.rate - delivered) * u64::from(second),
        publish: Quantiles::of(&set.publish),
        end_to_end: Quantiles::of(&set.end_to_end),
        lag: Quantiles::of(&set.lag),
        retry_lateness: Quantiles::of(&set.retry_lateness),
        ..Interval::default()
    }
}

fn summary(making: &Making, whole: &LatencySet, intervals: Vec<Interval>) -> Summary {
    let seconds = f64::from(making.seconds);
    let events = making.rate * u64::from(making.seconds);
    let delivered = floor(events as f64 * making.kept_up);
    let rate = making.rate as f64;
    let phase = |name: &str, from_s, to_s, set: &LatencySet| PhaseRecord {
        name: name.to_owned(),
        from_s,
        to_s,
        publish: Quantiles::of(&set.publish),
        end_to_end: Quantiles::of(&set.end_to_end),
        lag: Quantiles::of(&set.lag),
        retry_lateness: Quantiles::of(&set.retry_lateness),
    };
    let load_end = f64::from(WARM_UP) + seconds;
    let empty = LatencySet::new();
    Summary {
        schema: SCHEMA,
        generator_version: "0.1.0".to_owned(),
        run: Run {
            id: format!("{:08x}", making.seed),
            started_at: "2026-11-25T12:00:00Z".to_owned(),
            started_unix_ms: 1_795_608_000_000,
            duration_s: load_end + 2.0,
            seed: making.seed,
        },
        scenario: scenario(making),
        environment: environment(),
        outcome: outcome(whole),
        load: Load {
            asked: events,
            sent_in_time: events,
            asked_rate: rate,
            sent_rate: rate,
            accepted_rate: rate,
            delivered_rate: rate * making.kept_up,
            in_flight_peak: 14,
            ..Load::default()
        },
        latencies: whole.latencies(),
        phases: vec![
            phase("warm-up", 0.0, f64::from(WARM_UP), &empty),
            phase("measure", f64::from(WARM_UP), load_end, whole),
            phase("drain", load_end, load_end + 1.0, &empty),
        ],
        groups: vec![group("steady", &whole.end_to_end, events), group("noisy", &whole.lag, 0)],
        fairness: fairness(),
        answers: answers(events),
        retries: RetryRecord::default(),
        account: Totals {
            sent: events,
            accepted: events,
            delivered,
            owed: events - delivered,
            ..Totals::default()
        },
        system: process(making.cpu_ns, making, 90 << 20),
        generator: process(12_000.0, making, 30 << 20),
        little: Little {
            in_flight_mean: 3.1,
            rate,
            seconds_mean: 0.0031,
            deviation: 0.0,
            unsteadiness: 0.0,
            judged: true,
        },
        aws: None,
        chaos: Vec::new(),
        drain: drain(events - delivered),
        intervals,
    }
}

fn drain(backlog: u64) -> Drain {
    Drain { backlog, delivered: 0, seconds: Some(0.4), rate: 900.0, ..Drain::default() }
}

fn outcome(whole: &LatencySet) -> Outcome {
    Outcome {
        verdict: Verdict::Ok,
        exit_code: 0,
        invalid: Vec::new(),
        remarks: Vec::new(),
        gates: vec![GateResult {
            metric: "end-to-end.p99".to_owned(),
            unit: Unit::Nanoseconds,
            bound: Bound::Max,
            limit: 250e6,
            actual: Some(whole.end_to_end.value_at_quantile(0.99) as f64),
            passed: true,
        }],
    }
}

fn scenario(making: &Making) -> ScenarioRecord {
    ScenarioRecord {
        name: "steady".to_owned(),
        description: "A steady rate, well below what the system can do.".to_owned(),
        closed_loop: false,
        toml: format!(
            "name = \"steady\"\n\n[arrival]\nprocess = \"poisson\"\nrate = {}\n\n[system]\n\
             binary = \"target/release/posthaste\"\n",
            making.rate
        ),
        overrides: vec!["phases.measure=30s".to_owned()],
        payload_bytes_mean: 512.0,
        tenants: 12,
        endpoints: 4,
    }
}

fn environment() -> Environment {
    Environment {
        cpu: "Made Processor 1".to_owned(),
        cores: 2,
        memory_bytes: 24 << 30,
        kernel: "6.1.0".to_owned(),
        os: "Debian GNU/Linux 12".to_owned(),
        virtual_machine: true,
        commit: Some("0123456789ab".to_owned()),
        build: "release".to_owned(),
        generator_nice: 0,
        load_average_before: [0.31, 0.6, 0.52],
        load_average_after: [1.2, 0.8, 0.6],
        binary: "target/release/posthaste".to_owned(),
        binary_sha256: Some("ab".repeat(32)),
        binary_version: Some("posthaste 0.1.0".to_owned()),
        arguments: ["serve", "--data-dir", "{data}"].map(str::to_owned).to_vec(),
        data_filesystem: Some("ext4".to_owned()),
    }
}

fn group(name: &str, histogram: &hdrhistogram::Histogram<u64>, events: u64) -> GroupRecord {
    GroupRecord {
        name: name.to_owned(),
        tenants: 6,
        accepted: events,
        delivered: events,
        end_to_end: Distribution::of(histogram),
    }
}

fn fairness() -> Fairness {
    let tenant = |tenant| TenantRecord {
        tenant,
        group: "steady".to_owned(),
        accepted: 2_500,
        delivered: 2_500,
        mean_ns: 4_300_000,
        max_ns: 31_000_000,
    };
    Fairness {
        jain: 0.993,
        tenants_seen: 12,
        slowest: (0..3).map(tenant).collect(),
        busiest: (4..7).map(tenant).collect(),
    }
}

fn answers(events: u64) -> Answers {
    Answers {
        published: BTreeMap::from([(201, events)]),
        delivered: BTreeMap::from([(200, events)]),
        attempts: BTreeMap::from([(1, events)]),
        connections: 14,
        sink_connections: 12,
        ..Answers::default()
    }
}

fn process(cpu_ns: f64, making: &Making, memory: u64) -> ProcessRecord {
    let events = making.rate * u64::from(making.seconds);
    let spent = |seconds: f64, share: f64| floor(share * cpu_ns * making.rate as f64 * seconds);
    let samples = (0..=WARM_UP + making.seconds).map(f64::from).map(|at_s| ProcessSample {
        at_s,
        user_ns: spent(at_s, 0.6),
        system_ns: spent(at_s, 0.4),
        resident_bytes: memory - (memory >> 3) + floor(at_s * 1e5),
    });
    ProcessRecord {
        observed: true,
        user_ns: spent(f64::from(making.seconds), 0.6),
        system_ns: spent(f64::from(making.seconds), 0.4),
        events,
        user_ns_per_event: 0.6 * cpu_ns,
        system_ns_per_event: 0.4 * cpu_ns,
        memory_peak_bytes: memory,
        scheduling_delay_ns: 18_000,
        samples: samples.collect(),
    }
}

/// A run in which much went wrong, for looks: stops, errors, faults, and a verdict of INVALID.
pub(crate) fn troubled() -> Summary {
    use crate::record::{InvalidKind, Invalidity};
    let (mut summary, _) = make(&Making { kept_up: 0.9, ..Making::default() });
    summary.outcome.verdict = Verdict::Invalid;
    summary.outcome.exit_code = Verdict::Invalid.exit_code();
    summary.outcome.invalid = vec![
        Invalidity {
            kind: InvalidKind::Account,
            reason: "the account does not add up: 3 of 30,000 accepted events are missing".into(),
        },
        Invalidity {
            kind: InvalidKind::Rate,
            reason: "96.2 % of the events were sent in time, 99 % asked".into(),
        },
    ];
    summary.outcome.remarks = vec!["load average 3.4 on 2 cores before it began".into()];
    summary.outcome.gates[0].passed = false;
    summary.account.missing = 3;
    summary.account.owed -= 3;
    summary.account.duplicated = 17;
    summary.retries = RetryRecord {
        seen: 900,
        early: 2,
        earliest_ns: 41_000_000,
        repeated: 12,
        awaited: 60,
        overdue: 20,
        overdue_max_ns: 7_000_000_000,
        ..RetryRecord::default()
    };
    for second in 5..20 {
        summary.intervals[second].retry_lateness =
            Quantiles { count: 60, p99_ns: 20_000_000, max_ns: 90_000_000, ..Quantiles::default() };
    }
    summary.chaos = vec![ChaosRecord {
        signal: "kill".to_owned(),
        at_s: 14.0,
        stopped_ns: 3_000_000,
        ready_ns: Some(412_000_000),
        first_accepted_ns: Some(430_000_000),
        first_delivery_ns: Some(520_000_000),
        gap_ns: Some(455_000_000),
    }];
    for second in [14, 15] {
        let interval = &mut summary.intervals[second];
        interval.accepted /= 3;
        interval.cut_off = 40;
        interval.delivered /= 4;
        interval.end_to_end.max_ns *= 20;
        interval.end_to_end.p99_ns *= 12;
        interval.backlog += 900;
    }
    summary.intervals[16].end_to_end = Quantiles::default();
    summary
}
