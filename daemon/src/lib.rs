//! The parts of the binary `posthaste`, as a library so that tests and benches can use them.

pub mod cli;
pub mod config;
pub mod logging;
