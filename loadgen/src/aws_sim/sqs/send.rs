//! `SendMessage` and its batch.

use serde::{Deserialize, Serialize};

use super::message::{Attributes, Draft, MESSAGE_BYTES_MAX, digest, id};
use super::{Failure, Queue, Results, Sqs, check_ids, parse, refusals};
use crate::aws_sim::counters::{Fault, Work};
use crate::aws_sim::faults::Decision;
use crate::aws_sim::refusal::Refusal;
use crate::aws_sim::state::{Context, Served};
use crate::shared::lock;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Send {
    queue_url: String,
    message_body: String,
    delay_seconds: Option<u32>,
    message_attributes: Option<Attributes>,
    message_system_attributes: Option<Attributes>,
    message_group_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct SendBatch {
    queue_url: String,
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Entry {
    id: String,
    message_body: String,
    delay_seconds: Option<u32>,
    message_attributes: Option<Attributes>,
    message_system_attributes: Option<Attributes>,
    message_group_id: Option<String>,
}

#[derive(Serialize)]
struct Sent {
    #[serde(rename = "Id", skip_serializing_if = "Option::is_none")]
    entry: Option<String>,
    #[serde(rename = "MessageId")]
    message: String,
    #[serde(rename = "MD5OfMessageBody")]
    body_md5: String,
    #[serde(rename = "MD5OfMessageAttributes", skip_serializing_if = "Option::is_none")]
    attributes_md5: Option<String>,
    #[serde(rename = "MD5OfMessageSystemAttributes", skip_serializing_if = "Option::is_none")]
    system_md5: Option<String>,
}

impl Sqs {
    pub(super) fn send(&self, context: &Context<'_>, body: &[u8]) -> Result<Served, Refusal> {
        let request: Send = parse(body)?;
        let queue = self.find(&request.queue_url)?;
        let draft = Draft {
            body: request.message_body,
            attributes: request.message_attributes,
            system: request.message_system_attributes,
            group: request.message_group_id,
        };
        let bytes = draft.bytes() as u64;
        let sent = queue.accept(context, draft, request.delay_seconds)?;
        queue.arrival.notify_one();
        Ok(Served::new(&sent, Work { items: 1, bytes, ..Work::default() }))
    }

    pub(super) fn send_batch(
        &self,
        context: &Context<'_>,
        body: &[u8],
        decision: &Decision,
    ) -> Result<Served, Refusal> {
        let request: SendBatch = parse(body)?;
        let queue = self.find(&request.queue_url)?;
        let ids = request.entries.iter().map(|entry| entry.id.as_str());
        check_ids("SendMessageBatchRequestEntry", ids)?;
        let (mut results, mut work) = (Results::new(), Work::default());
        let mut drafts = Vec::with_capacity(request.entries.len());
        for entry in request.entries {
            let draft = Draft {
                body: entry.message_body,
                attributes: entry.message_attributes,
                system: entry.message_system_attributes,
                group: entry.message_group_id,
            };
            work.bytes += draft.bytes() as u64;
            drafts.push((entry.id, draft, entry.delay_seconds));
        }
        if work.bytes > u64::from(MESSAGE_BYTES_MAX) {
            return Err(refusals::batch_too_long(work.bytes));
        }
        for (number, (id, draft, delay)) in drafts.into_iter().enumerate() {
            if decision.entry_fails(number) {
                context.counters.fault(Fault::Partial);
                results.failed.push(Failure::injected(id));
                continue;
            }
            match queue.accept(context, draft, delay) {
                Ok(sent) => results.successful.push(Sent { entry: Some(id), ..sent }),
                Err(refusal) => results.failed.push(Failure::of(id, &refusal)),
            }
        }
        work.items = results.successful.len() as u64;
        queue.arrival.notify_one();
        Ok(results.served(work))
    }
}

impl Queue {
    fn accept(
        &self,
        context: &Context<'_>,
        draft: Draft,
        delay_s: Option<u32>,
    ) -> Result<Sent, Refusal> {
        if let Some(delay) = delay_s.filter(|&delay| delay > 900) {
            let reason = "DelaySeconds must be >= 0 and <= 900.";
            return Err(refusals::out_of_range("DelaySeconds", delay.into(), reason));
        }
        let bytes_max = lock(&self.shelf).attributes.message_bytes_max as usize;
        let system_md5 = draft.system.as_ref().filter(|system| !system.is_empty());
        let system_md5 = system_md5.map(digest).transpose()?;
        let content = draft.finish(bytes_max, context.time.date_ms())?;
        let (body_md5, attributes_md5) = (content.body_md5.clone(), content.attributes_md5.clone());
        let number = lock(&self.shelf).put(content, delay_s, context.time.now());
        let message = id(self.number, number);
        Ok(Sent { entry: None, message, body_md5, attributes_md5, system_md5 })
    }
}
