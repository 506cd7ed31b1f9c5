//! The judge: sees every request, every row write and every fault, and knows what each fault
//! excuses.
//!
//! A *duplicate* is a request of a (round, attempt) that an endpoint has seen, or of a round that
//! it has taken, as a daemon heard. (Where the answer is lost, the next attempt is a retry as after
//! any failure.) How many a fault excuses, by event (PROTOCOL's table of crash points):
//!
//! | fault                                                        | point  | duplicates    |
//! |--------------------------------------------------------------|--------|---------------|
//! | a daemon dies, or is stopped, with an attempt that is begun  | 9–11   | 1; 2 of a row |
//! |   and whose outcome is not in the row                        |        | without owner |
//! | a daemon stands still meanwhile, for 20 s or longer          | 21     | 2             |
//! | a disk loses its last writes                                 | 19     | 2 a job lost  |
//! | a disk runs twice under one name                             | 42     | 2 a job       |
//! | the queue shows a message that somebody has                  | 15     | 2 if no owner |
//! | the queue does not count a receipt                           | 15     | 2             |
//! | a second message is sent in a round                          | 4, 5   | 2             |
//! | hiding fails and another receives what is not settled        | 22, 39 | 2             |
//! | row writes fail, or take minutes, and the row is taken over  | 22, 38 | 2             |
//! | DELIVERED is written beside an owner, after its next attempt | 15     | 1             |
//! | DELIVERED is on its way beside an owner, whose event is      | 15     | each of its   |
//! |   excused already                                            |        |   attempts    |
//!
//! Two, where two daemons go on with one event: both make the next attempt; and where the one that
//! does not own the row is answered 2xx, the owner finds that out only from the write that is
//! refused after its next attempt. Nothing but a look at the row before each attempt would change
//! that, and nothing at all as long as the row does not say it.
//!
//! Everything else, a duplicate above all, is wrong.

mod cases;
mod faults;
mod writes;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use posthaste_domain::{EventStatus, InstanceId, RowKey, TenantId};

pub(crate) use self::cases::Request;
pub(crate) use self::writes::Done;

use self::cases::{Case, Open};
use crate::endpoint::Behaviour;
use crate::plan::Plan;
use crate::trace::Who;
use crate::world::State;

/// After this nobody but one daemon goes on, where the row has an owner.
const ENDED: &str = "a daemon ended";
/// Another one's DELIVERED. Where it is written late, after the attempt of the owner that the
/// second message excuses already, the owner's lease lets it begin one more: it learns of it by
/// its own next write, and does not read the row before each attempt.
const NOT_LEARNT: &str = "its owner had not learnt of the delivery";

/// See the module's words.
#[derive(Debug)]
pub(crate) struct Judge {
    cases: BTreeMap<RowKey, Case>,
    /// Attempts that are begun and whose outcome no row shows yet.
    open: BTreeMap<(usize, RowKey), Open>,
    /// Deliveries whose outcome is in a daemon's outbox.
    unwritten: BTreeSet<(usize, RowKey)>,
    /// When a daemon last could not hide messages, write rows, or stood still.
    hide_failed_ms: BTreeMap<usize, u64>,
    write_failed_ms: BTreeMap<usize, u64>,
    paused_ms: BTreeMap<usize, u64>,
    /// Daemons' names; one that is down comes back with its clock and its leases.
    names: BTreeMap<usize, InstanceId>,
    behaviours: BTreeMap<String, (Behaviour, Option<u64>)>,
    attempts_max: u32,
    /// Rows that were forgotten, each with its final status.
    pub(crate) expired: BTreeMap<RowKey, EventStatus>,
    /// Duplicates so far, and those that were excused.
    pub(crate) duplicates: u64,
    pub(crate) excused: u64,
}

impl Judge {
    pub(crate) fn new(plan: &Plan) -> Self {
        let tenants = plan.tenants.iter();
        let behaviours =
            tenants.map(|it| (it.id.as_str().to_owned(), (it.behaviour, it.deleted_ms))).collect();
        Self {
            cases: BTreeMap::new(),
            open: BTreeMap::new(),
            unwritten: BTreeSet::new(),
            hide_failed_ms: BTreeMap::new(),
            write_failed_ms: BTreeMap::new(),
            paused_ms: BTreeMap::new(),
            names: BTreeMap::new(),
            behaviours,
            attempts_max: plan.fleet.engine.schedule.attempts_max(),
            expired: BTreeMap::new(),
            duplicates: 0,
            excused: 0,
        }
    }

