//! Comparisons of made runs, of which it is known what is true.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::ab::{Ended, Machine, Side};
use super::*;
use crate::record::{InvalidKind, Invalidity, read_summary, write_summary};
use crate::report::made::{self, Making};

/// Makes `runs` of A and of B, each with its own chance, and compares them.
fn compared(seed: u64, runs: u64, a: Making, b: Making) -> Comparison {
    let folder = tempfile::tempdir().unwrap();
    for run in 0..runs {
        let named = |side: &str| folder.path().join(format!("{side}/{run:02}"));
        made::write(&named("a"), &Making { seed: seed + 2 * run, ..a });
        made::write(&named("b"), &Making { seed: seed + 2 * run + 1, ..b });
    }
    compare_in(&folder)
}

fn compare_in(folder: &TempDir) -> Comparison {
    let set = |side| Set::read(&folder.path().join(side)).unwrap();
    compare(set("a"), set("b"), &Plan { resamples: 1_000, ..Plan::default() }).unwrap()
}

fn block() -> Making {
    Making { seconds: 4, rate: 600, ..Making::default() }
}

fn effect<'c>(comparison: &'c Comparison, metric: &str) -> &'c Effect {
    comparison.effects.iter().find(|effect| effect.metric == metric).unwrap()
}

/// Ten comparisons of runs that differ by chance only: equivalent each time.
#[test]
fn the_same_is_equivalent_ten_times_out_of_ten() {
    for round in 0..10 {
        let comparison = compared(1_000 * round, 8, block(), block());
        assert_eq!(comparison.verdict, Verdict::Equivalent, "{round}:\n{}", text(&comparison));
        assert_eq!(comparison.design, Design::Paired);
    }
}

/// Even where whole runs differ by a fifth for no reason, chance is not called a regression.
#[test]
fn noise_is_no_regression() {
    let noisy = Making { between_runs: 0.2, ..block() };
    let mut told = [0; 5];
    for round in 0..30 {
        let comparison = compared(77_000 + 1_000 * round, 6, noisy, noisy);
        told[comparison.verdict as usize] += 1;
    }
    let [better, _, worse, ..] = told;
    assert_eq!((better, worse), (0, 0), "{told:?}");
}

#[test]
fn five_milliseconds_more_are_worse() {
    for (round, between_runs) in [(1, 0.03), (2, 0.1), (3, 0.2)] {
        let block = Making { between_runs, ..block() };
        let slowed = Making { added_ns: 5e6, ..block };
        let comparison = compared(5_000 * round, 8, block, slowed);
        assert_eq!(comparison.verdict, Verdict::Worse, "{}", text(&comparison));
        assert_eq!(comparison.verdict.exit_code(), exit::REGRESSION);
        assert_eq!(effect(&comparison, "end-to-end.p50").verdict, Verdict::Worse);
        assert_eq!(effect(&comparison, "system.cpu-per-event").verdict, Verdict::Equivalent);
        let turned = compared(5_000 * round, 8, slowed, block);
        assert_eq!(turned.verdict, Verdict::Better, "{}", text(&turned));
    }
}

/// For all figures: a change of one of them alone is seen, in the right direction.
#[test]
fn each_figure_can_decide() {
    let dearer = Making { cpu_ns: 100_000.0, ..block() };
    let comparison = compared(1, 6, block(), dearer);
    assert_eq!(comparison.verdict, Verdict::Worse);
    let cpu = effect(&comparison, "system.cpu-per-event");
    assert!((cpu.change - 0.25).abs() < 0.01 && cpu.verdict == Verdict::Worse, "{cpu:?}");
    assert_eq!(comparison.reasons.len(), 1, "nothing else is worse");
    let slower = Making { kept_up: 0.8, ..block() };
    let comparison = compared(1, 6, block(), slower);
    let rate = effect(&comparison, "rate.delivered");
    assert!((rate.change + 0.2).abs() < 0.01 && rate.verdict == Verdict::Worse, "{rate:?}");
    assert!(rate.detectable < 0.0, "for throughput less is worse");
}

#[test]
fn too_little_is_inconclusive() {
    // Two pairs; a single run of a few seconds; hardly any events.
    let few_pairs = compared(1, 2, block(), block());
    let short = compared(1, 1, block(), block());
    let thin = Making { rate: 3, ..block() };
    let few_events = compared(1, 8, thin, thin);
    for comparison in [few_pairs, short, few_events] {
        assert_eq!(comparison.verdict, Verdict::Inconclusive, "{}", text(&comparison));
        assert!(comparison.reasons.iter().any(|reason| reason.contains("too little")));
        assert_eq!(comparison.verdict.exit_code(), exit::OK);
    }
}

