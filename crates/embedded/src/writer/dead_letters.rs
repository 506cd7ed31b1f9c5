//! Requeueing and purging what is dead.

use posthaste_domain::{DeliveryKey, EndpointId, EventId, TenantId, Timestamp};
use posthaste_ports::{PortError, Requeued};

use super::Writer;
use super::settling::Step;
use crate::batch::Batch;
use crate::codec::{EventRow, Standing};
use crate::keys;
use crate::tables::{ReadError, Table};

impl Writer {
    /// Begins a fresh round for each event that is still dead. A damaged row concerns one event:
    /// it counts as failed and holds up nobody.
    pub(super) fn requeue(
        &mut self,
        events: &[(TenantId, EventId)],
        batch: &mut Batch,
    ) -> Result<Requeued, PortError> {
        let mut done = Requeued::default();
        for (tenant, event) in events {
            match self.requeue_one(tenant, *event, batch) {
                Ok(true) => done.requeued += 1,
                Ok(false) => done.failed += 1,
                Err(error) if error.is_damage() => {
                    self.shared.damaged(&error, event);
                    done.failed += 1;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(done)
    }

    fn requeue_one(
        &mut self,
        tenant: &TenantId,
        event: EventId,
        batch: &mut Batch,
    ) -> Result<bool, ReadError> {
        let Some(row) = dead(tenant, event, batch)? else { return Ok(false) };
        self.begin_round(tenant, event, row, batch)?;
        Ok(true)
    }

    /// Makes each event that is still dead PURGED; says how many. Damaged rows stay as they are.
    pub(super) fn purge(
        &mut self,
        events: &[(TenantId, EventId)],
        at: Timestamp,
        batch: &mut Batch,
    ) -> Result<u64, PortError> {
        let mut purged = 0;
        let ends = at.plus_millis(self.shared.settings.dead_kept_ms).as_millis();
        for (tenant, event) in events {
            let row = match dead(tenant, *event, batch) {
                Ok(row) => row,
                Err(error) if error.is_damage() => {
                    self.shared.damaged(&error, event);
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let Some(row) = row else { continue };
            let (tenant, event) = (tenant.clone(), *event);
            let key = DeliveryKey { tenant, event, endpoint: EndpointId::DEFAULT };
            let after = EventRow { standing: Standing::Purged { ends }, ..row };
            self.take(&Step { key: &key, before: &row, after: &after, shard_key: 0 }, batch);
            batch.needs_sync = true;
            purged += 1;
        }
        Ok(purged)
    }
}

/// The row of an event that is dead at this point of the batch.
fn dead(tenant: &TenantId, event: EventId, batch: &Batch) -> Result<Option<EventRow>, ReadError> {
    let row: Option<EventRow> = batch.row(Table::Rows, &keys::event(tenant, event))?;
    Ok(row.filter(|row| matches!(row.standing, Standing::Dead { .. })))
}
