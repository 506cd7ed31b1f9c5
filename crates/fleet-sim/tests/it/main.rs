//! The fleet's promises: seeds hold, runs repeat, deliberate faults are found, every crash point is
//! survived, and what AWS does costs time only.

mod cloud;
mod failpoints;
mod leases;
mod mutants;
mod rare;
mod seeds;
mod throttling;

/// How many, in CI and in the long form (`PROVE_LONG=1`).
fn long(short: u64, long: u64) -> u64 {
    if std::env::var_os("PROVE_LONG").is_some_and(|it| it == "1") { long } else { short }
}
