//! What a run comes to: figures, or the first thing that went wrong.

use std::collections::BTreeMap;
use std::fmt;

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
                $(self.$name += other.$name;)+
                self.busiest = busiest;
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

/// The decisions of the protocol that a fleet can come to, as they are counted.
pub const DECISIONS: [&str; 39] = [
    "on_receive deliver",
    "on_receive read_row",
    "on_receive delete",
    "on_receive leave",
    "on_receive renew",
    "after_read deliver",
    "after_read claim",
    "after_read delete",
    "after_read stray",
    "after_read leave",
    "settled final",
    "settled wait",
    "settled die",
    "settled dropped overtaken",
    "settled dropped not_ours",
    "settled dropped gone",
    "settled dropped unexplained",
    "taken attempt",
    "taken die",
    "taken dropped overtaken",
    "taken dropped not_ours",
    "taken dropped gone",
    "taken dropped unexplained",
    "dead final",
    "dead dropped overtaken",
    "dead dropped not_ours",
    "dead dropped gone",
    "dead dropped unexplained",
    "permission granted",
    "permission later",
    "permission withdrawn",
    "permit renewed lease",
    "at_start replay",
    "at_start schedule",
    "at_start forget",
    "at_start keep",
    "requeue send",
    "requeue delete_message",
    "requeue leave_message",
];

/// How often which decision was come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage(BTreeMap<&'static str, u64>);

impl Coverage {
    /// Counts a decision, so many times.
    pub(crate) fn saw(&mut self, decision: &'static str, times: u64) {
        debug_assert!(DECISIONS.contains(&decision), "{decision}");
        if times > 0 {
            *self.0.entry(decision).or_default() += times;
        }
    }

    /// Adds another world's.
    pub fn add(&mut self, other: &Self) {
        for (decision, times) in &other.0 {
            *self.0.entry(decision).or_default() += times;
        }
    }

    /// Each decision and how often it was come to.
    pub fn seen(&self) -> impl Iterator<Item = (&'static str, u64)> {
        DECISIONS.into_iter().map(|it| (it, self.0.get(it).copied().unwrap_or(0)))
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (decision, times) in self.seen() {
            let mark = if times == 0 { "  <- unreached" } else { "" };
            writeln!(f, "{times:>12} {decision}{mark}")?;
        }
        Ok(())
    }
}

/// A run that held every promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Its figures.
    pub counts: Counts,
    /// What the protocol decided in it.
    pub coverage: Coverage,
    /// How many deliveries were settled as delivered in each second of the world.
    pub per_second: BTreeMap<u64, u64>,
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
        if let Some(mutant) = self.mutant {
            write!(f, " --mutant {}", mutant.as_str())?;
        }
        write!(f, " --trace")
    }
}

impl std::error::Error for Failure {}
