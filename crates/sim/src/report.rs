//! What a run comes to: figures, or the first thing that went wrong.

use std::fmt;
use std::ops::AddAssign;

use posthaste_domain::Timestamp;

use crate::mutant::Mutant;
use crate::plan::START;

/// What happened in a world, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events that got their promise.
    pub accepted: u64,
    /// Events that ended delivered.
    pub delivered: u64,
    /// Events that ended dead-lettered.
    pub dead_lettered: u64,
    /// Events that ended purged.
    pub purged: u64,
    /// Attempts started.
    pub attempts: u64,
    /// Those of them that were retries.
    pub retries: u64,
    /// Requests that an endpoint had seen before.
    pub duplicates: u64,
    /// Attempts in flight, or known and not durable, at crashes: the most that may be repeated.
    pub cut_off: u64,
    /// Attempts of a round that was over before they started, since nobody had told the engine.
    pub overtaken: u64,
    /// Events that ended as poison, cut off by crashes too often.
    pub poisoned: u64,
    /// Crashes.
    pub crashes: u64,
    /// Drains that came to an end.
    pub drains: u64,
    /// Fresh rounds.
    pub requeues: u64,
    /// Commits that failed.
    pub failed_commits: u64,
    /// Deliveries that the engine left in the store for want of room.
    pub refused: u64,
    /// Turns of the driver.
    pub turns: u64,
    /// Time in the world, in milliseconds.
    pub world_ms: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.delivered += other.delivered;
        self.dead_lettered += other.dead_lettered;
        self.purged += other.purged;
        self.attempts += other.attempts;
        self.retries += other.retries;
        self.duplicates += other.duplicates;
        self.cut_off += other.cut_off;
        self.overtaken += other.overtaken;
        self.poisoned += other.poisoned;
        self.crashes += other.crashes;
        self.drains += other.drains;
        self.requeues += other.requeues;
        self.failed_commits += other.failed_commits;
        self.refused += other.refused;
        self.turns += other.turns;
        self.world_ms += other.world_ms;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} accepted = {} delivered + {} dead-lettered + {} purged; {} attempts \
             ({} retries), {} duplicates \
             (of {} cut off), {} overtaken, {} poisoned, {} crashes, {} drains, {} requeues, {} failed commits, \
             {} left in the store, {} turns, {} h in the world",
            self.accepted,
            self.delivered,
            self.dead_lettered,
            self.purged,
            self.attempts,
            self.retries,
            self.duplicates,
            self.cut_off,
            self.overtaken,
            self.poisoned,
            self.crashes,
            self.drains,
            self.requeues,
            self.failed_commits,
            self.refused,
            self.turns,
            self.world_ms / 3_600_000,
        )
    }
}

/// A run that held every promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Its figures.
    pub counts: Counts,
    /// Everything that happened, as a number.
    pub trace_hash: u64,
}

/// A run that did not, and how to see it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The world.
    pub seed: u64,
    /// Its size.
    pub deliveries: u64,
    /// The deliberate fault in it.
    pub mutant: Option<Mutant>,
    /// When it went wrong.
    pub at: Timestamp,
    /// What went wrong.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let after = self.at.millis_since(START);
        writeln!(f, "seed {} fails after {after} ms: {}", self.seed, self.what)?;
        write!(
            f,
            "see it again: cargo run --release -p posthaste-sim -- --seed {} --deliveries {}",
            self.seed, self.deliveries,
        )?;
        if let Some(mutant) = self.mutant {
            write!(f, " --mutant {}", mutant.as_str())?;
        }
        write!(f, " --trace")
    }
}

impl std::error::Error for Failure {}
