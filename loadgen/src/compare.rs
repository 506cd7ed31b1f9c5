//! Whether B is better or worse than A: runs of one scenario, compared by what they measured.
//!
//! For each figure the ratio of B to A is estimated with a bootstrap's confidence interval
//! (`estimate`), and judged against a *margin*: how much of a difference matters to nobody.
//!
//! ```text
//!      better         equivalent         worse          inconclusive
//!   ──[──┼──]─┊─────────┊──────        (mirrored)     ──[──┊────┼─────┊──]──
//!             ┊   [─┼─] ┊                                  ┊          ┊
//!          -margin 0 +margin                            -margin    +margin
//! ```
//! *Equivalent*: the whole interval lies within the margin. *Worse*: the interval lies on the bad
//! side of 0, and the estimate beyond the margin. Everything else is *inconclusive*, with the
//! smallest effect that could have been seen. The whole is worse where any figure is, and
//! equivalent only where all deciding ones are.
//!
//! Ten figures are judged at once, and any of them may say worse; so that takes an interval of
//! 99.5 %.
//! Equivalence needs all of them to agree, which errs on the other side by itself; an interval of
//! 95 % is enough for it (in the customary test of equivalence it would be 90 %).
//!
//! Refuses to compare runs of different scenarios. Leaves invalid runs out, says so, and never
//! calls a side good of which a run lost events.

pub mod ab;
mod cli;
mod estimate;
mod margin;
mod render;
mod sample;
mod set;
mod student;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use self::cli::{Ab, Compare};
use self::estimate::{
    Drawing, Estimate, Interval, RUNS_ENOUGH, SLICES_ENOUGH, estimate, median, units,
};
pub use self::margin::Margins;
pub use self::render::{markdown, text};
use self::sample::{METRICS, QUANTILES, RATE, Sample};
pub use self::set::{LeftOut, Set};
use crate::exit;
use crate::record::ReadError;
use crate::scenario::Unit;
use crate::units::floor;

/// The version of `comparison.json`.
pub const SCHEMA: u32 = 1;

/// Why nothing was compared.
#[derive(Debug, Error)]
pub enum CompareError {
    /// A run cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A folder cannot be read.
    #[error("{folder} cannot be read")]
    Folder {
        /// Which one.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is nothing in a folder.
    #[error("{folder} holds no run: neither summary.json nor folders with one")]
    NoRuns {
        /// Which one.
        folder: PathBuf,
    },
    /// The load was not the same.
    #[error("{a} and {b} are not runs of the same scenario: `{key}` differs")]
    Scenarios {
        /// A run.
        a: String,
        /// Another one.
        b: String,
        /// What differs.
        key: String,
    },
}

/// What a comparison says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// B is better, and nowhere worse.
    Better,
    /// No difference that matters.
    Equivalent,
    /// B is worse.
    Worse,
    /// Nothing can be said.
    Inconclusive,
    /// A side has no measurement, or lost events.
    Invalid,
}

impl Verdict {
    /// In a word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Equivalent => "equivalent",
            Self::Worse => "worse",
            Self::Inconclusive => "inconclusive",
            Self::Invalid => "invalid",
        }
    }

    /// The process's exit code. Not knowing is no regression: what it could have seen is told.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Better | Self::Equivalent | Self::Inconclusive => exit::OK,
            Self::Worse => exit::REGRESSION,
            Self::Invalid => exit::INVALID,
        }
    }
}

/// How to compare.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The confidence of the interval that must show a difference. That which must show
    /// equivalence may be wrong [`EQUIVALENCE_ERROR`] times as often.
    pub confidence: f64,
    /// What matters to nobody.
    pub margins: Margins,
    /// How often is drawn.
    pub resamples: u32,
    /// What the draws come from: the same seed gives the same verdict.
    pub seed: u64,
}

/// How much more often the interval that shows equivalence may be wrong.
pub const EQUIVALENCE_ERROR: f64 = 10.0;

impl Plan {
    /// The confidence of the interval that must show equivalence.
    #[must_use]
    pub const fn equivalence(&self) -> f64 {
        1.0 - (1.0 - self.confidence) * EQUIVALENCE_ERROR
    }
}

impl Default for Plan {
    fn default() -> Self {
        Self { confidence: 0.995, margins: Margins::default(), resamples: 10_000, seed: 1 }
    }
}

