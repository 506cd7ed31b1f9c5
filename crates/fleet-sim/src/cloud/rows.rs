//! The table as one caller sees it.

use async_trait::async_trait;
use bytes::Bytes;
use posthaste_domain::{InstanceId, Lease, Row, RowChange, RowKey, RowWrite, Timestamp};
use posthaste_ports::{PortError, Rows, StoredEvent, Written};
use posthaste_protocol::Arriving;

use super::{Kind, Line, Luck, lost};
use crate::failpoint::{Site, Step};
use crate::judge::Done;
use crate::mutant::Mutant;
use crate::plan::FaultKind;
use crate::trace::Who;
use crate::world::{State, World};

/// How far a mutant's reads lie back.
const STALE_MS: u64 = 60_000;

/// The table at the end of a line.
#[derive(Clone)]
pub(crate) struct RowsPort {
    pub(crate) line: Line,
    pub(crate) name: Option<InstanceId>,
}

impl RowsPort {
    /// Puts a new row; false where there was one.
    pub(crate) async fn put(&self, key: &RowKey, payload: &Bytes) -> Result<bool, PortError> {
        self.line.at(Site::Before(Step::Put), Some(key)).await?;
        self.line.travel(Kind::Rows).await;
        let luck = self.line.luck(Kind::Rows);
        if let Luck::Fails(error) = luck {
            return Err(error);
        }
        let is_new = {
            let mut state = self.line.world.lock();
            let is_new = state.table.get(key).is_none();
            if is_new {
                state.table.insert(key.clone(), payload.clone());
                state.judge.opened(key, payload);
            } else {
                state.coverage.saw("row put again", 1);
            }
            is_new
        };
        self.line.at(Site::After(Step::Put), Some(key)).await?;
        self.line.world.note(self.line.who, "puts", Some(key), [u64::from(is_new), 0]);
        self.line.travel(Kind::Rows).await;
        if luck == Luck::LosesReply { Err(lost()) } else { Ok(is_new) }
    }

    fn write_one(&self, write: &RowWrite) -> Result<Written, PortError> {
        let world = &self.line.world;
        let luck = self.line.entry_luck(Kind::Rows);
        if let Luck::Fails(error) = luck {
            self.failed();
            // A mutant believes that what failed was done.
            let believed = world.has(Mutant::FailedWriteIsDone);
            return if believed { Ok(Written::Done) } else { Err(error) };
        }
        let written = world.write_row(self.line.who, write);
        if luck == Luck::LosesReply {
            self.failed();
            return Err(lost());
        }
        Ok(written)
    }

    fn begin_read(&self, keys: &[RowKey]) -> Vec<Option<Arriving>> {
        let mut state = self.line.world.lock();
        let mut begin = |key: &RowKey| match self.line.who {
            Who::Daemon(daemon) => state.begin_read(daemon, key),
            _ => None,
        };
        keys.iter().map(&mut begin).collect()
    }

    fn failed(&self) {
        if let Who::Daemon(daemon) = self.line.who {
            let ms = self.line.world.ms();
            self.line.world.lock().judge.write_failed(daemon, ms);
        }
    }

    /// A lease that ended long ago, to a mutant.
    fn spoil(&self, stored: &mut StoredEvent) {
        if self.line.world.has(Mutant::SweepIgnoresLease)
            && let Some(Lease { owner: Some(_), until, .. }) = &mut stored.row.lease
        {
            *until = Timestamp::from_millis(1);
        }
    }
}

