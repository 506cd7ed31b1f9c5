//! The configuration: a file, the environment and flags, the command line.

use std::cell::RefCell;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;

use clap::Parser as _;
use posthaste::cli::{Cli, Command};
use posthaste::config::layers::{FileChoice, Flag, Sources};
use posthaste::config::{Loaded, load, problem::Problems};
use tempfile::NamedTempFile;

use crate::input::{Input, split_once};

/// A file.
pub(crate) fn config_file(data: &[u8]) {
    judge(&load(Sources { file: written(data), ..Sources::default() }));
}

/// Lines: `NAME=value` of the environment, or `--set section.key=value`.
pub(crate) fn config_settings(data: &[u8]) {
    let mut sources = Sources::default();
    let mut input = Input(data);
    while !input.is_empty() {
        let line = input.line();
        if let Some(set) = line.strip_prefix(b"--set ") {
            sources.flags.push(Flag::Set(String::from_utf8_lossy(set).into_owned()));
        } else if let Some((name, value)) = split_once(line, b'=') {
            let name = [b"POSTHASTE_", name].concat();
            let pair = (OsString::from_vec(name), OsString::from_vec(value.to_vec()));
            sources.environment.push(pair);
        }
    }
    // What a name means is the environment's: one that names a file may name any of this machine.
    sources.environment.retain(|(name, _)| !name.to_string_lossy().contains("CONFIG"));
    judge(&load(sources));
}

fn judge(loaded: &Result<Loaded, Problems>) {
    match loaded {
        Ok(loaded) => prints_itself(loaded),
        Err(problems) => {
            assert!(problems.iter().count() > 0);
            for problem in problems.iter() {
                let line = problem.to_string();
                assert!(!line.is_empty() && !line.contains('\n'), "{line:?}");
                assert!(!problem.fault.is_empty());
            }
        }
    }
}

/// What is printed of a configuration is a configuration with the same meaning, secrets aside.
fn prints_itself(loaded: &Loaded) {
    let printed = loaded.listing.to_toml();
    let sources = Sources { file: written(printed.as_bytes()), ..Sources::default() };
    let again = match load(sources) {
        Ok(again) => again,
        Err(problems) => panic!("what was printed is none: {problems}\n{printed}"),
    };
    for entry in &loaded.listing.entries {
        let is_hidden = entry.shown().contains("hidden");
        let same = again.listing.entry(&entry.path()).is_some_and(|other| entry.agrees(other));
        assert!(is_hidden || same, "{} = {}", entry.path(), entry.shown());
    }
    let json = loaded.listing.to_json();
    assert!(json.is_object());
}

/// The command line: arguments, one a line.
pub(crate) fn command_line(data: &[u8]) {
    let arguments = data.split(|byte| *byte == b'\n').map(|line| OsString::from_vec(line.to_vec()));
    let arguments = std::iter::once(OsString::from("posthaste")).chain(arguments);
    match Cli::try_parse_from(arguments) {
        Ok(cli) => {
            let settings = match cli.command {
                Command::Serve(serve) => serve.settings,
                Command::Check(check) => check.settings,
                Command::Config(config) => config.settings,
                _ => return,
            };
            let given = settings.set.len();
            let flags = settings.sources().flags;
            assert!(flags.iter().take(given).all(|flag| matches!(flag, Flag::Set(_))));
            judge(&load(Sources { flags, ..Sources::default() }));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn written(bytes: &[u8]) -> FileChoice {
    thread_local! {
        static FILE: RefCell<Option<NamedTempFile>> = const { RefCell::new(None) };
    }
    FILE.with_borrow_mut(|file| {
        let file = file.get_or_insert_with(|| {
            let memory = Path::new("/dev/shm");
            let made = match memory.is_dir() {
                true => NamedTempFile::new_in(memory),
                false => NamedTempFile::new(),
            };
            made.expect("a file")
        });
        fs::write(file.path(), bytes).expect("a file");
        FileChoice::Named(file.path().to_owned())
    })
}