/// How the runs of the sides belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Design {
    /// Each run of A with the one of B of the same name, made right before or after it: what the
    /// machine did in these minutes falls out.
    Paired,
    /// Several runs a side.
    Independent,
    /// One run of a side: how far runs differ from each other by themselves cannot be known.
    Single,
}

/// One side, in short.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Side {
    /// Where it was read from.
    pub folder: String,
    /// The runs that count.
    pub runs: usize,
    /// Those that do not.
    pub left_out: Vec<LeftOut>,
}

/// A figure, compared. Fractions are of A: 0.1 is 10 % more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Effect {
    /// Its name, as in gates.
    pub metric: String,
    /// What it counts.
    pub unit: Unit,
    /// Of A: the median of its runs.
    pub a: f64,
    /// Of B.
    pub b: f64,
    /// B to A, less one.
    pub change: f64,
    /// It is hardly lower, by the interval of equivalence.
    pub low: f64,
    /// It is hardly higher.
    pub high: f64,
    /// What matters to nobody.
    pub margin: f64,
    /// The smallest change for the worse that would have been called so.
    pub detectable: f64,
    /// What it says.
    pub verdict: Verdict,
    /// Whether the whole waits for it, or only listens when it says worse.
    pub deciding: bool,
    /// Whether it is at least not worse by more than the margin.
    pub harmless: bool,
    /// Why nothing can be said, where that has a reason beyond the interval.
    pub reason: Option<String>,
}

/// What came of comparing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Comparison {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The whole.
    pub verdict: Verdict,
    /// Why, each in a sentence.
    pub reasons: Vec<String>,
    /// How the runs belong together.
    pub design: Design,
    /// Of the intervals that a difference was judged by.
    pub confidence: f64,
    /// Of those that equivalence was judged by, which are shown.
    pub equivalence: f64,
    /// What the draws came from.
    pub seed: u64,
    /// The one that is known.
    pub a: Side,
    /// The one in question.
    pub b: Side,
    /// Each figure.
    pub effects: Vec<Effect>,
    /// What a reader must know.
    pub remarks: Vec<String>,
}

/// Compares B with A.
///
/// # Errors
/// Where they are runs of different scenarios.
pub fn compare(mut a: Set, mut b: Set, plan: &Plan) -> Result<Comparison, CompareError> {
    same_scenario(&a, &b)?;
    let mut remarks = Vec::new();
    let design = match_up(&mut a, &mut b, &mut remarks);
    notice_machines(&a, &b, &mut remarks);
    let side = |set: &Set| Side {
        folder: set.folder.display().to_string(),
        runs: set.len(),
        left_out: set.left_out.clone(),
    };
    let mut comparison = Comparison {
        schema: SCHEMA,
        verdict: Verdict::Invalid,
        reasons: Vec::new(),
        design,
        confidence: plan.confidence,
        equivalence: plan.equivalence(),
        seed: plan.seed,
        a: side(&a),
        b: side(&b),
        effects: Vec::new(),
        remarks,
    };
    if !a.is_empty() && !b.is_empty() {
        comparison.effects = effects(a.runs, b.runs, design, plan);
    }
    (comparison.verdict, comparison.reasons) = conclude(&comparison);
    Ok(comparison)
}

fn same_scenario(a: &Set, b: &Set) -> Result<(), CompareError> {
    let mut runs = a.runs.iter().chain(&b.runs);
    let Some(first) = runs.next() else { return Ok(()) };
    for run in runs {
        let mut keys = first.scenario.keys().chain(run.scenario.keys());
        let differs = |key: &&String| first.scenario.get(*key) != run.scenario.get(*key);
        if let Some(key) = keys.find(differs) {
            let (a, b, key) = (first.name.clone(), run.name.clone(), key.clone());
            return Err(CompareError::Scenarios { a, b, key });
        }
    }
    Ok(())
}

/// Pairs runs of the same name, where both sides had the same ones.
fn match_up(a: &mut Set, b: &mut Set, remarks: &mut Vec<String>) -> Design {
    let all = |set: &Set| {
        let left_out = set.left_out.iter().map(|run| run.name.clone());
        let mut names: Vec<String> = set.names().map(str::to_owned).chain(left_out).collect();
        names.sort();
        names
    };
    let names = all(a);
    if names.len() < 2 || names != all(b) {
        return if a.len() > 1 && b.len() > 1 { Design::Independent } else { Design::Single };
    }
    let both: Vec<String> =
        a.names().filter(|name| b.names().any(|other| other == *name)).map(str::to_owned).collect();
    if both.len() < names.len() {
        remarks.push(format!("{} of {} pairs count", both.len(), names.len()));
    }
    a.keep(&both);
    b.keep(&both);
    Design::Paired
}

