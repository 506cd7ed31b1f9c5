//! What tables of rows and queues must do (AWS mode), checked against the traits alone.
//!
//! A table or a queue comes from somewhere else: memory, an emulator, AWS. A subject says how to
//! get at one; [`check_rows`] and [`check_queue`] put every check to it, side by side, because an
//! emulator takes longer to start than to ask.
//!
//! Where an emulator is not like AWS, that is a [`Gap`] with its reason: a check that must fail. A
//! gap that has closed fails as well, so that the list says what is so, and nothing is passed over
//! in silence.
//!
//! Refuses to know which subject it looks at. Every check uses keys, or a queue, of its own.

mod queue;
mod rows;
mod samples;

use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use posthaste_domain::RowKey;
use tokio::task::JoinSet;

use crate::{Queue, Rows};

/// No check needs longer, on the slowest emulator: what hangs fails.
const CHECK_TIMEOUT: Duration = Duration::from_secs(40);
/// How much of a failure is shown, in bytes: a row and a write say little in full.
const REASON_BYTES_MAX: usize = 600;
/// Checks that are under way at a time.
const CHECKS_AT_ONCE_MAX: usize = 16;

/// A table under test.
#[async_trait]
pub trait RowsSubject: Send + Sync {
    /// The table.
    fn rows(&self) -> &dyn Rows;
    /// Puts a new event, as ingest does; false where its row was there before.
    async fn insert(&self, key: &RowKey, payload: Bytes) -> bool;
    /// Removes an event's row, as its expiry does.
    async fn remove(&self, key: &RowKey);
}

/// Where queues under test come from.
#[async_trait]
pub trait QueueSubject: Send + Sync {
    /// An empty queue that hides a received message for `visibility_ms`, a number of seconds.
    async fn queue(&self, name: &str, visibility_ms: u64) -> Arc<dyn Queue>;
}

/// A check that a subject is known to fail.
#[derive(Clone, Copy, Debug)]
pub struct Gap {
    /// The check's name.
    pub check: &'static str,
    /// Why, and why it can be lived with.
    pub reason: &'static str,
}

type Checking = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A check: panics where the subject breaks it.
struct Check<S: ?Sized + 'static> {
    name: &'static str,
    run: fn(Arc<S>) -> Checking,
}

impl<S: ?Sized> Clone for Check<S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S: ?Sized> Copy for Check<S> {}

/// What came of all checks.
#[derive(Debug)]
pub struct Report {
    /// How many checks there are.
    pub checks: usize,
    /// How many hold, gaps aside.
    pub held: usize,
    /// One line for each gap that was met.
    pub gaps: Vec<String>,
    /// One line for each check that failed, and for each gap that has closed.
    pub faults: Vec<String>,
}

impl Report {
    /// The report as text: a line of numbers, then the gaps, then the faults.
    #[must_use]
    pub fn text(&self, subject: &str) -> String {
        let Self { checks, held, gaps, faults } = self;
        let mut text = format!(
            "{subject}: {held} of {checks} checks hold, {} known gaps, {} faults",
            gaps.len(),
            faults.len()
        );
        for line in gaps {
            text.push_str("\n  gap: ");
            text.push_str(line);
        }
        for line in faults {
            text.push_str("\n  FAULT: ");
            text.push_str(line);
        }
        text
    }
}

/// Puts every check of tables to a subject.
pub async fn check_rows(subject: Arc<dyn RowsSubject>, gaps: &[Gap]) -> Report {
    check(subject, rows::CHECKS, gaps).await
}

/// Puts every check of queues to a subject.
pub async fn check_queue(subject: Arc<dyn QueueSubject>, gaps: &[Gap]) -> Report {
    check(subject, queue::CHECKS, gaps).await
}

/// How many checks there are in all.
#[must_use]
pub fn checks() -> usize {
    rows::CHECKS.len() + queue::CHECKS.len()
}

async fn check<S: ?Sized + Send + Sync + 'static>(
    subject: Arc<S>,
    checks: &[Check<S>],
    gaps: &[Gap],
) -> Report {
    let mut running = JoinSet::new();
    let mut failures = Vec::new();
    for check in checks {
        if running.len() == CHECKS_AT_ONCE_MAX
            && let Some(outcome) = running.join_next().await
        {
            failures.extend(failure(outcome));
        }
        let (name, subject, run) = (check.name, Arc::clone(&subject), check.run);
        running.spawn(async move {
            let mut one = JoinSet::new();
            one.spawn(run(subject));
            // A panic in the check is its failure; dropping the set ends what hangs.
            match tokio::time::timeout(CHECK_TIMEOUT, one.join_next()).await {
                Ok(Some(Err(error))) => Err((name, reason(error))),
                Ok(_) => Ok(()),
                Err(_) => Err((name, format!("not done within {CHECK_TIMEOUT:?}"))),
            }
        });
    }
    while let Some(outcome) = running.join_next().await {
        failures.extend(failure(outcome));
    }
    report(checks.iter().map(|check| check.name).collect(), failures, gaps)
}

type Failure = (&'static str, String);

fn failure(outcome: Result<Result<(), Failure>, tokio::task::JoinError>) -> Option<Failure> {
    match outcome {
        Ok(checked) => checked.err(),
        Err(error) => Some(("the suite itself", reason(error))),
    }
}

fn reason(error: tokio::task::JoinError) -> String {
    let Ok(panic) = error.try_into_panic() else { return "cancelled".to_owned() };
    let panic: Box<dyn Any> = panic;
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    let line = text.unwrap_or("panicked").lines().collect::<Vec<_>>().join(" ");
    line[..line.floor_char_boundary(REASON_BYTES_MAX)].to_owned()
}

fn report(names: Vec<&'static str>, failures: Vec<Failure>, gaps: &[Gap]) -> Report {
    let mut report = Report { checks: names.len(), held: 0, gaps: Vec::new(), faults: Vec::new() };
    for gap in gaps.iter().filter(|gap| !names.contains(&gap.check)) {
        report.faults.push(format!("a gap names no check: {}", gap.check));
    }
    for (name, why) in failures.iter().filter(|(name, _)| !names.contains(name)) {
        report.faults.push(format!("{name}: {why}"));
    }
    for name in names {
        let failed = failures.iter().find(|(failed, _)| *failed == name);
        let gap = gaps.iter().find(|gap| gap.check == name);
        match (failed, gap) {
            (None, None) => report.held += 1,
            (Some((_, why)), Some(gap)) => {
                report.gaps.push(format!("{name}: {} ({why})", gap.reason));
            }
            (Some((_, why)), None) => report.faults.push(format!("{name}: {why}")),
            (None, Some(_)) => report.faults.push(format!("{name} holds: it is no gap any more")),
        }
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_without_a_gap_and_a_gap_without_a_failure_are_faults() {
        let gap = |check| Gap { check, reason: "known" };
        let failures = vec![("a", "why".to_owned()), ("b", "why".to_owned())];
        let report = report(vec!["a", "b", "c", "d"], failures, &[gap("b"), gap("c"), gap("e")]);
        assert_eq!((report.checks, report.held, report.gaps.len()), (4, 1, 1));
        let faults = ["a gap names no check: e", "a: why", "c holds: it is no gap any more"];
        assert_eq!(report.faults, faults);
    }
}
