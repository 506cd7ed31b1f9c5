//! The charts of a run: percentiles, and what happened over time.

use super::chart::{Axis, Band, Chart, Mark, Series, Shape};
use super::scale::{Measure, Scale};
use crate::record::{Interval, ProcessRecord, Quantiles, Summary};

/// Steps of a percentile curve: enough that it is smooth, few enough that a page is small.
const CURVE_STEPS: u32 = 120;

/// Processor time of a shorter sample is mostly the rounding of the kernel's ticks.
const SAMPLE_S_MIN: f64 = 0.09;

/// All charts with their section's name, in reading order.
pub(super) fn charts(summary: &Summary) -> Vec<(&'static str, Chart)> {
    let time = Timeline::of(summary);
    let mut charts = vec![
        ("latency", curve(summary)),
        ("latency", time.latency("End to end over time", |interval| &interval.end_to_end)),
        ("latency", time.latency("Publish over time", |interval| &interval.publish)),
        ("throughput", time.throughput()),
        ("throughput", time.backlog()),
    ];
    if summary.retries.seen > 0 {
        charts.push(("retries", time.retries()));
    }
    if summary.system.observed {
        charts.push(("system", time.processor("CPU of the system under test", &summary.system)));
        charts.push(("system", time.memory(&summary.system)));
    }
    charts.push(("generator", time.lag()));
    charts.push(("generator", time.processor("CPU of generator and sink", &summary.generator)));
    charts
}

/// The curve of all percentiles of the measure phase.
fn curve(summary: &Summary) -> Chart {
    let latencies = &summary.latencies;
    let count = latencies.end_to_end.quantiles.count.max(latencies.publish.quantiles.count);
    let scale = Scale::tail(count);
    let Scale::Tail { one_in } = scale else { unreachable!("that is what was just made") };
    let step = |n: u32| f64::from(n) / f64::from(CURVE_STEPS);
    let at: Vec<f64> = (0..=CURVE_STEPS).map(|n| 1.0 - one_in.powf(-step(n))).collect();
    let named = [
        ("end to end", 1, &latencies.end_to_end),
        ("publish (201)", 2, &latencies.publish),
        ("pacer lag", 5, &latencies.lag),
    ];
    let series: Vec<Series> = named
        .into_iter()
        .map(|(name, colour, distribution)| {
            let histogram = distribution.decoded().filter(|histogram| !histogram.is_empty());
            let value = |&quantile: &f64| {
                let histogram = histogram.as_ref()?;
                // Beyond its rarest event a distribution says nothing.
                let told = (1.0 - quantile) * histogram.len() as f64 >= 1.0 - 1e-6;
                let value = histogram.value_at_quantile(quantile).min(histogram.max());
                told.then_some(value as f64)
            };
            let values = at.iter().map(value).collect();
            Series { name: name.to_owned(), colour, shape: Shape::Line, values }
        })
        .collect();
    Chart {
        title: "Latency by percentile".to_owned(),
        note: "From the intended moment of each event, in the measure phase.".to_owned(),
        full: true,
        x: Axis { scale, measure: Measure::Quantile },
        y: magnitudes(&series),
        at,
        series,
        marks: Vec::new(),
        bands: Vec::new(),
    }
}

fn magnitudes(series: &[Series]) -> Axis {
    let values = || series.iter().flat_map(|series| series.values.iter().copied().flatten());
    // Latencies below a microsecond are not told apart by the histograms.
    let min = values().fold(f64::INFINITY, f64::min).max(1e3);
    let max = values().fold(min, f64::max);
    Axis { scale: Scale::magnitudes(min, max), measure: Measure::Latency }
}

fn from_zero(series: &[Series], measure: Measure) -> Axis {
    let values = series.iter().flat_map(|series| series.values.iter().copied().flatten());
    Axis { scale: Scale::from_zero(1.04 * values.fold(0.0, f64::max)), measure }
}

/// What all charts over time have in common.
struct Timeline<'a> {
    summary: &'a Summary,
    x: Axis,
    at: Vec<f64>,
    marks: Vec<Mark>,
    bands: Vec<Band>,
}

impl<'a> Timeline<'a> {
    fn of(summary: &'a Summary) -> Self {
        let ends = summary.intervals.iter().map(|interval| interval.from_s + interval.length_s);
        let ends = ends.chain(summary.phases.iter().map(|phase| phase.to_s));
        let to = ends.filter(|end| end.is_finite()).fold(1.0, f64::max);
        let marks = summary.chaos.iter().map(|chaos| Mark {
            at: chaos.at_s,
            label: format!("SIG{}", chaos.signal.to_uppercase()),
        });
        let bands = summary.phases.iter().filter(|phase| phase.name != "measure");
        let bands = bands.map(|phase| Band {
            from: phase.from_s,
            to: phase.to_s,
            label: phase.name.clone(),
        });
        Self {
            summary,
            x: Axis { scale: Scale::Linear { from: 0.0, to }, measure: Measure::Seconds },
            at: summary
                .intervals
                .iter()
                .map(|interval| interval.from_s + interval.length_s / 2.0)
                .collect(),
            marks: marks.collect(),
            bands: bands.collect(),
        }
    }

    fn series(
        &self,
        name: &str,
        colour: u8,
        shape: Shape,
        value: impl Fn(&Interval) -> Option<f64>,
    ) -> Series {
        let values = self.summary.intervals.iter().map(value).collect();
        Series { name: name.to_owned(), colour, shape, values }
    }

