//! Deleting messages and changing how long they stay invisible.

use serde::{Deserialize, Serialize};

use super::receipt::Receipt;
use super::{Failure, Queue, Results, Sqs, check_ids, parse, refusals};
use crate::aws_sim::counters::{Fault, Work};
use crate::aws_sim::faults::Decision;
use crate::aws_sim::refusal::Refusal;
use crate::aws_sim::state::{Context, Served};
use crate::shared::lock;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Delete {
    queue_url: String,
    receipt_handle: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct DeleteBatch {
    queue_url: String,
    entries: Vec<DeleteEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct DeleteEntry {
    id: String,
    receipt_handle: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Change {
    queue_url: String,
    receipt_handle: String,
    visibility_timeout: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct ChangeBatch {
    queue_url: String,
    entries: Vec<ChangeEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct ChangeEntry {
    id: String,
    receipt_handle: String,
    visibility_timeout: Option<i64>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Done {
    id: String,
}

impl Sqs {
    pub(super) fn delete(
        &self,
        context: &Context<'_>,
        body: &[u8],
        decision: &Decision,
    ) -> Result<Served, Refusal> {
        let request: Delete = parse(body)?;
        let queue = self.find(&request.queue_url)?;
        queue.delete(context, &request.receipt_handle, decision.resurrects(0))?;
        Ok(Served::nothing(Work { items: 1, ..Work::default() }))
    }

    pub(super) fn delete_batch(
        &self,
        context: &Context<'_>,
        body: &[u8],
        decision: &Decision,
    ) -> Result<Served, Refusal> {
        let request: DeleteBatch = parse(body)?;
        let queue = self.find(&request.queue_url)?;
        let ids = request.entries.iter().map(|entry| entry.id.as_str());
        check_ids("DeleteMessageBatchRequestEntry", ids)?;
        let mut results = Results::new();
        for (number, entry) in request.entries.into_iter().enumerate() {
            if decision.entry_fails(number) {
                context.counters.fault(Fault::Partial);
                results.failed.push(Failure::injected(entry.id));
                continue;
            }
            match queue.delete(context, &entry.receipt_handle, decision.resurrects(number)) {
                Ok(()) => results.successful.push(Done { id: entry.id }),
                Err(refusal) => results.failed.push(Failure::of(entry.id, &refusal)),
            }
        }
        let items = results.successful.len() as u64;
        Ok(results.served(Work { items, ..Work::default() }))
    }

    pub(super) fn change(&self, context: &Context<'_>, body: &[u8]) -> Result<Served, Refusal> {
        let request: Change = parse(body)?;
        let queue = self.find(&request.queue_url)?;
        queue.change(context, &request.receipt_handle, request.visibility_timeout)?;
        Ok(Served::nothing(Work { items: 1, ..Work::default() }))
    }

    pub(super) fn change_batch(
        &self,
        context: &Context<'_>,
        body: &[u8],
        decision: &Decision,
    ) -> Result<Served, Refusal> {
        let request: ChangeBatch = parse(body)?;
        let queue = self.find(&request.queue_url)?;
        let ids = request.entries.iter().map(|entry| entry.id.as_str());
        check_ids("ChangeMessageVisibilityBatchRequestEntry", ids)?;
        let mut results = Results::new();
        for (number, entry) in request.entries.into_iter().enumerate() {
            if decision.entry_fails(number) {
                context.counters.fault(Fault::Partial);
                results.failed.push(Failure::injected(entry.id));
                continue;
            }
            let changed = match entry.visibility_timeout {
                Some(seconds) => queue.change(context, &entry.receipt_handle, seconds),
                None => Err(refusals::missing("VisibilityTimeout")),
            };
            match changed {
                Ok(()) => results.successful.push(Done { id: entry.id }),
                Err(refusal) => results.failed.push(Failure::of(entry.id, &refusal)),
            }
        }
        let items = results.successful.len() as u64;
        Ok(results.served(Work { items, ..Work::default() }))
    }
}

impl Queue {
    fn receipt(&self, text: &str) -> Result<Receipt, Refusal> {
        Receipt::parse(text, self.number).ok_or_else(|| refusals::bad_receipt(text))
    }

    fn delete(&self, context: &Context<'_>, text: &str, resurrects: bool) -> Result<(), Refusal> {
        let receipt = self.receipt(text)?;
        if resurrects {
            // Nothing is deleted, and nobody is told: the copy shows when its time-out ends.
            context.counters.fault(Fault::Resurrect);
        } else {
            lock(&self.shelf).delete(receipt);
        }
        Ok(())
    }

    fn change(&self, context: &Context<'_>, text: &str, seconds: i64) -> Result<(), Refusal> {
        let receipt = self.receipt(text)?;
        let limited = u32::try_from(seconds).ok().filter(|&seconds| seconds <= 43_200);
        let Some(limited) = limited else {
            let reason = "Must be between 0 and 43200.";
            return Err(refusals::out_of_range("VisibilityTimeout", seconds, reason));
        };
        let now = context.time.now();
        lock(&self.shelf).change(receipt, text, limited, now)?;
        // The first to become visible may be another one now.
        self.arrival.notify_one();
        Ok(())
    }
}
