//! Forgetting what has expired.

use async_trait::async_trait;
use posthaste_domain::Timestamp;

use super::MemoryStore;
use crate::{Expiry, PortError};

#[async_trait]
impl Expiry for MemoryStore {
    async fn sweep(&self, now: Timestamp, max: usize) -> Result<u64, PortError> {
        let mut state = self.lock();
        let mut swept = 0;
        let mut expired = |ends: Option<Timestamp>| {
            let go = swept < max && ends.is_some_and(|ends| ends <= now);
            swept += usize::from(go);
            go
        };
        state.claims.retain(|_, claim| !expired(Some(claim.expires_at())));
        state.events.retain(|_, row| !expired(row.standing.expires_at()));
        Ok(swept as u64)
    }
}
