//! Whether an attempt may start (PROTOCOL 12): only while nobody else can take the delivery before
//! it ends.

use std::time::Duration;

use posthaste_domain::{DeliveryKey, EventStatus, Lease, Row, Timestamp};
use posthaste_ports::{Job, JobChange, JobState, PortError, Receipt, Written};
use posthaste_protocol::{
    ATTEMPT_MS_MAX, Answer, Hold, Permit, SKEW_MS_MAX, Taken, after_claim, claim,
};

use crate::courier::{Courier, row_key};
use crate::dying::Dead;
use crate::health::Part;

/// So many answers of the table tell what time it is.
const ANSWERS: usize = 2;
/// So often a claim whose answer was lost is made again before the attempt is put off.
const CLAIM_TRIES: usize = 3;

/// Whether an attempt may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// It may.
    Granted,
    /// Not now: queue or table cannot be asked.
    Later,
    /// Never: the delivery is somebody else's, or there is nothing left to do.
    Withdrawn,
}

impl Courier {
    /// Whether the attempt of this number, from 1, of this round may start now. To be asked
    /// immediately before. An attempt that has been made is no more permitted, whoever asks again.
    pub async fn permit(&self, key: &DeliveryKey, round: u32, number: u32) -> Permission {
        // What the queue holds has had no attempt that counts.
        let is_first = number == 1;
        let held = self.held().get(key).filter(|held| is_first && held.round == round).cloned();
        let permission = match held {
            Some(held) => match permit(held.hidden_until, Some(self.now())) {
                Permit::Attempt => Permission::Granted,
                Permit::RenewFirst => self.hide_again(key, held.receipt).await,
            },
            None => self.permit_retry(key, round, number).await,
        };
        match permission {
            Permission::Granted => self.note_attempt(key, round),
            Permission::Withdrawn => self.counters.withdrawn.add(1),
            Permission::Later => {}
        }
        permission
    }

    fn note_attempt(&self, key: &DeliveryKey, round: u32) {
        let until = self.now().plus_millis(ATTEMPT_MS_MAX + SKEW_MS_MAX);
        self.held().attempted(key, round, until);
    }

    /// The message of a delivery was not hidden in time.
    async fn hide_again(&self, key: &DeliveryKey, receipt: Receipt) -> Permission {
        let visibility = self.settings.visibility_ms;
        let until = self.now().plus_millis(visibility);
        let mut hidden = self.ports.queue.hide(vec![receipt.clone()], visibility).await;
        match hidden.pop() {
            Some(Ok(())) => {
                self.held().hidden(key, &receipt, until);
                permit_renewed(until, Some(self.now()))
            }
            Some(Err(PortError::Permanent(_))) => {
                self.counters.receipts_lost.add(1);
                let is_held = {
                    let mut held = self.held();
                    held.lost(key, &receipt);
                    held.get(key).is_some()
                };
                if is_held {
                    // Received again here meanwhile: the newer receipt counts, and the engine must
                    // not forget what is held by it.
                    return Permission::Later;
                }
                self.room.notify_waiters();
                Permission::Withdrawn
            }
            Some(Err(_)) | None => Permission::Later,
        }
    }

    async fn permit_retry(&self, key: &DeliveryKey, round: u32, number: u32) -> Permission {
        let Ok(mut jobs) = self.ports.jobs.jobs(std::slice::from_ref(key)).await else {
            return Permission::Later;
        };
        let job = jobs.pop().flatten().filter(|job| job.round == round);
        let waiting = job.and_then(waiting);
        let is_next = |(_, _, attempts): &(Job, Timestamp, u32)| attempts + 1 == number;
        let Some((job, due, attempts)) = waiting.filter(is_next) else {
            return Permission::Withdrawn;
        };
        let Some(now) = self.ask_for_time(key).await else { return Permission::Later };
        match permit(job.lease_until, Some(now)) {
            Permit::Attempt => Permission::Granted,
            Permit::RenewFirst => self.claim_again(job, due, attempts).await,
        }
    }

