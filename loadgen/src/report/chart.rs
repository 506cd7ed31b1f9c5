//! Charts as SVG: lines over an axis, with bands for phases and marks for what was done.
//!
//! Each chart is drawn for several widths, because text that is scaled with a drawing cannot be
//! read on a phone; the style sheet shows one of them. Nothing here needs
//! a script: that one only adds the values under the pointer, from the texts that stand in the
//! page already. Colours come from the style sheet's classes, so that one drawing is right on
//! light and on dark ground.

use std::fmt::Write as _;

use super::escape::escape;
use super::scale::{Measure, Scale, Tick, label};
use crate::units::{floor, show_duration};

/// More points than a screen has columns only make a page slow.
const POINTS_MAX: usize = 400;

/// An axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    /// How values are spread.
    pub scale: Scale,
    /// What they count.
    pub measure: Measure,
}

/// How a series is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// A line.
    Line,
    /// A thin, broken line: what was asked for, or a bound.
    Dashed,
    /// A line with its ground filled.
    Area,
}

/// Values in order of x.
#[derive(Clone, Debug)]
pub(super) struct Series {
    /// What they are.
    pub name: String,
    /// The number of its colour, from 1 to 5.
    pub colour: u8,
    /// How it is drawn.
    pub shape: Shape,
    /// One for each x of the chart; `None` where there is none, which breaks the line.
    pub values: Vec<Option<f64>>,
}

/// A moment at which something was done.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    /// When.
    pub at: f64,
    /// What, in a word.
    pub label: String,
}

/// A stretch of the x axis that is not the result.
#[derive(Clone, Debug)]
pub(super) struct Band {
    /// Its beginning.
    pub from: f64,
    /// Its end.
    pub to: f64,
    /// What it is.
    pub label: String,
}

/// A chart.
#[derive(Clone, Debug)]
pub(super) struct Chart {
    /// What it shows.
    pub title: String,
    /// How it is read, in a sentence; may be empty.
    pub note: String,
    /// Whether it takes a whole row of a wide screen.
    pub full: bool,
    /// From left to right.
    pub x: Axis,
    /// From bottom to top.
    pub y: Axis,
    /// The places of the values, in order.
    pub at: Vec<f64>,
    /// What is drawn.
    pub series: Vec<Series>,
    /// What was done meanwhile.
    pub marks: Vec<Mark>,
    /// What is shaded.
    pub bands: Vec<Band>,
}

/// The size of a drawing and the room around its plot.
struct Frame {
    class: &'static str,
    width: f64,
    height: f64,
    left: f64,
    ticks: usize,
}

const FULL: Frame = Frame { class: "full", width: 1186.0, height: 330.0, left: 58.0, ticks: 10 };
const WIDE: Frame = Frame { class: "wide", width: 572.0, height: 250.0, left: 58.0, ticks: 6 };
const NARROW: Frame = Frame { class: "narrow", width: 340.0, height: 220.0, left: 52.0, ticks: 4 };
const TOP: f64 = 16.0;
const RIGHT: f64 = 12.0;
const BOTTOM: f64 = 24.0;

impl Frame {
    fn x(&self, place: f64) -> f64 {
        self.left + place * (self.width - self.left - RIGHT)
    }

    fn y(&self, place: f64) -> f64 {
        self.bottom() - place * (self.bottom() - TOP)
    }

    const fn bottom(&self) -> f64 {
        self.height - BOTTOM
    }
}

impl Chart {
    /// The chart as a figure of a page.
    pub(super) fn figure(&self) -> String {
        let chart = self.thinned();
        let class = if chart.full { "chart full" } else { "chart" };
        let mut html = format!("<figure class=\"{class}\">");
        _ = write!(html, "<figcaption><h3>{}</h3>", escape(&chart.title));
        if !chart.note.is_empty() {
            _ = write!(html, "<p>{}</p>", escape(&chart.note));
        }
        html.push_str("<ul class=\"legend\">");
        for series in &chart.series {
            let dashed = if series.shape == Shape::Dashed { " dashed" } else { "" };
            let (colour, name) = (series.colour, escape(&series.name));
            _ = write!(html, "<li class=\"s{colour}{dashed}\"><i></i>{name}</li>");
        }
        html.push_str("</ul></figcaption>");
        if chart.series.iter().all(|series| series.values.iter().all(Option::is_none)) {
            html.push_str("<p class=\"nothing\">Nothing was recorded.</p></figure>\n");
            return html;
        }
        if chart.full {
            chart.draw(&FULL, &mut html);
        }
        chart.draw(&WIDE, &mut html);
        chart.draw(&NARROW, &mut html);
        _ = write!(html, "<script type=\"application/json\">{}</script>", chart.hover());
        html.push_str("</figure>\n");
        html
    }

