//! Which log lines are written: a level, and others for some parts of the program.

use std::fmt;

use toml::Value;
use tracing_subscriber::filter::{LevelFilter, Targets};

use super::Kind;

const LEVELS: [(&str, LevelFilter); 6] = [
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
    ("off", LevelFilter::OFF),
];

/// Libraries that tell whole requests at trace, with the secrets and payloads in them, whatever an
/// operator asks for.
const TALKATIVE: [&str; 2] = ["aws_", "hyper"];

/// What the names of our crates begin with.
const OURS: &str = "posthaste";

/// A level for everything, and levels for parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLevels {
    /// What holds where no part says otherwise.
    general: LevelFilter,
    /// Parts of the program (prefixes of module paths) and their levels.
    parts: Vec<(String, LevelFilter)>,
}

impl LogLevels {
    /// The filter that lets these levels through. Other people's libraries are heard from warn on,
    /// since what they tell at info is about themselves; a part of its own opens one.
    #[must_use]
    pub fn filter(&self) -> Targets {
        let parts = self.parts.iter().map(|(part, level)| {
            let tells_all = TALKATIVE
                .iter()
                .any(|library| part.starts_with(library) || library.starts_with(part.as_str()));
            let most = if tells_all { LevelFilter::DEBUG } else { LevelFilter::TRACE };
            (part.clone(), (*level).min(most))
        });
        let libraries = self.general.min(LevelFilter::WARN);
        Targets::new().with_default(libraries).with_target(OURS, self.general).with_targets(parts)
    }
}

impl fmt::Display for LogLevels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.general)?;
        self.parts.iter().try_for_each(|(part, level)| write!(f, ",{part}={level}"))
    }
}

/// Reads [`LogLevels`].
pub(in crate::config) struct Levels;

impl Kind for Levels {
    type Value = LogLevels;

    fn form(&self) -> String {
        "error, warn, info, debug, trace or off, then for parts if need be: \
         \"info,posthaste_delivery=debug\""
            .to_owned()
    }

    fn parse(&self, text: &str) -> Result<LogLevels, String> {
        let (mut general, mut parts) = (None, Vec::new());
        for directive in text.split(',').map(str::trim) {
            match directive.split_once('=') {
                None if general.is_some() => return Err("has two general levels".to_owned()),
                None => general = Some(level(directive)?),
                Some((part, name)) if is_module(part) => {
                    parts.push((part.to_owned(), level(name)?))
                }
                Some((part, _)) => return Err(format!("has {part:?}, which is no module")),
            }
        }
        let general = general.ok_or_else(|| "has no general level".to_owned())?;
        Ok(LogLevels { general, parts })
    }

    fn show(&self, value: &LogLevels) -> Value {
        Value::from(value.to_string())
    }
}

fn level(name: &str) -> Result<LevelFilter, String> {
    let found = LEVELS.iter().find(|(known, _)| *known == name);
    found.map(|(_, level)| *level).ok_or_else(|| format!("has {name:?}, which is no level"))
}

fn is_module(path: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
    !path.is_empty() && path.chars().all(word)
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn parts_have_levels_of_their_own() {
        let levels = Levels.parse("warn, posthaste_delivery::dns=trace,hyper=off").unwrap();
        assert_eq!(levels.to_string(), "warn,posthaste_delivery::dns=trace,hyper=off");
        let filter = levels.filter();
        assert!(filter.would_enable("posthaste", &Level::WARN));
        assert!(!filter.would_enable("posthaste", &Level::INFO));
        assert!(filter.would_enable("posthaste_delivery::dns", &Level::TRACE));
        assert!(!filter.would_enable("hyper::proto", &Level::ERROR));
    }

    #[test]
    fn libraries_are_heard_from_warn_on_unless_they_are_named() {
        for (text, level, heard) in [
            ("info", Level::INFO, false),
            ("trace", Level::INFO, false),
            ("info", Level::WARN, true),
            ("error", Level::WARN, false),
            ("off", Level::ERROR, false),
            ("info,fjall=debug", Level::DEBUG, true),
        ] {
            let filter = Levels.parse(text).unwrap().filter();
            assert_eq!(filter.would_enable("fjall::db", &level), heard, "{text} {level}");
        }
        // At trace the SDK tells whole requests.
        let filter = Levels.parse("trace,aws_smithy_runtime=trace").unwrap().filter();
        assert!(filter.would_enable("aws_smithy_runtime::client", &Level::DEBUG));
        assert!(!filter.would_enable("aws_smithy_runtime::client", &Level::TRACE));
        let filter = Levels.parse("debug").unwrap().filter();
        assert!(filter.would_enable("posthaste_embedded::writer", &Level::DEBUG));
    }

    /// A misspelt level would otherwise be taken for a module, and silence everything else.
    #[test]
    fn a_misspelt_level_is_no_module() {
        for bad in ["inof", "INFO", "", "info,", "posthaste=debug", "info,warn", "info,a b=warn"] {
            assert!(Levels.parse(bad).is_err(), "{bad:?}");
        }
    }
}
