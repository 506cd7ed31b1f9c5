//! Claims: which event an idempotency key stands for.
//!
//! ```text
//! tenantId S, eventId S = claim#<hex SHA-256 of the key>
//! claimant S (the event), requestHash S (hex SHA-256 of its body), ttl N (seconds)
//! ```
//!
//! A claim is put before anything of its event. So a client that comes again, after whichever
//! fault, finds the event's id and goes on where the first call stopped.
//!
//! How long a claim holds is reckoned by the creation times of event ids; `ttl` only clears away,
//! and is a day late, so that neither a table's nor an instance's clock that is wrong by some
//! hours makes a key new too early.

use aws_sdk_dynamodb::types::AttributeValue as Value;
use posthaste_domain::{EventId, TenantId, Timestamp, hex};
use posthaste_ports::{CLAIM_KEPT_MS, Idempotency, NewEvent};

use super::DynamoEvents;
use super::batches::{Inserted, batch_get, insert};
use crate::Error;
use crate::error::Call;
use crate::item::{Item, name, text};

const PREFIX: &str = "claim#";
const CLAIMANT: &str = "claimant";
const REQUEST_HASH: &str = "requestHash";
/// How long after its end a claim is cleared away, in milliseconds.
const TTL_SLACK_MS: u64 = 24 * 60 * 60 * 1000;
/// A claim that others take, or that goes, between our writing and reading is looked at again so
/// often: each time somebody has got through.
const TRIES_MAX: usize = 8;

/// Whom a key stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claimed {
    /// The event that asks.
    Own,
    /// An earlier event with the same body.
    Earlier(EventId),
    /// An event with another body.
    Conflict,
}

/// A claim as it is stored.
struct Claim {
    event: EventId,
    request_hash: String,
}

/// One event's try.
struct Try<'e> {
    index: usize,
    event: &'e NewEvent,
    claim: Idempotency,
}

impl DynamoEvents {
    /// Claims the keys of events, no two of which have the same tenant and key; one answer for
    /// each in order. An event without a key is [`Claimed::Own`].
    pub(super) async fn claim(&self, events: &[&NewEvent]) -> Vec<Result<Claimed, Error>> {
        let mut answers = vec![Ok(Claimed::Own); events.len()];
        let mut open: Vec<_> = events
            .iter()
            .enumerate()
            .filter_map(|(index, event)| Some(Try { index, event, claim: event.idempotency? }))
            .collect();
        for _ in 0..TRIES_MAX {
            if open.is_empty() {
                return answers;
            }
            open = self.claim_once(open, &mut answers).await;
        }
        let call = Call { action: "dynamodb:PartiQLInsert", resource: &self.table };
        for left in open {
            let error = call.answered("TransactionConflict", "others claim the same key");
            set(&mut answers, left.index, Err(error));
        }
        answers
    }

    /// Those for which there is no answer yet.
    async fn claim_once<'e>(
        &self,
        tries: Vec<Try<'e>>,
        answers: &mut [Result<Claimed, Error>],
    ) -> Vec<Try<'e>> {
        let items = tries.iter().map(|one| item(one.event, one.claim)).collect();
        let mut taken = Vec::new();
        for (one, inserted) in tries.into_iter().zip(insert(&self.client, &self.table, items).await)
        {
            match inserted {
                Ok(Inserted::Done) => {}
                Ok(Inserted::Exists) => taken.push(one),
                Err(error) => set(answers, one.index, Err(error)),
            }
        }
        let keys = taken.iter().map(|one| key(&one.event.tenant, one.claim)).collect();
        let found = match batch_get(&self.client, &self.table, keys).await {
            Ok(found) => found,
            Err(error) => {
                for one in taken {
                    set(answers, one.index, Err(error.clone()));
                }
                return Vec::new();
            }
        };
        let mut open = Vec::new();
        for (one, found) in taken.into_iter().zip(found) {
            // Gone meanwhile: the key can be claimed.
            let Some(found) = found else {
                open.push(one);
                continue;
            };
            match self.look(&one, &found).await {
                Ok(Some(claimed)) => set(answers, one.index, Ok(claimed)),
                Ok(None) => open.push(one),
                Err(error) => set(answers, one.index, Err(error)),
            }
        }
        open
    }

    /// What a claim that is there means for an event; none where it changed meanwhile.
    async fn look(&self, one: &Try<'_>, found: &Item) -> Result<Option<Claimed>, Error> {
        let call = Call { action: "dynamodb:BatchGetItem", resource: &self.table };
        let Some(stored) = claim(found) else {
            let tenant = &one.event.tenant;
            return Err(call.unreadable(format!("a claim of {tenant} names no event: {found:?}")));
        };
        if stored.event == one.event.id {
            // Our own, by a try whose reply was lost.
            return Ok(Some(Claimed::Own));
        }
        let now = one.event.id.created_at();
        if now < stored.event.created_at().plus_millis(CLAIM_KEPT_MS) {
            let same = stored.request_hash == digits(&one.claim.body);
            return Ok(Some(if same { Claimed::Earlier(stored.event) } else { Claimed::Conflict }));
        }
        Ok(self.take_over(one, stored.event).await?.then_some(Claimed::Own))
    }

    /// Makes a claim that is over a new one; false where somebody else was quicker.
    async fn take_over(&self, one: &Try<'_>, before: EventId) -> Result<bool, Error> {
        let call = Call { action: "dynamodb:PutItem", resource: &self.table };
        let written = self
            .client
            .table()
            .put_item()
            .table_name(self.table.name())
            .set_item(Some(item(one.event, one.claim)))
            .condition_expression("#c = :before")
            .expression_attribute_names("#c", CLAIMANT)
            .expression_attribute_values(":before", Value::S(before.to_string()))
            .send()
            .await;
        match written {
            Ok(_) => Ok(true),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(|error| error.is_conditional_check_failed_exception()) =>
            {
                Ok(false)
            }
            Err(error) => Err(call.failed(&error)),
        }
    }
}

fn set(answers: &mut [Result<Claimed, Error>], index: usize, to: Result<Claimed, Error>) {
    if let Some(answer) = answers.get_mut(index) {
        *answer = to;
    }
}

fn key(tenant: &TenantId, claim: Idempotency) -> Item {
    Item::from([
        (name::TENANT.to_owned(), Value::S(tenant.as_str().to_owned())),
        (name::EVENT.to_owned(), Value::S(format!("{PREFIX}{}", digits(&claim.key)))),
    ])
}

fn item(event: &NewEvent, claim: Idempotency) -> Item {
    let ends = event.id.created_at().plus_millis(CLAIM_KEPT_MS);
    let ttl = Timestamp::plus_millis(ends, TTL_SLACK_MS).as_secs();
    let mut item = key(&event.tenant, claim);
    item.insert(CLAIMANT.to_owned(), Value::S(event.id.to_string()));
    item.insert(REQUEST_HASH.to_owned(), Value::S(digits(&claim.body)));
    item.insert(name::TTL.to_owned(), Value::N(ttl.to_string()));
    item
}

fn claim(item: &Item) -> Option<Claim> {
    let event = text(item, CLAIMANT)?.parse().ok()?;
    Some(Claim { event, request_hash: text(item, REQUEST_HASH)?.to_owned() })
}

fn digits(bytes: &[u8; 32]) -> String {
    let mut text = String::new();
    hex::push(&mut text, bytes);
    text
}
