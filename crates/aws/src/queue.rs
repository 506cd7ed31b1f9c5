//! A queue of SQS behind the port.
//!
//! A standard queue; every message carries its tenant as message group, which makes the queue
//! fair among tenants without making it ordered. Calls take any number of entries and become as
//! few requests as SQS allows (10 entries, [`MESSAGE_BYTES_MAX`] in all), a few of them at a time.
//! An entry that SQS says nothing about has failed.

use std::fmt;
use std::future::Future;

use async_trait::async_trait;
use aws_sdk_sqs::types::{
    BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry,
    DeleteMessageBatchRequestEntry, Message as SdkMessage, MessageSystemAttributeName,
    QueueAttributeName, SendMessageBatchRequestEntry,
};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use posthaste_domain::Timestamp;
use posthaste_ports::{Message, Outgoing, PortError, QUEUE_BATCH_MAX, Queue, Receipt};
use tokio::sync::OnceCell;

use crate::client::LONG_POLL_MS_MAX;
use crate::error::Call;
use crate::{Client, Error, Resource};

/// The largest body that is sent, and the most that one request carries, in bytes. SQS takes four
/// times as much today, but a queue made before 2025 does not, unless somebody changed it.
pub const MESSAGE_BYTES_MAX: usize = 256 * 1024;
/// Requests of one call that are under way at a time.
const REQUESTS_AT_ONCE_MAX: usize = 8;
/// The longest that SQS hides a message, in seconds.
const VISIBILITY_S_MAX: u64 = 12 * 60 * 60;

/// A queue. Cheap to clone only by way of an `Arc`.
#[derive(Debug)]
pub struct SqsQueue {
    client: Client,
    resource: Resource,
    url: OnceCell<String>,
    /// The time-out without which nothing is received, in milliseconds.
    hidden_ms_wanted: Option<u64>,
    /// Set once it is known to be that.
    is_fit: OnceCell<()>,
}

/// What became of each entry, in order.
type Answers = Vec<Result<(), PortError>>;

impl SqsQueue {
    /// The main queue.
    #[must_use]
    pub fn main(client: &Client) -> Self {
        Self::named(client, &client.names().queue)
    }

    /// The dead-letter queue.
    #[must_use]
    pub fn dead_letters(client: &Client) -> Self {
        Self::named(client, &client.names().dead_letter_queue)
    }

    /// Any queue of the account.
    #[must_use]
    pub fn named(client: &Client, name: &str) -> Self {
        let resource = client.queue_named(name);
        let client = client.clone();
        let (url, is_fit) = (OnceCell::new(), OnceCell::new());
        Self { client, resource, url, hidden_ms_wanted: None, is_fit }
    }

    /// The same, of which nothing is received before it is known to hide messages for so long: with
    /// another time-out they would be shown to others while they are attempted.
    #[must_use]
    pub fn hiding_for(self, ms: u64) -> Self {
        Self { hidden_ms_wanted: Some(ms), ..self }
    }

    /// For how long a received message is hidden, in milliseconds: a setting of the queue.
    ///
    /// # Errors
    /// What AWS says.
    pub async fn visibility_ms(&self) -> Result<u64, Error> {
        let call = self.call("sqs:GetQueueAttributes");
        let request = self.client.queue().get_queue_attributes().queue_url(self.url().await?);
        let wanted = QueueAttributeName::VisibilityTimeout;
        let answer = request.attribute_names(wanted.clone()).send().await;
        let answer = answer.map_err(|error| call.failed(&error))?;
        let seconds = answer.attributes().and_then(|all| all.get(&wanted)?.parse::<u64>().ok());
        let seconds = seconds.ok_or_else(|| call.unreadable("no VisibilityTimeout"))?;
        Ok(seconds.saturating_mul(1000))
    }

    /// Makes sure of [`SqsQueue::hiding_for`], once.
    async fn fit(&self) -> Result<(), Error> {
        let Some(wanted_ms) = self.hidden_ms_wanted else { return Ok(()) };
        let ask = || async {
            let found_ms = self.visibility_ms().await?;
            if found_ms == wanted_ms {
                return Ok(());
            }
            Err(Error::TimeOut { queue: self.resource.clone(), found_ms, wanted_ms })
        };
        self.is_fit.get_or_try_init(ask).await.copied()
    }

