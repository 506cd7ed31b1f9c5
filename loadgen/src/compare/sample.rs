//! A run as a sample: its figures, and its slices of time to draw from.
//!
//! Latencies of neighbours are not independent: a slow commit delays hundreds of events at once.
//! So what is drawn, with replacement, is never an event but a stretch of time with all its events.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use hdrhistogram::Histogram;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

use crate::chance::Chance;
use crate::record::{ProcessRecord, Summary, decode};
use crate::units::{floor, ratio};

/// The quantiles that are compared.
pub(super) const QUANTILES: [(&str, f64); 4] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];
/// Publish and end to end with four quantiles each, processor time, throughput.
pub(super) const METRICS: usize = 10;
/// The place of processor time an event.
pub(super) const CPU: usize = 8;
/// The place of events delivered a second.
pub(super) const RATE: usize = 9;

/// Logarithms of the metrics; `None` where there is nothing to measure.
pub(super) type Logs = [Option<f64>; METRICS];

/// A run.
#[derive(Debug)]
pub(super) struct Sample {
    /// What it came to.
    pub point: Logs,
    /// Events in its two distributions of latency.
    pub counts: [u64; 2],
    /// The same figures from the slices, all of them once.
    whole: Logs,
    latencies: [Sliced; 2],
    /// Processor time, events accepted, events delivered and seconds of each slice.
    costs: Vec<[f64; 4]>,
}

/// A distribution by slices of time.
#[derive(Debug, Default)]
struct Sliced {
    /// Value, slice, count; in order of values.
    entries: Vec<(u64, u32, u64)>,
    /// Events of each slice.
    counts: Vec<u64>,
}

impl Sample {
    /// The sample that `summary` is, with the slices of the interval log beside it, if it is there.
    pub(super) fn of(folder: &Path, summary: &Summary) -> Self {
        let slices = measured(summary);
        let log = fs::read(folder.join("intervals.hlog")).unwrap_or_default();
        let latencies = ["publish", "end-to-end"].map(|tag| Sliced::read(&log, tag, &slices));
        let complete = latencies.iter().all(|sliced| sliced.counts.iter().any(|count| *count > 0));
        let costs = if complete { costs(summary, &slices) } else { Vec::new() };
        let quantiles = [&summary.latencies.publish, &summary.latencies.end_to_end];
        let mut point = [None; METRICS];
        for (kind, distribution) in quantiles.into_iter().enumerate() {
            let histogram = distribution.decoded().filter(|histogram| !histogram.is_empty());
            for (place, (_, quantile)) in QUANTILES.into_iter().enumerate() {
                let value = histogram.as_ref().map(|h| h.value_at_quantile(quantile).min(h.max()));
                point[kind * QUANTILES.len() + place] =
                    value.and_then(|value| log_of(value as f64));
            }
        }
        let system = &summary.system;
        point[CPU] = log_of(system.user_ns_per_event + system.system_ns_per_event);
        point[RATE] = log_of(summary.load.delivered_rate);
        let counts = quantiles.map(|distribution| distribution.quantiles.count);
        let mut sample = Self { point, counts, whole: [None; METRICS], latencies, costs };
        sample.whole = sample.figures(&vec![1; sample.slices()]);
        sample
    }

    /// How many slices there are to draw from.
    pub(super) const fn slices(&self) -> usize {
        self.costs.len()
    }

    /// How many slices are drawn together: neighbours are alike, so a stretch is drawn.
    pub(super) fn stretch(&self) -> usize {
        usize::try_from(floor((self.slices() as f64).cbrt().ceil())).unwrap_or(1).max(1)
    }

