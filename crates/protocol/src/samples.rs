//! Rows and names for the unit tests.

use posthaste_domain::{
    DeadLetterCause, EventId, EventStatus, InstanceId, Lease, Row, RowKey, TenantId, Timestamp,
};

pub(crate) fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(seconds * 1_000)
}

pub(crate) fn instance(name: &str) -> InstanceId {
    InstanceId::try_new(name).unwrap()
}

pub(crate) fn key() -> RowKey {
    RowKey { tenant: TenantId::try_new("acme").unwrap(), event: EventId::MIN }
}

/// A row of round 0 after one failure, due at 100 s, its lease over at 280 s.
pub(crate) fn failed(owner: &str, epoch: u64, cause: Option<DeadLetterCause>) -> Row {
    Row {
        status: EventStatus::Failed,
        attempts: 1,
        lease: Some(Lease { owner: Some(instance(owner)), epoch, until: at(280) }),
        next_attempt_at: Some(at(100)),
        cause,
        ..Row::new()
    }
}

/// A row that was requeued once and is nobody's yet, until 120 s.
pub(crate) fn requeued() -> Row {
    let lease = Lease { owner: None, epoch: 0, until: at(120) };
    Row { round: 1, lease: Some(lease), ..Row::new() }
}
