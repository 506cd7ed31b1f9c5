//! The simulator's promises: seeds hold, runs repeat, deliberate faults are found, the real
//! schedule is kept, and no tenant pays for another.

mod stage;

mod figures;
mod mutants;
mod schedule;
mod seeds;
