//! Requeueing and purging what is dead.

use posthaste_domain::{DeliveryKey, EndpointId, EventId, TenantId, Timestamp};
use posthaste_ports::{PortError, Requeued};

use super::Writer;
use crate::batch::Batch;
use crate::codec::{EventRow, Standing};
use crate::keys;
use crate::tables::{ReadError, Table};

impl Writer {
    /// Begins a fresh round for each event that is still dead.
    pub(super) fn requeue(
        &mut self,
        events: &[(TenantId, EventId)],
        batch: &mut Batch,
    ) -> Result<Requeued, PortError> {
        let mut done = Requeued::default();
        for (tenant, event) in events {
            match dead(tenant, *event, batch)? {
                Some(row) => {
                    self.begin_round(tenant, *event, row, batch)?;
                    done.requeued += 1;
                }
                None => done.failed += 1,
            }
        }
        Ok(done)
    }

    /// Makes each event that is still dead PURGED; says how many.
    pub(super) fn purge(
        &mut self,
        events: &[(TenantId, EventId)],
        at: Timestamp,
        batch: &mut Batch,
    ) -> Result<u64, PortError> {
        let mut purged = 0;
        for (tenant, event) in events {
            let Some(row) = dead(tenant, *event, batch)? else { continue };
            let ends = at.plus_millis(self.shared.settings.dead_kept_ms).as_millis();
            let standing = Standing::Purged { ends };
            let key = DeliveryKey {
                tenant: tenant.clone(),
                event: *event,
                endpoint: EndpointId::DEFAULT,
            };
            let mut after = EventRow { standing, ..row };
            self.leave(&key, &row, standing, batch);
            self.enter(&key, &row, &mut after, batch)?;
            batch.insert(Table::Rows, keys::event(tenant, *event), &after);
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
