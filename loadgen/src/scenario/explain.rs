//! A scenario in words: what will happen, before it happens.

use std::fmt::Write as _;

use posthaste_domain::RetrySchedule;

use super::Scenario;
use super::aws::{AwsPlan, Ingest};
use super::behaviour::{Behaviour, Delay, OutageKind};
use super::chaos::Stop;
use super::gates::Bound;
use super::parts::{Arrival, Group};
use crate::clock::MILLISECOND;
use crate::units::{show_count, show_duration, show_size};

/// The scenario, in sentences.
#[must_use]
pub fn explain(scenario: &Scenario) -> String {
    let mut text = format!("{}: {}\n\n", scenario.name, scenario.description);
    for line in lines(scenario) {
        text.push_str("  ");
        text.push_str(&line);
        text.push('\n');
    }
    text
}

fn lines(scenario: &Scenario) -> Vec<String> {
    let phases = &scenario.phases;
    let mut lines = vec![
        format!("load       {}", arrival(&scenario.arrival)),
        format!(
            "phases     warm-up {}, measure {}, drain at most {}",
            show_duration(phases.warm_up),
            show_duration(phases.measure),
            show_duration(phases.drain)
        ),
        match &scenario.payload.file {
            Some(file) => format!("payloads   those of {}", file.display()),
            None => format!(
                "payloads   {} of {} each, made from seed {}",
                scenario.payload.variants,
                show_size(scenario.payload.bytes),
                scenario.seed
            ),
        },
        format!(
            "generator  at most {} events without an answer, {}",
            show_count(scenario.generator.in_flight_max.into()),
            if scenario.generator.keep_alive {
                "connections kept"
            } else {
                "a new connection for each event"
            }
        ),
        format!("system     {}", scenario.system.binary.display()),
    ];
    for (key, value) in &scenario.system.settings {
        lines.push(format!("           --set {key}={value}"));
    }
    lines.extend(scenario.groups.iter().map(group));
    if scenario.sink.tls {
        lines.push("sink       TLS, with a certificate made at the start".to_owned());
    }
    let faults = scenario.sink.faults;
    for (what, one_in) in [
        ("loses", faults.drop_one_in),
        ("doubles", faults.double_one_in),
        ("alters", faults.alter_one_in),
        ("takes the retry for early of", faults.early_one_in),
    ] {
        if one_in > 0 {
            lines.push(format!("sink       {what} one delivery in {one_in}, on purpose"));
        }
    }
    lines.extend(scenario.aws.iter().flat_map(aws));
    lines.extend(scenario.chaos.iter().map(|step| {
        let signal = match step.stop {
            Stop::Kill => "SIGKILL",
            Stop::Terminate => "SIGTERM",
        };
        let (at, down) = (show_duration(step.at), show_duration(step.down));
        format!("chaos      {signal} at {at} of the measure phase, started again after {down}")
    }));
    lines.push(retries(&scenario.system.retries, scenario.system.retries.attempts_max()));
    lines.extend(scenario.gates.iter().map(|gate| {
        let side = match gate.bound {
            Bound::Max => "at most",
            Bound::Min => "at least",
        };
        format!("gate       {} {side} {}", gate.metric.name, gate.metric.unit.show(gate.limit))
    }));
    lines
}

fn aws(plan: &AwsPlan) -> Vec<String> {
    let mut lines = vec![
        format!(
            "aws        a simulated SQS ({} a call) and DynamoDB ({})",
            show_duration(plan.sqs_latency),
            show_duration(plan.dynamodb_latency)
        ),
        match (plan.ingest, plan.backlog) {
            (Ingest::Api, _) => "           events go to the system's API".to_owned(),
            (Ingest::Queue, false) => "           events are put into table and queue".to_owned(),
            (Ingest::Queue, true) => "           events are put into table and queue, where they \
                                      wait until the load has ended"
                .to_owned(),
        },
    ];
    for (share, what) in [
        (plan.duplicated, "are given out once more while they are in flight"),
        (plan.returned, "come back after their deletion"),
    ] {
        if share > 0.0 {
            lines.push(format!("           {}% of messages {what}", share * 100.0));
        }
    }
    lines.extend(plan.throttles.iter().map(|throttle| {
        let [from, to] = [throttle.from, throttle.to].map(show_duration);
        let (service, share) = (throttle.service.name(), throttle.share * 100.0);
        format!("           from {from} to {to} {share}% of {service} is throttled")
    }));
    lines
}

