//! Two programs in turns on one machine: A B, B A, A B, …, then a comparison.
//!
//! On a machine with neighbours a run now and a run in ten minutes differ by more than most
//! changes do. Blocks of a few seconds that lie side by side see the same neighbours; that A and B
//! take turns in going first lets a slow drift fall out. After a number of pairs it is looked at;
//! while nothing can be said there are twice as many made, up to a limit. Looking several times
//! would find differences by chance, so each look has its part of the error that is allowed for
//! all (the confidence is split evenly; Bonferroni).
//!
//! ```text
//! <out>/a/01 <out>/b/01 …      the blocks, each a run's folder
//! <out>/left-out/03-a …        blocks that were no measurement; their pairs were made again
//! <out>/comparison.json, .md   what came of it
//! ```
//!
//! A block that is invalid because the generator had no room is made again, with its pair. One in
//! which the system lost events, or went away, ends everything: that is no noise.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::set::judge;
use super::{Comparison, Plan, Set, Verdict, compare, markdown};
use crate::record::{Summary, read_summary};
use crate::units::{floor, show_duration};

/// What to compare, and how long.
#[derive(Clone, Debug)]
pub struct Options {
    /// Pairs until the first look; until each further one there are twice as many.
    pub pairs: u32,
    /// Pairs at most.
    pub pairs_max: u32,
    /// The folder of the results.
    pub out: PathBuf,
    /// How they are compared.
    pub plan: Plan,
}

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one that is known.
    A,
    /// The one in question.
    B,
}

impl Side {
    /// The name of its folder.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }
}

/// How a block came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It wrote a summary.
    Whole,
    /// Somebody wants to stop.
    Interrupted,
}

/// Runs blocks, and hears of them.
pub trait Machine {
    /// Runs one block into `folder`.
    ///
    /// # Errors
    /// Where it could not be run at all.
    fn run(&mut self, side: Side, folder: &Path) -> anyhow::Result<Ended>;
    /// Something to tell.
    fn tell(&mut self, line: &str);
}

/// Why there is no comparison.
#[derive(Debug, Error)]
pub enum AbError {
    /// A block could not be run.
    #[error("block {folder} could not be run")]
    Block {
        /// Its folder.
        folder: PathBuf,
        /// Why.
        source: anyhow::Error,
    },
    /// The results cannot be compared.
    #[error(transparent)]
    Compare(#[from] super::CompareError),
    /// A file or folder cannot be written.
    #[error("{path} cannot be written")]
    Write {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There are results already; they would be mixed with these.
    #[error("{folder} has results in it already")]
    Used {
        /// Which one.
        folder: PathBuf,
    },
    /// Nothing was finished.
    #[error("stopped before the first pair was complete")]
    Nothing,
}

/// What came of it.
#[derive(Debug)]
pub struct Finished {
    /// The comparison of what was measured.
    pub comparison: Comparison,
    /// Whether somebody stopped it.
    pub interrupted: bool,
}

/// Runs blocks in turns until something can be said, and compares them.
///
/// # Errors
/// Where a block cannot be run, or nothing can be compared or written.
pub fn conduct(options: &Options, machine: &mut dyn Machine) -> Result<Finished, AbError> {
    for side in [Side::A, Side::B] {
        let folder = options.out.join(side.name());
        if folder.exists() {
            return Err(AbError::Used { folder });
        }
        fs::create_dir_all(&folder).map_err(|source| AbError::Write { path: folder, source })?;
    }
    let mut turns = Turns { options, machine, done: 0, repeated: 0 };
    let looks = looks(options.pairs, options.pairs_max);
    let plan = Plan {
        confidence: 1.0 - (1.0 - options.plan.confidence) / f64::from(looks),
        ..options.plan
    };
    loop {
        let stop = turns.pairs_until_look()?;
        if turns.done == 0 && stop == Some(Stop::Interrupted) {
            return Err(AbError::Nothing);
        }
        let mut comparison = turns.compare(&plan)?;
        if turns.repeated > 0 {
            let text = format!("{} pairs were made again: no measurements", turns.repeated);
            comparison.remarks.push(text);
        }
        let enough = comparison.verdict != Verdict::Inconclusive || turns.done >= options.pairs_max;
        if enough || stop.is_some() {
            write(&options.out, &comparison)?;
            let interrupted = stop == Some(Stop::Interrupted);
            return Ok(Finished { comparison, interrupted });
        }
        turns.machine.tell(&format!(
            "after {} pairs nothing can be said yet: {}",
            turns.done,
            comparison.reasons.first().map_or("", String::as_str)
        ));
    }
}

/// How often it is looked at most.
fn looks(pairs: u32, pairs_max: u32) -> u32 {
    let doubled = std::iter::successors(Some(pairs.max(1)), |pairs| pairs.checked_mul(2));
    let before_last = doubled.take_while(|pairs| *pairs < pairs_max).count();
    1 + u32::try_from(before_last).unwrap_or(u32::MAX)
}

/// Why no more blocks are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Interrupted,
    /// A block shows a broken system.
    Broken,
    /// Too many blocks were no measurements.
    Noise,
}

struct Turns<'a> {
    options: &'a Options,
    machine: &'a mut dyn Machine,
    /// Pairs that are complete and valid.
    done: u32,
    /// Pairs that were not.
    repeated: u32,
}

