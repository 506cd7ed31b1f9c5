//! The simulator on the command line: many seeds with progress and a summary, or one with its
//! trace.
//!
//! ```text
//! posthaste-sim [--seeds N] [--from S] [--deliveries D] [--jobs J] [--mutant NAME]
//! posthaste-sim --seed X [--deliveries D] [--trace] [--mutant NAME]
//! ```
//!
//! Exit status: 0 when every seed held, 1 when one did not, 2 when the arguments make no sense.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command's output is for the person who runs it"
)]

use std::process::ExitCode;
use std::thread;

use posthaste_sim::{Counts, Coverage, Mutant, Plan, Seeds};

const USAGE: &str = "\
usage: posthaste-sim [--seeds N] [--from S] [--deliveries D] [--jobs J] [--mutant NAME]
       posthaste-sim --seed X [--deliveries D] [--trace] [--mutant NAME]

  --seeds N        how many seeds to run (100)
  --from S         the first seed (0)
  --seed X         only this one
  --deliveries D   events posted in each world (1000)
  --jobs J         seeds at a time (one for each core)
  --trace          print every step of the one seed
  --mutant NAME    with a deliberate fault, which should be found";

/// What was asked for.
#[derive(Debug)]
struct Arguments {
    seeds: u64,
    from: u64,
    one: bool,
    deliveries: u64,
    jobs: usize,
    trace: bool,
    mutant: Option<Mutant>,
}

fn main() -> ExitCode {
    let arguments = match parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(wrong) => {
            eprintln!("{wrong}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let failed = if arguments.one { run_one(&arguments) } else { run_many(&arguments) };
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let jobs = thread::available_parallelism().map_or(1, usize::from);
    let (one, trace, mutant) = (false, false, None);
    let mut found = Arguments { seeds: 100, from: 0, one, deliveries: 1_000, jobs, trace, mutant };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} wants a value"));
        let number = |text: String| {
            text.parse::<u64>().map_err(|_| format!("{word} wants a number, not '{text}'"))
        };
        match word.as_str() {
            "--seeds" => found.seeds = number(value()?)?,
            "--from" => found.from = number(value()?)?,
            "--deliveries" => found.deliveries = number(value()?)?,
            "--jobs" => found.jobs = usize::try_from(number(value()?)?).unwrap_or(1).max(1),
            "--trace" => found.trace = true,
            "--seed" => {
                found.one = true;
                found.from = number(value()?)?;
            }
            "--mutant" => {
                let name = value()?;
                let names = Mutant::ALL.map(Mutant::as_str).join(", ");
                let known = Mutant::parse(&name);
                found.mutant =
                    Some(known.ok_or_else(|| format!("no mutant '{name}'; there are: {names}"))?);
            }
            _ => return Err(format!("unknown argument '{word}'")),
        }
    }
    Ok(found)
}

fn plan(arguments: &Arguments, seed: u64) -> Plan {
    Plan { mutant: arguments.mutant, ..Plan::draw(seed, arguments.deliveries) }
}

/// Runs one seed; says whether it failed.
fn run_one(arguments: &Arguments) -> bool {
    let plan = plan(arguments, arguments.from);
    let run = if arguments.trace { posthaste_sim::run_aloud } else { posthaste_sim::run };
    match run(&plan) {
        Ok(report) => {
            println!("seed {}: {}; trace {:016x}", plan.seed, report.counts, report.trace_hash);
            false
        }
        Err(failure) => {
            eprintln!("{failure}");
            eprintln!("{plan:#?}");
            true
        }
    }
}

/// Runs many seeds, several at a time; says whether one failed.
fn run_many(arguments: &Arguments) -> bool {
    let seeds = Seeds { from: arguments.from, count: arguments.seeds, jobs: arguments.jobs };
    let sum = seeds.run(
        |seed| posthaste_sim::run(&plan(arguments, seed)),
        |(counts, coverage): &mut (Counts, Coverage), report| {
            *counts += report.counts;
            coverage.add(&report.counts);
        },
        |(counts, _)| {
            let Counts { accepted, attempts, crashes, .. } = counts;
            format!("{accepted} deliveries, {attempts} attempts, {crashes} crashes")
        },
    );
    let (counts, coverage) = &sum.total;
    println!("\n{} seeds from {}: {counts}", sum.seeds, arguments.from);
    println!("{coverage}");
    if let Some((_, failure)) = &sum.failure {
        eprintln!("{failure}");
    }
    sum.failure.is_some()
}