fn retries(schedule: &RetrySchedule, attempts_max: u32) -> String {
    let steps = attempts_max.saturating_sub(1).min(5);
    let shown = (1..=steps).map(|failures| {
        show_duration(schedule.base_delay_ms(failures).saturating_mul(MILLISECOND))
    });
    let more = if attempts_max > steps + 1 { " and so on" } else { "" };
    format!(
        "retries    {}{more} after failures, up to {:.0}% later, never early (a gate that always \
         holds); {attempts_max} attempts",
        shown.collect::<Vec<_>>().join(", "),
        schedule.jitter() * 100.0
    )
}

fn arrival(arrival: &Arrival) -> String {
    match arrival {
        Arrival::Constant { rate } => format!("{rate} events/s at even distances (open loop)"),
        Arrival::Poisson { rate } => format!("{rate} events/s on average, Poisson (open loop)"),
        Arrival::Bursts { rate, burst_rate, every, length } => format!(
            "{rate} events/s, and {burst_rate} events/s for {} every {} (open loop)",
            show_duration(*length),
            show_duration(*every)
        ),
        Arrival::Ramp { from, to } => {
            format!("from {from} to {to} events/s over the measure phase (open loop)")
        }
        Arrival::Replay { file } => format!("the schedule of {} (open loop)", file.display()),
        Arrival::Closed { clients } => {
            format!("CLOSED LOOP: {clients} clients, each waits for its answer before it sends")
        }
    }
}

fn group(group: &Group) -> String {
    let mut text = format!(
        "tenants    {}: {}, share {}",
        group.name,
        show_count(group.count.into()),
        group.share
    );
    if group.zipf > 0.0 {
        text += &format!(", Zipf {}", group.zipf);
    }
    text += &format!(", {} endpoint(s): ", show_count(group.endpoints.into()));
    text + &behaviour(&group.behaviour)
}

fn behaviour(behaviour: &Behaviour) -> String {
    let mut text = match behaviour.delay {
        Delay::None => "answers at once".to_owned(),
        Delay::Fixed(delay) => format!("answers after {}", show_duration(delay)),
        Delay::Uniform(least, most) => {
            format!("answers after {} to {}", show_duration(least), show_duration(most))
        }
        Delay::Exponential(mean) => {
            format!("answers after {} on average (exponential)", show_duration(mean))
        }
        Delay::LogNormal(median, sigma) => {
            format!("answers after a median of {} (log-normal, {sigma})", show_duration(median))
        }
    };
    for (code, share) in &behaviour.statuses {
        // Writing to a text cannot fail.
        _ = write!(text, ", {}% with {code}", share * 100.0);
    }
    if !behaviour.attempts.is_empty() {
        _ = write!(text, ", by attempt with {:?}", behaviour.attempts);
    }
    for (share, what) in [
        (behaviour.hang, "never"),
        (behaviour.reset, "with a reset"),
        (behaviour.close_on_reuse, "by closing a connection used before"),
    ] {
        if share > 0.0 {
            _ = write!(text, ", {}% {what}", share * 100.0);
        }
    }
    if behaviour.close_after_answer {
        text += ", closes after each answer";
    }
    if behaviour.drip > 0 {
        _ = write!(text, ", a byte every {}", show_duration(behaviour.drip));
    }
    if behaviour.body_bytes > 0 {
        _ = write!(text, ", bodies of {}", show_size(behaviour.body_bytes));
    }
    for outage in &behaviour.outages {
        let what = match outage.kind {
            OutageKind::Status(code) => format!("answers {code}"),
            OutageKind::Hang => "hangs".to_owned(),
            OutageKind::Reset => "resets".to_owned(),
        };
        let (from, to) = (show_duration(outage.from), show_duration(outage.to));
        _ = write!(text, "; {what} from {from} to {to}");
    }
    text
}
