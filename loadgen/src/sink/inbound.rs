//! What a thread of the sink counts.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use super::inspect::Fault;
use crate::account::Delivery;
use crate::clock::Nanos;
use crate::payload::Tag;
use crate::record::{histogram, record};
use crate::shared::{PHASES, Shared};

/// Attempts beyond this number are counted as this one.
const ATTEMPTS_MAX: u32 = 100;

/// The counts of one thread.
#[derive(Debug)]
pub struct Inbound {
    /// Intended → first byte of the accepted delivery, by phase.
    pub end_to_end: [Histogram<u64>; PHASES],
    /// The same of this interval.
    pub now: Histogram<u64>,
    /// The same of the measure phase, by group.
    pub groups: Vec<Histogram<u64>>,
    /// Answers by status.
    pub answers: BTreeMap<u16, u64>,
    /// What was done instead of an answer.
    pub withheld: BTreeMap<&'static str, u64>,
    /// What was wrong with requests.
    pub faulty: BTreeMap<Fault, u64>,
    /// Attempts by their number.
    pub attempts: BTreeMap<u32, u64>,
    /// Connections.
    pub connections: u64,
    /// Requests that were read to their end.
    pub requests: u64,
    /// Events delivered for the first time, in the measure phase.
    pub delivered_in_window: u64,
    /// When an event was first delivered last.
    pub last_delivery: Nanos,
}

/// A delivery that is about to be accepted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Note {
    pub(crate) tag: Tag,
    /// When its first byte came.
    pub(crate) at: Nanos,
    /// Counted so many times; 1 but for faults made on purpose.
    pub(crate) times: u8,
}

impl Inbound {
    /// Nothing yet.
    pub(super) fn new(groups: usize) -> Self {
        Self {
            end_to_end: std::array::from_fn(|_| histogram()),
            now: histogram(),
            groups: (0..groups).map(|_| histogram()).collect(),
            answers: BTreeMap::new(),
            withheld: BTreeMap::new(),
            faulty: BTreeMap::new(),
            attempts: BTreeMap::new(),
            connections: 0,
            requests: 0,
            delivered_in_window: 0,
            last_delivery: 0,
        }
    }

    /// A request was read to its end.
    pub(super) fn request(&mut self, attempt: u32) {
        self.requests += 1;
        *self.attempts.entry(attempt.min(ATTEMPTS_MAX)).or_default() += 1;
    }

    /// A delivery is accepted: the answer leaves next.
    pub(super) fn delivered(&mut self, shared: &Shared, note: &Note) {
        let Note { tag, at, times } = *note;
        let (latency, window) = (at.saturating_sub(tag.due), shared.window());
        for _ in 0..times {
            let mut account = shared.account();
            let delivery = account.delivered(tag.sequence, tag.tenant, latency);
            let backlog = account.backlog();
            drop(account);
            shared.settled(backlog, shared.clock.now());
            if delivery != Delivery::First {
                continue;
            }
            shared.delivered.note(at);
            let phase = window.phase(tag.due);
            record(&mut self.end_to_end[phase], latency);
            record(&mut self.now, latency);
            self.delivered_in_window += u64::from((window.from..window.to).contains(&at));
            self.last_delivery = self.last_delivery.max(at);
            let group = usize::from(shared.workload.groups[tag.tenant as usize]);
            if phase == 1 {
                record(&mut self.groups[group], latency);
            }
        }
    }
}
