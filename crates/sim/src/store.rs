//! A durable store in plain code: what `Journal` promises, and checks on what it is asked to do.
//!
//! ```text
//! rows    every event, with its status, round, attempts and log
//! fresh   owed, no attempt of the round has failed     tenant | endpoint | event
//! timers  owed, due at a time                          due | tenant | event | endpoint
//! owed    both, as the engine is told of them          tenant | event | endpoint
//! ```
//!
//! A commit is atomic. Delivered marks are synced with the next commit only, so a power cut can
//! take back the last ones. The store refuses what does not follow from a row as it stands; where
//! an engine that keeps its promises could not have asked for that, it says so as a violation.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use bytes::Bytes;
use posthaste_domain::{
    DeadLetterCause, DeliveryKey, EndpointId, EventId, Owed, OwedAs, Resolution, RetrySchedule,
    Settlement, TenantId, TimerPosition, Timestamp, Verdict,
};

/// Where an event stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Owed(OwedAs),
    Delivered,
    Dead(DeadLetterCause),
    Purged,
}

/// An attempt in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Logged {
    pub(crate) round: u32,
    pub(crate) number: u32,
    pub(crate) at: Timestamp,
    pub(crate) ended: Timestamp,
    pub(crate) verdict: Verdict,
    /// When the next one is due, where one follows.
    pub(crate) due: Option<Timestamp>,
}

/// An event.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) status: Status,
    pub(crate) round: u32,
    pub(crate) attempts: u32,
    pub(crate) interrupted: u8,
    pub(crate) payload: Bytes,
    pub(crate) log: Vec<Logged>,
}

/// What came of a settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Settled,
    Superseded,
}

type Fresh = (TenantId, EndpointId, EventId);

/// The store.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) rows: BTreeMap<DeliveryKey, Row>,
    fresh: BTreeSet<Fresh>,
    timers: BTreeSet<TimerPosition>,
    owed: BTreeMap<DeliveryKey, Owed>,
    /// Delivered marks that are not synced, with the row before.
    unsynced: Vec<(DeliveryKey, Row)>,
    schedule: RetrySchedule,
    /// Of endpoints that have one of their own.
    schedules: BTreeMap<(TenantId, EndpointId), RetrySchedule>,
    /// Tenants that are deleted, and whose driver knows it.
    pub(crate) gone: BTreeSet<TenantId>,
}

impl Store {
    pub(crate) fn new(
        schedule: RetrySchedule,
        schedules: BTreeMap<(TenantId, EndpointId), RetrySchedule>,
    ) -> Self {
        Self {
            rows: BTreeMap::new(),
            fresh: BTreeSet::new(),
            timers: BTreeSet::new(),
            owed: BTreeMap::new(),
            unsynced: Vec::new(),
            schedule,
            schedules,
            gone: BTreeSet::new(),
        }
    }

    /// When an endpoint's deliveries are tried again.
    pub(crate) fn schedule(&self, key: &DeliveryKey) -> &RetrySchedule {
        let own = self.schedules.get(&(key.tenant.clone(), key.endpoint));
        own.unwrap_or(&self.schedule)
    }

    /// Stores a new event.
    pub(crate) fn accept(&mut self, key: DeliveryKey, payload: Bytes) {
        let status = Status::Owed(OwedAs::Fresh);
        let row = Row { status, round: 0, attempts: 0, interrupted: 0, payload, log: Vec::new() };
        self.rows.insert(key.clone(), row);
        self.enter(key);
    }

    /// Makes an outcome durable.
    ///
    /// # Errors
    /// What an engine that keeps its promises would not have asked for.
    pub(crate) fn settle(&mut self, settlement: &Settlement) -> Result<Answer, String> {
        let Some(row) = self.rows.get(&settlement.key) else { return Ok(Answer::Superseded) };
        if settlement.round > row.round {
            return Err(format!("settled round {} of {}", settlement.round, row.round));
        }
        if is_replay(row, settlement) {
            return Ok(Answer::Settled);
        }
        let Status::Owed(owed_as) = row.status else {
            let settled_twice = settlement.round == row.round && row.status != Status::Purged;
            return if settled_twice {
                Err(format!("settled again after {:?}: {settlement:?}", row.status))
            } else {
                Ok(Answer::Superseded)
            };
        };
        if settlement.round < row.round {
            return Ok(Answer::Superseded);
        }
        let attempts = row.attempts + u32::from(settlement.attempt.is_some());
        if (settlement.owed_as, settlement.attempts) != (owed_as, attempts) {
            return Err(format!("{settlement:?} does not follow from {row:?}"));
        }
        if settlement.interrupted != row.interrupted {
            return Err(format!("interrupted {} times, not as settled", row.interrupted));
        }
        let gone = self.gone.contains(&settlement.key.tenant);
        judge(self.schedule(&settlement.key), settlement, gone)?;
        self.apply(settlement);
        Ok(Answer::Settled)
    }

