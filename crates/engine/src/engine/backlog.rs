//! Endpoints that have more fresh deliveries in the store than fit into memory.
//!
//! Such an endpoint is *behind* from an event on: everything from that id on may be in the store
//! only. When little of its fresh work is left in memory, the next page is read. While it is
//! behind, new arrivals queue in the store behind the older ones, but for the time of a read:
//! what arrives then is taken, since this may be the read that catches up.
//!
//! Invariant: an answer is only as new as the order for it. What was left in the store since then
//! may be missing in it, so an answer that is exhausted does not end being behind from there on.

use std::collections::VecDeque;

use posthaste_domain::{EventId, Owed, OwedAs};

use super::Engine;
use super::admit::lane_part;
use crate::Effect;
use crate::pause::Pause;
use crate::table::Lane;

/// Endpoints looked at in one step, so that ten thousand that wait for room cost no step much.
const LOOKS_MAX: usize = 64;

/// What is known of all backlogs together.
#[derive(Debug, Default)]
pub(crate) struct Backlogs {
    /// Endpoints whose backlog should be read, in the order they came.
    pub(crate) queue: VecDeque<u32>,
    /// Reads under way.
    pub(crate) reads: usize,
    /// Endpoints that are behind.
    pub(crate) behind: usize,
    /// After the store could not read.
    pub(crate) pause: Pause,
    /// Endpoints in the queue that have not been looked at since the last input. Only an input
    /// makes room, so one look after each is enough.
    pub(crate) unseen: usize,
}

impl Engine {
    /// Remembers that the store has fresh deliveries of an endpoint from this event on.
    pub(super) fn mark_behind(&mut self, endpoint: u32, from: EventId) {
        let known = &mut self.directory[endpoint];
        if known.behind_from.is_none() {
            self.backlogs.behind += 1;
        }
        known.behind_from = earlier(known.behind_from, Some(from));
        if let Some(read) = &mut known.backlog_read {
            read.left_from = earlier(read.left_from, Some(from));
        }
        self.queue_backlog_when_low(endpoint);
        self.refresh_shut(endpoint);
    }

    /// Whether a new arrival must wait its turn in the store.
    pub(super) fn queues_behind(&self, endpoint: u32, owed: &Owed) -> bool {
        let known = &self.directory[endpoint];
        known.backlog_read.is_none() && known.behind_from.is_some_and(|from| from <= owed.key.event)
    }

    /// Queues an endpoint for its backlog to be read, if little of it is left in memory and it
    /// may be attempted.
    pub(super) fn queue_backlog_when_low(&mut self, endpoint: u32) {
        let low = self.low_water();
        let known = &mut self.directory[endpoint];
        // Who is tried to see whether it is well again needs one to try it with.
        let low = if known.parked { 0 } else { low };
        if known.behind_from.is_some()
            && known.backlog_read.is_none()
            && !known.in_backlog_queue
            && (!known.parked || known.breaker.is_probing())
            && known.held_fresh <= low
        {
            known.in_backlog_queue = true;
            self.backlogs.queue.push_back(endpoint);
        }
    }

    /// Half of what an endpoint may hold: early enough for the next page to come in time.
    pub(crate) fn low_water(&self) -> usize {
        lane_part(self.settings.held_per_endpoint_max, Lane::Fresh) / 2
    }

    /// Orders reads for endpoints that have little left in memory, while there is room.
    pub(super) fn order_backlog_reads(&mut self) {
        if self.backlogs.pause.lasts(self.now).is_some() {
            return;
        }
        for _ in 0..self.backlogs.unseen.min(LOOKS_MAX) {
            if self.backlogs.reads >= self.settings.backlog_reads_max {
                return;
            }
            self.backlogs.unseen -= 1;
            let Some(endpoint) = self.backlogs.queue.pop_front() else { return };
            self.directory[endpoint].in_backlog_queue = false;
            match (self.directory[endpoint].behind_from, self.backlog_room(endpoint)) {
                (None, _) => self.note_idle(endpoint),
                (Some(from), Some(room)) => self.order_backlog_read(endpoint, from, room),
                // Waits on for others to leave room, unless it is its own turn to do so.
                (Some(_), None) => self.queue_backlog_when_low(endpoint),
            }
        }
    }

