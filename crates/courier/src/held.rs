//! Deliveries whose queue message this process holds: received, hidden from others, not yet
//! settled in the row.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use posthaste_domain::{DeliveryKey, EndpointId, EventId, Owed, OwedAs, TenantId, Timestamp};
use posthaste_ports::{Backlog, Receipt};

/// One of them.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    /// The newest receipt of its message.
    pub(crate) receipt: Receipt,
    /// Its round.
    pub(crate) round: u32,
    /// Decides its shard.
    pub(crate) shard_key: u32,
    /// Cut off by our crashes so often.
    pub(crate) interrupted: u8,
    /// The copy of the payload that came with the message.
    pub(crate) payload: Option<Bytes>,
    /// Until when nobody else receives it, as far as we know.
    pub(crate) hidden_until: Timestamp,
    /// Until when an attempt may be in flight.
    pub(crate) attempted_until: Timestamp,
    /// Whether the outcome of an attempt is known, and on its way into the row.
    pub(crate) is_settling: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct HeldTable {
    all: BTreeMap<DeliveryKey, Held>,
    /// Invariant: the payload bytes of `all`.
    payload_bytes: usize,
    /// Invariant: how many of `all` are whose; nobody has 0.
    of_tenants: HashMap<TenantId, usize>,
}

impl HeldTable {
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    pub(crate) const fn payload_bytes(&self) -> usize {
        self.payload_bytes
    }

    /// How many of a tenant's.
    pub(crate) fn of_tenant(&self, tenant: &TenantId) -> usize {
        self.of_tenants.get(tenant).copied().unwrap_or(0)
    }

    pub(crate) fn get(&self, key: &DeliveryKey) -> Option<&Held> {
        self.all.get(key)
    }

