//! How the demo goes: bars and figures that move on a terminal, one line a second elsewhere.

use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use hdrhistogram::Histogram;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::figures::{count, counted, time};

/// How often a terminal is drawn.
pub(super) const DRAW_EVERY: Duration = Duration::from_millis(100);
/// How often a line is printed where there is no terminal, in microseconds.
const LINE_EVERY_US: u64 = 1_000_000;

/// Where the demo stands.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    /// Events to post in all.
    pub(super) events: u64,
    /// Events that got a 201.
    pub(super) accepted: u64,
    /// Of them, those delivered.
    pub(super) delivered: u64,
    /// Of them, those in the dead-letter queue.
    pub(super) dead_lettered: u64,
    /// Of them, those whose retry is not due yet.
    pub(super) retrying: u64,
    /// Microseconds since the first post.
    pub(super) elapsed_us: u64,
    /// From post to receipt, in microseconds, of the healthy tenant's events.
    pub(super) latencies: Histogram<u64>,
}

/// Shows it.
#[derive(Debug)]
pub(super) enum Progress {
    /// On a terminal.
    Moving(Box<Moving>),
    /// Anywhere else.
    Lines {
        /// When the last line was printed, in microseconds since the first post.
        last_us: u64,
    },
}

/// Bars and lines that are drawn over and over.
#[derive(Debug)]
pub(super) struct Moving {
    all: MultiProgress,
    posted: ProgressBar,
    settled: ProgressBar,
    figures: [ProgressBar; 3],
}

impl Snapshot {
    /// Events that wait for an attempt now.
    pub(super) const fn pending(&self) -> u64 {
        self.accepted.saturating_sub(self.settled()).saturating_sub(self.retrying)
    }

    /// Events that are delivered or dead-lettered.
    pub(super) const fn settled(&self) -> u64 {
        self.delivered + self.dead_lettered
    }

    fn rate(&self) -> String {
        let per_second = self.accepted.saturating_mul(1_000_000) / self.elapsed_us.max(1);
        format!("{} events/s", count(per_second))
    }
}

/// Four percentiles with their names and units.
pub(super) struct Percentiles<'a>(pub(super) &'a Histogram<u64>);

impl Percentiles<'_> {
    /// The four values, or dashes where nothing was measured.
    pub(super) fn values(&self) -> [String; 4] {
        [50.0, 90.0, 99.0, 99.9].map(|part| {
            let nothing = self.0.is_empty();
            if nothing { "-".to_owned() } else { time(self.0.value_at_percentile(part)) }
        })
    }
}

impl fmt::Display for Percentiles<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p90, p99, p999] = self.values();
        write!(f, "p50 {p50}  p90 {p90}  p99 {p99}  p99.9 {p999}")
    }
}

impl Progress {
    /// Bars where standard output is a terminal, lines where it is not.
    pub(super) fn begin(events: u64) -> Self {
        if !io::stdout().is_terminal() {
            return Self::Lines { last_us: 0 };
        }
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stdout());
        let bar = |name: &str, colour: &str| {
            let template = format!("  {name:<10} {{wide_bar:.{colour}/dim}} {{msg}}");
            let style = ProgressStyle::with_template(&template).expect("the template is lawful");
            let bar = all.add(ProgressBar::new(events));
            bar.with_style(style.progress_chars("━━─"))
        };
        let (posted, settled) = (bar("posted", "cyan"), bar("settled", "green"));
        let figures = std::array::from_fn(|_| {
            let style = ProgressStyle::with_template("  {msg}").expect("the template is lawful");
            all.add(ProgressBar::new(0)).with_style(style)
        });
        Self::Moving(Box::new(Moving { all, posted, settled, figures }))
    }

    /// Shows where the demo stands.
    pub(super) fn show(&mut self, snapshot: &Snapshot) {
        match self {
            Self::Moving(moving) => moving.draw(snapshot),
            Self::Lines { last_us } => {
                if snapshot.elapsed_us >= *last_us + LINE_EVERY_US {
                    *last_us = snapshot.elapsed_us;
                    say(&line(snapshot));
                }
            }
        }
    }

    /// Says what is being done while nothing else is shown.
    pub(super) fn note(&self, text: &str) {
        if let Self::Moving(moving) = self {
            moving.figures[2].set_message(text.to_owned());
        }
    }

    /// Takes away what moves.
    pub(super) fn end(self) {
        if let Self::Moving(moving) = self {
            // A terminal that is gone has nothing left to take away.
            drop(moving.all.clear());
        }
    }
}

impl Moving {
    fn draw(&self, snapshot: &Snapshot) {
        let Snapshot { events, accepted, delivered, dead_lettered, retrying, .. } = snapshot;
        self.posted.set_position(*accepted);
        let of = counted(*events, "event");
        self.posted.set_message(format!("{} of {of}, {}", count(*accepted), snapshot.rate()));
        self.settled.set_position(snapshot.settled());
        self.settled.set_message(format!("{} of {of}", count(snapshot.settled())));
        let [statuses, waiting, latencies] = &self.figures;
        let pair = |(one, first), (other, second)| {
            format!("{one:<16}{:>11}      {other:<16}{:>11}", count(first), count(second))
        };
        statuses.set_message(pair(("delivered", *delivered), ("dead-lettered", *dead_lettered)));
        waiting.set_message(pair(("pending", snapshot.pending()), ("waiting to retry", *retrying)));
        latencies.set_message(format!("latency    {}", Percentiles(&snapshot.latencies)));
    }
}

/// One line for where there is no terminal.
fn line(snapshot: &Snapshot) -> String {
    format!(
        "  {:>6}  posted {} of {}, delivered {}, dead-lettered {}, pending {}, \
         waiting to retry {}, latency {}\n",
        time(snapshot.elapsed_us),
        count(snapshot.accepted),
        counted(snapshot.events, "event"),
        count(snapshot.delivered),
        count(snapshot.dead_lettered),
        count(snapshot.pending()),
        count(snapshot.retrying),
        Percentiles(&snapshot.latencies),
    )
}

/// Prints. A reader that has gone away does not stop the demo.
pub(super) fn say(text: &str) {
    let mut output = io::stdout().lock();
    drop(output.write_all(text.as_bytes()).and_then(|()| output.flush()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_every_status_and_a_unit_for_every_figure() {
        let mut latencies = Histogram::new_with_bounds(1, 1_000_000, 3).unwrap();
        latencies.record(1_500).unwrap();
        let snapshot = Snapshot {
            events: 1_000,
            accepted: 600,
            delivered: 480,
            dead_lettered: 12,
            retrying: 90,
            elapsed_us: 3_000_000,
            latencies,
        };
        assert_eq!(
            line(&snapshot),
            "  3.00 s  posted 600 of 1,000 events, delivered 480, dead-lettered 12, pending 18, \
             waiting to retry 90, latency p50 1.50 ms  p90 1.50 ms  p99 1.50 ms  p99.9 1.50 ms\n"
        );
    }
}
