//! The real binary's configuration commands: exit codes, what goes to which stream, and where
//! settings come from. What each message says is tested beside the code that says it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use posthaste_domain::ApiKey;
use tempfile::TempDir;

const OK: i32 = 0;
const USAGE: i32 = 2;
const CONFIG: i32 = 78;

/// A working directory, and commands run in it with nothing of ours in their environment.
struct Place(TempDir);

/// What a command came to.
struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    /// With a configuration file where it is looked for.
    fn with(text: &str) -> Self {
        let place = Self::new();
        fs::write(place.path("posthaste.toml"), text).expect("writable");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_posthaste"));
        command.args(arguments).current_dir(self.0.path()).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("POSTHASTE_") {
                command.env_remove(name);
            }
        }
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command(arguments).output().expect("the binary starts"))
    }
}

impl Ran {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code().expect("not killed"),
            stdout: String::from_utf8(output.stdout).expect("text"),
            stderr: String::from_utf8(output.stderr).expect("text"),
        }
    }

    /// Nothing on standard output, all problems on standard error, code 78.
    #[track_caller]
    fn refused(&self, problems: &[&str]) {
        assert_eq!((self.code, self.stdout.as_str()), (CONFIG, ""), "{}", self.stderr);
        for problem in problems {
            assert!(self.stderr.contains(problem), "not told: {problem}\n{}", self.stderr);
        }
        let count = self.stderr.lines().count() - 1;
        assert_eq!(count, problems.len(), "{}", self.stderr);
        let noun = if count == 1 { "problem" } else { "problems" };
        let head = format!("posthaste: {count} {noun} in the configuration\n");
        assert!(self.stderr.starts_with(&head), "{}", self.stderr);
    }
}

#[test]
fn nothing_configured_is_ok() {
    let ran = Place::new().run(&["check"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (OK, ""));
    assert!(ran.stdout.ends_with("configuration ok\n"), "{}", ran.stdout);
    let ran = Place::with("").run(&["check"]);
    assert_eq!(ran.code, OK, "an empty file: {}", ran.stderr);
}

/// Check starts and writes nothing: not even the data directory is made.
#[test]
fn check_leaves_no_trace() {
    let place = Place::new();
    assert_eq!(place.run(&["check", "--data-dir", "data"]).code, OK);
    assert_eq!(fs::read_dir(place.path("")).unwrap().count(), 0);
}

#[test]
fn the_example_file_is_ok() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../posthaste.example.toml");
    let ran = Place::new().run(&["check", "--config", example.to_str().unwrap()]);
    assert_eq!(ran.code, OK, "{}", ran.stderr);
    let printed = Place::new().run(&["config", "--example"]);
    assert_eq!(printed.stdout, fs::read_to_string(example).unwrap());
}

/// File, environment and flags are all looked at before anything is said.
#[test]
fn every_problem_is_told_at_once_with_its_place() {
    let place = Place::with("[server]\nlisen = \"127.0.0.1:80\"\n[drain]\ntimeout = 35\n");
    let mut command = place.command(&["check", "--set", "retry.jitter=2", "--listen", "here"]);
    let ran = Ran::of(command.env("POSTHASTE_DATA_MEMTABLE", "8MB").output().unwrap());
    ran.refused(&[
        "posthaste.toml:2: server.lisen: no such setting; did you mean server.listen?",
        "posthaste.toml:4: drain.timeout = 35: has no unit: write \"35s\"",
        "POSTHASTE_DATA_MEMTABLE: data.memtable = \"8MB\": has the unit \"MB\"",
        "--listen: server.listen = \"here\": is no such address",
        "--set: retry.jitter = \"2\": is too large; expected a fraction from 0 to 1",
    ]);
}

#[test]
fn a_contradiction_names_both_settings() {
    let place = Place::with("[delivery]\nattempt-timeout = \"1m\"\n");
    place.run(&["check"]).refused(&[
        "posthaste.toml:2: delivery.attempt-timeout = \"1m\": is above drain.timeout = \"35s\" \
         (default)",
    ]);
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let place = Place::new();
    place.run(&["check", "--config", "none.toml"]).refused(&["none.toml: cannot be read"]);
    place.run(&["check", "--config", "."]).refused(&[".: cannot be read"]);
    let ran = Place::with("server: {listen: here}\n").run(&["check"]);
    ran.refused(&["posthaste.toml:1: not TOML"]);
}

/// The same variable names the file, and a file that is named must be there.
#[test]
fn the_environment_names_the_file() {
    let place = Place::new();
    fs::write(place.path("other.toml"), "[log]\nformat = \"json\"\n").unwrap();
    let mut command = place.command(&["config"]);
    let ran = Ran::of(command.env("POSTHASTE_CONFIG", "other.toml").output().unwrap());
    assert!(ran.stdout.contains("format = \"json\""), "{}", ran.stdout);
    let mut command = place.command(&["check"]);
    let ran = Ran::of(command.env("POSTHASTE_CONFIG", "gone.toml").output().unwrap());
    ran.refused(&["gone.toml: cannot be read"]);
}

