//! SQS and DynamoDB behind the ports.
//!
//! One [`Client`] holds the connections; the adapters are views of it: [`SqsQueue`] for a queue,
//! names of attributes stand in `item`.
//!
//! Refuses to decide anything about an event: conditions and their meaning are
//! `posthaste_domain::RowWrite`'s, the order of writes is the protocol's. SDK types do not leave
//! this crate.

mod check;
mod client;
mod error;
mod item;
mod queue;
mod rows;
mod settings;
mod setup;

pub use check::Checked;
pub use client::Client;
pub use error::{Error, Resource};
pub use queue::{MESSAGE_BYTES_MAX, SqsQueue};
pub use rows::{DynamoRows, NewRow};
pub use settings::{Names, Settings, WriteStrategy};