    fn apply(&mut self, settlement: &Settlement) {
        let key = &settlement.key;
        let before = self.rows[key].clone();
        self.leave(key);
        let due = match settlement.resolution {
            Resolution::Retry { due } => Some(due),
            Resolution::Delivered | Resolution::DeadLettered { .. } => None,
        };
        let row = self.rows.get_mut(key).expect("the caller has seen the row");
        row.attempts = settlement.attempts;
        row.status = match settlement.resolution {
            Resolution::Delivered => Status::Delivered,
            Resolution::Retry { due } => Status::Owed(OwedAs::Timer(due)),
            Resolution::DeadLettered { cause } => Status::Dead(cause),
        };
        if let Some(attempt) = &settlement.attempt {
            row.log.push(Logged {
                round: settlement.round,
                number: attempt.number,
                at: attempt.at,
                ended: attempt.at.plus_millis(u64::from(attempt.duration_ms)),
                verdict: attempt.verdict,
                due,
            });
        }
        if due.is_some() {
            self.enter(key.clone());
        }
        if settlement.resolution == Resolution::Delivered {
            self.unsynced.push((key.clone(), before));
        }
    }

    /// Puts an owed event into the indexes, as its row says.
    fn enter(&mut self, key: DeliveryKey) {
        let row = &self.rows[&key];
        let Status::Owed(owed_as) = row.status else { return };
        let (round, attempts, interrupted) = (row.round, row.attempts, row.interrupted);
        match owed_as {
            OwedAs::Fresh => {
                self.fresh.insert((key.tenant.clone(), key.endpoint, key.event));
            }
            OwedAs::Timer(due) => {
                self.timers.insert(TimerPosition { due, key: Some(key.clone()) });
            }
        }
        let owed = Owed { key: key.clone(), round, attempts, interrupted, owed_as, payload: None };
        self.owed.insert(key, owed);
    }

    /// Takes an owed event out of the indexes.
    fn leave(&mut self, key: &DeliveryKey) {
        self.owed.remove(key);
        match self.rows[key].status {
            Status::Owed(OwedAs::Fresh) => {
                self.fresh.remove(&(key.tenant.clone(), key.endpoint, key.event));
            }
            Status::Owed(OwedAs::Timer(due)) => {
                self.timers.remove(&TimerPosition { due, key: Some(key.clone()) });
            }
            Status::Delivered | Status::Dead(_) | Status::Purged => {}
        }
    }

    /// Everything so far survives a power cut.
    pub(crate) fn sync(&mut self) {
        self.unsynced.clear();
    }

    /// Takes back delivered marks that were not synced; says whose.
    pub(crate) fn cut_power(&mut self) -> Vec<(DeliveryKey, u32, u32)> {
        let mut lost = Vec::new();
        for (key, before) in std::mem::take(&mut self.unsynced).into_iter().rev() {
            lost.push((key.clone(), before.round, before.attempts + 1));
            self.rows.insert(key.clone(), before);
            self.enter(key);
        }
        lost
    }

    /// Forgets an event altogether, as no store may.
    pub(crate) fn lose(&mut self, key: &DeliveryKey) {
        self.leave(key);
        self.rows.remove(key);
    }

    /// Counts that a crash of ours cut this off, if it is still owed in that round.
    pub(crate) fn interrupt(&mut self, key: &DeliveryKey, round: u32) {
        if let Some(row) = self.rows.get_mut(key)
            && matches!(row.status, Status::Owed(_))
            && row.round == round
        {
            row.interrupted = row.interrupted.saturating_add(1);
            self.enter(key.clone());
        }
    }

    /// Starts a fresh round of a dead letter, or of one whose retry is not due yet.
    pub(crate) fn requeue(&mut self, key: &DeliveryKey, now: Timestamp) -> Option<Owed> {
        match self.rows.get(key)?.status {
            Status::Dead(_) => {}
            Status::Owed(OwedAs::Timer(due)) if due > now => {}
            Status::Owed(_) | Status::Delivered | Status::Purged => return None,
        }
        self.leave(key);
        let row = self.rows.get_mut(key)?;
        row.status = Status::Owed(OwedAs::Fresh);
        row.round += 1;
        row.attempts = 0;
        row.interrupted = 0;
        self.enter(key.clone());
        self.owed(key)
    }

    /// Purges a dead letter.
    pub(crate) fn purge(&mut self, key: &DeliveryKey) -> bool {
        let Some(row) = self.rows.get_mut(key) else { return false };
        let dead = matches!(row.status, Status::Dead(_));
        if dead {
            row.status = Status::Purged;
        }
        dead
    }

    /// An event as it is owed, if it is.
    pub(crate) fn owed(&self, key: &DeliveryKey) -> Option<Owed> {
        self.owed.get(key).cloned()
    }

