//! Where settings come from, before anybody knows what they mean: a file, credentials, the
//! environment, flags.
//!
//! Turns all of them into raw values with their origins. Refuses what is no TOML (every syntax
//! error is told, and what stands on the other lines is still looked at), what is no UTF-8, and
//! files that are no configuration by their size.

mod credentials;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use toml::de::{DeInteger, DeTable, DeValue};

pub(crate) use self::credentials::DIRECTORY_VARIABLE;
use super::problem::{Origin, Problem};

/// Every variable that begins so is ours, and must be a setting.
pub const VARIABLE_PREFIX: &str = "POSTHASTE_";
/// Names the configuration file; no setting itself.
pub const FILE_VARIABLE: &str = "POSTHASTE_CONFIG";
/// The file that is read where none is named, if it is there.
pub const FILE_DEFAULT: &str = "posthaste.toml";

/// A hundred times the example file. Whatever is longer is not a configuration.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// How much of a value a message shows.
const SHOWN_CHARS_MAX: usize = 80;

/// Where to look for settings; later ones win: file, credentials, environment, flags.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Which file.
    pub file: FileChoice,
    /// The directory of credentials that the supervisor made for this process.
    pub credentials: Option<PathBuf>,
    /// The environment; variables of others are passed over.
    pub environment: Vec<(OsString, OsString)>,
    /// The flags, in the order in which they apply: the last one wins.
    pub flags: Vec<Flag>,
}

/// Which configuration file to read.
#[derive(Clone, Debug, Default)]
pub enum FileChoice {
    /// None.
    #[default]
    Nothing,
    /// This one if it exists.
    IfPresent(PathBuf),
    /// This one; it must be there.
    Named(PathBuf),
}

/// A setting on the command line.
#[derive(Clone, Debug)]
pub enum Flag {
    /// `--set section.key=value`, as written after `--set`.
    Set(String),
    /// What holds in the running process whatever is configured now: wins over everything.
    Held {
        /// Which setting.
        setting: String,
        /// Its value, as text.
        value: String,
    },
    /// A flag of its own, such as `--listen`.
    Own {
        /// The flag, with its dashes.
        flag: &'static str,
        /// What it sets.
        setting: &'static str,
        /// To what.
        value: String,
    },
}

/// A raw value and where it came from.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) raw: Raw,
    pub(super) origin: Origin,
}

/// A value as it was written.
#[derive(Clone, Debug)]
pub(super) enum Raw {
    One(Scalar),
    List(Vec<Scalar>),
    Table,
}

/// A value that is neither list nor table.
#[derive(Clone, Debug)]
pub(super) struct Scalar {
    pub(super) text: String,
    pub(super) form: Form,
}

/// How a scalar was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// In the environment or a flag, where everything is text.
    Plain,
    /// A string of TOML.
    Quoted,
    /// A number, a boolean or a date of TOML.
    Bare,
    /// A list or a table within a list.
    Nested,
}

impl Raw {
    pub(super) const fn plain(text: String) -> Self {
        Self::One(Scalar { text, form: Form::Plain })
    }

    /// For messages: as written, in one line, cut where it is long.
    pub(super) fn shown(&self) -> String {
        let text = match self {
            Self::One(scalar) => scalar.shown(),
            Self::List(list) => {
                let parts: Vec<_> = list.iter().map(Scalar::shown).collect();
                format!("[{}]", parts.join(", "))
            }
            Self::Table => "(a table)".to_owned(),
        };
        if text.chars().count() <= SHOWN_CHARS_MAX {
            return text;
        }
        text.chars().take(SHOWN_CHARS_MAX).chain(['…']).collect()
    }
}

impl Scalar {
    fn shown(&self) -> String {
        match self.form {
            Form::Quoted | Form::Plain => format!("{:?}", self.text),
            Form::Bare | Form::Nested => self.text.clone(),
        }
    }
}

/// All raw values. File and flags by the setting's path, the environment by the variable's name.
#[derive(Debug, Default)]
pub(super) struct Layers {
    pub(super) file: BTreeMap<String, Given>,
    /// The file's sections, empty ones too.
    pub(super) sections: BTreeMap<String, Origin>,
    pub(super) credentials: BTreeMap<String, Given>,
    pub(super) environment: BTreeMap<String, Given>,
    pub(super) flags: BTreeMap<String, Given>,
}

impl Layers {
    /// Reads all sources; problems go to `problems`, and what can be read is.
    pub(super) fn read(sources: Sources, problems: &mut Vec<Problem>) -> Self {
        let Sources { file, credentials, environment, flags } = sources;
        let mut layers = Self::default();
        let (path, required) = match file {
            FileChoice::Nothing => (None, false),
            FileChoice::IfPresent(path) => (Some(path), false),
            FileChoice::Named(path) => (Some(path), true),
        };
        if let Some(path) = path {
            match read_text(&path, required) {
                Ok(Some(text)) => layers.read_toml(&text, &path, problems),
                Ok(None) => {}
                Err(fault) => problems.push(of_file(&path, None, fault)),
            }
        }
        if let Some(directory) = credentials {
            layers.credentials = credentials::read(&directory, problems);
        }
        for (name, value) in environment {
            layers.read_variable(name, value, problems);
        }
        for flag in flags {
            layers.read_flag(flag, problems);
        }
        layers
    }

