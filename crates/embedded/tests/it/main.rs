//! The ledger under the contract's suite, and under what disks do to it.

mod contract;
mod support;
