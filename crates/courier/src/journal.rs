//! The courier as the shards see it: a [`Journal`] whose fresh deliveries are messages and whose
//! timers are jobs.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use posthaste_domain::{
    DeadLetterCause, DeliveryKey, EndpointId, EventId, Resolution, RowKey, Settlement, TenantId,
    TimerPosition, Timestamp,
};
use posthaste_ports::{
    Backlog, Job, JobChange, JobState, Journal, OwedEndpoint, PortError, Receipt, Settled,
    ShardSpec, TimerPage,
};

use crate::courier::{Courier, row_key};

#[async_trait]
impl Journal for Courier {
    async fn settle(&self, settlements: Vec<Settlement>) -> Result<Vec<Settled>, PortError> {
        self.settle_all(settlements).await
    }

    async fn backlog(
        &self,
        tenant: &TenantId,
        endpoint: EndpointId,
        from: EventId,
        max: usize,
    ) -> Result<Backlog, PortError> {
        Ok(self.held().backlog(tenant, endpoint, from, max))
    }

    async fn timers(
        &self,
        shard: ShardSpec,
        from: TimerPosition,
        until: Timestamp,
        max: usize,
    ) -> Result<TimerPage, PortError> {
        self.ports.jobs.timers(shard, from, until, max).await
    }

    async fn payloads(&self, keys: &[DeliveryKey]) -> Result<Vec<Option<Bytes>>, PortError> {
        // Before the rows are read: what is taken on later is of a row that came later.
        let (mut payloads, rounds) = self.at_hand(keys).await?;
        let missing: Vec<usize> = (0..keys.len()).filter(|at| payloads[*at].is_none()).collect();
        if missing.is_empty() {
            return Ok(payloads);
        }
        let rows: Vec<RowKey> = missing.iter().map(|at| row_key(&keys[*at])).collect();
        self.counters.rows_read.add(rows.len());
        let read = self.ports.rows.read_each(&rows).await.map_err(passing)?;
        for (at, stored) in missing.into_iter().zip(read) {
            let stored = match stored {
                Ok(stored) => stored,
                // Nothing can be written to such a row. Its message comes again and is put aside.
                Err(error) => {
                    self.report_unreadable(&row_key(&keys[at]), &error);
                    drop(self.withdraw(&keys[at], rounds[at]).await);
                    continue;
                }
            };
            let is_gone = stored.is_none();
            payloads[at] = stored.and_then(|stored| stored.payload);
            if is_gone {
                self.let_go(&keys[at], rounds[at]).await;
            } else if payloads[at].is_none() {
                self.give_up(&keys[at]).await;
            }
        }
        Ok(payloads)
    }

    async fn owed_endpoints(&self, shard: ShardSpec) -> Result<Vec<OwedEndpoint>, PortError> {
        let mut first: BTreeMap<(TenantId, EndpointId), EventId> = BTreeMap::new();
        for (key, held) in self.held().iter() {
            if shard.owns(held.shard_key) {
                first.entry((key.tenant.clone(), key.endpoint)).or_insert(key.event);
            }
        }
        let owed = first.into_iter().map(|((tenant, endpoint), first)| OwedEndpoint {
            tenant,
            endpoint,
            first,
        });
        Ok(owed.collect())
    }
}

impl Courier {
    /// Payloads that need no read of a row, and the last round that is known here of each delivery
    /// without one.
    async fn at_hand(
        &self,
        keys: &[DeliveryKey],
    ) -> Result<(Vec<Option<Bytes>>, Vec<Option<u32>>), PortError> {
        let (mut payloads, mut rounds): (Vec<Option<Bytes>>, Vec<Option<u32>>) = {
            let table = self.held();
            let at_hand = |key| {
                let held = table.get(key);
                (held.and_then(|held| held.payload.clone()), held.map(|held| held.round))
            };
            keys.iter().map(at_hand).unzip()
        };
        if payloads.iter().any(Option::is_none) {
            let jobs = self.ports.jobs.jobs(keys).await?;
            for ((payload, round), job) in payloads.iter_mut().zip(&mut rounds).zip(jobs) {
                *round = (*round).max(job.as_ref().map(|job| job.round));
                *payload = payload.take().or_else(|| job.and_then(|job| job.payload));
            }
        }
        Ok((payloads, rounds))
    }

    /// The event is gone from the table, so nothing is owed.
    async fn let_go(&self, key: &DeliveryKey, round: Option<u32>) {
        let receipt = self.withdraw(key, round).await;
        self.release(receipt);
    }

    /// Forgets a delivery here up to this round; gives the receipt of its message, if that is held.
    async fn withdraw(&self, key: &DeliveryKey, round: Option<u32>) -> Option<Receipt> {
        // Where nothing is known of it, there is nothing to forget.
        let until = round?;
        let held = {
            let mut table = self.held();
            let round = table.get(key).map(|held| held.round).filter(|round| *round <= until);
            round.and_then(|round| table.remove(key, round))
        };
        self.room.notify_waiters();
        self.forget(vec![JobChange::End(key.clone(), until)]).await;
        held.map(|held| held.receipt)
    }

    /// The row is there, and what it was to deliver is not: it can only be dead-lettered. The
    /// engine forgets it as it forgets what is gone.
    async fn give_up(&self, key: &DeliveryKey) {
        let jobs = self.ports.jobs.jobs(std::slice::from_ref(key)).await;
        let job: Option<Job> = jobs.ok().and_then(|mut jobs| jobs.pop().flatten());
        let held = self.held().get(key).map(|held| (held.round, 0, held.interrupted));
        let waiting = job.and_then(|job| match job.state {
            JobState::Waiting { attempts, .. } => Some((job.round, attempts, job.interrupted)),
            _ => None,
        });
        let Some((round, attempts, interrupted)) = held.or(waiting) else { return };
        tracing::error!(?key, "the payload of an event is missing from its table; dead-lettered");
        let settlement = Settlement {
            key: key.clone(),
            round,
            attempts,
            owed_as: posthaste_domain::OwedAs::Fresh,
            interrupted,
            at: self.now(),
            attempt: None,
            resolution: Resolution::DeadLettered { cause: DeadLetterCause::Poison },
        };
        self.settle_unasked(settlement).await;
    }
}

/// A table that refuses needs a person, but no other process: what was refused is tried again.
fn passing(error: PortError) -> PortError {
    match error {
        PortError::Permanent(reason) => PortError::Transient(reason),
        error => error,
    }
}
