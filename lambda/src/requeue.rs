//! Fresh rounds for dead letters (PROTOCOL 15 to 17), by hand or behind API Gateway.
//!
//! By hand the event says what to requeue:
//!
//! ```text
//! {"tenant": "acme"} · {"tenant": "acme", "events": ["evt_…"]} · {"everything": true}
//!   + "max": 1…100000 (1,000)  ─►  {"requeued", "failed", "done", "tidied", "fault"?}
//! ```
//! It ends some seconds before its time does, and says `done: false`; the same event goes on from
//! there, because what is left to do stands in the rows. A proxy event is served as `ingest`
//! serves it, and afterwards the DLQ's queue is tidied in the time of one request.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lambda_runtime::Context;
use posthaste_api::Clock as _;
use posthaste_aws::{DynamoDeadLetters, Progress, Tidied, tidy};
use posthaste_domain::{EventId, RowKey, TenantId, Timestamp};
use posthaste_ports::{DeadLetter, DeadLetters, PortError, Queue, Requeued, Rows, Scope};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::time::timeout;
use tracing::{Span, info, warn};

use crate::clock::{Clock, Stopwatch};
use crate::run::{Answer, Handler, Refused, answer};
use crate::stores::Cloud;

const MAX_DEFAULT: usize = 1_000;
/// A million would outlast the longest time-out; the next call goes on anyway.
const MAX: usize = 100_000;
const EVENTS_MAX: usize = 1_000;
/// So long before its end nothing is begun any more. A step that AWS is slow with takes its calls'
/// time-outs, and what it leaves is what a crash leaves.
const MARGIN: Duration = Duration::from_secs(5);
/// Messages beyond those of the requeued events that are looked at after a request of the API.
const TIDIED_BY_API_MORE: usize = 200;
/// How long that may take.
const TIDYING_MAX: Duration = Duration::from_secs(5);
/// Messages beyond those of the requeued events that are looked at in a call by hand.
const TIDIED_MORE: usize = 1_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    tenant: Option<String>,
    events: Option<Vec<String>>,
    #[serde(default)]
    everything: bool,
    max: Option<usize>,
}

/// What is wanted, checked.
#[derive(Debug, PartialEq, Eq)]
enum Task {
    Oldest(Scope, usize),
    These(Vec<RowKey>),
}

impl Task {
    fn of(wanted: &Wanted) -> Result<Self, &'static str> {
        let tenant = wanted.tenant.as_deref().map(TenantId::try_new).transpose();
        let tenant = tenant.map_err(|_| "tenant: no such name")?;
        let max = wanted.max.unwrap_or(MAX_DEFAULT);
        if !(1..=MAX).contains(&max) {
            return Err("max: from 1 to 100000");
        }
        match (tenant, wanted.events.as_deref(), wanted.everything) {
            (Some(tenant), None, false) => Ok(Self::Oldest(Scope::Tenant(tenant), max)),
            (None, None, true) => Ok(Self::Oldest(Scope::All, max)),
            (Some(tenant), Some(events), false) if wanted.max.is_none() => {
                if !(1..=EVENTS_MAX).contains(&events.len()) {
                    return Err("events: from 1 to 1000 of them");
                }
                // One that is named twice is one.
                let ids: Result<BTreeSet<EventId>, _> =
                    events.iter().map(|text| text.parse()).collect();
                let ids = ids.map_err(|_| "events: not the id of an event")?;
                let key = |event| RowKey { tenant: tenant.clone(), event };
                Ok(Self::These(ids.into_iter().map(key).collect()))
            }
            _ => Err("give tenant, tenant and events, or everything: true"),
        }
    }
}

/// The function.
#[derive(Debug)]
pub struct Requeue<S> {
    queue: Dlq,
    dead_letters: DynamoDeadLetters,
    clock: Arc<Clock>,
    served: S,
}

