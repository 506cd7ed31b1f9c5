//! Where the daemon is, and a run against it.

use std::path::PathBuf;

use posthaste_loadgen::record::{InvalidKind, Summary};
use posthaste_loadgen::run::{Options, Silent, run};
use posthaste_loadgen::scenario::{Scenario, resolve};
use tempfile::TempDir;

/// The daemon that was built beside these tests; `None`, loudly, where there is none.
pub(crate) fn binary() -> Option<PathBuf> {
    let tests = std::env::current_exe().unwrap();
    let target = tests.parent().and_then(|deps| deps.parent()).unwrap();
    let found = target.join("posthaste");
    if found.is_file() {
        return Some(found);
    }
    eprintln!("SKIPPED: there is no {}; cargo build -p posthaste makes it", found.display());
    None
}

/// A finished run and the folder that it wrote.
pub(crate) struct Measured {
    pub(crate) summary: Summary,
    pub(crate) folder: TempDir,
}

impl Measured {
    /// The kinds of reasons for which it is no measurement.
    pub(crate) fn invalid(&self) -> Vec<InvalidKind> {
        self.summary.outcome.invalid.iter().map(|invalid| invalid.kind).collect()
    }
}

/// Runs a scenario; `None` where there is no daemon.
pub(crate) fn measure(scenario: &str, set: &[&str]) -> Option<Measured> {
    let binary = binary()?;
    let folder = tempfile::tempdir().unwrap();
    let (text, base) = resolve(scenario).unwrap();
    let set: Vec<String> = set.iter().map(|&set| set.to_owned()).collect();
    let scenario = Scenario::parse(&text, base, &set).unwrap();
    let options = Options { scenario, out: Some(folder.path().to_owned()), binary: Some(binary) };
    let summary = run(options, &mut Silent).unwrap().summary;
    Some(Measured { summary, folder })
}
