//! SQS: standard queues in memory.
//!
//! What is not like AWS: no FIFO queues, no message moves, no permissions; every receive sees all
//! messages (AWS asks a sample of its servers), and fair queues do not reorder by group.

mod attributes;
mod message;
mod queue;
mod receipt;
mod refusals;

mod receive;
mod send;
mod settle;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use self::attributes::Attributes;
use self::queue::Shelf;
use super::counters::Work;
use super::faults::Decision;
use super::operation::Operation;
use super::refusal::Refusal;
use super::state::{Context, Served};
use crate::chance::mix;
use crate::shared::lock;

/// The account that everything belongs to.
const ACCOUNT: &str = "000000000000";
const ENTRIES_MAX: usize = 10;

/// All queues.
#[derive(Debug)]
pub(super) struct Sqs {
    queues: RwLock<BTreeMap<String, Arc<Queue>>>,
    base: String,
    region: String,
    seed: u64,
}

/// One queue.
#[derive(Debug)]
struct Queue {
    name: String,
    /// Tells its ids and receipts from those of others.
    number: u64,
    created_s: u64,
    shelf: Mutex<Shelf>,
    /// Something may have become visible.
    arrival: Notify,
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::unreadable(&error))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct OfQueue {
    queue_url: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct CreateQueue {
    queue_name: String,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    #[serde(default, rename = "tags")]
    _tags: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct GetQueueUrl {
    queue_name: String,
    #[serde(rename = "QueueOwnerAWSAccountId")]
    _owner: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct ListQueues {
    #[serde(default)]
    queue_name_prefix: String,
    #[serde(default)]
    _max_results: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct GetQueueAttributes {
    queue_url: String,
    #[serde(default)]
    attribute_names: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct SetQueueAttributes {
    queue_url: String,
    attributes: BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Url {
    queue_url: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Urls {
    queue_urls: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Values {
    attributes: BTreeMap<String, String>,
}

impl Sqs {
    /// `base` is the address that queue URLs begin with.
    pub(super) fn new(base: String, region: String, seed: u64) -> Self {
        Self { queues: RwLock::default(), base, region, seed }
    }

    /// Forgets every queue.
    pub(super) fn clear(&self) {
        self.queues.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Time was skipped: what waits looks again.
    pub(super) fn wake(&self) {
        for queue in self.queues.read().unwrap_or_else(PoisonError::into_inner).values() {
            queue.arrival.notify_waiters();
        }
    }

    pub(super) async fn call(
        &self,
        context: &Context<'_>,
        operation: Operation,
        body: &[u8],
        decision: &Decision,
    ) -> Result<Served, Refusal> {
        match operation {
            Operation::ReceiveMessage => self.receive(context, body, decision).await,
            Operation::DeleteMessage => self.delete(context, body, decision),
            Operation::DeleteMessageBatch => self.delete_batch(context, body, decision),
            Operation::SendMessage => self.send(context, body),
            Operation::SendMessageBatch => self.send_batch(context, body, decision),
            Operation::ChangeMessageVisibility => self.change(context, body),
            Operation::ChangeMessageVisibilityBatch => self.change_batch(context, body, decision),
            Operation::CreateQueue => self.create(context, body),
            Operation::DeleteQueue => self.remove(body),
            Operation::ListQueues => self.list(body),
            Operation::GetQueueUrl => self.url_of(body),
            Operation::GetQueueAttributes => self.attributes(context, body),
            Operation::SetQueueAttributes => self.set_attributes(body),
            Operation::PurgeQueue => self.purge(context, body),
            _ => Err(refusals::unsupported("Not an operation of SQS.")),
        }
    }

    fn url(&self, name: &str) -> String {
        format!("{}/{ACCOUNT}/{name}", self.base)
    }

    fn named(&self, name: &str) -> Option<Arc<Queue>> {
        self.queues.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// The queue of a URL. Only its last part counts: a client may know us by another address.
    fn find(&self, url: &str) -> Result<Arc<Queue>, Refusal> {
        let name = url.rsplit('/').next().unwrap_or_default();
        self.named(name).ok_or_else(refusals::no_such_queue)
    }

    fn create(&self, context: &Context<'_>, body: &[u8]) -> Result<Served, Refusal> {
        let request: CreateQueue = parse(body)?;
        let name = request.queue_name;
        if name.ends_with(".fifo") {
            return Err(refusals::unsupported("The simulator has no FIFO queues."));
        }
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if !(1..=80).contains(&name.len()) || !name.bytes().all(is_part) {
            return Err(refusals::bad_parameter(
                "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in \
                 length"
                    .to_owned(),
            ));
        }
        let mut queues = self.queues.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(queue) = queues.get(&name) {
            let difference = lock(&queue.shelf).attributes.first_difference(&request.attributes);
            if let Some(attribute) = difference {
                return Err(refusals::queue_exists(&attribute));
            }
        } else {
            let attributes = Attributes::try_new(request.attributes)?;
            let number = mix(self.seed, hash(name.as_bytes()));
            let queue = Queue {
                name: name.clone(),
                number,
                created_s: context.time.date_ms() / 1_000,
                shelf: Mutex::new(Shelf::new(attributes)),
                arrival: Notify::new(),
            };
            queues.insert(name.clone(), Arc::new(queue));
        }
        Ok(Served::new(&Url { queue_url: self.url(&name) }, Work::default()))
    }

    fn remove(&self, body: &[u8]) -> Result<Served, Refusal> {
        let request: OfQueue = parse(body)?;
        let queue = self.find(&request.queue_url)?;
        self.queues.write().unwrap_or_else(PoisonError::into_inner).remove(&queue.name);
        queue.arrival.notify_waiters();
        Ok(Served::nothing(Work::default()))
    }

    fn list(&self, body: &[u8]) -> Result<Served, Refusal> {
        let request: ListQueues = parse(body)?;
        let queues = self.queues.read().unwrap_or_else(PoisonError::into_inner);
        let names = queues.keys().filter(|name| name.starts_with(&request.queue_name_prefix));
        let queue_urls = names.map(|name| self.url(name)).collect();
        Ok(Served::new(&Urls { queue_urls }, Work::default()))
    }

    fn url_of(&self, body: &[u8]) -> Result<Served, Refusal> {
        let request: GetQueueUrl = parse(body)?;
        let queue = self.named(&request.queue_name).ok_or_else(refusals::no_such_queue)?;
        Ok(Served::new(&Url { queue_url: self.url(&queue.name) }, Work::default()))
    }

    fn attributes(&self, context: &Context<'_>, body: &[u8]) -> Result<Served, Refusal> {
        let request: GetQueueAttributes = parse(body)?;
        let queue = self.find(&request.queue_url)?;
        let mut shelf = lock(&queue.shelf);
        let depth = shelf.depth(context.time.now());
        let mut all = shelf.attributes.all();
        drop(shelf);
        let mut add = |name: &str, value: String| _ = all.insert(name.to_owned(), value);
        add("ApproximateNumberOfMessages", depth.visible.to_string());
        add("ApproximateNumberOfMessagesNotVisible", depth.flying.to_string());
        add("ApproximateNumberOfMessagesDelayed", depth.delayed.to_string());
        add("CreatedTimestamp", queue.created_s.to_string());
        add("LastModifiedTimestamp", queue.created_s.to_string());
        add("QueueArn", format!("arn:aws:sqs:{}:{ACCOUNT}:{}", self.region, queue.name));
        let wanted = &request.attribute_names;
        if !wanted.iter().any(|name| name == "All") {
            const RARE: [&str; 3] = ["Policy", "RedrivePolicy", "RedriveAllowPolicy"];
            let is_known =
                |name: &&String| !all.contains_key(*name) && !RARE.contains(&name.as_str());
            if let Some(name) = wanted.iter().find(is_known) {
                return Err(refusals::unknown_attribute(name));
            }
            all.retain(|name, _| wanted.contains(name));
        }
        Ok(Served::new(&Values { attributes: all }, Work::default()))
    }

    fn set_attributes(&self, body: &[u8]) -> Result<Served, Refusal> {
        let request: SetQueueAttributes = parse(body)?;
        let queue = self.find(&request.queue_url)?;
        let mut shelf = lock(&queue.shelf);
        shelf.attributes = shelf.attributes.with(request.attributes)?;
        Ok(Served::nothing(Work::default()))
    }

    fn purge(&self, context: &Context<'_>, body: &[u8]) -> Result<Served, Refusal> {
        let request: OfQueue = parse(body)?;
        let queue = self.find(&request.queue_url)?;
        lock(&queue.shelf).purge(&queue.name, context.time.now())?;
        Ok(Served::nothing(Work::default()))
    }
}

/// FNV-1a: queues of one name have one number, whatever the order in which they are made.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    })
}

/// An entry of a batch that failed.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Failure {
    id: String,
    sender_fault: bool,
    code: &'static str,
    message: String,
}

impl Failure {
    fn of(id: String, refusal: &Refusal) -> Self {
        let code = refusal.query_code.unwrap_or(refusal.code);
        Self { id, sender_fault: true, code, message: refusal.message.to_string() }
    }

    /// One that is the service's.
    fn injected(id: String) -> Self {
        let message = "We encountered an internal error. Try again.".to_owned();
        Self { id, sender_fault: false, code: "InternalError", message }
    }
}

/// The answer to a batch.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Results<T> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failed: Vec<Failure>,
    successful: Vec<T>,
}

impl<T: Serialize> Results<T> {
    const fn new() -> Self {
        Self { failed: Vec::new(), successful: Vec::new() }
    }

    fn served(&self, work: Work) -> Served {
        let failed = self.failed.len() as u64;
        Served { failed, ..Served::new(self, work) }
    }
}

/// Checks what holds for the entries of any batch; `entry` is what they are called.
fn check_ids<'i>(
    entry: &str,
    ids: impl ExactSizeIterator<Item = &'i str> + Clone,
) -> Result<(), Refusal> {
    if ids.len() == 0 {
        return Err(refusals::empty_batch(entry));
    }
    if ids.len() > ENTRIES_MAX {
        return Err(refusals::too_many_entries(ids.len()));
    }
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let is_id = |id: &str| (1..=80).contains(&id.len()) && id.bytes().all(is_part);
    if !ids.clone().all(is_id) {
        return Err(refusals::bad_entry_id());
    }
    for (at, id) in ids.clone().enumerate() {
        if ids.clone().take(at).any(|earlier| earlier == id) {
            return Err(refusals::repeated_entry_id(id));
        }
    }
    Ok(())
}