    fn order_backlog_read(&mut self, endpoint: u32, from: EventId, room: usize) {
        let known = &mut self.directory[endpoint];
        debug_assert!(known.backlog_read.is_none(), "one read of an endpoint at a time");
        known.backlog_read = Some(Box::default());
        self.backlogs.reads += 1;
        let (tenant, id) = (known.tenant, known.id);
        self.effects.push_back(Effect::ReadBacklog {
            tenant: self.directory.tenant(tenant).id.clone(),
            endpoint: id,
            from,
            max: room.min(self.settings.backlog_read_max),
        });
    }

    /// How many fresh deliveries of an endpoint can be taken in, if it has little left.
    fn backlog_room(&self, endpoint: u32) -> Option<usize> {
        let (held, limit) =
            (self.directory[endpoint].held_fresh, self.limit(endpoint, Lane::Fresh));
        let low = held <= limit / 2 && self.fits(endpoint, Lane::Fresh);
        low.then(|| limit - held)
    }

    /// When to look on, where endpoints wait.
    pub(super) fn backlog_wakeup(&self) -> Option<posthaste_domain::Timestamp> {
        let backlogs = &self.backlogs;
        let waits = backlogs.unseen > 0 && backlogs.reads < self.settings.backlog_reads_max;
        waits.then(|| backlogs.pause.lasts(self.now).unwrap_or(self.now))
    }

    /// Takes in an answer of the store.
    pub(super) fn backlog_read(&mut self, endpoint: u32, owed: Vec<Owed>, exhausted: bool) {
        let Some(read) = self.directory[endpoint].backlog_read.take() else { return };
        self.backlogs.reads -= 1;
        let Some(mut next) = after_page(&owed, exhausted) else {
            return self.backlog_not_read(endpoint);
        };
        self.backlogs.pause.worked();
        if read.guard.is_spoilt() || self.draining {
            return self.queue_backlog_when_low(endpoint);
        }
        for mut owed in owed {
            let event = owed.key.event;
            // What is due again stands among the timers, whatever a backlog says.
            let fresh = owed.owed_as == OwedAs::Fresh;
            let stale = read.guard.is_stale(&event, owed.round);
            if !fresh || stale || !self.is_news(endpoint, &owed) {
                continue;
            }
            if !self.take_ready(endpoint, &mut owed) {
                next = earlier(next, Some(event));
                break;
            }
        }
        next = earlier(next, read.left_from);
        self.directory[endpoint].behind_from = next;
        if next.is_none() {
            self.backlogs.behind -= 1;
        }
        self.note_room(endpoint);
    }

    /// The store could not read for now.
    pub(super) fn backlog_read_failed(&mut self, endpoint: u32) {
        if self.directory[endpoint].backlog_read.take().is_some() {
            self.backlogs.reads -= 1;
            self.backlog_not_read(endpoint);
        }
    }

    fn backlog_not_read(&mut self, endpoint: u32) {
        self.counted.store_failures += 1;
        self.backlogs.pause.failed(self.now, self.settings.store_backoff);
        self.queue_backlog_when_low(endpoint);
    }

    /// Takes back an order that was not given out.
    pub(super) fn end_backlog_read(&mut self, endpoint: u32) {
        if self.directory[endpoint].backlog_read.take().is_some() {
            self.backlogs.reads -= 1;
            self.queue_backlog_when_low(endpoint);
        }
    }
}

/// Where to read on after a page: `Some(None)` where there is nothing more. None where the page
/// makes no sense, since asking on from it would never end.
fn after_page(owed: &[Owed], exhausted: bool) -> Option<Option<EventId>> {
    if exhausted {
        return Some(None);
    }
    let last = owed.last()?.key.event;
    Some(last.as_u128().checked_add(1).map(EventId::from_u128))
}

/// The earlier of two events, where there are two.
fn earlier(one: Option<EventId>, other: Option<EventId>) -> Option<EventId> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
