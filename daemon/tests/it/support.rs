//! Starts the real binary and real receivers, and waits for facts instead of sleeping.

pub(crate) mod daemon;
pub(crate) mod sink;
pub(crate) mod supervisor;

use std::time::{Duration, Instant};

/// No wait in these tests is longer than this; reaching it is a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// How often a fact is looked at.
const GLANCE: Duration = Duration::from_millis(10);

/// Waits until `fact` holds; panics with `what` where it does not within [`PATIENCE`].
#[expect(clippy::disallowed_methods, reason = "real processes, real time")]
pub(crate) async fn eventually(what: &str, mut fact: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !fact().await {
        assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(GLANCE).await;
    }
}

/// The time by the monotonic clock.
#[expect(clippy::disallowed_methods, reason = "real processes, real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
