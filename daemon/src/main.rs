//! The binary `posthaste`: reads the command line, and does what it says.

use std::process::ExitCode;

use clap::Parser as _;
use posthaste::cli::{Cli, Command, commands};

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(_) | Command::Demo(_) => ExitCode::from(70),
        Command::Check(settings) => commands::check(&settings),
        Command::Config(arguments) => commands::show_config(&arguments),
        Command::Key => commands::make_key(),
        Command::Completions { shell } => commands::completions(shell),
    }
}
