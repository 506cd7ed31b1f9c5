//! The demo's last word: a table that must add up, and where to go on from there.

use std::fmt::Write as _;
use std::net::SocketAddr;

use hdrhistogram::Histogram;

use super::figures::{count, counted, time};
use super::progress::Percentiles;
use super::tally::{Role, Tally};
use super::tenants::{Statuses, Tenants};

const ADDS_UP: &str = "it adds up: every event that got a 201 is accounted for";
const DOES_NOT: &str = "IT DOES NOT ADD UP: events that got a 201 are missing from the API's lists";

/// What came of everything that was posted.
#[derive(Debug)]
pub(super) struct Report {
    /// Events to post.
    pub(super) events: u64,
    /// How many of each tenant's events got a 201, and what the API says of them now.
    pub(super) tenants: [(u64, Statuses); 3],
    /// From post to receipt, in microseconds, by tenant.
    pub(super) latencies: [Histogram<u64>; 3],
    /// Posts that got no 201, and why the first one did not.
    pub(super) refusals: (u64, Option<String>),
    /// Deliveries whose signature was right, and those whose was not.
    pub(super) signatures: (u64, u64),
    /// How long it took.
    pub(super) times: Times,
}

/// How long the demo took, and how long it should have.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Times {
    /// Events to post a second; 0 for as fast as it goes.
    pub(super) rate: u64,
    /// From the first post to the last 201, in microseconds; none where it was interrupted.
    pub(super) posted_us: Option<u64>,
    /// From the first post to the last outcome, in microseconds.
    pub(super) settled_us: u64,
}

impl Times {
    /// One line, or two.
    fn text(&self, accepted: u64) -> String {
        let settled = time(self.settled_us);
        let Some(posted_us) = self.posted_us else {
            return format!("  interrupted after {settled}");
        };
        let per_second = accepted.saturating_mul(1_000_000) / posted_us.max(1);
        let mut text =
            format!("  posted {} events/s, all settled after {settled}", count(per_second));
        // Latencies count from when an event was to be posted, so this explains them.
        if self.rate > 0 && per_second < self.rate - self.rate / 20 {
            let rate = count(self.rate);
            text += &format!("\n  this machine was too busy for the {rate} events/s asked for");
        }
        text
    }
}

impl Report {
    /// The figures of the tally beside what the API says.
    pub(super) fn new(events: u64, tally: &Tally, statuses: [Statuses; 3], times: Times) -> Self {
        let accepted = Role::ALL.map(|role| tally.accepted_of(role));
        Self {
            events,
            tenants: std::array::from_fn(|place| (accepted[place], statuses[place])),
            latencies: Role::ALL.map(|role| tally.latencies(role)),
            refusals: tally.refusals(),
            signatures: tally.signatures(),
            times,
        }
    }

    /// Whether every accepted event is delivered, dead-lettered or waiting, by tenant.
    pub(super) fn adds_up(&self) -> bool {
        self.tenants.iter().all(|(accepted, statuses)| *accepted == statuses.all())
    }

    /// Whether besides everything was accepted and settled, and every signature was right.
    pub(super) fn is_complete(&self) -> bool {
        let (accepted, all) = self.total();
        self.adds_up() && accepted == self.events && all.waiting == 0 && self.signatures.1 == 0
    }

    fn total(&self) -> (u64, Statuses) {
        let none = (0, Statuses::default());
        self.tenants
            .iter()
            .fold(none, |sum, (accepted, statuses)| (sum.0 + accepted, sum.1 + *statuses))
    }

    /// The report as it is printed.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        self.write(&mut text).expect("writing to a String cannot fail");
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        let heads = ["accepted", "delivered", "dead-lettered", "waiting", "attempts"];
        row(text, "events", heads.map(str::to_owned))?;
        for (role, (accepted, statuses)) in Role::ALL.into_iter().zip(&self.tenants) {
            row(text, role.name(), cells(*accepted, statuses))?;
        }
        let (accepted, all) = self.total();
        row(text, "all", cells(accepted, &all))?;
        let heads = ["p50", "p90", "p99", "p99.9"].map(str::to_owned);
        writeln!(text)?;
        row(text, "latency", heads)?;
        for (role, latencies) in Role::ALL.into_iter().zip(&self.latencies) {
            row(text, role.name(), Percentiles(latencies).values())?;
        }
        writeln!(
            text,
            "  from post to receipt, the sync to disk included; flaky takes the third attempt\n"
        )?;
        writeln!(
            text,
            "  accepted {} = delivered {} + dead-lettered {} + waiting {}",
            counted(accepted, "event"),
            count(all.delivered),
            count(all.dead_lettered),
            count(all.waiting),
        )?;
        writeln!(text, "  {}", if self.adds_up() { ADDS_UP } else { DOES_NOT })?;
        let (right, wrong) = self.signatures;
        writeln!(text, "  signatures: {} right, {} wrong", count(right), count(wrong))?;
        writeln!(text, "{}", self.times.text(accepted))?;
        if let (refused @ 1.., reason) = &self.refusals {
            let reason = reason.as_deref().unwrap_or("no reason given");
            writeln!(text, "  not accepted: {}; the first: {reason}", counted(*refused, "post"))?;
        }
        Ok(())
    }
}

