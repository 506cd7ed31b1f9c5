//! The simulated account: both services, their faults and their counts.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use serde::Serialize;

use super::counters::{Counters, Fault, Report, Work};
use super::dynamo::Dynamo;
use super::faults::{Decision, Faults, Plan, Unusable};
use super::http::Stamp;
use super::operation::{Operation, Service};
use super::refusal::Refusal;
use super::sqs::Sqs;
use super::time::Time;
use crate::clock::Nanos;
use crate::shared::lock;

/// The last moment that a `Date` can show: the end of the year 9999.
const DATE_MS_MAX: u64 = 253_402_300_799_000;

/// What a call may look at.
#[derive(Debug)]
pub(super) struct Context<'s> {
    pub(super) time: &'s Time,
    pub(super) counters: &'s Counters,
    /// For every write: the faults of a single call must not let indexes overtake each other.
    pub(super) index_delay: Nanos,
    pub(super) keeps_versions: bool,
}

/// An answer to one call.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) body: Vec<u8>,
    pub(super) work: Work,
    /// Entries that failed.
    pub(super) failed: u64,
}

impl Served {
    pub(super) fn new(answer: &impl Serialize, work: Work) -> Self {
        Self { body: serde_json::to_vec(answer).unwrap_or_default(), work, failed: 0 }
    }

    /// An answer without fields.
    pub(super) fn nothing(work: Work) -> Self {
        Self { body: b"{}".to_vec(), work, failed: 0 }
    }
}

/// Everything that the threads share.
#[derive(Debug)]
pub(super) struct State {
    pub(super) time: Time,
    pub(super) counters: Counters,
    plan: RwLock<Arc<Plan>>,
    seed: u64,
    sqs: Sqs,
    dynamo: Dynamo,
    /// Calls with credentials of another region are refused.
    region: Option<String>,
    /// Ids of requests.
    requests: Mutex<u64>,
}

impl State {
    /// # Errors
    /// Where the faults make no sense.
    pub(super) fn try_new(
        base: String,
        region: Option<String>,
        faults: Faults,
        seed: u64,
    ) -> Result<Self, Unusable> {
        let name = region.clone().unwrap_or_else(|| "us-east-1".to_owned());
        Ok(Self {
            time: Time::start(),
            counters: Counters::new(),
            plan: RwLock::new(Arc::new(Plan::try_new(faults, seed)?)),
            seed,
            sqs: Sqs::new(base, name.clone(), seed),
            dynamo: Dynamo::new(name),
            region,
            requests: Mutex::new(0),
        })
    }

    /// What the next answer bears.
    pub(super) fn stamp(&self) -> Stamp {
        let mut requests = lock(&self.requests);
        *requests += 1;
        Stamp { request: *requests, date_ms: self.time.date_ms().min(DATE_MS_MAX) }
    }

    pub(super) fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.plan.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on these faults, from their beginning.
    ///
    /// # Errors
    /// Where they make no sense; the old ones stay.
    pub(super) fn set_faults(&self, faults: Faults) -> Result<(), Unusable> {
        let plan = Arc::new(Plan::try_new(faults, self.seed)?);
        *self.plan.write().unwrap_or_else(PoisonError::into_inner) = plan;
        Ok(())
    }

    /// Forgets queues, tables, counts and faults.
    pub(super) fn reset(&self) {
        self.sqs.clear();
        self.dynamo.clear();
        self.counters.reset();
        // No faults are always acceptable.
        _ = self.set_faults(Faults::default());
    }

    /// Lets time pass at once.
    pub(super) fn skip(&self, ms: u64) {
        self.time.skip(ms);
        self.sqs.wake();
    }

    pub(super) fn report(&self) -> Report {
        self.counters.report()
    }

    /// Whether the credentials are such that AWS would look further.
    pub(super) fn admit(&self, service: Service, authorization: &str) -> Result<(), Refusal> {
        if authorization.is_empty() {
            let refusal = Refusal::new(
                "MissingAuthenticationTokenException",
                "Request is missing Authentication Token",
            );
            return Err(match service {
                Service::Sqs => {
                    refusal.with_status(403).with_query_code("MissingAuthenticationToken")
                }
                Service::Dynamo => refusal,
            });
        }
        let Some(region) = &self.region else { return Ok(()) };
        // `Credential=<key>/<date>/<region>/<service>/aws4_request`
        let scope = authorization.split_once("Credential=").map_or("", |(_, rest)| rest);
        let found = scope.split('/').nth(2).unwrap_or_default();
        if found == region {
            return Ok(());
        }
        let message = format!("Credential should be scoped to a valid region, not '{found}'. ");
        Err(match service {
            Service::Sqs => Refusal::new("SignatureDoesNotMatch", message)
                .with_status(403)
                .with_query_code("SignatureDoesNotMatch"),
            Service::Dynamo => Refusal::new("InvalidSignatureException", message),
        })
    }

    /// Serves a call, faults of the whole call aside.
    pub(super) async fn serve(
        &self,
        plan: &Plan,
        operation: Operation,
        body: &[u8],
        decision: &Decision,
    ) -> Result<Served, Refusal> {
        if let Some(refusal) = decision.refusal(operation, &self.counters) {
            return Err(refusal);
        }
        let context = Context {
            time: &self.time,
            counters: &self.counters,
            index_delay: plan.index_delay(),
            keeps_versions: plan.keeps_versions(),
        };
        match operation.service() {
            Service::Sqs => self.sqs.call(&context, operation, body, decision).await,
            Service::Dynamo => self.dynamo.call(&context, operation, body, decision),
        }
    }

    /// Counts what came of a call.
    pub(super) fn account(&self, operation: Operation, outcome: &Result<Served, Refusal>) {
        match outcome {
            Ok(served) => {
                self.counters.work(operation, &served.work);
                self.counters.entries_failed(operation, served.failed);
                self.counters.answer(operation, served.body.len());
            }
            Err(refusal) => self.counters.refused(operation, refusal.is_throttle()),
        }
    }

    pub(super) fn fault(&self, fault: Fault) {
        self.counters.fault(fault);
    }
}
