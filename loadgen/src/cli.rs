//! The command line.

use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::compare::{Ab, Compare};
use crate::exit;
use crate::live::Live;
use crate::record::Verdict;
use crate::report::{self, Report};
use crate::run::{self, Observer, Options, Plain};
use crate::scenario::{Problems, Scenario, explain, names, resolve};

const EXAMPLES: &str = "\
Examples:
  loadgen explain                                    which scenarios there are
  loadgen explain crash                              what one of them does
  loadgen run steady                                 run it
  loadgen run steady --set phases.measure=5s         a short one
  loadgen run mine.toml --binary ../other/posthaste  one of your own, against another build
  loadgen ab --a ./before --b ./after steady         whether a change made it better or worse

Exit codes: 0 ok, 2 usage, 3 regression, 4 a gate failed, 5 invalid (not a measurement), 70 a fault
of the generator or the machine, 130 interrupted (what was measured until then is written).";

/// Measures a webhook system: open-loop load, a verifying sink, an exact account
#[derive(Debug, Parser)]
#[command(name = "loadgen", version, about, after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a scenario and say what came of it
    Run(Run),
    /// Make the report of a run again, as a page and as Markdown
    Report(Report),
    /// Say whether one run, or folder of runs, is better or worse than another
    Compare(Compare),
    /// Run two programs in turns on this machine, and say which is better
    Ab(Ab),
    /// Look whether scenarios can be run, without running them
    Check {
        /// Names or files [default: all that come with the program]
        scenarios: Vec<String>,
        /// Any value of the scenarios, as often as needed
        #[arg(long, value_name = "KEY=VALUE")]
        set: Vec<String>,
    },
    /// Say in words what a scenario does
    Explain {
        /// A name or a file [default: a list of those that come with the program]
        scenario: Option<String>,
        /// Any value of the scenario, as often as needed
        #[arg(long, value_name = "KEY=VALUE")]
        set: Vec<String>,
    },
    /// Run a simulated SQS and DynamoDB, for benchmarks and faults
    AwsSim(crate::aws_sim::Alone),
    /// Run the sink alone: it accepts every delivery and counts
    Sink(crate::sink::Alone),
}

#[derive(Args, Debug)]
struct Run {
    /// The name of a scenario that comes with the program, or a file
    scenario: String,
    /// Any value of the scenario, as often as needed: --set phases.measure=5s
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// The folder for the results [default: a new one under target/loadgen]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// The program to measure, instead of the scenario's
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Real payloads (NDJSON or a JSON array of objects), instead of the scenario's
    #[arg(long, value_name = "FILE")]
    payloads: Option<PathBuf>,
    /// Print the result only
    #[arg(long)]
    quiet: bool,
    /// Print lines, in a terminal too, instead of the live view
    #[arg(long, conflicts_with = "quiet")]
    plain: bool,
}

/// Does what the command line says; gives the exit code.
#[must_use]
pub fn execute(arguments: Arguments) -> u8 {
    match arguments.command {
        Command::Run(run) => execute_run(run),
        Command::Report(report) => report.execute().unwrap_or_else(misuse),
        Command::Compare(compare) => compare.execute().unwrap_or_else(misuse),
        Command::Ab(ab) => ab.execute().unwrap_or_else(|error| fail(&error)),
        Command::Check { scenarios, set } => check(&scenarios, &set),
        Command::Explain { scenario: None, .. } => list(),
        Command::Explain { scenario: Some(scenario), set } => match load(&scenario, &set) {
            Ok(scenario) => {
                say(explain(&scenario).trim_end());
                exit::OK
            }
            Err(problems) => complain(&scenario, &problems),
        },
        Command::AwsSim(alone) => match alone.run() {
            Ok(()) => exit::OK,
            Err(error) => fail(&error),
        },
        Command::Sink(alone) => match alone.run() {
            Ok(()) => exit::OK,
            Err(error) => fail(&error),
        },
    }
}

fn load(scenario: &str, set: &[String]) -> Result<Scenario, Problems> {
    let (text, folder) = resolve(scenario)?;
    Scenario::parse(&text, folder, set)
}

fn execute_run(run: Run) -> u8 {
    let mut scenario = match load(&run.scenario, &run.set) {
        Ok(scenario) => scenario,
        Err(problems) => return complain(&run.scenario, &problems),
    };
    if run.payloads.is_some() {
        scenario.payload.file = run.payloads;
    }
    let mut observer = observer(run.quiet, run.plain);
    let options = Options { scenario, out: run.out, binary: run.binary };
    match run::run(options, &mut *observer) {
        Ok(finished) => match report::write_of(&finished.folder, &finished.summary) {
            Ok(_) => finished.summary.outcome.verdict.exit_code(),
            Err(error) => fail(&error.into()),
        },
        Err(error) => fail(&error),
    }
}

/// Who hears of the run.
fn observer(quiet: bool, plain: bool) -> Box<dyn Observer> {
    if quiet {
        return Box::new(Plain::quiet(io::stdout()));
    }
    match Live::try_new().filter(|_| !plain) {
        Some(live) => Box::new(live),
        None => Box::new(Plain::new(io::stdout())),
    }
}

fn check(scenarios: &[String], set: &[String]) -> u8 {
    let all: Vec<String> = match scenarios {
        [] => names().map(str::to_owned).collect(),
        some => some.to_vec(),
    };
    let mut code = Verdict::Ok.exit_code();
    for scenario in &all {
        match load(scenario, set) {
            Ok(_) => say(&format!("{scenario}: ok")),
            Err(problems) => code = complain(scenario, &problems),
        }
    }
    code
}

fn list() -> u8 {
    for name in names() {
        if let Ok(scenario) = load(name, &[]) {
            say(&format!("{name:<18} {}", scenario.description));
        }
    }
    exit::OK
}

fn complain(scenario: &str, problems: &Problems) -> u8 {
    for line in problems.to_string().lines() {
        let line = if line.starts_with(scenario) {
            line.to_owned()
        } else {
            format!("{scenario}: {line}")
        };
        _ = writeln!(io::stderr(), "{line}");
    }
    exit::USAGE
}

/// What was named cannot be read or does not fit.
fn misuse(error: impl Into<anyhow::Error>) -> u8 {
    _ = writeln!(io::stderr(), "loadgen: {:#}", error.into());
    exit::USAGE
}

fn fail(error: &anyhow::Error) -> u8 {
    _ = writeln!(io::stderr(), "loadgen: {error:#}");
    exit::FAULT
}

fn say(text: &str) {
    // A closed pipe is the reader's choice.
    _ = writeln!(io::stdout(), "{text}");
}
