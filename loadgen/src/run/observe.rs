//! What a run tells while it goes on, and who listens: plain lines, or nobody. A live view is one
//! more listener.

use std::io::Write;
use std::path::Path;

use crate::account::Totals;
use crate::record::{Interval, Quantiles, RetryRecord, Summary, Verdict};
use crate::scenario::Scenario;
use crate::units::floor;
use crate::units::{show_count, show_duration, show_size};

/// The state of a run at the end of an interval.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The interval.
    pub interval: Interval,
    /// The account until now.
    pub totals: Totals,
    /// The measure phase until now: intended → 201.
    pub publish: Quantiles,
    /// The measure phase until now: intended → first byte at the sink.
    pub end_to_end: Quantiles,
    /// The measure phase until now: intended → sent.
    pub lag: Quantiles,
    /// The measure phase until now: how late retries were.
    pub retry_lateness: Quantiles,
    /// Retries until now, what is still awaited left out.
    pub retries: RetryRecord,
    /// How much of the load's time is over, from 0 to 1.
    pub progress: f64,
}

/// Hears of a run. All calls come from one thread, none of them on a measured path.
pub trait Observer {
    /// It begins.
    fn begins(&mut self, scenario: &Scenario);
    /// Something happens that is not in the figures.
    fn note(&mut self, text: &str);
    /// Another phase begins.
    fn phase(&mut self, name: &str);
    /// An interval is over.
    fn interval(&mut self, snapshot: &Snapshot);
    /// It is over, and written to `folder`.
    fn ends(&mut self, summary: &Summary, folder: &Path);
}

/// Tells nobody.
#[derive(Clone, Copy, Debug)]
pub struct Silent;

impl Observer for Silent {
    fn begins(&mut self, _: &Scenario) {}
    fn note(&mut self, _: &str) {}
    fn phase(&mut self, _: &str) {}
    fn interval(&mut self, _: &Snapshot) {}
    fn ends(&mut self, _: &Summary, _: &Path) {}
}

/// Writes plain lines, for logs and for terminals without a live view. A reader that goes away
/// does not end the run.
#[derive(Debug)]
pub struct Plain<W: Write> {
    to: W,
    /// Whether only the result is told.
    quiet: bool,
}

impl<W: Write> Plain<W> {
    /// Tells everything.
    pub const fn new(to: W) -> Self {
        Self { to, quiet: false }
    }

    /// Tells the result only.
    pub const fn quiet(to: W) -> Self {
        Self { to, quiet: true }
    }

    fn line(&mut self, text: &str) {
        // A closed pipe is the reader's choice.
        _ = writeln!(self.to, "{text}").and_then(|()| self.to.flush());
    }
}

impl<W: Write> Observer for Plain<W> {
    fn begins(&mut self, scenario: &Scenario) {
        if scenario.is_closed() {
            self.line(
                "CLOSED LOOP: the generator waits for answers; latencies say how long the queue \
                 is, not how fast the system is",
            );
        }
        if !self.quiet {
            self.line(&format!("scenario {}: {}", scenario.name, scenario.description));
        }
    }

    fn note(&mut self, text: &str) {
        if !self.quiet {
            self.line(&format!("  {text}"));
        }
    }

    fn phase(&mut self, name: &str) {
        if !self.quiet {
            self.line(&format!("{name}:"));
        }
    }

    fn interval(&mut self, snapshot: &Snapshot) {
        if self.quiet {
            return;
        }
        let now = &snapshot.interval;
        let rate = |count: u64| count as f64 / now.length_s.max(1e-9);
        self.line(&format!(
            "  {:7.1} s  sent {:8.1}/s  201 {:8.1}/s  delivered {:8.1}/s  in flight {:5}  \
             backlog {:7}  publish p99 {:>8}  end to end p50 {:>8} p99 {:>8}{}",
            now.from_s + now.length_s,
            rate(now.sent),
            rate(now.accepted),
            rate(now.delivered),
            now.in_flight,
            now.backlog,
            show_duration(now.publish.p99_ns),
            show_duration(now.end_to_end.p50_ns),
            show_duration(now.end_to_end.p99_ns),
            trouble(now),
        ));
    }

    fn ends(&mut self, summary: &Summary, folder: &Path) {
        for line in result(summary) {
            self.line(&line);
        }
        self.line(&format!("results    {}", folder.display()));
    }
}

fn trouble(interval: &Interval) -> String {
    let mut text = String::new();
    let retries = &interval.retry_lateness;
    if retries.count > 0 {
        text += &format!("  retries {} late p99 {}", retries.count, show_duration(retries.p99_ns));
    }
    for (what, count) in [("refused", interval.refused), ("cut off", interval.cut_off)] {
        if count > 0 {
            text += &format!("  {what} {count}");
        }
    }
    text
}

