//! What nobody needs any more, and when it goes.
//!
//! Refuses to expire anything that is owed: a PENDING or FAILED event has no end.

use async_trait::async_trait;

use posthaste_domain::Timestamp;

use crate::PortError;

/// Milliseconds in a day.
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// How long a DELIVERED event is kept, in milliseconds from its delivery (CONTRACT §4).
pub const DELIVERED_KEPT_MS: u64 = 30 * DAY_MS;
/// How long a DLQ event is kept from its dead-lettering, and a PURGED one from its purge, in
/// milliseconds (CONTRACT §4).
pub const DEAD_KEPT_MS: u64 = 14 * DAY_MS;
/// How long an idempotency claim holds, in milliseconds from the creation time of the event that
/// made it (CONTRACT §1).
pub const CLAIM_KEPT_MS: u64 = DAY_MS;

/// Forgets what has expired. What was kept for a time is expired at the millisecond in which the
/// time is over, not one earlier. A requeue or a retry takes an event's end away.
#[async_trait]
pub trait Expiry: Send + Sync {
    /// Removes at most `max` expired events (with payload and log) and idempotency claims from
    /// every view, and says how many; 0 only where nothing is left that has expired at `now`.
    ///
    /// Between the end of an event and its sweep, a view may still show it or not.
    async fn sweep(&self, now: Timestamp, max: usize) -> Result<u64, PortError>;
}