/// A wide interval is inconclusive, and says what it could have seen.
#[test]
fn what_could_have_been_seen_is_told() {
    let wild = Making { between_runs: 0.5, ..block() };
    let comparison = compared(3, 5, wild, wild);
    assert_eq!(comparison.verdict, Verdict::Inconclusive, "{}", text(&comparison));
    let median = effect(&comparison, "end-to-end.p50");
    assert!(median.detectable > median.margin && median.detectable < 20.0, "{median:?}");
    assert!(text(&comparison).contains("for the worse would have been seen"));
}

/// Two single runs of half a minute can be told apart, and be alike; with the reservation.
#[test]
fn single_runs_are_compared_by_stretches_of_time() {
    let long = Making { between_runs: 0.0, seconds: 40, rate: 500, ..Making::default() };
    let slowed = Making { added_ns: 5e6, ..long };
    assert_eq!(compared(1, 1, long, slowed).verdict, Verdict::Worse);
    let alike = compared(9, 1, long, long);
    assert_eq!(alike.design, Design::Single);
    assert_ne!(alike.verdict, Verdict::Worse, "{}", text(&alike));
    assert!(text(&alike).contains("cannot be seen"));
}

#[test]
fn the_same_seed_gives_the_same_figures() {
    let figures = || compared(4, 6, block(), block()).effects;
    assert_eq!(figures(), figures());
}

#[test]
fn runs_of_different_scenarios_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    made::write(&folder.path().join("a"), &block());
    made::write(&folder.path().join("b"), &Making { rate: 700, ..block() });
    let set = |side| Set::read(&folder.path().join(side)).unwrap();
    let refused = compare(set("a"), set("b"), &Plan::default());
    assert!(matches!(refused, Err(CompareError::Scenarios { key, .. }) if key == "arrival"));
    assert!(matches!(Set::read(Path::new("/nowhere")), Err(CompareError::Folder { .. })));
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(Set::read(empty.path()), Err(CompareError::NoRuns { .. })));
}

/// Settings of the system may differ: they are what is compared.
#[test]
fn settings_of_the_system_may_differ() {
    let folder = tempfile::tempdir().unwrap();
    for side in ["a", "b"] {
        let path = folder.path().join(side);
        made::write(&path, &block());
        let mut summary = read_summary(&path).unwrap();
        summary.scenario.toml += &format!("settings = {{ side = \"{side}\" }}\n");
        write_summary(&path, &summary).unwrap();
    }
    assert_eq!(compare_in(&folder).effects.len(), METRICS);
}

fn spoil(folder: &Path, kind: InvalidKind) {
    let mut summary = read_summary(folder).unwrap();
    summary.outcome.verdict = crate::record::Verdict::Invalid;
    summary.outcome.invalid = vec![Invalidity { kind, reason: format!("{kind:?} is off") }];
    write_summary(folder, &summary).unwrap();
}

/// A side that lost events is never called good, whatever its other runs say.
#[test]
fn a_loss_spoils_a_side() {
    let folder = tempfile::tempdir().unwrap();
    for run in 0..6 {
        for (side, seed) in [("a", run), ("b", 50 + run)] {
            let path = folder.path().join(format!("{side}/{run}"));
            made::write(&path, &Making { seed, ..block() });
        }
    }
    spoil(&folder.path().join("b/3"), InvalidKind::Starved);
    let without = compare_in(&folder);
    assert_eq!((without.a.runs, without.b.runs), (5, 5), "the pair falls out");
    assert_eq!(without.verdict, Verdict::Equivalent, "{}", text(&without));
    spoil(&folder.path().join("b/4"), InvalidKind::Account);
    let lost = compare_in(&folder);
    assert_eq!(lost.verdict, Verdict::Invalid);
    assert_eq!(lost.verdict.exit_code(), exit::INVALID);
    assert!(lost.reasons[0].contains("Account is off"), "{:?}", lost.reasons);
}

/// A machine whose blocks are made.
struct Made {
    a: Making,
    b: Making,
    order: String,
    told: Vec<String>,
    /// What becomes of the next blocks, where not what should.
    faults: VecDeque<Option<Fault>>,
}

#[derive(Clone, Copy)]
enum Fault {
    Invalid(InvalidKind),
    Interrupt,
}

impl Made {
    fn new(a: Making, b: Making) -> Self {
        Self { a, b, order: String::new(), told: Vec::new(), faults: VecDeque::new() }
    }

