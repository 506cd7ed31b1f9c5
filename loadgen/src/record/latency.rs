//! Distributions of latencies: HdrHistograms with three digits, and what is written of them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer as _, V2DeflateSerializer};
use serde::{Deserialize, Serialize};

use crate::clock::Nanos;
use crate::units::floor;

/// The longest latency that is told apart: an hour. Longer ones count as one.
pub const NANOS_MAX: Nanos = 3_600_000_000_000;
/// Differences below a microsecond are not kept; they would cost memory and mean nothing.
const NANOS_MIN: Nanos = 1_000;
const DIGITS: u8 = 3;

/// An empty histogram of latencies in nanoseconds, three significant digits (200 kB).
///
/// # Panics
/// Never: the bounds are constants that suit it.
#[must_use]
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(NANOS_MIN, NANOS_MAX, DIGITS)
        .expect("constant bounds, the greater at least twice the smaller")
}

/// Adds a latency; one above an hour counts as an hour.
pub fn record(histogram: &mut Histogram<u64>, latency: Nanos) {
    histogram.saturating_record(latency);
}

/// The histograms that belong together.
#[derive(Clone, Debug)]
pub struct LatencySet {
    /// Intended → 201.
    pub publish: Histogram<u64>,
    /// Intended → first byte at the sink.
    pub end_to_end: Histogram<u64>,
    /// Intended → sent.
    pub lag: Histogram<u64>,
    /// The end of a retry's window → first byte at the sink; 0 for a punctual one.
    pub retry_lateness: Histogram<u64>,
}

impl LatencySet {
    /// Empty ones.
    #[must_use]
    pub fn new() -> Self {
        let retry_lateness = histogram();
        Self { publish: histogram(), end_to_end: histogram(), lag: histogram(), retry_lateness }
    }

    /// Each by the name that it has in files.
    #[must_use]
    pub const fn named(&self) -> [(&'static str, &Histogram<u64>); 4] {
        [
            ("publish", &self.publish),
            ("end-to-end", &self.end_to_end),
            ("lag", &self.lag),
            ("retry-lateness", &self.retry_lateness),
        ]
    }

    /// What is kept of them.
    #[must_use]
    pub fn latencies(&self) -> Latencies {
        Latencies {
            publish: Distribution::of(&self.publish),
            end_to_end: Distribution::of(&self.end_to_end),
            lag: Distribution::of(&self.lag),
            retry_lateness: Distribution::of(&self.retry_lateness),
        }
    }
}

impl Default for LatencySet {
    fn default() -> Self {
        Self::new()
    }
}

/// The distributions of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Latencies {
    /// Intended → 201.
    pub publish: Distribution,
    /// Intended → first byte of the accepted delivery at the sink.
    pub end_to_end: Distribution,
    /// Intended → handed to a connection: the generator's own part.
    pub lag: Distribution,
    /// The end of a retry's window → its first byte at the sink; 0 for a punctual one.
    #[serde(default)]
    pub retry_lateness: Distribution,
}

/// A few figures of a distribution, in nanoseconds; all zero where it is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// How many values.
    pub count: u64,
    /// The mean.
    pub mean_ns: f64,
    /// The smallest.
    pub min_ns: u64,
    /// The median.
    pub p50_ns: u64,
    /// Three quarters are not longer.
    pub p75_ns: u64,
    /// Nine in ten are not longer.
    pub p90_ns: u64,
    /// 99 in 100 are not longer.
    pub p99_ns: u64,
    /// 999 in 1,000 are not longer.
    pub p99_9_ns: u64,
    /// 9,999 in 10,000 are not longer.
    pub p99_99_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

impl Quantiles {
    /// The figures of `histogram`.
    #[must_use]
    pub fn of(histogram: &Histogram<u64>) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        // What is not told apart from nothing is nothing: a punctual retry is 0 late.
        let told = |value: u64| if value < NANOS_MIN { 0 } else { value };
        let at = |quantile| told(histogram.value_at_quantile(quantile).min(histogram.max()));
        Self {
            count: histogram.len(),
            mean_ns: histogram.mean(),
            min_ns: histogram.min(),
            p50_ns: at(0.5),
            p75_ns: at(0.75),
            p90_ns: at(0.9),
            p99_ns: at(0.99),
            p99_9_ns: at(0.999),
            p99_99_ns: at(0.9999),
            max_ns: told(histogram.max()),
        }
    }

    /// The statistic of this name (`mean`, `p50`, `p90`, `p99`, `p99.9`, `max`).
    #[must_use]
    pub fn statistic(&self, name: &str) -> Option<f64> {
        let value = match name {
            "mean" => floor(self.mean_ns),
            "p50" => self.p50_ns,
            "p90" => self.p90_ns,
            "p99" => self.p99_ns,
            "p99.9" => self.p99_9_ns,
            "max" => self.max_ns,
            _ => return None,
        };
        (self.count > 0).then_some(value as f64)
    }
}

/// A distribution with all its values.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Distribution {
    /// Its figures.
    #[serde(flatten)]
    pub quantiles: Quantiles,
    /// The histogram itself: V2, compressed, base 64, as HdrHistogram's libraries write it.
    pub histogram: String,
}

impl Distribution {
    /// The distribution that `histogram` holds.
    #[must_use]
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let mut bytes = Vec::new();
        let written = V2DeflateSerializer::new().serialize(histogram, &mut bytes);
        // Writing to memory fails only for histograms with more than 4 GB of counts.
        let encoded = written.map_or_else(|_| String::new(), |_| STANDARD.encode(&bytes));
        Self { quantiles: Quantiles::of(histogram), histogram: encoded }
    }

    /// The histogram, for merging and comparing; `None` where it is damaged.
    #[must_use]
    pub fn decoded(&self) -> Option<Histogram<u64>> {
        decode(&self.histogram)
    }
}

/// Reads a histogram in base 64, as [`Distribution`] and interval logs hold it.
#[must_use]
pub fn decode(text: &str) -> Option<Histogram<u64>> {
    let bytes = STANDARD.decode(text).ok()?;
    Deserializer::new().deserialize(&mut bytes.as_slice()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_keeps_every_value() {
        let mut made = histogram();
        for value in [1_500, 80_000, 80_000, 12_345_678, NANOS_MAX * 2] {
            record(&mut made, value);
        }
        let kept = Distribution::of(&made);
        assert_eq!(kept.decoded().unwrap(), made);
        assert_eq!(kept.quantiles.count, 5);
        assert!(decode("nonsense").is_none());
        assert!(decode("////").is_none());
    }

    /// A histogram gives the upper end of the stretch that a value lies in, even of 0.
    #[test]
    fn nothing_is_told_as_nothing() {
        let mut made = histogram();
        record(&mut made, 0);
        let quantiles = Quantiles::of(&made);
        assert_eq!((quantiles.count, quantiles.p50_ns, quantiles.max_ns), (1, 0, 0));
        record(&mut made, 5_000);
        assert!(Quantiles::of(&made).p99_ns.abs_diff(5_000) < 1_000);
    }

    #[test]
    fn nothing_has_no_statistics() {
        let empty = Quantiles::of(&histogram());
        assert_eq!(empty.statistic("p99"), None);
        assert_eq!(empty, Quantiles::default());
    }
}
