//! Reads settings out of the layers, and remembers each setting that was asked for.
//!
//! A setting is declared by being read: one call names it, its kind, its default and its reason.
//! So the example file, `posthaste config`, the names of environment variables and the hints for
//! misspelt names all come from the same line of code, and whatever was given but never asked for
//! is an unknown setting.
//!
//! Every value that was given is checked, one that another overrides too: it would be wrong on the
//! day on which the other goes away.

use std::collections::BTreeSet;

use super::kinds::Kind;
use super::layers::{Given, Layers, VARIABLE_PREFIX};
use super::listing::{Entry, Listing};
use super::problem::{Origin, Problem};
use super::suggest::nearest;

/// What stands for a value that nobody may see.
pub(super) const HIDDEN: &str = "(hidden)";

/// Turns layers into values, one section after the other.
pub(super) struct Reader {
    layers: Layers,
    listing: Listing,
    problems: Vec<Problem>,
    faulty: BTreeSet<String>,
}

impl Reader {
    pub(super) fn new(layers: Layers, problems: Vec<Problem>) -> Self {
        Self { layers, listing: Listing::default(), problems, faulty: BTreeSet::new() }
    }

    /// Begins a section; `about` says in a few words what it is for.
    pub(super) fn section(&mut self, name: &'static str, about: &'static str) -> Section<'_> {
        self.listing.sections.push((name, about));
        Section { reader: self, name }
    }

    /// Everything that was asked for, the problems, and the settings that have one.
    pub(super) fn finish(mut self) -> (Listing, Vec<Problem>, BTreeSet<String>) {
        self.tell_unknown_sections();
        self.tell_unknown_settings();
        self.tell_unknown_variables();
        (self.listing, self.problems, self.faulty)
    }

    /// What was given for a setting, the last one wins.
    fn take(&mut self, entry: &Entry) -> Vec<Given> {
        let (path, layers) = (entry.path(), &mut self.layers);
        let file = layers.file.remove(&path);
        let credential = layers.credentials.remove(&path);
        let environment = layers.environment.remove(&entry.variable());
        let flag = layers.flags.remove(&path);
        file.into_iter().chain(credential).chain(environment).chain(flag).collect()
    }

    fn tell(&mut self, path: String, problem: Problem) {
        self.faulty.insert(path);
        self.problems.push(problem);
    }

    fn tell_unknown_sections(&mut self) {
        let known: Vec<_> = self.listing.sections.iter().map(|(name, _)| *name).collect();
        for (name, origin) in &self.layers.sections {
            if known.contains(&name.as_str()) {
                continue;
            }
            let hint = nearest(name, known.iter().copied()).map_or_else(
                || format!("there are {}", known.join(", ")),
                |near| did_you_mean(&format!("[{near}]")),
            );
            self.problems.push(unknown(origin, format!("[{name}]"), "section", &hint));
        }
    }

    fn tell_unknown_settings(&mut self) {
        let known: Vec<_> = self.listing.entries.iter().map(Entry::path).collect();
        let is_section = |name: &str| self.listing.sections.iter().any(|(known, _)| *known == name);
        let Layers { file, credentials, flags, .. } = &self.layers;
        for (path, given) in file.iter().chain(credentials).chain(flags) {
            let section = path.split_once('.').map_or("", |(section, _)| section);
            let told = self.layers.sections.contains_key(section) && !is_section(section);
            if told && matches!(given.origin, Origin::File { .. }) {
                continue;
            }
            let hint = if is_section(path) {
                format!("it is a section: write [{path}] and its settings below")
            } else {
                hint(path, known.iter().map(String::as_str))
            };
            self.problems.push(unknown(&given.origin, path.clone(), "setting", &hint));
        }
    }

    fn tell_unknown_variables(&mut self) {
        let known: Vec<_> = self.listing.entries.iter().map(Entry::variable).collect();
        for (name, given) in &self.layers.environment {
            let wrong = name.strip_prefix(VARIABLE_PREFIX).unwrap_or(name);
            let bare = known.iter().filter_map(|name| name.strip_prefix(VARIABLE_PREFIX));
            let hint = match nearest(wrong, bare) {
                Some(near) => did_you_mean(&format!("{VARIABLE_PREFIX}{near}")),
                None => everything(),
            };
            let fault = format!("no such setting; {hint}");
            let origin = given.origin.clone();
            self.problems.push(Problem { origin, setting: None, value: None, fault });
        }
    }
}

/// A section that is being read.
pub(super) struct Section<'a> {
    reader: &'a mut Reader,
    name: &'static str,
}

impl Section<'_> {
    /// Reads a setting that a reload changes. Who declares one sees to it that
    /// [`crate::assemble::live`] applies it.
    pub(super) fn live<K: Kind>(
        &mut self,
        name: &'static str,
        kind: K,
        default: &'static str,
        reason: &'static str,
    ) -> K::Value {
        let value = self.key(name, kind, default, reason);
        if let Some(entry) = self.reader.listing.entries.last_mut() {
            entry.live = true;
        }
        value
    }

    /// Reads a setting that holds from start to end. `default` is written as in the environment;
    /// `reason` says in one or two sentences what the setting is and why its default is what it is.
    ///
    /// A value that is wrong becomes a problem, and the default stands in for it.
    pub(super) fn key<K: Kind>(
        &mut self,
        name: &'static str,
        kind: K,
        default: &'static str,
        reason: &'static str,
    ) -> K::Value {
        let value = kind.parse(default).expect("every default is right: a test reads them all");
        let mut entry = Entry {
            section: self.name,
            name,
            form: kind.form(),
            reason,
            default: kind.show(&value),
            value: kind.show(&value),
            origin: Origin::Default,
            secret: K::SECRET,
            live: false,
            digest: kind.digest(&value),
        };
        let mut effective = value;
        for Given { raw, origin } in self.reader.take(&entry) {
            match kind.read(&raw) {
                Ok(value) => {
                    entry.value = kind.show(&value);
                    entry.digest = kind.digest(&value);
                    entry.origin = origin;
                    effective = value;
                }
                Err(fault) => {
                    let value = if K::SECRET { HIDDEN.to_owned() } else { raw.shown() };
                    let fault = format!("{fault}; expected {}", entry.form);
                    self.reader.tell(
                        entry.path(),
                        Problem { origin, setting: Some(entry.path()), value: Some(value), fault },
                    );
                }
            }
        }
        self.reader.listing.entries.push(entry);
        effective
    }
}

fn unknown(origin: &Origin, name: String, noun: &str, hint: &str) -> Problem {
    let fault = format!("no such {noun}; {hint}");
    Problem { origin: origin.clone(), setting: Some(name), value: None, fault }
}

fn hint<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> String {
    nearest(wrong, known).map_or_else(everything, did_you_mean)
}

fn did_you_mean(name: &str) -> String {
    format!("did you mean {name}?")
}

fn everything() -> String {
    "`posthaste config --example` shows every setting".to_owned()
}
