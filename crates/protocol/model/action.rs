//! What can happen, in words.

use std::fmt;

use crate::state::Who;

/// A step of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// The ingest function, or its client.
    Client(&'static str),
    /// The requeue function, or whoever calls it.
    Requeue(&'static str),
    /// A daemon's next step.
    Daemon(Who, &'static str),
    /// Time passes.
    Time(&'static str),
    /// A step of somebody that is not needed for an event to end: a wish, or a delay.
    Wish(&'static str),
    /// A fault in a daemon's dealings.
    Fault(Who, &'static str),
    /// A fault of the queue or the network.
    World(&'static str),
}

/// Whether an event's end may depend on a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It may: this happens of itself, sooner or later.
    Course,
    /// It may not.
    Chance,
}

/// A 2xx: an event must not need one to end.
pub(crate) const SUCCEEDS: &str = "gets a 2xx, and keeps it on its disk";

impl Action {
    /// What is done, whoever does it.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Client(what)
            | Self::Requeue(what)
            | Self::Daemon(_, what)
            | Self::Time(what)
            | Self::Wish(what)
            | Self::Fault(_, what)
            | Self::World(what) => what,
        }
    }

    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Daemon(_, what) if what == SUCCEEDS => Kind::Chance,
            Self::Client(_) | Self::Requeue(_) | Self::Daemon(..) | Self::Time(_) => Kind::Course,
            Self::Wish(_) | Self::Fault(..) | Self::World(_) => Kind::Chance,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(what) => write!(f, "ingest {what}"),
            Self::Requeue(what) => write!(f, "the requeue function {what}"),
            Self::Daemon(who, what) => write!(f, "{} {what}", letter(*who)),
            Self::Time(what) | Self::Wish(what) => f.write_str(what),
            Self::Fault(who, what) => write!(f, "FAULT: {} {what}", letter(*who)),
            Self::World(what) => write!(f, "FAULT: {what}"),
        }
    }
}

const fn letter(who: Who) -> char {
    if who == 0 { 'A' } else { 'B' }
}
