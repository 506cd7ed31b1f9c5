//! What a search has come to: every action by name, and every state of the row.

use std::collections::BTreeSet;
use std::fmt;

use posthaste_domain::EventStatus;

use crate::action::Action;
use crate::state::Record;

/// Everything that can happen. What is not reached within the bounds is not explored either.
pub(crate) const ACTIONS: [&str; 45] = [
    "puts the row",
    "sends the message, and says 201",
    "ingest dies before the row",
    "ingest dies before the message is sent",
    "ingest sends the message, and dies before the 201",
    "the client repeats its request",
    "receives a message",
    "receives a message, and the reply is lost",
    "POSTs the message that it holds",
    "withdraws what it held too long",
    "gets no 2xx, and keeps that on its disk",
    "gets a 2xx, and keeps it on its disk",
    "writes the outcome into the row",
    "writes, and the reply is lost",
    "gives a write up that is on its way",
    "a write that was given up arrives",
    "deletes a message",
    "deletes a message in vain",
    "POSTs a retry",
    "a timer is late",
    "is late, and wants its row again",
    "writes its claim into the row",
    "sweeps, and reads a row whose lease is over",
    "sweeps by a clock that is ahead",
    "sends to the DLQ",
    "sends to the DLQ, and the reply is lost",
    "marks the row DLQ",
    "an owner stops before it gives its lease away",
    "an owner gives its lease away, and stops",
    "crashes",
    "crashes in the same attempt once more",
    "vanishes with its disk",
    "starts",
    "starts on a copy of the other's disk",
    "the DLQ's message is requeued",
    "the DLQ's message is purged",
    "the tenant asks for a fresh round of the FAILED event",
    "the requeue function dies before it sends",
    "the requeue's message is sent, the reply lost",
    "sends the new round's message",
    "the requeue function dies before it deletes",
    "deletes the DLQ's message",
    "a message becomes visible again",
    "a daemon pauses until its message is visible again",
    "the queue makes a second copy of a message",
];

/// And what has to do with leases' ends.
pub(crate) const LEASES: [&str; 3] = [
    "a lease ends",
    "the owner pauses until its lease ends",
    "a lease ends before its owner gets to it",
];

/// A state of the row, as far as it tells what may follow: status, whether it is in the work
/// index, whether somebody owns it, whether its last failure is in it, whether its lease is over.
type RowState = (EventStatus, [bool; 4]);

/// How often what was reached.
#[derive(Clone, Default)]
pub(crate) struct Reached {
    actions: Vec<(&'static str, u64)>,
    rows: BTreeSet<(String, [bool; 4])>,
    last: Option<RowState>,
}

impl Reached {
    /// A transition is taken.
    pub(crate) fn took(&mut self, action: Action) {
        let what = action.words();
        // Few names, each at one address: quicker than any map, for tens of millions.
        match self.actions.iter_mut().find(|(known, _)| std::ptr::eq(*known, what)) {
            Some((_, times)) => *times += 1,
            None => self.actions.push((what, 1)),
        }
    }

    /// A state is new.
    pub(crate) fn came_to(&mut self, row: Option<&Record>) {
        let Some(row) = row else { return };
        let flags = [row.in_work, row.owner.is_some(), row.cause, row.over];
        if self.last != Some((row.status, flags)) {
            self.last = Some((row.status, flags));
            self.rows.insert((format!("{:?}", row.status), flags));
        }
    }

    /// Adds another world's.
    pub(crate) fn add(&mut self, other: &Self) {
        for (what, times) in &other.actions {
            match self.actions.iter_mut().find(|(known, _)| known == what) {
                Some((_, sum)) => *sum += times,
                None => self.actions.push((what, *times)),
            }
        }
        self.rows.extend(other.rows.iter().cloned());
    }

    /// How often this was done.
    pub(crate) fn times(&self, what: &str) -> u64 {
        let of = self.actions.iter().filter(|(known, _)| *known == what);
        of.map(|(_, times)| times).sum()
    }

    /// Actions that should have been taken and were not.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        let all = ACTIONS.into_iter().chain(LEASES);
        all.filter(|what| self.times(what) == 0).collect()
    }

    /// Actions that were taken and that no list has: nobody would miss them.
    pub(crate) fn unlisted(&self) -> Vec<&'static str> {
        let is_listed = |what: &str| ACTIONS.iter().chain(&LEASES).any(|known| *known == what);
        self.actions.iter().map(|(what, _)| *what).filter(|what| !is_listed(what)).collect()
    }

    /// How many different states of the row there were.
    pub(crate) fn row_states(&self) -> usize {
        self.rows.len()
    }
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for what in ACTIONS.into_iter().chain(LEASES) {
            let times = self.times(what);
            let mark = if times == 0 { "  <- unreached" } else { "" };
            writeln!(f, "{times:>12} {what}{mark}")?;
        }
        for (status, [in_work, owned, dying, over]) in &self.rows {
            writeln!(
                f,
                "  row {status}: in work {in_work}, owned {owned}, last failure in it {dying}, \
                 lease over {over}"
            )?;
        }
        Ok(())
    }
}
