//! What the benches are made of: the same payloads, worlds and receivers for the time that
//! criterion measures, for the instructions that valgrind counts, and for the bare limit.
//!
//! Everything goes through the crates' public interfaces. Nothing here is part of the product, and
//! nothing in the product knows it.
//!
//! Invariant: a fixture that cannot be set up panics with the reason; a measurement without its
//! fixture has no result.

pub mod codec;
pub mod delivery;
pub mod engine;
pub mod fixture;
pub mod ingest;
pub mod ledger;
pub mod pool;
pub mod request;
pub mod sink;
