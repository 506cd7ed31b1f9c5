//! The sweep of what has expired: small batches with pauses between them, so that nobody who waits
//! for the store's writer notices.

use std::sync::Arc;
use std::time::Duration;

use posthaste_ports::Expiry;
use tokio::sync::watch;
use tracing::{debug, warn};

use crate::clock::Clock;

/// Rows in one batch: about a millisecond of the writer's time.
const BATCH: usize = 256;
/// Between two batches. 256 rows every 25 ms are 10,000 a second, more than ever arrive.
const PAUSE: Duration = Duration::from_millis(25);
/// Between two rounds. What is expired is hidden nowhere that matters within this time.
const ROUND: Duration = Duration::from_secs(10);

/// Sweeps until `stop` turns true.
pub(crate) async fn run(store: Arc<dyn Expiry>, clock: Clock, mut stop: watch::Receiver<bool>) {
    loop {
        let pause = match store.sweep(clock.now(), BATCH).await {
            Ok(0) => ROUND,
            Ok(swept) => {
                debug!(swept, "expired rows removed");
                PAUSE
            }
            Err(error) => {
                warn!(%error, "cannot sweep expired rows, will retry");
                ROUND
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}
