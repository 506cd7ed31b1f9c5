//! Tables and queues in memory under the suite that every table and queue runs, and the suite
//! under faults: a check that no fault can fail would be worth nothing.

#![expect(clippy::print_stdout, reason = "a test says how many checks hold, and which gaps it met")]

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use posthaste_domain::{RowKey, Timestamp};
use posthaste_ports::conformance::{
    Gap, QueueSubject, Report, RowsSubject, check_queue, check_rows, checks,
};
use posthaste_ports::memory::{Clock, Fault, Faults, MemoryQueue, MemoryRows, NoFaults, Operation};
use posthaste_ports::{Queue, Rows};

/// The runtime's time, which stands still but for waits.
fn clock() -> Clock {
    let start = tokio::time::Instant::now();
    let elapsed = move || u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    Arc::new(move || Timestamp::from_millis(1_800_000_000_000).plus_millis(elapsed()))
}

struct Table(MemoryRows);

#[async_trait]
impl RowsSubject for Table {
    fn rows(&self) -> &dyn Rows {
        &self.0
    }

    async fn insert(&self, key: &RowKey, payload: Bytes) -> bool {
        self.0.insert(key.clone(), payload)
    }

    async fn remove(&self, key: &RowKey) {
        assert!(self.0.remove(key), "it was there");
    }
}

struct Queues(Arc<dyn Faults>, Clock);

#[async_trait]
impl QueueSubject for Queues {
    async fn queue(&self, _: &str, visibility_ms: u64) -> Arc<dyn Queue> {
        let faults = Arc::clone(&self.0);
        Arc::new(MemoryQueue::with_faults(Arc::clone(&self.1), visibility_ms, faults))
    }
}

async fn rows(faults: Arc<dyn Faults>, index_lag_ms: u64, gaps: &[Gap]) -> Report {
    let table = MemoryRows::with_faults(clock(), faults);
    table.set_index_lag_ms(index_lag_ms);
    check_rows(Arc::new(Table(table)), gaps).await
}

async fn queues(faults: Arc<dyn Faults>) -> Report {
    check_queue(Arc::new(Queues(faults, clock())), &[]).await
}

fn holds(report: &Report, subject: &str) {
    println!("{}", report.text(subject));
    assert!(report.faults.is_empty(), "{}", report.text(subject));
    assert_eq!(report.held, report.checks);
}

#[test]
fn there_are_enough_checks() {
    assert!(checks() >= 60, "{} checks", checks());
}

#[tokio::test(start_paused = true)]
async fn rows_in_memory_conform() {
    holds(&rows(Arc::new(NoFaults), 0, &[]).await, "rows in memory");
}

#[tokio::test(start_paused = true)]
async fn rows_with_an_index_that_lags_conform() {
    holds(&rows(Arc::new(NoFaults), 1_500, &[]).await, "rows in memory, index lags");
}

#[tokio::test(start_paused = true)]
async fn queues_in_memory_conform() {
    holds(&queues(Arc::new(NoFaults)).await, "queues in memory");
}

/// One operation goes wrong, always.
struct Always(Operation, Fault);

impl Faults for Always {
    fn fault(&self, operation: Operation) -> Fault {
        if operation == self.0 { self.1 } else { Fault::None }
    }
}

#[tokio::test(start_paused = true)]
async fn a_fault_in_any_operation_is_caught() {
    for operation in [Operation::Write, Operation::Read, Operation::Owed] {
        for fault in [Fault::Before, Fault::After, Fault::Throttled { retry_after_ms: 1 }] {
            let report = rows(Arc::new(Always(operation, fault)), 0, &[]).await;
            assert!(!report.faults.is_empty(), "{operation:?} {fault:?}");
        }
    }
    let entries = [Operation::Receive, Operation::Delete, Operation::Hide, Operation::Send];
    for operation in entries {
        for fault in [Fault::Before, Fault::After, Fault::Throttled { retry_after_ms: 1 }] {
            let report = queues(Arc::new(Always(operation, fault))).await;
            assert!(!report.faults.is_empty(), "{operation:?} {fault:?}");
        }
    }
    // A queue that does everything twice is caught as well.
    for operation in [Operation::Message, Operation::Send] {
        let report = queues(Arc::new(Always(operation, Fault::Twice))).await;
        assert!(!report.faults.is_empty(), "{operation:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_gap_that_is_none_is_a_fault() {
    let gap = Gap { check: "ending::deliver_from_pending", reason: "said to be" };
    let report = rows(Arc::new(NoFaults), 0, &[gap]).await;
    assert_eq!(report.faults.len(), 1, "{}", report.text("rows"));
}