    /// The figures of a run made of stretches of this one: a circular block bootstrap.
    pub(super) fn redrawn(&self, chance: &mut Chance) -> Logs {
        let (slices, stretch) = (self.slices(), self.stretch());
        if slices == 0 {
            return self.point;
        }
        let mut times = vec![0_u32; slices];
        let mut drawn = 0;
        while drawn < slices {
            let from = index(chance, slices);
            for place in from..from + stretch.min(slices - drawn) {
                times[place % slices] += 1;
            }
            drawn += stretch;
        }
        let figures = self.figures(&times);
        // What the whole run says, moved by as much as the drawing moved it.
        std::array::from_fn(|metric| {
            Some(self.point[metric]? + figures[metric]? - self.whole[metric]?)
        })
    }

    /// The figures where each slice stands so many times.
    fn figures(&self, times: &[u32]) -> Logs {
        let mut logs = [None; METRICS];
        if self.costs.is_empty() {
            return logs;
        }
        for (kind, sliced) in self.latencies.iter().enumerate() {
            let values = sliced.quantiles(times);
            for (place, value) in values.into_iter().enumerate() {
                logs[kind * QUANTILES.len() + place] = value.and_then(|value| log_of(value as f64));
            }
        }
        let mut sums = [0.0; 4];
        for (cost, &times) in self.costs.iter().zip(times) {
            for (sum, value) in sums.iter_mut().zip(cost) {
                *sum += value * f64::from(times);
            }
        }
        let [cpu, accepted, delivered, seconds] = sums;
        logs[CPU] = log_of(ratio(cpu, accepted));
        logs[RATE] = log_of(ratio(delivered, seconds));
        logs
    }
}

impl Sliced {
    fn read(log: &[u8], tag: &str, slices: &BTreeMap<u64, usize>) -> Self {
        let mut sliced = Self { entries: Vec::new(), counts: vec![0; slices.len()] };
        for entry in IntervalLogIterator::new(log) {
            // A last line that was cut off ends the log; what stands before it counts.
            let Ok(entry) = entry else { break };
            let LogEntry::Interval(line) = entry else { continue };
            if line.tag().is_none_or(|found| found.as_str() != tag) {
                continue;
            }
            let from = line.start_timestamp().as_secs_f64();
            let Some(&slice) = slices.get(&millis(from)) else { continue };
            if let Some(histogram) = decode(line.encoded_histogram()) {
                sliced.add(slice, &histogram);
            }
        }
        sliced.entries.sort_unstable();
        sliced
    }

    fn add(&mut self, slice: usize, histogram: &Histogram<u64>) {
        let number = u32::try_from(slice).unwrap_or(u32::MAX);
        self.counts[slice] += histogram.len();
        self.entries.extend(
            histogram
                .iter_recorded()
                .map(|value| (value.value_iterated_to(), number, value.count_at_value())),
        );
    }

    /// The compared quantiles where each slice stands so many times.
    fn quantiles(&self, times: &[u32]) -> [Option<u64>; 4] {
        let weigh = |slice: usize| u64::from(times.get(slice).copied().unwrap_or(0));
        let counts = self.counts.iter().enumerate();
        let total: u64 = counts.map(|(slice, count)| count * weigh(slice)).sum();
        let mut found = [None; 4];
        let mut below = 0;
        let mut next = 0;
        for &(value, slice, count) in &self.entries {
            below += count * weigh(slice as usize);
            while next < QUANTILES.len()
                && below > 0
                && below as f64 >= QUANTILES[next].1 * total as f64
            {
                found[next] = Some(value);
                next += 1;
            }
        }
        found
    }
}

/// The intervals of the measure phase: their beginnings in milliseconds, and their numbers.
fn measured(summary: &Summary) -> BTreeMap<u64, usize> {
    let intervals = summary.intervals.iter().filter(|interval| interval.phase == "measure");
    intervals.map(|interval| millis(interval.from_s)).zip(0..).collect()
}

/// Processor time, events accepted, events delivered and seconds of each measured interval.
fn costs(summary: &Summary, slices: &BTreeMap<u64, usize>) -> Vec<[f64; 4]> {
    let mut costs = vec![[0.0; 4]; slices.len()];
    for interval in &summary.intervals {
        let Some(&slice) = slices.get(&millis(interval.from_s)) else { continue };
        let (from, to) = (interval.from_s, interval.from_s + interval.length_s);
        let spent =
            (spent_until(&summary.system, to) - spent_until(&summary.system, from)).max(0.0);
        costs[slice] =
            [spent, interval.accepted as f64, interval.delivered as f64, interval.length_s];
    }
    costs
}