    /// All, in the order of their names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&DeliveryKey, &Held)> {
        self.all.iter()
    }

    /// Takes one in; gives back what was held under its name.
    pub(crate) fn insert(&mut self, key: DeliveryKey, held: Held) -> Option<Held> {
        self.payload_bytes += held.payload_len();
        *self.of_tenants.entry(key.tenant.clone()).or_default() += 1;
        let tenant = key.tenant.clone();
        let before = self.all.insert(key, held)?;
        self.gone(&tenant, &before);
        Some(before)
    }

    /// Lets one go, if it is of this round.
    pub(crate) fn remove(&mut self, key: &DeliveryKey, round: u32) -> Option<Held> {
        if self.all.get(key).is_none_or(|held| held.round != round) {
            return None;
        }
        let held = self.all.remove(key)?;
        self.gone(&key.tenant, &held);
        Some(held)
    }

    fn gone(&mut self, tenant: &TenantId, held: &Held) {
        self.payload_bytes -= held.payload_len();
        if let Some(count) = self.of_tenants.get_mut(tenant) {
            *count -= 1;
            if *count == 0 {
                self.of_tenants.remove(tenant);
            }
        }
    }

    /// The message of one was received again: the older receipt may not work any more.
    pub(crate) fn renew(&mut self, key: &DeliveryKey, receipt: Receipt, hidden_until: Timestamp) {
        if let Some(held) = self.all.get_mut(key) {
            held.receipt = receipt;
            held.hidden_until = hidden_until;
        }
    }

    /// Those that are shown to others before `at`, with their receipts.
    pub(crate) fn shown_before(&self, at: Timestamp) -> Vec<(DeliveryKey, Receipt)> {
        let soon = self.all.iter().filter(|(_, held)| held.hidden_until < at);
        soon.map(|(key, held)| (key.clone(), held.receipt.clone())).collect()
    }

    /// A receipt was good for longer.
    pub(crate) fn hidden(&mut self, key: &DeliveryKey, receipt: &Receipt, until: Timestamp) {
        if let Some(held) = self.all.get_mut(key)
            && held.receipt == *receipt
        {
            held.hidden_until = until;
        }
    }

    /// A receipt is good for nothing any more: the message is somebody else's, or gone.
    pub(crate) fn lost(&mut self, key: &DeliveryKey, receipt: &Receipt) {
        if let Some(held) = self.all.get(key)
            && held.receipt == *receipt
        {
            let round = held.round;
            self.remove(key, round);
        }
    }

    /// Fresh deliveries of one endpoint from event `from` on, as [`posthaste_ports::Journal`]
    /// wants them.
    pub(crate) fn backlog(
        &self,
        tenant: &TenantId,
        endpoint: EndpointId,
        from: EventId,
        max: usize,
    ) -> Backlog {
        let at = |event, endpoint| DeliveryKey { tenant: tenant.clone(), event, endpoint };
        let first = at(from, EndpointId::DEFAULT);
        let of_tenant = self.all.range(first..).take_while(|(key, _)| key.tenant == *tenant);
        let mut of_endpoint = of_tenant.filter(|(key, _)| key.endpoint == endpoint);
        let owed: Vec<Owed> =
            of_endpoint.by_ref().take(max).map(|(key, held)| held.owed(key.clone())).collect();
        Backlog { exhausted: of_endpoint.next().is_none(), owed }
    }

    /// An attempt of this round starts now, and ends before `until`.
    pub(crate) fn attempted(&mut self, key: &DeliveryKey, round: u32, until: Timestamp) {
        if let Some(held) = self.all.get_mut(key)
            && held.round == round
        {
            held.attempted_until = until;
        }
    }

    /// Lets one go whose message others may have received meanwhile, unless what became of it here
    /// is not known yet; says whether it did.
    pub(crate) fn let_go_if_stale(&mut self, key: &DeliveryKey, now: Timestamp) -> bool {
        let Some(held) = self.all.get(key) else { return false };
        let is_busy = held.is_settling || now < held.attempted_until;
        if is_busy || now < held.hidden_until {
            return false;
        }
        let round = held.round;
        self.remove(key, round).is_some()
    }

    /// The outcome of an attempt of this round is known.
    pub(crate) fn settling(&mut self, key: &DeliveryKey, round: u32) {
        if let Some(held) = self.all.get_mut(key)
            && held.round == round
        {
            held.is_settling = true;
        }
    }

    /// Lets everything go; gives the receipts of what may be given back. Not those whose outcome
    /// is known: whoever received them would find nothing of it in the row, and attempt again.
    pub(crate) fn drain(&mut self) -> Vec<Receipt> {
        self.payload_bytes = 0;
        self.of_tenants.clear();
        let all = std::mem::take(&mut self.all).into_values();
        all.filter(|held| !held.is_settling).map(|held| held.receipt).collect()
    }
}

impl Held {
    fn payload_len(&self) -> usize {
        self.payload.as_ref().map_or(0, Bytes::len)
    }

