//! One state of the small world, in as few bytes as it takes, and its way to and from the words
//! that production decides over.
//!
//! Time is abstract. A lease is a *stamp*, another one for each write that sets its end, and a
//! flag of the world that says whether its end has passed. The wall clock that a decision is
//! given is made up to agree with the two.

use std::sync::LazyLock;

use posthaste_domain::{
    DeadLetterCause, EventId, EventStatus, InstanceId, Lease, Row, RowKey, TenantId, Timestamp,
};
use posthaste_protocol::{LEASE_SLACK_MS, Local, REQUEUE_GRACE_MS};

/// Rounds that the arrays below have room for.
pub(crate) const ROUNDS: usize = 3;
/// Copies of the event's message that can be about at once.
pub(crate) const SLOTS: usize = 3;

/// Between two stamps, in milliseconds: more than any lease lasts.
const STAMP_MS: u64 = 1_000_000;

/// The one row's key.
pub(crate) static KEY: LazyLock<RowKey> = LazyLock::new(|| RowKey {
    tenant: TenantId::try_new("acme").expect("a valid id"),
    event: EventId::MIN,
});

static NAMES: LazyLock<[InstanceId; 2]> =
    LazyLock::new(|| ["A", "B"].map(|name| InstanceId::try_new(name).expect("not empty")));

/// Which daemon: 0 or 1.
pub(crate) type Who = u8;

/// The instance behind a daemon.
pub(crate) fn name(who: Who) -> &'static InstanceId {
    &NAMES[usize::from(who)]
}

/// The wall clock of a write that gives a lease the stamp `stamp`.
pub(crate) const fn clock_for(stamp: u8) -> Timestamp {
    Timestamp::from_millis(stamp as u64 * STAMP_MS - LEASE_SLACK_MS)
}

/// The same for a requeue's.
pub(crate) const fn requeue_clock() -> Timestamp {
    Timestamp::from_millis(STAMP_MS - REQUEUE_GRACE_MS)
}

/// When the attempt after so many is due: every failure has another due time.
pub(crate) const fn due_after(attempts: u8) -> Timestamp {
    Timestamp::from_millis(attempts as u64)
}

/// The end of the lease of this stamp.
pub(crate) const fn until(stamp: u8) -> Timestamp {
    Timestamp::from_millis(stamp as u64 * STAMP_MS)
}

/// The stamp of a lease that ends then.
pub(crate) fn stamp(until: Timestamp) -> u8 {
    u8::try_from(until.as_millis() / STAMP_MS).expect("few leases")
}

/// An attempt count or epoch of the domain, which is small here.
pub(crate) fn small(number: impl TryInto<u8>) -> u8 {
    number.try_into().ok().expect("a small number in a small world")
}

/// The row.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Record {
    pub(crate) status: EventStatus,
    pub(crate) round: u8,
    pub(crate) attempts: u8,
    /// Whether it has a lease, which is: whether it is in the work index.
    pub(crate) in_work: bool,
    pub(crate) owner: Option<Who>,
    pub(crate) epoch: u8,
    pub(crate) stamp: u8,
    pub(crate) cause: bool,
    /// Whether the end of the lease has passed.
    pub(crate) over: bool,
}

impl Record {
    /// The row in production's words.
    pub(crate) fn row(&self) -> Row {
        let lease = self.in_work.then(|| Lease {
            owner: self.owner.map(|who| name(who).clone()),
            epoch: u64::from(self.epoch),
            until: until(self.stamp),
        });
        let waits = self.in_work && self.status == EventStatus::Failed;
        Row {
            status: self.status,
            round: u32::from(self.round),
            attempts: u32::from(self.attempts),
            interrupted: 0,
            lease,
            next_attempt_at: waits.then(|| due_after(self.attempts)),
            cause: self.cause.then_some(DeadLetterCause::AttemptsExhausted),
            expires_at: None,
        }
    }

