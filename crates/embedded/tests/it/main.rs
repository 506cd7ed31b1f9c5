//! The ledger under the contract's suite, and under what disks and crashes do to it.

mod contract;
mod disk;
mod durability;
mod losses;
mod support;