    fn read_toml(&mut self, text: &str, path: &Path, problems: &mut Vec<Problem>) {
        let (document, errors) = DeTable::parse_recoverable(text);
        let mut broken = BTreeSet::new();
        for error in errors {
            let line = line_of(text, error.span().map_or(0, |span| span.start));
            // One slip makes several errors; the first one of a line is the useful one.
            if broken.insert(line) {
                let fault = format!("not TOML: {}", error.message());
                problems.push(of_file(path, Some(line), fault));
            }
        }
        let origin =
            |start| Origin::File { path: path.to_owned(), line: Some(line_of(text, start)) };
        for (key, value) in document.get_ref() {
            let (name, at) = (written(key.get_ref()), origin(key.span().start));
            let DeValue::Table(section) = value.get_ref() else {
                let raw = raw(value.get_ref());
                self.file.insert(name, Given { raw, origin: at });
                continue;
            };
            for (key, value) in section {
                let path = format!("{name}.{}", written(key.get_ref()));
                let given = Given { raw: raw(value.get_ref()), origin: origin(key.span().start) };
                self.file.insert(path, given);
            }
            self.sections.insert(name, at);
        }
        // What the parser made up to go on after an error is nobody's setting.
        let sound = |origin: &Origin| {
            let Origin::File { line: Some(line), .. } = origin else { return true };
            !broken.contains(line)
        };
        self.file.retain(|_, given| sound(&given.origin));
        self.sections.retain(|_, origin| sound(origin));
    }

    fn read_variable(&mut self, name: OsString, value: OsString, problems: &mut Vec<Problem>) {
        let name = name.to_string_lossy().into_owned();
        if !name.starts_with(VARIABLE_PREFIX) || name == FILE_VARIABLE {
            return;
        }
        let origin = Origin::Environment { variable: name.clone() };
        match value.into_string() {
            Ok(text) if is_service_link(&name, &text) => {}
            Ok(text) => {
                self.environment.insert(name, Given { raw: Raw::plain(text), origin });
            }
            Err(_) => {
                let fault = "its value is not UTF-8".to_owned();
                problems.push(Problem { origin, setting: None, value: None, fault });
            }
        }
    }

    fn read_flag(&mut self, flag: Flag, problems: &mut Vec<Problem>) {
        let flagged = |flag: &str| Origin::Flag { flag: flag.to_owned() };
        let (origin, setting, text) = match flag {
            Flag::Held { setting, value } => (Origin::Running, setting, value),
            Flag::Own { flag, setting, value } => (flagged(flag), setting.to_owned(), value),
            Flag::Set(text) => {
                let Some((setting, value)) = text.split_once('=') else {
                    // What stands there may be a secret: it is not repeated.
                    let fault = "needs the form section.key=value".to_owned();
                    let origin = flagged("--set");
                    problems.push(Problem { origin, setting: None, value: None, fault });
                    return;
                };
                (flagged("--set"), written_path(setting.trim()), value.to_owned())
            }
        };
        self.flags.insert(setting, Given { raw: Raw::plain(text), origin });
    }
}

/// The file's text; none where it is absent and need not be there.
fn read_text(path: &Path, required: bool) -> Result<Option<String>, String> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => {
            let mut limited = file.take(FILE_BYTES_MAX + 1);
            limited.read_to_end(&mut bytes).map_err(|error| format!("cannot be read: {error}"))?;
        }
        Err(error) if error.kind() == ErrorKind::NotFound && !required => return Ok(None),
        Err(error) => return Err(format!("cannot be read: {error}")),
    }
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > FILE_BYTES_MAX {
        return Err("is longer than 1 MiB, so it is not a configuration file".to_owned());
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("is not a text file: line {line} is not UTF-8")
    })?;
    Ok(Some(text))
}

fn of_file(path: &Path, line: Option<usize>, fault: String) -> Problem {
    let origin = Origin::File { path: path.to_owned(), line };
    Problem { origin, setting: None, value: None, fault }
}