    fn conduct(&mut self, pairs: u32, pairs_max: u32) -> (PathBuf, TempDir, ab::Finished) {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let plan = Plan { resamples: 1_000, ..Plan::default() };
        let options = ab::Options { pairs, pairs_max, out: out.clone(), plan };
        let finished = ab::conduct(&options, self).unwrap();
        (out, folder, finished)
    }
}

impl Machine for Made {
    fn run(&mut self, side: Side, folder: &Path) -> anyhow::Result<Ended> {
        self.order += side.name();
        let seed = self.order.len() as u64;
        let making = if side == Side::A { self.a } else { self.b };
        made::write(folder, &Making { seed, ..making });
        match self.faults.pop_front().flatten() {
            Some(Fault::Interrupt) => return Ok(Ended::Interrupted),
            Some(Fault::Invalid(kind)) => spoil(folder, kind),
            None => {}
        }
        Ok(Ended::Whole)
    }

    fn tell(&mut self, line: &str) {
        self.told.push(line.to_owned());
    }
}

#[test]
fn blocks_take_turns() {
    let mut machine = Made::new(block(), block());
    let (out, _folder, finished) = machine.conduct(6, 6);
    assert_eq!(machine.order, "abbaabbaabba");
    assert_eq!(finished.comparison.verdict, Verdict::Equivalent);
    assert_eq!(machine.told.len(), 12, "a line a block");
    let kept = std::fs::read_to_string(out.join("comparison.json")).unwrap();
    let kept: Comparison = serde_json::from_str(&kept).unwrap();
    assert_eq!(kept.verdict, Verdict::Equivalent);
    assert!(out.join("comparison.md").exists());
}

#[test]
fn more_pairs_are_made_while_nothing_can_be_said() {
    let wild = Making { between_runs: 0.4, ..block() };
    let mut machine = Made::new(wild, wild);
    let (_, _folder, finished) = machine.conduct(5, 15);
    assert_eq!(machine.order.len(), 30, "three looks");
    assert!(machine.told.iter().any(|line| line.contains("nothing can be said yet")));
    // Three looks share one error.
    assert!((finished.comparison.confidence - (1.0 - 0.005 / 3.0)).abs() < 1e-12);
    let mut machine = Made::new(block(), Making { factor: 3.0, ..block() });
    assert_eq!(machine.conduct(5, 15).2.comparison.verdict, Verdict::Worse);
    assert_eq!(machine.order.len(), 10, "one look was enough");
}

#[test]
fn a_block_without_room_is_made_again() {
    let mut machine = Made::new(block(), block());
    machine.faults = [None, None, Some(Fault::Invalid(InvalidKind::Starved))].into();
    let (out, _folder, finished) = machine.conduct(5, 5);
    assert_eq!(machine.order, "abbbaabbaab", "the pair that fell out begins again");
    assert_eq!(finished.comparison.a.runs, 5);
    assert!(out.join("left-out/02-0-b").exists());
    assert!(finished.comparison.remarks.iter().any(|remark| remark.contains("made again")));
}

#[test]
fn a_loss_ends_everything() {
    let mut machine = Made::new(block(), block());
    machine.faults = [None, Some(Fault::Invalid(InvalidKind::Account))].into();
    let (_, _folder, finished) = machine.conduct(5, 5);
    assert_eq!(machine.order, "ab");
    assert_eq!(finished.comparison.verdict, Verdict::Invalid);
}

#[test]
fn an_interrupt_keeps_what_there_is() {
    let mut machine = Made::new(block(), block());
    machine.faults = std::iter::repeat_n(None, 13).chain([Some(Fault::Interrupt)]).collect();
    let (_, _folder, finished) = machine.conduct(10, 10);
    assert!(finished.interrupted);
    assert_eq!(finished.comparison.a.runs, 6);
    assert_eq!(finished.comparison.verdict, Verdict::Equivalent);
}

/// Blocks that are never valid do not go on for ever.
#[test]
fn endless_noise_is_given_up() {
    let mut machine = Made::new(block(), block());
    machine.faults = std::iter::repeat_n(Some(Fault::Invalid(InvalidKind::Rate)), 100).collect();
    let (_, _folder, finished) = machine.conduct(3, 3);
    assert_eq!(machine.order.len(), 4);
    assert_eq!(finished.comparison.verdict, Verdict::Invalid);
    assert_eq!(finished.comparison.verdict.exit_code(), exit::INVALID);
}
