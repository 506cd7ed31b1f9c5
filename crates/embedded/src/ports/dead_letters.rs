//! The DLQ: a view of the rows that are marked as dead.

use std::ops::Bound;

use async_trait::async_trait;
use posthaste_domain::{EventId, TenantId, Timestamp};
use posthaste_ports::{DeadLetter, DeadLetters, PortError, Requeued, Scope};

use crate::codec::{LogRow, Standing, cause_of};
use crate::keys;
use crate::ledger::Ledger;
use crate::shared::Shared;
use crate::tables::{ReadError, Table, foreign_key, key_of, unless_damaged};
use crate::writer::{MARK_DEAD, Operation};

/// Events that are purged in one durable step.
const PURGE_STEP: usize = 1000;
/// Events that are requeued in one durable step at most: their payloads are read for it.
const REQUEUE_STEP_MAX: usize = 1000;

#[async_trait]
impl DeadLetters for Ledger {
    async fn list(&self, scope: &Scope, limit: usize) -> Result<Vec<DeadLetter>, PortError> {
        let scope = scope.clone();
        self.read(move |shared| list(shared, &scope, limit)).await
    }

    async fn requeue(
        &self,
        scope: &Scope,
        batch: usize,
        max: usize,
        _at: Timestamp,
    ) -> Result<Requeued, PortError> {
        let mut done = Requeued::default();
        let mut reading = Reading::of(scope);
        let mut left = max;
        while left > 0 {
            let step = batch.clamp(1, REQUEUE_STEP_MAX).min(left);
            let Some(events) = self.next(&mut reading, step).await? else { break };
            left -= events.len();
            let step = self.ask(|done| Operation::Requeue { events, done }).await?;
            done.requeued += step.requeued;
            done.failed += step.failed;
        }
        Ok(done)
    }

    async fn purge(&self, scope: &Scope, at: Timestamp) -> Result<u64, PortError> {
        let mut purged = 0;
        let mut reading = Reading::of(scope);
        while let Some(events) = self.next(&mut reading, PURGE_STEP).await? {
            purged += self.ask(|done| Operation::Purge { events, at, done }).await?;
        }
        Ok(purged)
    }
}

/// How far a scope's dead letters have been read. A step is read when its turn comes, however many
/// there are; it never goes back, so that what dies again meanwhile does not make it endless.
struct Reading {
    from: Bound<Vec<u8>>,
    end: Vec<u8>,
}

impl Reading {
    fn of(scope: &Scope) -> Self {
        let prefix = prefix(scope);
        let mut end = prefix.clone();
        // No prefix of ours ends with the highest byte.
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        Self { from: Bound::Included(prefix), end }
    }
}

impl Ledger {
    /// The next dead letters, at most `max`; none at the end.
    async fn next(
        &self,
        reading: &mut Reading,
        max: usize,
    ) -> Result<Option<Vec<(TenantId, EventId)>>, PortError> {
        let (from, end) = (reading.from.clone(), reading.end.clone());
        let (events, last) = self
            .read(move |shared| {
                let view = shared.tables.view();
                let mut events = Vec::new();
                let mut last = None;
                for guard in view.range(Table::Marks, (from, Bound::Excluded(end))).take(max) {
                    let key = key_of(Table::Marks, guard)?;
                    match keys::parse_mark(&key) {
                        Some(event) => events.push(event),
                        None => shared.damaged(&foreign_key(Table::Marks), &"a dead letter"),
                    }
                    last = Some(key.to_vec());
                }
                Ok((events, last))
            })
            .await?;
        let Some(last) = last else { return Ok(None) };
        reading.from = Bound::Excluded(last);
        Ok(Some(events))
    }
}

fn prefix(scope: &Scope) -> Vec<u8> {
    match scope {
        Scope::Tenant(tenant) => keys::mark_prefix(MARK_DEAD, tenant),
        Scope::All => vec![MARK_DEAD],
    }
}

/// The oldest, tenant by tenant. A damaged row is left out: it must not hide the others.
fn list(shared: &Shared, scope: &Scope, limit: usize) -> Result<Vec<DeadLetter>, ReadError> {
    let view = shared.tables.view();
    let mut letters = Vec::with_capacity(limit.min(1000));
    for guard in view.prefix(Table::Marks, &prefix(scope)) {
        if letters.len() == limit {
            break;
        }
        let key = key_of(Table::Marks, guard)?;
        let Some((tenant, event)) = keys::parse_mark(&key) else {
            shared.damaged(&foreign_key(Table::Marks), &"a dead letter");
            continue;
        };
        let Some(row) = view.event_unless_damaged(&tenant, event, shared)? else { continue };
        let Standing::Dead { cause, at, .. } = row.standing else { continue };
        let cause = cause_of(cause).ok_or_else(|| foreign_key(Table::Rows));
        let Some(cause) = unless_damaged(cause, &event, shared)? else { continue };
        let line = unless_damaged(view.last_log(&tenant, event, &row), &event, shared)?;
        letters.push(DeadLetter {
            tenant,
            event,
            cause,
            attempts: row.attempts,
            round: row.round,
            error: line.flatten().and_then(LogRow::error),
            at: Timestamp::from_millis(at),
        });
    }
    Ok(letters)
}
