//! What the live view shows: the last interval, the run until now, and a strip of the past.
//!
//! Bounded: of the past only as many intervals as a wide terminal has columns.

use std::collections::VecDeque;

use crate::record::Quantiles;
use crate::run::Snapshot;
use crate::scenario::{Arrival, Scenario};
use crate::units::{ratio, show_count};

/// No terminal has more columns.
const PAST_MAX: usize = 512;
/// Notes that are kept.
const NOTES_MAX: usize = 4;

/// The state of a view.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// The scenario's name.
    pub name: String,
    /// What is asked for, in words.
    pub asked: String,
    /// Whether the generator waits for answers.
    pub closed_loop: bool,
    /// The phase, or what happens before the first one.
    pub phase: String,
    /// The last interval; `None` before its end.
    pub last: Option<Snapshot>,
    /// Latencies of each interval, the oldest first.
    pub past: VecDeque<Quantiles>,
    /// Deliveries a second of each.
    pub rates: VecDeque<u64>,
    /// Refused and cut off since the beginning.
    pub refused: u64,
    /// Events without an answer since the beginning.
    pub cut_off: u64,
    /// The last notes, the newest last.
    pub notes: VecDeque<String>,
}

impl State {
    /// A run begins.
    pub fn begin(&mut self, scenario: &Scenario) {
        scenario.name.clone_into(&mut self.name);
        self.asked = asked(&scenario.arrival);
        self.closed_loop = scenario.is_closed();
        "set-up".clone_into(&mut self.phase);
    }

    /// Something that is not in the figures.
    pub fn note(&mut self, text: &str) {
        keep(&mut self.notes, text.to_owned(), NOTES_MAX);
    }

    /// An interval is over.
    pub fn add(&mut self, snapshot: &Snapshot) {
        let interval = &snapshot.interval;
        keep(&mut self.past, interval.end_to_end, PAST_MAX);
        let rate = ratio(interval.delivered as f64, interval.length_s);
        keep(&mut self.rates, crate::units::floor(rate), PAST_MAX);
        self.refused += interval.refused;
        self.cut_off += interval.cut_off;
        self.last = Some(snapshot.clone());
    }
}

fn keep<T>(queue: &mut VecDeque<T>, value: T, most: usize) {
    if queue.len() == most {
        queue.pop_front();
    }
    queue.push_back(value);
}

/// What an arrival process asks for.
fn asked(arrival: &Arrival) -> String {
    let rate = |rate: f64| format!("{}/s", show_count(crate::units::floor(rate.round())));
    match arrival {
        Arrival::Constant { rate: asked } => format!("{} evenly", rate(*asked)),
        Arrival::Poisson { rate: asked } => format!("{} at random", rate(*asked)),
        Arrival::Bursts { rate: asked, burst_rate, .. } => {
            format!("{}, {} in bursts", rate(*asked), rate(*burst_rate))
        }
        Arrival::Ramp { from, to } => format!("{} to {}", rate(*from), rate(*to)),
        Arrival::Replay { .. } => "as recorded".to_owned(),
        Arrival::Closed { clients } => format!("{} clients", show_count(u64::from(*clients))),
    }
}

/// What share of the values of `quantiles` lies between two latencies, as far as its figures tell.
pub(super) fn share(quantiles: &Quantiles, from: f64, to: f64) -> f64 {
    if quantiles.count == 0 {
        return 0.0;
    }
    (below(quantiles, to) - below(quantiles, from)).max(0.0)
}

/// What share is below a latency: between the known quantiles in proportion of magnitudes.
fn below(quantiles: &Quantiles, latency: f64) -> f64 {
    let known = [
        (quantiles.min_ns, 0.0),
        (quantiles.p50_ns, 0.5),
        (quantiles.p75_ns, 0.75),
        (quantiles.p90_ns, 0.9),
        (quantiles.p99_ns, 0.99),
        (quantiles.p99_9_ns, 0.999),
        (quantiles.p99_99_ns, 0.9999),
        (quantiles.max_ns, 1.0),
    ];
    let mut before = (quantiles.min_ns.max(1) as f64, 0.0);
    for (value, part) in known {
        let value = value.max(1) as f64;
        if latency < value {
            if latency <= before.0 || value <= before.0 {
                return before.1;
            }
            let way = (latency / before.0).ln() / (value / before.0).ln();
            return before.1 + way * (part - before.1);
        }
        before = (value, part);
    }
    1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For all quantiles: the shares of all stretches add up to one.
    #[test]
    fn shares_add_up() {
        let usual = Quantiles {
            count: 100,
            min_ns: 900_000,
            p50_ns: 2_000_000,
            p75_ns: 2_500_000,
            p90_ns: 4_000_000,
            p99_ns: 9_000_000,
            p99_9_ns: 20_000_000,
            p99_99_ns: 20_000_000,
            max_ns: 20_000_000,
            ..Quantiles::default()
        };
        let single = Quantiles {
            count: 1,
            min_ns: 5_000,
            p50_ns: 5_000,
            p75_ns: 5_000,
            p90_ns: 5_000,
            p99_ns: 5_000,
            p99_9_ns: 5_000,
            p99_99_ns: 5_000,
            max_ns: 5_000,
            ..Quantiles::default()
        };
        for quantiles in [usual, single] {
            let bounds: Vec<f64> = (0..=40).map(|n| 1e3 * 1.5_f64.powi(n)).collect();
            let shares: Vec<f64> =
                bounds.windows(2).map(|pair| share(&quantiles, pair[0], pair[1])).collect();
            let sum: f64 = shares.iter().sum();
            assert!((sum - 1.0).abs() < 1e-9, "{sum}");
            assert!(shares.iter().all(|share| *share >= 0.0));
        }
        assert_eq!(
            share(&Quantiles::default(), 0.0, 1e9).total_cmp(&0.0),
            std::cmp::Ordering::Equal
        );
    }

    #[test]
    fn the_past_is_bounded() {
        let mut state = State::default();
        for note in 0..20 {
            state.note(&note.to_string());
        }
        assert_eq!(state.notes, ["16", "17", "18", "19"]);
    }
}
