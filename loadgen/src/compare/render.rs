//! A comparison for people: lines for a terminal, Markdown for a pull request.

use std::fmt::Write as _;

use super::{Comparison, Design, Effect, Side, Verdict, percent};

/// Lines for a terminal.
#[must_use]
pub fn text(comparison: &Comparison) -> String {
    let mut text = String::new();
    for (name, side) in [("A", &comparison.a), ("B", &comparison.b)] {
        _ = writeln!(text, "{name}  {}: {}", side.folder, runs(side));
        for run in &side.left_out {
            _ = writeln!(text, "   left out {}: {}", run.name, run.reason);
        }
    }
    _ = writeln!(text, "   {}\n", method(comparison));
    _ = writeln!(
        text,
        "{:<22} {:>10} {:>10} {:>9}  {:<21} {:>9}  {:<12}  would see",
        "figure", "A", "B", "change", "interval", "margin", "verdict"
    );
    for effect in &comparison.effects {
        let shown = Shown::of(effect);
        _ = writeln!(
            text,
            "{:<22} {:>10} {:>10} {:>9}  {:<21} {:>9}  {:<12}  {}{}",
            effect.metric,
            shown.a,
            shown.b,
            shown.change,
            shown.interval,
            shown.margin,
            shown.verdict,
            shown.detectable,
            effect.reason.as_ref().map_or_else(String::new, |reason| format!("  ({reason})")),
        );
    }
    text.push('\n');
    for remark in &comparison.remarks {
        _ = writeln!(text, "note: {remark}");
    }
    _ = writeln!(text, "verdict: B is {}", verdict(comparison.verdict).to_uppercase());
    for reason in &comparison.reasons {
        _ = writeln!(text, "  {reason}");
    }
    text
}

/// Markdown for a pull request.
#[must_use]
pub fn markdown(comparison: &Comparison) -> String {
    let mut text = format!("### B is **{}**\n\n", verdict(comparison.verdict));
    for reason in &comparison.reasons {
        _ = writeln!(text, "- {}", reason.replace('|', "\\|"));
    }
    if !comparison.reasons.is_empty() {
        text.push('\n');
    }
    text.push_str("| figure | A | B | change | interval | margin | verdict | would see |\n");
    text.push_str("|---|---:|---:|---:|---|---:|---|---:|\n");
    for effect in &comparison.effects {
        let shown = Shown::of(effect);
        let bold = if effect.verdict == Verdict::Worse { "**" } else { "" };
        _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {bold}{}{bold} | {} |",
            effect.metric,
            shown.a,
            shown.b,
            shown.change,
            shown.interval,
            shown.margin,
            shown.verdict,
            shown.detectable,
        );
    }
    _ = writeln!(text, "\nA: {}. B: {}.", runs(&comparison.a), runs(&comparison.b));
    _ = writeln!(text, "{}", method(comparison));
    for remark in &comparison.remarks {
        _ = writeln!(text, "- {}", remark.replace('|', "\\|"));
    }
    text
}

/// A figure's part of the verdict.
pub(super) fn sentence(effect: &Effect) -> String {
    let Shown { a, b, change, interval, detectable, .. } = Shown::of(effect);
    match (effect.verdict, &effect.reason) {
        (Verdict::Inconclusive, Some(reason)) => {
            format!("{}: too little to judge: {reason}", effect.metric)
        }
        (Verdict::Inconclusive, None) => format!(
            "{}: {change} ({interval}); a change of {detectable} for the worse would have been \
         seen",
            effect.metric
        ),
        _ => format!("{}: {a} became {b}, {change} ({interval})", effect.metric),
    }
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Invalid => "not to be compared: invalid",
        _ => verdict.word(),
    }
}

fn runs(side: &Side) -> String {
    let runs = if side.runs == 1 { "1 run".to_owned() } else { format!("{} runs", side.runs) };
    match side.left_out.len() {
        0 => runs,
        left_out => format!("{runs}, {left_out} left out"),
    }
}

fn method(comparison: &Comparison) -> String {
    let design = match comparison.design {
        Design::Paired => "pairs of runs made one after the other",
        Design::Independent => "runs of both sides, not paired",
        Design::Single => {
            "one run of a side: stretches of its time are drawn, but how far whole runs differ by \
             themselves cannot be seen"
        }
    };
    format!(
        "{design}; bootstrap intervals, seed {}: shown and equivalent at {:.1} %, better or worse \
         at {:.1} %",
        comparison.seed,
        100.0 * comparison.equivalence,
        100.0 * comparison.confidence,
    )
}

/// An effect's figures as texts.
struct Shown {
    a: String,
    b: String,
    change: String,
    interval: String,
    margin: String,
    verdict: &'static str,
    detectable: String,
}

impl Shown {
    fn of(effect: &Effect) -> Self {
        let known = effect.low.is_finite() && effect.high.is_finite();
        Self {
            a: effect.unit.show(effect.a),
            b: effect.unit.show(effect.b),
            change: percent(effect.change),
            interval: if known {
                format!("{} to {}", percent(effect.low), percent(effect.high))
            } else {
                "unknown".to_owned()
            },
            margin: format!("±{:.0} %", 100.0 * effect.margin),
            verdict: effect.verdict.word(),
            detectable: percent(effect.detectable),
        }
    }
}
