//! What a message from the queue is worth (PROTOCOL 4 and 5): an attempt, a look at the row, or
//! its deletion.
//!
//! A message is deleted only where the row is known to be final or in the work index, or to be in
//! a later round, or to be gone.

use posthaste_domain::{InstanceId, Row, RowKey, RowWrite, Timestamp};

use crate::sweep::claim;

/// A message of the main queue that could be parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arriving {
    /// The round that it was sent for; none in messages of the older form.
    pub round: Option<u32>,
    /// Whether it carries the payload.
    pub has_payload: bool,
    /// Whether it was sent for a client's repeated request: an earlier message of the same round
    /// may be about.
    pub again: bool,
    /// How often it was received, this time included.
    pub receives: u32,
}

/// What this instance knows about the delivery, in memory or on its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Local {
    /// Nothing, or nothing but how often it was cut off.
    Unknown,
    /// Its message is held here: its first attempt has no outcome yet. Not one that waits beyond
    /// its [`crate::Hold`]: others may have received its message, so it is withdrawn, and unknown,
    /// before that message is judged again.
    Held {
        /// Its round.
        round: u32,
    },
    /// An attempt has an outcome that is not in the row yet.
    Unwritten {
        /// Its round.
        round: u32,
    },
    /// The row says that this instance owes the next attempt.
    Waiting {
        /// Its round.
        round: u32,
    },
    /// The row holds the last failure, and this instance owes the way to the DLQ.
    Dying {
        /// Its round.
        round: u32,
    },
}

impl Local {
    /// The round that is known here.
    #[must_use]
    pub const fn round(self) -> Option<u32> {
        match self {
            Self::Unknown => None,
            Self::Held { round }
            | Self::Unwritten { round }
            | Self::Waiting { round }
            | Self::Dying { round } => Some(round),
        }
    }
}

/// What is to be done about a message, before anything is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnReceive {
    /// The first attempt of round 0 may begin; the row need not be read.
    Deliver,
    /// Read the row (consistently) and ask [`after_read`].
    ReadRow,
    /// The row has it: delete the message.
    Delete,
    /// Not deleted, not attempted, not renewed: it comes again when it may be judged.
    Leave,
    /// The delivery is held here already: only its newest receipt counts from now on.
    Renew,
}

/// What a message is worth to an instance that knows `local` about its delivery (PROTOCOL 5).
#[must_use]
pub fn on_receive(message: &Arriving, local: Local) -> OnReceive {
    let Some(known) = local.round() else {
        let is_first = message.round == Some(0) && message.receives <= 1 && !message.again;
        let delivers = is_first && message.has_payload;
        return if delivers { OnReceive::Deliver } else { OnReceive::ReadRow };
    };
    // A message of the older form is never a requeue's, so it is not of a later round.
    let round = message.round.unwrap_or(known);
    match local {
        // What is known here came from a row or a message of a later round.
        _ if round < known => OnReceive::Delete,
        // Out of the way first: its write will be refused, then this message comes again.
        Local::Held { .. } | Local::Unwritten { .. } if round > known => OnReceive::Leave,
        // ▲ The row does not have the outcome yet, and this disk may be lost.
        Local::Unwritten { .. } => OnReceive::Leave,
        Local::Held { .. } => OnReceive::Renew,
        // A requeue has overtaken the job; what the row makes of the message replaces it.
        Local::Waiting { .. } | Local::Dying { .. } if round > known => OnReceive::ReadRow,
        Local::Waiting { .. } | Local::Dying { .. } | Local::Unknown => OnReceive::Delete,
    }
}

/// What is to be done about a message whose row was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AfterRead {
    /// Nobody has finished an attempt of this round: it may begin, by right of the message.
    Deliver {
        /// The row's round.
        round: u32,
        /// How often it was cut off.
        interrupted: u8,
    },
    /// A requeued row that nobody owns. Take it with this write: the row holds the promise, so
    /// that the message is deleted whoever gets the row ([`crate::after_claim`]).
    Claim(RowWrite),
    /// The row is final, in the work index, or in a later round: delete the message.
    Delete,
    /// There is no row of this name (any more): there is nothing that an outcome could be written
    /// to. Delete the message, or send it to the DLQ as a stray first.
    Stray,
    /// The row is behind the message, which a consistent read cannot show: leave it.
    Leave,
}

