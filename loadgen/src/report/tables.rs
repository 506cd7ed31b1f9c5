//! The tables of a report, for the page.

use std::fmt::Write as _;

use super::aws;
use super::escape::escape;
use crate::record::{AwsRecord, Quantiles, Summary, TenantRecord};
use crate::units::{floor, show_count, show_duration};

/// A table with a head.
#[derive(Debug)]
pub(super) struct Table {
    head: Vec<String>,
    rows: Vec<Vec<Cell>>,
}

/// A cell.
#[derive(Debug)]
pub(super) struct Cell {
    text: String,
    class: &'static str,
}

impl Cell {
    /// Words, at the left.
    pub(super) fn text(text: &str) -> Self {
        Self { text: text.to_owned(), class: "" }
    }

    /// A number, at the right.
    pub(super) const fn number(text: String) -> Self {
        Self { text, class: "right" }
    }

    /// With classes of its own.
    pub(super) fn toned(text: &str, class: &'static str) -> Self {
        Self { text: text.to_owned(), class }
    }
}

impl Table {
    pub(super) fn new(head: &[&str]) -> Self {
        Self { head: head.iter().map(|&name| name.to_owned()).collect(), rows: Vec::new() }
    }

    pub(super) fn row(&mut self, cells: Vec<Cell>) {
        debug_assert_eq!(cells.len(), self.head.len(), "a cell for each column");
        self.rows.push(cells);
    }

    /// As HTML that scrolls by itself where a screen is too narrow; nothing where it has no rows.
    pub(super) fn html(&self) -> String {
        let Some(first) = self.rows.first() else {
            return String::new();
        };
        let mut html = String::from("<div class=\"scroll\"><table><thead><tr>");
        for (name, cell) in self.head.iter().zip(first) {
            let class = if cell.class.contains("right") { " class=\"right\"" } else { "" };
            _ = write!(html, "<th{class}>{}</th>", escape(name));
        }
        html.push_str("</tr></thead><tbody>\n");
        for row in &self.rows {
            html.push_str("<tr>");
            for cell in row {
                let text = escape(&cell.text);
                match cell.class {
                    "" => _ = write!(html, "<td>{text}</td>"),
                    class => _ = write!(html, "<td class=\"{class}\">{text}</td>"),
                }
            }
            html.push_str("</tr>\n");
        }
        html.push_str("</tbody></table></div>\n");
        html
    }
}

const QUANTILES: [&str; 7] = ["mean", "p50", "p90", "p99", "p99.9", "p99.99", "max"];

fn quantiles(of: &Quantiles) -> impl Iterator<Item = Cell> {
    let values =
        [floor(of.mean_ns), of.p50_ns, of.p90_ns, of.p99_ns, of.p99_9_ns, of.p99_99_ns, of.max_ns];
    let empty = of.count == 0;
    values
        .into_iter()
        .map(move |value| Cell::number(if empty { "–".to_owned() } else { show_duration(value) }))
}

fn with_quantiles(first: &[&str]) -> Table {
    Table::new(&[first, &QUANTILES[..]].concat())
}

/// Latencies by phase.
pub(super) fn phases(summary: &Summary) -> Table {
    let mut table = with_quantiles(&["phase", "latency", "count"]);
    for phase in &summary.phases {
        let kinds = [
            ("end to end", &phase.end_to_end),
            ("publish", &phase.publish),
            ("pacer lag", &phase.lag),
            ("retry lateness", &phase.retry_lateness),
        ];
        for (index, (kind, of)) in kinds.into_iter().enumerate() {
            // A phase in which nothing was sent is one line, not four empty ones.
            if of.count == 0 {
                continue;
            }
            let name = if index == 0 { phase.name.as_str() } else { "" };
            let count = Cell::number(show_count(of.count));
            let mut row = vec![Cell::text(name), Cell::text(kind), count];
            row.extend(quantiles(of));
            table.row(row);
        }
    }
    table
}

/// Latencies by group of tenants.
pub(super) fn groups(summary: &Summary) -> Table {
    let mut table = with_quantiles(&["group", "tenants", "accepted", "delivered"]);
    for group in &summary.groups {
        let mut row = vec![
            Cell::text(&group.name),
            Cell::number(show_count(u64::from(group.tenants))),
            Cell::number(show_count(group.accepted)),
            Cell::number(show_count(group.delivered)),
        ];
        row.extend(quantiles(&group.end_to_end.quantiles));
        table.row(row);
    }
    table
}