    /// `Journal::backlog`.
    pub(crate) fn backlog(
        &self,
        (tenant, endpoint): &(TenantId, EndpointId),
        from: EventId,
        max: usize,
    ) -> (Vec<Owed>, bool) {
        let from = (tenant.clone(), *endpoint, from);
        let to = (tenant.clone(), *endpoint, EventId::MAX);
        let mut found = self.fresh.range(from..=to);
        let keys = found.by_ref().take(max);
        let owed = keys.filter_map(|fresh| self.owed(&key_of(fresh))).collect();
        (owed, found.next().is_none())
    }

    /// `Journal::timers`.
    pub(crate) fn timers(
        &self,
        from: TimerPosition,
        until: Timestamp,
        max: usize,
    ) -> (Vec<Owed>, Option<TimerPosition>) {
        let mut owed = Vec::new();
        let mut last = None;
        let mut found = self
            .timers
            .range((Bound::Excluded(from), Bound::Unbounded))
            .take_while(|place| place.due <= until);
        for place in found.by_ref().take(max) {
            owed.extend(place.key.as_ref().and_then(|key| self.owed(key)));
            last = Some(place.clone());
        }
        let next = found.next().and(last);
        (owed, next)
    }

    /// `Journal::owed_endpoints`.
    pub(crate) fn owed_endpoints(&self) -> Vec<(TenantId, EndpointId, EventId)> {
        let mut first: Vec<Fresh> = Vec::new();
        for fresh in &self.fresh {
            if first.last().is_none_or(|last| (&last.0, last.1) != (&fresh.0, fresh.1)) {
                first.push(fresh.clone());
            }
        }
        first
    }

    /// Everything that is owed.
    pub(crate) fn all_owed(&self) -> impl Iterator<Item = &Owed> {
        self.owed.values()
    }

    /// How much is owed.
    pub(crate) fn owed_count(&self) -> usize {
        self.owed.len()
    }
}

fn key_of((tenant, endpoint, event): &Fresh) -> DeliveryKey {
    DeliveryKey { tenant: tenant.clone(), event: *event, endpoint: *endpoint }
}

/// Whether this outcome has been applied before and its answer was lost.
fn is_replay(row: &Row, settlement: &Settlement) -> bool {
    let same_state = match settlement.resolution {
        Resolution::Delivered => row.status == Status::Delivered,
        Resolution::Retry { due } => row.status == Status::Owed(OwedAs::Timer(due)),
        Resolution::DeadLettered { cause } => row.status == Status::Dead(cause),
    };
    let same_attempt = match (&settlement.attempt, row.log.last()) {
        (Some(attempt), Some(last)) => {
            (attempt.at, attempt.number, settlement.round) == (last.at, last.number, last.round)
        }
        (None, _) => true,
        (Some(_), None) => false,
    };
    same_state && same_attempt && row.round == settlement.round
}

/// What an attempt must come to, as a reference says it.
fn judge(schedule: &RetrySchedule, settlement: &Settlement, gone: bool) -> Result<(), String> {
    let Some(attempt) = &settlement.attempt else {
        let lawful = match settlement.resolution {
            Resolution::DeadLettered { cause: DeadLetterCause::Poison } => {
                settlement.interrupted >= 3
            }
            Resolution::DeadLettered { cause: DeadLetterCause::TenantGone } => gone,
            _ => false,
        };
        return if lawful { Ok(()) } else { Err(format!("no attempt: {settlement:?}")) };
    };
    let number = settlement.attempts;
    let ended = attempt.at.plus_millis(u64::from(attempt.duration_ms));
    let dead = |cause| settlement.resolution == Resolution::DeadLettered { cause };
    let lawful = attempt.number == number
        && match attempt.verdict {
            Verdict::Delivered => settlement.resolution == Resolution::Delivered,
            Verdict::Gone => dead(DeadLetterCause::Gone),
            Verdict::NotCharged { .. } => false,
            Verdict::Failed { .. } if number >= schedule.attempts_max() => {
                dead(DeadLetterCause::AttemptsExhausted)
            }
            Verdict::Failed { retry_after_ms, .. } => {
                let (least, most) = window(schedule, number);
                let wanted = ended.plus_millis(retry_after_ms.unwrap_or(0));
                let earliest = ended.plus_millis(least).max(wanted);
                let latest = ended.plus_millis(most).max(wanted);
                matches!(settlement.resolution,
                    Resolution::Retry { due } if earliest <= due && due <= latest)
            }
        };
    if lawful { Ok(()) } else { Err(format!("unlawful outcome: {settlement:?}")) }
}

/// The shortest and the longest delay after this failure, in milliseconds; worked out here again,
/// so that the engine's own arithmetic is judged too.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "delays are at most 30 days, far below 2^53 ms"
)]
fn window(schedule: &RetrySchedule, failures: u32) -> (u64, u64) {
    let delays = schedule.delays_ms();
    let step = (failures as usize).clamp(1, delays.len()) - 1;
    let least = delays[step];
    (least, least + (least as f64 * schedule.jitter()) as u64)
}
