//! Every row of the protocol's table of crash points, hit exactly, in each of its three forms.

use posthaste_fleet_sim::{CRASH_POINTS, How, Mutant, Plan};

use crate::long;

/// Worlds of each row and each form; in the long form more.
const SEEDS: (u64, u64) = (5, 100);

/// For all rows, all forms and all seeds: the place is come to, nothing is lost, and every promise
/// is kept.
#[test]
fn no_failpoint_loses_an_event() {
    let seeds = long(SEEDS.0, SEEDS.1);
    let (mut tried, mut held, mut wrong, mut missed) = (0, 0, Vec::new(), Vec::new());
    for row in 1..=CRASH_POINTS {
        for how in How::ALL {
            let mut hits = 0;
            for seed in 0..seeds {
                tried += 1;
                match posthaste_fleet_sim::run(&Plan::at_failpoint(row, how, seed)) {
                    Ok(report) => {
                        held += 1;
                        hits += u64::from(report.hits > 0);
                    }
                    Err(failure) => wrong.push(format!("row {row}, {how:?}: {failure}")),
                }
            }
            if hits < seeds {
                missed.push(format!("row {row}, {how:?}: {hits} of {seeds}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(missed.is_empty(), "places that were not come to:\n{}", missed.join("\n"));
    println!(
        "proof: 6 tried {tried} held {held} control {} deliberate faults found at crash points",
        FOUND_AT_CRASH_POINTS.len()
    );
}

/// Deliberate faults that a quiet world with one crash point is enough to find.
const FOUND_AT_CRASH_POINTS: [Mutant; 7] = [
    Mutant::DeleteAtReceive,
    Mutant::NoReplay,
    Mutant::NoSweep,
    Mutant::MarkBeforeSend,
    Mutant::FailedWriteIsDone,
    Mutant::ForgetCutOffs,
    Mutant::AttemptTwice,
];

/// The control: with a deliberate fault some row is not survived, and without it that very world
/// is.
#[test]
fn deliberate_faults_are_found_at_failpoints() {
    for mutant in FOUND_AT_CRASH_POINTS {
        let mut worlds = (0..SEEDS.0).flat_map(|seed| {
            (1..=CRASH_POINTS).flat_map(move |row| How::ALL.map(|how| (row, how, seed)))
        });
        let found = worlds.find(|(row, how, seed)| {
            let plan = Plan { mutant: Some(mutant), ..Plan::at_failpoint(*row, *how, *seed) };
            posthaste_fleet_sim::run(&plan).is_err()
        });
        let (row, how, seed) = found.unwrap_or_else(|| panic!("{} is not found", mutant.as_str()));
        let same = posthaste_fleet_sim::run(&Plan::at_failpoint(row, how, seed));
        assert!(same.is_ok(), "{}: found without it, too: {same:?}", mutant.as_str());
    }
}
