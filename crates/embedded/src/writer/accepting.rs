//! Accepting events, and retrying by hand: what makes a delivery owed.

use posthaste_domain::{DeliveryKey, EndpointId, EventId, EventStatus, Owed, TenantId, Timestamp};
use posthaste_ports::{Acceptance, Arrival, Idempotency, NewEvent, PortError, Retried};

use super::Writer;
use super::settling::Step;
use crate::batch::Batch;
use crate::codec::{self, ClaimRow, EventRow, FreshRow, Standing};
use crate::keys;
use crate::tables::{ReadError, Table};

impl Writer {
    /// Stores events; what they are answered holds once the batch is durable.
    pub(super) fn accept(
        &mut self,
        events: Vec<NewEvent>,
        batch: &mut Batch,
    ) -> Result<Vec<Acceptance>, PortError> {
        if self.shared.is_full() {
            return Err(PortError::Full);
        }
        let mut answers = Vec::with_capacity(events.len());
        for event in events {
            answers.push(self.accept_one(event, batch)?);
        }
        Ok(answers)
    }

    fn accept_one(&mut self, event: NewEvent, batch: &mut Batch) -> Result<Acceptance, ReadError> {
        let NewEvent { tenant, id, payload, idempotency } = event;
        let Some(record) = self.shared.tenant(&tenant)? else {
            return Ok(Acceptance::UnknownTenant);
        };
        if let Some(claim) = idempotency
            && let Some(earlier) = self.claim(&tenant, id, claim, batch)?
        {
            return Ok(earlier);
        }
        let row = keys::event(&tenant, id);
        batch.insert_bytes(Table::Payloads, row.as_slice(), codec::frame(&payload));
        batch.insert(Table::Rows, row, &EventRow::accepted());
        batch.insert_key(Table::Marks, keys::mark(keys::MARK_ANY, &tenant, id));
        let fresh = FreshRow { round: 0, interrupted: 0 };
        batch.insert(Table::Fresh, keys::fresh(&tenant, EndpointId::DEFAULT, id), &fresh);
        self.young.note(id, &tenant);
        let key = DeliveryKey { tenant, event: id, endpoint: EndpointId::DEFAULT };
        let owed = Owed { payload: Some(payload), ..fresh.owed(key) };
        batch.arrivals.push(Arrival { shard_key: record.shard_key, owed });
        batch.needs_sync = true;
        batch.accepted += 1;
        self.next.accepted += 1;
        Ok(Acceptance::Accepted(id))
    }

    /// Claims an idempotency key for an event, or says what came before.
    fn claim(
        &mut self,
        tenant: &TenantId,
        event: EventId,
        claim: Idempotency,
        batch: &mut Batch,
    ) -> Result<Option<Acceptance>, ReadError> {
        let key = keys::claim(tenant, &claim.key);
        let now = event.created_at();
        let earlier: Option<ClaimRow> = batch.row(Table::Claims, &key)?;
        if let Some(earlier) = earlier.filter(|earlier| now.as_millis() < earlier.ends) {
            return Ok(Some(if earlier.body == claim.body {
                Acceptance::Replayed(EventId::from_u128(earlier.event))
            } else {
                Acceptance::Conflict
            }));
        }
        let ends = now.plus_millis(self.shared.settings.claim_kept_ms);
        let row = ClaimRow { body: claim.body, event: event.as_u128(), ends: ends.as_millis() };
        batch.insert_key(Table::Expiry, keys::expiry(ends, keys::EXPIRES_CLAIM, &key));
        batch.insert(Table::Claims, key, &row);
        self.lower_expiry_low(ends);
        Ok(None)
    }

    /// Begins a fresh round for an event that failed or is dead.
    pub(super) fn retry(
        &mut self,
        tenant: &TenantId,
        event: EventId,
        at: Timestamp,
        batch: &mut Batch,
    ) -> Result<Retried, PortError> {
        let row: Option<EventRow> = batch.row(Table::Rows, &keys::event(tenant, event))?;
        let Some(row) = row else { return Ok(Retried::NotFound) };
        match row.standing.status(at) {
            EventStatus::Failed | EventStatus::Dlq => {}
            other => return Ok(Retried::NotRetryable(other)),
        }
        self.begin_round(tenant, event, row, batch)?;
        Ok(Retried::Requeued)
    }

    /// Begins a fresh round: owed at once, nothing attempted, no end.
    pub(super) fn begin_round(
        &mut self,
        tenant: &TenantId,
        event: EventId,
        row: EventRow,
        batch: &mut Batch,
    ) -> Result<(), ReadError> {
        let key = DeliveryKey { tenant: tenant.clone(), event, endpoint: EndpointId::DEFAULT };
        let name = keys::event(tenant, event);
        let shard_key = self.shared.tenant(tenant)?.map_or(0, |record| record.shard_key);
        let payload = batch.tables().payload(&name)?;
        let begun = EventRow {
            standing: Standing::Fresh,
            round: row.round.saturating_add(1),
            attempts: 0,
            interrupted: 0,
            // Its fresh row's key is that of the first round.
            rewritten: true,
            ..row
        };
        self.take(&Step { key: &key, before: &row, after: &begun, shard_key }, batch);
        let fresh = FreshRow { round: begun.round, interrupted: 0 };
        batch.needs_sync = true;
        let owed = Owed { payload, ..fresh.owed(key) };
        batch.arrivals.push(Arrival { shard_key, owed });
        Ok(())
    }
}