    /// Back from production's words; a new lease is not over.
    pub(crate) fn of(row: &Row, before: Option<&Self>) -> Self {
        let lease = row.lease.as_ref();
        let owner = lease.and_then(|lease| lease.owner.as_ref());
        let mut record = Self {
            status: row.status,
            round: small(row.round),
            attempts: small(row.attempts),
            in_work: lease.is_some(),
            owner: owner.map(|owner| Who::from(owner == name(1))),
            epoch: lease.map_or(0, |lease| small(lease.epoch)),
            stamp: lease.map_or(0, |lease| stamp(lease.until)),
            cause: row.cause.is_some(),
            over: false,
        };
        record.over = before
            .is_some_and(|before| before.over && record.in_work && before.same_lease(&record));
        record
    }

    const fn same_lease(&self, other: &Self) -> bool {
        self.round == other.round && self.epoch == other.epoch && self.stamp == other.stamp
    }

    pub(crate) const fn is_final(&self) -> bool {
        matches!(self.status, EventStatus::Delivered | EventStatus::Dlq | EventStatus::Purged)
    }
}

/// Where a message of the main queue is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Place {
    /// To be received.
    Visible,
    /// Hidden, and nobody has its newest receipt in mind.
    Hidden,
    /// A daemon holds it for the attempt that it works on.
    Kept(Who),
    /// A daemon is about to delete it.
    Deleting(Who),
}

/// A message of the main queue.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Slot {
    pub(crate) round: u8,
    pub(crate) again: bool,
    /// Whether it was received before.
    pub(crate) seen: bool,
    pub(crate) place: Place,
}

/// How far a daemon's job is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    /// No job.
    Idle,
    /// A message is held, and waits for its turn.
    Held,
    /// Its POST is on the way.
    HeldFlying,
    /// A 2xx is on the disk, not in the row.
    Succeeded,
    /// A failure is on the disk, not in the row.
    Failed,
    /// Crashes have cut its attempts off too often: that is on the disk, not in the row.
    Poisoned,
    /// The row is ours; the next attempt waits for its time.
    Waiting,
    /// Its POST is on the way.
    WaitingFlying,
    /// The last failure is in the row; the DLQ knows nothing, for all we know.
    Dying,
    /// The DLQ has its message.
    DyingSent,
}

/// A daemon's job. In memory only: Held, and whether something flies or was sent.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Job {
    pub(crate) stage: Stage,
    pub(crate) round: u8,
    pub(crate) attempts: u8,
    pub(crate) epoch: u8,
    pub(crate) stamp: u8,
    /// Whether the monotonic clock says that the lease lasts for an attempt yet.
    pub(crate) holds: bool,
    /// Whether the failure on the disk is the round's last.
    pub(crate) is_last: bool,
}

impl Job {
    pub(crate) const IDLE: Self = Self {
        stage: Stage::Idle,
        round: 0,
        attempts: 0,
        epoch: 0,
        stamp: 0,
        holds: false,
        is_last: false,
    };

    /// What the daemon knows of the delivery.
    pub(crate) fn local(&self) -> Local {
        let round = u32::from(self.round);
        match self.stage {
            Stage::Idle => Local::Unknown,
            Stage::Held | Stage::HeldFlying => Local::Held { round },
            Stage::Succeeded | Stage::Failed | Stage::Poisoned => Local::Unwritten { round },
            Stage::Waiting | Stage::WaitingFlying => Local::Waiting { round },
            Stage::Dying | Stage::DyingSent => Local::Dying { round },
        }
    }

    pub(crate) const fn is_flying(&self) -> bool {
        matches!(self.stage, Stage::HeldFlying | Stage::WaitingFlying)
    }

    pub(crate) const fn is_unwritten(&self) -> bool {
        matches!(self.stage, Stage::Succeeded | Stage::Failed | Stage::Poisoned)
    }
}

