//! What the judge thinks of row writes: P2, P3, P4 and P6.

use posthaste_domain::{DeadLetterCause, EventStatus, Row, RowChange, RowKey, RowWrite};

use super::{Judge, NOT_LEARNT};
use crate::clock::Clocks;
use crate::plan::START;
use crate::trace::Who;

/// A row write that was done.
#[derive(Debug)]
pub(crate) struct Done<'a> {
    pub(crate) who: Who,
    pub(crate) write: &'a RowWrite,
    pub(crate) before: &'a Row,
    pub(crate) after: &'a Row,
}

impl Judge {
    /// A daemon's outcome met its row, and was taken or refused.
    pub(crate) fn concluded(&mut self, who: Who, write: &RowWrite) {
        let Who::Daemon(daemon) = who else { return };
        let attempts = match &write.change {
            RowChange::Deliver { attempts, .. } => *attempts,
            RowChange::Fail { attempts, attempt: Some(_), .. } => *attempts,
            _ => return,
        };
        let place = (daemon, write.key.clone());
        let open = self.open.get(&place);
        if open.is_some_and(|it| it.round == write.round && it.number == attempts) {
            self.open.remove(&place);
        }
    }

    /// Looks at a write that was done.
    pub(crate) fn written(
        &mut self,
        done: &Done<'_>,
        (ms, clocks): (u64, &Clocks),
    ) -> Result<(), String> {
        let Done { who, write, before, after } = done;
        let key = &write.key;
        if before.status == EventStatus::Delivered {
            return Err(format!("P4: {key:?} was DELIVERED, and {:?} changed it", write.change));
        }
        self.check_owner(key, (before, after))?;
        match &write.change {
            RowChange::Deliver { .. } => {
                self.check_delivered(key, after)?;
                self.overtake(key, (before, *who), (ms, clocks));
                Ok(())
            }
            RowChange::Die { .. } => self.check_dead(key, before, ms),
            RowChange::Claim { .. } => self.check_claim(key, (before, *who), ms),
            _ => Ok(()),
        }
    }

    /// P6: the pair of round and epoch only grows, and has one owner.
    fn check_owner(&mut self, key: &RowKey, (before, after): (&Row, &Row)) -> Result<(), String> {
        let token = |row: &Row| (row.round, row.lease.as_ref().map_or(0, |lease| lease.epoch));
        let Some(case) = self.cases.get_mut(key) else { return Ok(()) };
        case.is_owned = after.lease.as_ref().is_some_and(|lease| lease.owner.is_some());
        if let Some(lease) = &after.lease {
            if token(after) < token(before) {
                return Err(format!("P6: {key:?} goes from {before:?} to {after:?}"));
            }
            if let Some(owner) = &lease.owner {
                let known = case.owners.entry(token(after)).or_insert_with(|| owner.clone());
                if known != owner {
                    return Err(format!("P6: {key:?} has two owners at {:?}", token(after)));
                }
            }
        } else if !after.is_final() {
            return Err(format!("{key:?} leaves the work index without an end: {after:?}"));
        }
        Ok(())
    }

    /// P2: no DELIVERED without a 2xx.
    fn check_delivered(&self, key: &RowKey, after: &Row) -> Result<(), String> {
        let round = self.cases.get(key).and_then(|case| case.rounds.get(&after.round));
        if round.is_some_and(|round| round.taken) {
            return Ok(());
        }
        Err(format!("P2: {key:?} is DELIVERED and no 2xx was heard"))
    }

    /// A daemon that does not own a row has delivered it: who owns it, by a lease that lasts,
    /// learns of that by its own next write.
    fn overtake(&mut self, key: &RowKey, (before, who): (&Row, Who), (ms, clocks): (u64, &Clocks)) {
        let Some(lease) = &before.lease else { return };
        let owner = self.names.iter().find(|(_, name)| Some(*name) == lease.owner.as_ref());
        let Some(owner) = owner.map(|(daemon, _)| *daemon) else { return };
        if who != Who::Daemon(owner) && clocks.lasts(owner, ms, lease.until) {
            self.excuse(key, NOT_LEARNT);
        }
    }

    /// P3: all attempts used up or a named cause, and a message in the DLQ.
    fn check_dead(&self, key: &RowKey, before: &Row, ms: u64) -> Result<(), String> {
        let Some(case) = self.cases.get(key) else { return Ok(()) };
        let round = case.rounds.get(&before.round);
        if round.is_none_or(|round| round.dead_letters == 0) {
            return Err(format!("P3: {key:?} is DLQ and its DLQ message is missing"));
        }
        let (behaviour, deleted_ms) = self.behaviours[key.tenant.as_str()];
        let is_right = match before.cause {
            None => false,
            Some(DeadLetterCause::AttemptsExhausted) => {
                let must = behaviour.must_deliver(self.attempts_max);
                before.attempts == self.attempts_max && must != Some(true)
            }
            Some(DeadLetterCause::Gone) => round.is_some_and(|round| round.gone),
            Some(DeadLetterCause::Poison) => case.cut_off >= 3,
            Some(DeadLetterCause::TenantGone) => deleted_ms.is_some_and(|at| at <= ms),
        };
        if is_right {
            return Ok(());
        }
        Err(format!("P3: {key:?} is DLQ without a reason: {before:?}, {behaviour:?}"))
    }

    /// Nobody takes what another one holds, whatever its own clock says: the table's counts. Who
    /// does it lawfully may still overlap.
    fn check_claim(
        &mut self,
        key: &RowKey,
        (before, claimer): (&Row, Who),
        ms: u64,
    ) -> Result<(), String> {
        let Some(lease) = &before.lease else { return Ok(()) };
        let owner = lease.owner.as_ref();
        let is_held = self.names.values().any(|name| Some(name) == owner);
        let renews = matches!(claimer, Who::Daemon(it) if self.names.get(&it) == owner);
        if is_held && !renews && START.plus_millis(ms) < lease.until {
            return Err(format!(
                "{key:?} is claimed by {claimer:?} while its lease lasts: {lease:?}"
            ));
        }
        self.overlap(key, ms);
        Ok(())
    }
}
