//! Whole runs against the real daemon: `posthaste` from the same target directory.
//!
//! Where it is not built there, the tests say so and pass: they are about both programs. They are
//! short, and on a busy machine a run may rightly call itself starved, so they judge what a run
//! found out, and its verdict only where it follows from that.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "tests fail by panicking, and say aloud what they skip; not all of it is in #[test]s"
)]

mod aws;
mod daemon;
mod retries;
mod runs;
mod signals;
