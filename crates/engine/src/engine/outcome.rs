//! What becomes of an attempt: settled, tried again, or not charged.
//!
//! Invariant: an outcome is never lost and never replaced by another attempt. From the moment it
//! is known until the store has it, the delivery stays in memory as settling, and what the store
//! could not take is given out again as it was.

use bytes::Bytes;
use posthaste_domain::{
    Attempt, DeadLetterCause, OwedAs, Resolution, Settlement, Timestamp, Verdict,
};

use super::Engine;
use super::admit::due_of;
use crate::table::{Ending, Place};
use crate::{Delivery, Effect};

/// The longest hold that an endpoint may ask for by `Retry-After`, in milliseconds (CONTRACT §3).
const RETRY_AFTER_MS_MAX: u64 = 3_600_000;

impl Engine {
    /// The payload is here: the attempt starts, or the delivery goes back to wait.
    pub(super) fn payload_loaded(&mut self, delivery: Delivery, payload: Option<Bytes>) {
        let Some(slot) = self.end_loading(delivery) else { return };
        self.load_pause.worked();
        let endpoint = self.table[slot].endpoint;
        let later = self.table[slot].requeued.is_some();
        if payload.is_some() && !later && self.may_go_on(endpoint) {
            self.set_payload(slot, payload);
            self.start_attempt(slot);
            return;
        }
        self.leave_flight(endpoint);
        if payload.is_none() {
            // The event is gone from the store, so nothing is owed.
            self.counted.vanished += 1;
            self.forget(slot);
        } else if !self.make_way(slot) {
            self.set_payload(slot, payload);
            self.make_ready_again(slot);
        }
        self.join_turns(endpoint);
    }

    /// The store could not read the payload for now: its endpoint waits a little.
    pub(super) fn payload_load_failed(&mut self, delivery: Delivery) {
        let Some(slot) = self.end_loading(delivery) else { return };
        self.counted.store_failures += 1;
        let until = self.load_pause.failed(self.now, self.settings.store_backoff);
        let endpoint = self.table[slot].endpoint;
        self.leave_flight(endpoint);
        self.set_hold(endpoint, until);
        if !self.make_way(slot) {
            self.make_ready_again(slot);
        }
    }

    fn end_loading(&mut self, delivery: Delivery) -> Option<u32> {
        let slot = self.table.resolve(delivery)?;
        matches!(self.table[slot].place, Place::Loading).then(|| {
            self.levels.loading -= 1;
            slot
        })
    }

    /// An attempt has ended: decides what it comes to.
    pub(super) fn attempted(&mut self, delivery: Delivery, attempt: Attempt) {
        let Some(slot) = self.table.resolve(delivery) else { return };
        if !matches!(self.table[slot].place, Place::InFlight) {
            return;
        }
        let endpoint = self.table[slot].endpoint;
        self.levels.in_flight -= 1;
        let (started, in_flight) = (self.table[slot].since, self.directory[endpoint].in_flight);
        self.leave_flight(endpoint);
        if let Verdict::NotCharged { .. } = attempt.verdict {
            self.not_charged(slot, endpoint);
            return;
        }
        self.note_no_local_fault(endpoint);
        self.note_outcome(endpoint, &attempt, started, in_flight);
        let resolution = self.resolve(slot, &attempt);
        self.settle(slot, resolution, Some(attempt));
        self.join_turns(endpoint);
    }

    /// An attempt was not made, since the delivery is another process's now.
    pub(super) fn withdrawn(&mut self, delivery: Delivery) {
        let Some(slot) = self.end_unmade(delivery) else { return };
        self.counted.withdrawn += 1;
        self.distrust_older_answers(slot);
        let endpoint = self.table[slot].endpoint;
        if !self.make_way(slot) {
            self.forget(slot);
        }
        self.join_turns(endpoint);
    }

    /// An attempt was not made, since its endpoint is paused: it waits for the pause to end, and
    /// says nothing of us.
    pub(super) fn held_back(&mut self, delivery: Delivery) {
        let Some(slot) = self.end_unmade(delivery) else { return };
        let endpoint = self.table[slot].endpoint;
        // Not known here, or ended since: it must not be tried at once, and again at once.
        if !self.directory[endpoint].paused {
            self.hold_after_local_fault(endpoint);
        }
        if !self.make_way(slot) {
            self.make_ready_again(slot);
        }
        if self.directory[endpoint].parked {
            self.park(endpoint);
        }
        self.join_turns(endpoint);
    }

    /// An attempt was not made, since there is nobody to make it for.
    pub(super) fn tenant_gone(&mut self, delivery: Delivery) {
        let Some(slot) = self.end_unmade(delivery) else { return };
        let endpoint = self.table[slot].endpoint;
        let cause = DeadLetterCause::TenantGone;
        self.settle(slot, Resolution::DeadLettered { cause }, None);
        self.join_turns(endpoint);
    }

    /// Takes an attempt that was not made out of flight.
    fn end_unmade(&mut self, delivery: Delivery) -> Option<u32> {
        let slot = self.table.resolve(delivery)?;
        matches!(self.table[slot].place, Place::InFlight).then(|| {
            self.counted.attempts -= 1;
            self.levels.in_flight -= 1;
            self.leave_flight(self.table[slot].endpoint);
            slot
        })
    }

    fn not_charged(&mut self, slot: u32, endpoint: u32) {
        self.counted.not_charged += 1;
        self.note_local_fault(endpoint);
        if !self.make_way(slot) {
            self.make_ready_again(slot);
        }
    }

