//! From outcomes to rows (PROTOCOL 8 to 11): into the outbox, into the row, then the message may
//! go, then out of the outbox.

use std::collections::BTreeSet;

use bytes::Bytes;
use posthaste_domain::{DeliveryKey, EventStatus, Resolution, RowWrite, Settlement, Timestamp};
use posthaste_ports::{Job, JobChange, JobState, PortError, Receipt, Settled, Written};
use posthaste_protocol::{self as protocol, Answer, Dropped, after_outcome, outcome_write};
use tokio::sync::oneshot;

use crate::courier::{Courier, job_payload};
use crate::dying::Dead;
use crate::pause::Pause;
use crate::stats::Counters;

/// How a settlement is answered.
type Reply = oneshot::Sender<Result<Settled, PortError>>;

/// An outcome on its way into its row.
#[derive(Debug)]
pub(crate) struct Outcome {
    settlement: Box<Settlement>,
    /// This instance's epoch in the row; 0 while it owns nothing of it.
    epoch: u64,
    shard_key: u32,
    /// For the retry, where there is one.
    payload: Option<Bytes>,
    /// Whether the outbox has it.
    recorded: bool,
    /// Who waits for it; nobody after a restart.
    reply: Option<Reply>,
}

impl Outcome {
    /// What a job of the outbox says.
    pub(crate) fn replayed(job: Job) -> Option<Self> {
        let JobState::Unwritten(settlement) = job.state else { return None };
        let (epoch, shard_key, payload) = (job.epoch, job.shard_key, job.payload);
        Some(Self { settlement, epoch, shard_key, payload, recorded: true, reply: None })
    }

    fn job(&self, epoch: u64, lease_until: Timestamp, state: JobState) -> Box<Job> {
        let payload = match state {
            JobState::Waiting { .. } => self.payload.clone(),
            JobState::Unwritten(_) if self.is_retry() => self.payload.clone(),
            _ => None,
        };
        Box::new(Job {
            key: self.settlement.key.clone(),
            round: self.settlement.round,
            shard_key: self.shard_key,
            interrupted: self.settlement.interrupted,
            epoch,
            lease_until,
            state,
            payload,
        })
    }

    const fn is_retry(&self) -> bool {
        matches!(self.settlement.resolution, Resolution::Retry { .. })
    }

    fn answer(&mut self, result: Result<Settled, PortError>) {
        if let Some(reply) = self.reply.take() {
            // Who does not wait any more has been told to stop.
            drop(reply.send(result));
        }
    }
}

/// What a batch of answers comes to.
#[derive(Default)]
struct Consequences {
    changes: Vec<JobChange>,
    receipts: Vec<Receipt>,
    dying: Vec<Dead>,
    /// Retries that the engine does not know of: their outcome is from before the start.
    waiting: Vec<Job>,
    done: Vec<(Outcome, Settled)>,
    again: Vec<Outcome>,
}

impl Courier {
    /// Makes outcomes durable in their rows; see [`posthaste_ports::Journal::settle`].
    pub(crate) async fn settle_all(
        &self,
        settlements: Vec<Settlement>,
    ) -> Result<Vec<Settled>, PortError> {
        let jobs = self.jobs_behind(&settlements).await?;
        let mut waiting = Vec::with_capacity(settlements.len());
        let mut outcomes = Vec::with_capacity(settlements.len());
        for (settlement, job) in settlements.into_iter().zip(jobs) {
            let (reply, answer) = oneshot::channel();
            waiting.push(answer);
            if job.as_ref().is_some_and(|job| job.round > settlement.round) {
                // The row would say the same. Recorded, it would take the later round's place.
                self.counters.outcomes_dropped.add(1);
                drop(reply.send(Ok(Settled::Superseded)));
                continue;
            }
            let job = job.filter(|job| job.round == settlement.round);
            outcomes.push(self.outcome(settlement, job, reply).await?);
        }
        self.outcomes.push(outcomes);
        let mut settled = Vec::with_capacity(waiting.len());
        let mut failed = None;
        // Every one is waited for: an outcome that was given back must not be on its way still.
        for answer in waiting {
            match answer.await {
                Ok(Ok(result)) => settled.push(result),
                Ok(Err(error)) => failed = Some(error),
                Err(_) => failed = Some(PortError::Transient("stopping".to_owned())),
            }
        }
        failed.map_or(Ok(settled), Err)
    }

