//! Retries that wait for their due time, and the window on the store's timers.
//!
//! The *horizon* is a place in the due order: every timer of the store up to it is in memory (or
//! left behind as overdue, see `overdue`). It is kept between half a window and a whole window
//! ahead of now. Where memory is full, the farthest are forgotten and the horizon goes back to
//! before them.
//!
//! A retry that comes more than a second too late was not there to fire: the process was down, or
//! its clock jumped. Those are *spread* over as long as they are late, a minute at most, so that
//! what fell due in an hour does not go out in a second.
//!
//! Invariant: an answer is only as new as the order for it. What is settled while a read is under
//! way is kept in memory as far as the answer can move the horizon, since it may be missing in
//! the answer; and what the answer still shows as owed although it was settled since is not taken.

use posthaste_domain::{DeliveryKey, Owed, OwedAs, TimerPosition, Timestamp};

use super::Engine;
use super::admit::due_of;
use crate::Effect;
use crate::guard::Guard;
use crate::pause::Pause;
use crate::table::Lane;

/// What is late by less was held up by the process at work, and goes at once, in milliseconds.
const OVERDUE_MS_MIN: u64 = 1_000;

/// One endpoint may have one in so many of those that wait in memory, where they are late.
const SPREAD_PART: usize = 8;

/// What is known of the store's timers.
#[derive(Debug)]
pub(crate) struct Timers {
    /// Every timer up to here is in memory.
    pub(crate) horizon: TimerPosition,
    /// Whether the last answer ended before the window did.
    cut: bool,
    /// The read that is under way, ahead or of what is overdue.
    pub(crate) read: Option<TimersRead>,
    /// After the store could not read.
    pub(crate) pause: Pause,
}

impl Default for Timers {
    fn default() -> Self {
        Self { horizon: TimerPosition::START, cut: false, read: None, pause: Pause::default() }
    }
}

/// A read of timers that is under way.
#[derive(Debug)]
pub(crate) struct TimersRead {
    /// What for.
    pub(crate) aim: Aim,
    /// The latest due time that was asked for.
    pub(crate) until: Timestamp,
    /// The earliest place that the horizon went back to since the read was ordered.
    pub(crate) back_to: Option<TimerPosition>,
    /// What the answer must not be believed about.
    pub(crate) guard: Guard<DeliveryKey>,
}

/// What timers are read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    /// To move the horizon.
    Ahead,
    /// To take in what was due and did not fit.
    Overdue,
}

impl Engine {
    /// Makes ready what is due; what does not fit is left in the store.
    pub(super) fn fire_timers(&mut self) {
        while let Some(slot) = self.calendar.pop_due(&mut self.table, self.now) {
            let entry = &self.table[slot];
            let (endpoint, due, until) = (entry.endpoint, due_of(entry), entry.since);
            self.directory[endpoint].waiting -= 1;
            if let Some(later) = (until == due).then(|| self.spread(due)).flatten() {
                self.counted.spread += 1;
                self.enter_calendar(slot, later);
                continue;
            }
            if self.fits(endpoint, Lane::Retry) {
                self.join_lane(slot, Lane::Retry);
                self.make_ready(slot, due);
            } else {
                self.counted.refused += 1;
                let key = self.key(slot);
                self.mark_overdue(endpoint, key, due);
                self.drop_slot(slot);
            }
        }
    }

    /// Until when a retry waits that comes too late.
    fn spread(&mut self, due: Timestamp) -> Option<Timestamp> {
        let late = self.now.millis_since(due);
        let most = late.min(self.settings.overdue_spread_ms);
        (late >= OVERDUE_MS_MIN && most > 0)
            .then(|| self.now.plus_millis(1 + self.chance.draw() % most))
    }

