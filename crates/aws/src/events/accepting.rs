//! Accepting: claim, body, row, message (PROTOCOL 1 to 3), each as one batch.
//!
//! | stopped after         | what a retry with the key finds and does                             |
//! |-----------------------|----------------------------------------------------------------------|
//! | the claim             | no row: puts body and row, sends                                     |
//! | the body              | the same; the body is there already, with the same bytes             |
//! | the row               | the row, PENDING and in nobody's care: sends                         |
//! | the message           | the same, and the second message says that it comes again            |
//! | the first outcome     | the row is final or in the work index: nothing is left to do         |
//!
//! The one whose `INSERT` made the row sends a plain message, which is delivered without a look at
//! the row. Everybody else (a retry, a call whose reply was lost) sends one that says `again`, so
//! that whoever receives it reads the row first: it may have been delivered long ago. The same
//! goes for a second send within one call (`sending`).
//!
//! Requests of a batch of n events: n/25 for rows, n/25 each for claims and bodies where there are
//! any, n/10 messages. Write units of an event: 1 (row) + 1 (claim, with a key) + the body's KiB.

use std::collections::HashSet;

use posthaste_domain::{EventId, RowKey, TenantId};
use posthaste_ports::{Acceptance, NewEvent, PortError};
use posthaste_protocol::EventMessage;

use super::DynamoEvents;
use super::batches::{Inserted, batch_get, insert};
use super::claims::Claimed;
use super::sending::send;
use crate::item::{new_items, row_key};
use crate::{Error, NewRow};

/// One event on its way.
struct Step {
    /// Its place in the call.
    index: usize,
    /// The event's own row, or the earlier event's that its key stands for.
    key: RowKey,
    event: NewEvent,
    /// What the answer will be.
    acceptance: Acceptance,
    /// Whether a message may have been sent before.
    again: bool,
}

/// The answers of a call, in order.
type Answers = Vec<Option<Result<Acceptance, PortError>>>;

impl DynamoEvents {
    /// Accepts events, one answer for each in order. Each stands for itself: a fault with one does
    /// not touch the others.
    pub(super) async fn accept_apart(
        &self,
        events: Vec<NewEvent>,
    ) -> Vec<Result<Acceptance, PortError>> {
        let mut answers: Answers = vec![None; events.len()];
        let mut left: Vec<_> = events.into_iter().enumerate().collect();
        // A key that comes more than once is seen in turn: the second finds the first one's claim.
        while !left.is_empty() {
            let mut keys = HashSet::new();
            let (turn, later) = left.into_iter().partition(|(_, event)| {
                let key = event.idempotency.map(|claim| (event.tenant.clone(), claim.key));
                key.is_none_or(|key| keys.insert(key))
            });
            self.accept_turn(turn, &mut answers).await;
            left = later;
        }
        let unanswered = || Err(PortError::Transient("an event was left unanswered".to_owned()));
        answers.into_iter().map(|answer| answer.unwrap_or_else(unanswered)).collect()
    }

    /// Accepts events no two of which have the same key.
    async fn accept_turn(&self, events: Vec<(usize, NewEvent)>, answers: &mut Answers) {
        let events = self.of_tenants(events, answers).await;
        let steps = self.claimed(events, answers).await;
        let (known, new): (Vec<_>, Vec<_>) =
            steps.into_iter().partition(|step| matches!(step.acceptance, Acceptance::Replayed(_)));
        let (mut to_send, mut to_put) = self.resumed(known, answers).await;
        to_put.extend(new);
        to_send.extend(self.put(to_put, answers).await);
        self.send(to_send, answers).await;
    }

    /// Those whose tenant exists.
    async fn of_tenants(
        &self,
        events: Vec<(usize, NewEvent)>,
        answers: &mut Answers,
    ) -> Vec<(usize, NewEvent)> {
        let mut of_tenants = Vec::with_capacity(events.len());
        // A call's events are one tenant's as a rule, so this is a look at most.
        let mut last: Option<(TenantId, Result<bool, PortError>)> = None;
        for (index, event) in events {
            let exists = match last.take().filter(|(tenant, _)| *tenant == event.tenant) {
                Some((_, exists)) => exists,
                None => self.exists(&event.tenant).await,
            };
            last = Some((event.tenant.clone(), exists.clone()));
            match exists {
                Ok(true) => of_tenants.push((index, event)),
                Ok(false) => answer(answers, index, Ok(Acceptance::UnknownTenant)),
                Err(error) => answer(answers, index, Err(error)),
            }
        }
        of_tenants
    }

    async fn claimed(&self, events: Vec<(usize, NewEvent)>, answers: &mut Answers) -> Vec<Step> {
        let asking: Vec<_> = events.iter().map(|(_, event)| event).collect();
        let claims = self.claim(&asking).await;
        let mut steps = Vec::with_capacity(events.len());
        for ((index, event), claimed) in events.into_iter().zip(claims) {
            let (id, acceptance) = match claimed {
                Ok(Claimed::Own) => (event.id, Acceptance::Accepted(event.id)),
                Ok(Claimed::Earlier(id)) => (id, Acceptance::Replayed(id)),
                Ok(Claimed::Conflict) => {
                    answer(answers, index, Ok(Acceptance::Conflict));
                    continue;
                }
                Err(error) => {
                    answer(answers, index, Err(error.into()));
                    continue;
                }
            };
            let key = RowKey { tenant: event.tenant.clone(), event: id };
            steps.push(Step { index, key, event, acceptance, again: false });
        }
        steps
    }