    /// The time at the table; where it is not known, by reading there. Never by a claim of what may
    /// be ours yet: the end of the process could keep the claim from the disk, and leave there the
    /// lease before it, which lasts (seed 3642).
    async fn ask_for_time(&self, key: &DeliveryKey) -> Option<Timestamp> {
        for _ in 0..ANSWERS {
            if let Some(now) = self.lease_now() {
                return Some(now);
            }
            drop(self.ports.rows.read(&[row_key(key)]).await);
        }
        self.lease_now()
    }

    /// The lease of a job has run out, or nearly so, while its retry waited for its turn.
    async fn claim_again(&self, mut job: Job, due: Timestamp, attempts: u32) -> Permission {
        let owner = (job.epoch > 0).then(|| self.settings.instance.clone());
        // The row as this instance left it.
        let seen = Row {
            status: if attempts > 0 { EventStatus::Failed } else { EventStatus::Pending },
            round: job.round,
            attempts,
            interrupted: job.interrupted,
            lease: Some(Lease { owner, epoch: job.epoch, until: job.lease_until }),
            next_attempt_at: (due > Timestamp::ZERO).then_some(due),
            cause: None,
            expires_at: None,
        };
        let me = &self.settings.instance;
        let write = claim(&row_key(&job.key), &seen, me, self.claim_now());
        let Some(write) = write else { return Permission::Withdrawn };
        for _ in 0..CLAIM_TRIES {
            let answer = self.ports.rows.write(vec![write.clone()]).await.pop();
            let answer = match &answer {
                Some(Ok(Written::Done)) => Answer::Done,
                Some(Ok(Written::Refused(row))) => Answer::Refused(row.as_ref()),
                Some(Err(error @ PortError::Permanent(_))) => {
                    self.report_unreadable(&write.key, error);
                    self.forget_rounds(vec![(job.key, job.round)]).await;
                    return Permission::Withdrawn;
                }
                Some(Err(error)) => {
                    self.health.failed(Part::Writing, error);
                    continue;
                }
                None => break,
            };
            let change = match after_claim(&write, &seen, answer) {
                Taken::Attempt { epoch, until, .. } => {
                    self.counters.reclaimed.add(1);
                    job.epoch = epoch;
                    job.lease_until = until;
                    let put = vec![JobChange::Put(Box::new(job))];
                    return match self.ports.jobs.apply(put).await {
                        Ok(()) => permit_renewed(until, self.lease_now()),
                        Err(_) => Permission::Later,
                    };
                }
                // Not ours to attempt; what was ours is done.
                Taken::Die { epoch, until, cause, attempts } => {
                    job.state = JobState::Dying { cause, attempts, error: None };
                    (job.epoch, job.lease_until, job.payload) = (epoch, until, None);
                    self.dying.push(Dead::new(job.clone()));
                    JobChange::Put(Box::new(job))
                }
                Taken::Dropped(_) => {
                    self.forget_rounds(vec![(job.key, job.round)]).await;
                    return Permission::Withdrawn;
                }
            };
            self.forget(vec![change]).await;
            return Permission::Withdrawn;
        }
        Permission::Later
    }
}

/// A job that waits for its retry, with its due time and the attempts that it has had.
fn waiting(job: Job) -> Option<(Job, Timestamp, u32)> {
    match job.state {
        JobState::Waiting { due, attempts } => Some((job, due, attempts)),
        JobState::Unwritten(_) | JobState::Dying { .. } | JobState::CutOff { .. } => None,
    }
}

/// By one clock, so that it serves for both of the protocol's: the table's for a lease, our own for
/// a message. Where it is not known, nothing lasts.
fn permit(until: Timestamp, now: Option<Timestamp>) -> Permit {
    let hold = |now| Hold::by_lease(until, now, Duration::ZERO).permit(Duration::ZERO);
    now.map_or(Permit::RenewFirst, hold)
}

/// After a renewal until then: its answer may have been so long on its way, or this process have
/// stood still so long, that it is over again.
fn permit_renewed(until: Timestamp, now: Option<Timestamp>) -> Permission {
    match permit(until, now) {
        Permit::Attempt => Permission::Granted,
        Permit::RenewFirst => Permission::Later,
    }
}
