//! A part of the table under test that belongs to one check, and the writes that checks make.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use posthaste_domain::{
    Attempt, DeadLetterCause, ErrorClass, EventId, InstanceId, PhaseTimings, Row, RowChange,
    RowKey, RowWrite, TenantId, Timestamp, Verdict,
};

use super::RowsSubject;
use crate::{Rows, StoredEvent, WORK_PARTITIONS, Written};

/// Where the checks' time begins.
pub(super) const START: Timestamp = Timestamp::from_millis(1_800_000_000_123);
/// An index that lags is looked at so often, with a pause between: it tells nobody when it moves.
const LOOKS_MAX: u32 = 100;
const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// A time of the checks.
pub(super) const fn at(millis: u64) -> Timestamp {
    START.plus_millis(millis)
}

/// An instance.
pub(super) fn instance(name: &str) -> InstanceId {
    InstanceId::try_new(name).expect("a name is not empty")
}

/// A tenant of its own in the table under test.
pub(super) struct Table {
    subject: Arc<dyn RowsSubject>,
    tenant: TenantId,
}

impl Table {
    pub(super) fn new(subject: Arc<dyn RowsSubject>, tenant: &str) -> Self {
        let tenant = TenantId::try_new(tenant).expect("checks name lawful tenants");
        Self { subject, tenant }
    }

    pub(super) fn rows(&self) -> &dyn Rows {
        self.subject.rows()
    }

    /// The key of an event that nobody has put.
    pub(super) fn key(&self, number: u64) -> RowKey {
        let event = EventId::from_parts(at(number), u128::from(number));
        RowKey { tenant: self.tenant.clone(), event }
    }

    /// Puts an event with a small payload.
    pub(super) async fn put(&self, number: u64) -> RowKey {
        let key = self.key(number);
        assert!(self.insert(&key, b"{\"n\":1}".to_vec()).await, "the row was there before");
        key
    }

    pub(super) async fn insert(&self, key: &RowKey, payload: impl Into<Bytes>) -> bool {
        self.subject.insert(key, payload.into()).await
    }

    pub(super) async fn remove(&self, key: &RowKey) {
        self.subject.remove(key).await;
    }

    pub(super) async fn event(&self, key: &RowKey) -> Option<StoredEvent> {
        let mut read = self.rows().read(std::slice::from_ref(key)).await.expect("a read");
        assert_eq!(read.len(), 1, "one answer to one key");
        read.pop().flatten()
    }

    pub(super) async fn row(&self, key: &RowKey) -> Option<Row> {
        self.event(key).await.map(|event| event.row)
    }

    /// Writes, and compares answer and row with what `apply` says; whether it was done.
    pub(super) async fn write(&self, key: &RowKey, round: u32, change: RowChange) -> bool {
        let before = self.row(key).await.expect("the row is there");
        let write = RowWrite { key: key.clone(), round, change };
        let mut answers = self.rows().write(vec![write.clone()]).await;
        assert_eq!(answers.len(), 1, "one answer to one write");
        let answer = answers.pop().expect("one answer").expect("a write");
        let after = self.row(key).await.expect("the row is still there");
        if let Ok(applied) = write.apply(&before) {
            assert_eq!(answer, Written::Done, "{write:?} of {before:?}");
            assert_eq!(after, applied, "{write:?} of {before:?}");
            return true;
        }
        assert_eq!(answer, Written::Refused(Some(before.clone())), "{write:?}");
        assert_eq!(after, before, "what is refused changes nothing: {write:?}");
        false
    }

    /// The same for round 0, which must be done.
    pub(super) async fn done(&self, key: &RowKey, change: RowChange) {
        assert!(self.write(key, 0, change.clone()).await, "refused: {change:?}");
    }

    /// The same for round 0, which must be refused.
    pub(super) async fn refused(&self, key: &RowKey, change: RowChange) {
        assert!(!self.write(key, 0, change.clone()).await, "done: {change:?}");
    }

    /// A row that failed once, of instance `a` at epoch 1.
    pub(super) async fn failed(&self, number: u64) -> RowKey {
        let key = self.put(number).await;
        self.done(&key, fail("a", 0, 1)).await;
        key
    }

    /// A row after its last failure, of instance `a` at epoch 1, with two attempts.
    pub(super) async fn dying(&self, number: u64) -> RowKey {
        let key = self.failed(number).await;
        self.done(&key, fail_last("a", 1, 2)).await;
        key
    }