/// What a message is worth whose row was read, at the time `now` (PROTOCOL 5).
#[must_use]
pub fn after_read(
    message: &Arriving,
    key: &RowKey,
    row: Option<&Row>,
    me: &InstanceId,
    now: Timestamp,
) -> AfterRead {
    let Some(row) = row else {
        return AfterRead::Stray;
    };
    let round = message.round.unwrap_or(row.round);
    if row.round < round {
        return AfterRead::Leave;
    }
    if row.round > round || row.is_final() {
        return AfterRead::Delete;
    }
    match &row.lease {
        None => AfterRead::Deliver { round, interrupted: row.interrupted },
        // Claimed although the lease is young: it is nobody's. Without the claim, a sweep takes
        // the row from under an attempt that waited for its turn.
        Some(lease) if lease.owner.is_none() => {
            claim(key, row, me, now).map_or(AfterRead::Delete, AfterRead::Claim)
        }
        Some(_) => AfterRead::Delete,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{at, failed, instance, key, requeued};

    const FIRST: Arriving =
        Arriving { round: Some(0), has_payload: true, again: false, receives: 1 };

    #[test]
    fn only_a_first_receipt_with_everything_in_it_needs_no_read() {
        assert_eq!(on_receive(&FIRST, Local::Unknown), OnReceive::Deliver);
        for message in [
            Arriving { round: None, ..FIRST },
            Arriving { round: Some(1), ..FIRST },
            Arriving { has_payload: false, ..FIRST },
            Arriving { again: true, ..FIRST },
            Arriving { receives: 2, ..FIRST },
        ] {
            assert_eq!(on_receive(&message, Local::Unknown), OnReceive::ReadRow, "{message:?}");
        }
    }

    /// For every job: a message of its round is deleted only where the row has the outcome.
    #[test]
    fn a_known_delivery_decides_about_its_messages() {
        let of = |round| Arriving { round, ..FIRST };
        let table = [
            (Local::Held { round: 1 }, OnReceive::Renew, OnReceive::Leave),
            (Local::Unwritten { round: 1 }, OnReceive::Leave, OnReceive::Leave),
            (Local::Waiting { round: 1 }, OnReceive::Delete, OnReceive::ReadRow),
            (Local::Dying { round: 1 }, OnReceive::Delete, OnReceive::ReadRow),
        ];
        for (local, same, later) in table {
            assert_eq!(on_receive(&of(Some(0)), local), OnReceive::Delete, "{local:?}");
            assert_eq!(on_receive(&of(Some(1)), local), same, "{local:?}");
            assert_eq!(on_receive(&of(None), local), same, "{local:?}");
            assert_eq!(on_receive(&of(Some(2)), local), later, "{local:?}");
        }
    }

    #[test]
    fn a_row_decides_about_what_was_read() {
        let me = instance("a");
        let read = |round, row: Option<&Row>| {
            after_read(&Arriving { round, ..FIRST }, &key(), row, &me, at(50))
        };
        assert_eq!(read(Some(0), None), AfterRead::Stray);
        let deliver = AfterRead::Deliver { round: 0, interrupted: 0 };
        assert_eq!(read(Some(0), Some(&Row::new())), deliver);
        assert_eq!(read(None, Some(&Row::new())), deliver);
        assert_eq!(read(Some(1), Some(&Row::new())), AfterRead::Leave);
        assert_eq!(read(Some(0), Some(&failed("a", 1, None))), AfterRead::Delete);
        assert_eq!(read(Some(0), Some(&requeued())), AfterRead::Delete);
        let AfterRead::Claim(write) = read(Some(1), Some(&requeued())) else {
            panic!("a requeued row is claimed");
        };
        let claimed = write.apply(&requeued()).unwrap();
        assert!(claimed.lease.as_ref().unwrap().is_of(&me, 1));
        assert_eq!(read(Some(1), Some(&claimed)), AfterRead::Delete);
    }
}
