//! The fleet's promises: seeds hold, runs repeat, deliberate faults are found, and throttling
//! loses nothing.

mod mutants;
mod seeds;
mod throttling;
