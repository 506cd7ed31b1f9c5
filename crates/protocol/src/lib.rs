//! AWS mode: who owes an event, what each step may write, and when a message may go.
//!
//! Pure decisions, without I/O, clock or entropy.
