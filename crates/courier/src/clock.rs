//! Time, as the courier is told it. Pauses are the runtime's, which a simulation can hold still.

use posthaste_domain::Timestamp;

/// Tells the time.
pub trait Clock: Send + Sync {
    /// The time by which everything is recorded and scheduled. Never goes backwards within a
    /// process, and follows the wall clock without jumping, so that two of its times can be
    /// subtracted: leases and visibility are reckoned on it.
    fn now(&self) -> Timestamp;
    /// The wall clock as it stands; only compared with itself, to see that it was set back.
    fn wall(&self) -> Timestamp;
    /// What time it is where the rows are kept, by the latest answer from there, and at least: a
    /// second or two less is as good. None until the first answer of this process's life.
    fn table(&self) -> Option<Timestamp>;
}