/// A few tenants.
pub(super) fn tenants(title: &str, tenants: &[TenantRecord]) -> Table {
    let mut table = Table::new(&[title, "group", "accepted", "delivered", "mean", "max"]);
    for tenant in tenants {
        table.row(vec![
            Cell::text(&format!("№ {}", tenant.tenant)),
            Cell::text(&tenant.group),
            Cell::number(show_count(tenant.accepted)),
            Cell::number(show_count(tenant.delivered)),
            Cell::number(show_duration(tenant.mean_ns)),
            Cell::number(show_duration(tenant.max_ns)),
        ]);
    }
    table
}

/// What became of retries.
pub(super) fn retries(summary: &Summary) -> Table {
    let retries = &summary.retries;
    let mut table = Table::new(&["retries", "count", "what they are"]);
    let mut row = |name: &str, count: u64, bad: bool, what: &str| {
        let count = show_count(count);
        let count = if bad { Cell::toned(&count, "bad right") } else { Cell::number(count) };
        table.row(vec![Cell::text(name), count, Cell::text(what)]);
    };
    row("seen", retries.seen, false, "followed an attempt that the sink failed");
    let earliest = format!(
        "before the schedule, or a Retry-After, lets them{}",
        match retries.earliest_ns {
            0 => String::new(),
            most => format!("; by {} at most", show_duration(most)),
        }
    );
    row("early", retries.early, retries.early > 0, &earliest);
    let late = summary.latencies.retry_lateness.quantiles.max_ns;
    let overdue = format!(
        "should have come before the run ended{}",
        match retries.overdue_max_ns {
            0 => String::new(),
            most => format!("; {} ago at most", show_duration(most)),
        }
    );
    row("overdue", retries.overdue, retries.overdue_max_ns > late, &overdue);
    row("not due yet", retries.awaited - retries.overdue.min(retries.awaited), false, "awaited");
    row("made again", retries.repeated, false, "under their own number: cut off, not failed");
    row("unmatched", retries.unmatched, false, "the failure before them was not seen");
    row("not followed", retries.not_followed, false, "too many others were");
    table
}

/// What was asked of SQS and DynamoDB.
pub(super) fn operations(record: &AwsRecord) -> Table {
    let mut table = Table::new(&aws::COLUMNS);
    for [name, numbers @ ..] in aws::operations(record) {
        let mut row = vec![Cell::text(&name)];
        row.extend(numbers.map(Cell::number));
        table.row(row);
    }
    table
}

/// What was done to the system.
pub(super) fn chaos(summary: &Summary) -> Table {
    let mut table = Table::new(&[
        "signal",
        "at",
        "ended after",
        "ready after",
        "first 201",
        "first delivery",
        "without service",
    ]);
    let known =
        |nanos: Option<u64>| Cell::number(nanos.map_or_else(|| "never".to_owned(), show_duration));
    for step in &summary.chaos {
        table.row(vec![
            Cell::text(&format!("SIG{}", step.signal.to_uppercase())),
            Cell::number(format!("{:.1} s", step.at_s)),
            Cell::number(show_duration(step.stopped_ns)),
            known(step.ready_ns),
            known(step.first_accepted_ns),
            known(step.first_delivery_ns),
            known(step.gap_ns),
        ]);
    }
    table
}

/// What was answered, by whom and how often.
pub(super) fn answers(summary: &Summary) -> Table {
    let answers = &summary.answers;
    let mut table = Table::new(&["answers", "what", "count"]);
    let mut row = |who: &str, what: &str, count: u64| {
        if count > 0 {
            table.row(vec![Cell::text(who), Cell::text(what), Cell::number(show_count(count))]);
        }
    };
    for (status, count) in &answers.published {
        row("system", &format!("status {status}"), *count);
    }
    for (what, count) in &answers.cut_off {
        row("system", &format!("no answer: {what}"), *count);
    }
    row("system", "connections made", answers.connections);
    row("system", "connections refused", answers.connect_errors);
    for (status, count) in &answers.delivered {
        row("sink", &format!("status {status}"), *count);
    }
    for (what, count) in &answers.withheld {
        row("sink", what, *count);
    }
    for (what, count) in &answers.faulty {
        row("sink", &format!("faulty: {what}"), *count);
    }
    for (number, count) in &answers.attempts {
        row("sink", &format!("attempt number {number}"), *count);
    }
    row("sink", "connections made", answers.sink_connections);
    table
}
