//! Scales: from values to places on an axis, and the ticks that people read there.
//!
//! A place is a fraction of the axis: 0 at its beginning, 1 at its end. Values outside of an axis
//! are put on its edge, so that nothing is ever drawn beyond a chart.

use crate::units::floor;

/// The rarest event that a percentile axis shows: one in 100 million.
const TAIL_MAX: f64 = 1e8;

/// What values of an axis count, for its ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    /// Seconds since the load began.
    Seconds,
    /// Nanoseconds.
    Latency,
    /// Events a second.
    Rate,
    /// Bytes.
    Bytes,
    /// Things.
    Count,
    /// Hundredths of one processor.
    Percent,
    /// A quantile: from 0 to 1.
    Quantile,
}

/// How values are spread over an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scale {
    /// Evenly.
    Linear {
        /// The value at its beginning.
        from: f64,
        /// The value at its end, greater.
        to: f64,
    },
    /// By their magnitude.
    Log {
        /// The value at its beginning, positive.
        from: f64,
        /// The value at its end, greater.
        to: f64,
    },
    /// Quantiles, as HdrHistogram's plots have them: 90 %, 99 %, 99.9 % lie evenly.
    Tail {
        /// One in how many lies at the end.
        one_in: f64,
    },
}

/// A place with a label.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tick {
    /// Where.
    pub place: f64,
    /// What stands there.
    pub label: String,
}

impl Scale {
    /// An even axis that begins at 0 and ends at a round number not below `max`.
    pub(super) fn from_zero(max: f64) -> Self {
        let max = if max.is_finite() && max > 0.0 { max } else { 1.0 };
        let step = round_step(max / 4.0);
        Self::Linear { from: 0.0, to: (max / step).ceil() * step }
    }

    /// An axis by magnitude for values of latencies; ends are of the form 1, 2 or 5 times a power.
    pub(super) fn magnitudes(min: f64, max: f64) -> Self {
        let min = if min.is_finite() && min >= 1.0 { min } else { 1.0 };
        let max = if max.is_finite() && max > min { max } else { min * 10.0 };
        let to = round_up(max);
        Self::Log { from: round_down(min).min(to / 10.0), to }
    }

    /// An axis of quantiles that has room for `count` values.
    pub(super) fn tail(count: u64) -> Self {
        // Two decades at least, or a short run would be all median.
        Self::Tail { one_in: (count as f64).clamp(100.0, TAIL_MAX) }
    }

    /// Where `value` lies.
    pub(super) fn place(&self, value: f64) -> f64 {
        let place = match *self {
            Self::Linear { from, to } => (value - from) / (to - from),
            Self::Log { from, to } => (value.max(from).ln() - from.ln()) / (to.ln() - from.ln()),
            Self::Tail { one_in } => {
                let rest = (1.0 - value).max(1.0 / one_in);
                -rest.ln() / one_in.ln()
            }
        };
        if place.is_finite() { place.clamp(0.0, 1.0) } else { 0.0 }
    }

    /// What is written beside it: about `wanted` ticks, never more than twice as many.
    pub(super) fn ticks(&self, measure: Measure, wanted: usize) -> Vec<Tick> {
        let values = match *self {
            Self::Linear { from, to } => even_ticks(from, to, wanted),
            Self::Log { from, to } => log_ticks(from, to, wanted),
            Self::Tail { one_in } => tail_ticks(one_in),
        };
        let tick = |value| Tick { place: self.place(value), label: label(measure, value) };
        values.into_iter().map(tick).collect()
    }
}

fn even_ticks(from: f64, to: f64, wanted: usize) -> Vec<f64> {
    let step = round_step((to - from) / wanted.max(1) as f64);
    let (first, last) = ((from / step).ceil(), (to / step * (1.0 + 1e-9)).floor());
    (0..=floor(last - first).min(50)).map(|n| (first + n as f64) * step).collect()
}

fn log_ticks(from: f64, to: f64, wanted: usize) -> Vec<f64> {
    let decades = (to / from).log10();
    let factors: &[f64] = if decades * 3.0 <= wanted as f64 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let apart = (decades / wanted.max(1) as f64).ceil().max(1.0);
    let mut ticks = Vec::new();
    let mut power = 10_f64.powf((from * (1.0 + 1e-9)).log10().floor());
    while power <= to * (1.0 + 1e-9) {
        let inside = |tick: &f64| *tick >= from * (1.0 - 1e-9) && *tick <= to * (1.0 + 1e-9);
        ticks.extend(factors.iter().map(|factor| factor * power).filter(inside));
        power *= 10_f64.powf(apart);
    }
    ticks
}