#[async_trait]
impl Rows for RowsPort {
    async fn write(&self, writes: Vec<RowWrite>) -> Vec<Result<Written, PortError>> {
        let sent_ms = self.line.world.ms();
        self.line.travel(Kind::Rows).await;
        let steps = steps(&writes);
        for (step, key) in &steps {
            if let Err(error) = self.line.at(Site::Before(*step), Some(key)).await {
                self.failed();
                return writes.iter().map(|_| Err(error.clone())).collect();
            }
        }
        let luck = self.line.call_luck(Kind::Rows);
        if let Luck::Fails(error) = &luck {
            self.failed();
            return writes.iter().map(|_| Err(error.clone())).collect();
        }
        let mut answers: Vec<_> = writes.iter().map(|write| self.write_one(write)).collect();
        let dated = self.line.dated(sent_ms);
        if luck == Luck::LosesReply {
            self.failed();
            answers.fill(Err(lost()));
        }
        for (step, key) in &steps {
            if self.line.at(Site::After(*step), Some(key)).await.is_err() {
                self.failed();
                answers.fill(Err(lost()));
            }
        }
        self.line.come_back(&luck, dated).await;
        if let Who::Daemon(_) = self.line.who {
            for (write, answer) in writes.iter().zip(&answers) {
                self.line.world.lock().cover_write(write, answer);
            }
        }
        answers
    }

    async fn read(&self, keys: &[RowKey]) -> Result<Vec<Option<StoredEvent>>, PortError> {
        let begun = self.begin_read(keys);
        let sent_ms = self.line.world.ms();
        self.line.travel(Kind::Rows).await;
        for key in keys {
            self.line.at(Site::Before(Step::ReadRow), Some(key)).await?;
        }
        let luck = self.line.luck(Kind::Rows);
        if let Luck::Fails(error) = luck {
            return Err(error);
        }
        let world = &self.line.world;
        let at = world.has(Mutant::StaleReads).then(|| world.ms().saturating_sub(STALE_MS));
        let mut found: Vec<_> = {
            let state = world.lock();
            keys.iter().map(|key| state.table.stored(key, at)).collect()
        };
        found.iter_mut().flatten().for_each(|stored| self.spoil(stored));
        self.line.come_back(&luck, self.line.dated(sent_ms)).await;
        if luck == Luck::LosesReply {
            return Err(lost());
        }
        if let Some(me) = &self.name {
            for ((key, stored), arriving) in keys.iter().zip(&found).zip(&begun) {
                let row = stored.as_ref().map(|stored| &stored.row);
                let Some(arriving) = arriving else { continue };
                world.lock().cover_read((arriving, me), key, (row, world.now()));
            }
        }
        Ok(found)
    }

    async fn owed(
        &self,
        partition: u8,
        before: Timestamp,
        max: usize,
    ) -> Result<Vec<RowKey>, PortError> {
        let sent_ms = self.line.world.ms();
        self.line.travel(Kind::Rows).await;
        let luck = self.line.luck(Kind::Rows);
        if let Luck::Fails(error) = luck {
            return Err(error);
        }
        let world = &self.line.world;
        if world.has(Mutant::NoSweep) {
            return Ok(Vec::new());
        }
        let before = if world.has(Mutant::SweepIgnoresLease) { Timestamp::MAX } else { before };
        let ms = world.ms();
        let mut keys = world.lock().table.owed(ms, partition, before);
        keys.truncate(max);
        world.lock().note_stale(&keys, before);
        let dated = self.line.dated(sent_ms);
        if let Some(first) = keys.first() {
            self.line.at(Site::After(Step::ReadIndex), Some(first)).await?;
        }
        self.line.come_back(&luck, dated).await;
        if luck == Luck::LosesReply { Err(lost()) } else { Ok(keys) }
    }
}

/// The steps of the protocol that writes are part of.
fn steps(writes: &[RowWrite]) -> Vec<(Step, RowKey)> {
    let mut steps: Vec<(Step, RowKey)> = Vec::new();
    for write in writes {
        let step = match write.change {
            RowChange::Deliver { .. } | RowChange::Fail { .. } => Step::WriteOutcome,
            RowChange::Claim { .. } => Step::WriteClaim,
            RowChange::Die { .. } => Step::WriteMark,
            RowChange::Requeue { .. } => Step::WriteRequeue,
            RowChange::Extend { .. } | RowChange::Purge { .. } => continue,
        };
        if steps.iter().all(|(known, _)| *known != step) {
            steps.push((step, write.key.clone()));
        }
    }
    steps
}

