//! Events whose row is still what their acceptance wrote: most are settled milliseconds later, and
//! to find the row for that costs more than all else that the settlement reads.
//!
//! Invariant: a row is written anew only by a settlement, or behind one. Whoever settles takes the
//! event out of here, so what is here is what the store has.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use posthaste_domain::{EventId, TenantId};

/// Events of a generation: half a second of a fast ledger, and 2 MB for both.
const GENERATION: usize = 1 << 14;

/// The newest events, in two generations: when the younger one is full the older one is forgotten,
/// so that a backlog does not take all places for good.
#[derive(Default)]
pub(super) struct Young {
    younger: HashMap<EventId, TenantId, RandomState>,
    older: HashMap<EventId, TenantId, RandomState>,
}

impl Young {
    /// Takes note of an event that is accepted with this batch.
    pub(super) fn note(&mut self, event: EventId, tenant: &TenantId) {
        if self.younger.len() == GENERATION {
            std::mem::swap(&mut self.younger, &mut self.older);
            self.younger.clear();
        }
        self.younger.insert(event, tenant.clone());
    }

    /// Takes an event out; says whether it was there, and so stands as it was accepted.
    pub(super) fn take(&mut self, event: EventId, tenant: &TenantId) -> bool {
        let found = self.younger.remove(&event).or_else(|| self.older.remove(&event));
        found.is_some_and(|known| known == *tenant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_there_once_and_for_its_tenant_only() {
        let mut young = Young::default();
        let [acme, beta] = ["acme", "beta"].map(|name| TenantId::try_new(name).unwrap());
        let [one, other] = [1, 2].map(EventId::from_u128);
        young.note(one, &acme);
        young.note(other, &acme);
        assert!(young.take(one, &acme));
        assert!(!young.take(one, &acme));
        assert!(!young.take(other, &beta));
    }

    #[test]
    fn a_backlog_is_forgotten() {
        let mut young = Young::default();
        let acme = TenantId::try_new("acme").unwrap();
        let count = 3 * GENERATION as u128;
        for n in 0..count {
            young.note(EventId::from_u128(n), &acme);
        }
        let known = (0..count).filter(|n| young.take(EventId::from_u128(*n), &acme)).count();
        assert_eq!(known, 2 * GENERATION);
        assert!(!young.take(EventId::from_u128(0), &acme));
    }
}