    /// Makes an outcome durable that nobody waits for.
    pub(crate) async fn settle_unasked(&self, settlement: Settlement) {
        let settlements = [settlement];
        let jobs = self.jobs_behind(&settlements).await;
        let [settlement] = settlements;
        let job = jobs.ok().and_then(|mut jobs| jobs.pop().flatten());
        let job = job.filter(|job| job.round == settlement.round);
        let (reply, _) = oneshot::channel();
        match self.outcome(settlement, job, reply).await {
            Ok(outcome) => self.outcomes.push([outcome]),
            Err(error) => {
                tracing::warn!(%error, "not settled; its message or its lease brings it back");
            }
        }
    }

    /// The jobs of those deliveries whose message is not held.
    async fn jobs_behind(&self, settlements: &[Settlement]) -> Result<Vec<Option<Job>>, PortError> {
        let mut found = vec![None; settlements.len()];
        let unheld = self.unheld(settlements);
        if unheld.is_empty() {
            return Ok(found);
        }
        let keys: Vec<DeliveryKey> = unheld.iter().map(|at| settlements[*at].key.clone()).collect();
        for (at, job) in unheld.into_iter().zip(self.ports.jobs.jobs(&keys).await?) {
            found[at] = job;
        }
        Ok(found)
    }

    fn unheld(&self, settlements: &[Settlement]) -> Vec<usize> {
        let held = self.held();
        let is_held =
            |it: &Settlement| held.get(&it.key).is_some_and(|held| held.round == it.round);
        (0..settlements.len()).filter(|at| !is_held(&settlements[*at])).collect()
    }

    async fn outcome(
        &self,
        settlement: Settlement,
        job: Option<Job>,
        reply: Reply,
    ) -> Result<Outcome, PortError> {
        let held = {
            let mut table = self.held();
            table.settling(&settlement.key, settlement.round);
            table.get(&settlement.key).cloned()
        };
        let held = held.filter(|held| held.round == settlement.round);
        let (epoch, shard_key, payload) = match (held, job) {
            (Some(held), _) => (0, held.shard_key, held.payload),
            (None, Some(job)) => (job.epoch, job.shard_key, job.payload),
            // Its message was lost to somebody else while it was attempted. What came of the
            // attempt is a fact all the same.
            (None, None) => (0, self.shard_key(&settlement.key.tenant).await?, None),
        };
        let payload = job_payload(payload);
        let settlement = Box::new(settlement);
        let (recorded, reply) = (false, Some(reply));
        Ok(Outcome { settlement, epoch, shard_key, payload, recorded, reply })
    }

    /// Writes outcomes, for ever; several of these may run side by side.
    pub(crate) async fn write_outcomes(&self) {
        let mut pause = Pause::new(50, 2_000);
        loop {
            let mut batch = self.outcomes.take().await;
            let outcomes = std::mem::take(&mut batch.items);
            let again = self.write_batch(outcomes).await;
            if again.is_empty() {
                pause.worked();
            } else {
                pause.failed(&self.chance).await;
                self.outcomes.push(again);
            }
            drop(batch);
        }
    }

    /// Writes a batch; gives back what has to be written again.
    async fn write_batch(&self, outcomes: Vec<Outcome>) -> Vec<Outcome> {
        let (outcomes, mut again) = one_each(outcomes);
        let (outcomes, recorded_before) = self.record(outcomes).await;
        again.extend(recorded_before);
        if outcomes.is_empty() {
            return again;
        }
        let sent = (self.claim_now(), self.behind_ms());
        let writes: Vec<RowWrite> = outcomes
            .iter()
            .map(|outcome| outcome_write(&outcome.settlement, self.owner(outcome.epoch), sent))
            .collect();
        let answers = self.ports.rows.write(writes.clone()).await;
        debug_assert_eq!(answers.len(), outcomes.len());
        let mut all = Consequences::default();
        for ((outcome, write), answer) in outcomes.into_iter().zip(writes).zip(answers) {
            self.conclude(outcome, &write, answer, &mut all);
        }
        again.extend(self.carry_out(all).await);
        again
    }

    /// Puts outcomes into the outbox that are not in it yet (PROTOCOL 8). Gives those that may be
    /// written now, and those that must wait although the outbox has them.
    async fn record(&self, mut outcomes: Vec<Outcome>) -> (Vec<Outcome>, Vec<Outcome>) {
        let unrecorded = outcomes.iter().filter(|outcome| !outcome.recorded);
        let puts: Vec<JobChange> = unrecorded
            .map(|outcome| {
                let state = JobState::Unwritten(outcome.settlement.clone());
                JobChange::Put(outcome.job(outcome.epoch, Timestamp::ZERO, state))
            })
            .collect();
        if puts.is_empty() {
            return (outcomes, Vec::new());
        }
        if let Err(error) = self.ports.jobs.apply(puts).await {
            let (recorded, unrecorded): (Vec<Outcome>, Vec<Outcome>) =
                outcomes.into_iter().partition(|outcome| outcome.recorded);
            for mut outcome in unrecorded {
                // The engine keeps it, and gives it out again.
                outcome.answer(Err(error.clone()));
            }
            return (Vec::new(), recorded);
        }
        for outcome in &mut outcomes {
            outcome.recorded = true;
        }
        (outcomes, Vec::new())
    }

