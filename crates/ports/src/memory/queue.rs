//! A queue in memory: messages that are hidden when they are received, and come again.
//!
//! The reference for every other queue, and the queue of the simulator. Hands messages out in the
//! order in which they were sent, which no caller may rely on.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use posthaste_domain::Timestamp;
use tokio::sync::Notify;

use super::faults::{Clock, Fault, Faults, NoFaults, Operation, World};
use crate::{Message, Outgoing, PortError, QUEUE_BATCH_MAX, Queue, Receipt};

/// The queue. Clones share it.
#[derive(Clone, Debug)]
pub struct MemoryQueue {
    world: World,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    visibility_ms: u64,
    state: Mutex<State>,
    /// Somebody who waits should look again.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// By the order in which they were sent.
    messages: BTreeMap<u64, Held>,
    sent: u64,
}

#[derive(Debug)]
struct Held {
    body: Bytes,
    sent_at: Timestamp,
    receives: u32,
    visible_at: Timestamp,
}

impl MemoryQueue {
    /// An empty queue that hides a received message for so long.
    #[must_use]
    pub fn new(clock: Clock, visibility_ms: u64) -> Self {
        Self::with_faults(clock, visibility_ms, Arc::new(NoFaults))
    }

    /// An empty queue in which this goes wrong.
    #[must_use]
    pub fn with_faults(clock: Clock, visibility_ms: u64, faults: Arc<dyn Faults>) -> Self {
        let shared = Shared { visibility_ms, state: Mutex::default(), changed: Notify::new() };
        Self { world: World { clock, faults }, shared: Arc::new(shared) }
    }

    /// How many messages there are, hidden ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().messages.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bodies of all messages, hidden ones included; no fault comes between.
    #[must_use]
    pub fn bodies(&self) -> Vec<Bytes> {
        self.lock().messages.values().map(|held| held.body.clone()).collect()
    }

    /// Whoever waits looks again: for a clock that does not pass as the runtime's does.
    pub fn wake(&self) {
        self.shared.changed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics between two writes that belong together, so a poisoned state is whole.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands out what is visible; without any, the milliseconds until something will be.
    fn take(&self, max: usize) -> Result<Vec<Message>, Option<u64>> {
        let (mut state, now) = (self.lock(), self.world.now());
        let hidden_until = now.plus_millis(self.shared.visibility_ms);
        let mut taken = Vec::new();
        for (number, held) in &mut state.messages {
            if taken.len() == max {
                break;
            }
            if held.visible_at > now {
                continue;
            }
            held.receives = held.receives.saturating_add(1);
            if self.world.faults.fault(Operation::Message) != Fault::Twice {
                held.visible_at = hidden_until;
            }
            taken.push(Message {
                receipt: receipt(*number, held.receives),
                body: held.body.clone(),
                receives: held.receives,
                sent_at: held.sent_at,
            });
        }
        if taken.is_empty() {
            let next = state.messages.values().map(|held| held.visible_at).min();
            return Err(next.map(|at| at.millis_since(now)));
        }
        Ok(taken)
    }
}

impl State {
    /// The message of a receipt; none where it is gone, is visible again, or was received again.
    fn held(&mut self, now: Timestamp, wanted: &Receipt) -> Option<&mut Held> {
        let (number, receives) = parts(wanted)?;
        let held = self.messages.get_mut(&number)?;
        (held.receives == receives && held.visible_at > now).then_some(held)
    }

    fn send(&mut self, now: Timestamp, body: &Bytes) {
        let held = Held { body: body.clone(), sent_at: now, receives: 0, visible_at: now };
        self.messages.insert(self.sent, held);
        self.sent += 1;
    }

    /// A receipt that has become stale deletes nothing, and nobody is told.
    fn delete(&mut self, wanted: &Receipt) -> Result<(), PortError> {
        let Some((number, receives)) = parts(wanted) else { return Err(no_receipt(wanted)) };
        if self.messages.get(&number).is_some_and(|held| held.receives == receives) {
            self.messages.remove(&number);
        }
        Ok(())
    }

