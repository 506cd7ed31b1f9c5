//! `loadgen ab` against the real daemon, and against the same daemon made slower.
//!
//! Where `posthaste` is not built in the target directory, this says so and passes. It lasts about
//! half a minute: blocks are short, and the effect large beside them. That the same binary is
//! equivalent to itself needs minutes on a busy machine and is shown on made runs
//! (`src/compare/tests.rs`); here it must at least not be called worse.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "tests fail by panicking, and say aloud what they skip; not all of it is in #[test]s"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The daemon in the target directory of this test, release before debug.
fn daemon() -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_BIN_EXE_loadgen")).ancestors().nth(2)?;
    let found = ["release", "debug"].map(|profile| target.join(profile).join("posthaste"));
    let found = found.into_iter().find(|path| path.is_file());
    if found.is_none() {
        eprintln!("SKIPPED: no posthaste in {}: cargo build --release", target.display());
    }
    found
}

fn ab(a: &Path, b: &Path, out: &Path, slowed_ms: u32) -> Output {
    // Other tests run beside this one: that the generator is starved at times is no reason to give
    // up, because both sides are.
    let busy = ["validity.scheduling-delay-max=10s", "validity.lag-p99-max=10s"];
    let sets = busy.into_iter().chain(["validity.sent-min=0.5", "validity.little-max=10"]);
    let daemon = if a.ends_with("posthaste") { a } else { b };
    Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(["ab", "steady", "--block", "1500ms", "--warm-up", "500ms"])
        .args(["--pairs", "5", "--pairs-max", "5"])
        .args(sets.flat_map(|set| ["--set", set]))
        .arg("--a")
        .arg(a)
        .arg("--b")
        .arg(b)
        .arg("--out")
        .arg(out)
        .env("SLOWED_BINARY", daemon)
        .env("SLOWED_MS", slowed_ms.to_string())
        .output()
        .unwrap()
}

#[test]
fn a_slowed_daemon_is_worse_and_itself_is_not() {
    let Some(daemon) = daemon() else { return };
    let slowed = Path::new(env!("CARGO_BIN_EXE_loadgen")).with_file_name("examples/slowed");
    assert!(slowed.is_file(), "{} comes with the tests", slowed.display());
    let folder = tempfile::tempdir().unwrap();
    // 50 ms, not 5: with five short blocks on a machine that runs tests, so that it is certain.
    let worse = ab(&daemon, &slowed, &folder.path().join("worse"), 50);
    let said = String::from_utf8_lossy(&worse.stdout);
    assert_eq!(worse.status.code(), Some(3), "{said}{}", String::from_utf8_lossy(&worse.stderr));
    assert!(said.contains("publish.p50: "), "{said}");
    let kept = std::fs::read_to_string(folder.path().join("worse/comparison.json")).unwrap();
    assert!(kept.contains("\"verdict\": \"worse\""));
    let same = ab(&daemon, &daemon, &folder.path().join("same"), 0);
    let said = String::from_utf8_lossy(&same.stdout);
    assert_eq!(same.status.code(), Some(0), "{said}{}", String::from_utf8_lossy(&same.stderr));
}

#[test]
fn what_cannot_be_compared_is_a_matter_of_usage() {
    let folder = tempfile::tempdir().unwrap();
    let nothing = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .arg("compare")
        .args([folder.path(), folder.path()])
        .output()
        .unwrap();
    assert_eq!(nothing.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&nothing.stderr).contains("holds no run"));
    let no_program = ab(Path::new("/nowhere/posthaste"), Path::new("/x"), folder.path(), 0);
    assert!(String::from_utf8_lossy(&no_program.stderr).contains("is no file"));
    assert!(!no_program.status.success());
}