    /// As it enters the engine; the payload stays here until it is asked for.
    pub(crate) fn owed(&self, key: DeliveryKey) -> Owed {
        Owed {
            key,
            round: self.round,
            attempts: 0,
            interrupted: self.interrupted,
            owed_as: OwedAs::Fresh,
            payload: self.payload.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(tenant: &str, event: u128) -> DeliveryKey {
        let tenant = TenantId::try_new(tenant).unwrap();
        DeliveryKey { tenant, event: EventId::from_u128(event), endpoint: EndpointId::DEFAULT }
    }

    fn held(receipt: &str, bytes: usize) -> Held {
        Held {
            receipt: Receipt(receipt.into()),
            round: 0,
            shard_key: 0,
            interrupted: 0,
            payload: Some(vec![0; bytes].into()),
            hidden_until: Timestamp::from_millis(100),
            attempted_until: Timestamp::ZERO,
            is_settling: false,
        }
    }

    #[test]
    fn bytes_are_those_of_what_is_held() {
        let mut table = HeldTable::default();
        table.insert(key("acme", 1), held("a", 10));
        table.insert(key("acme", 2), held("b", 5));
        table.insert(key("acme", 2), held("c", 7));
        assert_eq!((table.len(), table.payload_bytes()), (2, 17));
        let acme = key("acme", 1).tenant;
        assert_eq!(table.of_tenant(&acme), 2);
        assert!(table.remove(&key("acme", 1), 1).is_none(), "another round");
        assert!(table.remove(&key("acme", 1), 0).is_some());
        table.lost(&key("acme", 2), &Receipt("b".into()));
        assert_eq!((table.len(), table.payload_bytes()), (1, 7), "an older receipt was lost");
        table.lost(&key("acme", 2), &Receipt("c".into()));
        assert_eq!((table.len(), table.payload_bytes()), (0, 0));
        assert!(table.of_tenants.is_empty());
    }

    /// Once its time out of sight is over, only an attempt in flight, or its outcome, keeps one.
    #[test]
    fn what_is_stale_is_let_go() {
        let (own, at) = (key("acme", 1), Timestamp::from_millis);
        let mut table = HeldTable::default();
        table.insert(own.clone(), held("a", 1));
        assert!(!table.let_go_if_stale(&own, at(99)));
        table.attempted(&own, 0, at(120));
        assert!(!table.let_go_if_stale(&own, at(119)));
        table.settling(&own, 0);
        assert!(!table.let_go_if_stale(&own, at(500)));
        table.insert(own.clone(), held("a", 1));
        assert!(table.let_go_if_stale(&own, at(100)));
        assert_eq!((table.len(), table.payload_bytes()), (0, 0));
    }

    /// What is settling is not given back: its outcome is in the outbox, or on its way there.
    #[test]
    fn only_what_has_no_outcome_is_given_back() {
        let mut table = HeldTable::default();
        table.insert(key("acme", 1), held("a", 1));
        table.insert(key("acme", 2), held("b", 1));
        table.settling(&key("acme", 1), 0);
        table.settling(&key("acme", 2), 7);
        assert_eq!(table.drain(), [Receipt("b".into())]);
        assert_eq!((table.len(), table.payload_bytes()), (0, 0));
    }

    #[test]
    fn a_backlog_is_one_tenants_in_order() {
        let mut table = HeldTable::default();
        for (tenant, event) in [("acme", 3), ("acme", 1), ("acme", 2), ("beta", 1), ("aaaa", 9)] {
            table.insert(key(tenant, event), held("r", 0));
        }
        let read = |from, max| {
            let (tenant, from) = (TenantId::try_new("acme").unwrap(), EventId::from_u128(from));
            let Backlog { owed, exhausted } =
                table.backlog(&tenant, EndpointId::DEFAULT, from, max);
            let events: Vec<u128> = owed.iter().map(|owed| owed.key.event.as_u128()).collect();
            (events, exhausted)
        };
        assert_eq!(read(0, 10), (vec![1, 2, 3], true));
        assert_eq!(read(0, 2), (vec![1, 2], false));
        assert_eq!(read(2, 2), (vec![2, 3], true));
        assert_eq!(read(4, 2), (vec![], true));
    }

    #[test]
    fn receipts_are_renewed() {
        let mut table = HeldTable::default();
        let (own, at) = (key("acme", 1), Timestamp::from_millis);
        table.insert(own.clone(), held("a", 0));
        assert_eq!(table.shown_before(at(101)), [(own.clone(), Receipt("a".into()))]);
        table.hidden(&own, &Receipt("old".into()), at(500));
        assert_eq!(table.shown_before(at(101)).len(), 1);
        table.renew(&own, Receipt("b".into()), at(200));
        table.hidden(&own, &Receipt("b".into()), at(500));
        assert_eq!(table.shown_before(at(500)), []);
        assert_eq!(table.get(&own).unwrap().hidden_until, at(500));
    }
}