/// The DLQ's queue, and the rows that its messages are about.
#[derive(Clone)]
pub struct Dlq {
    messages: Arc<dyn Queue>,
    rows: Arc<dyn Rows>,
}

impl std::fmt::Debug for Dlq {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Dlq")
    }
}

impl Dlq {
    /// Of these queues and tables.
    #[must_use]
    pub fn new(cloud: &Cloud) -> Self {
        let messages = posthaste_aws::SqsQueue::dead_letters(&cloud.client);
        Self { messages: Arc::new(messages), rows: Arc::clone(&cloud.rows) }
    }

    async fn tidy(&self, max: usize, go_on: impl Fn() -> bool + Send) -> Tidied {
        tidy(&self.messages, &self.rows, max, go_on).await.unwrap_or_else(|error| {
            // The messages stay, and do no harm: the next call comes upon them.
            warn!(%error, "the DLQ was not tidied");
            Tidied::default()
        })
    }
}

impl<S> Requeue<S> {
    /// Over these queues and tables; `served` answers proxy events.
    #[must_use]
    pub fn new(cloud: &Cloud, clock: Arc<Clock>, served: S) -> Self {
        Self { queue: Dlq::new(cloud), dead_letters: cloud.dead_letters(), clock, served }
    }

    async fn by_hand(&self, task: Task, context: &Context) -> (Progress, Tidied) {
        let (clock, deadline) = (&*self.clock, context.deadline);
        let go_on = || clock.until_ms(deadline) > MARGIN;
        let now = || clock.now();
        let (progress, more) = match &task {
            Task::Oldest(scope, max) => {
                let progress = self.dead_letters.requeue_steps(scope, *max, now, go_on).await;
                (progress, TIDIED_MORE)
            }
            Task::These(keys) => (self.dead_letters.requeue_events(keys, now, go_on).await, 0),
        };
        let requeued = usize::try_from(progress.requeued).unwrap_or(usize::MAX);
        let tidied = self.queue.tidy(requeued.saturating_mul(2).saturating_add(more), go_on).await;
        (progress, tidied)
    }
}

impl<S: Handler> Handler for Requeue<S> {
    async fn handle(&self, event: &RawValue, context: &Context) -> Result<Answer, Refused> {
        if is_proxy(event) {
            return self.served.handle(event, context).await;
        }
        let watch = Stopwatch::start();
        let wanted: Wanted = serde_json::from_str(event.get()).map_err(|_| {
            Refused::new("BadEvent", "not an object with tenant, events, everything, max")
        })?;
        let task = Task::of(&wanted).map_err(|detail| Refused::new("BadEvent", detail))?;
        Span::current().record("tenant", wanted.tenant.as_deref().unwrap_or("all"));
        let (progress, tidied) = self.by_hand(task, context).await;
        let Progress { requeued, failed, is_done, fault } = progress;
        let duration_ms = watch.millis();
        match &fault {
            None => info!(requeued, failed, is_done, tidied.deleted, duration_ms, "requeued"),
            Some(error) => warn!(requeued, failed, %error, duration_ms, "requeued in part"),
        }
        let mut answered = json!({
            "requeued": requeued,
            "failed": failed,
            "done": is_done,
            "tidied": {
                "deleted": tidied.deleted,
                "left": tidied.left,
                "foreign": tidied.foreign,
            },
        });
        if let Some(fault) = fault {
            answered["fault"] = fault.to_string().into();
        }
        answer(&answered)
    }
}

/// Whether API Gateway sent it.
fn is_proxy(event: &RawValue) -> bool {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Marks<'e> {
        #[serde(borrow)]
        request_context: Option<&'e RawValue>,
    }
    serde_json::from_str(event.get()).is_ok_and(|marks: Marks<'_>| marks.request_context.is_some())
}

/// The dead letters as the API has them, which tidies the DLQ's queue after a requeue or a purge.
#[derive(Debug)]
pub struct Tidying {
    inner: DynamoDeadLetters,
    queue: Dlq,
}

