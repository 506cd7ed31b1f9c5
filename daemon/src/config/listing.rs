//! Every setting with its effective value: as TOML, as JSON, and as the commented example.
//!
//! A secret is never in it, only whether there is one.

use std::fmt::Write as _;

use toml::Value;

use super::layers::{Flag, VARIABLE_PREFIX};
use super::problem::Origin;
use super::reader::HIDDEN;

/// Comments of the example are broken here.
const COLUMNS_MAX: usize = 100;

const EXAMPLE_HEAD: &str = "\
# The configuration of Posthaste: every setting with its default.
#
# `posthaste serve` reads posthaste.toml in the directory where it is started, or the file that
# --config or POSTHASTE_CONFIG names. Keep only the lines that you change: whatever is left out
# follows the defaults of the version that runs. Credentials win over the file, environment
# variables over both, flags over all:
#
#     a file posthaste.auth.admin-key in $CREDENTIALS_DIRECTORY (LoadCredential= of systemd)
#     POSTHASTE_DELIVERY_ATTEMPT_TIMEOUT=10s      delivery.attempt-timeout, in the environment
#     --set delivery.attempt-timeout=10s          the same as a flag
#     --set retry.delays=10s,1m,5m                lists have commas there, and no brackets
#
# SIGHUP (`systemctl reload posthaste`) reads everything again. Settings marked \"Live\" then hold
# at once, all others from the next start on; a configuration that is wrong changes nothing.
#
# `posthaste check` tells everything that is wrong with a configuration without starting anything;
# `posthaste config` prints what holds and where it came from. This file is what
# `posthaste config --example` prints.
";

/// A setting and what holds for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its section.
    pub section: &'static str,
    /// Its name in the section.
    pub name: &'static str,
    /// What a right value looks like.
    pub form: String,
    /// What it is and why the default is what it is.
    pub reason: &'static str,
    /// Its default.
    pub default: Value,
    /// Its effective value; of a secret, nothing that tells it.
    pub value: Value,
    /// Where that came from.
    pub origin: Origin,
    /// Whether nobody may see the value.
    pub secret: bool,
    /// Whether a reload changes it; otherwise the next start does.
    pub live: bool,
    /// What tells values apart that are shown alike.
    pub(super) digest: Vec<u8>,
}

impl Entry {
    /// `section.name`.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// The environment variable that sets it.
    #[must_use]
    pub fn variable(&self) -> String {
        let path = self.path().replace(['.', '-'], "_").to_uppercase();
        format!("{VARIABLE_PREFIX}{path}")
    }

    /// Whether there is a value that must not be shown.
    fn is_hidden(&self) -> bool {
        self.secret && self.value != self.default
    }

    /// The value as a flag would have it; of a secret, nothing that tells it.
    fn plain(&self) -> String {
        let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        match &self.value {
            Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(","),
            value => plain(value),
        }
    }

    /// Whether both hold the same value, wherever it came from.
    #[must_use]
    pub fn agrees(&self, other: &Self) -> bool {
        self.value == other.value && self.digest == other.digest
    }

    /// The value as a message shows it.
    #[must_use]
    pub fn shown(&self) -> String {
        if self.is_hidden() { HIDDEN.to_owned() } else { self.value.to_string() }
    }

    /// Its line of a configuration file; a secret's is a comment, so that what is printed can be
    /// used as a file and does not set the secret to something else.
    fn line(&self) -> String {
        if self.is_hidden() {
            format!("# {} = {HIDDEN}", self.name)
        } else {
            format!("{} = {}", self.name, self.value)
        }
    }
}

/// All settings, in the order in which they are read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listing {
    /// Each section's name and what it is for.
    pub sections: Vec<(&'static str, &'static str)>,
    /// Each setting.
    pub entries: Vec<Entry>,
}

impl Listing {
    /// The setting at a path.
    #[must_use]
    pub fn entry(&self, path: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.path() == path)
    }

    /// What a reload leaves as it is, as flags that keep it so.
    #[must_use]
    pub fn held(&self) -> Vec<Flag> {
        // Of a secret there is no text; who uses one that is not live does so at the start only.
        let held = self.entries.iter().filter(|entry| !entry.live && !entry.is_hidden());
        held.map(|entry| Flag::Held { setting: entry.path(), value: entry.plain() }).collect()
    }

    /// Each setting whose value differs from the one of `old`, with both, in order.
    pub fn changes<'a>(&'a self, old: &'a Self) -> impl Iterator<Item = (&'a Entry, &'a Entry)> {
        // Both come from the same declarations.
        let pairs = old.entries.iter().zip(&self.entries);
        pairs.filter(|(old, new)| !old.agrees(new))
    }

    /// The effective values as a configuration file, the origin of each beside it.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let width = self.entries.iter().map(|entry| entry.line().len()).max().unwrap_or(0).min(48);
        let mut text = String::new();
        for (section, entries) in self.by_section() {
            let gap = if text.is_empty() { "" } else { "\n" };
            put(&mut text, format_args!("{gap}[{section}]\n"));
            for entry in entries {
                put(&mut text, format_args!("{:width$}  # {}\n", entry.line(), entry.origin));
            }
        }
        text
    }

    /// The effective values as JSON: `{"section": {"name": {"value": …, "origin": …}}}`; of a
    /// secret `"hidden": true` instead of the value.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let json = |entry: &Entry| {
            let origin = entry.origin.to_string();
            if entry.is_hidden() {
                serde_json::json!({"hidden": true, "origin": origin})
            } else {
                serde_json::json!({"value": entry.value, "origin": origin})
            }
        };
        let sections = self.by_section().map(|(section, entries)| {
            let entries: serde_json::Map<_, _> =
                entries.map(|entry| (entry.name.to_owned(), json(entry))).collect();
            (section.to_owned(), serde_json::Value::Object(entries))
        });
        serde_json::Value::Object(sections.collect())
    }

    /// The commented example: every setting at its default.
    #[must_use]
    pub fn to_example(&self) -> String {
        let mut text = EXAMPLE_HEAD.to_owned();
        for (section, entries) in self.by_section() {
            let about = self.sections.iter().find(|(name, _)| *name == section);
            put(&mut text, format_args!("\n\n[{section}]\n"));
            comment(&mut text, about.map_or("", |(_, about)| about));
            for entry in entries {
                text.push('\n');
                comment(&mut text, entry.reason);
                let live = if entry.live { ". Live." } else { "" };
                let form = capitalised(&entry.form);
                comment(&mut text, &format!("{form}. Default: {}{live}", entry.default));
                put(&mut text, format_args!("{} = {}\n", entry.name, entry.default));
            }
        }
        text
    }

    fn by_section(&self) -> impl Iterator<Item = (&'static str, impl Iterator<Item = &Entry>)> {
        self.sections.iter().map(|(name, _)| {
            (*name, self.entries.iter().filter(move |entry| entry.section == *name))
        })
    }
}

fn put(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("writing to a string cannot fail");
}

/// Adds `words` as comment lines.
fn comment(text: &mut String, words: &str) {
    let mut line = "#".to_owned();
    for word in words.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > COLUMNS_MAX {
            put(text, format_args!("{line}\n"));
            line.truncate(1);
        }
        line.push(' ');
        line.push_str(word);
    }
    put(text, format_args!("{line}\n"));
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
