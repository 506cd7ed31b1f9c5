//! The program itself: what it prints, what it exits with, what an interrupt leaves behind.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Output, Stdio};

use posthaste_loadgen::record::{Verdict, read_summary};
use rustix::process::{Pid, Signal, kill_process};

use crate::daemon::binary;

fn loadgen(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_loadgen")).args(arguments).output().unwrap()
}

#[test]
fn the_command_line_answers_with_its_exit_codes() {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let check = loadgen(&["check"]);
    assert_eq!(check.status.code(), Some(0), "{}", text(&check.stderr));
    assert!(text(&check.stdout).contains("crash: ok"));
    let explained = loadgen(&["explain", "saturate"]);
    assert!(text(&explained.stdout).contains("CLOSED LOOP"));
    for (arguments, hint) in [
        (vec!["run", "steddy"], "did you mean steady?"),
        (vec!["check", "steady", "--set", "phases.mesure=5s"], "did you mean measure?"),
        (vec!["explain", "nowhere/x.toml"], "cannot be read"),
        (vec!["nonsense"], "Usage"),
    ] {
        let wrong = loadgen(&arguments);
        assert_eq!(wrong.status.code(), Some(2), "{arguments:?}");
        assert!(text(&wrong.stderr).contains(hint), "{arguments:?}: {}", text(&wrong.stderr));
    }
}

/// Ctrl-C in the middle: exit code 130, and what was measured until then can be read.
#[test]
fn an_interrupted_run_leaves_what_it_has() {
    let Some(binary) = binary() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(["run", "steady", "--set", "phases.warm-up=200ms", "--set", "interval=200ms"])
        .arg("--out")
        .arg(folder.path())
        .arg("--binary")
        .arg(binary)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    // Two intervals of the measure phase.
    assert!(lines.any(|line| line == "measure:"), "the measure phase never began");
    assert_eq!(lines.by_ref().take(2).filter(|line| line.contains("sent")).count(), 2);
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let rest: Vec<String> = lines.collect();
    assert!(rest.iter().any(|line| line.contains("INTERRUPTED")), "{rest:?}");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let summary = read_summary(folder.path()).unwrap();
    assert_eq!(summary.outcome.verdict, Verdict::Interrupted);
    assert!(summary.intervals.len() >= 2 && summary.account.accepted > 0);
    let left = std::fs::read_dir(folder.path()).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("data-")), "{left:?}");
}
