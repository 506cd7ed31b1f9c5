//! The ledger under the contract's suite, and under what disks and crashes do to it.

mod contract;
mod crash;
mod disk;
mod durability;
mod faults;
mod formats;
mod job_crash;
mod jobs;
mod losses;
mod support;
