//! The figures of a run in words: what both the page and the Markdown say.

use crate::record::{GateResult, Summary, Verdict};
use crate::scenario::Bound;
use crate::units::{floor, ratio, show_count, show_duration, show_size};

/// What a run came to, for the top of a report.
#[derive(Clone, Debug)]
pub(super) struct Headline {
    /// One of `ok`, `failed`, `invalid`, `partial`.
    pub tone: &'static str,
    /// In a word or two.
    pub word: &'static str,
    /// In a sentence.
    pub sentence: String,
    /// Why, each in a sentence.
    pub reasons: Vec<String>,
}

/// A figure with its name.
#[derive(Clone, Debug)]
pub(super) struct Figure {
    /// What it is.
    pub name: &'static str,
    /// The figure with its unit.
    pub value: String,
    /// What a reader needs to judge it.
    pub note: String,
    /// Whether it is as bad as it looks.
    pub bad: bool,
}

/// What stands at the top.
pub(super) fn headline(summary: &Summary) -> Headline {
    let outcome = &summary.outcome;
    let (failed, gates) = (failed_gates(summary).count(), outcome.gates.len());
    match outcome.verdict {
        Verdict::Ok if gates == 0 => Headline {
            tone: "ok",
            word: "VALID",
            sentence: "A measurement. The scenario sets no gates.".to_owned(),
            reasons: Vec::new(),
        },
        Verdict::Ok => Headline {
            tone: "ok",
            word: "PASSED",
            sentence: match gates {
                1 => "A measurement, and its gate holds.".to_owned(),
                _ => format!("A measurement, and all {gates} gates hold."),
            },
            reasons: Vec::new(),
        },
        Verdict::GateFailed => Headline {
            tone: "failed",
            word: "GATE FAILED",
            sentence: format!("A measurement, but {failed} of {gates} gates do not hold."),
            reasons: failed_gates(summary).map(broken_gate).collect(),
        },
        Verdict::Invalid => Headline {
            tone: "invalid",
            word: "INVALID",
            sentence: "This run is not a measurement. Do not quote its figures.".to_owned(),
            reasons: outcome.invalid.iter().map(|invalid| invalid.reason.clone()).collect(),
        },
        Verdict::Interrupted => Headline {
            tone: "partial",
            word: "INTERRUPTED",
            sentence: "Stopped before its end; these are the figures until then.".to_owned(),
            reasons: outcome.invalid.iter().map(|invalid| invalid.reason.clone()).collect(),
        },
    }
}

fn failed_gates(summary: &Summary) -> impl Iterator<Item = &GateResult> {
    summary.outcome.gates.iter().filter(|gate| !gate.passed)
}

fn broken_gate(gate: &GateResult) -> String {
    format!("{} is {}, {} asked", gate.metric, gate_actual(gate), gate_limit(gate))
}

/// What a gate measured.
pub(super) fn gate_actual(gate: &GateResult) -> String {
    gate.actual.map_or_else(|| "not measured".to_owned(), |actual| gate.unit.show(actual))
}

/// What a gate asks.
pub(super) fn gate_limit(gate: &GateResult) -> String {
    let side = match gate.bound {
        Bound::Max => "at most",
        Bound::Min => "at least",
    };
    format!("{side} {}", gate.unit.show(gate.limit))
}

/// The figures that a reader looks for first.
pub(super) fn key_figures(summary: &Summary) -> Vec<Figure> {
    let (load, system) = (&summary.load, &summary.system);
    let end_to_end = &summary.latencies.end_to_end.quantiles;
    let publish = &summary.latencies.publish.quantiles;
    let latency = |name, value: u64, note: String| Figure {
        name,
        value: if end_to_end.count == 0 { "none".to_owned() } else { show_duration(value) },
        note,
        bad: false,
    };
    let mut figures = vec![
        latency(
            "End to end, p50",
            end_to_end.p50_ns,
            format!("{} deliveries", show_count(end_to_end.count)),
        ),
        latency(
            "End to end, p99",
            end_to_end.p99_ns,
            format!("p90 {}", show_duration(end_to_end.p90_ns)),
        ),
        latency(
            "End to end, p99.9",
            end_to_end.p99_9_ns,
            format!("max {}", show_duration(end_to_end.max_ns)),
        ),
        latency(
            "Publish, p99",
            publish.p99_ns,
            format!("until 201; p50 {}", show_duration(publish.p50_ns)),
        ),
        delivered(summary),
    ];
    if system.observed {
        figures.push(Figure {
            name: "CPU an event",
            value: show_duration(floor(system.user_ns_per_event + system.system_ns_per_event)),
            note: format!(
                "user {}, kernel {}",
                show_duration(floor(system.user_ns_per_event)),
                show_duration(floor(system.system_ns_per_event)),
            ),
            bad: false,
        });
        figures.push(Figure {
            name: "Peak memory",
            value: show_size(system.memory_peak_bytes),
            note: "of the system under test".to_owned(),
            bad: false,
        });
    }
    figures.extend(retries(summary));
    let account = &summary.account;
    figures.push(Figure {
        name: "Lost",
        value: show_count(account.missing),
        note: format!(
            "of {} accepted; {} twice",
            show_count(account.accepted),
            show_count(account.duplicated)
        ),
        bad: account.missing > 0 || load.asked == 0,
    });
    figures
}

