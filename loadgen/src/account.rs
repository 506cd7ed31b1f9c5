//! The account: what became of every event, exactly.
//!
//! An event is a number; the number is in its payload, so both ends know it and no table of ids is
//! needed. Two bits an event: *accepted* (a 201 was seen) and *delivered* (the sink said yes to
//! it). They stand in pages of 65,536 events (16 KiB). A page whose events all have both bits is
//! replaced by the mark "full", which costs nothing and still answers exactly: one more delivery
//! of an event in it is a duplicate. So memory is for events that are under way, and a day at
//! 5,000 events/s costs less than 110 MB even if no page ever fills.
//!
//! ```text
//! accepted = delivered + dead-lettered + still owed + missing
//! ```
//! The first three are seen, by us or by asking the system at the end; what remains is missing,
//! and must be 0. Events without a 201 (refused, or cut off by a crash) are *unknown*: they may or
//! may not be delivered, and stand apart.

mod page;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use self::page::{ACCEPTED, BOTH, DELIVERED, PAGE_EVENTS, Page};
use crate::clock::Nanos;

/// What a delivery was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The first one of its event.
    First,
    /// Another one.
    Duplicate,
    /// No such event was ever sent.
    Foreign,
}

/// What the system says of an event that was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It gave up, and says so.
    DeadLettered,
    /// It will try again.
    Owed,
}

/// The sums of the account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Events handed to connections.
    pub sent: u64,
    /// Events with a 201.
    pub accepted: u64,
    /// Accepted events that the sink took.
    pub delivered: u64,
    /// Deliveries beyond the first one of an event.
    pub duplicated: u64,
    /// Accepted events that the system has dead-lettered.
    pub dead_lettered: u64,
    /// Accepted events that the system still owes.
    pub owed: u64,
    /// Accepted events that nobody has: lost.
    pub missing: u64,
    /// First deliveries later than the scenario's bound.
    pub late: u64,
    /// Events without a 201.
    pub unknown: u64,
    /// Of these, those that were delivered.
    pub unknown_delivered: u64,
    /// Requests at the sink that bore no valid signature, or not the bytes that were sent, or came
    /// to the wrong tenant's endpoint.
    pub faulty: u64,
    /// Deliveries of events that were never sent.
    pub foreign: u64,
}

impl Totals {
    /// Whether accepted = delivered + dead-lettered + owed, and nothing strange was seen.
    #[must_use]
    pub const fn adds_up(&self) -> bool {
        self.missing == 0
            && self.faulty == 0
            && self.foreign == 0
            && self.accepted == self.delivered + self.dead_lettered + self.owed
    }
}

/// What is known of a tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TenantCount {
    /// Its events with a 201.
    pub accepted: u64,
    /// Of these, those delivered.
    pub settled: u64,
    /// First deliveries, with or without a 201.
    pub delivered: u64,
    /// The sum of their latencies.
    pub latency_sum: Nanos,
    /// The longest of them.
    pub latency_max: Nanos,
}

/// The account of a run.
#[derive(Debug)]
pub struct Account {
    pages: Vec<Page>,
    tenants: Vec<TenantCount>,
    totals: Totals,
    late_after: Nanos,
    /// First deliveries, with or without a 201.
    first: u64,
    /// Undelivered events that the system knows of.
    // Invariant: accepted and not delivered when they were put in.
    dead_lettered: BTreeSet<u64>,
    owed: BTreeSet<u64>,
    /// The numbers that have been given out lie below.
    limit: u64,
}

impl Account {
    /// An empty account of this many tenants.
    #[must_use]
    pub fn new(tenants: u32, late_after: Nanos) -> Self {
        Self {
            pages: Vec::new(),
            tenants: vec![TenantCount::default(); tenants as usize],
            totals: Totals::default(),
            late_after,
            first: 0,
            dead_lettered: BTreeSet::new(),
            owed: BTreeSet::new(),
            limit: 0,
        }
    }

    /// An event is about to be sent. Must come before anything else about it.
    pub fn sent(&mut self, sequence: u64) {
        self.totals.sent += 1;
        self.limit = self.limit.max(sequence + 1);
    }

    /// Its 201 has come.
    pub fn accepted(&mut self, sequence: u64, tenant: u32) {
        debug_assert!(sequence < self.limit, "accepted before it was sent");
        let before = self.set(sequence, ACCEPTED);
        if before & ACCEPTED != 0 {
            return;
        }
        self.totals.accepted += 1;
        if let Some(count) = self.tenants.get_mut(tenant as usize) {
            count.accepted += 1;
            count.settled += u64::from(before & DELIVERED != 0);
        }
        self.totals.delivered += u64::from(before & DELIVERED != 0);
    }

