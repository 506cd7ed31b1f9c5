//! The HTTP delivery client: one signed POST per attempt, to a vetted address only.
//!
//! ```text
//! attempt ─► names (own cache) ─► guard ─► pool ─► connect, TLS ─► exchange ─► Attempt
//!            every address vetted          └── a live connection is reused ──┘
//! ```
//! It follows no redirects, keeps no cookies, decompresses nothing and asks no proxy. Whatever
//! the endpoint does, an attempt ends by its deadline, holds a bounded amount of memory, and comes
//! back as a [`posthaste_domain::Attempt`]: there is no error to handle.
//!
//! One [`Client`] belongs to one thread (a shard); it is not `Send`, takes no lock and spawns no
//! task. Connections are driven by the attempt that uses them, and rest unpolled in the pool.
//!
//! Invariants: connections go only to addresses that the policy let pass · at most one request is
//! on a connection · a connection is reused only if it is clean (nothing received, not closed) and
//! its address is still in the name's current answer · a request is sent a second time only if it
//! went out on a reused connection that gave not one byte back.

mod client;
mod clock;
mod connect;
mod connection;
mod dns;
mod egress;
mod endpoint;
mod failure;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod pool;
mod progress;
mod request;
mod response;
mod retry_after;
mod settings;
mod tls;

pub use client::{Client, Stats};
pub use clock::Clock;
pub use dns::{Answer, Lookup, LookupError, Resolve};
pub use endpoint::{Endpoint, InvalidTarget, TargetKey};
pub use request::{Moment, Request};
pub use settings::{Settings, SettingsError, TlsRoots};