fn cells(accepted: u64, statuses: &Statuses) -> [String; 5] {
    let Statuses { delivered, dead_lettered, waiting, attempts } = *statuses;
    [accepted, delivered, dead_lettered, waiting, attempts].map(count)
}

fn row<const N: usize>(text: &mut String, name: &str, cells: [String; N]) -> std::fmt::Result {
    write!(text, "  {name:<9}")?;
    for cell in cells {
        write!(text, " {cell:>12}")?;
    }
    writeln!(text)
}

/// Where to go on from here.
pub(super) fn invitation(api: SocketAddr, tenants: &Tenants) -> String {
    let key = tenants.key(Role::Healthy).expose();
    format!(
        "\n  still serving, until Ctrl-C:\n  \
         docs     http://{api}/v1/docs (Swagger UI)\n           \
         http://{api}/v1/redoc (ReDoc)\n           \
         http://{api}/v1/openapi.json (the schema)\n  \
         receiver http://{api}/receiver/docs\n\n  \
         post one more:\n  \
         KEY={key}\n  \
         curl http://{api}/v1/events -H \"Authorization: Bearer $KEY\" \\\n    \
         -d '{{\"hello\":\"world\"}}'\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(waiting: u64) -> Report {
        let tally = Tally::default();
        let statuses = |delivered, dead_lettered| Statuses {
            delivered,
            dead_lettered,
            waiting: 0,
            attempts: delivered + 5 * dead_lettered,
        };
        let statuses = [statuses(800, 0), statuses(150, 0), statuses(0, 50 - waiting)];
        let times = Times { rate: 0, posted_us: Some(1_000_000), settled_us: 2_000_000 };
        let mut report = Report::new(1_000, &tally, statuses, times);
        report.tenants[0].0 = 800;
        report.tenants[1].0 = 150;
        report.tenants[2].0 = 50;
        report
    }

    /// The sum is of the API's words and the 201s that were counted: one missing event shows.
    #[test]
    fn a_missing_event_does_not_add_up() {
        assert!(report(0).adds_up() && report(0).is_complete());
        assert!(!report(1).adds_up() && !report(1).is_complete());
        assert!(report(1).text().contains(DOES_NOT), "{}", report(1).text());
        let text = report(0).text();
        let line = "accepted 1,000 events = delivered 950 + dead-lettered 50 + waiting 0\n";
        assert!(text.contains(line) && text.contains(ADDS_UP), "{text}");
    }

    /// What is still waiting adds up, but is not complete.
    #[test]
    fn waiting_events_add_up_but_are_not_done() {
        let mut report = report(1);
        report.tenants[2].1.waiting = 1;
        assert!(report.adds_up() && !report.is_complete());
        report.tenants[2].1.waiting = 0;
        report.tenants[2].1.dead_lettered += 1;
        report.signatures = (7, 1);
        assert!(report.adds_up() && !report.is_complete(), "a wrong signature");
    }

    #[test]
    fn a_rate_that_was_not_kept_is_told() {
        let times = Times { rate: 500, posted_us: Some(4_000_000), settled_us: 5_000_000 };
        assert!(times.text(1_000).contains("posted 250 events/s"), "{}", times.text(1_000));
        assert!(times.text(1_000).contains("too busy for the 500 events/s"));
        assert!(!times.text(1_990).contains("too busy"), "{}", times.text(1_990));
        let times = Times { posted_us: None, ..times };
        assert_eq!(times.text(1_000), "  interrupted after 5.00 s");
    }

    #[test]
    fn every_line_fits_a_terminal_of_80_columns() {
        for line in report(0).text().lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
}
