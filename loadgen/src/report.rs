//! What people read of a run: `report.html` and `report.md`, beside its `summary.json`.
//!
//! The page is one file without any outside: style, script and drawings are in it, so that it can
//! be mailed, committed and opened without a network. It is made from the summary alone, so a
//! report can be made again at any time, by a later version too. A run that is no measurement says
//! so first and largest.
//!
//! Refuses to interpret: whatever is shown stands in the summary.

mod aws;
mod chart;
mod cli;
mod escape;
mod figures;
#[cfg(test)]
pub(crate) mod made;
mod markdown;
mod over_time;
mod page;
mod scale;
mod tables;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::{fs, io};

use thiserror::Error;

pub use self::cli::Report;
use crate::record::{ReadError, Summary, read_summary};

/// Why there is no report.
#[derive(Debug, Error)]
pub enum ReportError {
    /// The run cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A file cannot be written.
    #[error("{path} cannot be written")]
    Write {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The run as a page.
#[must_use]
pub fn html(summary: &Summary) -> String {
    page::page(summary)
}

/// The run as Markdown.
#[must_use]
pub fn markdown(summary: &Summary) -> String {
    markdown::markdown(summary)
}

/// Writes both reports of the run in `folder`; gives the page's path.
///
/// # Errors
/// Where the run cannot be read or a report cannot be written.
pub fn write(folder: &Path) -> Result<PathBuf, ReportError> {
    write_of(folder, &read_summary(folder)?)
}

/// Writes both reports of a run that has been read; gives the page's path.
///
/// # Errors
/// Where a report cannot be written.
pub fn write_of(folder: &Path, summary: &Summary) -> Result<PathBuf, ReportError> {
    let page = folder.join("report.html");
    for (path, text) in [(&page, html(summary)), (&folder.join("report.md"), markdown(summary))] {
        fs::write(path, text)
            .map_err(|source| ReportError::Write { path: path.clone(), source })?;
    }
    Ok(page)
}
