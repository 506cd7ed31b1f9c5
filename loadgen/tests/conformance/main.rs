//! The simulated AWS under the suite that every table and queue of AWS mode runs, through the
//! adapters that the daemon uses. What it says yes to, the other emulators say yes to as well.

#![expect(clippy::print_stdout, reason = "a test says how many checks hold, and which gaps it met")]

#[path = "../../../crates/aws/tests/conformance/subjects.rs"]
#[expect(dead_code, reason = "what only the other user of this file needs")]
mod subjects;

use std::sync::Arc;

use posthaste_aws::WriteStrategy;
use posthaste_loadgen::aws_sim::{AwsSim, Settings};
use posthaste_ports::conformance::{Gap, Report, check_queue, check_rows};

use subjects::{Queues, Table};

/// Where the simulator is not like AWS.
const ROWS: &[Gap] = &[];
/// The same for its queues.
const QUEUES: &[Gap] = &[];

fn holds(report: &Report, subject: &str) {
    println!("{}", report.text(subject));
    assert!(report.faults.is_empty(), "{}", report.text(subject));
    assert_eq!(report.held + report.gaps.len(), report.checks);
}

async fn tables(writes: WriteStrategy, subject: &str) {
    let sim = AwsSim::start(Settings::default()).expect("a simulator");
    let table = Table::create(&sim.url(), writes).await;
    holds(&check_rows(Arc::new(table), ROWS).await, subject);
}

#[tokio::test]
async fn tables_of_the_simulator_conform() {
    tables(WriteStrategy::Statements, "rows in aws-sim").await;
}

#[tokio::test]
async fn tables_of_the_simulator_conform_by_updates() {
    tables(WriteStrategy::Updates, "rows in aws-sim, by updates").await;
}

#[tokio::test]
async fn queues_of_the_simulator_conform() {
    let sim = AwsSim::start(Settings::default()).expect("a simulator");
    let queues = Queues::new(&sim.url()).await;
    holds(&check_queue(Arc::new(queues), QUEUES).await, "queues in aws-sim");
}