    fn hide(
        &mut self,
        now: Timestamp,
        wanted: &Receipt,
        visibility_ms: u64,
    ) -> Result<(), PortError> {
        let held = self.held(now, wanted).ok_or_else(|| no_receipt(wanted))?;
        held.visible_at = now.plus_millis(visibility_ms);
        Ok(())
    }
}

#[async_trait]
impl Queue for MemoryQueue {
    async fn receive(&self, max: usize, wait_ms: u64) -> Result<Vec<Message>, PortError> {
        self.world.delay(Operation::Receive).await;
        let fault = self.world.faults.fault(Operation::Receive);
        if let Fault::Before | Fault::Throttled { .. } = fault {
            return World::answer(fault, Operation::Receive, Vec::new);
        }
        let mut waited_ms = 0;
        loop {
            let mut changed = pin!(self.shared.changed.notified());
            // From here on nothing that happens is missed.
            changed.as_mut().enable();
            let next_ms = match self.take(max.clamp(1, QUEUE_BATCH_MAX)) {
                Ok(taken) => return World::answer(fault, Operation::Receive, || taken),
                Err(next_ms) => next_ms.unwrap_or(u64::MAX),
            };
            let left_ms = wait_ms.saturating_sub(waited_ms);
            if left_ms == 0 {
                return World::answer(fault, Operation::Receive, Vec::new);
            }
            let before = self.world.now();
            let pause_ms = left_ms.min(next_ms).max(1);
            let woken = tokio::time::timeout(Duration::from_millis(pause_ms), changed).await;
            // A clock that stands still does not make a call endless.
            waited_ms += match woken {
                Ok(()) => self.world.now().millis_since(before),
                Err(_) => pause_ms,
            };
        }
    }

    async fn delete(&self, receipts: Vec<Receipt>) -> Vec<Result<(), PortError>> {
        self.world.delay(Operation::Delete).await;
        let mut state = self.lock();
        let mut delete = |receipt| {
            self.world.attempt(Operation::Delete, || state.delete(receipt)).and_then(|done| done)
        };
        receipts.iter().map(&mut delete).collect()
    }

    async fn hide(&self, receipts: Vec<Receipt>, visibility_ms: u64) -> Vec<Result<(), PortError>> {
        self.world.delay(Operation::Hide).await;
        let now = self.world.now();
        let mut state = self.lock();
        let mut hide = |receipt| {
            let hide = || state.hide(now, receipt, visibility_ms);
            self.world.attempt(Operation::Hide, hide).and_then(|done| done)
        };
        let answers = receipts.iter().map(&mut hide).collect();
        drop(state);
        self.wake();
        answers
    }

    async fn send(&self, messages: Vec<Outgoing>) -> Vec<Result<(), PortError>> {
        self.world.delay(Operation::Send).await;
        let now = self.world.now();
        let mut state = self.lock();
        let mut send = |message: &Outgoing| {
            if message.body.is_empty() {
                return Err(PortError::Permanent("a message without a body".to_owned()));
            }
            let fault = self.world.faults.fault(Operation::Send);
            if fault == Fault::Twice {
                state.send(now, &message.body);
            }
            World::answer(fault, Operation::Send, || state.send(now, &message.body))
        };
        let answers = messages.iter().map(&mut send).collect();
        drop(state);
        self.wake();
        answers
    }
}

fn receipt(number: u64, receives: u32) -> Receipt {
    Receipt(format!("{number}-{receives}").into())
}

fn parts(receipt: &Receipt) -> Option<(u64, u32)> {
    let (number, receives) = receipt.0.split_once('-')?;
    Some((number.parse().ok()?, receives.parse().ok()?))
}

fn no_receipt(receipt: &Receipt) -> PortError {
    PortError::Permanent(format!("no message in flight has the receipt {}", receipt.0))
}
