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
    /// Attempts that failed by the endpoint's fault.
    pub failed: u64,
    /// Attempts that took a second or longer.
    pub slow: u64,
    /// Endpoints that delivered after they had failed.
    pub recovered: u64,
    /// Attempts that failed by our own fault.
    pub not_charged: u64,
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
    /// Those of them that took away what was not synced.
    pub power_cuts: u64,
    /// Things that were durable and whose answer never came, or said the contrary.
    pub lost_acks: u64,
    /// Drains that came to an end.
    pub drains: u64,
    /// Fresh rounds.
    pub requeues: u64,
    /// Commits that failed.
    pub failed_commits: u64,
    /// Deliveries that the engine left in the store for want of room.
    pub refused: u64,
    /// Changes of how an endpoint is to be attempted.
    pub changes: u64,
    /// Jumps of the clock.
    pub jumps: u64,
    /// Endpoints that were left alone, each time.
    pub trips: u64,
    /// Retries that came too late and were spread.
    pub spread: u64,
    /// Attempts that were not made since the tenant is gone.
    pub unmade: u64,
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
        self.failed += other.failed;
        self.slow += other.slow;
        self.recovered += other.recovered;
        self.not_charged += other.not_charged;
        self.duplicates += other.duplicates;
        self.cut_off += other.cut_off;
        self.overtaken += other.overtaken;
        self.poisoned += other.poisoned;
        self.crashes += other.crashes;
        self.power_cuts += other.power_cuts;
        self.lost_acks += other.lost_acks;
        self.drains += other.drains;
        self.requeues += other.requeues;
        self.failed_commits += other.failed_commits;
        self.refused += other.refused;
        self.changes += other.changes;
        self.jumps += other.jumps;
        self.trips += other.trips;
        self.spread += other.spread;
        self.unmade += other.unmade;
        self.turns += other.turns;
        self.world_ms += other.world_ms;
    }
}

impl Counts {
    /// What can happen to a world, and how often it did.
    #[must_use]
    pub const fn faults(&self) -> [(&'static str, u64); 22] {
        [
            ("failed attempts", self.failed),
            ("slow attempts", self.slow),
            ("recovered endpoints", self.recovered),
            ("crashes", self.crashes),
            ("lost acks", self.lost_acks),
            ("retries", self.retries),
            ("dead letters", self.dead_lettered),
            ("power cuts", self.power_cuts),
            ("duplicates", self.duplicates),
            ("drains", self.drains),
            ("requeues", self.requeues),
            ("purged", self.purged),
            ("failed commits", self.failed_commits),
            ("not charged", self.not_charged),
            ("overtaken", self.overtaken),
            ("poisoned", self.poisoned),
            ("left in the store", self.refused),
            ("changes", self.changes),
            ("jumps", self.jumps),
            ("trips", self.trips),
            ("spread", self.spread),
            ("unmade", self.unmade),
        ]
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} accepted = {} delivered + {} dead-lettered + {} purged; {} attempts, {} turns, \
             {} h in the world; {} duplicates of {} cut off",
            self.accepted,
            self.delivered,
            self.dead_lettered,
            self.purged,
            self.attempts,
            self.turns,
            self.world_ms / 3_600_000,
            self.duplicates,
            self.cut_off,
        )?;
        let mut join = "; ";
        for (name, times) in self.faults() {
            write!(f, "{join}{times} {name}")?;
            join = ", ";
        }
        Ok(())
    }
}

/// In how many worlds what happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    worlds: u64,
    seen: [u64; 22],
}

impl Coverage {
    /// Adds a world.
    pub fn add(&mut self, counts: &Counts) {
        self.worlds += 1;
        for (seen, (_, times)) in self.seen.iter_mut().zip(counts.faults()) {
            *seen += u64::from(times > 0);
        }
    }

    /// What happened in how many of the worlds.
    pub fn seen(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Counts::default().faults().into_iter().zip(self.seen).map(|((name, _), seen)| (name, seen))
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "of {} worlds", self.worlds)?;
        let mut join = " ";
        for (name, seen) in self.seen() {
            write!(f, "{join}{seen} had {name}")?;
            join = ", ";
        }
        Ok(())
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
