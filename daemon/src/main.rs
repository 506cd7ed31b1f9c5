//! The binary `posthaste`: reads the command line, and does what it says.
//!
//! `serve` is the boot order, from top to bottom.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser as _;
use posthaste::assemble::{self, Listeners, Options};
use posthaste::cli::{Cli, Command, Serve, commands, ledger};
use posthaste::clock::Clock;
use posthaste::config::Loaded;
use posthaste::demo;
use posthaste::lifecycle::{self, EXIT_FATAL, Fatal, Hangups, Signals, Upkeep};
use posthaste::logging;
use posthaste::reload::Reloader;
use posthaste::service::Service;
use tracing::{info, warn};

/// Events are taken by one thread, given back by another, and come in every size, which glibc's
/// allocator is worst at: with this one an event costs 47.1 us of CPU where it cost 54.5 (means of
/// four runs of `saturate` each, in turns), for a tenth more memory. mimalloc: 50.6 us, half as
/// much memory again.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(arguments) => serve(&arguments).unwrap_or_else(|code| code),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Check(arguments) => commands::check(&arguments),
        Command::Config(arguments) => commands::show_config(&arguments),
        Command::Ledger(arguments) => ledger::run(&arguments),
        Command::Key => commands::make_key(),
        Command::Completions { shell } => commands::completions(shell),
        Command::Man { directory } => commands::manual(&directory),
    }
}

fn serve(arguments: &Serve) -> Result<ExitCode, ExitCode> {
    let Loaded { mut config, notes, listing } = commands::load(&arguments.settings)?;
    let levels = logging::start(&config.log).map_err(|error| fault(&error))?;
    let service = Service::from_environment(&config);
    notes.iter().for_each(|note| warn!("{note}"));
    lifecycle::install_crypto_provider();
    let fatal = Fatal::default();
    lifecycle::end_on_panic(&fatal);
    assemble::fit(&mut config, lifecycle::raise_descriptor_limit());
    let options = Options {
        fatal,
        clock: Clock::start(),
        accept_loss: arguments.accept_loss,
        show_key: commands::show_admin_key,
        receiver_observer: None,
    };
    let runtime = lifecycle::runtime(&config.runtime).map_err(|error| fault(&error))?;
    let ended = runtime.block_on(async {
        let mut signals = Signals::install().map_err(|error| fault(&error))?;
        let hangups = Hangups::install().map_err(|error| fault(&error))?;
        let starting = service.through_start(async {
            let listeners = Listeners::bind(&config).await?;
            assemble::start(&config, listeners, options).await
        });
        let instance = tokio::select! {
            started = starting => started.map_err(|error| {
                commands::complain_of(&error);
                service.failed(&commands::told(&error));
                error.exit_code()
            })?,
            signal = signals.next() => {
                info!(signal, "stopped while starting");
                return Ok(ExitCode::SUCCESS);
            }
        };
        commands::announce(&instance);
        service.watch(&instance);
        let settings = arguments.settings.clone();
        let connections = config.server.connections_max;
        let reloader = Reloader::new(settings, listing, connections, levels, Arc::clone(&service));
        Ok(lifecycle::run(instance, signals, Upkeep { service, hangups, reloader }).await)
    });
    // Whatever still blocks a thread ends with the process.
    runtime.shutdown_background();
    ended
}

fn fault(error: &dyn std::error::Error) -> ExitCode {
    commands::complain_of(error);
    ExitCode::from(EXIT_FATAL)
}