    fn draw(&self, frame: &Frame, svg: &mut String) {
        let (width, height) = (frame.width, frame.height);
        _ = write!(
            svg,
            "<svg class=\"{}\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
             aria-label=\"{}\" data-left=\"{}\" data-right=\"{}\" data-top=\"{TOP}\" \
             data-bottom=\"{}\">",
            frame.class,
            escape(&self.title),
            frame.left,
            width - RIGHT,
            frame.bottom(),
        );
        self.draw_bands(frame, svg);
        self.draw_axes(frame, svg);
        for series in &self.series {
            self.draw_series(frame, series, svg);
        }
        self.draw_marks(frame, svg);
        svg.push_str("<g class=\"pointer\"></g></svg>");
    }

    fn draw_bands(&self, frame: &Frame, svg: &mut String) {
        for band in &self.bands {
            let from = frame.x(self.x.scale.place(band.from));
            let width = frame.x(self.x.scale.place(band.to)) - from;
            let height = frame.bottom() - TOP;
            _ = write!(
                svg,
                "<rect class=\"band\" x=\"{from:.1}\" y=\"{TOP}\" width=\"{width:.1}\" \
                 height=\"{height:.1}\"/>"
            );
            // A word needs about six and a half units a letter at this size.
            if width > 6.5 * band.label.len() as f64 {
                let middle = from + width / 2.0;
                let label = escape(&band.label);
                _ = write!(
                    svg,
                    "<text class=\"quiet mid\" x=\"{middle:.1}\" y=\"11\">{label}</text>"
                );
            }
        }
    }

    fn draw_axes(&self, frame: &Frame, svg: &mut String) {
        let (left, right, bottom) = (frame.left, frame.width - RIGHT, frame.bottom());
        for Tick { place, label } in self.y.scale.ticks(self.y.measure, 5) {
            let y = frame.y(place);
            let (below, beside) = (y + 4.0, left - 7.0);
            _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{left}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\"/>\
                 <text class=\"end\" x=\"{beside:.1}\" y=\"{below:.1}\">{label}</text>"
            );
        }
        _ = write!(
            svg,
            "<line class=\"axis\" x1=\"{left}\" y1=\"{bottom}\" x2=\"{right}\" y2=\"{bottom}\"/>"
        );
        let below = bottom + 16.0;
        let mut free_from = 0.0;
        for Tick { place, label } in self.x.scale.ticks(self.x.measure, frame.ticks) {
            let x = frame.x(place);
            let half = 3.4 * label.chars().count() as f64;
            // Labels keep apart and inside; their marks stand all the same.
            if x - half >= free_from && x + half <= frame.width + 4.0 {
                _ = write!(svg, "<text class=\"mid\" x=\"{x:.1}\" y=\"{below}\">{label}</text>");
                free_from = x + half + 6.0;
            }
            let end = bottom + 4.0;
            _ = write!(
                svg,
                "<line class=\"axis\" x1=\"{x:.1}\" y1=\"{bottom}\" x2=\"{x:.1}\" y2=\"{end}\"/>"
            );
        }
    }

    fn draw_series(&self, frame: &Frame, series: &Series, svg: &mut String) {
        let colour = series.colour;
        for run in self.runs(series) {
            let place = |&(at, value): &(f64, f64)| {
                (frame.x(self.x.scale.place(at)), frame.y(self.y.scale.place(value)))
            };
            let mut path = String::new();
            for (index, (x, y)) in run.iter().map(place).enumerate() {
                let step = if index == 0 { 'M' } else { 'L' };
                _ = write!(path, "{step}{x:.1} {y:.1}");
            }
            let [first, .., last] = run.as_slice() else {
                let (x, y) = place(&run[0]);
                _ = write!(
                    svg,
                    "<circle class=\"dot s{colour}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2\"/>"
                );
                continue;
            };
            if series.shape == Shape::Area {
                let (from, to, bottom) = (place(first).0, place(last).0, frame.bottom());
                let area = format!("{path}L{to:.1} {bottom}L{from:.1} {bottom}Z");
                _ = write!(svg, "<path class=\"area s{colour}\" d=\"{area}\"/>");
            }
            let dashed = if series.shape == Shape::Dashed { " dashed" } else { "" };
            _ = write!(svg, "<path class=\"line s{colour}{dashed}\" d=\"{path}\"/>");
        }
    }

    /// The stretches of a series without a gap; none of them is empty.
    fn runs(&self, series: &Series) -> Vec<Vec<(f64, f64)>> {
        let mut runs = Vec::new();
        let mut run = Vec::new();
        for (&at, value) in self.at.iter().zip(&series.values) {
            match value {
                Some(value) => run.push((at, *value)),
                None if run.is_empty() => {}
                None => runs.push(std::mem::take(&mut run)),
            }
        }
        if !run.is_empty() {
            runs.push(run);
        }
        runs
    }

    fn draw_marks(&self, frame: &Frame, svg: &mut String) {
        let bottom = frame.bottom();
        for mark in &self.marks {
            let x = frame.x(self.x.scale.place(mark.at));
            let half = 3.4 * mark.label.chars().count() as f64;
            let middle = x.clamp(frame.left + half, frame.width - half);
            let label = escape(&mark.label);
            _ = write!(
                svg,
                "<line class=\"mark\" x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{bottom}\"/>\
                 <text class=\"mark mid\" x=\"{middle:.1}\" y=\"11\">{label}</text>"
            );
        }
    }

    /// What the script shows under the pointer, as JSON: places, and a text for each value.
    fn hover(&self) -> String {
        let texts = |measure, values: &mut dyn Iterator<Item = Option<f64>>| {
            let text = |value: Option<f64>| value.map_or_else(String::new, |v| exact(measure, v));
            values.map(text).collect::<Vec<_>>()
        };
        let places: Vec<f64> =
            self.at.iter().map(|&at| (self.x.scale.place(at) * 1e4).round() / 1e4).collect();
        let series: Vec<_> = self
            .series
            .iter()
            .map(|series| {
                let values = texts(self.y.measure, &mut series.values.iter().copied());
                serde_json::json!({
                    "name": series.name, "colour": series.colour, "values": values,
                })
            })
            .collect();
        let labels = texts(self.x.measure, &mut self.at.iter().copied().map(Some));
        let json = serde_json::json!({ "places": places, "labels": labels, "series": series });
        // Inside of a script element only this sequence would end it.
        json.to_string().replace("</", "<\\/")
    }

    /// The same with no more points than can be seen: of each group of neighbours the greatest
    /// value, because a report must not smooth a spike away.
    fn thinned(&self) -> Self {
        let group = self.at.len().div_ceil(POINTS_MAX).max(1);
        if group == 1 {
            return self.clone();
        }
        let greatest = |values: &[Option<f64>]| values.iter().copied().flatten().reduce(f64::max);
        let series = self.series.iter().map(|series| Series {
            values: series.values.chunks(group).map(greatest).collect(),
            ..series.clone()
        });
        Self {
            at: self.at.chunks(group).filter_map(|places| places.first().copied()).collect(),
            series: series.collect(),
            ..self.clone()
        }
    }
}

