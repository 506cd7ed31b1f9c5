//! How far B is from A, and how sure that is.
//!
//! The estimate is of Hodges and Lehmann: the median of all averages of two pairs' differences (of
//! all differences, where runs are not paired). It is nearly as precise as a mean where all is
//! quiet, and does not care for the one block in which a neighbour took the machine. Everything is
//! in logarithms, so a difference is a ratio and the sides are treated alike.
//!
//! Its interval is a bootstrap's. What is drawn is the largest unit that there is enough of: pairs
//! of runs, or runs, where each side has [`RUNS_ENOUGH`]; with fewer also stretches of time within
//! them. The interval is widened for few units (see `student`).

use super::sample::{Logs, METRICS, Sample, index};
use super::student::widening;
use crate::chance::Chance;

/// From so many runs a side on, drawing runs says all.
pub(super) const RUNS_ENOUGH: usize = 5;
/// How many slices of time a single run must have.
pub(super) const SLICES_ENOUGH: usize = 12;

/// How often is drawn, and for what confidence.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drawing {
    /// Of the outer interval, such as 0.99.
    pub confidence: f64,
    /// Of the inner one, lower.
    pub equivalence: f64,
    /// How often.
    pub resamples: u32,
    /// What the draws come from.
    pub seed: u64,
}

/// The logarithm of B's ratio to A, of one metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Estimate {
    /// The best guess.
    pub shift: f64,
    /// The interval that a difference is judged by.
    pub outer: Interval,
    /// The narrower one that equivalence is judged by.
    pub inner: Interval,
}

/// Where a logarithm is likely to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Interval {
    /// It is hardly lower.
    pub low: f64,
    /// It is hardly higher.
    pub high: f64,
}

/// Estimates each metric; `None` where a run does not have it.
pub(super) fn estimate(
    a: &[Sample],
    b: &[Sample],
    paired: bool,
    drawing: &Drawing,
) -> [Option<Estimate>; METRICS] {
    let logs = |samples: &[Sample]| samples.iter().map(|sample| sample.point).collect::<Vec<_>>();
    let points = shifts(&logs(a), &logs(b), paired);
    let mut drawn: Vec<Vec<f64>> = vec![Vec::new(); METRICS];
    let mut chance = Chance::new(drawing.seed, 0xB007);
    for _ in 0..drawing.resamples {
        let (a, b) = redraw(a, b, paired, &mut chance);
        for (into, shift) in drawn.iter_mut().zip(shifts(&a, &b, paired)) {
            into.extend(shift);
        }
    }
    let units = units(a, b);
    let mut estimates = [None; METRICS];
    for ((estimate, point), mut drawn) in estimates.iter_mut().zip(points).zip(drawn) {
        let Some(shift) = point else { continue };
        drawn.sort_unstable_by(f64::total_cmp);
        let around = |confidence| interval(shift, &drawn, confidence, units);
        *estimate = around(drawing.confidence)
            .zip(around(drawing.equivalence))
            .map(|(outer, inner)| Estimate { shift, outer, inner });
    }
    estimates
}

/// The interval of this confidence around `shift`, by the ordered values that were drawn.
fn interval(shift: f64, drawn: &[f64], confidence: f64, units: u32) -> Option<Interval> {
    let (wider, tail) = (widening(confidence, units), (1.0 - confidence) / 2.0);
    let (low, high) = (at(drawn, tail)?, at(drawn, 1.0 - tail)?);
    Some(Interval {
        low: shift - wide((shift - low).max(0.0), wider),
        high: shift + wide((high - shift).max(0.0), wider),
    })
}

/// What never moved is not uncertain, by whatever factor.
fn wide(half: f64, factor: f64) -> f64 {
    if half > 0.0 || factor.is_infinite() { half.max(1e-12) * factor } else { 0.0 }
}

/// The number of independent things that were drawn.
pub(super) fn units(a: &[Sample], b: &[Sample]) -> u32 {
    let runs = a.len().min(b.len());
    let stretches = |sample: &Sample| sample.slices() / sample.stretch();
    let count = if runs > 1 {
        runs
    } else {
        let samples = a.iter().chain(b);
        samples.filter(|sample| sample.slices() > 0).map(stretches).min().unwrap_or(0)
    };
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn redraw(a: &[Sample], b: &[Sample], paired: bool, chance: &mut Chance) -> (Vec<Logs>, Vec<Logs>) {
    if paired {
        let pairs = (0..a.len()).map(|_| index(chance, a.len())).collect::<Vec<_>>();
        return (take(a, &pairs, chance), take(b, &pairs, chance));
    }
    let mut side = |samples: &[Sample]| {
        let places = (0..samples.len()).map(|_| index(chance, samples.len())).collect::<Vec<_>>();
        take(samples, &places, chance)
    };
    (side(a), side(b))
}

fn take(samples: &[Sample], places: &[usize], chance: &mut Chance) -> Vec<Logs> {
    let within = samples.len() < RUNS_ENOUGH;
    let logs = |&place: &usize| {
        let sample = &samples[place];
        if within { sample.redrawn(chance) } else { sample.point }
    };
    places.iter().map(logs).collect()
}

/// The estimate of each metric from one set of runs a side.
fn shifts(a: &[Logs], b: &[Logs], paired: bool) -> Logs {
    std::array::from_fn(|metric| {
        let side = |logs: &[Logs]| logs.iter().map(|logs| logs[metric]).collect::<Option<Vec<_>>>();
        let (a, b) = (side(a)?, side(b)?);
        let mut differences = Vec::with_capacity(a.len() * b.len());
        if paired {
            let pairs: Vec<f64> = a.iter().zip(&b).map(|(a, b)| b - a).collect();
            for (place, first) in pairs.iter().enumerate() {
                differences
                    .extend(pairs[place..].iter().map(|other| f64::midpoint(*first, *other)));
            }
        } else {
            differences.extend(a.iter().flat_map(|a| b.iter().map(move |b| b - a)));
        }
        median(&mut differences)
    })
}

/// The middle one, or between the two in the middle.
pub(super) fn median(values: &mut [f64]) -> Option<f64> {
    let (count, middle) = (values.len(), values.len() / 2);
    if count == 0 {
        return None;
    }
    let (below, upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    let upper = *upper;
    if count % 2 == 1 {
        return Some(upper);
    }
    let lower = below.iter().copied().reduce(f64::max);
    Some(lower.map_or(upper, |lower| f64::midpoint(lower, upper)))
}

/// The value at this share of ordered ones.
fn at(ordered: &[f64], share: f64) -> Option<f64> {
    let last = ordered.len().checked_sub(1)?;
    let place = crate::units::floor((share * last as f64).round());
    ordered.get(usize::try_from(place).unwrap_or(last).min(last)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_in_the_middle() {
        assert_eq!(median(&mut []), None);
        assert_eq!(median(&mut [3.0]), Some(3.0));
        assert_eq!(median(&mut [9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&mut [9.0, 1.0, 2.0, 4.0]), Some(3.0));
    }

    /// One block in six that a neighbour spoilt does not move the estimate by much.
    #[test]
    fn a_spoilt_pair_is_no_effect() {
        let logs = |value: f64| [Some(value); METRICS];
        let a: Vec<Logs> = [1.0, 1.01, 0.99, 1.0, 1.02, 0.98].map(logs).to_vec();
        let mut b = a.clone();
        b[3] = logs(3.0);
        assert!(shifts(&a, &b, true)[0].unwrap().abs() < 0.02);
        assert!(shifts(&a, &b, false)[0].unwrap().abs() < 0.02);
    }
}
