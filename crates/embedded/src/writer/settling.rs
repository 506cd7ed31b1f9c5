//! Outcomes: one atomic step from how a delivery was owed to what it is now.

use posthaste_domain::{DeliveryKey, EndpointId, Resolution, Settlement, TenantId, Timestamp};
use posthaste_ports::{PortError, Settled};

use super::Writer;
use crate::batch::Batch;
use crate::codec::{EventRow, FreshRow, LogRow, Standing, TimerRow, cause_number};
use crate::keys;
use crate::register::CutOff;
use crate::tables::{ReadError, Table};

/// An event that waits for a retry.
pub(crate) const MARK_FAILED: u8 = b'F';
/// A dead event.
pub(crate) const MARK_DEAD: u8 = b'D';
/// A purged event.
pub(crate) const MARK_PURGED: u8 = b'P';

/// The mark that an event has, which is how lists find it.
pub(crate) const fn mark_of(standing: Standing) -> Option<u8> {
    match standing {
        Standing::Fresh | Standing::Delivered { .. } => None,
        Standing::Timer { .. } => Some(MARK_FAILED),
        Standing::Dead { .. } => Some(MARK_DEAD),
        Standing::Purged { .. } => Some(MARK_PURGED),
    }
}

/// From where an event stands to where it stands next.
pub(super) struct Step<'a> {
    pub(super) key: &'a DeliveryKey,
    pub(super) before: &'a EventRow,
    pub(super) after: &'a EventRow,
    /// The tenant's, where the next standing is a timer.
    pub(super) shard_key: u32,
}

impl Writer {
    /// Takes in outcomes, in order.
    pub(super) fn settle(
        &mut self,
        settlements: Vec<Settlement>,
        batch: &mut Batch,
    ) -> Result<Vec<Settled>, PortError> {
        let mut answers = Vec::with_capacity(settlements.len());
        for settlement in settlements {
            let event = settlement.key.event;
            answers.push(match self.settle_one(settlement, batch) {
                Ok(settled) => settled,
                Err(error) if error.is_damage() => {
                    // Trying again would fail for ever and hold up what else is in the batch.
                    self.shared.damaged(&error, &event);
                    Settled::Superseded
                }
                Err(error) => return Err(error.into()),
            });
        }
        Ok(answers)
    }

    fn settle_one(
        &mut self,
        settlement: Settlement,
        batch: &mut Batch,
    ) -> Result<Settled, ReadError> {
        let Settlement { key, round, attempts, owed_as, interrupted, at, attempt, resolution } =
            settlement;
        let row = if self.young.take(key.event, &key.tenant) {
            Some(EventRow::accepted())
        } else {
            batch.row(Table::Rows, &keys::event(&key.tenant, key.event))?
        };
        let made = u32::from(attempt.is_some());
        let follows = |row: &EventRow| {
            key.endpoint == EndpointId::DEFAULT
                && row.round == round
                && row.standing.owed_as() == Some(owed_as)
                // A retry may be due at the very time of the one before.
                && row.attempts.saturating_add(made) == attempts
        };
        let Some(row) = row.filter(follows) else { return Ok(Settled::Superseded) };
        let settings = &self.shared.settings;
        let standing = match resolution {
            Resolution::Delivered => {
                Standing::Delivered { ends: at.plus_millis(settings.delivered_kept_ms).as_millis() }
            }
            Resolution::Retry { due } => Standing::Timer { due: due.as_millis() },
            Resolution::DeadLettered { cause } => Standing::Dead {
                cause: cause_number(cause),
                at: at.as_millis(),
                ends: at.plus_millis(settings.dead_kept_ms).as_millis(),
            },
        };
        let shard_key = self.shard_key(&key.tenant, standing)?;
        // All is read: from here on nothing fails, so the step is taken whole or not at all.
        let rewritten = row.rewritten || !is_later(standing, row.standing);
        let mut settled = EventRow { standing, attempts, interrupted, rewritten, ..row };
        if let Some(attempt) = &attempt {
            let line = LogRow::of(round, attempt);
            batch.insert(Table::Log, keys::log(&key.tenant, key.event, row.logged), &line);
            settled.logged = row.logged.saturating_add(1);
            settled.last_attempt_at = Some(attempt.at.as_millis());
        }
        let step = Step { key: &key, before: &row, after: &settled, shard_key };
        self.take(&step, batch);
        // A delivered mark rides with the next sync: losing it costs a duplicate, never a loss.
        batch.needs_sync |= resolution != Resolution::Delivered;
        Ok(Settled::Settled)
    }

    /// The shard key of a tenant, where the event's next standing needs one.
    fn shard_key(&self, tenant: &TenantId, next: Standing) -> Result<u32, ReadError> {
        match next {
            Standing::Timer { .. } => {
                Ok(self.shared.tenant(tenant)?.map_or(0, |record| record.shard_key))
            }
            _ => Ok(0),
        }
    }

