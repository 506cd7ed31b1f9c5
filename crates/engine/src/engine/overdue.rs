//! Retries that were due, did not fit into memory, and were left in the store.
//!
//! A dead endpoint can have a million of them, and nobody else's retries may wait for that. So
//! what does not fit is left behind the horizon, and the engine remembers the first place where
//! something was left. From there it looks through the due timers again, page by page, now and
//! then, and takes in what there is room for by then. Reading is cheap and in order; a pause
//! after each pass, in proportion to its length, keeps it a small part of the work.
//!
//! Invariant: everything that was left is in the due order after `Overdue::from`.

use std::collections::BTreeSet;

use posthaste_domain::{DeliveryKey, EndpointId, EventId, Owed, OwedAs, TimerPosition, Timestamp};

use super::Engine;
use super::timers::before_millisecond;
use crate::guard::Guard;
use crate::table::Lane;

/// The pause after a pass, in milliseconds for each page it read: a page takes a few milliseconds,
/// so looking takes a tenth of the store's time at most.
const PAUSE_PER_PAGE_MS: u64 = 25;
/// The shortest pause, in milliseconds.
const PAUSE_MS_MIN: u64 = 250;
/// The longest pause, in milliseconds.
const PAUSE_MS_MAX: u64 = 30_000;

/// What is known of overdue retries that are in the store only.
#[derive(Debug, Default)]
pub(crate) struct Overdue {
    /// All of them are after this place; none where there are none.
    pub(crate) from: Option<TimerPosition>,
    /// Whose they are.
    pub(crate) endpoints: BTreeSet<u32>,
    pass: u32,
    scan: Option<Scan>,
    next_at: Timestamp,
    /// Whether anything has come in since nobody had room. Only an input makes room, so until
    /// then there is nothing to look for.
    pub(crate) stirred: bool,
}

/// A pass that is under way.
#[derive(Debug)]
struct Scan {
    at: TimerPosition,
    /// Before the first one that was left in this pass.
    left_after: Option<TimerPosition>,
    pages: u64,
}

impl Engine {
    /// Remembers an overdue retry that is left in the store.
    pub(super) fn mark_overdue(&mut self, endpoint: u32, key: DeliveryKey, due: Timestamp) {
        let before = just_before(key, due);
        let overdue = &mut self.overdue;
        if overdue.from.is_none() {
            overdue.next_at = self.now.plus_millis(PAUSE_MS_MIN);
        }
        if let Some(scan) = &mut overdue.scan {
            lower(&mut scan.left_after, &before);
        }
        lower(&mut overdue.from, &before);
        overdue.endpoints.insert(endpoint);
        self.directory[endpoint].overdue_pass = Some(overdue.pass);
        self.refresh_shut(endpoint);
    }

    /// Where to look next for what was left, if it is time and somebody has room for it.
    pub(super) fn next_overdue_page(&mut self) -> Option<TimerPosition> {
        let from = self.overdue.from.as_ref()?;
        if self.overdue.scan.is_none() && (self.now < self.overdue.next_at || !self.overdue.stirred)
        {
            return None;
        }
        if !self.overdue.endpoints.iter().any(|endpoint| self.fits(*endpoint, Lane::Retry)) {
            self.end_pass_early();
            self.overdue.stirred = false;
            return None;
        }
        if self.overdue.scan.is_none() {
            let scan = Scan { at: from.clone(), left_after: None, pages: 0 };
            self.overdue.scan = Some(scan);
            self.overdue.pass = self.overdue.pass.wrapping_add(1);
        }
        self.overdue.scan.as_ref().map(|scan| scan.at.clone())
    }

