//! What a run is worth: whether it is a measurement at all, and whether its gates hold.
//!
//! Pure. Hard on the generator first: a figure that the generator spoilt is worse than none.

use crate::record::{AwsRecord, GateResult, InvalidKind, Invalidity, Summary, Verdict};
use crate::scenario::{Bound, RETRIES_EARLY, STATISTICS, Scenario, Unit};
use crate::units::{show_count, show_duration};

/// From here on a reader is told that there was no steady state.
const UNSTEADY: f64 = 0.1;

/// Gives the summary its verdict. `found` is what the run itself has found to be wrong.
pub(super) fn judge(
    summary: &mut Summary,
    scenario: &Scenario,
    found: Vec<Invalidity>,
    interrupted: bool,
) {
    summary.outcome.invalid = found;
    if !interrupted {
        let reasons = [
            emptiness(summary),
            rate(summary, scenario),
            starvation(summary, scenario),
            account(summary, scenario),
            rows(summary),
            little(summary, scenario),
        ];
        summary.outcome.invalid.extend(reasons.into_iter().flatten());
    }
    summary.outcome.remarks = remarks(summary);
    summary.outcome.gates = gates(summary, scenario);
    let verdict = if interrupted {
        Verdict::Interrupted
    } else if !summary.outcome.invalid.is_empty() {
        Verdict::Invalid
    } else if summary.outcome.gates.iter().any(|gate| !gate.passed) {
        Verdict::GateFailed
    } else {
        Verdict::Ok
    };
    summary.outcome.verdict = verdict;
    summary.outcome.exit_code = verdict.exit_code();
}

fn invalid(kind: InvalidKind, reason: String) -> Option<Invalidity> {
    Some(Invalidity { kind, reason })
}

fn emptiness(summary: &Summary) -> Option<Invalidity> {
    let count = summary.latencies.publish.quantiles.count;
    let reason = "no event of the measure phase got a 201: there is nothing to measure";
    if count == 0 { invalid(InvalidKind::Empty, reason.to_owned()) } else { None }
}

/// Whether what was to be sent was sent.
fn rate(summary: &Summary, scenario: &Scenario) -> Option<Invalidity> {
    let load = &summary.load;
    if scenario.is_closed() || load.asked == 0 {
        return None;
    }
    let sent = load.sent_in_time as f64 / load.asked as f64;
    if sent >= scenario.validity.sent_min {
        return None;
    }
    let why = if load.held_back > 0 {
        format!(
            "{} events without an answer were as many as may be (generator.in-flight-max)",
            load.in_flight_peak
        )
    } else {
        "the generator was not fast enough".to_owned()
    };
    let reason = format!(
        "the asked rate was not met: {:.1}/s of {:.1}/s ({:.2}%) were sent in time; {why}",
        load.sent_rate,
        load.asked_rate,
        sent * 100.0
    );
    invalid(InvalidKind::Rate, reason)
}

/// Whether the generator's own lateness spoils the latencies.
fn starvation(summary: &Summary, scenario: &Scenario) -> Option<Invalidity> {
    let (lag, limit) = (summary.latencies.lag.quantiles.p99_ns, scenario.validity.lag_p99_max);
    // An event that waits for room is late because of the system, which its latency must show.
    if !scenario.is_closed() && summary.load.held_back == 0 && lag > limit {
        let (lag, limit) = (show_duration(lag), show_duration(limit));
        let reason = format!(
            "the generator was starved: one event in a hundred left more than {lag} late \
             (limit {limit})"
        );
        return invalid(InvalidKind::Starved, reason);
    }
    let delay = summary.generator.scheduling_delay_ns;
    if delay > scenario.validity.scheduling_delay_max {
        let (delay, limit) =
            (show_duration(delay), show_duration(scenario.validity.scheduling_delay_max));
        let reason = format!(
            "the generator was starved: its threads waited {delay} for a processor each time \
             (limit {limit})"
        );
        return invalid(InvalidKind::Starved, reason);
    }
    None
}

fn account(summary: &Summary, scenario: &Scenario) -> Option<Invalidity> {
    let account = &summary.account;
    let allowed = scenario.validity.duplicates_max.unwrap_or(u64::MAX);
    let mut faults = Vec::new();
    for (what, count) in [
        ("missing", account.missing),
        ("faulty", account.faulty),
        ("foreign", account.foreign),
        ("duplicated", if account.duplicated > allowed { account.duplicated } else { 0 }),
    ] {
        if count > 0 {
            faults.push(format!("{} {what}", show_count(count)));
        }
    }
    if faults.is_empty() && !account.adds_up() {
        faults.push("accepted is not delivered + dead-lettered + owed".to_owned());
    }
    if faults.is_empty() {
        return None;
    }
    let reason = format!("the account does not add up: {}", faults.join(", "));
    invalid(InvalidKind::Account, reason)
}

