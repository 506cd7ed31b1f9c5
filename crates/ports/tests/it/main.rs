//! The reference adapter under the contract's suite.

mod memory;
