//! Margins: differences that matter to nobody.

use super::sample::{self, QUANTILES, RATE};

/// How much of a difference is none. A latency's margin is a fraction of it, wider for rarer
/// quantiles because they are noisier on any machine, and never below a span of time: where an
/// event takes a millisecond, half a millisecond is the disk's mood.
///
/// The default is what a busy two-core machine allows: compared with itself while compilers ran
/// beside it (load average 5 to 8; blocks of one program had medians from 0.4 to 5 ms), twenty-four
/// pairs have standard errors of 15 % of a median, 10 % of a p90 or p99 and 2 % of the processor
/// time. On a quiet machine a fourth of it is reached with a few pairs: `--margin 5`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Margins {
    /// For the median, as a fraction; the others follow from it.
    pub base: f64,
}

/// Factors on the base for each quantile, and the least that counts at the default base, in
/// nanoseconds.
const LATENCIES: [(f64, f64); 4] = [(1.0, 1e6), (2.0, 2e6), (3.0, 4e6), (4.0, 8e6)];
/// Processor time is counted, not waited for: it is the steadiest figure but for throughput.
const CPU: (f64, f64) = (0.75, 2e3);
/// Throughput hardly varies: an open loop either keeps up or does not.
const RATE_FACTOR: f64 = 0.25;
const BASE: f64 = 0.2;

impl Default for Margins {
    fn default() -> Self {
        Self { base: BASE }
    }
}

impl Margins {
    /// The margin of a metric as a fraction, where A's figure is `value`.
    pub(super) fn of(&self, metric: usize, value: f64) -> f64 {
        let (factor, least) = match metric {
            RATE => return self.base * RATE_FACTOR,
            sample::CPU => CPU,
            _ => LATENCIES[metric % QUANTILES.len()],
        };
        let floor = if value > 0.0 { least * self.base / BASE / value } else { 0.0 };
        (self.base * factor).max(floor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_latencies_have_a_floor() {
        let margins = Margins::default();
        assert!((margins.of(0, 2e6) - 0.5).abs() < 1e-9, "a millisecond of two");
        assert!((margins.of(0, 100e6) - 0.2).abs() < 1e-9);
        assert!((margins.of(7, 100e6) - 0.8).abs() < 1e-9);
        assert!((margins.of(RATE, 1000.0) - 0.05).abs() < 1e-9);
        assert!((margins.of(sample::CPU, 80e3) - 0.15).abs() < 1e-9);
        let narrow = Margins { base: 0.05 };
        assert!((narrow.of(0, 2e6) - 0.125).abs() < 1e-9, "floors follow the base");
    }
}
