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
//! silence; repairs that stop at the first damage, or tell nobody, lose what is whole; and the same
//! judges say so.
//!
//! `PROVE_LONG=1` takes ten times as many, and every byte of the last batch with every bit pattern
//! that matters.

mod editor;
mod hit;
mod judge;
mod meta;
mod running;
mod start;
mod template;
mod tools;

use editor::{Edit, How, What, last_batch};
use judge::{Verdict, Wrong, judge_repair, judge_start, judge_unguarded};
use template::Template;

use crate::testing::Chance;

/// Seeds of the long form by which faults were found: a whole batch behind a damaged end, a batch
/// and a block that stand twice.
const FOUND: [u64; 4] = [895, 977, 1_793, 1_843];
/// Damages that each wrong variant gets.
const CONTROLS: u64 = 60;

fn is_long() -> bool {
    std::env::var_os("PROVE_LONG").is_some_and(|value| value == "1")
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

/// Cases that were judged, and what was bad of them.
#[derive(Default)]
struct Tally {
    tried: usize,
    bad: Vec<String>,
}

impl Tally {
    /// Counts a case, which may be a bad one.
    fn count(&mut self, bad: Option<String>) {
        self.tried += 1;
        self.bad.extend(bad);
    }

    /// Says how many were judged and held, and by which control where it is one of the same test;
    /// fails where one did not.
    fn prove(self, control: &str) {
        let Self { tried, bad } = self;
        let control = if control.is_empty() { control } else { &format!(" control {control}") };
        println!("proof: 7 tried {tried} held {}{control}", tried - bad.len());
        assert!(bad.is_empty(), "{} bad:\n{}", bad.len(), bad.join("\n"));
    }
}

/// For all seeds: no damage is silent, none panics, none is met again and again, and a repair keeps
/// what is whole.
#[test]
fn damage_is_noticed_and_what_is_whole_is_kept() {
    let seeds: Vec<u64> =
        if is_long() { (0..3_000).collect() } else { (0..200).chain(FOUND).collect() };
    let runtime = runtime();
    let template = runtime.block_on(Template::make());
    let (mut noticed, mut harmless, mut tally) = (0, 0, Tally::default());
    for seed in &seeds {
        let copy = template.copy();
        let edit = Edit::draw(&template, copy.data(), &mut Chance(*seed));
        let damaged = copy.again();
        let started = runtime.block_on(judge_start(&copy, &template));
        let is_harmless = matches!(started, Verdict::Harmless);
        tally.count(match started {
            Verdict::Harmless => {
                harmless += 1;
                None
            }
            Verdict::Noticed(_) => {
                noticed += 1;
                None
            }
            Verdict::Bad(what) => Some(format!("seed {seed}, {edit:?}: {what}")),
        });
        let repaired = judge_repair(&damaged, &template, &edit, is_harmless, None);
        match runtime.block_on(repaired) {
            Ok(true) => tally.count(None),
            Ok(false) => {}
            Err(what) => tally.count(Some(format!("seed {seed}, {edit:?}: repair: {what}"))),
        }
    }
    println!("damages: {noticed} noticed, {harmless} harmless");
    tally.prove("");
    assert!(noticed > seeds.len() / 4 && harmless > 0, "{noticed} noticed, {harmless} harmless");
}

/// The control of the test above: where nobody looks at the files, or a repair is a wrong one, its
/// judges say so.
#[test]
fn the_judges_of_damage_see_what_is_wrong() {
    let runtime = runtime();
    let template = runtime.block_on(Template::make());
    let silent = control(&runtime, &template);
    let wrong = [Wrong::StopsAtDamage, Wrong::TellsNobody];
    let [stopped, untold] = wrong.map(|wrong| control_repair(&runtime, &template, wrong));
    println!(
        "of {CONTROLS} damages, with the looks at files switched off {silent} lost events in \
         silence; a repair that stops at the first damage lost what was whole in {stopped}, one \
         that tells nobody was caught in {untold}"
    );
    assert!(silent > 0, "the judge lets everything pass");
    assert!(stopped > 0 && untold > 0, "the judge lets every repair pass");
}

/// How many damages the judge finds to be silent where nobody looks at the files.
fn control(runtime: &tokio::runtime::Runtime, template: &Template) -> u64 {
    let mut silent = 0;
    for seed in 0..CONTROLS {
        let copy = template.copy();
        let edit = Edit::draw(template, copy.data(), &mut Chance(seed));
        let is_cut = matches!(edit.how, How::Cut { .. } | How::Remove);
        if edit.what() == What::Journal && !is_cut {
            // A debug build of the store asserts something of what is in a journal, under a lock
            // that its own end takes again: that ends the process.
            continue;
        }
        let verdict = runtime.block_on(judge_unguarded(&copy, template));
        silent += u64::from(matches!(verdict, Verdict::Bad(what) if what.starts_with("silent")));
    }
    silent
}

/// How many repairs by a wrong variant the judge does not let pass.
fn control_repair(runtime: &tokio::runtime::Runtime, template: &Template, wrong: Wrong) -> usize {
    let is_caught = |seed: &u64| {
        let copy = template.copy();
        let edit = Edit::draw(template, copy.data(), &mut Chance(*seed));
        runtime.block_on(judge_repair(&copy, template, &edit, false, Some(wrong))).is_err()
    };
    (0..CONTROLS).filter(is_caught).count()
}

/// For all bytes of the journal's last batch: changed there, or cut there, the start is refused and
/// says how much is missing.
#[test]
fn every_byte_of_the_last_batch_counts() {
    let runtime = runtime();
    let template = runtime.block_on(Template::make());
    let (begin, end) = last_batch(&template);
    let step = if is_long() { 1 } else { 5 };
    let (mut tally, mut silent, mut controls) = (Tally::default(), 0, 0);
    for (n, at) in (begin..end).step_by(step).enumerate() {
        for edit in [Edit::flip(&template, at), Edit::cut(&template, at)] {
            let copy = template.copy();
            edit.apply(copy.data());
            let unguarded = (n % 20 == 0).then(|| copy.again());
            tally.count(match runtime.block_on(judge_start(&copy, &template)) {
                Verdict::Noticed(text) if text.contains("lost") && text.contains("commit") => None,
                // The number of a batch may be another one, as long as it grows.
                Verdict::Harmless
                    if (begin + 5..begin + 13).contains(&at)
                        && matches!(edit.how, How::Flip { .. }) =>
                {
                    None
                }
                other => Some(format!("{edit:?}: {other:?}")),
            });
            if let Some(copy) = unguarded {
                controls += 1;
                let verdict = runtime.block_on(judge_unguarded(&copy, &template));
                silent += usize::from(matches!(verdict, Verdict::Bad(_)));
            }
        }
    }
    tally.prove(&format!(
        "with the looks at files switched off {silent} of {controls} lost it in silence (every \
         byte of the last batch)"
    ));
    assert!(silent > 0, "the judge lets everything pass");
}