/// A value in full, for reading it off.
fn exact(measure: Measure, value: f64) -> String {
    match measure {
        Measure::Latency => show_duration(floor(value)),
        Measure::Seconds => format!("{value:.1} s"),
        Measure::Rate | Measure::Count | Measure::Percent | Measure::Bytes | Measure::Quantile => {
            label(measure, value)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(values: Vec<Option<f64>>) -> Chart {
        Chart {
            title: "a < b".to_owned(),
            note: String::new(),
            full: false,
            x: Axis {
                scale: Scale::Linear { from: 0.0, to: values.len() as f64 },
                measure: Measure::Seconds,
            },
            y: Axis { scale: Scale::from_zero(100.0), measure: Measure::Count },
            at: (0..values.len()).map(|at| at as f64).collect(),
            series: vec![Series {
                name: "</script>".to_owned(),
                colour: 1,
                shape: Shape::Line,
                values,
            }],
            marks: vec![Mark { at: 1.0, label: "kill".to_owned() }],
            bands: Vec::new(),
        }
    }

    #[test]
    fn a_gap_breaks_the_line() {
        let with_gap =
            chart(vec![Some(1.0), Some(2.0), None, Some(3.0), None, Some(4.0), Some(5.0)]);
        let html = with_gap.figure();
        // Twice, for two widths: two lines, and a dot for the lonely value.
        assert_eq!(html.matches("<path class=\"line").count(), 4);
        assert_eq!(html.matches("<circle").count(), 2);
        assert_eq!(html.matches("</script>").count(), 1, "names cannot end the script");
        assert!(html.contains("a &lt; b"));
    }

    /// For all lengths: no spike is lost when points are left out.
    #[test]
    fn thinning_keeps_the_greatest() {
        for (length, spike) in [(401, 0), (5_000, 4_999), (86_400, 40_000)] {
            let mut values = vec![Some(1.0); length];
            values[spike] = Some(99.0);
            let thinned = chart(values).thinned();
            assert!(thinned.at.len() <= POINTS_MAX);
            assert_eq!(thinned.at.len(), thinned.series[0].values.len());
            assert!(thinned.series[0].values.contains(&Some(99.0)));
        }
    }

    #[test]
    fn nothing_is_said_to_be_nothing() {
        let html = chart(vec![None, None]).figure();
        assert!(html.contains("Nothing was recorded") && !html.contains("<svg"));
    }
}
