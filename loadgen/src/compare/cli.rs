//! The commands `compare` and `ab`.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::ab::{self, Ended, Machine, Side};
use super::{Margins, Plan, Set, compare, markdown, text};
use crate::clock::calendar;
use crate::exit;

#[derive(Args, Clone, Copy, Debug)]
struct Judging {
    /// A change of so many percent of the median matters to nobody; other figures' margins follow
    /// from it. On a quiet machine 5 is reached with a few pairs
    #[arg(long, value_name = "PERCENT", default_value_t = 20.0, value_parser = margin)]
    margin: f64,
    /// How sure a difference must be, in percent; equivalence may be wrong ten times as often
    #[arg(long, value_name = "PERCENT", default_value_t = 99.5, value_parser = confidence)]
    confidence: f64,
    /// What the bootstrap draws from: the same seed gives the same verdict
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn margin(text: &str) -> Result<f64, String> {
    let percent: f64 = text.parse().map_err(|_| "a number is expected".to_owned())?;
    if (0.01..=1000.0).contains(&percent) { Ok(percent) } else { Err("0.01 to 1000".to_owned()) }
}

fn confidence(text: &str) -> Result<f64, String> {
    let percent: f64 = text.parse().map_err(|_| "a number is expected".to_owned())?;
    if (95.0..=99.95).contains(&percent) { Ok(percent) } else { Err("95 to 99.95".to_owned()) }
}

impl Judging {
    fn plan(self) -> Plan {
        Plan {
            confidence: self.confidence / 100.0,
            margins: Margins { base: self.margin / 100.0 },
            seed: self.seed,
            ..Plan::default()
        }
    }
}

/// Compares two runs, or two folders of runs.
#[derive(Args, Debug)]
pub struct Compare {
    /// The folder of a run, or of several of the same scenario: what is known
    a: PathBuf,
    /// The same of what is in question
    b: PathBuf,
    #[command(flatten)]
    judging: Judging,
    /// Print Markdown, for a pull request
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Compare {
    /// Compares and prints; gives the exit code.
    ///
    /// # Errors
    /// Where the runs cannot be read or are not of the same scenario.
    pub fn execute(&self) -> Result<u8, super::CompareError> {
        let plan = self.judging.plan();
        let comparison = compare(Set::read(&self.a)?, Set::read(&self.b)?, &plan)?;
        let shown = match (self.markdown, self.json) {
            (true, _) => markdown(&comparison),
            (_, true) => serde_json::to_string_pretty(&comparison).unwrap_or_default() + "\n",
            _ => text(&comparison),
        };
        // A closed pipe is the reader's choice.
        _ = io::stdout().write_all(shown.as_bytes());
        Ok(comparison.verdict.exit_code())
    }
}

/// Runs two programs in turns on this machine, and compares them.
#[derive(Args, Debug)]
pub struct Ab {
    /// The name of a scenario that comes with the program, or a file
    scenario: String,
    /// The program that is known
    #[arg(long, value_name = "FILE")]
    a: PathBuf,
    /// The program in question
    #[arg(long, value_name = "FILE")]
    b: PathBuf,
    /// The measure phase of each block
    #[arg(long, value_name = "DURATION", default_value = "3s")]
    block: String,
    /// The warm-up of each block
    #[arg(long, value_name = "DURATION", default_value = "1s")]
    warm_up: String,
    /// Pairs of blocks until the first look; until each further one there are twice as many
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(3..=1000))]
    pairs: u32,
    /// Pairs at most, while nothing can be said
    #[arg(long, default_value_t = 80, value_parser = clap::value_parser!(u32).range(3..=1000))]
    pairs_max: u32,
    /// Any value of the scenario, for both
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Any value of the scenario, for A only: to compare settings of the system
    #[arg(long, value_name = "KEY=VALUE")]
    set_a: Vec<String>,
    /// The same for B
    #[arg(long, value_name = "KEY=VALUE")]
    set_b: Vec<String>,
    /// The folder for the results [default: a new one under target/loadgen]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    #[command(flatten)]
    judging: Judging,
    /// Print the result only
    #[arg(long)]
    quiet: bool,
}