/// Processor time until `at_s`, between samples in proportion.
fn spent_until(process: &ProcessRecord, at_s: f64) -> f64 {
    let spent = |place: usize| {
        let sample = process.samples[place];
        (sample.at_s, (sample.user_ns + sample.system_ns) as f64)
    };
    let after = process.samples.partition_point(|sample| sample.at_s < at_s);
    match (after.checked_sub(1).map(spent), (after < process.samples.len()).then(|| spent(after))) {
        (Some((from, least)), Some((to, most))) => {
            least + (most - least) * ratio(at_s - from, to - from)
        }
        (Some((_, only)), None) | (None, Some((_, only))) => only,
        (None, None) => 0.0,
    }
}

fn millis(seconds: f64) -> u64 {
    floor((seconds * 1e3).round())
}

fn log_of(value: f64) -> Option<f64> {
    (value.is_finite() && value > 0.0).then(|| value.ln())
}

/// One of `0..count`, `count` not 0.
pub(super) fn index(chance: &mut Chance, count: usize) -> usize {
    let drawn = floor(chance.fraction() * count as f64);
    usize::try_from(drawn).unwrap_or(0).min(count.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::read_summary;
    use crate::report::made::{self, Making};

    /// For all runs: slices that each stand once say what the run says.
    #[test]
    fn slices_add_up_to_the_run() {
        let folder = tempfile::tempdir().unwrap();
        made::write(folder.path(), &Making { seconds: 10, ..Making::default() });
        let sample = Sample::of(folder.path(), &read_summary(folder.path()).unwrap());
        assert_eq!(sample.slices(), 10);
        for (metric, (point, whole)) in sample.point.iter().zip(sample.whole).enumerate() {
            let (point, whole) = (point.unwrap(), whole.unwrap());
            // HdrHistogram gives the upper end of a bucket, the slices its own value.
            assert!((point - whole).abs() < 2e-3, "{metric}: {point} {whole}");
        }
    }

    #[test]
    fn a_log_that_was_cut_off_is_used_as_far_as_it_goes() {
        let folder = tempfile::tempdir().unwrap();
        made::write(folder.path(), &Making { seconds: 8, ..Making::default() });
        let summary = read_summary(folder.path()).unwrap();
        let path = folder.path().join("intervals.hlog");
        let log = fs::read(&path).unwrap();
        fs::write(&path, &log[..log.len() * 2 / 3]).unwrap();
        let sample = Sample::of(folder.path(), &summary);
        let known = sample.latencies[1].counts.iter().filter(|count| **count > 0).count();
        assert!((3..8).contains(&known), "{known}");
        fs::remove_file(&path).unwrap();
        assert_eq!(Sample::of(folder.path(), &summary).slices(), 0);
    }

    /// For all draws: as many slices as there are, and never figures out of the run's range.
    #[test]
    fn what_is_redrawn_is_near_the_run() {
        let folder = tempfile::tempdir().unwrap();
        made::write(folder.path(), &Making { seconds: 20, ..Making::default() });
        let sample = Sample::of(folder.path(), &read_summary(folder.path()).unwrap());
        let mut chance = Chance::new(3, 3);
        let mut moved = 0;
        for _ in 0..200 {
            let redrawn = sample.redrawn(&mut chance);
            for (metric, (to, from)) in redrawn.iter().zip(sample.point).enumerate() {
                let by = to.unwrap() - from.unwrap();
                assert!(by.abs() < 0.7, "{metric} moved by {by}");
            }
            moved += usize::from(redrawn[0] != sample.point[0]);
        }
        assert!(moved > 150, "drawing changes something");
    }
}