    /// A settled retry that is due again: stays in memory where the horizon covers it. It counts
    /// for its lane and is in no place.
    pub(super) fn wait_again(&mut self, slot: u32, due: Timestamp) {
        let endpoint = self.table[slot].endpoint;
        self.leave_lane(slot);
        if due <= self.now {
            if self.fits(endpoint, Lane::Retry) {
                self.join_lane(slot, Lane::Retry);
                return self.make_ready(slot, self.now);
            }
            self.counted.refused += 1;
            let key = self.key(slot);
            self.mark_overdue(endpoint, key, due);
        } else if due <= self.kept_until() {
            if self.make_room_to_wait(due) {
                return self.enter_calendar(slot, due);
            }
            self.move_horizon_back(before_millisecond(due));
        }
        self.drop_slot(slot);
    }

    /// An arrival that is not due yet: kept where the horizon covers it, else the store has it.
    pub(super) fn put_off(&mut self, endpoint: u32, owed: &mut Owed, due: Timestamp) {
        if due <= self.kept_until() && !self.take_waiting(endpoint, owed, due) {
            self.move_horizon_back(before_millisecond(due));
        }
        self.note_idle(endpoint);
    }

    /// The latest due time that a timer may have and not be found by the next read.
    fn kept_until(&self) -> Timestamp {
        let read = self.timers.read.as_ref().filter(|read| read.aim == Aim::Ahead);
        self.timers.horizon.due.max(read.map_or(Timestamp::ZERO, |read| read.until))
    }

    /// Makes room for one that waits until then by forgetting one that waits longer.
    pub(super) fn make_room_to_wait(&mut self, until: Timestamp) -> bool {
        while self.calendar.len() >= self.settings.timers_held_max {
            match self.calendar.last() {
                Some((last, slot)) if last > until => {
                    let entry = &self.table[slot];
                    let (endpoint, due) = (entry.endpoint, due_of(entry));
                    if due < last {
                        let key = self.key(slot);
                        self.mark_overdue(endpoint, key, due);
                    } else {
                        self.move_horizon_back(before_millisecond(last));
                    }
                    self.forget(slot);
                }
                _ => return false,
            }
        }
        true
    }

    fn move_horizon_back(&mut self, to: TimerPosition) {
        if let Some(read) = &mut self.timers.read
            && read.back_to.as_ref().is_none_or(|back| to < *back)
        {
            read.back_to = Some(to.clone());
        }
        if to < self.timers.horizon {
            self.timers.horizon = to;
        }
    }

    /// Orders the next read of timers, if one is wanted and there is room for it.
    pub(super) fn order_timers_read(&mut self) {
        if self.timers.read.is_some() || self.timers.pause.lasts(self.now).is_some() {
            return;
        }
        if self.wants_ahead() && self.has_room_ahead() {
            let until = self.now.plus_millis(self.settings.timers_window_ms);
            self.order_read(Aim::Ahead, self.timers.horizon.clone(), until);
        } else if let Some(from) = self.next_overdue_page() {
            self.order_read(Aim::Overdue, from, self.now);
        }
    }

    fn order_read(&mut self, aim: Aim, from: TimerPosition, until: Timestamp) {
        let read = TimersRead { aim, until, back_to: None, guard: Guard::default() };
        self.timers.read = Some(read);
        let max = self.settings.timers_read_max;
        self.effects.push_back(Effect::ReadTimers { from, until, max });
    }

    fn wants_ahead(&self) -> bool {
        let (due, window) = (self.timers.horizon.due, self.settings.timers_window_ms);
        let near = due <= self.now.plus_millis(window / 2);
        near || (self.timers.cut && due < self.now.plus_millis(window))
    }

    /// Whether a page fits. What waits beyond the horizon was kept for good measure and goes
    /// first; what waits before it will be due soon, and then there is room.
    fn has_room_ahead(&mut self) -> bool {
        let most = self.settings.timers_held_max - self.settings.timers_read_max;
        while self.calendar.len() > most {
            match self.calendar.last() {
                Some((_, slot)) if due_of(&self.table[slot]) > self.timers.horizon.due => {
                    self.forget(slot);
                }
                _ => return false,
            }
        }
        true
    }

