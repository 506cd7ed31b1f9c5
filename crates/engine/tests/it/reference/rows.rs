//! The store's rows beside the engine: by the product's own rules of what a row takes, whatever the
//! reference thinks of it.

use std::collections::BTreeMap;

use posthaste_domain::{
    DeliveryKey, EventStatus, InstanceId, Resolution, Row, RowChange, RowKey, RowWrite, Settlement,
    Timestamp,
};

use super::{Stands, Wrong};

/// Longer than any row is kept.
const KEPT_MS: u64 = 400 * 24 * 3_600_000;

pub(super) struct Rows {
    rows: BTreeMap<DeliveryKey, Row>,
    me: InstanceId,
    wrong: Wrong,
}

impl Rows {
    pub(super) fn new(wrong: Wrong) -> Self {
        let me = InstanceId::try_new("i-1").expect("a lawful name");
        Self { rows: BTreeMap::new(), me, wrong }
    }

    pub(super) fn post(&mut self, key: DeliveryKey) {
        self.rows.insert(key, Row::new());
    }

    /// Where a row stands, its round, and the attempts that its round has finished.
    pub(super) fn stands(&self, key: &DeliveryKey) -> (Stands, u32, u32) {
        let Some(row) = self.rows.get(key) else { return (Stands::Forgotten, 0, 0) };
        let stands = match row.status {
            EventStatus::Pending | EventStatus::Failed => Stands::Owed,
            EventStatus::Delivered => Stands::Delivered,
            EventStatus::Dlq => Stands::Dead(row.cause.expect("the dead died of something")),
            EventStatus::Purged => Stands::Purged,
        };
        (stands, row.round, row.attempts)
    }

    /// Writes an outcome, as its owner does.
    pub(super) fn settle(&mut self, settled: &Settlement) -> Result<(), String> {
        let row = self.rows.get(&settled.key).ok_or("an outcome of no row")?;
        let owned = row.lease.as_ref().filter(|lease| lease.owner.is_some());
        let epoch = owned.map_or(0, |lease| lease.epoch);
        let Settlement { attempts, interrupted, at, .. } = *settled;
        let fail = |due, cause| RowChange::Fail {
            attempts,
            attempts_seen: attempts.saturating_sub(u32::from(settled.attempt.is_some())),
            interrupted,
            owner: self.me.clone(),
            epoch_seen: epoch,
            next_attempt_at: due,
            until: due,
            cause,
            at,
            attempt: None,
        };
        let changes = match settled.resolution {
            Resolution::Delivered => vec![RowChange::Deliver { attempts, at, attempt: None }],
            Resolution::Retry { due } => vec![fail(due, None)],
            Resolution::DeadLettered { cause } => {
                let (owner, epoch) = (self.me.clone(), epoch.max(1));
                vec![fail(at, Some(cause)), RowChange::Die { owner, epoch, attempts, at }]
            }
        };
        for change in changes {
            self.write(&settled.key, settled.round, change)
                .ok_or_else(|| format!("the row refuses {settled:?}"))?;
        }
        Ok(())
    }

    /// Begins a fresh round, of what failed as well where its tenant asks; gives the round.
    pub(super) fn requeue(
        &mut self,
        key: &DeliveryKey,
        failed_too: bool,
        now: Timestamp,
    ) -> Option<u32> {
        let row = self.rows.get_mut(key)?;
        if self.wrong == Wrong::RequeuesThePurged && row.status == EventStatus::Purged {
            row.status = EventStatus::Dlq;
        }
        let (round, attempts) = (row.round, row.attempts);
        let round = self.write(key, round, RowChange::Requeue { failed_too, until: now })?;
        if self.wrong == Wrong::KeepsFailures {
            self.rows.get_mut(key)?.attempts = attempts;
        }
        Some(round)
    }

    /// Whether the row is purged now.
    pub(super) fn purge(&mut self, key: &DeliveryKey, at: Timestamp) -> bool {
        let Some(row) = self.rows.get(key) else { return false };
        self.write(key, row.round, RowChange::Purge { at }).is_some()
    }

    /// Forgets a row, if its time is over at last; says whether it did.
    pub(super) fn expire(&mut self, key: &DeliveryKey, now: Timestamp) -> bool {
        let Some(row) = self.rows.get(key) else { return false };
        let later = now.plus_millis(KEPT_MS);
        let is_over = row.expires_at.is_some_and(|end| end <= later);
        let forgets = is_over || self.wrong == Wrong::ForgetsTheOwed;
        forgets && self.rows.remove(key).is_some()
    }

    /// The row's round after a write that it takes.
    fn write(&mut self, key: &DeliveryKey, round: u32, change: RowChange) -> Option<u32> {
        let row_key = RowKey { tenant: key.tenant.clone(), event: key.event };
        let row = self.rows.get_mut(key)?;
        *row = RowWrite { key: row_key, round, change }.apply(row).ok()?;
        Some(row.round)
    }
}