/// Whether the rows say what the sink has seen: what is delivered, and nothing else.
fn rows(summary: &Summary) -> Option<Invalidity> {
    let rows = &summary.aws.as_ref()?.rows;
    let delivered = rows.get("DELIVERED").copied().unwrap_or(0);
    let seen = summary.account.delivered + summary.account.unknown_delivered;
    if delivered == seen {
        return None;
    }
    let (delivered, seen) = (show_count(delivered), show_count(seen));
    let reason = format!("{seen} events were delivered, but {delivered} rows say so");
    invalid(InvalidKind::Account, reason)
}

fn little(summary: &Summary, scenario: &Scenario) -> Option<Invalidity> {
    let little = &summary.little;
    if !little.judged || little.deviation <= scenario.validity.little_max {
        return None;
    }
    let reason = format!(
        "Little's law is off by {:.1}%: {:.2} in flight on average, but {:.1}/s of {:.2} ms each \
         make {:.2}: figures contradict each other",
        little.deviation * 100.0,
        little.in_flight_mean,
        little.rate,
        little.seconds_mean * 1e3,
        little.rate * little.seconds_mean
    );
    invalid(InvalidKind::Little, reason)
}

/// What a reader must know though it spoils nothing.
fn remarks(summary: &Summary) -> Vec<String> {
    let mut remarks = Vec::new();
    let environment = &summary.environment;
    if environment.build == "debug" {
        remarks.push("loadgen is a debug build: its own costs are too high".to_owned());
    }
    let (load, cores) = (environment.load_average_before[0], environment.cores as f64);
    if load > cores / 2.0 {
        remarks.push(format!(
            "the machine was busy before the run began (load average {load:.2} on {cores} \
             processors): figures are provisional"
        ));
    }
    if environment.data_filesystem.as_deref() == Some("tmpfs") {
        remarks.push("the data directory is in memory: a sync costs nothing here".to_owned());
    }
    if !summary.little.judged {
        remarks.push("too few events to judge by Little's law".to_owned());
    }
    if summary.little.judged && summary.little.unsteadiness > UNSTEADY {
        remarks.push(format!(
            "no steady state: {:.0}% of the time in flight belongs to events at the ends of the \
             measure phase",
            summary.little.unsteadiness * 100.0
        ));
    }
    remarks.extend(retries(summary));
    if summary.account.owed > 0 {
        let owed = show_count(summary.account.owed);
        remarks.push(format!("{owed} events were still owed when the run ended"));
    }
    remarks
}

/// What the distribution of retries does not say.
fn retries(summary: &Summary) -> Vec<String> {
    let (mut remarks, retries) = (Vec::new(), &summary.retries);
    if retries.overdue > 0 {
        remarks.push(format!(
            "{} retries that were due had not come when the run ended, by {} at most: they are \
             not in the distribution of lateness",
            show_count(retries.overdue),
            show_duration(retries.overdue_max_ns)
        ));
    }
    if retries.not_followed > 0 {
        remarks.push(format!(
            "{} failed attempts were not followed to their retries: {} others were",
            show_count(retries.not_followed),
            show_count(crate::retries::WAITING_MAX as u64)
        ));
    }
    remarks
}

fn gates(summary: &Summary, scenario: &Scenario) -> Vec<GateResult> {
    let one = |gate: &crate::scenario::Gate| {
        let actual = figure(summary, &gate.metric.name);
        GateResult {
            metric: gate.metric.name.clone(),
            unit: gate.metric.unit,
            bound: gate.bound,
            limit: gate.limit,
            actual,
            passed: actual.is_some_and(|actual| gate.holds(actual)),
        }
    };
    let mut gates: Vec<GateResult> = scenario.gates.iter().map(one).collect();
    let asked = gates.iter().any(|gate| gate.metric == RETRIES_EARLY);
    if let Some(early) = figure(summary, RETRIES_EARLY).filter(|_| !asked) {
        // The contract has none, so no scenario has to say it.
        gates.push(GateResult {
            metric: RETRIES_EARLY.to_owned(),
            unit: Unit::Count,
            bound: Bound::Max,
            limit: 0.0,
            actual: Some(early),
            passed: early <= 0.0,
        });
    }
    gates
}