impl Ab {
    /// Runs, compares and prints; gives the exit code.
    ///
    /// # Errors
    /// Where the blocks cannot be run.
    pub fn execute(self) -> Result<u8> {
        let out = self.out.clone().unwrap_or_else(|| {
            let made = calendar().to_rfc3339().replace([':', '.'], "-");
            Path::new("target/loadgen").join(format!("ab-{made}"))
        });
        let options = ab::Options {
            pairs: self.pairs,
            pairs_max: self.pairs_max.max(self.pairs),
            out: out.clone(),
            plan: self.judging.plan(),
        };
        let mut here = Here::new(self)?;
        let finished = match ab::conduct(&options, &mut here) {
            Ok(finished) => finished,
            Err(ab::AbError::Nothing) => return Ok(exit::INTERRUPTED),
            Err(error) => return Err(error.into()),
        };
        _ = writeln!(io::stdout(), "\n{}results: {}", text(&finished.comparison), out.display());
        let code = finished.comparison.verdict.exit_code();
        Ok(if finished.interrupted { exit::INTERRUPTED } else { code })
    }
}

/// This machine. Each block is a process of its own, so that no block inherits another's memory,
/// threads or connections.
struct Here {
    arguments: Ab,
    program: PathBuf,
    runtime: Runtime,
    /// Ctrl-C reaches the block as well, since it is in the same process group; it ends with a
    /// partial result, and we with it. Without these we would be gone before it.
    interrupts: [Signal; 2],
}

impl Here {
    fn new(arguments: Ab) -> Result<Self> {
        for binary in [&arguments.a, &arguments.b] {
            if !binary.is_file() {
                bail!("{} is no file", binary.display());
            }
        }
        let program = std::env::current_exe().context("cannot find this program itself")?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let interrupts = {
            let _inside = runtime.enter();
            [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?]
        };
        Ok(Self { arguments, program, runtime, interrupts })
    }

    fn is_interrupted(&mut self) -> bool {
        let [int, term] = &mut self.interrupts;
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                _ = int.recv() => true,
                _ = term.recv() => true,
                () = tokio::task::yield_now() => false,
            }
        })
    }
}

impl Machine for Here {
    fn run(&mut self, side: Side, folder: &Path) -> Result<Ended> {
        let given = &self.arguments;
        let (binary, own) = match side {
            Side::A => (&given.a, &given.set_a),
            Side::B => (&given.b, &given.set_b),
        };
        fs::create_dir_all(folder)?;
        let log_path = folder.join("loadgen.log");
        let log = File::create(&log_path)?;
        let mut command = Command::new(&self.program);
        command.arg("run").arg(&given.scenario).arg("--quiet");
        command.arg("--binary").arg(binary).arg("--out").arg(folder);
        let phases = [
            format!("phases.measure={}", given.block),
            format!("phases.warm-up={}", given.warm_up),
        ];
        for set in phases.iter().chain(&given.set).chain(own) {
            command.arg("--set").arg(set);
        }
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let status = command.status().context("cannot start a block")?;
        if self.is_interrupted() || status.code() == Some(i32::from(exit::INTERRUPTED)) {
            return Ok(Ended::Interrupted);
        }
        let measured = [exit::OK, exit::GATE_FAILED, exit::INVALID].map(i32::from);
        if status.code().is_some_and(|code| measured.contains(&code)) {
            return Ok(Ended::Whole);
        }
        let said = fs::read_to_string(&log_path).unwrap_or_default();
        let last: Vec<&str> = said.lines().rev().take(5).collect();
        bail!("{status}: {}", last.into_iter().rev().collect::<Vec<_>>().join(" / "))
    }

    fn tell(&mut self, line: &str) {
        if !self.arguments.quiet {
            _ = writeln!(io::stdout(), "{line}");
        }
    }
}
