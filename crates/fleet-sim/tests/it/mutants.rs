//! The controls: a check that cannot fail proves nothing.

use posthaste_fleet_sim::{Mutant, Plan};

/// Every mutant must be found within so many worlds.
const SEEDS: u64 = 300;
/// Events in each.
const EVENTS: u64 = 40;

/// For all deliberate faults around the courier: the judge finds them, and says how to see it. The
/// same world without the fault holds.
#[test]
fn every_deliberate_fault_is_found() {
    for mutant in Mutant::ALL {
        let failure = (0..SEEDS)
            .map(|seed| Plan { mutant: Some(mutant), ..Plan::draw(seed, EVENTS) })
            .find_map(|plan| posthaste_fleet_sim::run(&plan).err())
            .unwrap_or_else(|| panic!("{} is not found", mutant.as_str()));
        let same = posthaste_fleet_sim::run(&Plan::draw(failure.seed, EVENTS));
        assert!(same.is_ok(), "{}: found without it, too: {same:?}", mutant.as_str());
        let text = failure.to_string();
        let command = format!("-- --seed {} --events {EVENTS} --mutant", failure.seed);
        assert!(text.contains(&command) && text.contains(mutant.as_str()), "{text}");
    }
}

#[test]
fn a_mutant_is_its_name() {
    for mutant in Mutant::ALL {
        assert_eq!(Mutant::parse(mutant.as_str()), Some(mutant));
    }
    assert_eq!(Mutant::parse("harmless"), None);
}
