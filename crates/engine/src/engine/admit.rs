//! Taking deliveries into memory, moving them between places, and forgetting them.
//!
//! One pool holds what can be attempted, is being attempted or settled; another what waits for
//! its due time (see `timers`). Half of the pool is common: an endpoint may have no more of it than
//! it leaves free for others. The other half is for the first delivery of each lane. An endpoint on
//! a long hold keeps its first retry at most, and not even that where a quarter of the pool is
//! taken. So however many endpoints are stuck, and whatever they have to deliver, they shut nobody
//! out.
//! A quarter of an endpoint's part is for retries, so neither lane shuts out the other.

use bytes::Bytes;
use posthaste_domain::{DeadLetterCause, DeliveryKey, Owed, OwedAs, Resolution, Timestamp};

use super::Engine;
use crate::table::{Entry, Lane, Links, Place};

/// How often a delivery may be cut off by our own crashes before it is set aside (CONTRACT §4).
const INTERRUPTIONS_MAX: u8 = 3;

impl Engine {
    /// Takes in a delivery that has just become owed.
    pub(super) fn arrive(&mut self, mut owed: Owed) {
        let endpoint = self.directory.intern(&owed.key.tenant, owed.key.endpoint);
        if !self.is_news(endpoint, &owed) {
            return;
        }
        let taken = match owed.owed_as {
            _ if self.draining => false,
            OwedAs::Fresh => {
                !self.queues_behind(endpoint, &owed) && self.take_ready(endpoint, &mut owed)
            }
            OwedAs::Timer(due) if due > self.now => return self.put_off(endpoint, &mut owed, due),
            OwedAs::Timer(_) => self.take_ready(endpoint, &mut owed),
        };
        if !taken {
            self.leave_in_store(endpoint, owed.key, owed.round, owed.owed_as);
        }
    }

    /// Remembers where to find a delivery that did not fit, or fits no more.
    fn leave_in_store(&mut self, endpoint: u32, key: DeliveryKey, round: u32, owed_as: OwedAs) {
        self.counted.refused += 1;
        // An older answer may still show the round before this one, and it would look new.
        if let (Some(before), Some(read)) = (round.checked_sub(1), &mut self.timers.read) {
            read.guard.note(key.clone(), before);
        }
        match owed_as {
            OwedAs::Fresh => self.mark_behind(endpoint, key.event),
            OwedAs::Timer(due) => self.mark_overdue(endpoint, key, due),
        }
    }

    /// Whether this is a delivery, or a round of one, that the engine does not know. An idle one
    /// of an earlier round is forgotten for it; one that is busy takes it in later.
    pub(super) fn is_news(&mut self, endpoint: u32, owed: &Owed) -> bool {
        let Some(slot) = self.table.find(endpoint, owed.key.event) else { return true };
        let entry = &mut self.table[slot];
        if owed.round <= entry.latest_round() {
            return false;
        }
        match entry.place {
            Place::Waiting | Place::Ready => {
                self.forget(slot);
                true
            }
            Place::Loading | Place::InFlight | Place::Settling(_) | Place::Unsettled(_) => {
                // The payload is the event's, so it can be read again; it is not counted here.
                entry.requeued = Some(Box::new(Owed { payload: None, ..owed.clone() }));
                false
            }
        }
    }

    /// Whether an endpoint has room for one more in a lane.
    pub(super) fn fits(&self, endpoint: u32, lane: Lane) -> bool {
        let known = &self.directory[endpoint];
        self.held() < self.settings.held_max
            && known.held_fresh + known.held_retries < self.settings.held_per_endpoint_max
            && known.held(lane) < self.limit(endpoint, lane)
    }

    /// How many of a lane one endpoint may hold at the moment: at least one, unless it is parked.
    pub(super) fn limit(&self, endpoint: u32, lane: Lane) -> usize {
        if self.directory[endpoint].parked {
            return usize::from(self.is_tried(endpoint) || self.keeps_one_parked(lane));
        }
        let common = self.settings.held_max / 2;
        let free = common.saturating_sub(self.held());
        lane_part(self.settings.held_per_endpoint_max.min(free), lane)
    }

    /// Whether an endpoint that is parked may be attempted at the moment, to see how it is.
    fn is_tried(&self, endpoint: u32) -> bool {
        let known = &self.directory[endpoint];
        !known.paused && known.hold_until <= self.now
    }

    /// Whether an endpoint on a long hold keeps one of a lane. To find a fresh one again is one
    /// read of that endpoint; to find a retry takes a look through all that are overdue.
    fn keeps_one_parked(&self, lane: Lane) -> bool {
        lane == Lane::Retry && self.held() < self.settings.held_max / 4
    }

    /// Forgets what an endpoint has ready, but for its first retry at most, so that it takes
    /// nobody's room while it must not be attempted. It is read again when that is over.
    pub(super) fn park(&mut self, endpoint: u32) {
        self.directory[endpoint].parked = true;
        for lane in [Lane::Fresh, Lane::Retry] {
            let kept = usize::from(self.keeps_one_parked(lane));
            while self.directory[endpoint].lane_mut(lane).len() > kept {
                let last = self.directory[endpoint].lane_mut(lane).last();
                let slot = last.expect("a lane with one has a last one");
                let entry = &self.table[slot];
                let (key, round, owed_as) = (self.key(slot), entry.round, entry.owed_as);
                self.forget(slot);
                self.leave_in_store(endpoint, key, round, owed_as);
            }
        }
    }

    /// Takes in a delivery that could be attempted now, if there is room.
    pub(super) fn take_ready(&mut self, endpoint: u32, owed: &mut Owed) -> bool {
        let lane = Lane::of(owed.owed_as);
        if !self.fits(endpoint, lane) {
            return false;
        }
        let slot = self.hold(endpoint, owed);
        self.join_lane(slot, lane);
        self.make_ready(slot, self.now);
        true
    }

