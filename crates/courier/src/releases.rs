//! Deleting messages whose outcome is in the row, and keeping hidden those whose is not.

use std::time::Duration;

use posthaste_domain::DeliveryKey;
use posthaste_ports::{Arrival, PortError, Receipt};
use tokio::time::sleep;

use crate::courier::Courier;
use crate::health::Part;
use crate::pause::Pause;

/// A deletion that failed so often is left to the message's next receipt.
const TRIES_MAX: u8 = 3;

/// A message that may go.
#[derive(Clone, Debug)]
pub(crate) struct Release {
    receipt: Receipt,
    tries: u8,
}

impl Courier {
    /// A message may go: nothing depends on it any more.
    pub(crate) fn release(&self, receipts: impl IntoIterator<Item = Receipt>) {
        self.releases.push(receipts.into_iter().map(|receipt| Release { receipt, tries: 0 }));
    }

    /// Deletes what may go, for ever.
    pub(crate) async fn delete(&self) {
        let mut pause = Pause::new(100, 2_000);
        loop {
            let mut batch = self.releases.take().await;
            let items = std::mem::take(&mut batch.items);
            let receipts = items.iter().map(|release| release.receipt.clone()).collect();
            let results = self.ports.queue.delete(receipts).await;
            debug_assert_eq!(results.len(), items.len());
            let mut failed = false;
            for (release, result) in items.into_iter().zip(results) {
                self.health.note(Part::Deleting, &result);
                match result {
                    Ok(()) => self.counters.deleted.add(1),
                    // Received again meanwhile: that receipt is judged by itself.
                    Err(PortError::Permanent(_)) => {}
                    Err(_) => {
                        failed = true;
                        let tries = release.tries + 1;
                        if tries < TRIES_MAX {
                            self.releases.push([Release { tries, ..release }]);
                        }
                    }
                }
            }
            drop(batch);
            if failed {
                pause.failed(&self.chance).await;
            } else {
                pause.worked();
            }
        }
    }

    /// Hides what is held before its time is over, for ever.
    pub(crate) async fn keep_hidden(&self) {
        let visibility = self.settings.visibility_ms;
        loop {
            sleep(Duration::from_millis(visibility / 9)).await;
            // From two thirds on: two more chances before an attempt may not start any more.
            let soon = self.now().plus_millis(visibility * 2 / 3);
            let held = self.held().shown_before(soon);
            if held.is_empty() {
                continue;
            }
            let until = self.now().plus_millis(visibility);
            let receipts = held.iter().map(|(_, receipt)| receipt.clone()).collect();
            self.counters.hide_requests.add(held.len().div_ceil(10));
            let results = self.ports.queue.hide(receipts, visibility).await;
            debug_assert_eq!(results.len(), held.len());
            let mut kept = Vec::with_capacity(held.len());
            for ((key, receipt), result) in held.into_iter().zip(results) {
                match result {
                    Ok(()) => {
                        self.held().hidden(&key, &receipt, until);
                        kept.push(key);
                    }
                    Err(PortError::Permanent(_)) => {
                        self.counters.receipts_lost.add(1);
                        self.held().lost(&key, &receipt);
                        self.room.notify_waiters();
                    }
                    Err(error) => self.health.failed(Part::Deleting, &error),
                }
            }
            self.remind(kept);
        }
    }

    /// Tells the shards again of what is held and not settling. The engine passes over what it
    /// knows. It may have forgotten one as withdrawn whose message came back here in the same
    /// moment, and nobody else would ever see a message that is kept hidden.
    fn remind(&self, kept: Vec<DeliveryKey>) {
        // Told under the lock: what is settled leaves the table before the engine hears of it.
        let held = self.held();
        let arrivals: Vec<Arrival> = kept
            .into_iter()
            .filter_map(|key| {
                let held = held.get(&key).filter(|held| !held.is_settling)?;
                Some(Arrival { shard_key: held.shard_key, owed: held.owed(key) })
            })
            .collect();
        if !arrivals.is_empty() {
            self.ports.arrivals.arrived(arrivals);
        }
    }
}
