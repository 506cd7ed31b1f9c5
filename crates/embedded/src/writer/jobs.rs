//! Jobs: each has a row by its delivery, and one entry in the index that finds it by what it is
//! for: as a timer, in the outbox, or as something to forget.
//!
//! Invariant: the key of an index entry is written once, ever ([`Place`]), so it is taken away
//! weakly. A job's own row comes and goes under one key, and is taken away with a mark.

use posthaste_domain::{DeliveryKey, Timestamp};
use posthaste_ports::{Job, JobChange, PortError};

use super::Writer;
use crate::batch::Batch;
use crate::codec::{self, JobRow, JobStateRow, Place, TimerRow};
use crate::keys;
use crate::register::CutOff;
use crate::tables::{ReadError, Table, foreign_key, key_of};

impl Writer {
    /// Makes changes, in order, all or none.
    pub(super) fn apply_jobs(
        &mut self,
        changes: Vec<JobChange>,
        batch: &mut Batch,
    ) -> Result<(), PortError> {
        // All is read before anything is written.
        let mut named = Vec::with_capacity(changes.len());
        for change in &changes {
            let key = match change {
                JobChange::Put(job) => &job.key,
                JobChange::End(key, _) | JobChange::Remove(key) => key,
            };
            let name = keys::job(key);
            let before = self.job_row(key, &name, batch)?;
            named.push((name, before));
        }
        for (change, (name, before)) in changes.into_iter().zip(named) {
            // An earlier one of these changes may have been of the same delivery.
            let before = match batch.written(Table::Jobs, &name) {
                Some(now) => now?,
                None => before,
            };
            let later = |round| before.as_ref().is_some_and(|before| before.round > round);
            match change {
                JobChange::Put(job) if later(job.round) => {}
                JobChange::End(_, round) if later(round) => {}
                JobChange::Put(job) => self.put_job(&name, *job, before.as_ref(), batch),
                JobChange::End(key, _) | JobChange::Remove(key) => {
                    self.remove_job(&key, &name, before.as_ref(), batch);
                }
            }
        }
        batch.needs_sync = true;
        Ok(())
    }

    /// Forgets at most `max` records of cut-off jobs that were noted before `before`.
    ///
    /// There are as many as attempts were in flight when a process crashed, and each is met here
    /// once: no watermark is worth its keeping.
    pub(super) fn forget_cut_off(
        &mut self,
        before: Timestamp,
        max: usize,
        batch: &mut Batch,
    ) -> Result<u64, PortError> {
        let table = Table::JobIndex;
        let tables = self.shared.tables.clone();
        let view = tables.view();
        let mut forgotten = 0;
        for guard in view.range(table, keys::cut_off_range(before)).take(max) {
            let entry = key_of(table, guard)?;
            let (_, key, place) = keys::parse_cut_off(&entry).ok_or_else(|| foreign_key(table))?;
            let name = keys::job(&key);
            let row = self.job_row(&key, &name, batch)?;
            match row.filter(|row| row.place == place) {
                Some(row) => {
                    self.remove_job(&key, &name, Some(&row), batch);
                    forgotten += 1;
                }
                // Of a row that was damaged.
                None => batch.remove(table, entry),
            }
        }
        batch.needs_sync = true;
        Ok(forgotten)
    }

    /// Counts what our own end cut off in the jobs; gives how many deliveries were counted. One
    /// without a job is held by the queue alone: a record keeps its count until its message comes
    /// again.
    pub(crate) fn interrupt_jobs(
        &mut self,
        cut_off: &[CutOff],
        now: Timestamp,
        batch: &mut Batch,
    ) -> Result<u64, ReadError> {
        let mut counted = 0;
        for cut in cut_off {
            let name = keys::job(&cut.key);
            let before = self.job_row(&cut.key, &name, batch)?;
            let Some(mut row) = counted_once_more(before.as_ref(), cut, now) else { continue };
            row.place = self.next_place(batch);
            if let Some(before) = &before {
                self.leave_job(&cut.key, before, batch);
            }
            self.enter_job(&cut.key, &name, &row, batch);
            batch.needs_sync = true;
            counted += 1;
        }
        Ok(counted)
    }

    /// A delivery's row as it will be after this commit. A damaged one is told, counts as none,
    /// and leaves nothing behind that would find it.
    fn job_row(
        &self,
        key: &DeliveryKey,
        name: &[u8],
        batch: &mut Batch,
    ) -> Result<Option<JobRow>, ReadError> {
        match batch.row(Table::Jobs, name) {
            Err(error) if error.is_damage() => {
                self.shared.damaged(&error, &key.event);
                self.unfind(key, batch)?;
                batch.remove(Table::Payloads, name);
                batch.remove(Table::Jobs, name);
                Ok(None)
            }
            read => read,
        }
    }