impl Turns<'_> {
    fn pairs_until_look(&mut self) -> Result<Option<Stop>, AbError> {
        let until = (2 * self.done).max(self.options.pairs).clamp(1, self.options.pairs_max.max(1));
        while self.done < until {
            match self.pair()? {
                Pair::Valid => self.done += 1,
                Pair::Stop(stop) => return Ok(Some(stop)),
                Pair::Noise if self.repeated >= self.options.pairs_max => {
                    self.machine.tell("too many blocks are no measurements; giving up");
                    return Ok(Some(Stop::Noise));
                }
                Pair::Noise => self.repeated += 1,
            }
        }
        Ok(None)
    }

    fn pair(&mut self) -> Result<Pair, AbError> {
        let order =
            if self.done.is_multiple_of(2) { [Side::A, Side::B] } else { [Side::B, Side::A] };
        for side in order {
            let folder = self.folder(side);
            let failed = |source| AbError::Block { folder: folder.clone(), source };
            if self.machine.run(side, &folder).map_err(failed)? == Ended::Interrupted {
                self.leave_out()?;
                return Ok(Pair::Stop(Stop::Interrupted));
            }
            let summary = read_summary(&folder).map_err(super::CompareError::from)?;
            let left_out = judge(&summary);
            let line = self.line(side, &summary, left_out.as_ref().map(|(reason, _)| reason));
            self.machine.tell(&line);
            match left_out {
                None => {}
                Some((_, true)) => return Ok(Pair::Stop(Stop::Broken)),
                Some((_, false)) => {
                    self.leave_out()?;
                    return Ok(Pair::Noise);
                }
            }
        }
        Ok(Pair::Valid)
    }

    fn folder(&self, side: Side) -> PathBuf {
        self.options.out.join(side.name()).join(format!("{:02}", self.done + 1))
    }

    /// Puts the blocks of the present pair aside: evidence, not results.
    fn leave_out(&self) -> Result<(), AbError> {
        let aside = self.options.out.join("left-out");
        for side in [Side::A, Side::B] {
            let from = self.folder(side);
            if !from.exists() {
                continue;
            }
            let name = format!("{:02}-{}-{}", self.done + 1, self.repeated, side.name());
            let to = aside.join(name);
            let moved = fs::create_dir_all(&aside).and_then(|()| fs::rename(&from, &to));
            moved.map_err(|source| AbError::Write { path: to, source })?;
        }
        Ok(())
    }

    fn line(&self, side: Side, summary: &Summary, wrong: Option<&String>) -> String {
        let (publish, end_to_end) = (&summary.latencies.publish, &summary.latencies.end_to_end);
        let system = &summary.system;
        let cpu = system.user_ns_per_event + system.system_ns_per_event;
        let figures = format!(
            "pair {:2} of {}  {}  publish p50 {:>8}  end to end p50 {:>8} p99 {:>8}  \
             {:>8} of CPU an event",
            self.done + 1,
            match self.options.pairs_max {
                most if most > self.options.pairs => format!("{} to {most}", self.options.pairs),
                most => most.to_string(),
            },
            side.name().to_uppercase(),
            show_duration(publish.quantiles.p50_ns),
            show_duration(end_to_end.quantiles.p50_ns),
            show_duration(end_to_end.quantiles.p99_ns),
            show_duration(floor(cpu)),
        );
        wrong.map_or_else(|| figures.clone(), |reason| format!("{figures}  INVALID: {reason}"))
    }

    fn compare(&self, plan: &Plan) -> Result<Comparison, AbError> {
        let read = |side: Side| {
            let folder = self.options.out.join(side.name());
            match Set::read(&folder) {
                // All pairs were left out: a side without runs, which the comparison says.
                Err(super::CompareError::NoRuns { folder }) => Ok(Set::none(folder)),
                read => read,
            }
        };
        Ok(compare(read(Side::A)?, read(Side::B)?, plan)?)
    }
}

enum Pair {
    Valid,
    Noise,
    Stop(Stop),
}

/// Writes what came of it beside the blocks.
fn write(out: &Path, comparison: &Comparison) -> Result<(), AbError> {
    let json = serde_json::to_string_pretty(comparison).unwrap_or_default();
    for (name, text) in [("comparison.json", json), ("comparison.md", markdown(comparison))] {
        let path = out.join(name);
        fs::write(&path, text).map_err(|source| AbError::Write { path, source })?;
    }
    Ok(())
}
