//! Faults in looking into the DLQ, requeueing and purging.

use std::cmp::Reverse;

use async_trait::async_trait;
use posthaste_domain::{EndpointId, EventId, Resolution, Settlement, Timestamp};
use posthaste_ports::{
    DeadLetter, DeadLetters, EventStore as _, Journal as _, PortError, Requeued, Retried, Scope,
};

use super::{Fault, Faulty};

impl Faulty {
    fn scope<'a>(&self, scope: &'a Scope) -> &'a Scope {
        if self.is(Fault::ScopeIgnored) { &Scope::All } else { scope }
    }

    /// Says of everything it has found that it has requeued it.
    async fn requeue_without_looking(
        &self,
        scope: &Scope,
        max: usize,
        at: Timestamp,
    ) -> Result<Requeued, PortError> {
        let letters = DeadLetters::list(&self.inner, scope, max).await?;
        self.let_another_in().await;
        let mut done = Requeued::default();
        for letter in letters {
            let _perhaps: Retried = self.inner.retry(&letter.tenant, letter.event, at).await?;
            done.requeued += 1;
        }
        Ok(done)
    }

    /// Makes DELIVERED of everything that was requeued.
    async fn settle_fresh_rounds(&self, at: Timestamp) -> Result<(), PortError> {
        let tenants = self.notes().tenants.clone();
        for tenant in tenants {
            let endpoint = EndpointId::DEFAULT;
            let read = self.inner.backlog(&tenant, endpoint, EventId::MIN, usize::MAX).await?;
            for owed in read.owed.into_iter().filter(|owed| owed.round > 0) {
                let settlement = Settlement {
                    key: owed.key,
                    round: owed.round,
                    attempts: 0,
                    owed_as: owed.owed_as,
                    interrupted: 0,
                    at,
                    attempt: None,
                    resolution: Resolution::Delivered,
                };
                self.inner.settle(vec![settlement]).await?;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl DeadLetters for Faulty {
    async fn list(&self, scope: &Scope, limit: usize) -> Result<Vec<DeadLetter>, PortError> {
        let all = DeadLetters::list(&self.inner, self.scope(scope), usize::MAX).await?;
        let mut letters = all;
        match self.fault {
            Fault::NewestDeadFirst => letters.sort_by_key(|letter| Reverse(letter.event)),
            Fault::AllByAge => letters.sort_by_key(|letter| letter.event),
            Fault::ErrorInvented => {
                for letter in &mut letters {
                    letter.error.get_or_insert_with(|| "unknown".into());
                }
            }
            Fault::LookingHides => {
                letters.retain(|letter| self.notes().looked_at.insert(letter.event));
            }
            _ => {}
        }
        letters.truncate(limit);
        Ok(letters)
    }

    async fn requeue(
        &self,
        scope: &Scope,
        batch: usize,
        max: usize,
        at: Timestamp,
    ) -> Result<Requeued, PortError> {
        let scope = self.scope(scope);
        if self.is(Fault::RequeueRaces) {
            return self.requeue_without_looking(scope, max, at).await;
        }
        let max = max + usize::from(self.is(Fault::RequeueOneMore));
        let done = self.inner.requeue(scope, batch, max, at).await?;
        if self.is(Fault::RequeueSettles) {
            self.settle_fresh_rounds(at).await?;
        }
        Ok(done)
    }

    async fn purge(&self, scope: &Scope, at: Timestamp) -> Result<u64, PortError> {
        let scope = self.scope(scope);
        let letters = DeadLetters::list(&self.inner, scope, usize::MAX).await?;
        match self.fault {
            Fault::PurgeRequeues => {
                Ok(self.inner.requeue(scope, 10, usize::MAX, at).await?.requeued)
            }
            Fault::PurgeTakesOne => {
                let first = letters.into_iter().next().map(|letter| Scope::Tenant(letter.tenant));
                match first {
                    Some(scope) => self.inner.purge(&scope, at).await,
                    None => Ok(0),
                }
            }
            Fault::PurgeExpiresFromCreation => {
                let created = letters.first().map_or(at, |letter| letter.event.created_at());
                self.inner.purge(scope, created).await
            }
            _ => self.inner.purge(scope, at).await,
        }
    }
}
