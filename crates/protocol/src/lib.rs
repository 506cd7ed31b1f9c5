//! AWS mode: who owes an event, what each step may write, and when a message may go.
//!
//! Pure decisions, without I/O, clock or entropy.

mod message;

pub use message::{BODY_BYTES_MAX, EventMessage, MessageError, dead_letter_body, quarantine_body};
