//! SQS and DynamoDB behind the ports.
//!
//! One [`Client`] holds the connections; the adapters are views of it: [`SqsQueue`] for a queue,
//! [`DynamoRows`] for the rows of events as the daemon uses them, [`DynamoEvents`],
//! [`DynamoDeadLetters`] and [`DynamoTenants`] for what the API needs. Tables and message forms
//! are the contract's (§5), the names of attributes stand in `item`.
//!
//! Refuses to decide anything about an event: conditions and their meaning are
//! `posthaste_domain::RowWrite`'s, the order of writes is the protocol's. SDK types do not leave
//! this crate.

mod check;
mod client;
mod date;
mod dead_letters;
mod error;
mod events;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod item;
mod queue;
mod reading;
mod requeue;
mod rows;
mod settings;
mod setup;
mod tenants;

pub use check::Checked;
pub use client::Client;
pub use dead_letters::DynamoDeadLetters;
pub use error::{Error, Resource};
pub use events::DynamoEvents;
pub use queue::{MESSAGE_BYTES_MAX, SqsQueue};
pub use requeue::{Progress, Tidied, tidy};
pub use rows::{DynamoRows, NewRow};
pub use settings::{Keys, Names, Settings, WriteStrategy};
pub use tenants::{DynamoTenants, TenantRowError};
