//! The simulator's clock: the real one, plus what was skipped by request.
//!
//! Skipping lets a test pass a visibility time-out or a lease of minutes at once. Invariant: time
//! never goes backwards.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::{Clock, MILLISECOND, Nanos, calendar};

/// Moments and dates of one simulator.
#[derive(Debug)]
pub(super) struct Time {
    clock: Clock,
    skipped_ms: AtomicU64,
}

impl Time {
    pub(super) fn start() -> Self {
        Self { clock: Clock::start(), skipped_ms: AtomicU64::new(0) }
    }

    /// Nanoseconds since the start.
    pub(super) fn now(&self) -> Nanos {
        let skipped = self.skipped_ms.load(Ordering::Relaxed);
        self.clock.now().saturating_add(skipped.saturating_mul(MILLISECOND))
    }

    /// Unix milliseconds.
    pub(super) fn date_ms(&self) -> u64 {
        let skipped = self.skipped_ms.load(Ordering::Relaxed);
        calendar().as_millis().saturating_add(skipped)
    }

    /// Lets `ms` pass at once.
    pub(super) fn skip(&self, ms: u64) {
        let add = |skipped: u64| Some(skipped.saturating_add(ms));
        // The closure never refuses.
        _ = self.skipped_ms.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }
}
