//! The sans-IO delivery engine of one shard.
mod io;
pub use io::{Delivery, Effect, Input};
