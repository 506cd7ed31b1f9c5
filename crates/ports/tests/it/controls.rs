//! Every fact of the contract can fail: stores with one fault each, and the facts that catch them.

use std::collections::BTreeSet;

use posthaste_ports::contract::{Lives, facts, holds};

use crate::caught::CAUGHT;
use crate::faulty::{Fault, FaultySubject};

fn holds_with(fault: Fault, fact: &str, lives: Lives) -> Result<(), String> {
    let (area, name) = fact.split_once("::").expect("area::name");
    holds(area, name, FaultySubject::new(fault), lives)
}

fn all_facts() -> BTreeSet<String> {
    facts().map(|(area, name)| format!("{area}::{name}")).collect()
}

/// The wrapper breaks nothing by itself, so what is caught is the fault.
#[test]
fn a_store_without_a_fault_keeps_every_fact() {
    for lives in [Lives::One, Lives::Many] {
        for fact in all_facts() {
            assert_eq!(holds_with(Fault::None, &fact, lives), Ok(()), "{fact}");
        }
    }
}

/// For all faults: each fact that is said to catch it does.
#[test]
fn every_fault_is_caught_by_its_facts() {
    let mut missed = Vec::new();
    for (fault, facts) in CAUGHT {
        // Only a store that is opened again can have forgotten.
        let lives = if *fault == Fault::Forgetful { Lives::Many } else { Lives::One };
        for fact in *facts {
            if holds_with(*fault, fact, lives).is_ok() {
                missed.push((fault, fact));
            }
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:?}");
}

/// No fault is without a fact, and no fact without a fault: a check that nothing can break proves
/// nothing.
#[test]
fn every_fault_and_every_fact_has_its_counterpart() {
    for fault in Fault::ALL {
        let rows = CAUGHT.iter().filter(|(it, facts)| *it == fault && !facts.is_empty());
        assert_eq!(rows.count(), 1, "{fault:?}");
    }
    let listed = CAUGHT.iter().flat_map(|(_, facts)| *facts);
    let listed: BTreeSet<String> = listed.map(|fact| (*fact).to_owned()).collect();
    let (all, none) = (all_facts(), Vec::<&String>::new());
    assert_eq!(all.difference(&listed).collect::<Vec<_>>(), none, "facts that nothing breaks");
    assert_eq!(listed.difference(&all).collect::<Vec<_>>(), none, "no such facts");
}
