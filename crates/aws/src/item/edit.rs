//! A conditional write of a row as changes of attributes: what `RowWrite::apply` means, in the
//! words of the table.
//!
//! Invariant: for all rows and writes, an edit is refused where `apply` refuses, and leaves what
//! `apply` makes of the row. `tests` compares the two, the conformance suite compares whole
//! stores.

use std::borrow::Cow;

use aws_sdk_dynamodb::types::AttributeValue as Value;
use posthaste_domain::{
    Attempt, EventStatus, InstanceId, RowChange, RowKey, RowWrite, Timestamp, Verdict,
};

use super::{Item, attempt, kept_ms, name, standing, work_partition};

/// What must hold of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Want {
    /// It has this value.
    Is(&'static str, Value),
    /// It has one of two values.
    IsEither(&'static str, Value, Value),
    /// It is absent.
    Absent(&'static str),
    /// It is there.
    Present(&'static str),
}

/// A conditional write of one item.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Edit {
    /// What must hold, all of it.
    pub(crate) wants: Vec<Want>,
    /// What is set.
    pub(crate) sets: Vec<(Cow<'static, str>, Value)>,
    /// What is removed, where it is there.
    pub(crate) removes: Vec<&'static str>,
}

impl Edit {
    /// The edit that a write is.
    pub(crate) fn of(write: &RowWrite) -> Self {
        let mut edit = Self::default();
        edit.want(name::ROUND, number(write.round));
        let key = &write.key;
        match &write.change {
            RowChange::Deliver { attempts, at, attempt } => {
                edit.want_open();
                edit.set(name::ATTEMPTS, number(*attempts));
                edit.log(write.round, attempt.as_deref());
                edit.end(key, EventStatus::Delivered, *at);
            }
            RowChange::Fail { .. } => edit.fail(write),
            RowChange::Claim { owner, epoch_seen, until_seen, until } => {
                edit.wants.push(Want::Present(name::PARTITION));
                edit.want(name::EPOCH, number(*epoch_seen));
                edit.want(name::DUE, time(*until_seen));
                edit.own(owner, epoch_seen.saturating_add(1));
                edit.set(name::DUE, time(*until));
            }
            RowChange::Extend { owner, epoch, until } => {
                edit.want_owner(owner, *epoch);
                edit.set(name::DUE, time(*until));
            }
            RowChange::Die { owner, epoch, attempts, at } => {
                edit.want(name::STATUS, status(EventStatus::Failed));
                edit.wants.push(Want::Present(name::CAUSE));
                edit.want(name::ATTEMPTS, number(*attempts));
                edit.want_owner(owner, *epoch);
                edit.end(key, EventStatus::Dlq, *at);
            }
            RowChange::Requeue { failed_too, until } => {
                edit.requeue(key, write.round, *failed_too, *until);
            }
            RowChange::Purge { at } => {
                edit.want(name::STATUS, status(EventStatus::Dlq));
                edit.end(key, EventStatus::Purged, *at);
            }
        }
        edit
    }

    /// The same edit for a row of an earlier version, which lacks the round, or the attempts, that
    /// the edit wants to be 0; none where the row has them. The row has its round afterwards.
    ///
    /// An edit of its own, since `gen = 0 OR gen IS MISSING` is no statement that DynamoDB is sure
    /// to take: beside the keys a `WHERE` holds conditions that are joined by `AND`.
    pub(crate) fn for_older(mut self, old: &Item) -> Option<Self> {
        let mut is_older = false;
        for want in &mut self.wants {
            if let Want::Is(name @ (name::ROUND | name::ATTEMPTS), value) = want
                && *value == number(0)
                && !old.contains_key(*name)
            {
                *want = Want::Absent(name);
                is_older = true;
            }
        }
        if !self.sets.iter().any(|(name, _)| name == name::ROUND) {
            self.set(name::ROUND, number(0));
        }
        is_older.then_some(self)
    }

    fn fail(&mut self, write: &RowWrite) {
        let RowChange::Fail {
            attempts,
            attempts_seen,
            interrupted,
            owner,
            epoch_seen,
            next_attempt_at,
            until,
            cause,
            attempt,
            at: _,
        } = &write.change
        else {
            return;
        };
        self.want_open();
        self.want(name::ATTEMPTS, number(*attempts_seen));
        self.wants.push(Want::Absent(name::CAUSE));
        if *epoch_seen == 0 {
            self.wants.push(Want::Absent(name::OWNER));
        } else {
            self.want_owner(owner, *epoch_seen);
        }
        self.set(name::STATUS, status(EventStatus::Failed));
        self.set(name::ATTEMPTS, number(*attempts));
        self.set(name::INTERRUPTED, number(*interrupted));
        self.own(owner, (*epoch_seen).max(1));
        self.set(name::PARTITION, number(work_partition(&write.key)));
        self.set(name::DUE, time(*until));
        self.set(name::NEXT_ATTEMPT_AT, time(*next_attempt_at));
        self.set(name::STANDING, text(standing(&write.key.tenant, EventStatus::Failed)));
        if let Some(cause) = cause {
            self.set(name::CAUSE, text(cause.as_str()));
        }
        self.log(write.round, attempt.as_deref());
    }

    fn requeue(&mut self, key: &RowKey, round: u32, failed_too: bool, until: Timestamp) {
        let dead = status(EventStatus::Dlq);
        self.wants.push(if failed_too {
            Want::IsEither(name::STATUS, dead, status(EventStatus::Failed))
        } else {
            Want::Is(name::STATUS, dead)
        });
        self.set(name::STATUS, status(EventStatus::Pending));
        self.set(name::ROUND, number(round.saturating_add(1)));
        self.set(name::ATTEMPTS, number(0));
        self.set(name::EPOCH, number(0));
        self.set(name::PARTITION, number(work_partition(key)));
        self.set(name::DUE, time(until));
        self.removes.extend([name::OWNER, name::INTERRUPTED, name::NEXT_ATTEMPT_AT, name::CAUSE]);
        self.removes.extend([name::TTL, name::ENDED_AT, name::STANDING]);
    }

    /// A final status: out of the work index.
    fn end(&mut self, key: &RowKey, to: EventStatus, at: Timestamp) {
        self.set(name::STATUS, status(to));
        self.set(name::ENDED_AT, time(at));
        let expires_at = at.plus_millis(kept_ms(to).unwrap_or(0));
        // Rounded up: nothing expires a millisecond early.
        self.set(name::TTL, number(expires_at.as_millis().div_ceil(1000)));
        self.removes.extend([name::PARTITION, name::DUE, name::OWNER, name::EPOCH]);
        self.removes.push(name::NEXT_ATTEMPT_AT);
        if to == EventStatus::Delivered {
            self.removes.extend([name::STANDING, name::CAUSE]);
            self.removes.extend([name::ERROR_MESSAGE, name::LAST_RESPONSE]);
        } else {
            self.set(name::STANDING, text(standing(&key.tenant, to)));
        }
    }

    /// An attempt's entry in the log, and what the row says about the last attempt.
    fn log(&mut self, round: u32, logged: Option<&Attempt>) {
        let Some(logged) = logged else { return };
        self.sets.push((attempt::name(round, logged.number).into(), attempt::value(logged)));
        self.set(name::LAST_ATTEMPT_AT, seconds(logged.at));
        if let Some(error) = &logged.error {
            self.set(name::ERROR_MESSAGE, text(attempt::last_error(error)));
        }
        // A success has room for its entry only, if it is to cost one write unit; its end removes
        // what was kept of a failure.
        if logged.verdict == Verdict::Delivered {
            return;
        }
        match attempt::last_response(logged) {
            Some(response) => self.set(name::LAST_RESPONSE, response),
            None => self.removes.push(name::LAST_RESPONSE),
        }
    }

    fn want_open(&mut self) {
        let (pending, failed) = (status(EventStatus::Pending), status(EventStatus::Failed));
        self.wants.push(Want::IsEither(name::STATUS, pending, failed));
    }

    fn want_owner(&mut self, owner: &InstanceId, epoch: u64) {
        self.want(name::OWNER, text(owner.as_str()));
        self.want(name::EPOCH, number(epoch));
    }

    fn want(&mut self, name: &'static str, value: Value) {
        self.wants.push(Want::Is(name, value));
    }

    fn own(&mut self, owner: &InstanceId, epoch: u64) {
        self.set(name::OWNER, text(owner.as_str()));
        self.set(name::EPOCH, number(epoch));
    }

    fn set(&mut self, name: &'static str, value: Value) {
        self.sets.push((name.into(), value));
    }
}

pub(super) fn status(status: EventStatus) -> Value {
    text(status.as_str())
}

pub(super) fn text(text: impl Into<String>) -> Value {
    Value::S(text.into())
}

pub(super) fn number(number: impl ToString) -> Value {
    Value::N(number.to_string())
}

pub(super) fn time(at: Timestamp) -> Value {
    number(at.as_millis())
}

/// A time as the older attributes have it: whole seconds, as a text.
pub(super) fn seconds(at: Timestamp) -> Value {
    text(at.as_secs().to_string())
}