impl State {
    /// What a sweep finds in the index and is not so any more.
    fn note_stale(&mut self, keys: &[RowKey], before: Timestamp) {
        let is_stale = |key: &&RowKey| {
            let lease = self.table.row(key).and_then(|row| row.lease.as_ref());
            lease.is_none_or(|lease| lease.until >= before)
        };
        if keys.iter().any(|key| is_stale(&key)) {
            self.coverage.hit(FaultKind::StaleIndex);
        }
    }
}

impl World {
    /// Does a row write, and has it judged.
    pub(crate) fn write_row(&self, who: Who, write: &RowWrite) -> Written {
        let ms = self.ms();
        let is_daemon = matches!(who, Who::Daemon(_));
        let mut guard = self.lock();
        let state = &mut *guard;
        let Some(before) = state.table.row(&write.key).cloned() else {
            return Written::Refused(None);
        };
        let (mut write, mut met) = (write.clone(), before.clone());
        self.spoil(&mut write, &mut met);
        state.judge.concluded(who, &write);
        let Ok(after) = write.apply(&met) else {
            state.trace.note(ms, who, "is refused", (Some(&write.key), summary(&write)));
            state.cover_row(&write, &before, false);
            return Written::Refused(Some(before));
        };
        state.trace.note(ms, who, "writes", (Some(&write.key), summary(&write)));
        state.cover_row(&write, &before, true);
        match write.change {
            RowChange::Claim { .. } if is_daemon => {
                state.counts.claims += 1;
                let late_ms = before.next_attempt_at.map(|due| self.now().millis_since(due));
                let longest = &mut state.counts.taken_over_ms;
                *longest = (*longest).max(late_ms.unwrap_or(0));
            }
            RowChange::Requeue { .. } => state.counts.requeues += 1,
            RowChange::Deliver { .. } => *state.per_second.entry(ms / 1_000).or_default() += 1,
            _ => {}
        }
        let done = Done { who, write: &write, before: &before, after: &after };
        let judged = state.judge.written(&done, (ms, &state.clocks));
        let lag = if ms < self.plan.calm_ms { self.plan.index_lag_ms } else { (0, 100) };
        let seen_ms = ms + state.chance.within(lag);
        state.table.change(&write.key, after, (ms, seen_ms));
        let judged = judged.and_then(|()| state.check_promise(&write.key));
        drop(guard);
        self.judge(judged);
        Written::Done
    }

    /// What mutants make of a write, and of the row that it meets.
    fn spoil(&self, write: &mut RowWrite, row: &mut Row) {
        match &mut write.change {
            RowChange::Claim { until_seen, .. } if self.has(Mutant::SweepIgnoresLease) => {
                *until_seen = row.lease.as_ref().map_or(*until_seen, |lease| lease.until);
            }
            RowChange::Fail { owner, epoch_seen, attempts_seen, .. }
                if self.has(Mutant::UnfencedFails) =>
            {
                *attempts_seen = row.attempts;
                if let Some(Lease { owner: Some(its), epoch, .. }) = &mut row.lease {
                    (*its, *epoch_seen) = (owner.clone(), *epoch);
                }
            }
            _ => {}
        }
    }
}

/// What tells a write from others, for the trace.
fn summary(write: &RowWrite) -> [u64; 2] {
    let kind = match write.change {
        RowChange::Deliver { attempts, .. } => 100 + u64::from(attempts),
        RowChange::Fail { attempts, cause, .. } => {
            200 + u64::from(attempts) + 50 * u64::from(cause.is_some())
        }
        RowChange::Claim { epoch_seen, .. } => 300 + epoch_seen,
        RowChange::Extend { epoch, .. } => 400 + epoch,
        RowChange::Die { .. } => 500,
        RowChange::Requeue { .. } => 600,
        RowChange::Purge { .. } => 700,
    };
    [u64::from(write.round), kind]
}
