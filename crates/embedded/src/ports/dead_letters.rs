//! The DLQ: a view of the rows that are marked as dead.

use async_trait::async_trait;
use posthaste_domain::{EventId, TenantId, Timestamp};
use posthaste_ports::{DeadLetter, DeadLetters, PortError, Requeued, Scope};

use crate::codec::{LogRow, Standing, cause_of};
use crate::keys;
use crate::ledger::Ledger;
use crate::shared::Shared;
use crate::tables::{ReadError, Table, View, foreign_key, key_of};
use crate::writer::{MARK_DEAD, Operation};

/// Events that are purged in one durable step.
const PURGE_STEP: usize = 1000;

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
        for step in self.oldest(scope, max).await?.chunks(batch.max(1)) {
            let events = step.to_vec();
            let step = self.ask(|done| Operation::Requeue { events, done }).await?;
            done.requeued += step.requeued;
            done.failed += step.failed;
        }
        Ok(done)
    }

    async fn purge(&self, scope: &Scope, at: Timestamp) -> Result<u64, PortError> {
        let mut purged = 0;
        for step in self.oldest(scope, usize::MAX).await?.chunks(PURGE_STEP) {
            let events = step.to_vec();
            purged += self.ask(|done| Operation::Purge { events, at, done }).await?;
        }
        Ok(purged)
    }
}

impl Ledger {
    async fn oldest(
        &self,
        scope: &Scope,
        max: usize,
    ) -> Result<Vec<(TenantId, EventId)>, PortError> {
        let scope = scope.clone();
        self.read(move |shared| {
            let view = shared.tables.view();
            marked(&view, &scope).take(max).collect()
        })
        .await
    }
}

/// What is marked as dead in a scope, tenant by tenant, oldest first.
fn marked(
    view: &View<'_>,
    scope: &Scope,
) -> impl Iterator<Item = Result<(TenantId, EventId), ReadError>> {
    let prefix = match scope {
        Scope::Tenant(tenant) => keys::mark_prefix(MARK_DEAD, tenant),
        Scope::All => vec![MARK_DEAD],
    };
    view.prefix(Table::Marks, &prefix).map(|guard| {
        let key = key_of(Table::Marks, guard)?;
        keys::parse_mark(&key).ok_or_else(|| foreign_key(Table::Marks))
    })
}

fn list(shared: &Shared, scope: &Scope, limit: usize) -> Result<Vec<DeadLetter>, ReadError> {
    let view = shared.tables.view();
    let mut letters = Vec::with_capacity(limit.min(1000));
    for found in marked(&view, scope) {
        if letters.len() == limit {
            break;
        }
        let (tenant, event) = found?;
        let row = view.event(&tenant, event)?;
        let Some(row) = row else { continue };
        let Standing::Dead { cause, at, .. } = row.standing else { continue };
        let error = view.last_log(&tenant, event, &row)?.and_then(LogRow::error);
        letters.push(DeadLetter {
            tenant,
            event,
            cause: cause_of(cause).ok_or_else(|| foreign_key(Table::Rows))?,
            attempts: row.attempts,
            round: row.round,
            error,
            at: Timestamp::from_millis(at),
        });
    }
    Ok(letters)
}
