//! Time, as the courier is told it. Pauses are the runtime's, which a simulation can hold still.

use posthaste_domain::Timestamp;

/// Tells the time.
pub trait Clock: Send + Sync {
    /// The time by which everything is recorded and scheduled. Never goes backwards within a
    /// process, and follows the wall clock without jumping, so that two of its times can be
    /// subtracted: due times and visibility are reckoned on it.
    fn now(&self) -> Timestamp;
    /// The wall clock as it stands; only compared with itself, to see that it was set back.
    fn wall(&self) -> Timestamp;
    /// What time it is where the rows are kept, by the answers from there, and at least: leases are
    /// reckoned on it, and a second or two less is as good. None where that is not known: until
    /// this process has had answers, and while they contradict each other.
    fn table(&self) -> Option<Timestamp>;
}
