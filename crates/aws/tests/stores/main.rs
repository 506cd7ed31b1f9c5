//! Tenants, events and dead letters on DynamoDB: the suite of the ports, the crash points of
//! ingest and requeue, and what people and other versions put into the tables.
//!
//! DynamoDB is `dynoxide`, in the test's own process and spoken to by the SDK over HTTP; the queue
//! is the reference in memory, which the conformance suite compares with SQS. No test needs the
//! network, an account, or another process.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod bad_cases;
mod contract;
mod costs;
mod crash_points;
mod harness;
mod journal;
mod lists;
mod proxy;
mod sending;
mod tenants;
