//! The parts of the binary `posthaste`, as a library so that tests and benches can use them.

pub mod cli;
pub mod config;
pub mod demo;
pub mod logging;

pub mod assemble;
pub mod instance;
pub mod lifecycle;

pub mod admin;
pub mod chance;
pub mod clock;
pub mod inbox;
pub mod metrics;
pub mod reload;
pub mod server;
pub mod service;
pub mod shard;
pub mod shards;

mod admin_key;
mod sweep;
