//! The command line: what can be asked of the binary, and the flags that configure it.
//!
//! Only what is asked; `cli/commands.rs` answers what needs no running instance. Exit codes: 0, 2
//! for a wrong command line, 70 after a fault, 78 for a configuration that cannot be used; those of
//! `cli/ledger.rs` are its own.

pub mod commands;
pub mod ledger;
mod man;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::config::layers::{
    DIRECTORY_VARIABLE, FILE_DEFAULT, FILE_VARIABLE, FileChoice, Flag, Sources,
};

/// Exit code for a configuration that cannot be used (`EX_CONFIG`).
pub const EXIT_CONFIG: u8 = 78;

const VERSION: &str = env!("CARGO_PKG_VERSION");
const LONG_VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\ncommit: ",
    env!("BUILD_COMMIT"),
    "\ntarget: ",
    env!("BUILD_TARGET"),
);

const EXAMPLES: &str = "\
Examples:
  posthaste demo                                try it: real deliveries on this machine
  posthaste config --example > posthaste.toml   begin a configuration
  posthaste check                               look whether it is right
  posthaste serve                               serve until SIGTERM or Ctrl-C
  posthaste serve --set retry.delays=10s,1m,5m --log-format json

Configuration: posthaste.toml in the working directory (or --config FILE), then the environment
(POSTHASTE_RETRY_DELAYS=10s,1m,5m for retry.delays), then flags; the last one wins.";

const SERVE_EXAMPLES: &str = "\
Examples:
  posthaste serve
  posthaste serve --config /etc/posthaste.toml --data-dir /var/lib/posthaste
  posthaste serve --listen 0.0.0.0:8080 --set delivery.allow-networks=10.0.0.0/8

The first start prints the admin key, once. SIGHUP reads the configuration again: what the example
(posthaste config --example) calls live then holds at once, all else from the next start on, and a
configuration that is wrong changes nothing. SIGTERM or Ctrl-C finishes what is in flight; a second
one ends at once. Nothing that got a 201 is lost either way.

Exit codes: 0 after a stop, 70 after a fault that a restart recovers from, 78 for a configuration
that cannot be used, 130 after a second signal.";

const CHECK_EXAMPLES: &str = "\
Tells everything that is wrong at once, each with its place, its value and what would be right; also
whether the data directory can be used and the addresses are this machine's. Starts nothing, writes
nothing, and does not disturb a running instance. Exit codes: 0 if it can be used, 78 if not.

Examples:
  posthaste check --config /etc/posthaste.toml
  posthaste check --env                             AWS mode: may it use its queues and tables?
  posthaste check --set retry.delays=1m,5m,1h";

const CONFIG_EXAMPLES: &str = "\
Examples:
  posthaste config                                what holds, and where each value came from
  posthaste config --format json | jq .retry
  posthaste config --example > posthaste.toml     every setting, explained, at its default

Secrets are never printed. The output is a configuration file with the same meaning but for them.";

const DEMO_EXAMPLES: &str = "\
Starts standalone mode with a receiver built in, creates three tenants (a healthy one, one that
fails twice and recovers, one that is down for good), posts events through the public API, delivers
them over real HTTP with a shortened retry schedule, and shows what happens. At the end a table
that must add up; then it serves on until Ctrl-C.

Examples:
  posthaste demo
  posthaste demo --events 100000 --rate 5000
  posthaste demo --aws http://127.0.0.1:4566        the same on SQS and DynamoDB, of an emulator
  posthaste demo --payloads events.ndjson --once    exit code 0 if everything added up";

/// Webhook delivery that loses nothing: real events in, signed webhooks out.
#[derive(Debug, Parser)]
#[command(
    name = "posthaste",
    version = VERSION,
    long_version = LONG_VERSION,
    after_help = EXAMPLES,
    arg_required_else_help = true,
    max_term_width = 100,
    subcommand_required = true
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the binary can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Take events and deliver them, until SIGTERM or Ctrl-C
    #[command(after_help = SERVE_EXAMPLES)]
    Serve(Serve),
    /// Look whether the configuration can be used, without starting anything
    #[command(after_help = CHECK_EXAMPLES)]
    Check(Check),
    /// Print the effective settings, each with its origin
    #[command(after_help = CONFIG_EXAMPLES)]
    Config(ShowConfig),
    /// Show the whole of it on this machine: events in, signed webhooks out
    #[command(after_help = DEMO_EXAMPLES)]
    Demo(Demo),
    /// Verify, repair or export a data directory that nobody serves from
    Ledger(ledger::Ledger),
    /// Make an API key, for auth.admin-key; it is stored nowhere
    Key,
    /// Print completions for a shell
    #[command(after_help = "Example:\n  posthaste completions bash > \
                            /usr/share/bash-completion/completions/posthaste")]
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Write the manual pages, for packages
    #[command(hide = true)]
    Man {
        /// Where to; made if it is missing
        directory: PathBuf,
    },
}

