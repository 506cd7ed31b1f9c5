//! `report.html`: one file that needs nothing else, not even a script, to be read.

use std::fmt::Write as _;

use super::aws;
use super::escape::escape;
use super::figures::{
    Figure, account, command, environment, gate_actual, gate_limit, generator, headline,
    key_figures,
};
use super::over_time::charts;
use super::tables::{self, Cell, Table};
use crate::record::{RetryRecord, Summary};
use crate::units::ratio;

const STYLE: &str = include_str!("../../assets/report.css");
const SCRIPT: &str = include_str!("../../assets/report.js");

/// The page of a run.
pub(super) fn page(summary: &Summary) -> String {
    let name = escape(&summary.scenario.name);
    let top = headline(summary);
    let mut html = String::with_capacity(200_000);
    _ = write!(
        html,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{name} · {} · loadgen</title>\n<style>\n{STYLE}</style>\n</head>\n\
         <body class=\"{}\">\n",
        top.word, top.tone
    );
    header(summary, &mut html);
    html.push_str("<main>\n");
    key(&key_figures(summary), &mut html);
    gates(summary, &mut html);
    let drawn = charts(summary);
    let figures = |section: &str, html: &mut String| {
        html.push_str("<div class=\"charts\">\n");
        for (_, chart) in drawn.iter().filter(|(of, _)| *of == section) {
            html.push_str(&chart.figure());
        }
        html.push_str("</div>\n");
    };
    open("Latency", "latency", &mut html);
    figures("latency", &mut html);
    html.push_str(&tables::phases(summary).html());
    close(&mut html);
    open("Throughput", "throughput", &mut html);
    figures("throughput", &mut html);
    close(&mut html);
    if summary.system.observed {
        open("System under test", "system", &mut html);
        figures("system", &mut html);
        close(&mut html);
    }
    if summary.retries != RetryRecord::default() {
        open("Retries", "retries", &mut html);
        figures("retries", &mut html);
        html.push_str(
            "<p>Late is what comes after its step of the schedule and all of its jitter; what is \
             punctual counts as 0.</p>\n",
        );
        html.push_str(&tables::retries(summary).html());
        close(&mut html);
    }
    cloud(summary, &mut html);
    if !summary.chaos.is_empty() {
        open("Stops and starts", "chaos", &mut html);
        html.push_str(&tables::chaos(summary).html());
        close(&mut html);
    }
    account_section(summary, &mut html);
    fairness(summary, &mut html);
    open("Generator’s own noise", "generator", &mut html);
    html.push_str(&pairs(&generator(summary)));
    figures("generator", &mut html);
    close(&mut html);
    surroundings(summary, &mut html);
    html.push_str("</main>\n<div id=\"tip\" role=\"status\" hidden></div>\n");
    _ = write!(html, "<script>\n{SCRIPT}</script>\n</body>\n</html>\n");
    html
}

fn header(summary: &Summary, html: &mut String) {
    let top = headline(summary);
    let (scenario, run) = (&summary.scenario, &summary.run);
    let loop_kind = if scenario.closed_loop { "closed loop" } else { "open loop" };
    _ = write!(
        html,
        "<header>\n<p class=\"kind\">Posthaste loadgen · {loop_kind}</p>\n<h1>{}</h1>\n<p>{}</p>\n\
         <p class=\"facts\">run {} · {} · {:.0} s · seed {} · {} tenants · {} endpoints · \
         {:.0} B payloads</p>\n",
        escape(&scenario.name),
        escape(&scenario.description),
        escape(&run.id),
        escape(&run.started_at),
        run.duration_s,
        run.seed,
        scenario.tenants,
        scenario.endpoints,
        scenario.payload_bytes_mean,
    );
    _ = write!(
        html,
        "<div class=\"verdict\">\n<strong>{}</strong>\n<p>{}</p>\n",
        top.word,
        escape(&top.sentence)
    );
    list("reasons", &top.reasons, html);
    html.push_str("</div>\n");
    list("remarks", &summary.outcome.remarks, html);
    html.push_str("</header>\n");
}

fn list(class: &str, lines: &[String], html: &mut String) {
    if lines.is_empty() {
        return;
    }
    _ = writeln!(html, "<ul class=\"{class}\">");
    for line in lines {
        _ = writeln!(html, "<li>{}</li>", escape(line));
    }
    html.push_str("</ul>\n");
}

fn key(figures: &[Figure], html: &mut String) {
    html.push_str("<dl class=\"key\">\n");
    for figure in figures {
        let bad = if figure.bad { " class=\"bad\"" } else { "" };
        _ = writeln!(
            html,
            "<div{bad}><dt>{}</dt><dd>{}</dd><dd class=\"note\">{}</dd></div>",
            figure.name,
            escape(&figure.value),
            escape(&figure.note)
        );
    }
    html.push_str("</dl>\n");
}

/// Begins a section; `close` ends it.
fn open(title: &str, id: &str, html: &mut String) {
    _ = writeln!(html, "<section id=\"{id}\">\n<h2>{title}</h2>");
}

fn close(html: &mut String) {
    html.push_str("</section>\n");
}

