//! The process that a crash ends: the engine, its driver, the store's writer, the inbox.
//!
//! Mirrors the daemon's driver: a turn hands over the inbox first, then the answers of the
//! driver's own tasks, then lets time pass, then carries out all orders.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use posthaste_domain::{
    Attempt, DeliveryKey, EndpointId, EventId, Owed, Settlement, TenantId, TimerPosition, Timestamp,
};
use posthaste_engine::{Delivery, Engine, Input};

use crate::store::Answer;
use crate::world::isolation::Isolation;

/// An endpoint's name.
pub(crate) type Site = (TenantId, EndpointId);

/// What happens at some time. Those with a life end with the process of that life.
#[derive(Debug)]
pub(crate) enum Happening {
    /// A client posts an event to this place.
    Post { place: usize },
    /// Somebody requeues, retries or purges.
    Operate,
    /// Somebody retries this one.
    Retry { key: DeliveryKey },
    /// The process starts.
    Start,
    /// The process is killed, or the power fails.
    Crash { life: u64 },
    /// The process is asked to stop.
    Drain { life: u64 },
    /// The process had its time to stop.
    DrainDeadline { life: u64 },
    /// The driver's next turn.
    Turn { life: u64 },
    /// The commit under way can be read.
    Apply { life: u64 },
    /// The commit under way is answered.
    Acknowledge { life: u64 },
    /// A read is taken.
    Take { life: u64, read: Read },
    /// The answer to a read is there.
    Give { life: u64, input: Input },
    /// A request reaches its endpoint.
    Reach { life: u64, survives: bool, key: DeliveryKey, round: u32, number: u32 },
    /// An attempt has ended.
    End { life: u64, delivery: Delivery, key: DeliveryKey, attempt: Attempt },
    /// Somebody changes, pauses, resumes or lifts an endpoint.
    Change,
    /// The clock jumps forward.
    Jump,
    /// Nothing fails from now on but what fails for ever.
    Calm,
}

/// A read from the store.
#[derive(Debug)]
pub(crate) enum Read {
    Backlog { site: Site, from: EventId, max: usize },
    Timers { from: TimerPosition, until: Timestamp, max: usize },
    Payload { delivery: Delivery, key: DeliveryKey },
    Options { site: Site },
}

/// Something to be written.
#[derive(Debug)]
pub(crate) enum Op {
    Accept { key: DeliveryKey, payload: Bytes, place: usize },
    Settle { delivery: Delivery, settlement: Box<Settlement> },
    Requeue { key: DeliveryKey },
    Purge { key: DeliveryKey },
}

/// What came of something that was written.
#[derive(Debug)]
pub(crate) enum Written {
    /// It arrived at the engine's door.
    Owed(Owed),
    /// An outcome.
    Outcome(Answer),
    /// Nothing that anybody must hear of.
    Done,
    /// Not written, or so the store says.
    Failed,
}

/// A commit under way.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) ops: Vec<Op>,
    /// One for each operation, once the commit can be read.
    pub(crate) written: Vec<Written>,
    /// Whether it is going to fail, and whether it is applied all the same.
    pub(crate) fails: bool,
    pub(crate) ambiguous: bool,
    pub(crate) answer_ms: u64,
}

/// What waits for the engine's next turn, bounded.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    pub(crate) arrived: Vec<Owed>,
    pub(crate) behind: BTreeMap<Site, EventId>,
}

impl Inbox {
    /// Hands over a delivery, or remembers where to find it.
    pub(crate) fn push(&mut self, owed: Owed, max: usize, forgets: bool) {
        if self.arrived.len() < max {
            self.arrived.push(owed);
        } else if !forgets {
            self.note((owed.key.tenant, owed.key.endpoint), owed.key.event);
        }
    }

    /// Remembers that this endpoint has fresh deliveries in the store.
    pub(crate) fn note(&mut self, site: Site, from: EventId) {
        let first = self.behind.entry(site).or_insert(from);
        *first = (*first).min(from);
    }

