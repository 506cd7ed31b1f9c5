//! Sending messages of the main queue (PROTOCOL 3 and 16), more than once where it must be.
//!
//! A send whose reply was lost may have been taken. Sent again just as it was, the second message
//! would have the event delivered a second time: a first message of round 0 is attempted without
//! a look at the row. So every further one says `again`, and whoever receives it reads the row. The
//! SDK sends nothing again by itself, since its copy could not say so.

use std::time::Duration;

use posthaste_ports::{Outgoing, PortError, Queue};
use posthaste_protocol::EventMessage;

/// So often a message is sent until its sender is told that it failed.
const SENDS_MAX: u32 = 3;
/// The wait after the first failure, doubled with each further one.
const BACKOFF: Duration = Duration::from_millis(50);

/// Sends messages; one answer for each in order.
pub(super) async fn send(
    queue: &dyn Queue,
    mut messages: Vec<EventMessage>,
) -> Vec<Result<(), PortError>> {
    let mut left: Vec<usize> = (0..messages.len()).collect();
    let mut answers = vec![Ok(()); messages.len()];
    for sends in 1..=SENDS_MAX {
        let outgoing = left.iter().map(|at| outgoing(&messages[*at])).collect();
        let mut failed = Vec::new();
        for (at, sent) in left.into_iter().zip(queue.send(outgoing).await) {
            // What is refused for good would be refused again.
            if matches!(sent, Err(PortError::Transient(_) | PortError::Throttled { .. })) {
                failed.push(at);
            }
            answers[at] = sent;
        }
        left = failed;
        if left.is_empty() || sends == SENDS_MAX {
            break;
        }
        for at in &left {
            messages[*at].again = true;
        }
        tokio::time::sleep(BACKOFF * 2u32.pow(sends - 1)).await;
    }
    answers
}

fn outgoing(message: &EventMessage) -> Outgoing {
    Outgoing { body: message.body(), group: message.key.tenant.as_str().into() }
}