fn notice_machines(a: &Set, b: &Set, remarks: &mut Vec<String>) {
    let mut machines: Vec<&str> =
        a.runs.iter().chain(&b.runs).map(|run| run.machine.as_str()).collect();
    machines.sort_unstable();
    machines.dedup();
    if machines.len() > 1 {
        remarks.push(format!("made on different machines: {}", machines.join(" / ")));
    }
}

/// The names of the metrics, in their order.
fn metric_name(metric: usize) -> (String, Unit) {
    let quantile = |place: usize| QUANTILES[place % QUANTILES.len()].0;
    match metric {
        0..4 => (format!("publish.{}", quantile(metric)), Unit::Nanoseconds),
        4..8 => (format!("end-to-end.{}", quantile(metric)), Unit::Nanoseconds),
        sample::CPU => ("system.cpu-per-event".to_owned(), Unit::Nanoseconds),
        _ => ("rate.delivered".to_owned(), Unit::PerSecond),
    }
}

fn effects(a: Vec<set::Run>, b: Vec<set::Run>, design: Design, plan: &Plan) -> Vec<Effect> {
    let samples = |runs: Vec<set::Run>| runs.into_iter().map(|run| run.sample).collect::<Vec<_>>();
    let (a, b) = (samples(a), samples(b));
    let drawing = Drawing {
        confidence: plan.confidence,
        equivalence: plan.equivalence(),
        resamples: plan.resamples,
        seed: plan.seed,
    };
    let estimates = estimate(&a, &b, design == Design::Paired, &drawing);
    let effect = |metric: usize| {
        let middle = |samples: &[Sample]| {
            let mut values: Vec<f64> =
                samples.iter().filter_map(|sample| sample.point[metric]).collect();
            median(&mut values).map_or(0.0, f64::exp)
        };
        let (name, unit) = metric_name(metric);
        let (a_value, b_value) = (middle(&a), middle(&b));
        // What neither side has is no figure of this scenario.
        if a_value <= 0.0 && b_value <= 0.0 {
            return None;
        }
        let margin = plan.margins.of(metric, a_value);
        let mut effect = Effect {
            metric: name,
            unit,
            a: a_value,
            b: b_value,
            change: f64::NAN,
            low: f64::NEG_INFINITY,
            high: f64::INFINITY,
            margin,
            detectable: f64::INFINITY,
            verdict: Verdict::Inconclusive,
            deciding: is_deciding(metric, &a, &b),
            harmless: false,
            reason: too_little(metric, &a, &b),
        };
        match estimates[metric] {
            Some(estimate) => place(&mut effect, &estimate, metric),
            None => effect.reason = Some("one side does not have it".to_owned()),
        }
        Some(effect)
    };
    (0..METRICS).filter_map(effect).collect()
}

/// Puts the estimate in, and judges it unless there is a reason not to.
fn place(effect: &mut Effect, estimate: &Estimate, metric: usize) {
    effect.change = estimate.shift.exp_m1();
    effect.low = estimate.inner.low.exp_m1();
    effect.high = estimate.inner.high.exp_m1();
    let margin = effect.margin.ln_1p();
    // From here on more is worse; throughput is turned around.
    let turned = metric == RATE;
    let turn = |interval: Interval| match turned {
        true => Interval { low: -interval.high, high: -interval.low },
        false => interval,
    };
    let shift = if turned { -estimate.shift } else { estimate.shift };
    let (outer, inner) = (turn(estimate.outer), turn(estimate.inner));
    let needed = margin.max(shift - outer.low);
    effect.detectable = if turned { (-needed).exp_m1() } else { needed.exp_m1() };
    if effect.reason.is_some() {
        return;
    }
    effect.harmless = inner.high < margin;
    effect.verdict = if outer.low > 0.0 && shift > margin {
        Verdict::Worse
    } else if outer.high < 0.0 && shift < -margin {
        Verdict::Better
    } else if inner.low > -margin && inner.high < margin {
        Verdict::Equivalent
    } else {
        Verdict::Inconclusive
    };
}