fn gates(summary: &Summary, html: &mut String) {
    if summary.outcome.gates.is_empty() {
        return;
    }
    open("Gates", "gates", html);
    let mut table = Table::new(&["figure", "asked", "measured", ""]);
    for gate in &summary.outcome.gates {
        let (word, tone) = if gate.passed { ("holds", "good") } else { ("fails", "bad") };
        table.row(vec![
            Cell::text(&gate.metric),
            Cell::number(gate_limit(gate)),
            Cell::number(gate_actual(gate)),
            Cell::toned(word, tone),
        ]);
    }
    html.push_str(&table.html());
    close(html);
}

fn account_section(summary: &Summary, html: &mut String) {
    open("Account", "account", html);
    let totals = &summary.account;
    let parts = [
        ("delivered", totals.delivered, 1),
        ("dead-lettered", totals.dead_lettered, 2),
        ("owed", totals.owed, 3),
        ("missing", totals.missing, 4),
    ];
    let judgement = if totals.adds_up() { "adds up" } else { "does not add up" };
    _ = write!(
        html,
        "<p class=\"equation\">accepted = delivered + dead-lettered + owed + missing: \
         <strong class=\"{}\">{judgement}</strong></p>\n<div class=\"bar\" role=\"img\" \
         aria-label=\"Shares of the accepted events\">",
        if totals.adds_up() { "good" } else { "bad" }
    );
    for (name, count, colour) in parts.iter().filter(|(_, count, _)| *count > 0) {
        let share = 100.0 * ratio(*count as f64, totals.accepted as f64);
        _ = write!(html, "<i class=\"s{colour}\" style=\"flex:{share:.4}\" title=\"{name}\"></i>");
    }
    html.push_str("</div>\n<div class=\"side\">\n");
    let mut table = Table::new(&["events", "count", "what they are"]);
    for (name, count, meaning, bad) in account(summary) {
        let count = crate::units::show_count(count);
        let count = if bad { Cell::toned(&count, "bad right") } else { Cell::number(count) };
        table.row(vec![Cell::text(name), count, Cell::text(meaning)]);
    }
    html.push_str(&table.html());
    html.push_str(&tables::answers(summary).html());
    html.push_str("</div>\n");
    let drain = &summary.drain;
    let time = drain.seconds.map_or_else(
        || "was not worked off in time".to_owned(),
        |seconds| format!("was worked off in {seconds:.2} s"),
    );
    if drain.backlog > 0 {
        _ = writeln!(
            html,
            "<p>At the end of the load {} events were still to be delivered; that {time} \
             ({:.0}/s).</p>",
            crate::units::show_count(drain.backlog),
            drain.rate
        );
    }
    close(html);
}

fn cloud(summary: &Summary, html: &mut String) {
    let Some(record) = &summary.aws else { return };
    open("SQS and DynamoDB", "aws", html);
    let figures = aws::figures(record);
    let escaped = figures.into_iter().map(|(name, value)| (escape(&name), value));
    let escaped: Vec<_> = escaped.collect();
    let rows: Vec<_> = escaped.iter().map(|(name, value)| (&**name, value.clone())).collect();
    html.push_str(&pairs(&rows));
    html.push_str(&tables::operations(record).html());
    close(html);
}

fn fairness(summary: &Summary, html: &mut String) {
    let fairness = &summary.fairness;
    if fairness.tenants_seen < 2 && summary.groups.len() < 2 {
        return;
    }
    open("Fairness among tenants", "fairness", html);
    _ = writeln!(
        html,
        "<p>Jain’s index of the tenants’ mean latencies: <strong>{:.3}</strong> over {} tenants \
         (1: all are served alike; 1/n: one has it all).</p>",
        fairness.jain, fairness.tenants_seen
    );
    html.push_str(&tables::groups(summary).html());
    html.push_str("<div class=\"side\">\n");
    html.push_str(&tables::tenants("slowest tenants", &fairness.slowest).html());
    html.push_str(&tables::tenants("busiest tenants", &fairness.busiest).html());
    html.push_str("</div>\n");
    close(html);
}

fn surroundings(summary: &Summary, html: &mut String) {
    open("Environment", "environment", html);
    html.push_str(&pairs(&environment(summary)));
    close(html);
    open("Scenario", "scenario", html);
    _ = writeln!(html, "<p>The same again:</p>\n<pre>{}</pre>", escape(&command(summary)));
    let toml = escape(&summary.scenario.toml);
    _ = writeln!(html, "<details open><summary>What held, overrides included</summary>");
    _ = writeln!(html, "<pre>{toml}</pre></details>");
    html.push_str(
        "<p class=\"facts\">Raw figures: <code>summary.json</code>, <code>intervals.hlog</code> \
         and <code>*.hgrm</code> beside this file; the last two are read by HdrHistogram’s own \
         tools.</p>\n",
    );
    close(html);
}

fn pairs(rows: &[(&str, String)]) -> String {
    let mut html = String::from("<dl class=\"pairs\">\n");
    for (name, value) in rows {
        let value = if value.trim().is_empty() { "unknown" } else { value };
        _ = writeln!(html, "<dt>{name}</dt><dd>{}</dd>", escape(value));
    }
    html.push_str("</dl>\n");
    html
}
