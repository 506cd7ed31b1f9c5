//! A closed ledger, damaged in every way that disks have: a start notices and names it, or all that
//! was acknowledged is there; a repair keeps what is whole.
//!
//! ```text
//! template ─► copy ─► editor (a seed's damage) ─┬─► start ─► every event as it was? ─► start again
//!                                              ├─► verify
//!                                              └─► repair ─► start ─► every event as it was, or
//!                                                                     named, or in what is rotten
//! ```
//!
//! Control: the same damages with everything switched off that looks at the files lose events in
//! silence, and the same judge says so.
//!
//! `PROVE_LONG=1` takes ten times as many, and every byte of the last batch with every bit pattern
//! that matters.

mod editor;
mod hit;
mod judge;
mod running;
mod template;
mod tools;

use editor::{Edit, last_batch};
use judge::{Verdict, judge_repair, judge_start, judge_unguarded};
use template::Template;

use crate::testing::Chance;

fn is_long() -> bool {
    std::env::var_os("PROVE_LONG").is_some()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

/// For all seeds: no damage is silent, none panics, none is met again and again, and a repair keeps
/// what is whole.
#[test]
fn damage_is_noticed_and_what_is_whole_is_kept() {
    let seeds = if is_long() { 3_000 } else { 200 };
    let runtime = runtime();
    let template = runtime.block_on(Template::make());
    let (mut noticed, mut harmless, mut bad) = (0, 0, Vec::new());
    for seed in 0..seeds {
        let mut chance = Chance(seed);
        let copy = template.copy();
        let edit = Edit::draw(&template, copy.data(), &mut chance);
        let damaged = copy.again();
        let started = runtime.block_on(judge_start(&copy, &template));
        match started {
            Verdict::Harmless => harmless += 1,
            Verdict::Noticed(_) => noticed += 1,
            Verdict::Bad(ref what) => bad.push(format!("seed {seed}, {edit:?}: {what}")),
        }
        let is_harmless = matches!(started, Verdict::Harmless);
        if let Err(what) = runtime.block_on(judge_repair(&damaged, &template, &edit, is_harmless)) {
            bad.push(format!("seed {seed}, {edit:?}: repair: {what}"));
        }
    }
    let held = seeds - u64::try_from(bad.len()).unwrap();
    println!("damages: {noticed} noticed, {harmless} harmless");
    let control = control(&runtime, &template);
    println!(
        "proof: 7 tried {seeds} held {held} control with the looks at files switched off {control} \
         of 60 damages lost events in silence, and the judge said so"
    );
    assert!(bad.is_empty(), "{} bad:\n{}", bad.len(), bad.join("\n"));
    assert!(noticed > seeds / 4 && harmless > 0, "{noticed} noticed, {harmless} harmless");
    assert!(control > 0, "the judge lets everything pass");
}

/// How many damages the judge finds to be silent where nobody looks at the files.
fn control(runtime: &tokio::runtime::Runtime, template: &Template) -> u64 {
    let mut silent = 0;
    for seed in 0..60 {
        let copy = template.copy();
        let _edit = Edit::draw(template, copy.data(), &mut Chance(seed));
        let verdict = runtime.block_on(judge_unguarded(&copy, template));
        silent += u64::from(matches!(verdict, Verdict::Bad(what) if what.starts_with("silent")));
    }
    silent
}

/// For all bytes of the journal's last batch: changed there, or cut there, the start is refused and
/// says how much is missing.
#[test]
fn every_byte_of_the_last_batch_counts() {
    let runtime = runtime();
    let template = runtime.block_on(Template::make());
    let (begin, end) = last_batch(&template);
    let step = if is_long() { 1 } else { 5 };
    let mut tried = 0;
    let mut bad = Vec::new();
    for at in (begin..end).step_by(step) {
        for edit in [Edit::flip(&template, at), Edit::cut(&template, at)] {
            let copy = template.copy();
            edit.apply(copy.data());
            tried += 1;
            match runtime.block_on(judge_start(&copy, &template)) {
                Verdict::Noticed(text) if text.contains("lost") && text.contains("commit") => {}
                // The number of a batch may be another one, as long as it grows.
                Verdict::Harmless if (begin + 5..begin + 13).contains(&at) => {}
                other => bad.push(format!("{edit:?}: {other:?}")),
            }
        }
    }
    println!(
        "proof: 7 tried {tried} held {} control as for the seeds (every byte of the last batch)",
        tried - bad.len()
    );
    assert!(bad.is_empty(), "{} bad:\n{}", bad.len(), bad.join("\n"));
}
