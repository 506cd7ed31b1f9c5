//! Margins: differences that matter to nobody.

use super::sample::{CPU, QUANTILES, RATE};

/// How much of a difference is none. A latency's margin is a fraction of it, wider for rarer
/// quantiles because they are noisier on any machine, and never below a span that a reader of
/// latencies would not notice.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Margins {
    /// For the median and for processor time, as a fraction; the others follow from it.
    pub base: f64,
}

/// Factors on the base, and the least that counts in nanoseconds, for each quantile. A two-core
/// machine with neighbours, compared with itself, stays within them (README, "how sure").
const LATENCIES: [(f64, f64); 4] = [(1.0, 0.5e6), (1.5, 1.0e6), (2.5, 2.0e6), (5.0, 4.0e6)];
const CPU_FLOOR_NS: f64 = 1_000.0;
/// Throughput hardly varies: an open loop either keeps up or does not.
const RATE_FACTOR: f64 = 0.5;

impl Default for Margins {
    fn default() -> Self {
        Self { base: 0.1 }
    }
}

impl Margins {
    /// The margin of a metric as a fraction, where A's figure is `value`.
    pub(super) fn of(&self, metric: usize, value: f64) -> f64 {
        let at_least = |factor: f64, least: f64| {
            let floor = if value > 0.0 { least / value } else { 0.0 };
            (self.base * factor).max(floor)
        };
        match metric {
            CPU => at_least(1.0, CPU_FLOOR_NS),
            RATE => self.base * RATE_FACTOR,
            _ => {
                let (factor, least) = LATENCIES[metric % QUANTILES.len()];
                at_least(factor, least)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_latencies_have_a_floor() {
        let margins = Margins::default();
        assert!((margins.of(0, 1e6) - 0.5).abs() < 1e-9, "half a millisecond of one");
        assert!((margins.of(0, 100e6) - 0.1).abs() < 1e-9);
        assert!((margins.of(7, 100e6) - 0.5).abs() < 1e-9);
        assert!((margins.of(RATE, 1000.0) - 0.05).abs() < 1e-9);
    }
}