    /// Takes a step, in all that finds the event.
    pub(super) fn take(&mut self, step: &Step<'_>, batch: &mut Batch) {
        self.leave(step, batch);
        self.enter(step, batch);
    }

    /// Takes an event out of everything that finds it by where it stood.
    fn leave(&mut self, step: &Step<'_>, batch: &mut Batch) {
        let Step { key, before: row, after, .. } = *step;
        let owes = match row.standing {
            Standing::Fresh => {
                Some((Table::Fresh, keys::fresh(&key.tenant, key.endpoint, key.event)))
            }
            Standing::Timer { due } => {
                self.timers_removed = true;
                Some((Table::Timers, keys::timer(Timestamp::from_millis(due), key)))
            }
            Standing::Delivered { .. } | Standing::Dead { .. } | Standing::Purged { .. } => None,
        };
        match owes {
            Some((table, owed)) if row.rewritten => batch.remove(table, owed),
            Some((table, owed)) => batch.remove_once(table, owed),
            None => {}
        }
        let mark = mark_of(row.standing);
        if let Some(mark) = mark.filter(|mark| mark_of(after.standing) != Some(*mark)) {
            batch.remove(Table::Marks, keys::mark(mark, &key.tenant, key.event));
        }
        if let Some(ends) = row.standing.ends() {
            let name = keys::event(&key.tenant, key.event);
            batch.remove(Table::Expiry, keys::expiry(ends, keys::EXPIRES_EVENT, &name));
        }
    }

    /// Writes an event's row, and puts it where it is found by where it stands now.
    fn enter(&mut self, step: &Step<'_>, batch: &mut Batch) {
        let Step { key, before, after: row, shard_key } = *step;
        batch.insert(Table::Rows, keys::event(&key.tenant, key.event), row);
        match row.standing {
            Standing::Fresh => {
                let fresh = FreshRow { round: row.round, interrupted: row.interrupted };
                let name = keys::fresh(&key.tenant, key.endpoint, key.event);
                batch.insert(Table::Fresh, name, &fresh);
            }
            Standing::Timer { due } => {
                let due = Timestamp::from_millis(due);
                let timer = TimerRow {
                    shard_key,
                    round: row.round,
                    attempts: row.attempts,
                    interrupted: row.interrupted,
                };
                self.lower_timers_low(due);
                batch.insert(Table::Timers, keys::timer(due, key), &timer);
            }
            Standing::Delivered { .. } | Standing::Dead { .. } | Standing::Purged { .. } => {}
        }
        let mark = mark_of(row.standing);
        if let Some(mark) = mark.filter(|mark| mark_of(before.standing) != Some(*mark)) {
            batch.insert_key(Table::Marks, keys::mark(mark, &key.tenant, key.event));
        }
        if let Some(ends) = row.standing.ends() {
            let name = keys::event(&key.tenant, key.event);
            batch.insert_key(Table::Expiry, keys::expiry(ends, keys::EXPIRES_EVENT, &name));
            self.lower_expiry_low(ends);
        }
    }

    /// Counts what our own end cut off: attempts that were in flight and never settled. Gives how
    /// many deliveries were counted. A damaged row concerns one event and is left out.
    pub(crate) fn interrupt(
        &mut self,
        cut_off: &[CutOff],
        batch: &mut Batch,
    ) -> Result<u64, ReadError> {
        let mut counted = 0;
        for cut_off in cut_off {
            match self.interrupt_one(cut_off, batch) {
                Ok(found) => counted += u64::from(found),
                Err(error) if error.is_damage() => {
                    self.shared.damaged(&error, &cut_off.key.event);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(counted)
    }

    fn interrupt_one(&mut self, cut_off: &CutOff, batch: &mut Batch) -> Result<bool, ReadError> {
        let CutOff { key, round, number } = cut_off;
        let name = keys::event(&key.tenant, key.event);
        let row: Option<EventRow> = batch.row(Table::Rows, &name)?;
        let unfinished = |row: &EventRow| {
            row.standing.owed_as().is_some()
                && row.round == *round
                && row.attempts.saturating_add(1) == *number
        };
        let Some(row) = row.filter(unfinished) else { return Ok(false) };
        let shard_key = self.shard_key(&key.tenant, row.standing)?;
        let interrupted = row.interrupted.saturating_add(1);
        let cut = EventRow { interrupted, rewritten: true, ..row };
        self.enter(&Step { key, before: &row, after: &cut, shard_key }, batch);
        batch.needs_sync = true;
        Ok(true)
    }
}

/// Whether a row that owes an event in its next standing has a key that none before it had: due
/// times that grow are all different.
const fn is_later(next: Standing, before: Standing) -> bool {
    match (next, before) {
        (Standing::Timer { due }, Standing::Timer { due: earlier }) => due > earlier,
        _ => true,
    }
}