/// Nothing where nothing was tried again.
fn retries(summary: &Summary) -> Option<Figure> {
    let (retries, late) = (&summary.retries, &summary.latencies.retry_lateness.quantiles);
    (retries.seen > 0).then(|| Figure {
        name: "Retries late, p99",
        value: show_duration(late.p99_ns),
        note: format!("of {}; {} early", show_count(retries.seen), show_count(retries.early)),
        bad: retries.early > 0,
    })
}

fn delivered(summary: &Summary) -> Figure {
    let load = &summary.load;
    let note = if summary.scenario.closed_loop {
        "closed loop: as fast as it answers".to_owned()
    } else {
        format!("asked {}", show_rate(load.asked_rate))
    };
    Figure { name: "Delivered", value: show_rate(load.delivered_rate), note, bad: false }
}

/// Events a second as people read them.
pub(super) fn show_rate(rate: f64) -> String {
    if rate >= 1000.0 { format!("{}/s", show_count(floor(rate))) } else { format!("{rate:.1}/s") }
}

/// The account, line by line: name, count, what it means, whether it should be 0 and is not.
pub(super) fn account(summary: &Summary) -> Vec<(&'static str, u64, &'static str, bool)> {
    let totals = &summary.account;
    vec![
        ("sent", totals.sent, "handed to a connection", false),
        ("accepted", totals.accepted, "answered with 201", false),
        ("delivered", totals.delivered, "accepted, and taken by the sink", false),
        ("dead-lettered", totals.dead_lettered, "given up, and the system says so", false),
        ("owed", totals.owed, "to be tried again, and the system says so", false),
        ("missing", totals.missing, "accepted, and nobody has it: lost", totals.missing > 0),
        ("duplicated", totals.duplicated, "deliveries beyond the first of an event", false),
        ("late", totals.late, "delivered later than the scenario's bound", false),
        ("unknown", totals.unknown, "no 201: refused, or cut off by a crash", false),
        ("of these delivered", totals.unknown_delivered, "taken by the sink all the same", false),
        ("faulty", totals.faulty, "wrong signature, bytes or endpoint", totals.faulty > 0),
        ("foreign", totals.foreign, "deliveries of what was never sent", totals.foreign > 0),
    ]
}

/// Whether the generator could have spoilt the figures: name and value.
pub(super) fn generator(summary: &Summary) -> Vec<(&'static str, String)> {
    let (load, little, own) = (&summary.load, &summary.little, &summary.generator);
    let lag = &summary.latencies.lag.quantiles;
    let sent = 100.0 * ratio(load.sent_in_time as f64, load.asked as f64);
    let law = if little.judged {
        format!(
            "{:.2} counted in flight, {:.2} by rate × latency: {:.1} % off",
            little.in_flight_mean,
            little.rate * little.seconds_mean,
            100.0 * little.deviation,
        )
    } else {
        "too few events to judge".to_owned()
    };
    let cpu = own.user_ns_per_event + own.system_ns_per_event;
    vec![
        (
            "Pacer lag",
            format!("p50 {}, p99 {}", show_duration(lag.p50_ns), show_duration(lag.p99_ns)),
        ),
        ("Sent in time", format!("{sent:.2} % of {}", show_count(load.asked))),
        ("Held back", format!("{} (too many without an answer)", show_count(load.held_back))),
        ("In flight", format!("{} at most", show_count(load.in_flight_peak))),
        ("Waits for a processor", format!("{} on average", show_duration(own.scheduling_delay_ns))),
        ("CPU an event", format!("{}, sink included", show_duration(floor(cpu)))),
        ("Memory", format!("{} at most", show_size(own.memory_peak_bytes))),
        ("Little’s law", law),
    ]
}

/// Where it ran: name and value.
pub(super) fn environment(summary: &Summary) -> Vec<(&'static str, String)> {
    let place = &summary.environment;
    let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".to_owned());
    let machine = if place.virtual_machine { "virtual" } else { "bare metal, or not told" };
    let loads = |load: &[f64; 3]| load.map(|value| format!("{value:.2}")).join(" ");
    vec![
        ("Processor", format!("{}, {} cores ({machine})", place.cpu, place.cores)),
        ("Memory", show_size(place.memory_bytes)),
        ("System", format!("{}, kernel {}", place.os, place.kernel)),
        ("Data on", known(&place.data_filesystem)),
        ("Load average before", loads(&place.load_average_before)),
        ("Load average after", loads(&place.load_average_after)),
        ("Measured program", place.binary.clone()),
        ("Its version", known(&place.binary_version)),
        ("Its SHA-256", known(&place.binary_sha256)),
        ("Its arguments", place.arguments.join(" ")),
        ("Generator", format!("{} ({})", summary.generator_version, place.build)),
        ("Commit", known(&place.commit)),
    ]
}

/// The command that makes such a run again.
pub(super) fn command(summary: &Summary) -> String {
    let mut command = format!("loadgen run {}", summary.scenario.name);
    for set in &summary.scenario.overrides {
        command.push_str(" --set ");
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_=.,:/%".contains(c);
        if set.chars().all(plain) {
            command.push_str(set);
        } else {
            command.push('\'');
            command.push_str(&set.replace('\'', "'\\''"));
            command.push('\'');
        }
    }
    command
}