    /// The queue's address, asked for once.
    pub(crate) async fn url(&self) -> Result<&str, Error> {
        let ask = || async {
            let call = self.call("sqs:GetQueueUrl");
            let request = self.client.queue().get_queue_url().queue_name(self.resource.name());
            let answer = request.send().await.map_err(|error| call.failed(&error))?;
            let url = answer.queue_url().ok_or_else(|| call.unreadable("no address"))?;
            Ok(url.to_owned())
        };
        self.url.get_or_try_init(ask).await.map(String::as_str)
    }

    pub(crate) fn call(&self, action: &'static str) -> Call<'_> {
        Call { action, resource: &self.resource }
    }

    /// Receives; `hidden_s` in place of the queue's own visibility time-out.
    pub(crate) async fn receive_hidden(
        &self,
        max: usize,
        wait_ms: u64,
        hidden_s: Option<i32>,
    ) -> Result<Vec<SdkMessage>, Error> {
        let call = self.call("sqs:ReceiveMessage");
        let url = self.url().await?;
        let request = self.client.intake().receive_message().queue_url(url);
        let answer = request
            .max_number_of_messages(small(max.clamp(1, QUEUE_BATCH_MAX) as u64))
            .wait_time_seconds(small(wait_ms.min(LONG_POLL_MS_MAX) / 1000))
            .set_visibility_timeout(hidden_s)
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .message_system_attribute_names(MessageSystemAttributeName::SentTimestamp)
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        Ok(answer.messages.unwrap_or_default())
    }

    /// Whether messages may be deleted, by way of a receipt that nobody has.
    pub(crate) async fn may_delete(&self, nobody: &Receipt) -> Result<(), Error> {
        let call = self.call("sqs:DeleteMessage");
        let request = self.client.queue().delete_message().queue_url(self.url().await?);
        match request.receipt_handle(&*nobody.0).send().await {
            Ok(_) => Ok(()),
            Err(error) => unless_refused(call.failed(&error)),
        }
    }

    /// Whether messages may be hidden, by way of a receipt that nobody has.
    pub(crate) async fn may_hide(&self, nobody: &Receipt) -> Result<(), Error> {
        let call = self.call("sqs:ChangeMessageVisibility");
        let request = self.client.queue().change_message_visibility().queue_url(self.url().await?);
        match request.receipt_handle(&*nobody.0).visibility_timeout(0).send().await {
            Ok(_) => Ok(()),
            Err(error) => unless_refused(call.failed(&error)),
        }
    }

    async fn delete_batch(&self, receipts: &[Receipt]) -> Answers {
        let entry = |(index, receipt): (usize, &Receipt)| {
            DeleteMessageBatchRequestEntry::builder()
                .id(index.to_string())
                .receipt_handle(&*receipt.0)
                .build()
                .expect("id and receipt are set")
        };
        let entries: Vec<_> = receipts.iter().enumerate().map(entry).collect();
        let call = self.call("sqs:DeleteMessage");
        let answer = async {
            let request = self.client.queue().delete_message_batch().queue_url(self.url().await?);
            let answer = request.set_entries(Some(entries)).send().await;
            let answer = answer.map_err(|error| call.failed(&error))?;
            let done = answer.successful.iter().map(|done| done.id.clone()).collect();
            Ok((done, answer.failed))
        };
        each(call, receipts.len(), answer).await
    }

    async fn hide_batch(&self, receipts: &[Receipt], seconds: i32) -> Answers {
        let entry = |(index, receipt): (usize, &Receipt)| {
            ChangeMessageVisibilityBatchRequestEntry::builder()
                .id(index.to_string())
                .receipt_handle(&*receipt.0)
                .visibility_timeout(seconds)
                .build()
                .expect("id and receipt are set")
        };
        let entries: Vec<_> = receipts.iter().enumerate().map(entry).collect();
        let call = self.call("sqs:ChangeMessageVisibility");
        let answer = async {
            let url = self.url().await?;
            let request = self.client.queue().change_message_visibility_batch().queue_url(url);
            let answer = request.set_entries(Some(entries)).send().await;
            let answer = answer.map_err(|error| call.failed(&error))?;
            let done = answer.successful.iter().map(|done| done.id.clone()).collect();
            Ok((done, answer.failed))
        };
        each(call, receipts.len(), answer).await
    }

    async fn send_batch(&self, messages: &[Sendable]) -> Answers {
        let entry = |(index, message): (usize, &Sendable)| {
            SendMessageBatchRequestEntry::builder()
                .id(index.to_string())
                .message_body(&message.body)
                .message_group_id(&*message.group)
                .build()
                .expect("id and body are set")
        };
        let entries: Vec<_> = messages.iter().enumerate().map(entry).collect();
        let call = self.call("sqs:SendMessage");
        let answer = async {
            let request = self.client.sends().send_message_batch().queue_url(self.url().await?);
            let answer = request.set_entries(Some(entries)).send().await;
            let answer = answer.map_err(|error| call.failed(&error))?;
            let done = answer.successful.iter().map(|done| done.id.clone()).collect();
            Ok((done, answer.failed))
        };
        each(call, messages.len(), answer).await
    }
}

#[async_trait]
impl Queue for SqsQueue {
    async fn receive(&self, max: usize, wait_ms: u64) -> Result<Vec<Message>, PortError> {
        self.fit().await?;
        let received = self.receive_hidden(max, wait_ms, None).await?;
        Ok(received.into_iter().filter_map(message).collect())
    }

