//! A queue of messages that come again until they are deleted (AWS mode).

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use posthaste_domain::Timestamp;

use crate::PortError;

/// How many entries one call takes at most.
pub const QUEUE_BATCH_MAX: usize = 10;

/// Names one receipt of a message; a later receipt of the same message has another one. Cheap to
/// clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Receipt(pub Arc<str>);

/// A message that was received, and is hidden from others for the visibility time-out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// To delete it, or to hide it longer.
    pub receipt: Receipt,
    /// Its body as it came; nobody has looked at it.
    pub body: Bytes,
    /// How often it was received, this time included.
    pub receives: u32,
    /// When it was sent.
    pub sent_at: Timestamp,
}

/// A message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Its body.
    pub body: Bytes,
    /// Who is to wait for whom: a fair queue serves groups in turn. The tenant.
    pub group: Box<str>,
}

/// A queue.
///
/// An error says nothing about whether it was done: a reply may be lost.
#[async_trait]
pub trait Queue: Send + Sync {
    /// At most `max` messages (1 to [`QUEUE_BATCH_MAX`]); waits up to `wait_ms` milliseconds for
    /// the first one. Dropping the call may leave messages hidden until their time-out.
    async fn receive(&self, max: usize, wait_ms: u64) -> Result<Vec<Message>, PortError>;
    /// Deletes messages, any number; one answer for each in order.
    async fn delete(&self, receipts: Vec<Receipt>) -> Vec<Result<(), PortError>>;
    /// Hides messages for `visibility_ms` from now on (0: shows them again), any number; one
    /// answer for each in order. An error of a message that is gone or was received again is
    /// [`PortError::Permanent`].
    async fn hide(&self, receipts: Vec<Receipt>, visibility_ms: u64) -> Vec<Result<(), PortError>>;
    /// Sends messages, any number, each once: an adapter does not send again by itself what may
    /// have been taken. One answer for each in order.
    async fn send(&self, messages: Vec<Outgoing>) -> Vec<Result<(), PortError>>;
}
