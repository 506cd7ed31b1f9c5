//! `ReceiveMessage`, with the long poll.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::message::{Attribute, id};
use super::queue::{Batch, Taken, Wish};
use super::receipt::Receipt;
use super::{ACCOUNT, Queue, Sqs, parse, refusals};
use crate::aws_sim::counters::{Fault, Work};
use crate::aws_sim::faults::Decision;
use crate::aws_sim::refusal::Refusal;
use crate::aws_sim::state::{Context, Served};
use crate::clock::{Nanos, SECOND};
use crate::shared::lock;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Receive {
    queue_url: String,
    max_number_of_messages: Option<i64>,
    wait_time_seconds: Option<i64>,
    visibility_timeout: Option<i64>,
    #[serde(default)]
    message_attribute_names: Vec<String>,
    #[serde(default)]
    message_system_attribute_names: Vec<String>,
    /// The older name of the same.
    #[serde(default)]
    attribute_names: Vec<String>,
    #[serde(rename = "ReceiveRequestAttemptId")]
    _attempt: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Received<'c> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    messages: Vec<Message<'c>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Message<'c> {
    message_id: String,
    receipt_handle: String,
    #[serde(rename = "MD5OfBody")]
    body_md5: &'c str,
    body: &'c str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    attributes: BTreeMap<&'static str, String>,
    #[serde(rename = "MD5OfMessageAttributes", skip_serializing_if = "Option::is_none")]
    attributes_md5: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    message_attributes: BTreeMap<String, Attribute>,
}

/// What a look at a queue showed.
struct Look {
    batch: Batch,
    /// There is more to take now.
    more: bool,
    /// When there is more to take at the latest.
    next: Option<Nanos>,
    /// How long the queue wants its receivers to wait.
    wait_s: u32,
}

fn ranged(
    name: &str,
    value: Option<i64>,
    (least, most): (u32, u32),
) -> Result<Option<u32>, Refusal> {
    let Some(value) = value else { return Ok(None) };
    let number = u32::try_from(value).ok().filter(|number| (least..=most).contains(number));
    let reason = || format!("Must be between {least} and {most}, if provided.");
    match number {
        Some(number) => Ok(Some(number)),
        None => Err(refusals::out_of_range(name, value, &reason())),
    }
}

impl Sqs {
    pub(super) async fn receive(
        &self,
        context: &Context<'_>,
        body: &[u8],
        decision: &Decision,
    ) -> Result<Served, Refusal> {
        let request: Receive = parse(body)?;
        let queue = self.find(&request.queue_url)?;
        let count = ranged("MaxNumberOfMessages", request.max_number_of_messages, (1, 10))?;
        let wait = ranged("WaitTimeSeconds", request.wait_time_seconds, (0, 20))?;
        let visibility = ranged("VisibilityTimeout", request.visibility_timeout, (0, 43_200))?;
        let wish = Wish {
            count: count.unwrap_or(1) as usize,
            visibility_s: visibility,
            date_ms: context.time.date_ms(),
        };
        let batch = self.wait(&queue, context, (wish, wait), decision).await?;
        for _ in 0..batch.duplicated {
            context.counters.fault(Fault::Duplicate);
        }
        for _ in 0..batch.reordered {
            context.counters.fault(Fault::Reorder);
        }
        let bytes = batch.taken.iter().map(|taken| taken.content.bytes as u64).sum();
        let work = Work { items: batch.taken.len() as u64, bytes, ..Work::default() };
        let messages = batch.taken.iter().map(|taken| request.shape(&queue, taken)).collect();
        Ok(Served::new(&Received { messages }, work))
    }

