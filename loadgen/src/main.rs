//! The binary `loadgen`.

use std::process::ExitCode;

use clap::Parser as _;
use posthaste_loadgen::cli::{Arguments, execute};

fn main() -> ExitCode {
    ExitCode::from(execute(Arguments::parse()))
}
