//! Deliberate faults around the courier: the controls that show that the judge can find any.
//!
//! A mutant sits in a port or in the driver, so the code under test is the real one.

/// A deliberate fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// Messages are deleted as they are received.
    DeleteAtReceive,
    /// A message of an outcome that is only in the outbox is deleted.
    IgnoreLeave,
    /// Attempts start without asking whether the delivery is still ours.
    SkipPermit,
    /// The outbox is not looked at at a start.
    NoReplay,
    /// To a sweep every lease is over.
    SweepIgnoresLease,
    /// A daemon takes its own clock for the table's.
    TrustOwnClock,
    /// Rows are never swept.
    NoSweep,
    /// The DLQ gets its message after the row was marked.
    MarkBeforeSend,
    /// A row write that failed is taken for done.
    FailedWriteIsDone,
    /// Failures are written whoever owns the row.
    UnfencedFails,
    /// Attempts that crashes cut off are not counted.
    ForgetCutOffs,
    /// Messages are not kept hidden.
    NoHide,
    /// Reads show rows as they were a minute ago.
    StaleReads,
    /// Every receipt of a message looks like its first.
    ReceivesAlwaysOne,
    /// Jobs forget at which epoch they own their row.
    ForgetEpochs,
    /// One attempt in twenty is made twice.
    AttemptTwice,
    /// Messages that senders were told are sent are dropped now and then.
    ForgetAccepted,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::DeleteAtReceive,
        Self::IgnoreLeave,
        Self::SkipPermit,
        Self::NoReplay,
        Self::SweepIgnoresLease,
        Self::TrustOwnClock,
        Self::NoSweep,
        Self::MarkBeforeSend,
        Self::FailedWriteIsDone,
        Self::UnfencedFails,
        Self::ForgetCutOffs,
        Self::NoHide,
        Self::StaleReads,
        Self::ReceivesAlwaysOne,
        Self::ForgetEpochs,
        Self::AttemptTwice,
        Self::ForgetAccepted,
    ];

    /// The mutant's name on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DeleteAtReceive => "delete-at-receive",
            Self::IgnoreLeave => "ignore-leave",
            Self::SkipPermit => "skip-permit",
            Self::NoReplay => "no-replay",
            Self::SweepIgnoresLease => "sweep-ignores-lease",
            Self::TrustOwnClock => "trust-own-clock",
            Self::NoSweep => "no-sweep",
            Self::MarkBeforeSend => "mark-before-send",
            Self::FailedWriteIsDone => "failed-write-is-done",
            Self::UnfencedFails => "unfenced-fails",
            Self::ForgetCutOffs => "forget-cut-offs",
            Self::NoHide => "no-hide",
            Self::StaleReads => "stale-reads",
            Self::ReceivesAlwaysOne => "receives-always-one",
            Self::ForgetEpochs => "forget-epochs",
            Self::AttemptTwice => "attempt-twice",
            Self::ForgetAccepted => "forget-accepted",
        }
    }

    /// The mutant of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mutant| mutant.as_str() == name)
    }
}
