//! The command `report`.

use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::Args;

use super::{ReportError, markdown, write_of};
use crate::exit;
use crate::record::read_summary;

/// Makes the report of a run again.
#[derive(Args, Debug)]
pub struct Report {
    /// The folder of the run
    folder: PathBuf,
    /// Print the Markdown too, for a pull request
    #[arg(long)]
    markdown: bool,
}

impl Report {
    /// Writes report.html and report.md into the run's folder; gives the exit code.
    ///
    /// # Errors
    /// Where the run cannot be read, or its report cannot be written.
    pub fn execute(&self) -> Result<u8, ReportError> {
        let summary = read_summary(&self.folder)?;
        let page = write_of(&self.folder, &summary)?;
        // A closed pipe is the reader's choice.
        _ = if self.markdown {
            io::stdout().write_all(markdown(&summary).as_bytes())
        } else {
            writeln!(io::stdout(), "{}", page.display())
        };
        Ok(exit::OK)
    }
}
