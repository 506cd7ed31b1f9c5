//! What the requeue function does: fresh rounds for dead letters, in steps that may stop anywhere
//! (PROTOCOL 15 to 17).
//!
//! ```text
//! rows of the DLQ, oldest first ─► ten at a time: row ─► main queue      (15, 16)
//! messages of the DLQ ─────────► row has moved on ─► delete the message (17)
//! ```
//!
//! The rows are worked through, not the messages: rows know tenants and order, and a message may
//! have been lost, purged or forgotten by its queue while its row is still dead. A message is only
//! ever deleted, and only where its row says that nothing could begin with it any more.
//!
//! | stopped after        | what is left                                                        |
//! |----------------------|---------------------------------------------------------------------|
//! | the rows of a batch  | due in the work index: swept in two minutes, at the latest          |
//! | its messages         | in the main queue; a sweep may deliver one too, which is the double  |
//! | before a deletion    | a message about a row in a later round: the next call deletes it    |
//!
//! So there is nothing to resume from: calling again goes on with what is still dead.

use std::sync::Arc;

use posthaste_domain::{EventStatus, Row, RowKey, Timestamp};
use posthaste_ports::{Message, PortError, QUEUE_BATCH_MAX, Queue, Rows, Scope, Written};
use posthaste_protocol::{Answer, EventMessage, OnRequeue, Requeued, after_requeue};

use crate::DynamoDeadLetters;

/// Rows of one step: as many as their messages fit into one request.
const STEP: usize = QUEUE_BATCH_MAX;
/// Rows that are looked for at once.
const FOUND_MAX: usize = 1_000;

/// How far a call has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Events in a fresh round.
    pub requeued: u64,
    /// Events that were not in the DLQ, or not any more when their turn came.
    pub failed: u64,
    /// Whether nothing is left to do.
    pub is_done: bool,
    /// What ended the call before its time.
    pub fault: Option<PortError>,
}

impl Progress {
    fn count(&mut self, answers: Vec<Result<Written, PortError>>) {
        for answer in answers {
            match answer {
                Ok(Written::Done) => self.requeued += 1,
                Ok(Written::Refused(_)) => self.failed += 1,
                Err(error) => self.fault = Some(error),
            }
        }
    }
}

/// What became of the DLQ's messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tidied {
    /// Messages that said nothing any more.
    pub deleted: u64,
    /// Messages whose event is dead, or about to be; shown again at once.
    pub left: u64,
    /// Messages that belong to no event. They are for people, and stay.
    pub foreign: u64,
}

/// How long a look into the DLQ waits for a message, in milliseconds: without a wait SQS asks only
/// some of its servers, and a short queue looks empty.
const LOOK_MS: u64 = 1_000;

impl DynamoDeadLetters {
    /// Requeues the oldest of a scope, at most `max`, as long as `go_on` says so before each step.
    pub async fn requeue_steps(
        &self,
        scope: &Scope,
        max: usize,
        now: impl Fn() -> Timestamp + Send,
        go_on: impl Fn() -> bool + Send,
    ) -> Progress {
        let mut progress = Progress::default();
        let mut left = max;
        while left > 0 && progress.fault.is_none() {
            let wanted = left.min(FOUND_MAX);
            let found = match self.dead_rows(scope, None, wanted).await {
                Ok(found) => found,
                Err(error) => return Progress { fault: Some(error.into()), ..progress },
            };
            left -= found.len();
            let is_last = found.len() < wanted;
            let seen = found.into_iter().map(|(key, row, _)| (key, row.round)).collect::<Vec<_>>();
            if !self.steps(&seen, &now, &go_on, &mut progress).await {
                return progress;
            }
            if is_last {
                progress.is_done = progress.fault.is_none();
                break;
            }
        }
        progress
    }