/// The result, line by line.
fn result(summary: &Summary) -> Vec<String> {
    let (load, account, latencies) = (&summary.load, &summary.account, &summary.latencies);
    let mut lines = vec![
        String::new(),
        format!(
            "load       asked {:.1}/s, sent {:.1}/s, accepted {:.1}/s, delivered {:.1}/s",
            load.asked_rate, load.sent_rate, load.accepted_rate, load.delivered_rate
        ),
        latency("publish", &latencies.publish.quantiles),
        latency("end to end", &latencies.end_to_end.quantiles),
        latency("pacer lag", &latencies.lag.quantiles),
    ];
    lines.extend(retries(summary));
    if summary.groups.len() > 1 {
        let group = |g: &crate::record::GroupRecord| latency(&g.name, &g.end_to_end.quantiles);
        lines.extend(summary.groups.iter().map(group));
    }
    lines.push(format!(
        "account    {} accepted = {} delivered + {} dead-lettered + {} owed + {} missing; \
         {} duplicated, {} late, {} faulty, {} foreign",
        show_count(account.accepted),
        show_count(account.delivered),
        show_count(account.dead_lettered),
        show_count(account.owed),
        show_count(account.missing),
        show_count(account.duplicated),
        show_count(account.late),
        show_count(account.faulty),
        show_count(account.foreign),
    ));
    if account.unknown > 0 {
        lines.push(format!(
            "unknown    {} without a 201, {} of them delivered",
            show_count(account.unknown),
            show_count(account.unknown_delivered)
        ));
    }
    lines.extend(costs(summary));
    lines.extend(rest(summary));
    lines
}

/// Whether what failed was tried again in time; nothing where nothing failed.
fn retries(summary: &Summary) -> Vec<String> {
    let retries = &summary.retries;
    if *retries == RetryRecord::default() {
        return Vec::new();
    }
    vec![
        latency("retry late", &summary.latencies.retry_lateness.quantiles),
        format!(
            "retries    {} seen, {} early, {} overdue, {} not due yet, {} repeated, {} unmatched",
            show_count(retries.seen),
            show_count(retries.early),
            show_count(retries.overdue),
            show_count(retries.awaited - retries.overdue.min(retries.awaited)),
            show_count(retries.repeated),
            show_count(retries.unmatched),
        ),
    ]
}

fn latency(what: &str, quantiles: &Quantiles) -> String {
    let shown = |nanos| show_duration(nanos);
    format!(
        "{what:<10} p50 {}, p90 {}, p99 {}, p99.9 {}, max {}",
        shown(quantiles.p50_ns),
        shown(quantiles.p90_ns),
        shown(quantiles.p99_ns),
        shown(quantiles.p99_9_ns),
        shown(quantiles.max_ns)
    )
}

fn costs(summary: &Summary) -> Vec<String> {
    let cost = |what: &str, process: &crate::record::ProcessRecord| {
        let (user, system) = (process.user_ns_per_event, process.system_ns_per_event);
        format!(
            "{what:<10} {:.1} µs of CPU an event ({:.1} user, {:.1} system), {} at most",
            (user + system) / 1e3,
            user / 1e3,
            system / 1e3,
            show_size(process.memory_peak_bytes)
        )
    };
    vec![cost("system", &summary.system), cost("generator", &summary.generator)]
}

fn rest(summary: &Summary) -> Vec<String> {
    let mut lines = Vec::new();
    let optional = |nanos: Option<u64>| nanos.map_or_else(|| "never".to_owned(), show_duration);
    for step in &summary.chaos {
        lines.push(format!(
            "chaos      {} at {:.1} s: ended in {}, ready in {}, first 201 in {}, first delivery \
             in {}, no service for {}",
            step.signal,
            step.at_s,
            show_duration(step.stopped_ns),
            optional(step.ready_ns),
            optional(step.first_accepted_ns),
            optional(step.first_delivery_ns),
            optional(step.gap_ns),
        ));
    }
    let drain = &summary.drain;
    if drain.backlog > 0 {
        let time = drain.seconds.map_or_else(
            || "not worked off".to_owned(),
            |seconds| format!("worked off in {}", show_duration(floor(seconds * 1e9))),
        );
        lines.push(format!(
            "drain      {} at the end of the load, {time}, {:.1}/s{}",
            show_count(drain.backlog),
            drain.rate,
            drain.rate_to_99.map_or_else(String::new, |rate| format!(", {rate:.1}/s to 99%"))
        ));
    }
    for gate in &summary.outcome.gates {
        let actual = gate.actual.map_or_else(|| "nothing".to_owned(), |a| gate.unit.show(a));
        let passed = if gate.passed { "holds" } else { "FAILS" };
        let limit = gate.unit.show(gate.limit);
        lines.push(format!("gate       {passed}: {} is {actual}, limit {limit}", gate.metric));
    }
    lines.extend(summary.outcome.remarks.iter().map(|remark| format!("remark     {remark}")));
    lines.extend(verdict(summary));
    lines
}

/// Large, where it is bad.
fn verdict(summary: &Summary) -> Vec<String> {
    let outcome = &summary.outcome;
    let word = match outcome.verdict {
        Verdict::Ok => return vec!["verdict    ok".to_owned()],
        Verdict::GateFailed => "GATE FAILED",
        Verdict::Invalid => "INVALID: this is not a measurement",
        Verdict::Interrupted => "INTERRUPTED: this is a part of a measurement",
    };
    let bar = "#".repeat(72);
    let mut lines = vec![bar.clone(), format!("###  {word}")];
    lines.extend(outcome.invalid.iter().map(|invalid| format!("###  {}", invalid.reason)));
    lines.push(bar);
    lines
}
