//! What went wrong in a store, told as what to do about it.

use thiserror::Error;

/// Why a store did not do what was asked. Nothing was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PortError {
    /// Passing: the same call may succeed soon.
    #[error("store unavailable: {0}")]
    Transient(String),
    /// Too much at once; come back after the given milliseconds.
    #[error("store busy, retry after {retry_after_ms} ms")]
    Throttled {
        /// Milliseconds to wait.
        retry_after_ms: u64,
    },
    /// The disk is too full to promise anything new. Deliveries go on.
    #[error("disk too full to accept events")]
    Full,
    /// The store has failed for good; the process must stop and recover.
    #[error("store failed: {0}")]
    Permanent(String),
}