    /// Takes in an answer of the store.
    pub(super) fn take_overdue(
        &mut self,
        guard: &Guard<DeliveryKey>,
        owed: Vec<Owed>,
        next: Option<TimerPosition>,
    ) {
        for mut owed in owed {
            let OwedAs::Timer(due) = owed.owed_as else { continue };
            if due > self.now || guard.is_stale(&owed.key, owed.round) {
                continue;
            }
            let endpoint = self.directory.intern(&owed.key.tenant, owed.key.endpoint);
            if self.is_news(endpoint, &owed) && !self.take_ready(endpoint, &mut owed) {
                self.mark_overdue(endpoint, owed.key, due);
            }
        }
        let Some(scan) = &mut self.overdue.scan else { return };
        scan.pages += 1;
        match next {
            Some(at) => scan.at = at,
            None => self.end_pass(),
        }
    }

    /// A pass has come to the end: what it did not leave is not there any more.
    fn end_pass(&mut self) {
        let Some(scan) = self.overdue.scan.take() else { return };
        self.overdue.from = scan.left_after;
        let (pass, directory) = (self.overdue.pass, &mut self.directory);
        let mut idle = Vec::new();
        self.overdue.endpoints.retain(|endpoint| {
            let left = directory[*endpoint].overdue_pass == Some(pass);
            if !left {
                directory[*endpoint].overdue_pass = None;
                idle.push(*endpoint);
            }
            left
        });
        idle.into_iter().for_each(|endpoint| self.note_idle(endpoint));
        self.pause_after(scan.pages);
    }

    /// Nobody has room now, so the rest need not be looked at.
    fn end_pass_early(&mut self) {
        let mut pages = 0;
        if let Some(scan) = self.overdue.scan.take() {
            let mut from = Some(scan.at);
            if let Some(left_after) = &scan.left_after {
                lower(&mut from, left_after);
            }
            self.overdue.from = from;
            pages = scan.pages;
        }
        self.pause_after(pages);
    }

    fn pause_after(&mut self, pages: u64) {
        let pause = (pages * PAUSE_PER_PAGE_MS).clamp(PAUSE_MS_MIN, PAUSE_MS_MAX);
        self.overdue.next_at = self.now.plus_millis(pause);
    }

    /// When to look next for what was left.
    pub(super) fn overdue_wakeup(&self) -> Option<Timestamp> {
        let overdue = &self.overdue;
        let next = if overdue.scan.is_some() { self.now } else { overdue.next_at };
        (overdue.from.is_some() && (overdue.stirred || overdue.scan.is_some())).then_some(next)
    }
}

fn lower(place: &mut Option<TimerPosition>, to: &TimerPosition) {
    if place.as_ref().is_none_or(|place| to < place) {
        *place = Some(to.clone());
    }
}

/// A place before this timer and after all timers before it, whatever order the store keeps
/// tenants in.
fn just_before(key: DeliveryKey, due: Timestamp) -> TimerPosition {
    let DeliveryKey { tenant, event, endpoint } = key;
    let key = if let Some(endpoint) = endpoint.as_u16().checked_sub(1) {
        DeliveryKey { tenant, event, endpoint: EndpointId::from_u16(endpoint) }
    } else if let Some(event) = event.as_u128().checked_sub(1) {
        let event = EventId::from_u128(event);
        DeliveryKey { tenant, event, endpoint: EndpointId::from_u16(u16::MAX) }
    } else {
        return before_millisecond(due);
    };
    TimerPosition { due, key: Some(key) }
}

#[cfg(test)]
mod tests {
    use posthaste_domain::TenantId;

    use super::*;

    /// For all timers: the place before one is after the timer before it.
    #[test]
    fn just_before_is_between_neighbours() {
        let due = Timestamp::from_millis(5);
        let key = |event, endpoint| DeliveryKey {
            tenant: TenantId::try_new("abc").unwrap(),
            event: EventId::from_u128(event),
            endpoint: EndpointId::from_u16(endpoint),
        };
        for (one, other) in [((7, 0), (7, 1)), ((7, 1), (8, 0)), ((0, 0), (0, 1))] {
            let (one, other) = (key(one.0, one.1), key(other.0, other.1));
            let at = |key| TimerPosition { due, key: Some(key) };
            let between = just_before(other.clone(), due);
            assert!(at(one) <= between && between < at(other));
        }
        assert_eq!(just_before(key(0, 0), due), before_millisecond(due));
    }
}
