//! The DLQ: the rows that are dead, looked at, requeued and purged.

use async_trait::async_trait;
use posthaste_domain::{EventId, TenantId, Timestamp};

use super::row::{Row, Standing};
use super::{MemoryStore, State};
use crate::{DeadLetter, DeadLetters, PortError, Requeued, Scope};

#[async_trait]
impl DeadLetters for MemoryStore {
    async fn list(&self, scope: &Scope, limit: usize) -> Result<Vec<DeadLetter>, PortError> {
        Ok(self.lock().dead_letters(scope).take(limit).collect())
    }

    async fn requeue(
        &self,
        scope: &Scope,
        batch: usize,
        max: usize,
        _at: Timestamp,
    ) -> Result<Requeued, PortError> {
        let oldest: Vec<_> = self.lock().dead_letters(scope).take(max).map(id).collect();
        let mut done = Requeued::default();
        for step in oldest.chunks(batch.max(1)) {
            // One lock a step, as durable adapters have one commit a step: in between, others
            // may requeue or purge what this call has found.
            let mut state = self.lock();
            let mut requeued = Vec::new();
            for id in step {
                match state.events.get_mut(id).filter(|row| is_dead(row)) {
                    Some(row) => {
                        row.begin_round();
                        requeued.push(id.clone());
                        done.requeued += 1;
                    }
                    None => done.failed += 1,
                }
            }
            self.announce(&state, &requeued);
        }
        Ok(done)
    }

    async fn purge(&self, scope: &Scope, at: Timestamp) -> Result<u64, PortError> {
        let mut state = self.lock();
        let dead: Vec<_> = state.dead_letters(scope).map(id).collect();
        let mut purged = 0;
        for id in dead {
            if let Some(row) = state.events.get_mut(&id) {
                row.standing = Standing::Purged { at };
                purged += 1;
            }
        }
        Ok(purged)
    }
}

const fn is_dead(row: &Row) -> bool {
    matches!(row.standing, Standing::Dead { .. })
}

fn id(letter: DeadLetter) -> (TenantId, EventId) {
    (letter.tenant, letter.event)
}

impl State {
    /// The dead letters of a scope, by tenant and then by age.
    fn dead_letters(&self, scope: &Scope) -> impl Iterator<Item = DeadLetter> {
        let in_scope = |tenant: &TenantId| match scope {
            Scope::Tenant(own) => own == tenant,
            Scope::All => true,
        };
        self.events.iter().filter(move |((tenant, _), _)| in_scope(tenant)).filter_map(
            |((tenant, event), row)| {
                let Standing::Dead { cause, at } = row.standing else { return None };
                Some(DeadLetter {
                    tenant: tenant.clone(),
                    event: *event,
                    cause,
                    attempts: row.attempts,
                    round: row.round,
                    error: row.error(),
                    at,
                })
            },
        )
    }
}
