//! The tenants and endpoints that the engine knows of, by number, with what it knows of each.
//!
//! An endpoint is known while it has deliveries in memory, more in the store, or a hold; a small
//! stock of idle ones is kept, since most of them come back at once. So memory follows the
//! endpoints that have work, not those that ever had any.
//!
//! Invariant: a number is given to another endpoint only after nothing refers to it any more.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::FixedState;
use posthaste_domain::{EndpointId, EventId, TenantId, Timestamp};
use slab::Slab;

use crate::guard::Guard;
use crate::list::List;
use crate::pause::Pause;
use crate::table::Lane;

/// Idle endpoints that are kept; at about 250 bytes each.
const IDLE_KEPT_MAX: usize = 1_024;

/// A tenant with work.
#[derive(Debug)]
pub(crate) struct Tenant {
    /// Its name.
    pub(crate) id: TenantId,
    /// Its endpoints that could be given an attempt, in the order of their turns.
    pub(crate) turns: VecDeque<u32>,
    /// Whether it stands in the engine's own order of turns.
    pub(crate) on_ring: bool,
    /// The latest attempt that may be given to others before this tenant's next one (I8).
    pub(crate) turn_by: u64,
    endpoints: Vec<(EndpointId, u32)>,
}

/// An endpoint with work.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// Whose, by number.
    pub(crate) tenant: u32,
    /// Which of the tenant's endpoints.
    pub(crate) id: EndpointId,
    /// Ready deliveries that have not failed yet.
    pub(crate) fresh: List,
    /// Ready deliveries that are due again.
    pub(crate) retries: List,
    /// Deliveries in memory that count for the fresh lane, wherever they are.
    pub(crate) held_fresh: usize,
    /// Deliveries in memory that count for the retry lane and are not waiting.
    pub(crate) held_retries: usize,
    /// Deliveries that wait for their due time.
    pub(crate) waiting: usize,
    /// Deliveries whose payload is being read for an attempt, or whose attempt is in flight.
    pub(crate) in_flight: usize,
    /// No attempt before this time; [`Timestamp::ZERO`] where there is no hold.
    pub(crate) hold_until: Timestamp,
    /// Whether the hold is so long that its deliveries wait in the store.
    pub(crate) parked: bool,
    /// The pause after failures that were ours.
    pub(crate) local: Pause,
    /// Fresh deliveries that went before waiting retries, since the last retry.
    pub(crate) fresh_in_a_row: u8,
    /// Whether it stands in its tenant's order of turns.
    pub(crate) on_ring: bool,
    /// The store has fresh deliveries from this event on that are not in memory.
    pub(crate) behind_from: Option<EventId>,
    /// Whether it waits for its backlog to be read.
    pub(crate) in_backlog_queue: bool,
    /// The read of its backlog that is under way.
    pub(crate) backlog_read: Option<Box<BacklogRead>>,
    /// The store has overdue retries that did not fit; the pass in which the last one did not.
    pub(crate) overdue_pass: Option<u32>,
}

/// A read of an endpoint's backlog that is under way.
#[derive(Debug, Default)]
pub(crate) struct BacklogRead {
    /// The smallest event that was left in the store since the read was ordered; the answer may
    /// be too old to have it.
    pub(crate) left_from: Option<EventId>,
    /// What the answer must not be believed about.
    pub(crate) guard: Guard<EventId>,
}

impl Endpoint {
    fn new(tenant: u32, id: EndpointId) -> Self {
        Self {
            tenant,
            id,
            fresh: List::EMPTY,
            retries: List::EMPTY,
            held_fresh: 0,
            held_retries: 0,
            waiting: 0,
            in_flight: 0,
            hold_until: Timestamp::ZERO,
            parked: false,
            local: Pause::default(),
            fresh_in_a_row: 0,
            on_ring: false,
            behind_from: None,
            in_backlog_queue: false,
            backlog_read: None,
            overdue_pass: None,
        }
    }

    /// The deliveries that count for a lane.
    pub(crate) const fn held(&self, lane: Lane) -> usize {
        match lane {
            Lane::Fresh => self.held_fresh,
            Lane::Retry => self.held_retries,
        }
    }

    /// The same, to change it.
    pub(crate) const fn held_mut(&mut self, lane: Lane) -> &mut usize {
        match lane {
            Lane::Fresh => &mut self.held_fresh,
            Lane::Retry => &mut self.held_retries,
        }
    }

    /// The queue of a lane.
    pub(crate) const fn lane_mut(&mut self, lane: Lane) -> &mut List {
        match lane {
            Lane::Fresh => &mut self.fresh,
            Lane::Retry => &mut self.retries,
        }
    }

    /// Whether something is ready.
    pub(crate) const fn has_ready(&self) -> bool {
        !self.fresh.is_empty() || !self.retries.is_empty()
    }

