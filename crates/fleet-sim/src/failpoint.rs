//! Failpoints: a named place in the order of writes, and what happens there, once.
//!
//! There is one for each row of the protocol's table of crash points, in three forms. Most often
//! the process ends there, the step fails there, or it takes far too long there; where a row is
//! about something else (a clock, a full disk, a drain, a service that is out), these are three
//! degrees or places of that.

mod act;
mod rows;

use crate::plan::DiskFate;
use crate::trace::Who;

pub(crate) use act::Extras;

/// Rows of the table of crash points.
pub const CRASH_POINTS: u8 = 43;

/// Which form of its row a failpoint has, by what goes wrong in most rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// The process ends, or whoever asked goes away; the first form.
    Abort,
    /// The step fails; the second form.
    Error,
    /// The step takes far too long; the third form.
    Delay,
}

impl How {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Abort, Self::Error, Self::Delay];

    /// Its name on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Abort => "abort",
            Self::Error => "error",
            Self::Delay => "delay",
        }
    }

    /// What has this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|how| how.as_str() == name)
    }
}

/// A failpoint that is armed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failpoint {
    /// The row of the table of crash points, from 1.
    pub row: u8,
    /// What goes wrong.
    pub how: How,
    /// It goes wrong when the place is come to for the so-manieth time, from 1; a poison event each
    /// time that it comes there.
    pub nth: u64,
}

/// A step of the order of writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A sender's row.
    Put,
    /// A sender's or an operator's message.
    Send,
    /// A daemon receives messages.
    Receive,
    /// A daemon reads a tenant.
    ReadTenant,
    /// A daemon reads rows.
    ReadRow,
    /// A daemon looks for rows that nobody looks after, and finds some.
    ReadIndex,
    /// An attempt: before it is made and after it is out.
    Post,
    /// Its answer.
    Answer,
    /// An outcome goes into the outbox.
    Record,
    /// A job waits on the disk.
    Wait,
    /// A job goes.
    Clear,
    /// An outcome goes into its row.
    WriteOutcome,
    /// A row is claimed.
    WriteClaim,
    /// A row is marked as dead.
    WriteMark,
    /// An operator begins a fresh round.
    WriteRequeue,
    /// A daemon deletes messages.
    Delete,
    /// A daemon sends to the DLQ.
    SendDead,
    /// An operator receives from the DLQ.
    ReceiveDead,
    /// An operator deletes from the DLQ.
    DeleteDead,
    /// A daemon starts again.
    Open,
}

/// Before or after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Site {
    Before(Step),
    After(Step),
}

/// What happens at a failpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// The daemon ends; its disk, and for how long it is down. A client goes away.
    End(DiskFate, u64),
    /// Before a step: it is not done. After it: nobody hears that it was done.
    Fail,
    /// It takes so many milliseconds.
    Take(u64),
    /// The process stands still for so many milliseconds.
    Stall(u64),
    /// The wall clock is put to so many milliseconds from the right time.
    Clock(i64),
    /// A service lets so many of a thousand calls through, for five minutes.
    Out(crate::cloud::Kind, u64),
    /// The disk is full for so many milliseconds.
    Fill(u64),
    /// Attempts fail by our own fault for so many milliseconds.
    Ours(u64),
    /// The daemon is told to stop: with this disk, and for how long it is away.
    Stop(DiskFate, u64),
    /// The tenant is deleted.
    DeleteTenant,
    /// An operator requeues what is in the DLQ at this very moment; then this.
    Requeue(&'static Self),
    /// The row, if it is final, is forgotten; then this.
    Expire(&'static Self),
}

impl Failpoint {
    /// Whether anything can happen to somebody like this here.
    fn is_for(self, who: Who, site: Site) -> bool {
        let is_daemons = !matches!(
            site,
            Site::Before(step) | Site::After(step) if matches!(
                step,
                Step::Put | Step::Send | Step::WriteRequeue | Step::ReceiveDead | Step::DeleteDead
            )
        );
        is_daemons == matches!(who, Who::Daemon(_))
    }
}
