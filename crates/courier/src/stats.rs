//! What a courier counts.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// Figures that only grow.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: Counter,)+
        }

        /// A copy of a courier's figures; all but `held`, `held_bytes` and `unwritten` only grow.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Stats {
            /// Messages held.
            pub held: u64,
            /// Payload bytes of held messages.
            pub held_bytes: u64,
            /// Outcomes that wait for their row to be written.
            pub unwritten: u64,
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        impl Stats {
            /// Each figure with its name.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
                let levels = [
                    ("held", self.held),
                    ("held_bytes", self.held_bytes),
                    ("unwritten", self.unwritten),
                ];
                levels.into_iter().chain([$((stringify!($name), self.$name),)+])
            }
        }

        impl Counters {
            pub(crate) fn copy(&self) -> Stats {
                Stats { $($name: self.$name.get(),)+ ..Stats::default() }
            }
        }
    };
}

counters! {
    /// Rounds of the loops that ask for messages, those without a request included.
    intake_rounds,
    /// Requests for messages.
    polls,
    /// Messages received.
    received,
    /// Messages handed to the engine.
    taken,
    /// Messages put off, since their tenant has its share of what can be held.
    put_off,
    /// Copies of what is settled, or owed already, that were deleted without an attempt.
    copies_deleted,
    /// Copies of what is held already.
    copies_renewed,
    /// Messages left alone, since the outcome they stand for is not in the row yet.
    left_alone,
    /// Messages that can never be delivered, put into the DLQ.
    quarantined,
    /// Rows read because a message did not say enough.
    rows_read,
    /// Rows that made no sense, each time that one was met.
    unreadable,
    /// Outcomes written into rows.
    outcomes_written,
    /// Outcomes dropped, since the row belonged to somebody else or was final.
    outcomes_dropped,
    /// Row writes that were throttled.
    throttled,
    /// Row writes that failed otherwise and were made again.
    write_failures,
    /// Messages deleted after their outcome was in the row.
    deleted,
    /// Requests to hide messages longer.
    hide_requests,
    /// Messages that were lost to others while they were held.
    receipts_lost,
    /// Rows taken over from daemons that let their lease run out.
    claimed,
    /// Own leases that were taken again because they ran out while a retry waited.
    reclaimed,
    /// Attempts that were not made, since the lease or the message was lost.
    withdrawn,
    /// Messages put into the DLQ.
    dead_lettered,
}

/// One figure.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: usize) {
        self.0.fetch_add(count as u64, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
