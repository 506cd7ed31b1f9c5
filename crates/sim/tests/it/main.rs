//! The simulator's promises: seeds hold, runs repeat, deliberate faults are found, and the real
//! schedule is kept.

mod mutants;
mod schedule;
mod seeds;
