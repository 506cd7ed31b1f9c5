//! What is wrong with a configuration, and where each value came from.
//!
//! Never shows a value that is secret, nor one whose setting does not exist (it may be a secret
//! under a misspelt name).

use std::error::Error;
use std::fmt;
use std::path::PathBuf;

use posthaste_domain::ApiKey;

/// Where a value came from. The order is the order in which problems are told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A line of the configuration file, from 1; none where the file as a whole is meant.
    File {
        /// The file, as it was named.
        path: PathBuf,
        /// The line.
        line: Option<usize>,
    },
    /// A file that the supervisor handed over.
    Credential {
        /// Its name.
        name: String,
    },
    /// An environment variable.
    Environment {
        /// Its name.
        variable: String,
    },
    /// A flag on the command line.
    Flag {
        /// Without its value: `--listen`, `--set`.
        flag: String,
    },
    /// It holds until the next start.
    Running,
    /// Nobody set it.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line: Some(line) } => write!(f, "{}:{line}", path.display()),
            Self::File { path, line: None } => write!(f, "{}", path.display()),
            Self::Credential { name } => write!(f, "credential {name}"),
            Self::Environment { variable } => f.write_str(variable),
            Self::Flag { flag } => f.write_str(flag),
            Self::Running => f.write_str("the running process"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// One thing that is wrong, in one line: where, which setting, its value, what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it is.
    pub origin: Origin,
    /// The setting's path, such as `retry.delays`; none where no setting can be named.
    pub setting: Option<String>,
    /// The value as it was written; none where it is secret or does not matter.
    pub value: Option<String>,
    /// What is wrong, and what would be right.
    pub fault: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subject = match (&self.setting, &self.value) {
            (Some(setting), Some(value)) => format!("{setting} = {value}: "),
            (Some(setting), None) => format!("{setting}: "),
            (None, _) => String::new(),
        };
        f.write_str(&masked(&format!("{}: {subject}{}", self.origin, self.fault)))
    }
}

/// The text without the API keys in it: one may stand in a wrong place, where a value is shown.
fn masked(text: &str) -> String {
    let mut parts = text.split(ApiKey::PREFIX);
    let mut masked = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_alphanumeric());
        masked.extend([ApiKey::PREFIX, "(hidden)", rest]);
    }
    masked
}

/// Everything that is wrong with a configuration; at least one problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// The problems in the order of their origins; none where there are none.
    #[must_use]
    pub fn of(mut problems: Vec<Problem>) -> Option<Self> {
        problems.sort_by(|a, b| a.origin.cmp(&b.origin));
        if problems.is_empty() { None } else { Some(Self(problems)) }
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }
}

impl fmt::Display for Problems {
    /// One line that counts them, and one for each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        let noun = if count == 1 { "problem" } else { "problems" };
        write!(f, "{count} {noun} in the configuration")?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl Error for Problems {}
