//! What Posthaste needs from a store, as traits.
//!
//! Calls are batch-shaped, so that one call is one fsync, one request or one lock. Two adapters
//! exist for every trait: [`memory`], the reference, and the embedded ledger; every adapter runs
//! the one suite in [`contract`].
//!
//! Times come in with the call; an adapter reads no clock to decide anything that a caller can see.

pub mod conformance;
pub mod contract;
pub mod memory;

mod chance;
mod dead_letters;
mod error;
mod events;
mod expiry;
mod jobs;
mod journal;
mod queue;
mod rows;
mod tenants;

pub use dead_letters::{DeadLetter, DeadLetters, Requeued, Scope};
pub use error::PortError;
pub use events::{
    Acceptance, EventDetail, EventPage, EventStore, EventSummary, Idempotency, ListQuery,
    LoggedAttempt, NewEvent, Retried,
};
pub use expiry::{CLAIM_KEPT_MS, DEAD_KEPT_MS, DELIVERED_KEPT_MS, Expiry};
pub use jobs::{Job, JobChange, JobState, JobStore};
pub use journal::{
    Arrival, ArrivalSink, Backlog, Journal, OwedEndpoint, Settled, ShardSpec, TimerPage,
};
pub use queue::{Message, Outgoing, QUEUE_BATCH_MAX, Queue, Receipt};
pub use rows::{Readable, Rows, StoredEvent, WORK_PARTITIONS, Written};
pub use tenants::{
    Created, Identity, KeyRecord, NewTenant, TenantChange, TenantRecord, TenantStore,
};