    async fn delete(&self, receipts: Vec<Receipt>) -> Answers {
        let batches = receipts.chunks(QUEUE_BATCH_MAX).map(|batch| self.delete_batch(batch));
        side_by_side(batches.collect()).await
    }

    async fn hide(&self, receipts: Vec<Receipt>, visibility_ms: u64) -> Answers {
        // Rounded up: nothing comes back early.
        let seconds = small(visibility_ms.div_ceil(1000).min(VISIBILITY_S_MAX));
        let batches = receipts.chunks(QUEUE_BATCH_MAX).map(|batch| self.hide_batch(batch, seconds));
        side_by_side(batches.collect()).await
    }

    async fn send(&self, messages: Vec<Outgoing>) -> Answers {
        let (sendable, mut answers) = sendable(messages);
        let sizes: Vec<_> = sendable.iter().map(|message| message.body.len()).collect();
        let batches = batches(&sizes).into_iter().map(|batch| self.send_batch(&sendable[batch]));
        let sent = side_by_side(batches.collect()).await;
        for (message, answer) in sendable.iter().zip(sent) {
            answers[message.index] = answer;
        }
        answers
    }
}

impl fmt::Display for SqsQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "queue {}", self.resource.name())
    }
}

/// A receipt that nobody has is refused to one who is let in.
fn unless_refused(error: Error) -> Result<(), Error> {
    if matches!(error, Error::Refused { .. }) { Ok(()) } else { Err(error) }
}

/// A message that SQS can take.
struct Sendable {
    /// Its place in the call.
    index: usize,
    body: String,
    group: Box<str>,
}

/// The messages that can be sent, and the answers so far: errors for the others.
fn sendable(messages: Vec<Outgoing>) -> (Vec<Sendable>, Answers) {
    let mut answers = vec![Ok(()); messages.len()];
    let mut sendable = Vec::with_capacity(messages.len());
    for (index, Outgoing { body, group }) in messages.into_iter().enumerate() {
        let length = body.len();
        match String::from_utf8(body.into()) {
            Ok(body) if (1..=MESSAGE_BYTES_MAX).contains(&length) => {
                sendable.push(Sendable { index, body, group });
            }
            Ok(_) => {
                let line = format!("a message of {length} bytes: 1 to {MESSAGE_BYTES_MAX} can go");
                answers[index] = Err(PortError::Permanent(line));
            }
            Err(_) => {
                let line = "a message that is not UTF-8".to_owned();
                answers[index] = Err(PortError::Permanent(line));
            }
        }
    }
    (sendable, answers)
}