    fn resolve(&mut self, slot: u32, attempt: &Attempt) -> Resolution {
        let retry_after_ms = match attempt.verdict {
            Verdict::Delivered => return Resolution::Delivered,
            Verdict::Gone => return Resolution::DeadLettered { cause: DeadLetterCause::Gone },
            Verdict::Failed { retry_after_ms, .. } => retry_after_ms,
            Verdict::NotCharged { .. } => None,
        };
        let ended = attempt.at.plus_millis(u64::from(attempt.duration_ms));
        let held_until = retry_after_ms.map_or(Timestamp::ZERO, |wanted| {
            let until = ended.plus_millis(wanted.min(RETRY_AFTER_MS_MAX));
            self.set_hold(self.table[slot].endpoint, until);
            until
        });
        let failures = self.table[slot].attempts.saturating_add(1);
        let limits = self.directory[self.table[slot].endpoint].limits.as_ref();
        let own = limits.and_then(|limits| limits.schedule.as_ref());
        let schedule = own.unwrap_or(&self.settings.schedule);
        if failures >= schedule.attempts_max() {
            return Resolution::DeadLettered { cause: DeadLetterCause::AttemptsExhausted };
        }
        let delay = schedule.delay_ms(failures, self.chance.draw());
        Resolution::Retry { due: ended.plus_millis(delay).max(held_until) }
    }

    /// Orders an outcome to be made durable. The delivery counts for its lane, in no place.
    pub(super) fn settle(&mut self, slot: u32, resolution: Resolution, attempt: Option<Attempt>) {
        self.set_payload(slot, None);
        let key = self.key(slot);
        let entry = &mut self.table[slot];
        entry.attempts = entry.attempts.saturating_add(u32::from(attempt.is_some()));
        let settlement = Box::new(Settlement {
            key,
            round: entry.round,
            attempts: entry.attempts,
            owed_as: entry.owed_as,
            interrupted: entry.interrupted,
            at: self.now,
            attempt,
            resolution,
        });
        if let Resolution::Retry { due } = resolution {
            entry.owed_as = OwedAs::Timer(due);
        }
        self.levels.settling += 1;
        self.give_out(slot, settlement);
    }

    fn give_out(&mut self, slot: u32, settlement: Box<Settlement>) {
        self.table[slot].place = Place::Settling(match settlement.resolution {
            Resolution::Delivered => Ending::Delivered,
            Resolution::DeadLettered { .. } => Ending::DeadLettered,
            Resolution::Retry { .. } => Ending::Again,
        });
        let delivery = self.table.handle(slot);
        self.effects.push_back(Effect::Settle { delivery, settlement });
    }

    /// An outcome is durable: only now is the delivery let go (I1).
    pub(super) fn settled(&mut self, delivery: Delivery) {
        let Some((slot, ending)) = self.end_settling(delivery) else { return };
        match ending {
            Ending::Delivered => self.counted.delivered += 1,
            Ending::DeadLettered => self.counted.dead_lettered += 1,
            Ending::Again => self.counted.retried += 1,
        }
        if self.make_way(slot) {
            return;
        }
        match ending {
            Ending::Again => self.wait_again(slot, due_of(&self.table[slot])),
            Ending::Delivered | Ending::DeadLettered => self.forget(slot),
        }
    }

    /// The store knows better than this outcome, so it owes nothing of this round.
    pub(super) fn superseded(&mut self, delivery: Delivery) {
        let Some((slot, _)) = self.end_settling(delivery) else { return };
        self.counted.superseded += 1;
        if !self.make_way(slot) {
            self.forget(slot);
        }
    }

    /// Ends a settlement that the store has dealt with.
    fn end_settling(&mut self, delivery: Delivery) -> Option<(u32, Ending)> {
        let slot = self.table.resolve(delivery)?;
        let Place::Settling(ending) = self.table[slot].place else { return None };
        self.settle_pause.worked();
        self.levels.settling -= 1;
        self.distrust_older_answers(slot);
        Some((slot, ending))
    }

    /// Answers that the store read before now must not bring this delivery back.
    fn distrust_older_answers(&mut self, slot: u32) {
        let entry = &self.table[slot];
        let (event, round) = (entry.event, entry.round);
        if let Some(read) = &mut self.directory[entry.endpoint].backlog_read {
            read.guard.note(event, round);
        }
        if self.timers.read.is_some() {
            let key = self.key(slot);
            if let Some(read) = &mut self.timers.read {
                read.guard.note(key, round);
            }
        }
    }

    /// The store could not take an outcome for now: it is kept, and given out again.
    pub(super) fn settle_failed(&mut self, delivery: Delivery, settlement: Box<Settlement>) {
        let Some(slot) = self.table.resolve(delivery) else { return };
        if !matches!(self.table[slot].place, Place::Settling(_)) {
            return;
        }
        self.counted.store_failures += 1;
        self.settle_pause.failed(self.now, self.settings.store_backoff);
        self.table[slot].place = Place::Unsettled(settlement);
        self.unsettled.push_back(delivery);
    }

    /// Gives out again what the store could not take, when its pause is over.
    pub(super) fn give_out_unsettled(&mut self) {
        if self.unsettled.is_empty() || self.settle_pause.lasts(self.now).is_some() {
            return;
        }
        while let Some(delivery) = self.unsettled.pop_front() {
            let Some(slot) = self.table.resolve(delivery) else { continue };
            let place = std::mem::replace(&mut self.table[slot].place, Place::InFlight);
            match place {
                Place::Unsettled(settlement) => self.give_out(slot, settlement),
                other => self.table[slot].place = other,
            }
        }
    }
}
