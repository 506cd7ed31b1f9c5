//! Forgetting what has expired.

use async_trait::async_trait;
use posthaste_domain::Timestamp;
use posthaste_ports::{Expiry, PortError};

use crate::ledger::Ledger;
use crate::writer::Operation;

#[async_trait]
impl Expiry for Ledger {
    async fn sweep(&self, now: Timestamp, max: usize) -> Result<u64, PortError> {
        self.ask(|done| Operation::Sweep { now, max, done }).await
    }
}
