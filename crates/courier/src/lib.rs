//! AWS mode: carries events from the queue to the engine, and outcomes into rows.
//!
//! The courier is a [`posthaste_ports::Journal`] to the shards, so that one engine serves both
//! modes. Behind it stand three stores, each with a part of the truth:
//!
//! ```text
//!            receive                      arrivals                 attempts
//!  queue ───────────────► held (memory) ──────────► engine (shards) ────────► endpoints
//!    ▲ ▲                     │                        ▲    │ settle
//!    │ └── hide, delete ─────┘            timers      │    ▼
//!    │                              jobs (disk) ──────┘  outcomes
//!    │                                  ▲ outbox           │
//!    │            claims                └──────────────────┤
//!  (requeue)   ┌──────────── sweep ◄── work index          │ conditional writes
//!              ▼                           │               ▼
//!            jobs, engine                  └──────────── rows ──► dying ──► DLQ
//! ```
//!
//! What is decided is `posthaste-protocol`'s business; here it is carried out: in batches, with
//! pauses after failures, and in the order on which the protocol's promise rests. Nothing is
//! deleted from the queue before the row holds its outcome.
//!
//! All waiting is the runtime's, and all chance comes from a seed, so that a simulation can run
//! this very code.

mod batcher;
mod chance;
mod clock;
mod courier;
mod dying;
mod health;
mod held;
mod intake;
mod journal;
mod outcomes;
mod pause;
mod permit;
mod polls;
mod releases;
mod settings;
mod start;
mod stats;
mod sweep;
mod tenants;

pub use clock::Clock;
pub use courier::{Courier, Ports};
pub use permit::Permission;
pub use posthaste_protocol::Disk;
pub use settings::Settings;
pub use start::{Part, Released, Started};
pub use stats::Stats;
pub use tenants::CachedTenants;
