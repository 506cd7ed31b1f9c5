//! What a run comes to: figures, or the first thing that went wrong.

use std::collections::BTreeMap;
use std::fmt;

use crate::coverage::Coverage;
use crate::failpoint::Failpoint;
use crate::mutant::Mutant;

macro_rules! counts {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// What happened in a world, in numbers.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counts {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        impl Counts {
            /// Adds another world's; what is a maximum stays one.
            pub fn add(&mut self, other: &Self) {
                let busiest = self.busiest.max(other.busiest);
                let taken_over_ms = self.taken_over_ms.max(other.taken_over_ms);
                $(self.$name += other.$name;)+
                (self.busiest, self.taken_over_ms) = (busiest, taken_over_ms);
            }

            /// All of them by name.
            #[must_use]
            pub fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)+]
            }
        }
    };
}

counts! {
    /// Events that got their promise.
    accepted,
    /// Events that ended delivered.
    delivered,
    /// Events that ended dead-lettered.
    dead_lettered,
    /// Events that ended purged.
    purged,
    /// Requests that endpoints saw.
    requests,
    /// Those of them that an endpoint had seen before, or had taken the event before.
    duplicates,
    /// Duplicates that faults excused: the most that there may be.
    excused,
    /// Attempts that were not charged.
    not_charged,
    /// Crashes.
    crashes,
    /// Crashes that took the disk, or the last writes to it.
    lost_disks,
    /// Starts with another daemon's disk.
    copied_disks,
    /// Drains.
    drains,
    /// Pauses.
    pauses,
    /// Messages sent twice without a word.
    doubled,
    /// Messages of the main queue shown although somebody had them, or they were deleted.
    copies,
    /// Fresh rounds.
    requeues,
    /// Rows taken over.
    claims,
    /// Calls and turns in the busiest second.
    busiest,
    /// Turns of drivers.
    turns,
    /// How long it took from calm until all was settled, in milliseconds.
    settled_ms,
    /// The longest time from an attempt's due time, or from the end of the daemon that had it,
    /// until another one took it over, in milliseconds.
    taken_over_ms,
    /// Time in the world, in milliseconds.
    world_ms,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut join = "";
        for (name, count) in self.all() {
            write!(f, "{join}{count} {name}")?;
            join = ", ";
        }
        Ok(())
    }
}

/// A run that held every promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Its figures.
    pub counts: Counts,
    /// What was reached in it.
    pub coverage: Coverage,
    /// How many deliveries were settled as delivered in each second of the world.
    pub per_second: BTreeMap<u64, u64>,
    /// How often something happened at the failpoint, where there is one.
    pub hits: u64,
    /// Everything that happened, as a number.
    pub trace_hash: u64,
}

/// A run that did not, and how to see it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The world.
    pub seed: u64,
    /// Its size.
    pub events: u64,
    /// The deliberate fault in it.
    pub mutant: Option<Mutant>,
    /// The failpoint in it.
    pub failpoint: Option<Failpoint>,
    /// When it went wrong.
    pub at_ms: u64,
    /// What went wrong.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {} fails after {} ms: {}", self.seed, self.at_ms, self.what)?;
        write!(
            f,
            "see it again: cargo run --release -p posthaste-fleet-sim -- --seed {} --events {}",
            self.seed, self.events,
        )?;
        if let Some(Failpoint { row, how, .. }) = self.failpoint {
            write!(f, " --point {row} --how {}", how.as_str())?;
        }
        if let Some(mutant) = self.mutant {
            write!(f, " --mutant {}", mutant.as_str())?;
        }
        write!(f, " --trace")
    }
}

impl std::error::Error for Failure {}