    fn chart(&self, title: &str, note: &str, y: Axis, series: Vec<Series>) -> Chart {
        Chart {
            title: title.to_owned(),
            note: note.to_owned(),
            full: false,
            x: self.x,
            y,
            at: self.at.clone(),
            series,
            marks: self.marks.clone(),
            bands: self.bands.clone(),
        }
    }

    fn latency(&self, title: &str, which: fn(&Interval) -> &Quantiles) -> Chart {
        let series = self.quantiles(which);
        let shaded = if self.bands.is_empty() { "" } else { "Shaded: warm-up and drain." };
        self.chart(title, shaded, magnitudes(&series), series)
    }

    /// Evenly, unlike latencies: what is punctual has no magnitude.
    fn retries(&self) -> Chart {
        let series = self.quantiles(|interval| &interval.retry_lateness);
        let y = from_zero(&series, Measure::Latency);
        let note = "By the moment at which they came.";
        Chart { full: true, ..self.chart("Retry lateness over time", note, y, series) }
    }

    fn quantiles(&self, which: fn(&Interval) -> &Quantiles) -> Vec<Series> {
        let quantile = |name, colour, of: fn(&Quantiles) -> u64| {
            self.series(name, colour, Shape::Line, |interval| {
                let quantiles = which(interval);
                (quantiles.count > 0).then(|| of(quantiles) as f64)
            })
        };
        vec![
            quantile("p50", 1, |quantiles| quantiles.p50_ns),
            quantile("p99", 2, |quantiles| quantiles.p99_ns),
            quantile("max", 4, |quantiles| quantiles.max_ns),
        ]
    }

    fn throughput(&self) -> Chart {
        let rate = |interval: &Interval, count: u64| {
            (interval.length_s > 0.0).then(|| count as f64 / interval.length_s)
        };
        let mut series = Vec::new();
        if !self.summary.scenario.closed_loop {
            let asked = self.summary.load.asked_rate;
            series.push(self.series("asked (mean)", 5, Shape::Dashed, |interval| {
                (interval.phase == "measure").then_some(asked)
            }));
        }
        series.push(self.series("sent", 3, Shape::Line, |i| rate(i, i.sent)));
        series.push(self.series("accepted", 2, Shape::Line, |i| rate(i, i.accepted)));
        series.push(self.series("delivered", 1, Shape::Line, |i| rate(i, i.delivered)));
        let errors = |i: &Interval| i.refused + i.cut_off;
        if self.summary.intervals.iter().any(|interval| errors(interval) > 0) {
            series.push(self.series("refused or cut off", 4, Shape::Line, |i| rate(i, errors(i))));
        }
        let y = from_zero(&series, Measure::Rate);
        self.chart("Throughput", "", y, series)
    }

    fn backlog(&self) -> Chart {
        let series = vec![
            self.series("accepted, not delivered", 1, Shape::Area, |i| Some(i.backlog as f64)),
            self.series("sent, not answered", 2, Shape::Line, |i| Some(i.in_flight as f64)),
        ];
        self.chart("Backlog", "", from_zero(&series, Measure::Count), series)
    }

    fn lag(&self) -> Chart {
        let lag = |name, colour, of: fn(&Quantiles) -> u64| {
            self.series(name, colour, Shape::Line, |interval| {
                (interval.lag.count > 0).then(|| of(&interval.lag) as f64)
            })
        };
        let series = vec![
            lag("p50", 1, |quantiles| quantiles.p50_ns),
            lag("p99", 2, |quantiles| quantiles.p99_ns),
            lag("max", 4, |quantiles| quantiles.max_ns),
        ];
        let note = "How late the generator itself was; part of every latency above.";
        self.chart("Pacer lag", note, magnitudes(&series), series)
    }

    /// Processor time in each sample's interval, of one processor.
    fn processor(&self, title: &str, process: &ProcessRecord) -> Chart {
        let samples = &process.samples;
        let share = |of: fn(&crate::record::ProcessSample) -> u64| {
            let shares = samples.windows(2).map(|pair| {
                let seconds = pair[1].at_s - pair[0].at_s;
                // A process that was started anew counts from 0 again.
                let spent = of(&pair[1]).checked_sub(of(&pair[0]))?;
                // Times are counted in ticks: in a moment, such as that between the last interval
                // and the end of a run, one of them looks like several processors.
                (seconds >= SAMPLE_S_MIN).then(|| 100.0 * spent as f64 / 1e9 / seconds)
            });
            shares.collect::<Vec<_>>()
        };
        let line = |name: &str, colour, shape, values| Series {
            name: name.to_owned(),
            colour,
            shape,
            values,
        };
        let series = vec![
            line("all", 1, Shape::Area, share(|sample| sample.user_ns + sample.system_ns)),
            line("user", 3, Shape::Line, share(|sample| sample.user_ns)),
            line("kernel", 2, Shape::Line, share(|sample| sample.system_ns)),
        ];
        let note = format!("100 % is one of {} processors.", self.summary.environment.cores);
        let at = samples.windows(2).map(|pair| f64::midpoint(pair[0].at_s, pair[1].at_s));
        let y = from_zero(&series, Measure::Percent);
        Chart { at: at.collect(), ..self.chart(title, &note, y, series) }
    }

    fn memory(&self, process: &ProcessRecord) -> Chart {
        let values = process.samples.iter().map(|sample| Some(sample.resident_bytes as f64));
        let series = vec![Series {
            name: "resident".to_owned(),
            colour: 3,
            shape: Shape::Area,
            values: values.collect(),
        }];
        let at = process.samples.iter().map(|sample| sample.at_s).collect();
        let y = from_zero(&series, Measure::Bytes);
        Chart { at, ..self.chart("Memory of the system under test", "", y, series) }
    }
}
