//! Reading what is compared: one run, or a folder of runs of the same scenario.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::Table;

use super::CompareError;
use super::sample::Sample;
use crate::record::{InvalidKind, Summary, Verdict, read_summary};

/// One side of a comparison.
#[derive(Debug)]
pub struct Set {
    /// Where it was read from.
    pub folder: PathBuf,
    /// Its measurements.
    pub(super) runs: Vec<Run>,
    /// What is no measurement.
    pub left_out: Vec<LeftOut>,
}

/// A run that counts.
#[derive(Debug)]
pub(super) struct Run {
    /// Its folder's name.
    pub name: String,
    /// What was run, without the system under test.
    pub scenario: Table,
    /// The machine, in a line.
    pub machine: String,
    /// Its figures.
    pub sample: Sample,
}

/// A run that does not count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Its folder's name.
    pub name: String,
    /// Why.
    pub reason: String,
    /// Whether the system under test is to blame, and not the generator or the machine: it lost
    /// events, or went away. Leaving such a run out must not make a side look good.
    pub broken: bool,
}

impl Set {
    /// Reads a run's folder, or a folder whose folders are runs.
    ///
    /// # Errors
    /// Where there is no run in it, or one cannot be read.
    pub fn read(folder: &Path) -> Result<Self, CompareError> {
        let mut set = Self::none(folder.to_owned());
        if folder.join("summary.json").exists() || folder.is_file() {
            set.add(folder)?;
            return Ok(set);
        }
        let unreadable = |source| CompareError::Folder { folder: folder.to_owned(), source };
        let mut folders = Vec::new();
        for entry in fs::read_dir(folder).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if path.join("summary.json").exists() {
                folders.push(path);
            }
        }
        if folders.is_empty() {
            return Err(CompareError::NoRuns { folder: folder.to_owned() });
        }
        // By name, so that the first of one side meets the first of the other.
        folders.sort();
        for path in folders {
            set.add(&path)?;
        }
        Ok(set)
    }

    /// A side without runs.
    pub(super) const fn none(folder: PathBuf) -> Self {
        Self { folder, runs: Vec::new(), left_out: Vec::new() }
    }

    fn add(&mut self, folder: &Path) -> Result<(), CompareError> {
        let summary = read_summary(folder)?;
        let folder = if folder.is_file() { folder.parent().unwrap_or(folder) } else { folder };
        let name = folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy().into_owned();
        match judge(&summary) {
            Some((reason, broken)) => self.left_out.push(LeftOut { name, reason, broken }),
            None => self.runs.push(Run {
                name,
                scenario: scenario(&summary),
                machine: machine(&summary),
                sample: Sample::of(folder, &summary),
            }),
        }
        Ok(())
    }

    /// Whether a run of it shows a broken system.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.left_out.iter().any(|run| run.broken)
    }

    /// How many measurements it has.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.runs.len()
    }

    /// Whether it has none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.runs.iter().map(|run| run.name.as_str())
    }

    /// Keeps only the runs of these names.
    pub(super) fn keep(&mut self, names: &[String]) {
        self.runs.retain(|run| names.contains(&run.name));
    }
}

/// Why a run is no measurement, and whether the system is to blame.
pub(super) fn judge(summary: &Summary) -> Option<(String, bool)> {
    match summary.outcome.verdict {
        Verdict::Ok | Verdict::GateFailed => None,
        Verdict::Interrupted => Some(("interrupted".to_owned(), false)),
        Verdict::Invalid => {
            let reasons = summary.outcome.invalid.iter().map(|invalid| invalid.reason.as_str());
            let broken = summary.outcome.invalid.iter().any(|invalid| match invalid.kind {
                InvalidKind::Account | InvalidKind::Empty | InvalidKind::System => true,
                InvalidKind::Rate | InvalidKind::Little | InvalidKind::Starved => false,
            });
            Some((reasons.collect::<Vec<_>>().join("; "), broken))
        }
    }
}

/// What was run. The system under test may differ, that is what is compared; so may the gates,
/// which change nothing about the load.
fn scenario(summary: &Summary) -> Table {
    let mut table: Table = summary.scenario.toml.parse().unwrap_or_default();
    for own in ["system", "gates", "description"] {
        table.remove(own);
    }
    table.insert("name".to_owned(), summary.scenario.name.clone().into());
    table
}

fn machine(summary: &Summary) -> String {
    let place = &summary.environment;
    format!("{}, {} cores, kernel {}", place.cpu, place.cores, place.kernel)
}