/// Each value has the origin that won.
#[test]
fn config_shows_what_holds_and_why() {
    let place =
        Place::with("[retry]\nattempts-max = 3\njitter = 0.5\n[drain]\ntimeout = \"40s\"\n");
    let arguments = ["config", "--set", "retry.jitter=0", "--data-dir", "here"];
    let mut command = place.command(&arguments);
    let ran = Ran::of(command.env("POSTHASTE_DRAIN_TIMEOUT", "50s").output().unwrap());
    assert_eq!((ran.code, ran.stderr.as_str()), (OK, ""));
    let line = |start: &str| {
        let found = ran.stdout.lines().find(|line| line.starts_with(start));
        found.unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line("attempts-max"), "attempts-max = 3 # posthaste.toml:2");
    assert_eq!(line("jitter"), "jitter = 0.0 # --set");
    assert_eq!(line("timeout"), "timeout = \"50s\" # POSTHASTE_DRAIN_TIMEOUT");
    assert_eq!(line("dir"), "dir = \"here\" # --data-dir");
    assert_eq!(line("listen"), "listen = \"127.0.0.1:8080\" # default");
}

/// What `config` prints is a configuration that means the same.
#[test]
fn config_prints_a_configuration() {
    let place = Place::new();
    let first = place.run(&["config", "--set", "retry.delays=5s,1m"]).stdout;
    fs::write(place.path("posthaste.toml"), &first).unwrap();
    let values = |text: &str| {
        text.lines()
            .map(|line| line.split("  #").next().unwrap().trim().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(values(&place.run(&["config"]).stdout), values(&first));
}

#[test]
fn config_prints_json() {
    let place = Place::with("[retry]\ndelays = [\"1s\", \"2s\"]\n");
    let ran = place.run(&["config", "--format", "json"]);
    let json: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let expected = serde_json::json!({"value": ["1s", "2s"], "origin": "posthaste.toml:2"});
    assert_eq!(json["retry"]["delays"], expected);
    assert_eq!(json["retry"]["attempts-max"]["value"], 5);
}

/// Neither a right key nor a wrong one is ever printed, wherever it stands.
#[test]
fn a_secret_is_never_printed() {
    let key = ApiKey::from_entropy(&[5; 32]);
    let (key, digits) = (key.expose(), &key.expose()[4..30]);
    let place = Place::with(&format!("[auth]\nadmin-key = \"{key}\"\n"));
    for arguments in [&["config"][..], &["config", "--format", "json"], &["check"]] {
        let ran = place.run(arguments);
        assert_eq!(ran.code, OK, "{}", ran.stderr);
        assert!(!ran.stdout.contains(digits) && !ran.stderr.contains(digits), "{arguments:?}");
    }
    assert!(place.run(&["config"]).stdout.contains("# admin-key = (hidden)"));
    let wrong = format!("auth.admin-key={key}x");
    let misplaced = format!("retry.delays={key}");
    let ran = place.run(&["check", "--set", &wrong, "--set", &misplaced]);
    ran.refused(&[
        "auth.admin-key = (hidden): is not an API key",
        "retry.delays = \"phk_(hidden)\"",
    ]);
    assert!(!ran.stderr.contains(digits), "{}", ran.stderr);
}

#[test]
fn a_data_directory_that_cannot_be_used_is_told() {
    let place = Place::with("[data]\ndir = \"file/data\"\n[server]\nlisten = \"192.0.2.1:80\"\n");
    fs::write(place.path("file"), "").unwrap();
    place.run(&["check"]).refused(&[
        "posthaste.toml:2: data.dir = \"file/data\": ",
        "posthaste.toml:4: server.listen = \"192.0.2.1:80\": 192.0.2.1 is not an address of this \
         machine",
    ]);
}

/// A key as `posthaste key` makes it is one that `auth.admin-key` takes, and each is another one.
#[test]
fn keys_are_made_and_taken() {
    let place = Place::new();
    let made = || place.run(&["key"]).stdout.trim().to_owned();
    let (one, other) = (made(), made());
    assert!(ApiKey::parse(&one).is_ok());
    assert_ne!(one, other);
    let mut command = place.command(&["check"]);
    let ran = Ran::of(command.env("POSTHASTE_AUTH_ADMIN_KEY", &one).output().unwrap());
    assert_eq!(ran.code, OK, "{}", ran.stderr);
}

#[test]
fn the_command_line_explains_itself() {
    let place = Place::new();
    let ran = place.run(&[]);
    assert_eq!(ran.code, USAGE);
    assert!(ran.stderr.contains("Usage: posthaste <COMMAND>"), "{}", ran.stderr);
    for command in ["serve", "check", "config", "demo"] {
        let ran = place.run(&[command, "--help"]);
        assert_eq!(ran.code, OK);
        assert!(ran.stdout.contains("Examples:"), "{command}: {}", ran.stdout);
        let widest = ran.stdout.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(100), "{command}: {widest:?} columns");
    }
    let ran = place.run(&["check", "--liste", "127.0.0.1:1"]);
    assert_eq!(ran.code, USAGE);
    assert!(ran.stderr.contains("--listen"), "{}", ran.stderr);
}

#[test]
fn the_version_tells_what_was_built() {
    let place = Place::new();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(place.run(&["-V"]).stdout, format!("posthaste {version}\n"));
    let long = place.run(&["--version"]).stdout;
    assert!(long.starts_with(&format!("posthaste {version}\ncommit: ")), "{long}");
    assert!(long.contains("\ntarget: "), "{long}");
}

#[test]
fn shells_get_their_completions() {
    for shell in ["bash", "zsh", "fish"] {
        let ran = Place::new().run(&["completions", shell]);
        assert_eq!(ran.code, OK);
        assert!(ran.stdout.contains("admin-listen"), "{shell}");
    }
}

/// Output that nobody reads to its end is no fault.
#[test]
fn a_closed_pipe_is_no_fault() {
    let place = Place::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = place.command(&["config", "--example"]);
    let ran = Ran::of(command.stdout(writer).output().unwrap());
    assert_eq!((ran.code, ran.stderr.as_str()), (OK, ""));
}