/// A figure of a run by its name, in its unit; `None` where there was nothing to measure.
#[must_use]
pub fn figure(summary: &Summary, name: &str) -> Option<f64> {
    if let Some((distribution, statistic)) = distribution(name) {
        let quantiles = match distribution {
            "publish" => &summary.latencies.publish.quantiles,
            "end-to-end" => &summary.latencies.end_to_end.quantiles,
            "lag" => &summary.latencies.lag.quantiles,
            "retry-lateness" => &summary.latencies.retry_lateness.quantiles,
            other => {
                let name = other.strip_prefix("group.")?;
                let group = summary.groups.iter().find(|group| group.name == name)?;
                &group.end_to_end.quantiles
            }
        };
        return quantiles.statistic(statistic);
    }
    let count = |count: u64| Some(count as f64);
    let cpu = |process: &crate::record::ProcessRecord| {
        let each = process.user_ns_per_event + process.system_ns_per_event;
        (process.observed && process.events > 0).then_some(each)
    };
    match name {
        "rate.sent" => Some(summary.load.sent_rate),
        "rate.accepted" => Some(summary.load.accepted_rate),
        "rate.delivered" => Some(summary.load.delivered_rate),
        "account.missing" => count(summary.account.missing),
        "account.duplicated" => count(summary.account.duplicated),
        "account.late" => count(summary.account.late),
        "account.unknown" => count(summary.account.unknown),
        "account.dead-lettered" => count(summary.account.dead_lettered),
        "account.owed" => count(summary.account.owed),
        RETRIES_EARLY => count(summary.retries.early).filter(|_| summary.retries.seen > 0),
        "retries.overdue" => count(summary.retries.overdue),
        "system.cpu-per-event" => cpu(&summary.system),
        "system.memory-peak" => count(summary.system.memory_peak_bytes).filter(|b| *b > 0.0),
        "generator.cpu-per-event" => cpu(&summary.generator),
        "chaos.ready" => worst(summary, |step| step.ready_ns),
        "chaos.first-delivery" => worst(summary, |step| step.first_delivery_ns),
        "drain.time" => summary.drain.seconds.map(|seconds| seconds * 1e9),
        "drain.rate" => Some(summary.drain.rate).filter(|_| summary.drain.backlog > 0),
        "drain.rate-to-99" => summary.drain.rate_to_99,
        "fairness" => Some(summary.fairness.jain).filter(|_| summary.fairness.tenants_seen > 0),
        name => aws_figure(summary.aws.as_ref()?, name),
    }
}

fn aws_figure(aws: &AwsRecord, name: &str) -> Option<f64> {
    let each = &aws.per_event;
    let figure = match name {
        "aws.requests-per-event" => each.requests,
        "aws.sqs-requests-per-event" => each.sqs_requests,
        "aws.dynamodb-requests-per-event" => each.dynamodb_requests,
        "aws.write-units-per-event" => each.write_units,
        "aws.index-write-units-per-event" => each.index_write_units,
        "aws.read-units-per-event" => each.read_units,
        // Egress is not ours to make cheaper.
        "aws.cost-per-million" => aws.cost.ingest_per_million + aws.cost.delivery_per_million,
        "aws.full-speed" => {
            let all: Option<Vec<f64>> = aws.throttles.iter().map(|one| one.full_speed_s).collect();
            return all?.into_iter().reduce(f64::max).map(|seconds| seconds * 1e9);
        }
        _ => return None,
    };
    (aws.events > 0).then_some(figure)
}

/// `end-to-end.p99.9` is `end-to-end` and `p99.9`: a statistic's name may have a dot.
fn distribution(name: &str) -> Option<(&str, &str)> {
    STATISTICS
        .iter()
        .find_map(|&statistic| Some((name.strip_suffix(statistic)?.strip_suffix('.')?, statistic)))
}

/// The longest of all steps; `None` where one never came to it.
fn worst(
    summary: &Summary,
    what: impl Fn(&crate::record::ChaosRecord) -> Option<u64>,
) -> Option<f64> {
    let all: Option<Vec<u64>> = summary.chaos.iter().map(what).collect();
    Some(all?.into_iter().max()? as f64)
}

#[cfg(test)]
mod tests;