/// The line of a byte, from 1.
fn line_of(text: &str, byte: usize) -> usize {
    let before = &text.as_bytes()[..byte.min(text.len())];
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

/// A key as it may be written: in quotes if it is no bare key, so that `"a.b"` is not `a.b`.
fn written(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !key.is_empty() && key.chars().all(bare) { key.to_owned() } else { format!("{key:?}") }
}

/// A path as a flag names it, fit for a message.
fn written_path(path: &str) -> String {
    path.escape_debug().take(SHOWN_CHARS_MAX).collect()
}

fn raw(value: &DeValue<'_>) -> Raw {
    match value {
        DeValue::Array(items) => {
            Raw::List(items.iter().map(|item| scalar(item.get_ref())).collect())
        }
        DeValue::Table(_) => Raw::Table,
        other => Raw::One(scalar(other)),
    }
}

fn scalar(value: &DeValue<'_>) -> Scalar {
    let (text, form) = match value {
        DeValue::String(text) => (text.to_string(), Form::Quoted),
        DeValue::Integer(number) => (decimal(number), Form::Bare),
        DeValue::Float(number) => (number.as_str().to_owned(), Form::Bare),
        DeValue::Boolean(value) => (value.to_string(), Form::Bare),
        DeValue::Datetime(value) => (value.to_string(), Form::Bare),
        DeValue::Array(_) => ("[…]".to_owned(), Form::Nested),
        DeValue::Table(_) => ("{…}".to_owned(), Form::Nested),
    };
    Scalar { text, form }
}

/// Hexadecimal, octal and binary numbers in decimal, so that one reading serves all sources.
fn decimal(number: &DeInteger<'_>) -> String {
    let parsed = i128::from_str_radix(number.as_str(), number.radix());
    parsed.map_or_else(|_| number.to_string(), |value| value.to_string())
}

/// Whether a variable is one that Kubernetes and Docker set for a service named `posthaste` or
/// `posthaste-…`: an address of somebody, never a setting.
fn is_service_link(name: &str, value: &str) -> bool {
    let is_address = value.starts_with("tcp://") || value.starts_with("udp://");
    let last = |suffix| name.ends_with(suffix);
    last("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || (name.contains("_PORT") && is_address)
        || (["_TCP_", "_UDP_"].iter().any(|part| name.contains(part))
            && ["_ADDR", "_PORT", "_PROTO"].into_iter().any(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(text: &str) -> (Layers, Vec<String>) {
        let (mut layers, mut problems) = (Layers::default(), Vec::new());
        layers.read_toml(text, Path::new("x.toml"), &mut problems);
        (layers, problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn sections_and_dotted_keys_are_the_same() {
        let (one, _) = layers("[a]\nb = 1\n");
        let (other, _) = layers("a.b = 1\n");
        assert_eq!(one.file.keys().collect::<Vec<_>>(), ["a.b"]);
        assert_eq!(other.file.keys().collect::<Vec<_>>(), ["a.b"]);
    }

    /// A quoted key with a dot in it names no setting.
    #[test]
    fn a_quoted_dot_does_not_separate() {
        let (layers, _) = layers("\"a.b\" = 1\n[\"\"]\nc = 1\n");
        assert_eq!(layers.file.keys().collect::<Vec<_>>(), ["\"\".c", "\"a.b\""]);
    }

    /// Every syntax error is told with its line, and the sound lines are still read.
    #[test]
    fn syntax_errors_do_not_hide_each_other_or_the_rest() {
        let (layers, problems) = layers("[a]\nb = \nc = 3\nd = \"x\ne = 5\nb = 6\nc = 7\n");
        assert_eq!(problems.len(), 4, "{problems:#?}");
        assert!(problems[0].starts_with("x.toml:2: not TOML: "), "{problems:#?}");
        assert!(problems[1].starts_with("x.toml:4: not TOML: "), "{problems:#?}");
        assert!(problems[2].starts_with("x.toml:6: not TOML: duplicate"), "{problems:#?}");
        assert!(problems[3].starts_with("x.toml:7: not TOML: duplicate"), "{problems:#?}");
        assert_eq!(layers.file.keys().collect::<Vec<_>>(), ["a.c", "a.e"]);
    }

    #[test]
    fn lines_are_counted_from_one() {
        let (layers, _) = layers("\n[a]\n# comment\nb = [\n 1,\n 2,\n]\nc = 0x10\n");
        assert_eq!(layers.file["a.b"].origin.to_string(), "x.toml:4");
        assert_eq!(layers.file["a.c"].origin.to_string(), "x.toml:8");
        assert_eq!(layers.file["a.c"].raw.shown(), "16");
        assert_eq!(layers.sections["a"].to_string(), "x.toml:2");
    }

    #[test]
    fn a_long_value_is_cut() {
        let shown = Raw::plain("é".repeat(1000)).shown();
        assert_eq!(shown.chars().count(), SHOWN_CHARS_MAX + 1);
    }

    /// Kubernetes puts these into every container beside a service of that name.
    #[test]
    fn service_links_are_no_settings() {
        for (name, value) in [
            ("POSTHASTE_SERVICE_HOST", "10.0.0.1"),
            ("POSTHASTE_SERVICE_PORT", "80"),
            ("POSTHASTE_SERVICE_PORT_HTTP", "80"),
            ("POSTHASTE_PORT", "tcp://10.0.0.1:80"),
            ("POSTHASTE_PORT_80_TCP", "tcp://10.0.0.1:80"),
            ("POSTHASTE_PORT_80_TCP_ADDR", "10.0.0.1"),
            ("POSTHASTE_ADMIN_PORT_8081_TCP_PROTO", "tcp"),
        ] {
            assert!(is_service_link(name, value), "{name}");
        }
        assert!(!is_service_link("POSTHASTE_SERVER_LISTEN", "127.0.0.1:80"));
        assert!(!is_service_link("POSTHASTE_DELIVERY_ALLOW_PORTS", "80"));
    }
}