/// Events beyond a quantile that each side must have altogether, and each of several runs, for any
/// judgement.
const BEYOND_ENOUGH: f64 = 20.0;
const BEYOND_EACH: f64 = 3.0;
/// Events beyond it that each run must have for a quantile rarer than [`COMMON`] to decide. One
/// that rests on a handful is worth a look when it says worse, and not worth waiting for.
const BEYOND_DECIDING: f64 = 20.0;
/// Without these quantiles there is no verdict, however few events there are.
const COMMON: f64 = 0.9;

/// The fewest events beyond a quantile in a run of these, and those of all of them; `None` where
/// the metric is no quantile.
fn beyond(metric: usize, samples: &[Sample]) -> Option<(f64, f64)> {
    let (_, quantile) =
        *QUANTILES.get(metric % QUANTILES.len()).filter(|_| metric < sample::CPU)?;
    let of = |sample: &Sample| sample.counts[metric / QUANTILES.len()] as f64 * (1.0 - quantile);
    let fewest = samples.iter().map(of).fold(f64::INFINITY, f64::min);
    Some((fewest, samples.iter().map(of).sum()))
}

fn is_deciding(metric: usize, a: &[Sample], b: &[Sample]) -> bool {
    let enough = |samples| beyond(metric, samples).is_none_or(|(few, _)| few >= BEYOND_DECIDING);
    QUANTILES[metric % QUANTILES.len()].1 <= COMMON || (enough(a) && enough(b))
}

/// Why there is too little for a judgement, if there is.
fn too_little(metric: usize, a: &[Sample], b: &[Sample]) -> Option<String> {
    if a.len().min(b.len()) == 1 {
        let fewest = |samples: &[Sample]| samples.iter().map(Sample::slices).min();
        let slices = fewest(a).min(fewest(b)).unwrap_or(0);
        if slices < SLICES_ENOUGH {
            return Some(format!("{slices} intervals of one run, {SLICES_ENOUGH} are needed"));
        }
    } else if units(a, b) < 3 {
        return Some(format!("{} runs a side, {RUNS_ENOUGH} are better", units(a, b)));
    }
    let too_few = |samples: &[Sample]| {
        let (fewest, all) = beyond(metric, samples)?;
        let text = format!("{all:.0} events beyond it, {fewest:.0} in the smallest run");
        (all < BEYOND_ENOUGH || fewest < BEYOND_EACH).then_some(text)
    };
    too_few(a).or_else(|| too_few(b))
}

/// The verdict of the whole, with reasons.
fn conclude(comparison: &Comparison) -> (Verdict, Vec<String>) {
    let sides = [("A", &comparison.a), ("B", &comparison.b)];
    let mut broken = Vec::new();
    for (name, side) in sides {
        let runs = side.left_out.iter().filter(|run| run.broken);
        broken.extend(runs.map(|run| format!("{name}, run {}: {}", run.name, run.reason)));
        if side.runs == 0 {
            broken.push(format!("{name} has no valid run"));
        }
    }
    if !broken.is_empty() {
        return (Verdict::Invalid, broken);
    }
    let of = |verdict| comparison.effects.iter().filter(move |effect| effect.verdict == verdict);
    let told = |effect: &Effect| render::sentence(effect);
    let worse: Vec<String> = of(Verdict::Worse).map(told).collect();
    if !worse.is_empty() {
        return (Verdict::Worse, worse);
    }
    // What is better somewhere needs to be no worse elsewhere; what is equivalent, equivalent.
    let better: Vec<String> = of(Verdict::Better).map(told).collect();
    let open = of(Verdict::Inconclusive)
        .filter(|effect| effect.deciding && (better.is_empty() || !effect.harmless));
    let open: Vec<String> = open.map(told).collect();
    match (open.is_empty(), better.is_empty()) {
        (false, _) => (Verdict::Inconclusive, open),
        (true, false) => (Verdict::Better, better),
        (true, true) => (Verdict::Equivalent, better),
    }
}

/// A fraction in hundredths, with its sign.
fn percent(fraction: f64) -> String {
    if !fraction.is_finite() {
        return "unknown".to_owned();
    }
    // Beyond that nobody reads digits.
    if fraction > 99.0 {
        format!("×{}", floor(fraction + 1.0))
    } else {
        format!("{:+.1} %", 100.0 * fraction)
    }
}