    const fn is_idle(&self) -> bool {
        self.held_fresh == 0
            && self.held_retries == 0
            && self.waiting == 0
            && self.hold_until.as_millis() == 0
            && !self.on_ring
            && self.behind_from.is_none()
            && !self.in_backlog_queue
            && self.backlog_read.is_none()
            && self.overdue_pass.is_none()
    }
}

/// All tenants and endpoints that are known at the moment.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    tenants: Slab<Tenant>,
    by_name: HashMap<TenantId, u32, FixedState>,
    endpoints: Slab<Endpoint>,
    /// Endpoints that had nothing left when somebody looked.
    idle: Vec<u32>,
}

fn number(index: usize) -> u32 {
    u32::try_from(index).expect("memory ends long before 2^32 endpoints")
}

impl Directory {
    /// How many endpoints are known.
    pub(crate) fn len(&self) -> usize {
        self.endpoints.len()
    }

    /// The number of an endpoint, which is made known if it was not.
    pub(crate) fn intern(&mut self, tenant: &TenantId, endpoint: EndpointId) -> u32 {
        let owner = self.by_name.get(tenant).copied().unwrap_or_else(|| {
            let owner = number(self.tenants.insert(Tenant {
                id: tenant.clone(),
                turns: VecDeque::new(),
                on_ring: false,
                turn_by: 0,
                endpoints: Vec::with_capacity(1),
            }));
            self.by_name.insert(tenant.clone(), owner);
            owner
        });
        let known = &mut self.tenants[owner as usize].endpoints;
        if let Some((_, found)) = known.iter().find(|(id, _)| *id == endpoint) {
            return *found;
        }
        let made = number(self.endpoints.insert(Endpoint::new(owner, endpoint)));
        known.push((endpoint, made));
        made
    }

    /// The number of an endpoint, if it is known.
    pub(crate) fn find(&self, tenant: &TenantId, endpoint: EndpointId) -> Option<u32> {
        let owner = self.by_name.get(tenant)?;
        let known = &self.tenants[*owner as usize].endpoints;
        known.iter().find(|(id, _)| *id == endpoint).map(|(_, found)| *found)
    }

    /// The numbers of a tenant's endpoints.
    pub(crate) fn endpoints_of(&self, tenant: &TenantId) -> impl Iterator<Item = u32> {
        let owner = self.by_name.get(tenant).map(|owner| &self.tenants[*owner as usize]);
        owner.into_iter().flat_map(|owner| owner.endpoints.iter().map(|(_, number)| *number))
    }

    /// The tenant of this number.
    pub(crate) fn tenant(&self, tenant: u32) -> &Tenant {
        &self.tenants[tenant as usize]
    }

    /// The same, to change it.
    pub(crate) fn tenant_mut(&mut self, tenant: u32) -> &mut Tenant {
        &mut self.tenants[tenant as usize]
    }

    /// Notes that an endpoint may have nothing left. It stays known until
    /// [`Directory::release_idle`], so that a step under way may still use its number.
    pub(crate) fn note_idle(&mut self, endpoint: u32) {
        if self.endpoints.len() > IDLE_KEPT_MAX && self[endpoint].is_idle() {
            self.idle.push(endpoint);
        }
    }

    /// Forgets endpoints that have nothing left, unless few are known; with them their tenants.
    pub(crate) fn release_idle(&mut self) {
        while let Some(endpoint) = self.idle.pop() {
            // It may be gone by now, or known again, or somebody else's number.
            let idle = self.endpoints.get(endpoint as usize).is_some_and(Endpoint::is_idle);
            if !idle || self.endpoints.len() <= IDLE_KEPT_MAX {
                continue;
            }
            let gone = self.endpoints.remove(endpoint as usize);
            let tenant = &mut self.tenants[gone.tenant as usize];
            tenant.endpoints.retain(|(id, _)| *id != gone.id);
            // An idle endpoint is on no ring, so a tenant without endpoints is on none either.
            if tenant.endpoints.is_empty() {
                let tenant = self.tenants.remove(gone.tenant as usize);
                self.by_name.remove(&tenant.id);
            }
        }
    }

    /// All endpoints, by number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Endpoint)> {
        self.endpoints.iter().map(|(index, endpoint)| (number(index), endpoint))
    }

    /// All tenants, by number.
    pub(crate) fn tenants(&self) -> impl Iterator<Item = (u32, &Tenant)> {
        self.tenants.iter().map(|(index, tenant)| (number(index), tenant))
    }
}

impl std::ops::Index<u32> for Directory {
    type Output = Endpoint;

    fn index(&self, endpoint: u32) -> &Endpoint {
        &self.endpoints[endpoint as usize]
    }
}

impl std::ops::IndexMut<u32> for Directory {
    fn index_mut(&mut self, endpoint: u32) -> &mut Endpoint {
        &mut self.endpoints[endpoint as usize]
    }
}
