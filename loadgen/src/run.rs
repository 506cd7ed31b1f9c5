//! A run from beginning to end: start the sink and the system, make tenants, send, wait, ask what
//! is left, judge, write.
//!
//! Whatever happens, what was measured until then is written: by an interrupt, by a system that
//! goes away, and, every few seconds, for the case that this process itself is killed.

mod chaos;
mod collect;
mod conduct;
mod judge;
mod observe;
mod prepare;

use std::path::PathBuf;

use anyhow::Result;

pub use self::judge::figure;
pub use self::observe::{Observer, Plain, Silent, Snapshot};
use crate::record::Summary;
use crate::scenario::Scenario;

/// What to run, and where to put what comes of it.
#[derive(Clone, Debug)]
pub struct Options {
    /// What to do.
    pub scenario: Scenario,
    /// The folder of the results; a new one under `target/loadgen` where none is named.
    pub out: Option<PathBuf>,
    /// The system's program, instead of the scenario's.
    pub binary: Option<PathBuf>,
}

/// What came of a run.
#[derive(Debug)]
pub struct Finished {
    /// Everything that was measured.
    pub summary: Summary,
    /// Where it was written.
    pub folder: PathBuf,
}

/// Runs a scenario. Blocks this thread until it is over.
///
/// # Errors
/// Where nothing could be measured: no binary, no port, a folder that cannot be written. A system
/// that fails is no error but an invalid run.
pub fn run(options: Options, observer: &mut dyn Observer) -> Result<Finished> {
    prepare::raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(conduct::conduct(options, observer))
}
