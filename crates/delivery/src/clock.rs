//! The times that the client needs, handed in. Nothing here reads a clock by itself; deadlines
//! alone use the runtime's timer.

use std::fmt;

use posthaste_domain::Timestamp;

/// Time, as the client sees it.
pub trait Clock: fmt::Debug {
    /// The time by which the process schedules and records; never goes backwards.
    fn now(&self) -> Timestamp;

    /// The wall clock as it stands: what signatures carry, because receivers compare it with
    /// their own, and what a `Retry-After` date is compared with.
    fn wall(&self) -> Timestamp;

    /// Microseconds since some fixed moment; never goes backwards. Durations, DNS expiry and idle
    /// times are measured by it.
    fn monotonic_us(&self) -> u64;
}