    /// Takes away every index entry of a delivery. Reads all of the index: only for a row that
    /// does not say any more where its entry is.
    fn unfind(&self, key: &DeliveryKey, batch: &mut Batch) -> Result<(), ReadError> {
        let table = Table::JobIndex;
        for guard in self.shared.tables.view().range(table, keys::job_index_range()) {
            let entry = key_of(table, guard)?;
            if keys::parse_indexed(&entry).as_ref() == Some(key) {
                batch.remove(table, entry);
            }
        }
        Ok(())
    }

    fn put_job(&mut self, name: &[u8], job: Job, before: Option<&JobRow>, batch: &mut Batch) {
        let row = JobRow::of(&job, self.next_place(batch));
        let kept = before.and_then(|before| before.payload);
        match &job.payload {
            // An event's payload does not change, so as a rule it is there already.
            Some(payload) if row.payload != kept => {
                batch.insert_bytes(Table::Payloads, name, codec::frame(payload));
            }
            None if kept.is_some() => batch.remove(Table::Payloads, name),
            _ => {}
        }
        if let Some(before) = before {
            self.leave_job(&job.key, before, batch);
        }
        self.enter_job(&job.key, name, &row, batch);
    }

    fn remove_job(
        &mut self,
        key: &DeliveryKey,
        name: &[u8],
        before: Option<&JobRow>,
        batch: &mut Batch,
    ) {
        let Some(before) = before else { return };
        self.leave_job(key, before, batch);
        if before.payload.is_some() {
            batch.remove(Table::Payloads, name);
        }
        batch.remove(Table::Jobs, name);
    }

    /// Takes away the entry by which a job was found.
    fn leave_job(&mut self, key: &DeliveryKey, row: &JobRow, batch: &mut Batch) {
        self.timers_removed |= matches!(row.state, JobStateRow::Waiting { .. });
        batch.remove_once(Table::JobIndex, index_key(key, row));
    }

    /// Writes a job's row and the entry by which it is found.
    fn enter_job(&mut self, key: &DeliveryKey, name: &[u8], row: &JobRow, batch: &mut Batch) {
        batch.insert(Table::Jobs, name, row);
        if let JobStateRow::Waiting { due, .. } = row.state {
            self.lower_timers_low(Timestamp::from_millis(due));
        }
        batch.insert_bytes(Table::JobIndex, index_key(key, row), index_value(row));
    }

    const fn next_place(&self, batch: &mut Batch) -> Place {
        Place { commit: self.last.number + 1, n: batch.next_place() }
    }
}

/// The entry by which a job is found.
pub(crate) fn index_key(key: &DeliveryKey, row: &JobRow) -> Vec<u8> {
    match row.state {
        JobStateRow::Unwritten(_) | JobStateRow::Dying { .. } => keys::outbox(key, row.place),
        JobStateRow::Waiting { due, .. } => {
            keys::job_timer(Timestamp::from_millis(due), key, row.place)
        }
        JobStateRow::CutOff { at } => keys::cut_off(Timestamp::from_millis(at), key, row.place),
    }
}

/// What its entry says of a job.
pub(crate) fn index_value(row: &JobRow) -> Vec<u8> {
    let JobRow { shard_key, round, interrupted, .. } = *row;
    match row.state {
        JobStateRow::Waiting { attempts, .. } => {
            codec::encode(&TimerRow { shard_key, round, attempts, interrupted })
        }
        _ => Vec::new(),
    }
}

/// The job as it is after one more interruption; none where the attempt is not one that it still
/// owes: then its slot in the register was stale.
fn counted_once_more(before: Option<&JobRow>, cut: &CutOff, now: Timestamp) -> Option<JobRow> {
    let at = now.as_millis();
    let Some(before) = before else { return Some(first_count(cut, at)) };
    let mut row = before.clone();
    let is_next = |attempts: u32| before.round == cut.round && attempts + 1 == cut.number;
    match &mut row.state {
        JobStateRow::Waiting { attempts, .. } if is_next(*attempts) => {}
        JobStateRow::Unwritten(outcome) if is_next(outcome.attempts) => {
            outcome.interrupted = outcome.interrupted.saturating_add(1);
        }
        JobStateRow::CutOff { at: noted } if before.round == cut.round => *noted = at,
        JobStateRow::CutOff { .. } if before.round < cut.round => {
            return Some(first_count(cut, at));
        }
        _ => return None,
    }
    row.interrupted = row.interrupted.saturating_add(1);
    Some(row)
}

fn first_count(cut: &CutOff, at: u64) -> JobRow {
    JobRow {
        round: cut.round,
        // Its message says it, when it comes again.
        shard_key: 0,
        interrupted: 1,
        epoch: 0,
        lease_until: 0,
        state: JobStateRow::CutOff { at },
        place: Place { commit: 0, n: 0 },
        payload: None,
    }
}
