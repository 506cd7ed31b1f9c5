//! The ledger: every port on an embedded LSM tree, durable before it says yes.
//!
//! One thread writes ([`Ledger`] asks it), with group commit: everything that waits is one batch
//! and one sync. Reads see what is committed. Beside the store stand the *witness*, which proves
//! at start that nothing acknowledged is missing, the *ballast* against a full disk, and the
//! registers of attempts in flight.
//!
//! Refuses to go on after a failed write or sync, to open a directory that another process has,
//! that a newer version wrote, or from which acknowledged commits are missing. Reads no clock
//! ([`Observer`] lends one).
//!
//! Invariants: a ticket completes after the sync of the batch that holds its operation; every
//! owed delivery has exactly one row that owes it, fresh or timer, written in the commit that made
//! it owed and taken away in the one that settles it; a released record format stays readable.

mod batch;
pub mod codec;
mod damage;
mod directory;
mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(test)]
mod history;
mod identity;
#[cfg(test)]
mod job_history;
mod journal;
mod keeper;
mod keys;
mod ledger;
mod loss;
mod open;
mod ports;
mod quarantine;
mod raw;
mod reclaim;
mod register;
#[cfg(test)]
mod rot;
mod scrub;
mod settings;
mod shared;
mod space;
mod tables;
#[cfg(test)]
mod testing;
pub mod tools;
mod turns;
mod upgrade;
mod vault;
mod witness;
mod writer;

pub use damage::{Damage, Kind};
pub use error::OpenError;
pub use identity::StoreId;
pub use ledger::Ledger;
pub use open::{CacheRecovery, Recovery};
pub use register::AttemptRegister;
pub use settings::{Commit, Observer, Settings, SyncMode};
pub use shared::{Health, Stats};
pub use vault::SealKey;
