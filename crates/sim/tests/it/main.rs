//! The simulator's promises: seeds hold, runs repeat, deliberate faults are found, the real
//! schedule is kept, and no tenant pays for another.

mod stage;

mod herds;
mod punctual;

mod changes;
mod figures;
mod mutants;
mod schedule;
mod seeds;

/// How many, in CI and in the long form (`PROVE_LONG=1`).
fn long(short: u64, long: u64) -> u64 {
    if std::env::var_os("PROVE_LONG").is_some_and(|it| it == "1") { long } else { short }
}