    /// A row in the DLQ, with two attempts.
    pub(super) async fn dead(&self, number: u64) -> RowKey {
        let key = self.dying(number).await;
        self.done(&key, die("a", 1, 2)).await;
        key
    }

    pub(super) async fn delivered(&self, number: u64) -> RowKey {
        let key = self.put(number).await;
        self.done(&key, deliver(1)).await;
        key
    }

    pub(super) async fn purged(&self, number: u64) -> RowKey {
        let key = self.dead(number).await;
        self.done(&key, RowChange::Purge { at: at(90_000) }).await;
        key
    }

    /// This check's rows in the work index, soonest first within each partition.
    pub(super) async fn owed(&self, before: Timestamp) -> Vec<RowKey> {
        let mut all = Vec::new();
        for partition in 0..WORK_PARTITIONS {
            all.extend(self.owed_in(partition, before, 10_000).await);
        }
        all
    }

    pub(super) async fn owed_in(
        &self,
        partition: u8,
        before: Timestamp,
        max: usize,
    ) -> Vec<RowKey> {
        let owed = self.rows().owed(partition, before, max).await.expect("a look at the index");
        assert!(owed.len() <= max, "{} of at most {max}", owed.len());
        owed.into_iter().filter(|key| key.tenant == self.tenant).collect()
    }

    /// Waits until the index shows these rows of the check, and no others, before a time.
    pub(super) async fn shows(&self, before: Timestamp, wanted: &[&RowKey]) {
        let mut seen = Vec::new();
        for _ in 0..LOOKS_MAX {
            seen = self.owed(before).await;
            if seen.len() == wanted.len() && wanted.iter().all(|key| seen.contains(key)) {
                return;
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        panic!("the index shows {seen:?} and not {wanted:?}");
    }
}

/// A 2xx after so many attempts.
pub(super) fn deliver(attempts: u32) -> RowChange {
    let attempt = Box::new(attempt(attempts, Verdict::Delivered));
    RowChange::Deliver { attempts, at: at(60_000), attempt: Some(attempt) }
}

/// The failure that makes it so many attempts.
pub(super) fn fail(owner: &str, epoch_seen: u64, attempts: u32) -> RowChange {
    let class = ErrorClass::ServerError;
    let attempt = attempt(attempts, Verdict::Failed { class, retry_after_ms: Some(5_000) });
    RowChange::Fail {
        attempts,
        attempts_seen: attempts.saturating_sub(1),
        interrupted: 0,
        owner: instance(owner),
        epoch_seen,
        next_attempt_at: at(1_000 * u64::from(attempts)),
        until: at(200_000 + u64::from(attempts)),
        cause: None,
        at: attempt.at,
        attempt: Some(Box::new(attempt)),
    }
}

/// The same as the round's last.
pub(super) fn fail_last(owner: &str, epoch_seen: u64, attempts: u32) -> RowChange {
    let mut change = fail(owner, epoch_seen, attempts);
    if let RowChange::Fail { cause, .. } = &mut change {
        *cause = Some(DeadLetterCause::AttemptsExhausted);
    }
    change
}

/// Taking over a row whose lease ends at `until_seen`.
pub(super) fn claim(owner: &str, epoch_seen: u64, until_seen: Timestamp) -> RowChange {
    RowChange::Claim { owner: instance(owner), epoch_seen, until_seen, until: at(400_000) }
}

pub(super) fn extend(owner: &str, epoch: u64) -> RowChange {
    RowChange::Extend { owner: instance(owner), epoch, until: at(500_000) }
}

pub(super) fn die(owner: &str, epoch: u64, attempts: u32) -> RowChange {
    RowChange::Die { owner: instance(owner), epoch, attempts, at: at(70_000) }
}

pub(super) fn requeue(failed_too: bool) -> RowChange {
    RowChange::Requeue { failed_too, until: at(120_000) }
}

pub(super) fn purge() -> RowChange {
    RowChange::Purge { at: at(80_000) }
}

fn attempt(number: u32, verdict: Verdict) -> Attempt {
    let phases = PhaseTimings { dns_us: 10, connect_us: 20, total_us: 999, ..Default::default() };
    Attempt {
        number,
        at: at(u64::from(number)),
        duration_ms: 7,
        status_code: Some(503),
        verdict,
        error: (verdict != Verdict::Delivered).then(|| "503 'no' \"way\" — ? ; --".into()),
        response: Bytes::from_static(b"\x00\xff not text"),
        phases,
    }
}
