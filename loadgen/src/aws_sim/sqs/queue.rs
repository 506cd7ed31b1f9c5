//! A queue: where each of its messages is.
//!
//! ```text
//!   send ──> Delayed ──> Ready ──receive──> Flying ──delete──> gone
//!                          ^                   │
//!                          └────── time-out ───┘
//! ```
//! Invariants: a message is in `ready` or in `timed`, never in both; `flying` counts those that are
//! in flight. Deleted messages may leave their number in `ready`; it is skipped.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use super::attributes::Attributes;
use super::message::Content;
use super::receipt::Receipt;
use super::refusals;
use crate::aws_sim::faults::Decision;
use crate::aws_sim::refusal::Refusal;
use crate::clock::{Nanos, SECOND};

/// More in flight than AWS allows in a standard queue.
const FLYING_MAX: usize = 120_000;
/// How far ahead a message may be taken out of order.
const REORDER_MAX: usize = 1_000;
/// The longest that a message may be kept invisible in all.
const INVISIBLE_S_MAX: u64 = 43_200;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Ready,
    Delayed(Nanos),
    Flying(Nanos),
}

#[derive(Debug)]
struct Message {
    content: Arc<Content>,
    place: Place,
    /// How often it was received.
    received: u32,
    first_received_ms: u64,
    /// When it was received last.
    taken: Nanos,
    /// It was given out twice by a fault; each of its receipts is as good as the last one.
    twin: bool,
    expires: Nanos,
}

/// A message that was received.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    pub(super) number: u64,
    pub(super) content: Arc<Content>,
    pub(super) received: u32,
    pub(super) first_received_ms: u64,
}

/// What a receiver gets.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) taken: Vec<Taken>,
    /// Received too often: they go to the dead-letter queue.
    pub(super) dead: Vec<Arc<Content>>,
    pub(super) duplicated: u64,
    pub(super) reordered: u64,
}

/// How a receiver wants them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    pub(super) count: usize,
    /// Seconds, instead of the queue's.
    pub(super) visibility_s: Option<u32>,
    pub(super) date_ms: u64,
}

/// Its messages.
#[derive(Debug)]
pub(super) struct Shelf {
    pub(super) attributes: Attributes,
    messages: HashMap<u64, Message>,
    ready: VecDeque<u64>,
    timed: BTreeSet<(Nanos, u64)>,
    flying: usize,
    next: u64,
    purged: Option<Nanos>,
}

/// How many messages are where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Depth {
    pub(super) visible: usize,
    pub(super) flying: usize,
    pub(super) delayed: usize,
}

impl Shelf {
    pub(super) fn new(attributes: Attributes) -> Self {
        Self {
            attributes,
            messages: HashMap::new(),
            ready: VecDeque::new(),
            timed: BTreeSet::new(),
            flying: 0,
            next: 1,
            purged: None,
        }
    }

    /// Puts a message in; gives its number.
    pub(super) fn put(&mut self, content: Arc<Content>, delay_s: Option<u32>, now: Nanos) -> u64 {
        let number = self.next;
        self.next += 1;
        let delay = u64::from(delay_s.unwrap_or(self.attributes.delay_s)) * SECOND;
        let place = if delay == 0 { Place::Ready } else { Place::Delayed(now + delay) };
        match place {
            Place::Delayed(due) => _ = self.timed.insert((due, number)),
            Place::Ready | Place::Flying(_) => self.ready.push_back(number),
        }
        let expires = now + u64::from(self.attributes.retention_s) * SECOND;
        let message = Message {
            content,
            place,
            received: 0,
            first_received_ms: 0,
            taken: 0,
            twin: false,
            expires,
        };
        self.messages.insert(number, message);
        number
    }

