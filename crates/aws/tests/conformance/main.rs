//! SQS and DynamoDB, as their emulators play them, under the suite that every table and queue
//! runs (`posthaste_ports::conformance`).
//!
//! | emulator  | queues | tables | from                                          |
//! |-----------|--------|--------|-----------------------------------------------|
//! | ministack | yes    | yes    | Python, in the virtual environment of `scripts/setup` |
//! | dynoxide  | no     | yes    | a library, in the test's own process          |
//!
//! Where one of them is not like AWS stands in `gaps`, with the reason. A gap that has closed fails
//! here, as does an emulator that is not installed: nothing is passed over. The
//! simulator of `loadgen` runs the same suite among its own tests.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests fail by panicking, and say which gaps they met; not all of it is in #[test]s"
)]

mod emulators;
mod gaps;
mod older_rows;
mod refusals;
mod subjects;

use std::sync::Arc;

use posthaste_aws::WriteStrategy;
use posthaste_ports::conformance::{Gap, Report, check_queue, check_rows};

use emulators::{Dynoxide, Ministack};
use subjects::{Queues, Table};

fn holds(report: &Report, subject: &str) {
    println!("{}", report.text(subject));
    assert!(report.faults.is_empty(), "{}", report.text(subject));
    assert_eq!(report.held + report.gaps.len(), report.checks);
}

async fn tables(url: &str, writes: WriteStrategy, gaps: &[Gap], subject: &str) {
    let table = Table::create(url, writes).await;
    holds(&check_rows(Arc::new(table), gaps).await, subject);
}

#[tokio::test]
async fn tables_of_dynoxide_conform() {
    let dynoxide = Dynoxide::start().await;
    let statements = WriteStrategy::Statements;
    tables(&dynoxide.url, statements, gaps::DYNOXIDE_ROWS, "rows in dynoxide").await;
}

#[tokio::test]
async fn tables_of_dynoxide_conform_by_updates() {
    let dynoxide = Dynoxide::start().await;
    let updates = WriteStrategy::Updates;
    tables(&dynoxide.url, updates, gaps::DYNOXIDE_ROWS_BY_UPDATES, "rows in dynoxide, by updates")
        .await;
}

#[tokio::test]
async fn tables_of_ministack_conform() {
    let ministack = Ministack::start().await;
    let statements = WriteStrategy::Statements;
    tables(&ministack.url, statements, gaps::MINISTACK_ROWS, "rows in ministack").await;
}

#[tokio::test]
async fn tables_of_ministack_conform_by_updates() {
    let ministack = Ministack::start().await;
    let updates = WriteStrategy::Updates;
    let gaps = gaps::MINISTACK_ROWS_BY_UPDATES;
    tables(&ministack.url, updates, gaps, "rows in ministack, by updates").await;
}

#[tokio::test]
async fn queues_of_ministack_conform() {
    let ministack = Ministack::start().await;
    let queues = Queues::new(&ministack.url).await;
    let report = check_queue(Arc::new(queues), gaps::MINISTACK_QUEUES).await;
    holds(&report, "queues in ministack");
}