/// A daemon.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Daemon {
    pub(crate) up: bool,
    pub(crate) job: Job,
    /// The row as it was seen by a claim that has no answer yet.
    pub(crate) claims: Option<Record>,
}

/// A conditional write on the way, kept as what it was made from.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Pending {
    Outcome(Who, Job),
    Claim(Who, Record),
    Die(Who, Job),
}

/// The ingest function, and its client.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Ingest {
    /// About to put the row; `again`: for a repeated request.
    Putting { again: bool },
    /// About to send the message.
    Sending { again: bool },
    /// The client has its 201.
    Answered,
    /// The client has a 503, or nothing.
    Unanswered,
}

/// The requeue function.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Requeuer {
    Idle,
    /// The row is in this round; its message has to be sent, then, where one led here, the DLQ's of
    /// the round before deleted.
    Sending {
        round: u8,
        has_letter: bool,
    },
    /// The DLQ's message of this round may go.
    Deleting {
        round: u8,
    },
}

/// What the properties and the bounds need to know, and the system does not.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Facts {
    /// The client was told that the event is accepted.
    pub(crate) accepted: bool,
    /// A 2xx was seen.
    pub(crate) succeeded: bool,
    /// A lease was taken although it was not over.
    pub(crate) skewed: bool,
    /// An event was given up for poison.
    pub(crate) poisoned: bool,
    /// POSTs, by round.
    pub(crate) posts: [u8; ROUNDS],
    /// Faults so far.
    pub(crate) faults: u8,
    /// Those of them that each may cost one POST more.
    pub(crate) repeats: u8,
    /// Leases that ran out although their owner was about.
    pub(crate) lates: u8,
    /// Requests that the client repeated.
    pub(crate) retries: u8,
}

/// The world.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) row: Option<Record>,
    pub(crate) queue: [Option<Slot>; SLOTS],
    /// Messages in the DLQ, by round.
    pub(crate) dlq: [u8; ROUNDS],
    pub(crate) daemons: [Daemon; 2],
    /// A write whose sender has given it up, and which arrives all the same.
    pub(crate) stray: Option<Pending>,
    pub(crate) ingest: Ingest,
    pub(crate) requeuer: Requeuer,
    pub(crate) facts: Facts,
}

impl State {
    /// Before the event is posted.
    pub(crate) const START: Self = Self {
        row: None,
        queue: [None; SLOTS],
        dlq: [0; ROUNDS],
        daemons: [Daemon { up: true, job: Job::IDLE, claims: None }; 2],
        stray: None,
        ingest: Ingest::Putting { again: false },
        requeuer: Requeuer::Idle,
        facts: Facts {
            accepted: false,
            succeeded: false,
            skewed: false,
            poisoned: false,
            posts: [0; ROUNDS],
            faults: 0,
            repeats: 0,
            lates: 0,
            retries: 0,
        },
    };

    pub(crate) fn daemon(&mut self, who: Who) -> &mut Daemon {
        &mut self.daemons[usize::from(who)]
    }

    /// Puts a message into the queue; false where there is no room for it.
    pub(crate) fn send(&mut self, round: u8, again: bool) -> bool {
        let free = self.queue.iter_mut().find(|slot| slot.is_none());
        let message = Slot { round, again, seen: false, place: Place::Visible };
        free.map(|slot| *slot = Some(message)).is_some()
    }

    /// Whether some copy of a message is where `place` says.
    pub(crate) fn holds_message(&self, place: Place) -> bool {
        self.queue.iter().flatten().any(|slot| slot.place == place)
    }

    /// Moves every copy at `from` to `to`.
    pub(crate) fn move_messages(&mut self, from: Place, to: Place) {
        for slot in self.queue.iter_mut().flatten().filter(|slot| slot.place == from) {
            slot.place = to;
        }
    }

    /// The same world with its messages in order, since a queue knows none.
    pub(crate) fn canonical(mut self) -> Self {
        self.queue.sort_unstable();
        self
    }
}