    /// Looks how far the earlier calls of these keys came: those whose message may be missing, and
    /// those whose row is.
    async fn resumed(&self, known: Vec<Step>, answers: &mut Answers) -> (Vec<Step>, Vec<Step>) {
        let keys = known.iter().map(|step| row_key(&step.key)).collect();
        let rows = match batch_get(&self.client, &self.table, keys).await {
            Ok(rows) => rows,
            Err(error) => {
                fail(known, &error, answers);
                return (Vec::new(), Vec::new());
            }
        };
        let (mut to_send, mut to_put) = (Vec::new(), Vec::new());
        for (step, found) in known.into_iter().zip(rows) {
            let Some(found) = found else {
                to_put.push(step);
                continue;
            };
            match self.row(&found) {
                // Nobody needs a message: it is settled, or a sweep finds it.
                Ok(row) if row.is_final() || row.lease.is_some() => {
                    answer(answers, step.index, Ok(step.acceptance));
                }
                Ok(_) => to_send.push(Step { again: true, ..step }),
                Err(error) => answer(answers, step.index, Err(error.into())),
            }
        }
        (to_send, to_put)
    }

    /// Puts bodies, then rows: a row without its body would be an event without a payload. Those
    /// whose row is there.
    async fn put(&self, steps: Vec<Step>, answers: &mut Answers) -> Vec<Step> {
        let mut bodies = Vec::new();
        let mut rows = Vec::with_capacity(steps.len());
        let mut with_body = Vec::new();
        for step in &steps {
            let items = new_items(&NewRow {
                key: step.key.clone(),
                payload: step.event.payload.clone(),
                target_url: None,
            });
            with_body.push(items.body.is_some());
            bodies.extend(items.body);
            rows.push(items.row);
        }
        let mut put = insert(&self.client, &self.table, bodies).await.into_iter();
        let mut ready = Vec::with_capacity(steps.len());
        let mut ready_rows = Vec::with_capacity(steps.len());
        for ((step, row), with_body) in steps.into_iter().zip(rows).zip(with_body) {
            // A body that is there is the same event's, with the same bytes: ids are never used
            // twice, and a claim stands for one body.
            let body = if with_body { put.next() } else { None };
            match body {
                Some(Err(error)) => answer(answers, step.index, Err(error.into())),
                Some(Ok(_)) | None => {
                    ready.push(step);
                    ready_rows.push(row);
                }
            }
        }
        let mut done = Vec::with_capacity(ready.len());
        for (step, inserted) in
            ready.into_iter().zip(insert(&self.client, &self.table, ready_rows).await)
        {
            match inserted {
                Ok(Inserted::Done) => done.push(step),
                Ok(Inserted::Exists) => done.push(Step { again: true, ..step }),
                Err(error) => answer(answers, step.index, Err(error.into())),
            }
        }
        done
    }

    /// Sends the messages; only what the queue has taken is accepted.
    async fn send(&self, steps: Vec<Step>, answers: &mut Answers) {
        if steps.is_empty() {
            return;
        }
        let messages = steps.iter().map(message).collect();
        let sent = send(&*self.queue, messages).await;
        for (step, sent) in steps.into_iter().zip(sent) {
            answer(answers, step.index, sent.map(|()| step.acceptance));
        }
    }
}

fn message(step: &Step) -> EventMessage {
    let payload = Some(&step.event.payload).filter(|payload| can_travel(payload)).cloned();
    EventMessage {
        key: step.key.clone(),
        round: Some(0),
        payload,
        created_at: Some(EventId::created_at(step.key.event)),
        again: step.again,
    }
}

/// Whether a queue takes these bytes inside a message. SQS refuses two characters that JSON allows
/// as they are, U+FFFE and U+FFFF, and with them the whole request; such a payload travels by
/// reference. (JSON has the control characters escaped, and UTF-8 knows no surrogates.)
fn can_travel(payload: &[u8]) -> bool {
    let refused = |bytes: &[u8]| matches!(bytes, [0xEF, 0xBF, 0xBE | 0xBF]);
    !payload.windows(3).any(refused)
}

fn answer(answers: &mut Answers, index: usize, with: Result<Acceptance, PortError>) {
    if let Some(answer) = answers.get_mut(index) {
        *answer = Some(with);
    }
}

fn fail(steps: Vec<Step>, error: &Error, answers: &mut Answers) {
    for step in steps {
        answer(answers, step.index, Err(error.clone().into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_queue_refuses_travels_by_reference() {
        for text in ["", "{}", "{\"a\":\"\u{fffd}\u{ffee}\u{10ffff}\"}", "\u{7f}"] {
            assert!(can_travel(text.as_bytes()), "{text:?}");
        }
        for text in ["\u{fffe}", "{\"a\":\"\u{ffff}\"}"] {
            assert!(!can_travel(text.as_bytes()), "{text:?}");
        }
    }
}