fn tail_ticks(one_in: f64) -> Vec<f64> {
    let mut ticks = vec![0.0, 0.5];
    let mut rest = 10.0;
    while rest <= one_in * (1.0 + 1e-9) {
        ticks.push(1.0 - 1.0 / rest);
        rest *= 10.0;
    }
    ticks
}

/// The smallest of 1, 2, 5 times a power of ten that is not below `step`.
fn round_step(step: f64) -> f64 {
    if step > 0.0 && step.is_finite() { round_up(step) } else { 1.0 }
}

fn round_up(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 5.0].map(|factor| factor * power);
    steps.into_iter().find(|step| *step >= value * (1.0 - 1e-9)).unwrap_or(10.0 * power)
}

fn round_down(value: f64) -> f64 {
    let power = 10_f64.powf((value * (1.0 + 1e-9)).log10().floor());
    let steps = [5.0, 2.0].map(|factor| factor * power);
    steps.into_iter().find(|step| *step <= value * (1.0 + 1e-9)).unwrap_or(power)
}

/// A tick's label: as short as it can be.
pub(super) fn label(measure: Measure, value: f64) -> String {
    match measure {
        Measure::Seconds if value >= 36_000.0 => format!("{} h", short(value / 3600.0)),
        Measure::Seconds if value >= 600.0 => format!("{} min", short(value / 60.0)),
        Measure::Seconds => format!("{} s", short(value)),
        Measure::Latency => scaled(value, &[("ns", 1.0), ("µs", 1e3), ("ms", 1e6), ("s", 1e9)]),
        Measure::Bytes => scaled(value, &[("B", 1.0), ("kB", 1e3), ("MB", 1e6), ("GB", 1e9)]),
        Measure::Rate => format!("{}/s", magnitude(value)),
        Measure::Count => magnitude(value),
        Measure::Percent => format!("{} %", short(value)),
        Measure::Quantile => {
            // Rounded at the ninth digit: 1 - 0.001 is not quite 0.999.
            format!("{} %", short((value * 1e11).round() / 1e9))
        }
    }
}

fn magnitude(value: f64) -> String {
    scaled(value, &[("", 1.0), ("k", 1e3), ("M", 1e6), ("G", 1e9)]).replace(' ', "")
}

fn scaled(value: f64, units: &[(&str, f64)]) -> String {
    let fits = |(_, size): &&(&str, f64)| value >= *size * 0.9995;
    let unit = units.iter().rev().find(fits).or_else(|| units.first());
    unit.map_or_else(String::new, |(name, size)| format!("{} {name}", short(value / size)))
}

/// Three digits, and no zeros after the point that say nothing.
fn short(value: f64) -> String {
    let digits = match value.abs() {
        v if v >= 99.95 && v.fract() == 0.0 => 0,
        v if v > 99.0 && v < 100.0 => 6,
        v if v >= 99.95 => 0,
        v if v >= 9.995 => 1,
        _ => 2,
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: Scale, measure: Measure) -> Vec<String> {
        scale.ticks(measure, 5).into_iter().map(|tick| tick.label).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(
            labels(Scale::from_zero(1_730.0), Measure::Rate),
            ["0/s", "500/s", "1k/s", "1.5k/s", "2k/s"]
        );
        assert_eq!(
            labels(Scale::magnitudes(1_200_000.0, 80_000_000.0), Measure::Latency),
            ["1 ms", "10 ms", "100 ms"]
        );
        assert_eq!(
            labels(Scale::tail(20_000), Measure::Quantile),
            ["0 %", "50 %", "90 %", "99 %", "99.9 %", "99.99 %"]
        );
        assert_eq!(
            labels(Scale::Linear { from: 0.0, to: 7_200.0 }, Measure::Seconds),
            ["0 s", "33.3 min", "66.7 min", "100 min"]
        );
    }

    /// For all scales and values, nonsense included: a place is on the axis.
    #[test]
    fn every_place_is_on_the_axis() {
        let scales = [
            Scale::from_zero(f64::NAN),
            Scale::from_zero(0.0),
            Scale::from_zero(3e9),
            Scale::magnitudes(0.0, 0.0),
            Scale::magnitudes(5.0, f64::INFINITY),
            Scale::magnitudes(1e3, 1.1e3),
            Scale::tail(0),
            Scale::tail(u64::MAX),
        ];
        for scale in scales {
            for value in [f64::NAN, f64::NEG_INFINITY, -1.0, 0.0, 0.999, 1.0, 1e12, f64::INFINITY] {
                let place = scale.place(value);
                assert!((0.0..=1.0).contains(&place), "{scale:?} {value}: {place}");
            }
            let ticks = scale.ticks(Measure::Count, 5);
            assert!((2..=12).contains(&ticks.len()), "{scale:?}: {ticks:?}");
            assert!(ticks.windows(2).all(|pair| pair[0].place < pair[1].place), "{ticks:?}");
        }
    }
}
