//! Takes the product's own sources, as they stand, and gives them other locks, channels and
//! threads.
//!
//! `std::sync::` becomes `crate::sync::`, and so on: names that this crate fills with shuttle's.
//! Nothing else is changed, so that what is tried is what runs. From the same text the wrong
//! variants are made, each by a change that must fit: a source that has changed so that it does
//! not is told of here.

use std::path::{Path, PathBuf};
use std::{env, fs};

#[path = "parts.rs"]
mod parts;

use parts::{Part, Taken};

const NAMES: [(&str, &str); 4] = [
    // tokio's stand-in has no such function.
    ("watch::Sender::new(", "tokio::watched("),
    ("std::sync::", "crate::sync::"),
    ("std::thread::", "crate::thread::"),
    ("tokio::", "crate::tokio::"),
];

fn main() {
    println!("cargo::rerun-if-changed=parts.rs");
    // Of this build: a checkout may have moved since the script was compiled.
    let here = env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where");
    let top = Path::new(&here).join("../..");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo says where to write"));
    for part in parts::PARTS {
        let source = top.join(part.source);
        println!("cargo::rerun-if-changed={}", source.display());
        let text = fs::read_to_string(&source).expect("a source of the workspace");
        let right = taken(part, &text);
        write(&out, part.name, &right);
        for (name, changes) in part.wrong {
            let wrong = changes
                .iter()
                .fold(right.clone(), |text, (from, to)| change(part, &text, from, to));
            write(&out, name, &wrong);
        }
    }
}

fn taken(part: &Part, source: &str) -> String {
    let source = source.split("\n#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let mut text = match part.taken {
        Taken::Whole => source.to_owned(),
        Taken::Pieces(pieces) => {
            let piece = |(from, to): &(&str, &str)| between(part, source, from, to);
            pieces.iter().map(piece).collect()
        }
    };
    for (from, to) in NAMES {
        text = text.replace(from, to);
    }
    for (from, to) in part.changes {
        text = change(part, &text, from, to);
    }
    // The words at the top of a file cannot stand where this is included.
    let lines = text.lines().filter(|line| !line.starts_with("//!"));
    lines.flat_map(|line| [line, "\n"]).collect()
}

fn between(part: &Part, source: &str, from: &str, to: &str) -> String {
    let begin = source.find(from).unwrap_or_else(|| stale(part, from));
    let length = source[begin..].find(to).unwrap_or_else(|| stale(part, to));
    source[begin..begin + length].to_owned()
}

fn change(part: &Part, text: &str, from: &str, to: &str) -> String {
    if text.matches(from).count() != 1 {
        stale(part, from);
    }
    text.replacen(from, to, 1)
}

fn stale(part: &Part, what: &str) -> ! {
    panic!("{} has changed: crates/schedules/parts.rs looks for {what:?}, once", part.source)
}

fn write(out: &Path, name: &str, text: &str) {
    fs::write(out.join(format!("{name}.rs")), text).expect("a file of ours");
}
