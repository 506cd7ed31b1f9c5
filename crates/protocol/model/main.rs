//! Explores the protocol of AWS mode: every order in which clients, functions, two daemons, time
//! and faults can meet over one event, within bounds, with the decisions that production makes.
//!
//! ```text
//! cargo run --release -p posthaste-protocol --example explore              what the tests explore
//! cargo run --release -p posthaste-protocol --example explore -- --big     further
//! cargo run --release -p posthaste-protocol --example explore -- --mutants rules taken out
//! ```
//!
//! What the world leaves out: more than one event, poison messages, deleted rows, putting off, jobs
//! that a disk has forgotten one by one, and the wall clock: a sweep by a clock that is ahead is a
//! fault, and that one which went back judges nothing is a function with a test of its own.

mod action;
mod check;
mod daemon;
mod explore;
mod mutant;
mod reached;
mod state;
mod world;

use std::io::{self, Write as _};
use std::process::ExitCode;

use crate::explore::{Bounds, Found, explore};
use crate::mutant::{Mutant, Rules};
use crate::reached::Reached;

/// A world of these bounds: attempts, rounds, faults, late leases, repeated requests.
const fn world(bounds: [u8; 5]) -> Bounds {
    let [attempts, rounds, faults, lates, retries] = bounds;
    Bounds { attempts, rounds, faults, lates, retries }
}

/// What the tests explore: each is large in another direction.
const CORE: [Bounds; 4] = [
    world([2, 1, 0, 1, 1]),
    world([3, 1, 1, 1, 0]),
    world([2, 1, 2, 0, 0]),
    world([1, 2, 1, 0, 0]),
];
/// What is explored by hand, and by the tests with `PROVE_LONG=1`.
const BIG: [Bounds; 6] = [
    world([2, 2, 0, 1, 0]),
    world([2, 1, 1, 1, 1]),
    world([2, 2, 1, 0, 0]),
    world([2, 1, 2, 1, 0]),
    world([3, 1, 1, 1, 1]),
    world([3, 1, 2, 0, 0]),
];
/// A mutant is looked for in one after the other, until one shows it.
const LADDER: [Bounds; 7] = [
    world([2, 1, 0, 1, 0]),
    world([2, 1, 1, 1, 0]),
    world([2, 2, 0, 1, 0]),
    world([4, 1, 1, 0, 0]),
    world([2, 1, 2, 0, 0]),
    world([1, 2, 1, 0, 0]),
    world([2, 2, 1, 0, 0]),
];

/// More than any of these worlds has: something in it would go on and on.
const STATES_MAX: usize = 100_000_000;
/// A mutant that shows itself later than that needs another world.
const MUTANT_STATES_MAX: usize = 5_000_000;