    /// A row was put.
    pub(crate) fn opened(&mut self, key: &RowKey, payload: &Bytes) {
        self.cases.entry(key.clone()).or_insert_with(|| Case::new(payload.clone()));
    }

    /// A tenant was deleted.
    pub(crate) fn tenant_deleted(&mut self, tenant: &TenantId, ms: u64) {
        if let Some((_, deleted_ms)) = self.behaviours.get_mut(tenant.as_str()) {
            deleted_ms.get_or_insert(ms);
        }
    }

    /// When a tenant was, or will be, deleted.
    pub(crate) fn deleted_ms(&self, tenant: &TenantId) -> Option<u64> {
        self.behaviours.get(tenant.as_str()).and_then(|(_, deleted_ms)| *deleted_ms)
    }

    /// Its sender was told that it is accepted.
    pub(crate) fn accepted(&mut self, key: &RowKey) {
        if let Some(case) = self.cases.get_mut(key) {
            case.accepted = true;
        }
    }

    /// Events that got their promise.
    pub(crate) fn promised(&self) -> impl Iterator<Item = &RowKey> {
        self.cases.iter().filter(|(_, case)| case.accepted).map(|(key, _)| key)
    }

    pub(crate) fn all(&self) -> Vec<RowKey> {
        self.cases.keys().cloned().collect()
    }

    fn is_promised(&self, key: &RowKey) -> bool {
        self.cases.get(key).is_some_and(|case| case.accepted)
    }

    fn excuse(&mut self, key: &RowKey, why: &'static str) {
        let Some(case) = self.cases.get_mut(key) else { return };
        let is_alone = why == NOT_LEARNT || (why == ENDED && case.is_owned);
        let times = if is_alone { 1 } else { 2 };
        case.excuses.extend(std::iter::repeat_n(why, times));
        self.excused += times as u64;
    }

    /// Whether the outcome of this delivery is in the outbox of this daemon.
    pub(crate) fn is_unwritten(&self, daemon: usize, key: &RowKey) -> bool {
        self.unwritten.contains(&(daemon, key.clone()))
    }

    pub(crate) fn note_unwritten(&mut self, daemon: usize, key: RowKey, is_unwritten: bool) {
        if is_unwritten {
            self.unwritten.insert((daemon, key));
        } else {
            self.unwritten.remove(&(daemon, key));
        }
    }
}

impl State {
    /// P1: what was accepted is final, or in the work index, or the queue has a message of its
    /// round.
    pub(crate) fn check_promise(&self, key: &RowKey) -> Result<(), String> {
        if !self.judge.is_promised(key) {
            return Ok(());
        }
        if self.judge.expired.contains_key(key) {
            return Ok(());
        }
        let Some(row) = self.table.row(key) else {
            return Err(format!("P1: {key:?} was accepted and has no row"));
        };
        let is_kept = row.is_final() || row.lease.is_some() || self.mail[0].has(key, row.round);
        if is_kept {
            return Ok(());
        }
        Err(format!("P1: {key:?} is accepted, and neither final nor in work nor queued: {row:?}"))
    }

    /// A row's time to live is over.
    pub(crate) fn expire(&mut self, key: &RowKey) {
        if let Some(row) = self.table.row(key) {
            self.judge.expired.insert(key.clone(), row.status);
            self.table.remove(key);
        }
    }

    /// Puts a message into a queue.
    pub(crate) fn put_mail(&mut self, which: usize, (body, who): (Bytes, Who), ms: u64) {
        if let Ok(message) = posthaste_protocol::EventMessage::parse(&body) {
            let numbers = [which as u64, u64::from(message.round.unwrap_or(0))];
            self.trace.note(ms, who, "sends", (Some(&message.key), numbers));
            let round = message.round.unwrap_or(0);
            if which == crate::cloud::DEAD {
                self.judge.dead_lettered(&message.key, round);
            } else {
                self.judge.sent(&message.key, round);
            }
        }
        self.mail[which].put(body, ms);
    }
}