/// Which entries go into which request.
fn batches(sizes: &[usize]) -> Vec<std::ops::Range<usize>> {
    let mut batches = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (index, size) in sizes.iter().enumerate() {
        let full = index - start == QUEUE_BATCH_MAX || bytes + size > MESSAGE_BYTES_MAX;
        if full && index > start {
            batches.push(start..index);
            (start, bytes) = (index, 0);
        }
        bytes += size;
    }
    if start < sizes.len() {
        batches.push(start..sizes.len());
    }
    batches
}

/// The answers of requests that are under way a few at a time, in order.
async fn side_by_side(requests: Vec<impl Future<Output = Answers>>) -> Answers {
    let answers = stream::iter(requests).buffered(REQUESTS_AT_ONCE_MAX);
    answers.collect::<Vec<_>>().await.into_iter().flatten().collect()
}

/// The same as something that passes.
fn passing(error: PortError) -> PortError {
    match error {
        PortError::Permanent(line) => PortError::Transient(line),
        error => error,
    }
}

/// One answer for each entry, whose id is its place in the request.
async fn each(
    call: Call<'_>,
    entries: usize,
    answer: impl Future<Output = Result<(Vec<String>, Vec<BatchResultErrorEntry>), Error>>,
) -> Answers {
    let (done, failed) = match answer.await {
        Ok(answer) => answer,
        // A call that is refused as a whole says nothing about its entries: what is `Permanent` of
        // an entry means that its receipt is of no use any more.
        Err(error) => return vec![Err(passing(error.into())); entries],
    };
    let silence = "nothing was said about this entry".to_owned();
    let mut answers = vec![Err(PortError::Transient(silence)); entries];
    for id in done {
        if let Some(answer) = id.parse().ok().and_then(|index: usize| answers.get_mut(index)) {
            *answer = Ok(());
        }
    }
    for entry in failed {
        let error = call.answered(entry.code(), entry.message().unwrap_or_default());
        // A fault on their side passes, whatever it is called.
        let error = match PortError::from(error) {
            error if !entry.sender_fault() => passing(error),
            error => error,
        };
        let index = entry.id().parse().ok();
        if let Some(answer) = index.and_then(|index: usize| answers.get_mut(index)) {
            *answer = Err(error);
        }
    }
    answers
}

/// A message as it came. Without a receipt it could never be deleted, so it is none.
fn message(received: SdkMessage) -> Option<Message> {
    let attribute = |name: MessageSystemAttributeName| {
        received.attributes().and_then(|all| all.get(&name)?.parse::<u64>().ok())
    };
    let receives = attribute(MessageSystemAttributeName::ApproximateReceiveCount).unwrap_or(1);
    let sent_at = attribute(MessageSystemAttributeName::SentTimestamp).unwrap_or(0);
    Some(Message {
        receives: u32::try_from(receives).unwrap_or(u32::MAX),
        sent_at: Timestamp::from_millis(sent_at),
        receipt: Receipt(received.receipt_handle?.into()),
        body: Bytes::from(received.body.unwrap_or_default()),
    })
}

fn small(number: u64) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_ten_entries_and_256_kib() {
        assert_eq!(batches(&[]), Vec::<std::ops::Range<usize>>::new());
        assert_eq!(batches(&[1; 21]), [0..10, 10..20, 20..21]);
        let half = MESSAGE_BYTES_MAX / 2;
        assert_eq!(batches(&[half, half, 1, MESSAGE_BYTES_MAX, 1]), [0..2, 2..3, 3..4, 4..5]);
    }

    #[test]
    fn what_cannot_go_is_said_in_its_place() {
        let outgoing = |body: &[u8]| Outgoing { body: body.to_vec().into(), group: "acme".into() };
        let large = vec![b'x'; MESSAGE_BYTES_MAX + 1];
        let (sendable, answers) = sendable(vec![
            outgoing(b""),
            outgoing(b"one"),
            outgoing(&[0xff]),
            outgoing(&large),
            outgoing(b"two"),
        ]);
        let going: Vec<_> = sendable.iter().map(|message| message.index).collect();
        assert_eq!(going, [1, 4]);
        let refused: Vec<_> = answers.iter().map(Result::is_err).collect();
        assert_eq!(refused, [true, false, true, true, false]);
    }
}
