//! Everything that can be read of a store, in a form in which two stores can be compared.

use std::collections::BTreeMap;

use posthaste_domain::{
    EndpointId, EventId, EventStatus, KeyHash, Owed, TenantId, TimerPosition, Timestamp,
};

use crate::contract::Stores;
use crate::contract::samples::{ALL_SHARDS, PLENTY, delivery_key};
use crate::{ListQuery, Scope, ShardSpec, TenantRecord};

/// The sizes of pages that a view is read by: all at once, and cut often.
const PAGE_SIZES: [usize; 2] = [100, 3];
/// Shards that a view is read by.
const SHARDS: u32 = 2;

/// What to look at.
#[derive(Clone, Debug)]
pub(super) struct ViewSubject {
    pub(super) tenants: Vec<TenantId>,
    pub(super) events: Vec<(TenantId, EventId)>,
    pub(super) keys: Vec<KeyHash>,
    pub(super) now: Timestamp,
}

/// What was seen: a name for each part, and its contents.
#[derive(Debug, PartialEq)]
pub(super) struct View {
    pub(super) parts: BTreeMap<String, String>,
}

impl View {
    /// Reads everything that the traits offer.
    pub(super) async fn of(stores: &Stores, subject: &ViewSubject) -> Self {
        let mut view = Self { parts: BTreeMap::new() };
        for tenant in &subject.tenants {
            view.read_lists(stores, tenant, subject.now).await;
            view.read_tenant(stores, tenant).await;
        }
        for (tenant, id) in &subject.events {
            for now in [subject.now, Timestamp::MAX] {
                let detail = stores.events.event(tenant, *id, now).await;
                view.part(format!("event {id} of {tenant} at {now}"), &detail);
            }
        }
        let keys: Vec<_> = subject.events.iter().map(|(t, id)| delivery_key(t, *id)).collect();
        view.part("payloads".into(), &stores.journal.payloads(&keys).await);
        for key in &subject.keys {
            view.part(format!("identity of {key}"), &stores.tenants.identity(key).await);
        }
        view.read_owed(stores, subject).await;
        view.read_dead(stores, subject).await;
        view
    }

    fn part(&mut self, name: String, contents: &impl std::fmt::Debug) {
        self.parts.insert(name, format!("{contents:?}"));
    }

    async fn read_lists(&mut self, stores: &Stores, tenant: &TenantId, now: Timestamp) {
        let statuses = EventStatus::ALL.map(Some).into_iter().chain([None]);
        for (status, limit) in statuses.flat_map(|status| PAGE_SIZES.map(|size| (status, size))) {
            let (mut pages, mut before) = (Vec::new(), None);
            loop {
                let query = ListQuery { status, before, limit, now };
                let page = stores.events.list(tenant, query).await.expect("listing works");
                before = page.next;
                pages.push(page);
                if before.is_none() {
                    break;
                }
                assert!(pages.len() < PLENTY, "the pages of a list have no end");
            }
            self.part(format!("list {status:?} of {tenant} by {limit}"), &pages);
        }
    }

    async fn read_tenant(&mut self, stores: &Stores, tenant: &TenantId) {
        let record = stores.tenants.tenant(tenant).await.expect("reading works");
        let record = record.map(|record| TenantRecord { version: 0, ..(*record).clone() });
        self.part(format!("tenant {tenant}"), &record);
        let mut keys = stores.tenants.keys(tenant).await.expect("listing keys works");
        let oldest_first = keys.is_sorted_by_key(|key| key.created_at);
        keys.sort_by_key(|key| (key.created_at, key.hash));
        self.part(format!("keys of {tenant}"), &(oldest_first, keys));
    }

    async fn read_owed(&mut self, stores: &Stores, subject: &ViewSubject) {
        for tenant in &subject.tenants {
            let mut from = EventId::MIN;
            let mut pages = Vec::new();
            loop {
                let read = stores.journal.backlog(tenant, EndpointId::DEFAULT, from, 3).await;
                let read = read.expect("reading a backlog works");
                let next = read.owed.last().map(|owed| owed.key.event.as_u128() + 1);
                let exhausted = read.exhausted;
                pages.push(read);
                match next {
                    Some(next) if !exhausted => from = EventId::from_u128(next),
                    _ => break,
                }
            }
            self.part(format!("backlog of {tenant}"), &pages);
        }
        for index in 0..SHARDS {
            let shard = ShardSpec { index, count: SHARDS };
            for (until, max) in [(subject.now, 3), (Timestamp::MAX, PLENTY)] {
                let timers = timers_of(stores, shard, until, max).await;
                self.part(format!("timers of {shard:?} until {until}"), &timers);
            }
            let endpoints = stores.journal.owed_endpoints(shard).await;
            let mut endpoints = endpoints.expect("reading endpoints works");
            endpoints.sort_by(|a, b| a.tenant.cmp(&b.tenant));
            self.part(format!("endpoints of {shard:?}"), &endpoints);
        }
    }

    async fn read_dead(&mut self, stores: &Stores, subject: &ViewSubject) {
        let scopes = subject.tenants.iter().cloned().map(Scope::Tenant).chain([Scope::All]);
        for scope in scopes {
            for limit in PAGE_SIZES {
                let letters = stores.dead_letters.list(&scope, limit).await;
                self.part(format!("{limit} dead letters of {scope:?}"), &letters);
            }
        }
    }
}

/// A shard's timers, read in pages; in an order that all stores have in common.
async fn timers_of(stores: &Stores, shard: ShardSpec, until: Timestamp, max: usize) -> Vec<Owed> {
    let mut timers = Vec::new();
    let mut from = TimerPosition::START;
    loop {
        let page = stores.journal.timers(shard, from, until, max).await;
        let page = page.expect("reading timers works");
        timers.extend(page.owed);
        assert!(timers.len() < PLENTY, "the pages of timers have no end");
        match page.next {
            Some(next) => from = next,
            None => break,
        }
    }
    assert!(timers.is_sorted_by_key(Owed::due), "timers are not in due order: {timers:?}");
    timers.sort_by(|a, b| (a.due(), &a.key).cmp(&(b.due(), &b.key)));
    timers
}

/// Everything that is owed to these tenants, fresh and waiting.
pub(super) async fn owed_of(stores: &Stores, tenants: &[TenantId]) -> Vec<Owed> {
    let mut owed = Vec::new();
    for tenant in tenants {
        let read = stores.journal.backlog(tenant, EndpointId::DEFAULT, EventId::MIN, PLENTY).await;
        owed.extend(read.expect("reading a backlog works").owed);
    }
    owed.extend(timers_of(stores, ALL_SHARDS, Timestamp::MAX, PLENTY).await);
    owed
}
