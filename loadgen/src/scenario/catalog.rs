//! The scenarios that come with the program, and files that people write themselves.

use std::path::{Path, PathBuf};

use super::reader::{Problems, closest};

macro_rules! catalog {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../scenarios/", $name, ".toml")))),*]
    };
}

/// From the simple to the special.
const CATALOG: &[(&str, &str)] = catalog![
    "steady",
    "busy",
    "burst",
    "saturate",
    "drain-backlog",
    "many-tenants",
    "noisy-neighbour",
    "retry-storm",
    "large-payloads",
    "real-payloads",
    "tls",
    "cold-connections",
    "crash",
    "restart",
    "soak",
    "soak-chaos",
    "aws-steady",
    "aws-drain",
    "aws-throttled",
    "aws-duplicates",
    "aws-ingest",
];

/// The names of the scenarios that come with the program.
pub fn names() -> impl Iterator<Item = &'static str> {
    CATALOG.iter().map(|(name, _)| *name)
}

/// The text of a scenario, by name or as a file, and the folder that its paths are relative to.
///
/// # Errors
/// Where there is no such scenario, or the file cannot be read.
pub fn resolve(scenario: &str) -> Result<(String, PathBuf), Problems> {
    if let Some((_, text)) = CATALOG.iter().find(|(name, _)| *name == scenario) {
        return Ok(((*text).to_owned(), PathBuf::from(".")));
    }
    let path = Path::new(scenario);
    let is_file = path.extension().is_some() || path.components().count() > 1;
    if !is_file {
        let hint = closest(scenario, names());
        let all = names().collect::<Vec<_>>().join(", ");
        let text = format!("no such scenario{hint} There are: {all}; or name a .toml file");
        return Err(Problems::one(scenario, text));
    }
    let text = std::fs::read_to_string(path)
        .map_err(|error| Problems::one(scenario, format!("cannot be read: {error}")))?;
    Ok((text, path.parent().map_or_else(PathBuf::new, Path::to_path_buf)))
}
