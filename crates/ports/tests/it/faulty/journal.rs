//! Faults in settling, and in reading what is owed.

use std::cmp::Reverse;

use async_trait::async_trait;
use bytes::Bytes;
use posthaste_domain::{
    Attempt, DeadLetterCause, DeliveryKey, EndpointId, EventId, Owed, OwedAs, PhaseTimings,
    Resolution, Settlement, TenantId, TimerPosition, Timestamp, Verdict,
};
use posthaste_ports::{
    Backlog, EventStore as _, Journal, OwedEndpoint, PortError, Settled, ShardSpec, TimerPage,
};

use super::{ALL_SHARDS, Fault, Faulty, NEVER_FAILS};

/// The latest due time that fits into 48 bits.
const DUE_MAX: Timestamp = Timestamp::from_millis((1 << 48) - 1);

impl Faulty {
    /// What the fault makes of an outcome before it is stored.
    async fn spoil(&self, outcome: &mut Settlement) {
        match (self.fault, &mut outcome.resolution) {
            (Fault::DeliveredNotKept, resolution @ Resolution::Delivered) => {
                *resolution = Resolution::Retry { due: Timestamp::MAX };
            }
            (Fault::DeadNotKept, resolution @ Resolution::DeadLettered { .. }) => {
                *resolution = Resolution::Delivered;
            }
            (Fault::DueTimeMoved, Resolution::Retry { due }) => *due = due.plus_millis(1),
            (Fault::DueTimesOf48Bits, Resolution::Retry { due }) => *due = DUE_MAX.min(*due),
            (Fault::CauseForgotten, Resolution::DeadLettered { cause }) => {
                *cause = DeadLetterCause::AttemptsExhausted;
            }
            (Fault::InterruptionsForgotten, _) => outcome.interrupted = 0,
            (Fault::EndpointIgnored, _) => outcome.key.endpoint = EndpointId::DEFAULT,
            (Fault::ForeignSettled, _) => {
                outcome.key.tenant = self.owner(&outcome.key.tenant, outcome.key.event);
            }
            (Fault::RoundIgnored | Fault::OwedAsIgnored, _) => {
                if let Some(owed) = self.really_owed(&outcome.key).await {
                    match self.fault {
                        Fault::RoundIgnored => outcome.round = owed.round,
                        // The count would give it away.
                        _ => {
                            outcome.owed_as = owed.owed_as;
                            outcome.attempts = owed.attempts + u32::from(outcome.attempt.is_some());
                        }
                    }
                }
            }
            (Fault::AttemptsIgnored, _) => {
                if let Some(owed) = self.really_owed(&outcome.key).await {
                    outcome.attempts = owed.attempts + u32::from(outcome.attempt.is_some());
                }
            }
            (Fault::FinalReopened, _) => {
                let (tenant, event) = (&outcome.key.tenant, outcome.key.event);
                if self.really_owed(&outcome.key).await.is_none() {
                    self.inner.retry(tenant, event, outcome.at).await.expect(NEVER_FAILS);
                    if let Some(owed) = self.really_owed(&outcome.key).await {
                        outcome.round = owed.round;
                        outcome.owed_as = owed.owed_as;
                    }
                }
            }
            (Fault::ResponseCut, _) => {
                if let Some(attempt) = &mut outcome.attempt {
                    attempt.response.truncate(1023);
                }
            }
            (Fault::AttemptInvented, _) => {
                let (number, at) = (outcome.attempts, outcome.at);
                outcome.attempt.get_or_insert_with(|| nothing_happened(number, at));
            }
            _ => {}
        }
        self.note(outcome);
    }

    fn note(&self, outcome: &Settlement) {
        let mut notes = self.notes();
        notes.interrupted.insert(outcome.key.event, outcome.interrupted);
        if let Resolution::DeadLettered { .. } = outcome.resolution {
            notes.dead.push(((outcome.key.tenant.clone(), outcome.key.event), outcome.at));
        }
    }

    /// Takes a delivery out of one place, and puts it into the other some time later.
    async fn settle_in_two_steps(&self, outcome: Settlement) -> Result<Settled, PortError> {
        let id = (outcome.key.tenant.clone(), outcome.key.event);
        self.notes().hidden.insert(id.clone());
        self.until_looked_at_twice().await;
        let answers = self.inner.settle(vec![outcome]).await?;
        self.notes().hidden.remove(&id);
        Ok(answers[0])
    }

    fn spoil_owed(&self, owed: &mut Owed) {
        if self.is(Fault::RetryKeepsInterruptions) && owed.round > 0 {
            owed.interrupted = self.notes().interrupted.get(&owed.key.event).copied().unwrap_or(0);
        }
    }
}

fn nothing_happened(number: u32, at: Timestamp) -> Attempt {
    Attempt {
        number,
        at,
        duration_ms: 0,
        status_code: None,
        verdict: Verdict::Delivered,
        error: None,
        response: Bytes::new(),
        phases: PhaseTimings::default(),
    }
}

