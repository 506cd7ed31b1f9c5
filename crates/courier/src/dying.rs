//! The way to the DLQ (PROTOCOL 13): the DLQ has the message before the row is marked.

use posthaste_domain::{DeliveryKey, RowWrite};
use posthaste_ports::{Job, JobChange, JobState, Outgoing, PortError, Written};
use posthaste_protocol::{Answer, Dying, DyingStep, after_die, dead_letter_body, dying_step};

use crate::courier::{Courier, row_key};
use crate::health::Part;
use crate::pause::Pause;

/// A delivery whose last failure is in the row.
#[derive(Clone, Debug)]
pub(crate) struct Dead {
    job: Job,
    attempts: u32,
    progress: Dying,
}

impl Dead {
    /// Such a delivery, if this job is one.
    pub(crate) fn new(job: Job) -> Option<Self> {
        let JobState::Dying { attempts, .. } = job.state else { return None };
        Some(Self { job, attempts, progress: Dying::Unsent })
    }

    fn message(&self) -> Option<Outgoing> {
        let JobState::Dying { cause, attempts, error } = &self.job.state else { return None };
        let key = row_key(&self.job.key);
        let body = dead_letter_body(&key, self.job.round, *cause, *attempts, error.as_deref());
        Some(Outgoing { body, group: key.tenant.as_str().into() })
    }
}

impl Courier {
    /// Brings the dying to their end, for ever.
    pub(crate) async fn bury(&self) {
        let mut pause = Pause::new(100, 5_000);
        loop {
            let mut batch = self.dying.take().await;
            let again = self.bury_batch(std::mem::take(&mut batch.items)).await;
            if again.is_empty() {
                pause.worked();
            } else {
                pause.failed(&self.chance).await;
                self.dying.push(again);
            }
            drop(batch);
        }
    }

    /// Takes a batch as far as it goes; gives back what is not at its end.
    async fn bury_batch(&self, batch: Vec<Dead>) -> Vec<Dead> {
        let to_send = |dead: &Dead| dying_step(dead.progress) == DyingStep::Send;
        let (unsent, mut sent): (Vec<Dead>, Vec<Dead>) = batch.into_iter().partition(to_send);
        let mut again = Vec::new();
        if !unsent.is_empty() {
            let messages = unsent.iter().filter_map(Dead::message).collect();
            let results = self.ports.dead.send(messages).await;
            debug_assert_eq!(results.len(), unsent.len());
            for (dead, result) in unsent.into_iter().zip(results) {
                self.health.note(Part::DeadLettering, &result);
                match result {
                    Ok(()) => sent.push(Dead { progress: Dying::Sent, ..dead }),
                    Err(_) => again.push(dead),
                }
            }
        }
        again.extend(self.mark(sent).await);
        again
    }

    async fn mark(&self, sent: Vec<Dead>) -> Vec<Dead> {
        if sent.is_empty() {
            return sent;
        }
        let now = self.now();
        let mark = |dead: &Dead| -> RowWrite {
            let (key, owner) = (row_key(&dead.job.key), self.owner(dead.job.epoch));
            Dying::mark(&key, dead.job.round, owner, dead.attempts, now)
        };
        let answers = self.ports.rows.write(sent.iter().map(mark).collect()).await;
        debug_assert_eq!(answers.len(), sent.len());
        let (mut again, mut removed) = (Vec::new(), Vec::new());
        for (dead, answer) in sent.into_iter().zip(answers) {
            self.note_write(&answer);
            let answer = match &answer {
                Ok(Written::Done) => Answer::Done,
                Ok(Written::Refused(row)) => Answer::Refused(row.as_ref()),
                Err(error @ PortError::Permanent(_)) => {
                    self.report_unreadable(&row_key(&dead.job.key), error);
                    removed.push((dead.job.key, dead.job.round));
                    continue;
                }
                Err(_) => {
                    again.push(dead);
                    continue;
                }
            };
            // In either case the job has come to its end.
            if let posthaste_protocol::Dead::Final(_) = after_die(dead.job.round, answer) {
                self.counters.dead_lettered.add(1);
            }
            removed.push((dead.job.key, dead.job.round));
        }
        self.forget_rounds(removed).await;
        again
    }

    /// Removes the jobs of these rounds. A later round's stays: where the answer to the last write
    /// was lost, somebody may have begun it and this instance taken it meanwhile.
    pub(crate) async fn forget_rounds(&self, ended: Vec<(DeliveryKey, u32)>) {
        self.forget(ended.into_iter().map(|(key, round)| JobChange::End(key, round)).collect())
            .await;
    }

    /// Removes jobs. Where that fails they are replayed at the next start, to no effect.
    pub(crate) async fn forget(&self, removed: Vec<JobChange>) {
        if removed.is_empty() {
            return;
        }
        let applied: Result<(), PortError> = self.ports.jobs.apply(removed).await;
        if let Err(error) = applied {
            tracing::warn!(%error, "jobs not removed; they are replayed at the next start");
        }
    }
}
