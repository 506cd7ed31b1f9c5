//! Faults in forgetting what has expired.

use async_trait::async_trait;
use posthaste_domain::Timestamp;
use posthaste_ports::{DEAD_KEPT_MS, DELIVERED_KEPT_MS, Expiry, PortError};

use super::{Fault, Faulty};

impl Faulty {
    fn hide_expired(&self, now: Timestamp) {
        let mut notes = self.notes();
        let mut gone = Vec::new();
        match self.fault {
            Fault::RequeueKeepsEnd => {
                let ends = |died: Timestamp| died.plus_millis(DEAD_KEPT_MS);
                let expired = notes.dead.iter().filter(|(_, died)| ends(*died) <= now);
                gone.extend(expired.map(|(id, _)| id.clone()));
            }
            Fault::OwedExpires => {
                let old = |at: Timestamp| at.plus_millis(DELIVERED_KEPT_MS) <= now;
                let expired = notes.events.keys().filter(|(_, id)| old(id.created_at()));
                gone.extend(expired.cloned());
            }
            _ => {}
        }
        notes.hidden.extend(gone);
    }
}

#[async_trait]
impl Expiry for Faulty {
    async fn sweep(&self, now: Timestamp, max: usize) -> Result<u64, PortError> {
        self.hide_expired(now);
        match self.fault {
            Fault::SweepEarly => self.inner.sweep(now.plus_millis(1), max).await,
            Fault::SweepLate => {
                self.inner.sweep(Timestamp::from_millis(now.as_millis() - 1), max).await
            }
            Fault::SweepUnbounded => self.inner.sweep(now, usize::MAX).await.map(|n| n.min(1)),
            Fault::SweepCountsNothing => self.inner.sweep(now, max).await.map(|n| n + 1),
            _ => self.inner.sweep(now, max).await,
        }
    }
}
