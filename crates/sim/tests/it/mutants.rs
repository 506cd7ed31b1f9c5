//! The controls: a check that cannot fail proves nothing.

use posthaste_engine::Invariant;
use posthaste_sim::{Mutant, Plan};

/// Every mutant must be found within so many small worlds; most are within ten.
const SEEDS: u64 = 400;

/// For all deliberate faults of driver and store: the judge finds them, and says how to see it. The
/// same world without the fault holds.
#[test]
fn every_deliberate_fault_is_found() {
    for mutant in Mutant::ALL {
        let failure = (0..SEEDS)
            .map(|seed| Plan { mutant: Some(mutant), ..Plan::draw(seed, 100) })
            .find_map(|plan| posthaste_sim::run(&plan).err())
            .unwrap_or_else(|| panic!("{} is not found", mutant.as_str()));
        let same = posthaste_sim::run(&Plan::draw(failure.seed, 100));
        assert!(same.is_ok(), "{}: found without it, too: {same:?}", mutant.as_str());
        let text = failure.to_string();
        let command = format!("-- --seed {} --deliveries 100 --mutant", failure.seed);
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

/// For all invariants: a deliberate fault breaks it.
#[test]
fn every_invariant_has_its_mutant() {
    let broken = |invariant| Mutant::ALL.iter().any(|mutant| mutant.breaks() == invariant);
    for invariant in Invariant::ALL {
        assert!(broken(invariant), "{invariant}");
    }
}