    /// When the next read of timers is wanted.
    pub(super) fn timers_wakeup(&self) -> Option<Timestamp> {
        if self.timers.read.is_some() {
            return None;
        }
        let half = self.settings.timers_window_ms / 2;
        let due = self.timers.horizon.due.as_millis();
        let ahead = Timestamp::from_millis(due.saturating_sub(half));
        // One that is wanted already and was not ordered waits for room, which timers make; but
        // for the very first one, before anything has happened.
        let ahead = Some(ahead).filter(|at| *at > self.now || due == 0);
        let next = [ahead, self.overdue_wakeup()].into_iter().flatten().min();
        match self.timers.pause.lasts(self.now) {
            Some(end) => Some(next.map_or(end, |at| at.max(end))),
            None => next,
        }
    }

    /// Takes in an answer of the store.
    pub(super) fn timers_read(&mut self, owed: Vec<Owed>, next: Option<TimerPosition>) {
        let Some(read) = &mut self.timers.read else { return };
        let (aim, until, guard) = (read.aim, read.until, std::mem::take(&mut read.guard));
        if next.is_some() && owed.is_empty() {
            // A page that is cut before its first timer would be asked for for ever.
            return self.timers_read_failed();
        }
        self.timers.pause.worked();
        if guard.is_spoilt() || self.draining {
            self.timers.read = None;
            return;
        }
        match aim {
            Aim::Ahead => self.take_ahead(&guard, owed, next, until),
            Aim::Overdue => self.take_overdue(&guard, owed, next),
        }
        self.timers.read = None;
    }

    fn take_ahead(
        &mut self,
        guard: &Guard<DeliveryKey>,
        owed: Vec<Owed>,
        next: Option<TimerPosition>,
        until: Timestamp,
    ) {
        self.timers.cut = next.is_some();
        let mut horizon = next.unwrap_or_else(|| before_millisecond(until.plus_millis(1)));
        for owed in owed {
            let due = owed.due();
            if !guard.is_stale(&owed.key, owed.round) && !self.take_timer(owed) {
                self.timers.cut = true;
                horizon = horizon.min(before_millisecond(due));
                break;
            }
        }
        let back_to = self.timers.read.as_mut().and_then(|read| read.back_to.take());
        if let Some(back_to) = back_to {
            horizon = horizon.min(back_to);
        }
        self.timers.horizon = horizon;
    }

    /// Takes in one timer; says no where the horizon must stay before it.
    fn take_timer(&mut self, mut owed: Owed) -> bool {
        let endpoint = self.directory.intern(&owed.key.tenant, owed.key.endpoint);
        if !self.is_news(endpoint, &owed) {
            return true;
        }
        match owed.owed_as {
            OwedAs::Timer(due) if due > self.now => {
                let taken = self.take_waiting(endpoint, &mut owed, due);
                self.note_idle(endpoint);
                taken
            }
            OwedAs::Timer(due) => {
                let later = if self.may_spread(endpoint) { self.spread(due) } else { None };
                let spread =
                    later.is_some_and(|later| self.take_waiting(endpoint, &mut owed, later));
                if spread {
                    self.counted.spread += 1;
                } else {
                    self.arrive(owed);
                }
                true
            }
            OwedAs::Fresh => {
                self.arrive(owed);
                true
            }
        }
    }

    /// Whether what is late may wait in memory to be spread: not what its endpoint has no room for
    /// anyway, nor more than a part of what may wait. Otherwise it would fill that, and the retries
    /// of everybody else behind it in due order could not be read. Where it does not, the store
    /// keeps it.
    fn may_spread(&self, endpoint: u32) -> bool {
        let part = (self.settings.timers_held_max / SPREAD_PART).max(1);
        self.fits(endpoint, Lane::Retry) && self.directory[endpoint].waiting < part
    }

    /// The store could not read for now.
    pub(super) fn timers_read_failed(&mut self) {
        if self.timers.read.take().is_some() {
            self.counted.store_failures += 1;
            self.timers.pause.failed(self.now, self.settings.store_backoff);
        }
    }
}

/// The place before every timer that is due at this time.
pub(super) const fn before_millisecond(due: Timestamp) -> TimerPosition {
    TimerPosition { due, key: None }
}
