//! The protocol's times, and what has to hold between them.

/// How long a received message is hidden from others, in milliseconds. Renewed while it waits.
pub const VISIBILITY_MS: u64 = 180_000;
/// How long a lease lasts beyond the due time that it was written for, in milliseconds.
pub const LEASE_SLACK_MS: u64 = 180_000;
/// The longest attempt, from its start to its outcome, in milliseconds (CONTRACT §3).
pub const ATTEMPT_MS_MAX: u64 = 30_000;
/// How far two clocks may be apart, in milliseconds. Leases are reckoned by the table's clock, so
/// that the instances' own cost neither an event nor an attempt, however far apart they are.
pub const SKEW_MS_MAX: u64 = 5_000;
/// How long a requeued row waits for its message before a sweep takes it, in milliseconds.
pub const REQUEUE_GRACE_MS: u64 = 120_000;
/// So many attempts that our own crashes cut off make an event poison (CONTRACT §4).
pub const INTERRUPTIONS_MAX: u8 = 3;

/// What must be left of a lease, or of a message's time out of others' sight, when an attempt
/// starts: the attempt, and the clocks' distance.
pub(crate) const ATTEMPT_GUARD_MS: u64 = ATTEMPT_MS_MAX + SKEW_MS_MAX;

// A retry that starts when it is due is over, written, and written again after a lost reply,
// before anybody may claim its row.
const _: () = assert!(LEASE_SLACK_MS >= 3 * ATTEMPT_GUARD_MS);
// The same for a first attempt and its message; the rest is for the wait in the engine, between
// two renewals.
const _: () = assert!(VISIBILITY_MS >= 3 * ATTEMPT_GUARD_MS);
// The queue delivers a requeue's message long before a sweep has to.
const _: () = assert!(REQUEUE_GRACE_MS > 2 * SKEW_MS_MAX);
// One cut-off attempt is a crash, not a verdict on the event.
const _: () = assert!(INTERRUPTIONS_MAX > 1);