impl Tidying {
    /// Of these queues and tables.
    #[must_use]
    pub fn new(cloud: &Cloud) -> Self {
        Self { inner: cloud.dead_letters(), queue: Dlq::new(cloud) }
    }

    /// Within a time of its own: whoever asked is owed the answer, and what is left does no harm.
    async fn tidy(&self, ended: u64) {
        let ended = usize::try_from(ended).unwrap_or(usize::MAX);
        let looked_at = ended.saturating_mul(2).saturating_add(TIDIED_BY_API_MORE);
        match timeout(TIDYING_MAX, self.queue.tidy(looked_at, || true)).await {
            Ok(tidied) => info!(tidied.deleted, tidied.left, "tidied"),
            Err(_) => info!("not tidied to the end"),
        }
    }
}

#[async_trait]
impl DeadLetters for Tidying {
    async fn list(&self, scope: &Scope, limit: usize) -> Result<Vec<DeadLetter>, PortError> {
        self.inner.list(scope, limit).await
    }

    async fn requeue(
        &self,
        scope: &Scope,
        batch: usize,
        max: usize,
        at: Timestamp,
    ) -> Result<Requeued, PortError> {
        let done = self.inner.requeue(scope, batch, max, at).await?;
        self.tidy(done.requeued).await;
        Ok(done)
    }

    async fn purge(&self, scope: &Scope, at: Timestamp) -> Result<u64, PortError> {
        let purged = self.inner.purge(scope, at).await?;
        self.tidy(purged).await;
        Ok(purged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(text: &str) -> Result<Task, &'static str> {
        Task::of(&serde_json::from_str(text).map_err(|_| "shape")?)
    }

    #[test]
    fn an_event_says_what_to_requeue() {
        let acme = || TenantId::try_new("acme").unwrap();
        let oldest = Task::Oldest(Scope::Tenant(acme()), MAX_DEFAULT);
        assert_eq!(task(r#"{"tenant":"acme"}"#), Ok(oldest));
        assert_eq!(task(r#"{"everything":true,"max":7}"#), Ok(Task::Oldest(Scope::All, 7)));
        let event = EventId::from_u128(7);
        let these = format!(r#"{{"tenant":"acme","events":["{event}"]}}"#);
        let one = Ok(Task::These(vec![RowKey { tenant: acme(), event }]));
        assert_eq!(task(&these), one);
        let twice = format!(r#"{{"tenant":"acme","events":["{event}","{event}"]}}"#);
        assert_eq!(task(&twice), one);
    }

    /// For all events that do not say clearly what is meant: nothing is requeued.
    #[test]
    fn what_is_not_clear_is_refused() {
        let many = format!(r#"{{"tenant":"acme","events":[{}"x"]}}"#, "\"x\",".repeat(1_000));
        for text in [
            "{}",
            r#"{"everything":false}"#,
            r#"{"everything":true,"tenant":"acme"}"#,
            r#"{"events":["evt_00000000000000000000000007"]}"#,
            r#"{"tenant":"acme","events":[]}"#,
            r#"{"tenant":"acme","events":["evt_x"]}"#,
            r#"{"tenant":"acme","events":["evt_00000000000000000000000007"],"max":1}"#,
            r#"{"tenant":"A"}"#,
            r#"{"tenant":"acme","max":0}"#,
            r#"{"tenant":"acme","max":100001}"#,
            r#"{"tenant":"acme","maximum":1}"#,
            "[]",
            &many,
        ] {
            assert!(task(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_proxy_event_is_known_by_its_context() {
        let is = |text: &str| is_proxy(&RawValue::from_string(text.to_owned()).unwrap());
        assert!(is(r#"{"requestContext":{},"httpMethod":"POST"}"#));
        for other in [r#"{"tenant":"acme"}"#, "[]", "null", "1", r#"{"requestContext":null}"#] {
            assert!(!is(other), "{other}");
        }
    }
}
