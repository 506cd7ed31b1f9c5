//! Between the committed corpora, which are text, and libFuzzer's folders of files.
//!
//! ```text
//! corpus targets | controls              their names
//! corpus unpack TARGET FOLDER            the committed inputs as files; for a control those of its
//!                                        target that do not find its fault already
//! corpus pack TARGET FOLDER BYTES        the files as the committed inputs, the shortest first, in
//!                                        so many bytes; remarks at the top and what they mark stay
//! ```

#![expect(clippy::print_stdout, reason = "a tool's output")]

use std::collections::BTreeSet;
use std::error::Error;
use std::path::Path;
use std::{env, fs, panic};

use posthaste_fuzz_targets::control::CONTROLS;
use posthaste_fuzz_targets::{TARGETS, corpus};

/// Behind this line stands what was found by fuzzing, and may be found anew.
const FOUND: &str = "# found by fuzzing";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["targets"] => TARGETS.iter().for_each(|target| println!("{}", target.name)),
        ["controls"] => CONTROLS.iter().for_each(|(_, control)| println!("{}", control.name)),
        ["unpack", target, folder] => unpack(target, Path::new(folder))?,
        ["pack", target, folder, bytes] => pack(target, Path::new(folder), bytes.parse()?)?,
        _ => return Err("see the first lines of crates/fuzz-targets/src/bin/corpus.rs".into()),
    }
    Ok(())
}

fn unpack(target: &str, folder: &Path) -> Result<(), Box<dyn Error>> {
    let control = CONTROLS.iter().find(|(_, control)| control.name == target);
    let (corpus_of, run) = control.map_or((target, None), |(of, it)| (*of, Some(it.run)));
    // What panics here is what a control is for.
    panic::set_hook(Box::new(|_| {}));
    let holds = |run: fn(&[u8]), input: &[u8]| panic::catch_unwind(|| run(input)).is_ok();
    for (number, input) in corpus::of(corpus_of)?.iter().enumerate() {
        if run.is_none_or(|run| holds(run, input)) {
            fs::write(folder.join(format!("committed-{number}")), input)?;
        }
    }
    Ok(())
}

fn pack(target: &str, folder: &Path, bytes_max: usize) -> Result<(), Box<dyn Error>> {
    let path = corpus::directory().join(format!("{target}.txt"));
    let before = fs::read_to_string(&path)?;
    let by_hand = before.split_once(FOUND).map_or(before.as_str(), |(by_hand, _)| by_hand);
    let mut text = format!("{}\n{FOUND}\n", by_hand.trim_end());
    let known: BTreeSet<Vec<u8>> = corpus::read(by_hand).unwrap_or_default().into_iter().collect();
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder)? {
        let input = fs::read(entry?.path())?;
        if !known.contains(&input) && !input.is_empty() {
            found.insert((corpus::line(&input).len(), corpus::line(&input)));
        }
    }
    let (mut kept, all) = (0, found.len());
    for (_, line) in found {
        if text.len() + line.len() < bytes_max {
            text.push_str(&line);
            text.push('\n');
            kept += 1;
        }
    }
    println!("{target}: {} by hand, {kept} of {all} found", known.len());
    fs::write(path, text)?;
    Ok(())
}
