//! The functions' real binaries under a Runtime API of ours, before a simulated AWS in this
//! process: good, bad and hostile events, outages, time-outs and crashes.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]
#![expect(clippy::disallowed_methods, reason = "real processes, real time")]

mod authorizer;
mod front;
mod host;
mod ingest;
#[expect(dead_code, reason = "the daemon's tests stop more calls")]
#[path = "../../../daemon/tests/it/aws/proxy.rs"]
mod proxy;
mod receiver;
mod requeue;
mod start;
mod support;
mod tour;
