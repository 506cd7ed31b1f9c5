//! The simulated SQS and DynamoDB, tried by the SDK that it is for: one file an area.

#![expect(clippy::unwrap_used, reason = "tests")]

mod faults;
mod items;
mod messages;
mod queries;
mod queues;
mod statements;
mod support;
mod tables;
mod transactions;
mod wire;
