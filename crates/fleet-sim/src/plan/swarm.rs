//! Which kinds of faults exist in a world (swarm testing): each is there or not, by the toss of a
//! coin. Where everything is there all the time, some faults keep others from ever mattering.

use posthaste_sim::Chance;

macro_rules! kinds {
    ($count:literal: $($(#[doc = $doc:literal])+ $name:ident = $text:literal,)+) => {
        /// A kind of fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum FaultKind {
            $($(#[doc = $doc])+ $name,)+
        }

        impl FaultKind {
            /// All of them.
            pub const ALL: [Self; $count] = [$(Self::$name,)+];

            /// Its name in the table of what was reached.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

kinds! { 36:
    /// Messages are shown although somebody has them.
    Copies = "queue: copies",
    /// Copies do not count as received before.
    Miscounts = "queue: receipts that are not counted",
    /// Deleted messages come back once.
    ComesBack = "queue: deleted messages come back",
    /// Sends are made twice by whoever carries them.
    Doubled = "queue: sends made twice",
    /// Messages come in another order than they were sent in.
    Reorder = "queue: another order",
    /// Calls of the queue fail.
    QueueFails = "queue: calls fail",
    /// Calls of the queue are done, and nobody hears of it.
    QueueLosesReplies = "queue: lost replies",
    /// Entries of a batch fail by themselves.
    QueueEntries = "queue: entries of a batch fail",
    /// The queue lets some calls through only.
    QueueThrottled = "queue: throttled",
    /// The queue is out for five minutes.
    QueueOut = "queue: out of service",
    /// Calls of the table fail.
    RowsFail = "table: calls fail",
    /// Writes are done, and nobody hears of it.
    RowsAmbiguous = "table: lost replies",
    /// Entries of a batch fail by themselves.
    RowsEntries = "table: entries of a batch fail",
    /// The table lets some writes through only.
    RowsThrottled = "table: throttled",
    /// The table is out for five minutes.
    RowsOut = "table: out of service",
    /// The work index lags.
    StaleIndex = "table: a stale index",
    /// Daemons die.
    Crash = "daemon: dies",
    /// Daemons die at a step of one of their calls.
    Fuse = "daemon: dies within a call",
    /// Daemons stand still, beyond a lease too.
    Pause = "daemon: stands still",
    /// Daemons are told to stop, and come back.
    Drain = "daemon: drained",
    /// Daemons are told to stop, and do not come back.
    Replace = "daemon: replaced",
    /// A disk loses what was written last.
    PowerCut = "disk: loses its last writes",
    /// Some of what was written last is missing, some is torn.
    Torn = "disk: torn and missing writes",
    /// A disk comes back empty.
    LostDisk = "disk: lost",
    /// A disk comes back as another's copy.
    CopiedDisk = "disk: another's copy",
    /// A disk is full for a time.
    FullDisk = "disk: full",
    /// A commit fails, done or not, and its daemon ends itself.
    FailedCommit = "disk: a commit fails",
    /// Wall clocks are put to another time.
    ClockSteps = "clock: steps",
    /// Wall clocks are off all the time.
    ClockSkew = "clock: off",
    /// Clocks go at rates of their own, and are set right each quarter of an hour.
    ClockDrift = "clock: drifts",
    /// Messages that are none.
    Strays = "people: messages that are none",
    /// An event ends each daemon that attempts it.
    Poison = "people: a poison event",
    /// Tenants are deleted.
    TenantGone = "people: a tenant is deleted",
    /// Dead letters are requeued, retried and purged.
    Operations = "people: requeue, retry, purge",
    /// Endpoints are paused, resumed, limited and lifted.
    Changes = "people: pause, resume, limit, lift",
    /// Attempts fail by our own fault.
    Ours = "network: our own fault",
}

/// The kinds that exist in a world.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swarm(u64);

impl Swarm {
    /// None of them.
    pub const NONE: Self = Self(0);

    /// Each with a chance of one half; in one world of eight none at all but endpoints'.
    pub fn draw(chance: &mut Chance) -> Self {
        let drawn = chance.draw() & ((1 << FaultKind::ALL.len()) - 1);
        if chance.permille(125) { Self::NONE } else { Self(drawn) }
    }

    /// These.
    #[must_use]
    pub const fn with(self, kind: FaultKind) -> Self {
        Self(self.0 | 1 << kind as u64)
    }

    /// Whether it exists.
    #[must_use]
    pub const fn has(self, kind: FaultKind) -> bool {
        self.0 >> kind as u64 & 1 == 1
    }

    /// Those that exist.
    pub fn kinds(self) -> impl Iterator<Item = FaultKind> {
        FaultKind::ALL.into_iter().filter(move |kind| self.has(*kind))
    }
}