#[async_trait]
impl Journal for Faulty {
    async fn settle(&self, settlements: Vec<Settlement>) -> Result<Vec<Settled>, PortError> {
        let mut settlements = settlements;
        if self.is(Fault::BatchBackwards) {
            settlements.reverse();
        }
        let mut answers = Vec::new();
        for mut outcome in settlements {
            self.spoil(&mut outcome).await;
            answers.push(if self.is(Fault::MoveInTwoSteps) {
                self.settle_in_two_steps(outcome).await?
            } else {
                self.inner.settle(vec![outcome]).await?[0]
            });
        }
        match self.fault {
            Fault::BatchBackwards => answers.reverse(),
            Fault::AlwaysSettled => answers.fill(Settled::Settled),
            _ => {}
        }
        Ok(answers)
    }

    async fn backlog(
        &self,
        tenant: &TenantId,
        endpoint: EndpointId,
        mut from: EventId,
        max: usize,
    ) -> Result<Backlog, PortError> {
        let asked = endpoint;
        let endpoint =
            if self.is(Fault::BacklogOfAnyEndpoint) { EndpointId::DEFAULT } else { asked };
        if self.is(Fault::BacklogExclusive) && from != EventId::MIN {
            from = EventId::from_u128(from.as_u128().saturating_add(1));
        }
        let mut read = self.inner.backlog(tenant, endpoint, from, max).await?;
        match self.fault {
            Fault::BacklogNewestFirst => read.owed.reverse(),
            Fault::BacklogAlwaysExhausted => read.exhausted = true,
            Fault::BacklogNeverExhausted => read.exhausted = false,
            Fault::BacklogHoldsTimers => {
                let start = TimerPosition::START;
                let all = self.inner.timers(ALL_SHARDS, start, Timestamp::MAX, max).await?;
                let own = all.owed.into_iter().filter(|owed| owed.key.tenant == *tenant);
                read.owed.extend(own.map(|owed| Owed { owed_as: OwedAs::Fresh, ..owed }));
            }
            _ => {}
        }
        read.owed.retain(|owed| !self.is_hidden(tenant, owed.key.event));
        read.owed.iter_mut().for_each(|owed| self.spoil_owed(owed));
        Ok(read)
    }

    async fn timers(
        &self,
        shard: ShardSpec,
        mut from: TimerPosition,
        mut until: Timestamp,
        max: usize,
    ) -> Result<TimerPage, PortError> {
        let shard = if self.is(Fault::TimersOfAllShards) { ALL_SHARDS } else { shard };
        if self.is(Fault::UntilExclusive) && until != Timestamp::MAX {
            until = Timestamp::from_millis(until.as_millis().saturating_sub(1));
        }
        if let (Fault::FromInclusive, Some(key)) = (self.fault, &mut from.key) {
            key.event = EventId::from_u128(key.event.as_u128() - 1);
        }
        let mut page = self.inner.timers(shard, from, until, max).await?;
        match self.fault {
            Fault::TimersBackwards => page.owed.sort_by_key(|owed| Reverse(owed.due())),
            Fault::TimersEndEarly => page.next = None,
            Fault::TimersNeverEnd => {
                let last = page.owed.last();
                page.next =
                    last.map(|last| TimerPosition { due: last.due(), key: Some(last.key.clone()) });
            }
            _ => {}
        }
        page.owed.retain(|owed| !self.is_hidden(&owed.key.tenant, owed.key.event));
        Ok(page)
    }

    async fn payloads(&self, keys: &[DeliveryKey]) -> Result<Vec<Option<Bytes>>, PortError> {
        let mut payloads = self.inner.payloads(keys).await?;
        match self.fault {
            Fault::PayloadsWithoutGaps => payloads.retain(Option::is_some),
            Fault::PayloadOutlives => {
                for (payload, key) in payloads.iter_mut().zip(keys) {
                    let kept = self.notes();
                    let kept = kept.events.get(&(key.tenant.clone(), key.event));
                    *payload = payload.take().or_else(|| kept.cloned());
                }
            }
            _ => {}
        }
        Ok(payloads)
    }

    async fn owed_endpoints(&self, shard: ShardSpec) -> Result<Vec<OwedEndpoint>, PortError> {
        let shard = if self.is(Fault::EndpointsOfAllShards) { ALL_SHARDS } else { shard };
        let mut endpoints = self.inner.owed_endpoints(shard).await?;
        if self.is(Fault::EndpointsFromNewest) {
            for endpoint in &mut endpoints {
                let tenant = &endpoint.tenant;
                let default = EndpointId::DEFAULT;
                let all = self.inner.backlog(tenant, default, EventId::MIN, usize::MAX).await?;
                let newest = all.owed.last().expect("an endpoint that is owed has a backlog");
                endpoint.first = newest.key.event;
            }
        }
        Ok(endpoints)
    }
}