    /// Takes messages out for a while.
    pub(super) fn take(
        &mut self,
        wish: Wish,
        now: Nanos,
        decision: &Decision,
    ) -> Result<Batch, Refusal> {
        self.release(now);
        let mut batch = Batch::default();
        while batch.taken.len() < wish.count {
            let entry = batch.taken.len();
            let place = decision.place(entry, self.ready.len().min(REORDER_MAX));
            let Some(number) = self.ready.remove(place) else { break };
            if self.flying >= FLYING_MAX {
                self.ready.push_front(number);
                return if batch.taken.is_empty() {
                    Err(refusals::over_limit())
                } else {
                    Ok(batch)
                };
            }
            let Some(message) = self.messages.get_mut(&number) else { continue };
            if message.expires <= now {
                self.messages.remove(&number);
                continue;
            }
            let redrive = self.attributes.redrive.as_ref();
            if redrive.is_some_and(|redrive| message.received >= redrive.receives_max) {
                let dead = self.messages.remove(&number);
                batch.dead.extend(dead.map(|message| message.content));
                continue;
            }
            let visibility_s = wish.visibility_s.unwrap_or(self.attributes.visibility_s);
            let mut until = now + u64::from(visibility_s) * SECOND;
            if !message.twin && decision.duplicates(entry) {
                (message.twin, until) = (true, now);
                batch.duplicated += 1;
            }
            batch.reordered += u64::from(place > 0);
            batch.taken.push(message.fly(number, until, now, wish.date_ms));
            self.timed.insert((until, number));
            self.flying += 1;
        }
        Ok(batch)
    }

    /// What is due becomes visible.
    fn release(&mut self, now: Nanos) {
        while let Some(&(due, number)) = self.timed.first()
            && due <= now
        {
            self.timed.pop_first();
            if let Some(message) = self.messages.get_mut(&number) {
                self.flying -= usize::from(matches!(message.place, Place::Flying(_)));
                message.place = Place::Ready;
                self.ready.push_back(number);
            }
        }
    }

    /// When something becomes visible next.
    pub(super) fn next_due(&self) -> Option<Nanos> {
        self.timed.first().map(|&(due, _)| due)
    }

    /// Whether somebody could take a message now.
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Deletes a message; an old receipt is accepted, but deletes nothing, as SQS warns. Gives
    /// whether it was deleted.
    pub(super) fn delete(&mut self, receipt: Receipt) -> bool {
        let Some(message) = self.messages.get(&receipt.message) else { return false };
        if message.received != receipt.received && !message.twin {
            return false;
        }
        let place = message.place;
        self.messages.remove(&receipt.message);
        match place {
            // Its number stays in `ready`, and is skipped.
            Place::Ready => {}
            Place::Delayed(due) => _ = self.timed.remove(&(due, receipt.message)),
            Place::Flying(due) => {
                self.timed.remove(&(due, receipt.message));
                self.flying -= 1;
            }
        }
        true
    }

    /// Makes a message visible after `seconds`.
    pub(super) fn change(
        &mut self,
        receipt: Receipt,
        text: &str,
        seconds: u32,
        now: Nanos,
    ) -> Result<(), Refusal> {
        self.release(now);
        let found = self.messages.get_mut(&receipt.message);
        let Some(message) = found else { return Err(refusals::gone(text)) };
        if message.received != receipt.received && !message.twin {
            return Err(refusals::gone(text));
        }
        let Place::Flying(before) = message.place else { return Err(refusals::not_in_flight()) };
        let until = now + u64::from(seconds) * SECOND;
        if until > message.taken + INVISIBLE_S_MAX * SECOND {
            return Err(refusals::bad_parameter(format!(
                "Value {seconds} for parameter VisibilityTimeout is invalid. Reason: Total \
                 VisibilityTimeout for the message is beyond the limit [43200 seconds]"
            )));
        }
        message.place = Place::Flying(until);
        self.timed.remove(&(before, receipt.message));
        self.timed.insert((until, receipt.message));
        self.release(now);
        Ok(())
    }

    /// Deletes everything, at most once a minute.
    pub(super) fn purge(&mut self, name: &str, now: Nanos) -> Result<(), Refusal> {
        if self.purged.is_some_and(|at| now < at + 60 * SECOND) {
            return Err(refusals::purging(name));
        }
        self.purged = Some(now);
        self.messages.clear();
        self.ready.clear();
        self.timed.clear();
        self.flying = 0;
        Ok(())
    }

    pub(super) fn depth(&mut self, now: Nanos) -> Depth {
        self.release(now);
        let delayed = self.timed.len() - self.flying;
        let visible = self.messages.len() - self.timed.len();
        Depth { visible, flying: self.flying, delayed }
    }
}

impl Message {
    fn fly(&mut self, number: u64, until: Nanos, now: Nanos, date_ms: u64) -> Taken {
        self.place = Place::Flying(until);
        self.taken = now;
        self.received += 1;
        if self.received == 1 {
            self.first_received_ms = date_ms;
        }
        Taken {
            number,
            content: Arc::clone(&self.content),
            received: self.received,
            first_received_ms: self.first_received_ms,
        }
    }
}