/// `posthaste serve`.
#[derive(Args, Clone, Debug)]
pub struct Serve {
    /// Go on although the ledger proves that acknowledged events are missing from the disk. Needed
    /// once, after a disk fault, when what is lost has been read in the message that asks for it
    #[arg(long)]
    pub accept_loss: bool,
    /// The configuration.
    #[command(flatten)]
    pub settings: Settings,
}

/// `posthaste check`.
#[derive(Args, Clone, Debug)]
pub struct Check {
    /// In AWS mode, also try what a daemon does with queues and tables, one line each
    #[arg(long)]
    pub env: bool,
    /// The configuration.
    #[command(flatten)]
    pub settings: Settings,
}

/// The flags that configure.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Configuration")]
pub struct Settings {
    /// The configuration file [default: posthaste.toml, if there is one]
    #[arg(long, value_name = "FILE", env = FILE_VARIABLE)]
    pub config: Option<PathBuf>,
    /// Where the public API listens (server.listen)
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Where /livez, /readyz, /metrics and /endpoints are (server.admin-listen)
    #[arg(long, value_name = "ADDRESS")]
    pub admin_listen: Option<String>,
    /// Where everything is kept (data.dir)
    #[arg(long, value_name = "DIRECTORY")]
    pub data_dir: Option<String>,
    /// How much is logged (log.level)
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// What log lines look like: text or json (log.format)
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// Any setting, as often as needed: --set retry.delays=10s,1m,5m
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
}

impl Settings {
    /// Where to look for settings: the file, this process's credentials and environment, these
    /// flags. A flag of its own wins over `--set`.
    #[must_use]
    pub fn sources(&self) -> Sources {
        let Self { config, listen, admin_listen, data_dir, log_level, log_format, set } = self;
        let own = [
            ("--listen", "server.listen", listen),
            ("--admin-listen", "server.admin-listen", admin_listen),
            ("--data-dir", "data.dir", data_dir),
            ("--log-level", "log.level", log_level),
            ("--log-format", "log.format", log_format),
        ];
        let own = own.into_iter().filter_map(|(flag, setting, value)| {
            Some(Flag::Own { flag, setting, value: value.clone()? })
        });
        let file = match config {
            Some(path) => FileChoice::Named(path.clone()),
            None => FileChoice::IfPresent(FILE_DEFAULT.into()),
        };
        Sources {
            file,
            credentials: std::env::var_os(DIRECTORY_VARIABLE).map(PathBuf::from),
            environment: std::env::vars_os().collect(),
            flags: set.iter().cloned().map(Flag::Set).chain(own).collect(),
        }
    }
}

/// `posthaste config`.
#[derive(Args, Clone, Debug)]
pub struct ShowConfig {
    /// In which form: toml (origins as comments) or json (value and origin of each setting)
    #[arg(long, value_enum, default_value_t = Format::Toml, hide_possible_values = true)]
    pub format: Format,
    /// Print the commented example instead: every setting at its default
    #[arg(long, conflicts_with = "format")]
    pub example: bool,
    /// The configuration.
    #[command(flatten)]
    pub settings: Settings,
}

/// How effective settings are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// As a configuration file, origins as comments
    Toml,
    /// As an object of sections, with `value` and `origin` for each setting
    Json,
}

/// `posthaste demo`.
#[derive(Args, Clone, Debug)]
pub struct Demo {
    /// How many events to post, over all tenants
    #[arg(long, value_name = "N", default_value_t = 1000,
          value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub events: u64,
    /// How many events to post a second; 0 for as fast as it goes
    #[arg(long, value_name = "R", default_value_t = 200,
          value_parser = clap::value_parser!(u64).range(0..=1_000_000))]
    pub rate: u64,
    /// Payloads to post, over and over: a file of JSON objects, one a line, or one JSON array of
    /// objects [default: twelve real webhooks]
    #[arg(long, value_name = "FILE")]
    pub payloads: Option<PathBuf>,
    /// Exit when everything is settled, with code 0 if the numbers add up
    #[arg(long)]
    pub once: bool,
    /// Where to keep what the demo stores [default: a directory that is removed at the end]
    #[arg(long, value_name = "DIRECTORY")]
    pub data_dir: Option<PathBuf>,
    /// Where to listen [default: a free port on loopback]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<std::net::SocketAddr>,
    /// In AWS mode, on an emulator of SQS and DynamoDB at this address: queues and tables are
    /// made there under a prefix of their own
    #[arg(long, value_name = "URL")]
    pub aws: Option<String>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// A flag of its own wins over `--set`, wherever it stands.
    #[test]
    fn own_flags_apply_last() {
        let arguments = ["posthaste", "serve", "--listen", "a", "--set", "server.listen=b"];
        let cli = Cli::try_parse_from(arguments).unwrap();
        let Command::Serve(serve) = cli.command else { panic!("serve") };
        let last = serve.settings.sources().flags.pop().unwrap();
        assert!(matches!(last, Flag::Own { flag: "--listen", .. }), "{last:?}");
    }
}
