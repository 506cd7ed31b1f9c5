//! The configuration: from a file, credentials, the environment and flags to typed values, or to
//! every problem at once.
//!
//! ```text
//! file ────────┐
//! credentials ─┤
//! environment ─┼─► layers (raw, with origins) ─► reader (kinds, bounds) ─► relations ─► Config
//! flags ───────┘                                     └─► listing: example, hints, the commands
//! ```
//!
//! There is no raw twin of [`Config`] for serde to fill: serde stops at its first error and
//! forgets where a value came from. Instead each field of the section types below is read by the
//! call that names, bounds and explains it; a field that is not read does not compile, and a value
//! that nobody read is an unknown setting.
//!
//! Invariant: a [`Config`] that exists has no contradictions.

pub mod aws;
pub mod host;
pub mod intake;
pub mod isolation;
pub mod layers;
pub mod listing;
pub mod problem;
pub mod process;
pub mod sending;
pub mod storage;

mod kinds;
mod reader;
mod relations;
mod suggest;

use self::aws::Aws;
use self::intake::{Auth, Secrets, Server};
use self::isolation::Isolation;
use self::layers::{Layers, Sources};
use self::listing::Listing;
use self::problem::Problems;
use self::process::{Drain, Log, Runtime};
use self::reader::Reader;
use self::sending::{Delivery, Engine, Retry};
use self::storage::{Data, Retention};

/// Everything that can be configured.
#[derive(Clone, Debug)]
pub struct Config {
    /// Listeners and what bounds a request.
    pub server: Server,
    /// Who may do what.
    pub auth: Auth,
    /// Webhook secrets.
    pub secrets: Secrets,
    /// The data directory.
    pub data: Data,
    /// How long rows live.
    pub retention: Retention,
    /// How deliveries are made.
    pub delivery: Delivery,
    /// When they are tried again.
    pub retry: Retry,
    /// What keeps tenants apart.
    pub isolation: Isolation,
    /// What is held in memory.
    pub engine: Engine,
    /// AWS mode.
    pub aws: Aws,
    /// How the process stops.
    pub drain: Drain,
    /// What it logs.
    pub log: Log,
    /// Its threads.
    pub runtime: Runtime,
}

/// A configuration that can be used, and how it came about.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// Every setting with its value and origin.
    pub listing: Listing,
    /// What is lawful but probably not what was meant, one line each.
    pub notes: Vec<String>,
}

/// Reads the configuration.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub fn load(sources: Sources) -> Result<Loaded, Problems> {
    let mut problems = Vec::new();
    let layers = Layers::read(sources, &mut problems);
    let mut reader = Reader::new(layers, problems);
    let config = Config::read(&mut reader);
    let (listing, mut problems, faulty) = reader.finish();
    problems.extend(relations::contradictions(&config, &listing, &faulty));
    match Problems::of(problems) {
        Some(problems) => Err(problems),
        None => Ok(Loaded { notes: relations::notes(&config), config, listing }),
    }
}

/// Every setting at its default.
#[must_use]
pub fn defaults() -> Listing {
    let mut reader = Reader::new(Layers::default(), Vec::new());
    drop(Config::read(&mut reader));
    reader.finish().0
}

impl Config {
    fn read(reader: &mut Reader) -> Self {
        Self {
            server: Server::read(reader.section("server", "What listens, and what it accepts.")),
            auth: Auth::read(reader.section("auth", "Who may do what.")),
            secrets: Secrets::read(
                reader.section("secrets", "The secrets that deliveries are signed with."),
            ),
            data: Data::read(reader.section("data", "The data directory and the ledger in it.")),
            retention: Retention::read(reader.section(
                "retention",
                "How long rows live in standalone mode. In AWS mode it is 30 days, 14 days and 24 \
                 hours.",
            )),
            delivery: Delivery::read(
                reader.section("delivery", "How deliveries are made, and where they may go."),
            ),
            retry: Retry::read(reader.section("retry", "When a failed delivery is tried again.")),
            isolation: Isolation::read(reader.section(
                "isolation",
                "What one tenant or endpoint may take, and when it is left alone.",
            )),
            engine: Engine::read(
                reader.section("engine", "How the work is divided, and what is held in memory."),
            ),
            aws: Aws::read(reader.section("aws", "AWS mode: events from SQS, rows in DynamoDB.")),
            drain: Drain::read(reader.section("drain", "How the process stops.")),
            log: Log::read(reader.section("log", "What is logged to standard error.")),
            runtime: Runtime::read(reader.section("runtime", "The threads of the process.")),
        }
    }
}

#[cfg(test)]
mod tests;
