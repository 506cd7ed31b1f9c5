//! The checks of queues.

mod entries;
mod receiving;
mod visibility;

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use super::{Check, QueueSubject};
use crate::{Message, Outgoing, PortError, Queue, Receipt};

/// For how long messages are hidden where a check does not wait for it, in milliseconds.
const LONG_MS: u64 = 60_000;
/// The same where it does.
const SHORT_MS: u64 = 1_000;
/// How long to wait for what must come, in milliseconds. A message that is there comes at once.
const PATIENCE_MS: u64 = 10_000;
/// Receives that may come back empty before what must come is given up.
const RECEIVES_MAX: u32 = 60;

/// Names of functions as checks.
macro_rules! checks {
    ($($area:ident: $($name:ident),+;)+) => {
        /// Every check of queues.
        pub(super) const CHECKS: &[Check<dyn QueueSubject>] = &[$($(Check {
            name: concat!(stringify!($area), "::", stringify!($name)),
            run: |subject| Box::pin(async move {
                let name = concat!(stringify!($area), "-", stringify!($name)).replace('_', "-");
                $area::$name(Maker { subject, name }).await;
            }),
        }),+),+];
    };
}

checks! {
    receiving: what_was_sent_is_received, an_empty_queue_has_nothing, at_most_what_was_asked_for,
        ten_at_a_time, a_long_poll_does_not_wait_for_more, a_long_poll_wakes_up,
        a_long_poll_ends, receives_are_counted, the_time_of_sending_stays, bodies_come_as_they_were,
        a_large_body, large_bodies_in_one_call, every_group_is_served, two_receivers_share,
        queues_are_apart;
    visibility: a_received_message_is_hidden, it_comes_again_when_its_time_is_over,
        hidden_longer_it_stays_away, hidden_shorter_it_comes_sooner,
        hidden_for_zero_it_comes_at_once,
        a_long_poll_wakes_up_for_what_comes_again, each_receive_has_a_receipt_of_its_own,
        a_stale_receipt_hides_nothing, a_stale_receipt_does_not_stop_the_fresh_one;
    entries: nothing_in_nothing_out, deleted_is_gone, deleting_twice_is_once,
        a_deleted_message_cannot_be_hidden, no_receipt_at_all_is_refused, each_entry_has_its_answer,
        twenty_five_entries, thirteen_are_hidden_at_once, a_body_that_cannot_go_stops_nobody;
}

/// Makes the queues of one check.
struct Maker {
    subject: Arc<dyn QueueSubject>,
    name: String,
}

impl Maker {
    async fn queue(&self, visibility_ms: u64) -> Line {
        self.other("a", visibility_ms).await
    }

    /// One of several queues.
    async fn other(&self, which: &str, visibility_ms: u64) -> Line {
        // SQS allows 80 characters.
        let name = &self.name[..self.name.len().min(70)];
        Line(self.subject.queue(&format!("{name}-{which}"), visibility_ms).await)
    }
}

/// A queue as checks use it: what fails, fails the check.
struct Line(Arc<dyn Queue>);

impl Line {
    async fn send(&self, bodies: &[&str]) {
        let messages = bodies.iter().map(|body| outgoing(body, "acme")).collect();
        for answer in self.0.send(messages).await {
            assert_eq!(answer, Ok(()), "a send");
        }
    }

    /// Numbered messages.
    async fn send_many(&self, count: usize) {
        let bodies: Vec<_> = (0..count).map(|number| format!("message {number}")).collect();
        self.send(&bodies.iter().map(String::as_str).collect::<Vec<_>>()).await;
    }

    async fn receive(&self, max: usize, wait_ms: u64) -> Vec<Message> {
        let received = self.0.receive(max, wait_ms).await.expect("a receive");
        assert!(received.len() <= max, "{} of at most {max}", received.len());
        received
    }

    /// The only message.
    async fn one(&self) -> Message {
        self.many(1).await.pop().expect("one message")
    }

    /// So many messages, however many receives that takes; a queue may hand out few at a time.
    async fn many(&self, count: usize) -> Vec<Message> {
        let mut all = Vec::new();
        for _ in 0..RECEIVES_MAX {
            if all.len() >= count {
                break;
            }
            all.extend(self.receive((count - all.len()).min(10), PATIENCE_MS).await);
        }
        assert_eq!(all.len(), count, "messages that came");
        all
    }

    /// Nothing comes within this time.
    async fn nothing(&self, wait_ms: u64) {
        let received = self.receive(10, wait_ms).await;
        assert_eq!(received, Vec::new(), "nothing is to be had");
    }

    async fn delete(&self, messages: &[Message]) {
        for answer in self.0.delete(receipts(messages)).await {
            assert_eq!(answer, Ok(()), "a delete");
        }
    }

    async fn hide(&self, messages: &[Message], visibility_ms: u64) {
        for answer in self.0.hide(receipts(messages), visibility_ms).await {
            assert_eq!(answer, Ok(()), "a hide");
        }
    }
}

fn outgoing(body: &str, group: &str) -> Outgoing {
    Outgoing { body: Bytes::copy_from_slice(body.as_bytes()), group: group.into() }
}

fn receipts(messages: &[Message]) -> Vec<Receipt> {
    messages.iter().map(|message| message.receipt.clone()).collect()
}

fn bodies(messages: &[Message]) -> BTreeSet<Bytes> {
    messages.iter().map(|message| message.body.clone()).collect()
}

fn is_permanent(answer: &Result<(), PortError>) -> bool {
    matches!(answer, Err(PortError::Permanent(_)))
}
