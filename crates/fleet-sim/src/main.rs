//! The simulator on the command line: many seeds with progress and a summary, or one with its
//! trace.
//!
//! ```text
//! posthaste-fleet-sim [--seeds N] [--from S] [--events E] [--jobs J] [--mutant NAME]
//! posthaste-fleet-sim --seed X [--events E] [--trace] [--mutant NAME]
//! posthaste-fleet-sim --seed X --point ROW --how abort|error|delay [--trace] [--mutant NAME]
//! posthaste-fleet-sim --throttled RATE
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

use posthaste_fleet_sim::{CRASH_POINTS, Counts, Coverage, How, Mutant, Plan};
use posthaste_sim::Seeds;

const USAGE: &str = "\
usage: posthaste-fleet-sim [--seeds N] [--from S] [--events E] [--jobs J] [--mutant NAME]
       posthaste-fleet-sim --seed X [--events E] [--trace] [--mutant NAME]
       posthaste-fleet-sim --seed X --point ROW --how abort|error|delay [--trace]
       posthaste-fleet-sim --throttled RATE

  --seeds N        how many seeds to run (100)
  --from S         the first seed (0)
  --seed X         only this one
  --events E       events posted in each world (40)
  --jobs J         seeds at a time (one for each core)
  --point ROW      a world around this row of the protocol's table of crash points
  --how HOW        what happens there: abort, error or delay (abort)
  --trace          print every step of the one seed
  --mutant NAME    with a deliberate fault, which should be found
  --throttled RATE so many events/s, while the table is throttled to 10 % for a minute";

/// What was asked for.
#[derive(Debug)]
struct Arguments {
    seeds: u64,
    from: u64,
    one: bool,
    events: u64,
    jobs: usize,
    trace: bool,
    mutant: Option<Mutant>,
    throttled: Option<u64>,
    point: Option<u8>,
    how: How,
}

impl Default for Arguments {
    fn default() -> Self {
        Self {
            seeds: 100,
            from: 0,
            one: false,
            events: 40,
            jobs: thread::available_parallelism().map_or(1, usize::from),
            trace: false,
            mutant: None,
            throttled: None,
            point: None,
            how: How::Abort,
        }
    }
}

fn main() -> ExitCode {
    let arguments = match parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(wrong) => {
            eprintln!("{wrong}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if let Some(events_per_s) = arguments.throttled {
        return run_throttled(&arguments, events_per_s);
    }
    let failed = if arguments.one { run_one(&arguments) } else { run_many(&arguments) };
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut found = Arguments::default();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} wants a value"));
        let number = |text: String| {
            text.parse::<u64>().map_err(|_| format!("{word} wants a number, not '{text}'"))
        };
        match word.as_str() {
            "--seeds" => found.seeds = number(value()?)?,
            "--from" => found.from = number(value()?)?,
            "--events" => found.events = number(value()?)?,
            "--jobs" => found.jobs = usize::try_from(number(value()?)?).unwrap_or(1).max(1),
            "--throttled" => found.throttled = Some(number(value()?)?),
            "--point" => {
                let row = u8::try_from(number(value()?)?).ok();
                let row = row.filter(|row| (1..=CRASH_POINTS).contains(row));
                found.point = Some(row.ok_or_else(|| format!("rows are 1 to {CRASH_POINTS}"))?);
            }
            "--how" => {
                let name = value()?;
                found.how =
                    How::parse(&name).ok_or_else(|| format!("no '{name}': abort, error, delay"))?;
            }
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
    let plan = match arguments.point {
        Some(row) => Plan::at_failpoint(row, arguments.how, seed),
        None => Plan::draw(seed, arguments.events),
    };
    Plan { mutant: arguments.mutant, ..plan }
}

/// Runs one seed; says whether it failed.
fn run_one(arguments: &Arguments) -> bool {
    let plan = plan(arguments, arguments.from);
    let run =
        if arguments.trace { posthaste_fleet_sim::run_aloud } else { posthaste_fleet_sim::run };
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

/// Runs the throttled world; prints what was settled in each second.
fn run_throttled(arguments: &Arguments, events_per_s: u64) -> ExitCode {
    let plan = Plan::throttled(arguments.from, events_per_s, 1);
    match posthaste_fleet_sim::run(&plan) {
        Ok(report) => {
            for (second, settled) in &report.per_second {
                println!("{second:>5} s {settled:>6}");
            }
            println!("throttled until {} ms: {}", plan.throttled_until_ms(), report.counts);
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

/// Runs many seeds, several at a time; says whether one failed.
fn run_many(arguments: &Arguments) -> bool {
    let seeds = Seeds { from: arguments.from, count: arguments.seeds, jobs: arguments.jobs };
    let sum = seeds.run(
        |seed| posthaste_fleet_sim::run(&plan(arguments, seed)),
        |(counts, coverage): &mut (Counts, Coverage), report| {
            counts.add(&report.counts);
            coverage.add(&report.coverage);
        },
        |(counts, _)| {
            let Counts { accepted, requests, crashes, .. } = counts;
            format!("{accepted} events, {requests} requests, {crashes} crashes")
        },
    );
    let (counts, coverage) = &sum.total;
    println!("\n{} seeds from {}: {counts}", sum.seeds, arguments.from);
    println!("{coverage}");
    let (known, reached) = coverage.sizes();
    println!("{reached} of {known} states, transitions and kinds of faults reached");
    if let Some((_, failure)) = &sum.failure {
        eprintln!("{failure}");
        return true;
    }
    let lacks = coverage.lacks(sum.seeds);
    lacks.iter().for_each(|what| eprintln!("{what}"));
    arguments.mutant.is_none() && arguments.point.is_none() && !lacks.is_empty()
}
