//! What rows take and refuse, and what becomes of jobs.

use posthaste_domain::{EventStatus, Row, RowChange, RowWrite};
use posthaste_ports::{Job, JobState};

use crate::world::State;

impl State {
    /// A write met its row; `after` is what the row is then, unless it refused.
    pub(crate) fn cover_row(&mut self, write: &RowWrite, before: &Row, is_done: bool) {
        if is_done && before.cause.is_some() && matches!(write.change, RowChange::Claim { .. }) {
            self.coverage.saw("row claim: of a dying one", 1);
        }
        let what = if is_done { done(write, before) } else { refused(write) };
        self.coverage.saw(what, 1);
    }
}

fn done(write: &RowWrite, before: &Row) -> &'static str {
    let is_failed = before.status == EventStatus::Failed;
    match &write.change {
        RowChange::Deliver { .. } if is_failed => "row deliver: FAILED to DELIVERED",
        RowChange::Deliver { .. } => "row deliver: PENDING to DELIVERED",
        RowChange::Fail { attempt: None, .. } => "row fail: without an attempt",
        RowChange::Fail { cause: Some(_), .. } => "row fail: last failure",
        RowChange::Fail { attempts: 1, .. } => "row fail: first failure",
        RowChange::Fail { .. } => "row fail: later failure",
        RowChange::Claim { owner, .. } => {
            match before.lease.as_ref().and_then(|lease| lease.owner.as_ref()) {
                None => "row claim: of nobody's",
                Some(before) if before == owner => "row claim: of one's own",
                Some(_) => "row claim: of another's",
            }
        }
        RowChange::Extend { .. } => "row extend: given away",
        RowChange::Die { .. } => "row die: FAILED to DLQ",
        RowChange::Requeue { .. } if is_failed => "row requeue: FAILED to PENDING",
        RowChange::Requeue { .. } => "row requeue: DLQ to PENDING",
        RowChange::Purge { .. } => "row purge: DLQ to PURGED",
    }
}

const fn refused(write: &RowWrite) -> &'static str {
    match &write.change {
        RowChange::Deliver { .. } => "row deliver: refused",
        RowChange::Fail { .. } => "row fail: refused",
        RowChange::Claim { .. } => "row claim: refused",
        RowChange::Extend { .. } => "row extend: refused",
        RowChange::Die { .. } => "row die: refused",
        RowChange::Requeue { .. } => "row requeue: refused",
        RowChange::Purge { .. } => "row purge: refused",
    }
}

/// The name of what a change makes of a job; none where it came too late for its round, and
/// changes nothing.
pub(crate) fn job_change(before: Option<&Job>, after: Option<&Job>) -> Option<String> {
    let name = |job: Option<&Job>| match job.map(|job| &job.state) {
        None => "none",
        Some(JobState::Unwritten(_)) => "unwritten",
        Some(JobState::Waiting { .. }) => "waiting",
        Some(JobState::Dying { .. }) => "dying",
        Some(JobState::CutOff { .. }) => "cut off",
    };
    (before != after).then(|| format!("job {} to {}", name(before), name(after)))
}