    /// The sink has taken it, this long after its intended moment.
    pub fn delivered(&mut self, sequence: u64, tenant: u32, latency: Nanos) -> Delivery {
        if sequence >= self.limit {
            self.totals.foreign += 1;
            return Delivery::Foreign;
        }
        let before = self.set(sequence, DELIVERED);
        if before & DELIVERED != 0 {
            self.totals.duplicated += 1;
            return Delivery::Duplicate;
        }
        self.first += 1;
        self.totals.late += u64::from(latency > self.late_after);
        self.totals.delivered += u64::from(before & ACCEPTED != 0);
        if let Some(count) = self.tenants.get_mut(tenant as usize) {
            count.delivered += 1;
            count.settled += u64::from(before & ACCEPTED != 0);
            count.latency_sum = count.latency_sum.saturating_add(latency);
            count.latency_max = count.latency_max.max(latency);
        }
        Delivery::First
    }

    /// The sink has refused a request because it was not what was sent.
    pub const fn faulty(&mut self) {
        self.totals.faulty += 1;
    }

    /// The system says what became of an event that it has not delivered. Gives whether the
    /// account did not know: accepted, and not delivered.
    pub fn reported(&mut self, sequence: u64, fate: Fate) -> bool {
        if sequence >= self.limit || self.bits(sequence) != ACCEPTED {
            return false;
        }
        match fate {
            Fate::DeadLettered => {
                self.owed.remove(&sequence);
                self.dead_lettered.insert(sequence)
            }
            Fate::Owed => !self.dead_lettered.contains(&sequence) && self.owed.insert(sequence),
        }
    }

    /// Accepted and not delivered.
    #[must_use]
    pub const fn backlog(&self) -> u64 {
        self.totals.accepted - self.totals.delivered
    }

    /// Events delivered at least once, with or without a 201.
    #[must_use]
    pub const fn first_deliveries(&self) -> u64 {
        self.first
    }

    /// The sums, as far as is known.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let undelivered = |set: &BTreeSet<u64>| {
            set.iter().filter(|&&sequence| self.bits(sequence) == ACCEPTED).count() as u64
        };
        let (dead_lettered, owed) = (undelivered(&self.dead_lettered), undelivered(&self.owed));
        let totals = self.totals;
        Totals {
            dead_lettered,
            owed,
            missing: self.backlog() - dead_lettered - owed,
            unknown: totals.sent - totals.accepted,
            unknown_delivered: self.first - totals.delivered,
            ..totals
        }
    }

    /// Each tenant's counts.
    #[must_use]
    pub fn tenants(&self) -> &[TenantCount] {
        &self.tenants
    }

    /// Up to `count` of the events that are accepted, not delivered and not reported.
    #[must_use]
    pub fn missing(&self, count: usize) -> Vec<u64> {
        let open = self.pages.iter().zip(0_u64..).flat_map(|(page, number)| {
            page.with(ACCEPTED).map(move |place| number * PAGE_EVENTS + u64::from(place))
        });
        open.filter(|event| !self.owed.contains(event) && !self.dead_lettered.contains(event))
            .take(count)
            .collect()
    }

    /// Bytes that the pages take.
    #[must_use]
    pub fn page_bytes(&self) -> u64 {
        self.pages.iter().map(Page::bytes).sum()
    }

    /// Sets a bit; gives the two bits as they were before.
    fn set(&mut self, sequence: u64, bit: u64) -> u64 {
        let (page, place) = locate(sequence);
        if page >= self.pages.len() {
            self.pages.resize_with(page + 1, Page::default);
        }
        let before = self.pages[page].set(place, bit);
        debug_assert!(before <= BOTH, "two bits an event");
        before
    }

    fn bits(&self, sequence: u64) -> u64 {
        let (page, place) = locate(sequence);
        self.pages.get(page).map_or(0, |page| page.bits(place))
    }
}

fn locate(sequence: u64) -> (usize, u32) {
    let page = usize::try_from(sequence / PAGE_EVENTS).unwrap_or(usize::MAX);
    (page, u32::try_from(sequence % PAGE_EVENTS).unwrap_or(0))
}

#[cfg(test)]
mod tests;
