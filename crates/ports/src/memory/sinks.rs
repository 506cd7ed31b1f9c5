//! Two sinks for those who have no engine: one that hears nothing, one that remembers everything.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::{Arrival, ArrivalSink};

/// Hears nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NullSink;

impl ArrivalSink for NullSink {
    fn arrived(&self, _arrivals: Vec<Arrival>) {}
}

/// Remembers every arrival until somebody takes it. Unbounded: for tests.
#[derive(Debug, Default)]
pub struct RecordingSink {
    arrivals: Mutex<Vec<Arrival>>,
}

impl RecordingSink {
    /// What arrived since the last call, in the order in which it was told.
    #[must_use]
    pub fn take(&self) -> Vec<Arrival> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arrival>> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ArrivalSink for RecordingSink {
    fn arrived(&self, arrivals: Vec<Arrival>) {
        self.lock().extend(arrivals);
    }
}