    /// Takes in a delivery that waits until its due time or later, if there is room.
    pub(super) fn take_waiting(
        &mut self,
        endpoint: u32,
        owed: &mut Owed,
        until: Timestamp,
    ) -> bool {
        if owed.interrupted >= INTERRUPTIONS_MAX && self.take_ready(endpoint, owed) {
            // It will not be attempted, so there was nothing to wait for.
            return true;
        }
        if !self.make_room_to_wait(until) {
            return false;
        }
        let slot = self.hold(endpoint, owed);
        self.enter_calendar(slot, until);
        true
    }

    fn hold(&mut self, endpoint: u32, owed: &mut Owed) -> u32 {
        let slot = self.table.insert(Entry {
            event: owed.key.event,
            endpoint,
            generation: 0,
            round: owed.round,
            attempts: owed.attempts,
            interrupted: owed.interrupted,
            lane: Lane::of(owed.owed_as),
            owed_as: owed.owed_as,
            since: Timestamp::ZERO,
            payload: None,
            requeued: None,
            place: Place::Waiting,
            links: Links::NONE,
        });
        let bytes = owed.payload.as_ref().map_or(0, Bytes::len);
        if self.levels.payload_bytes + bytes <= self.settings.payload_bytes_max {
            self.set_payload(slot, owed.payload.take());
        }
        slot
    }

    /// A delivery that is in no place and counts for its lane: its turn can come, or it is set
    /// aside because it was cut off too often.
    pub(super) fn make_ready(&mut self, slot: u32, ready_at: Timestamp) {
        self.table[slot].since = ready_at;
        if self.table[slot].interrupted >= INTERRUPTIONS_MAX {
            let cause = DeadLetterCause::Poison;
            self.settle(slot, Resolution::DeadLettered { cause }, None);
            return;
        }
        let (endpoint, lane) = self.become_ready(slot);
        self.directory[endpoint].lane_mut(lane).push_back(&mut self.table, slot);
        self.join_turns(endpoint);
    }

    /// Back to the front of its lane, after a turn that came to nothing.
    pub(super) fn make_ready_again(&mut self, slot: u32) {
        let (endpoint, lane) = self.become_ready(slot);
        self.directory[endpoint].lane_mut(lane).push_front(&mut self.table, slot);
        self.join_turns(endpoint);
    }

    fn become_ready(&mut self, slot: u32) -> (u32, Lane) {
        self.levels.ready += 1;
        let entry = &mut self.table[slot];
        entry.place = Place::Ready;
        (entry.endpoint, entry.lane)
    }

    /// A delivery that is in no place and counts for no lane waits until then.
    pub(super) fn enter_calendar(&mut self, slot: u32, until: Timestamp) {
        self.table[slot].place = Place::Waiting;
        self.table[slot].since = until;
        self.table[slot].lane = Lane::Retry;
        self.calendar.insert(&mut self.table, slot, until);
        self.directory[self.table[slot].endpoint].waiting += 1;
    }

    /// Makes a delivery count for a lane.
    pub(super) fn join_lane(&mut self, slot: u32, lane: Lane) {
        let entry = &mut self.table[slot];
        entry.lane = lane;
        *self.directory[entry.endpoint].held_mut(lane) += 1;
    }

    /// Makes a delivery count for no lane any more.
    pub(super) fn leave_lane(&mut self, slot: u32) {
        let entry = &self.table[slot];
        *self.directory[entry.endpoint].held_mut(entry.lane) -= 1;
        self.note_room(entry.endpoint);
    }

    /// A delivery that was busy makes way for a later round of it, if one has come in.
    pub(super) fn make_way(&mut self, slot: u32) -> bool {
        let Some(later) = self.table[slot].requeued.take() else { return false };
        self.forget(slot);
        self.arrive(*later);
        true
    }

    /// Forgets a delivery, wherever it is. The caller has seen to it that the store does not owe
    /// it any more, or that a mark says where to read it again (I2).
    pub(super) fn forget(&mut self, slot: u32) {
        let entry = &self.table[slot];
        let endpoint = entry.endpoint;
        match entry.place {
            Place::Waiting => {
                let until = entry.since;
                self.calendar.remove(&mut self.table, slot, until);
                self.directory[endpoint].waiting -= 1;
            }
            Place::Ready => {
                let lane = entry.lane;
                self.directory[endpoint].lane_mut(lane).remove(&mut self.table, slot);
                self.levels.ready -= 1;
                self.leave_lane(slot);
            }
            Place::Loading | Place::InFlight | Place::Settling(_) | Place::Unsettled(_) => {
                self.leave_lane(slot);
            }
        }
        self.drop_slot(slot);
    }

    /// Removes a delivery that is in no place and counts for no lane.
    pub(super) fn drop_slot(&mut self, slot: u32) {
        self.set_payload(slot, None);
        let entry = self.table.remove(slot);
        self.note_idle(entry.endpoint);
    }
}

/// The part of an endpoint's limit that is a lane's: three quarters are for fresh deliveries, one
/// for retries, and at least one each.
pub(super) fn lane_part(limit: usize, lane: Lane) -> usize {
    let retries = limit / 4;
    match lane {
        Lane::Fresh => (limit - retries).max(1),
        Lane::Retry => retries.max(1),
    }
}

/// The earliest time of a delivery's next attempt.
pub(crate) const fn due_of(entry: &Entry) -> Timestamp {
    match entry.owed_as {
        OwedAs::Timer(due) => due,
        OwedAs::Fresh => Timestamp::ZERO,
    }
}
