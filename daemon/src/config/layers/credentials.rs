//! Settings from files that the supervisor hands over: systemd's `LoadCredential=`, which puts each
//! secret into a directory that only this process can read.
//!
//! A file `posthaste.SECTION.KEY` is the value of that setting; all others are somebody else's.

use std::collections::BTreeMap;
use std::fs::{self, DirEntry};
use std::io;
use std::path::Path;

use super::{Given, Origin, Problem, Raw, read_text};

/// Names the directory.
pub(crate) const DIRECTORY_VARIABLE: &str = "CREDENTIALS_DIRECTORY";
/// Every credential that begins so is ours, and must be a setting.
const PREFIX: &str = "posthaste.";

/// The settings in a directory, by their paths.
pub(super) fn read(directory: &Path, problems: &mut Vec<Problem>) -> BTreeMap<String, Given> {
    let mut given = BTreeMap::new();
    let mut tell = |name: &str, fault: String| {
        let origin = Origin::Credential { name: name.to_owned() };
        problems.push(Problem { origin, setting: None, value: None, fault });
    };
    let entries = fs::read_dir(directory).and_then(Iterator::collect::<io::Result<Vec<DirEntry>>>);
    let entries = entries.unwrap_or_else(|error| {
        let shown = directory.display();
        tell(DIRECTORY_VARIABLE, format!("the directory {shown} cannot be read: {error}"));
        Vec::new()
    });
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(setting) = name.strip_prefix(PREFIX) else { continue };
        match read_text(&entry.path(), true) {
            Ok(text) => {
                let text = text.unwrap_or_default().trim_end_matches(['\r', '\n']).to_owned();
                let origin = Origin::Credential { name: name.clone() };
                given.insert(setting.to_owned(), Given { raw: Raw::plain(text), origin });
            }
            Err(fault) => tell(&name, fault),
        }
    }
    given
}