    /// Takes what is there, or waits for it. Once something was taken there is no further wait, so
    /// that a client that goes away while it waits loses nothing.
    async fn wait(
        &self,
        queue: &Arc<Queue>,
        context: &Context<'_>,
        (wish, wait_s): (Wish, Option<u32>),
        decision: &Decision,
    ) -> Result<Batch, Refusal> {
        let mut end = None;
        loop {
            // Before looking, so that nothing comes unnoticed between the look and the wait.
            let arrival = queue.arrival.notified();
            let now = context.time.now();
            let Look { batch, more, next, wait_s: of_queue } =
                self.look(queue, Wish { date_ms: context.time.date_ms(), ..wish }, now, decision)?;
            let wait = u64::from(wait_s.unwrap_or(of_queue)) * SECOND;
            let end = *end.get_or_insert_with(|| now + wait);
            if !batch.taken.is_empty() || now >= end {
                if more {
                    // One notice may stand for many messages.
                    queue.arrival.notify_one();
                }
                return Ok(batch);
            }
            let pause = Duration::from_nanos(next.unwrap_or(end).min(end).saturating_sub(now));
            // Either way it looks again.
            _ = tokio::time::timeout(pause, arrival).await;
            if self.named(&queue.name).is_none() {
                return Err(refusals::no_such_queue());
            }
        }
    }

    /// Takes what is there. What was received too often goes to the dead-letter queue.
    fn look(
        &self,
        queue: &Queue,
        wish: Wish,
        now: Nanos,
        decision: &Decision,
    ) -> Result<Look, Refusal> {
        let mut shelf = lock(&queue.shelf);
        let mut batch = shelf.take(wish, now, decision)?;
        let (more, next) = (shelf.has_ready(), shelf.next_due());
        let wait_s = shelf.attributes.wait_s;
        let dead = std::mem::take(&mut batch.dead);
        let redrive = shelf.attributes.redrive.clone().filter(|_| !dead.is_empty());
        // Not held together with the other queue's: two queues may be each other's.
        drop(shelf);
        if let Some(target) = redrive.and_then(|redrive| self.named(&redrive.target)) {
            for content in dead {
                lock(&target.shelf).put(content, Some(0), now);
            }
            target.arrival.notify_one();
        }
        Ok(Look { batch, more, next, wait_s })
    }
}

impl Receive {
    fn shape<'c>(&self, queue: &Queue, taken: &'c Taken) -> Message<'c> {
        let content = &*taken.content;
        let receipt = Receipt { message: taken.number, received: taken.received };
        let message_attributes = self.attributes(taken);
        // Of those that are given, as AWS does it.
        let attributes_md5 = match message_attributes.len() {
            0 => None,
            all if all == content.attributes.len() => content.attributes_md5.clone(),
            _ => super::message::digest(&message_attributes).ok(),
        };
        Message {
            message_id: id(queue.number, taken.number),
            receipt_handle: receipt.text(queue.number),
            body_md5: &content.body_md5,
            body: &content.body,
            attributes: self.system_attributes(taken),
            attributes_md5,
            message_attributes,
        }
    }

    fn attributes(&self, taken: &Taken) -> BTreeMap<String, Attribute> {
        let wanted = |name: &str| {
            self.message_attribute_names.iter().any(|pattern| match pattern.strip_suffix(".*") {
                Some(prefix) => name.starts_with(prefix),
                None => pattern == "All" || pattern == name,
            })
        };
        let all = taken.content.attributes.iter();
        all.filter(|(name, _)| wanted(name)).map(|(n, a)| (n.clone(), a.clone())).collect()
    }

    fn system_attributes(&self, taken: &Taken) -> BTreeMap<&'static str, String> {
        let mut attributes = BTreeMap::new();
        let names = [&self.message_system_attribute_names, &self.attribute_names];
        let wants = |wanted: &str| {
            names.iter().any(|list| list.iter().any(|name| name == "All" || name == wanted))
        };
        let content = &*taken.content;
        let mut add = |name: &'static str, value: &dyn Fn() -> Option<String>| {
            if let Some(value) = wants(name).then(value).flatten() {
                attributes.insert(name, value);
            }
        };
        add("ApproximateReceiveCount", &|| Some(taken.received.to_string()));
        add("ApproximateFirstReceiveTimestamp", &|| Some(taken.first_received_ms.to_string()));
        add("SentTimestamp", &|| Some(content.sent_ms.to_string()));
        add("SenderId", &|| Some(ACCOUNT.to_owned()));
        add("MessageGroupId", &|| content.group.clone());
        add("AWSTraceHeader", &|| content.trace.clone());
        attributes
    }
}
