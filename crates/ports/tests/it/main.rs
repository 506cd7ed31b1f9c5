//! The reference adapter under the contract's suite, and the suite under faulty adapters.

mod caught;
mod conformance;
mod controls;
mod faulty;
mod jobs;
mod memory;