    /// What the table's answer to one outcome means.
    fn conclude(
        &self,
        outcome: Outcome,
        write: &RowWrite,
        answer: Result<Written, PortError>,
        all: &mut Consequences,
    ) {
        self.note_write(&answer);
        let settled = match &answer {
            Ok(Written::Done) => after_outcome(write, Answer::Done),
            Ok(Written::Refused(row)) => after_outcome(write, Answer::Refused(row.as_ref())),
            // It would be refused for ever. Where the message is held, it comes again and is put
            // aside.
            Err(error @ PortError::Permanent(_)) => {
                self.report_unreadable(&write.key, error);
                protocol::Settled::Dropped(Dropped::Unexplained)
            }
            Err(error) => {
                let is_throttled = matches!(error, PortError::Throttled { .. });
                let Counters { throttled, write_failures, .. } = &self.counters;
                if is_throttled { throttled } else { write_failures }.add(1);
                all.again.push(outcome);
                return;
            }
        };
        let key = outcome.settlement.key.clone();
        let mut result = Settled::Settled;
        let change = match settled {
            protocol::Settled::Final(status) => {
                if !is_as_wanted(outcome.settlement.resolution, status) {
                    result = Settled::Superseded;
                }
                JobChange::End(key, write.round)
            }
            protocol::Settled::Wait { epoch, until, due, attempts } => {
                let state = JobState::Waiting { due, attempts };
                let job = outcome.job(epoch, until, state);
                if outcome.reply.is_none() {
                    all.waiting.push((*job).clone());
                }
                JobChange::Put(job)
            }
            protocol::Settled::Die { epoch, until, cause, attempts } => {
                let error = outcome.settlement.attempt.as_ref();
                let error = error.and_then(|attempt| attempt.error.clone());
                let job = outcome.job(epoch, until, JobState::Dying { cause, attempts, error });
                all.dying.extend(Dead::new((*job).clone()));
                JobChange::Put(job)
            }
            protocol::Settled::Dropped(_) => {
                result = Settled::Superseded;
                JobChange::End(key, write.round)
            }
        };
        let counter = if result == Settled::Settled {
            &self.counters.outcomes_written
        } else {
            &self.counters.outcomes_dropped
        };
        counter.add(1);
        all.changes.push(change);
        let (key, round) = (&outcome.settlement.key, outcome.settlement.round);
        let held = self.held().remove(key, round);
        if settled.deletes_message() {
            all.receipts.extend(held.map(|held| held.receipt));
        }
        all.done.push((outcome, result));
    }

    /// Updates the jobs, lets messages go, and answers; gives back what has to be written again.
    async fn carry_out(&self, all: Consequences) -> Vec<Outcome> {
        let Consequences { changes, receipts, dying, waiting, done, again } = all;
        self.room.notify_waiters();
        if changes.is_empty() {
            return again;
        }
        let applied = self.ports.jobs.apply(changes).await;
        // The rows are written, whatever became of the jobs.
        self.release(receipts);
        self.dying.push(dying);
        self.announce(waiting);
        for (mut outcome, result) in done {
            // Where the jobs were not updated, the outbox repeats what has no effect any more.
            outcome.answer(applied.clone().map(|()| result));
        }
        again
    }
}

/// Whether a row's final status is what an outcome was to make of it.
const fn is_as_wanted(resolution: Resolution, status: EventStatus) -> bool {
    match resolution {
        Resolution::Delivered => matches!(status, EventStatus::Delivered),
        Resolution::DeadLettered { .. } => matches!(status, EventStatus::Dlq),
        Resolution::Retry { .. } => false,
    }
}

/// A batch names a row once: later outcomes of a delivery wait for the next batch.
fn one_each(outcomes: Vec<Outcome>) -> (Vec<Outcome>, Vec<Outcome>) {
    let mut seen = BTreeSet::new();
    outcomes.into_iter().partition(|outcome| seen.insert(outcome.settlement.key.clone()))
}
