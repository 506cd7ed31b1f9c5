//! AWS mode: who owes an event, what each step may write, and when a message may go.
//!
//! Pure decisions over the words of `posthaste-domain`, without I/O, clock or entropy. The daemon,
//! the API and the functions carry them out; `model/` explores every order in which they can meet.
//! What a conditional write means is [`posthaste_domain::RowWrite::apply`]; here it is decided
//! which write is sent, and what its answer allows.
//!
//! The rule behind every rule: **an event that was accepted has a row, and the row is final, or in
//! the work index, or the queue holds a message of the row's round.** So a message may go once the
//! row is final or in the work index, and a job on a disk may be forgotten at any time.
//!
//! ```text
//!  queue ─► receive ─► (attempt) ─► settle ─► row ─┬─ final: message and job go
//!               │                                  ├─ waits: lease ─► (attempt) ─► settle …
//!               └── row in work: claim ◄── sweep   └─ last failure: dead_letter ─► DLQ ─► row
//!                                            ▲                                       │
//!                                            └────────────── requeue ◄───────────────┘
//! ```

mod limits;
mod message;
mod receive;
mod settle;
// In the order of an event's life: what follows is about rows in the work index.
mod dead_letter;
mod lease;
mod requeue;
mod start;
mod sweep;
mod table_time;

#[cfg(test)]
mod samples;

pub use dead_letter::{Dead, Dying, DyingStep, after_die, dying_step};
pub use lease::{Extended, Hold, Permit, after_extend, extend};
pub use limits::{
    ATTEMPT_MS_MAX, INTERRUPTIONS_MAX, LEASE_SLACK_MS, REQUEUE_GRACE_MS, SKEW_MS_MAX, VISIBILITY_MS,
};
pub use message::{BODY_BYTES_MAX, EventMessage, MessageError, dead_letter_body, quarantine_body};
pub use receive::{AfterRead, Arriving, Local, OnReceive, after_read, on_receive};
pub use requeue::{OnRequeue, Requeued, after_purge, after_requeue, is_begun, purge, requeue};
pub use settle::{Answer, Dropped, Owner, Settled, after_outcome, outcome_write};
pub use start::{AtStart, Disk, at_start};
pub use sweep::{Taken, after_claim, claim, is_clock_usable, on_owed};
pub use table_time::TableTime;
