//! The commands that need no running instance (check, config, key, completions, man), and what the
//! others say on the terminal.
//!
//! Each prints to standard output what was asked for and to standard error what is wrong, and
//! gives the exit code. A reader that goes away early (`posthaste config | head`) is no fault.

use std::error::Error;
use std::io::{self, ErrorKind, Write as _};
use std::path::Path;
use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_complete::Shell;
use posthaste_domain::ApiKey;
use ring::rand::{SecureRandom as _, SystemRandom};
use tracing::info;

use super::{Check, Cli, EXIT_CONFIG, Format, Settings, ShowConfig, man};
use crate::assemble::cloud;
use crate::config::problem::Problems;
use crate::config::{self, Loaded, host};
use crate::instance::Instance;

/// Exit code where the operating system cannot do what every program needs (`EX_OSERR`).
const EXIT_SYSTEM: u8 = 71;
/// Exit code where what was asked for could not be written (`EX_IOERR`).
const EXIT_OUTPUT: u8 = 74;

/// Reads the configuration.
///
/// # Errors
/// The exit code, after all problems have been printed.
pub fn load(settings: &Settings) -> Result<Loaded, ExitCode> {
    config::load(settings.sources()).map_err(|problems| refuse(&problems))
}

/// `posthaste check`: whether the configuration can be used on this machine, and, if asked for,
/// what AWS says about it.
#[must_use]
pub fn check(arguments: &Check) -> ExitCode {
    let loaded = match load(&arguments.settings) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    let (problems, more) = host::examine(&loaded);
    if let Some(problems) = Problems::of(problems) {
        return refuse(&problems);
    }
    let notes = loaded.notes.iter().chain(&more).map(|note| format!("note: {note}\n"));
    let ended = print(&format!("{}configuration ok\n", notes.collect::<String>()));
    if ended != ExitCode::SUCCESS || !arguments.env {
        return ended;
    }
    if !loaded.config.aws.enabled {
        return print("aws.enabled = false: there is no environment to look at\n");
    }
    check_cloud(&loaded.config)
}

/// Tries queues and tables, one line each.
fn check_cloud(config: &config::Config) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("the system gives no runtime: {error}"));
            return ExitCode::from(EXIT_SYSTEM);
        }
    };
    let checked = runtime.block_on(async {
        let client = cloud::client(config).await?;
        Ok::<_, posthaste_aws::Error>(client.check().await)
    });
    let checked = match checked {
        Ok(checked) => checked,
        Err(error) => {
            complain(&error.to_string());
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    let line = |checked: &posthaste_aws::Checked| match &checked.outcome {
        Ok(()) => format!("ok      {}\n", checked.what),
        Err(reason) => format!("failed  {}: {reason}\n", checked.what),
    };
    let ended = print(&checked.iter().map(line).collect::<String>());
    if checked.iter().all(|checked| checked.outcome.is_ok()) {
        ended
    } else {
        ExitCode::from(EXIT_CONFIG)
    }
}

/// `posthaste config`: the effective settings, or the commented example.
#[must_use]
pub fn show_config(arguments: &ShowConfig) -> ExitCode {
    let ShowConfig { settings, format, example } = arguments;
    if *example {
        return print(&config::defaults().to_example());
    }
    match (load(settings), format) {
        (Ok(loaded), Format::Toml) => print(&loaded.listing.to_toml()),
        (Ok(loaded), Format::Json) => print(&format!("{:#}\n", loaded.listing.to_json())),
        (Err(code), _) => code,
    }
}

/// `posthaste key`: a new API key.
#[must_use]
pub fn make_key() -> ExitCode {
    let mut entropy = [0; 32];
    if SystemRandom::new().fill(&mut entropy).is_err() {
        complain("the system has no random numbers to make a key of");
        return ExitCode::from(EXIT_SYSTEM);
    }
    print(&format!("{}\n", ApiKey::from_entropy(&entropy).expose()))
}

/// `posthaste completions`: what a shell needs to complete our command line.
#[must_use]
pub fn completions(shell: Shell) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "posthaste", &mut script);
    print(&String::from_utf8_lossy(&script))
}

/// `posthaste man`: the manual pages, for packages.
#[must_use]
pub fn manual(directory: &Path) -> ExitCode {
    match man::write(directory) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("cannot write to {}: {error}", directory.display()));
            ExitCode::from(EXIT_OUTPUT)
        }
    }
}

/// Says where a running instance can be reached.
pub fn announce(instance: &Instance) {
    let admin = instance.admin().map(|admin| format!("  admin  http://{admin}\n"));
    let text = format!("  api    http://{}\n{}", instance.api(), admin.unwrap_or_default());
    // Where standard output is closed, the log has it too.
    drop(write(&text));
    info!(api = %instance.api(), admin = instance.admin().map(|a| a.to_string()), "serving");
}

/// Shows the admin key that was just made.
///
/// # Errors
/// The operating system's error where nobody can have seen it.
pub fn show_admin_key(key: &ApiKey) -> io::Result<()> {
    let advice = "shown only this once: keep it (auth.admin-key sets another)";
    write(&format!("  admin key  {}\n             {advice}\n", key.expose()))
}

/// Says in one line why the process does not start, with the reasons behind it.
pub fn complain_of(error: &dyn Error) {
    complain(&told(error));
}

/// An error in one line, with the reasons behind it.
#[must_use]
pub fn told(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(reason) = cause {
        let said = reason.to_string();
        // Some say their reason themselves, in the middle of advice.
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = reason.source();
    }
    text
}

/// Prints all problems; the exit code for them.
fn refuse(problems: &Problems) -> ExitCode {
    complain(&problems.to_string());
    ExitCode::from(EXIT_CONFIG)
}

/// Says on standard error what is wrong.
pub(super) fn complain(text: &str) {
    // Where standard error is closed, the exit code has to say it.
    drop(writeln!(io::stderr().lock(), "posthaste: {text}"));
}

fn write(text: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes())?;
    output.flush()
}

fn print(text: &str) -> ExitCode {
    match write(text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("cannot write the output: {error}"));
            ExitCode::from(EXIT_OUTPUT)
        }
    }
}
