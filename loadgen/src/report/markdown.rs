//! `report.md`: a run in so few lines that they fit into a pull request.

use std::fmt::Write as _;

use super::aws;
use super::escape::cell;
use super::figures::{account, command, gate_actual, gate_limit, headline, show_rate};
use crate::record::{Quantiles, Summary};
use crate::units::{floor, show_count, show_duration, show_size};

/// The Markdown of a run.
pub(super) fn markdown(summary: &Summary) -> String {
    let (scenario, top) = (&summary.scenario, headline(summary));
    let mut text = String::new();
    _ = writeln!(text, "### {}: **{}**\n", cell(&scenario.name), top.word);
    _ = writeln!(text, "{} {}\n", cell(&scenario.description), top.sentence);
    for reason in &top.reasons {
        _ = writeln!(text, "- **{}**", cell(reason));
    }
    for remark in &summary.outcome.remarks {
        _ = writeln!(text, "- {}", cell(remark));
    }
    if !(top.reasons.is_empty() && summary.outcome.remarks.is_empty()) {
        text.push('\n');
    }
    latencies(summary, &mut text);
    costs(summary, &mut text);
    cloud(summary, &mut text);
    gates(summary, &mut text);
    text.push_str("| account | events |\n|---|---:|\n");
    for (name, count, meaning, bad) in account(summary) {
        // What is zero and may be zero takes no room.
        if count > 0 || name == "missing" {
            let mark = if bad { "**" } else { "" };
            _ = writeln!(text, "| {name}: {meaning} | {mark}{}{mark} |", show_count(count));
        }
    }
    foot(summary, &mut text);
    text
}

fn latencies(summary: &Summary, text: &mut String) {
    text.push_str("| latency | count | p50 | p90 | p99 | p99.9 | max |\n");
    text.push_str("|---|---:|---:|---:|---:|---:|---:|\n");
    let latencies = &summary.latencies;
    let mut row = |name: &str, of: &Quantiles| {
        if of.count == 0 {
            _ = writeln!(text, "| {name} | 0 | – | – | – | – | – |");
            return;
        }
        let shown = [of.p50_ns, of.p90_ns, of.p99_ns, of.p99_9_ns, of.max_ns].map(show_duration);
        _ = writeln!(text, "| {name} | {} | {} |", show_count(of.count), shown.join(" | "));
    };
    row("end to end", &latencies.end_to_end.quantiles);
    row("publish (until 201)", &latencies.publish.quantiles);
    row("pacer lag", &latencies.lag.quantiles);
    if latencies.retry_lateness.quantiles.count > 0 {
        row("retry lateness", &latencies.retry_lateness.quantiles);
    }
    if summary.groups.len() > 1 {
        for group in &summary.groups {
            row(&format!("end to end, {}", cell(&group.name)), &group.end_to_end.quantiles);
        }
    }
    text.push('\n');
}

fn costs(summary: &Summary, text: &mut String) {
    let (load, system, own) = (&summary.load, &summary.system, &summary.generator);
    text.push_str("| rate, cost | |\n|---|---:|\n");
    let asked = if summary.scenario.closed_loop {
        "as fast as it answers".to_owned()
    } else {
        show_rate(load.asked_rate)
    };
    let rates = [show_rate(load.accepted_rate), show_rate(load.delivered_rate)].join(", ");
    _ = writeln!(text, "| asked | {asked} |");
    _ = writeln!(text, "| accepted, delivered | {rates} |");
    if system.observed {
        let cpu = [system.user_ns_per_event, system.system_ns_per_event]
            .map(|nanos| show_duration(floor(nanos)))
            .join(" + ");
        _ = writeln!(text, "| CPU an event, user + kernel | {cpu} |");
        _ = writeln!(text, "| peak memory | {} |", show_size(system.memory_peak_bytes));
    }
    let cpu = show_duration(floor(own.user_ns_per_event + own.system_ns_per_event));
    _ = writeln!(text, "| generator and sink, CPU an event | {cpu} |");
    if summary.fairness.tenants_seen > 1 {
        _ = writeln!(text, "| fairness (Jain) | {:.3} |", summary.fairness.jain);
    }
    if summary.retries.seen > 0 {
        let (seen, early) = (show_count(summary.retries.seen), summary.retries.early);
        let mark = if early > 0 { "**" } else { "" };
        _ = writeln!(text, "| retries, early ones | {seen}, {mark}{}{mark} |", show_count(early));
    }
    for step in &summary.chaos {
        let gap = step.gap_ns.map_or_else(|| "never served again".to_owned(), show_duration);
        let signal = step.signal.to_uppercase();
        _ = writeln!(text, "| without service after SIG{} | {gap} |", cell(&signal));
    }
    text.push('\n');
}

fn cloud(summary: &Summary, text: &mut String) {
    let Some(record) = &summary.aws else { return };
    text.push_str("| SQS and DynamoDB | |\n|---|---:|\n");
    for (name, value) in aws::figures(record) {
        _ = writeln!(text, "| {} | {} |", cell(&name), cell(&value));
    }
    _ = writeln!(text, "\n| {} |\n|---|{}", aws::COLUMNS.join(" | "), "---:|".repeat(6));
    for row in aws::operations(record) {
        _ = writeln!(text, "| {} |", row.join(" | "));
    }
    text.push('\n');
}

fn gates(summary: &Summary, text: &mut String) {
    if summary.outcome.gates.is_empty() {
        return;
    }
    text.push_str("| gate | asked | measured | |\n|---|---:|---:|---|\n");
    for gate in &summary.outcome.gates {
        let word = if gate.passed { "holds" } else { "**fails**" };
        let (limit, actual) = (gate_limit(gate), gate_actual(gate));
        _ = writeln!(text, "| `{}` | {limit} | {actual} | {word} |", gate.metric);
    }
    text.push('\n');
}

fn foot(summary: &Summary, text: &mut String) {
    let place = &summary.environment;
    let load = place.load_average_before[0];
    _ = writeln!(
        text,
        "\n<sub>{}, {} cores, {}, kernel {}; load average {load:.2}; commit {}; run {} of {}; \
         `{}`</sub>",
        cell(&place.cpu),
        place.cores,
        show_size(place.memory_bytes),
        cell(&place.kernel),
        cell(place.commit.as_deref().unwrap_or("unknown")),
        cell(&summary.run.id),
        cell(&summary.run.started_at),
        command(summary).replace('`', "'").replace('<', "&lt;"),
    );
}