fn main() -> io::Result<ExitCode> {
    let mut out = io::stdout().lock();
    let is_right = match std::env::args().nth(1).as_deref() {
        None => tell_worlds(&mut out, &CORE)?,
        Some("--big") => tell_worlds(&mut out, &BIG)?,
        Some("--mutants") => {
            let mut all_caught = true;
            for mutant in Mutant::ALL {
                let found = hunt(mutant);
                all_caught &= found.violation.is_some();
                tell(&mut out, &format!("{mutant:?}"), &found)?;
            }
            all_caught
        }
        Some(other) => {
            writeln!(out, "unknown: {other}; there are --big and --mutants")?;
            return Ok(ExitCode::from(64));
        }
    };
    Ok(if is_right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn tell_worlds(out: &mut impl io::Write, worlds: &[Bounds]) -> io::Result<bool> {
    let mut is_right = true;
    let mut reached = Reached::default();
    for bounds in worlds {
        let found = explore(&Rules { bounds: *bounds, mutant: None }, STATES_MAX);
        is_right &= found.violation.is_none() && !found.is_cut;
        reached.add(&found.reached);
        tell(out, &format!("{bounds:?}"), &found)?;
    }
    writeln!(out, "{reached}{} states of the row", reached.row_states())?;
    Ok(is_right && reached.missing().is_empty() && reached.unlisted().is_empty())
}

/// The first world that shows a mutant; the last one where none does.
fn hunt(mutant: Mutant) -> Found {
    let search = |bounds| explore(&Rules { bounds, mutant: Some(mutant) }, MUTANT_STATES_MAX);
    let mut found = search(LADDER[0]);
    for bounds in &LADDER[1..] {
        if found.violation.is_some() {
            break;
        }
        found = search(*bounds);
    }
    found
}

fn tell(out: &mut impl io::Write, what: &str, found: &Found) -> io::Result<()> {
    let (states, transitions, depth) = (found.states, found.transitions, found.depth);
    writeln!(out, "{what}: {states} states, {transitions} transitions, {depth} steps deep")?;
    let Some(violation) = &found.violation else {
        let answer = if found.is_cut { "no violation so far" } else { "no violation" };
        return writeln!(out, "  {answer}");
    };
    writeln!(out, "  after {} steps: {}", violation.trace.len(), violation.property)?;
    for (index, action) in violation.trace.iter().enumerate() {
        writeln!(out, "  {:>3}. {action}", index + 1)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::Action;

    /// For every order of everything that can happen within the bounds: no property is violated,
    /// and from everywhere a final status can be reached.
    #[test]
    fn nothing_is_lost_stuck_or_repeated_over_its_bound() {
        let is_long = std::env::var_os("PROVE_LONG").is_some_and(|it| it == "1");
        let (mut states, mut reached) = (0, Reached::default());
        for bounds in CORE.into_iter().chain(BIG.into_iter().filter(|_| is_long)) {
            let found = explore(&Rules { bounds, mutant: None }, STATES_MAX);
            let violation = found.violation.map(|violation| {
                let steps: Vec<_> = violation.trace.iter().map(ToString::to_string).collect();
                format!("{bounds:?}\n{}\n{}", violation.property, steps.join("\n"))
            });
            assert_eq!(violation, None);
            assert!(!found.is_cut, "{bounds:?}");
            states += found.states;
            reached.add(&found.reached);
        }
        let least = if is_long { 15_000_000 } else { 1_000_000 };
        assert!(states >= least, "{states} states");
        // A world in which something never happens says nothing about it.
        assert!(reached.missing().is_empty(), "{reached}");
        assert_eq!(reached.unlisted(), Vec::<&str>::new(), "not in the lists of reached.rs");
        println!(
            "proof: 1 tried {states} held {states} control each of {} rules taken out is missed; \
             {} kinds of steps, {} states of the row",
            Mutant::ALL.len(),
            reached::ACTIONS.len() + reached::LEASES.len(),
            reached.row_states(),
        );
    }

    /// The control of what was reached: a world without faults does not have them.
    #[test]
    fn what_is_unreached_is_named() {
        let rules = Rules { bounds: world([2, 1, 0, 0, 0]), mutant: None };
        let missing = explore(&rules, STATES_MAX).reached.missing();
        assert!(missing.contains(&"crashes") && !missing.contains(&"POSTs a retry"), "{missing:?}");
    }

    /// The control of what stands in the lists: a step that does not is told.
    #[test]
    fn what_no_list_has_is_told() {
        let mut reached = Reached::default();
        reached.took(Action::Time("a lease ends"));
        reached.took(Action::Time("the moon rises"));
        assert_eq!(reached.unlisted(), ["the moon rises"]);
    }

    /// For every rule: without it the search finds what the rule is for.
    #[test]
    fn every_rule_that_is_taken_out_is_missed() {
        let missed: Vec<_> =
            Mutant::ALL.into_iter().filter(|&it| hunt(it).violation.is_none()).collect();
        assert!(missed.is_empty(), "not caught: {missed:?}");
    }

    /// Clauses that are spare are so: should one become needed, its place is among the others.
    #[test]
    fn a_spare_rule_is_not_missed() {
        for mutant in Mutant::SPARE {
            for bounds in &LADDER[..4] {
                let rules = Rules { bounds: *bounds, mutant: Some(mutant) };
                let found = explore(&rules, STATES_MAX);
                let property = found.violation.map(|violation| violation.property);
                assert_eq!(property, None, "{mutant:?} in {bounds:?}");
            }
        }
    }
}