    /// Requeues these events where they are dead, as long as `go_on` says so before each step.
    pub async fn requeue_events(
        &self,
        keys: &[RowKey],
        now: impl Fn() -> Timestamp + Send,
        go_on: impl Fn() -> bool + Send,
    ) -> Progress {
        let mut progress = Progress::default();
        let read = match self.requeuer.rows().read_each(keys).await {
            Ok(read) => read,
            Err(error) => return Progress { fault: Some(error), ..progress },
        };
        let mut dead = Vec::with_capacity(keys.len());
        for (key, stored) in keys.iter().zip(read) {
            match stored {
                Ok(Some(stored)) if stored.row.status == EventStatus::Dlq => {
                    dead.push((key.clone(), stored.row.round));
                }
                Ok(_) | Err(_) => progress.failed += 1,
            }
        }
        let finished = self.steps(&dead, &now, &go_on, &mut progress).await;
        progress.is_done = finished && progress.fault.is_none();
        progress
    }

    /// Step by step; false where it was stopped.
    async fn steps(
        &self,
        seen: &[(RowKey, u32)],
        now: &(impl Fn() -> Timestamp + Send),
        go_on: &(impl Fn() -> bool + Send),
        progress: &mut Progress,
    ) -> bool {
        for step in seen.chunks(STEP) {
            if progress.fault.is_some() || !go_on() {
                return false;
            }
            // Each at its own time: a round that began minutes ago would be past due.
            progress.count(self.requeuer.requeue(step.to_vec(), Requeued::Dead, now()).await);
        }
        true
    }
}

/// Deletes from the DLQ what nothing can begin with any more: at most `max` messages are looked
/// at, as long as `go_on` says so before each step.
///
/// # Errors
/// Where queue or rows cannot be read. What could not be deleted comes again.
pub async fn tidy(
    dead: &Arc<dyn Queue>,
    rows: &Arc<dyn Rows>,
    max: usize,
    go_on: impl Fn() -> bool + Send,
) -> Result<Tidied, PortError> {
    let mut tidied = Tidied::default();
    let mut kept = Vec::new();
    let mut looked = 0;
    let outcome = loop {
        if looked >= max || !go_on() {
            break Ok(());
        }
        let messages = match dead.receive(QUEUE_BATCH_MAX.min(max - looked), LOOK_MS).await {
            Ok(messages) if messages.is_empty() => break Ok(()),
            Ok(messages) => messages,
            Err(error) => break Err(error),
        };
        looked += messages.len();
        let (known, foreign): (Vec<_>, Vec<_>) =
            messages.into_iter().map(|message| (read(&message), message)).partition(is_event);
        tidied.foreign += count(&foreign);
        kept.extend(foreign.into_iter().map(|(_, message)| message.receipt));
        let keys: Vec<_> =
            known.iter().filter_map(|(key, _)| Some(key.as_ref()?.0.clone())).collect();
        let stored = match rows.read_each(&keys).await {
            Ok(stored) => stored,
            Err(error) => {
                kept.extend(known.into_iter().map(|(_, message)| message.receipt));
                break Err(error);
            }
        };
        let mut gone = Vec::new();
        for ((event, message), stored) in known.into_iter().zip(stored) {
            let round = event.map_or(0, |(_, round)| round);
            match stored {
                Ok(row) if has_moved_on(round, row.as_ref().map(|stored| &stored.row)) => {
                    gone.push(message.receipt);
                }
                // A row that makes no sense says nothing about its message.
                Ok(_) | Err(_) => {
                    tidied.left += 1;
                    kept.push(message.receipt);
                }
            }
        }
        let deleted = dead.delete(gone).await;
        tidied.deleted += count(&deleted.into_iter().filter(Result::is_ok).collect::<Vec<_>>());
    };
    // For whoever looks next. Where it fails, the queue's own time-out does it.
    drop(dead.hide(kept, 0).await);
    outcome.map(|()| tidied)
}

fn count<T>(these: &[T]) -> u64 {
    u64::try_from(these.len()).unwrap_or(u64::MAX)
}

/// The event and the round of a message; none where it belongs to no event. Earlier versions wrote
/// no round, and knew only the first.
fn read(message: &Message) -> Option<(RowKey, u32)> {
    let event = EventMessage::parse(&message.body).ok()?;
    Some((event.key, event.round.unwrap_or(0)))
}

fn is_event((event, _): &(Option<(RowKey, u32)>, Message)) -> bool {
    event.is_some()
}

/// Whether a requeue of this round would be refused for good.
fn has_moved_on(round: u32, row: Option<&Row>) -> bool {
    matches!(after_requeue(round, Answer::Refused(row)), OnRequeue::DeleteMessage)
}