    /// Whether the engine will hear of this.
    pub(crate) fn accounts_for(&self, owed: &Owed) -> bool {
        let same = |other: &Owed| other.key == owed.key && other.round >= owed.round;
        let site = (owed.key.tenant.clone(), owed.key.endpoint);
        self.arrived.iter().any(same)
            || self.behind.get(&site).is_some_and(|from| *from <= owed.key.event)
    }
}

/// An attempt as the engine orders it.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) delivery: Delivery,
    pub(crate) key: DeliveryKey,
    pub(crate) round: u32,
    pub(crate) number: u32,
    pub(crate) payload: Bytes,
}

/// A hold that an endpoint asked for, and the turn in which the engine heard of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hold {
    pub(crate) until: Timestamp,
    pub(crate) turn: u64,
}

/// A running process.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) life: u64,
    pub(crate) started_at: Timestamp,
    pub(crate) engine: Engine,
    pub(crate) inbox: Inbox,
    pub(crate) answers: VecDeque<Input>,
    pub(crate) waiting: Vec<Op>,
    pub(crate) batch: Option<Batch>,
    /// Requests under way, by delivery.
    pub(crate) flights: BTreeMap<DeliveryKey, u64>,
    pub(crate) flights_of: BTreeMap<Site, usize>,
    /// Attempts that were begun and whose outcome is not known to be durable.
    pub(crate) register: BTreeMap<DeliveryKey, (u32, u32)>,
    pub(crate) holds: BTreeMap<Site, Hold>,
    /// Endpoints that could have been given an attempt ever since the turn before, each with the
    /// turns that other tenants were given since its own tenant's last one.
    pub(crate) queued: BTreeMap<Site, BTreeMap<TenantId, u64>>,
    /// What must come of what the engine has been told of endpoints.
    pub(crate) isolation: Isolation,
    /// Whose the attempts are that have ended, until the engine hears of it.
    pub(crate) landed: BTreeMap<Delivery, Site>,
    /// The time at which the engine last heard something.
    pub(crate) told_at: Timestamp,
    /// Deliveries whose payload has come in this turn: if their attempt is ordered now, it goes on
    /// with the turn that was given when the reading was ordered.
    pub(crate) loaded: BTreeSet<Delivery>,
    /// Orders that an unfair driver has set aside.
    pub(crate) set_aside: VecDeque<Order>,
    /// Later rounds that the engine has been told of.
    pub(crate) told: BTreeMap<DeliveryKey, u32>,
    pub(crate) draining: bool,
    pub(crate) turn_at: Option<Timestamp>,
    pub(crate) turns: u64,
    /// Turns at the same time without anything new, to see an engine that spins.
    pub(crate) idle_turns: u64,
}

impl Process {
    pub(crate) fn new(life: u64, started_at: Timestamp, engine: Engine) -> Self {
        Self {
            life,
            started_at,
            engine,
            inbox: Inbox::default(),
            answers: VecDeque::new(),
            waiting: Vec::new(),
            batch: None,
            flights: BTreeMap::new(),
            flights_of: BTreeMap::new(),
            register: BTreeMap::new(),
            holds: BTreeMap::new(),
            queued: BTreeMap::new(),
            isolation: Isolation::default(),
            landed: BTreeMap::new(),
            told_at: Timestamp::ZERO,
            loaded: BTreeSet::new(),
            set_aside: VecDeque::new(),
            told: BTreeMap::new(),
            draining: false,
            turn_at: None,
            turns: 0,
            idle_turns: 0,
        }
    }

    /// Whether an endpoint could be given an attempt, or has one that an unfair driver holds back.
    pub(crate) fn could_go(&self, (tenant, endpoint): &Site) -> bool {
        self.engine.could_go(tenant, *endpoint)
            || self.set_aside.iter().any(|order| order.key.tenant == *tenant)
    }

    /// Whether something that the store owes is on its way from the writer to the inbox.
    pub(crate) fn is_announced(&self, owed: &Owed) -> bool {
        self.batch.iter().flat_map(|batch| &batch.written).any(|written| {
            matches!(written, Written::Owed(other)
                if other.key == owed.key && other.round >= owed.round)
        })
    }
}
