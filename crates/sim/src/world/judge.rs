//! The last judgement: every event against what a reference says about it.

use posthaste_domain::{DeadLetterCause, DeliveryKey, Verdict};

use super::{World, Wrong};
use crate::store::{Row, Status};

impl World<'_> {
    /// Every event that got its promise has ended as it must, and its log tells why.
    pub(super) fn judge_everything(&mut self) -> Result<(), Wrong> {
        self.counts.accepted = self.accepted.len() as u64;
        for (key, place) in &self.accepted {
            let Some(row) = self.store.rows.get(key) else { return Err(format!("lost: {key:?}")) };
            match row.status {
                Status::Owed(_) => return Err(format!("still owed: {key:?} {row:?}")),
                Status::Delivered => self.counts.delivered += 1,
                Status::Dead(_) => self.counts.dead_lettered += 1,
                Status::Purged => self.counts.purged += 1,
            }
            self.judge_log(row).map_err(|wrong| format!("{wrong}: {key:?} {row:?}"))?;
            self.judge_end(key, row).map_err(|wrong| format!("{wrong}: {key:?} {row:?}"))?;
            let behaviour = self.plan.places[*place].behaviour;
            let attempts_max = self.store.schedule(key).attempts_max();
            let poisoned = row.status == Status::Dead(DeadLetterCause::Poison);
            self.counts.poisoned += u64::from(poisoned);
            let delivered = row.status == Status::Delivered;
            let gone = self.plan.places[*place].gone_at.is_some();
            let must = behaviour.must_deliver(attempts_max).filter(|_| !poisoned && !gone);
            // A purged one had been dead; that it was delivered first would be seen in its log.
            if must.is_some_and(|must| must != delivered && row.status != Status::Purged) {
                return Err(format!("{behaviour:?} must not end like this: {key:?} {row:?}"));
            }
            self.judge_requests(key, row)?;
        }
        Ok(())
    }

    /// Attempts are numbered without gaps in each round, and none starts before its time.
    fn judge_log(&self, row: &Row) -> Result<(), Wrong> {
        let mut before: Option<&crate::store::Logged> = None;
        for logged in &row.log {
            let follows = before.filter(|before| before.round == logged.round);
            if logged.number != follows.map_or(1, |before| before.number + 1) {
                return Err("a gap in the log".into());
            }
            if before.is_some_and(|before| before.round > logged.round) {
                return Err("rounds out of order".into());
            }
            if let Some(before) = follows {
                let due = before.due.ok_or("an attempt after the last one")?;
                if logged.at < due || logged.at < before.ended {
                    return Err("an attempt before its time".into());
                }
            }
            before = Some(logged);
        }
        Ok(())
    }

    /// The status follows from the last round.
    fn judge_end(&self, key: &DeliveryKey, row: &Row) -> Result<(), Wrong> {
        let last = row.log.last().filter(|last| last.round == row.round);
        let verdict = last.map(|last| last.verdict);
        let exhausted = last.map_or(0, |last| last.number);
        let lawful = match row.status {
            Status::Delivered => verdict == Some(Verdict::Delivered),
            Status::Dead(DeadLetterCause::Gone) => verdict == Some(Verdict::Gone),
            Status::Dead(DeadLetterCause::AttemptsExhausted) => {
                matches!(verdict, Some(Verdict::Failed { .. }))
                    && exhausted == self.store.schedule(key).attempts_max()
            }
            Status::Dead(DeadLetterCause::Poison) => row.interrupted >= 3,
            Status::Dead(DeadLetterCause::TenantGone) => self.store.gone.contains(&key.tenant),
            Status::Purged => verdict != Some(Verdict::Delivered),
            Status::Owed(_) => false,
        };
        let once =
            row.log.iter().filter(|logged| logged.verdict == Verdict::Delivered).count() <= 1;
        if lawful && once { Ok(()) } else { Err("the end does not follow from the log".into()) }
    }

    /// What the log says was answered was asked.
    fn judge_requests(&self, key: &DeliveryKey, row: &Row) -> Result<(), Wrong> {
        let seen = self.seen.get(key);
        for logged in row.log.iter().filter(|logged| logged.verdict == Verdict::Delivered) {
            let name = (logged.round, logged.number);
            if !seen.is_some_and(|seen| seen.iter().any(|it| (it.0, it.1) == name)) {
                return Err(format!("delivered without a request: {key:?} {logged:?}"));
            }
        }
        Ok(())
    }
}
