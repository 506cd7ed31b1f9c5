//! The program itself: what it prints, what it exits with, what an interrupt leaves behind.

use std::io::{BufRead as _, BufReader};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use posthaste_loadgen::record::{Verdict, read_summary};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::timeout;

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

/// A run that has begun to measure, and what it prints from there on.
fn measuring(folder: &Path, binary: &Path) -> (Child, impl Iterator<Item = String> + use<>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(["run", "steady", "--set", "phases.warm-up=200ms", "--set", "interval=200ms"])
        .arg("--out")
        .arg(folder)
        .arg("--binary")
        .arg(binary)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line == "measure:"), "the measure phase never began");
    assert_eq!(lines.by_ref().take(2).filter(|line| line.contains("sent")).count(), 2);
    (child, lines)
}

/// Ctrl-C in the middle: exit code 130, and what was measured until then can be read.
#[test]
fn an_interrupted_run_leaves_what_it_has() {
    let Some(binary) = binary() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (mut child, lines) = measuring(folder.path(), &binary);
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

/// Whether a process that is not our child ends within half a minute.
#[expect(deprecated, reason = "for an OwnedFd it is sound, and what replaces it is unsafe")]
fn ends_in_time(process: OwnedFd) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let ended = AsyncFd::with_interest(process, Interest::READABLE).unwrap();
        timeout(Duration::from_secs(30), ended.readable()).await.is_ok()
    })
}

/// Even a SIGKILL leaves a summary and an interval log that can be read, and no daemon.
#[test]
fn a_killed_run_leaves_what_it_had_saved() {
    let Some(binary) = binary() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (mut child, _lines) = measuring(folder.path(), &binary);
    let id = child.id();
    let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
    let daemon = Pid::from_raw(children.trim().parse().unwrap()).unwrap();
    let daemon = pidfd_open(daemon, PidfdFlags::NONBLOCK).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    if !ends_in_time(daemon.try_clone().unwrap()) {
        pidfd_send_signal(&daemon, Signal::KILL).unwrap();
        panic!("the daemon outlives its run");
    }
    let summary = read_summary(folder.path()).unwrap();
    assert_eq!(summary.outcome.verdict, Verdict::Interrupted);
    let log = std::fs::read(folder.path().join("intervals.hlog")).unwrap();
    let intervals = IntervalLogIterator::new(&log)
        .filter(|entry| matches!(entry, Ok(LogEntry::Interval(_))))
        .count();
    assert!(intervals >= 8, "two intervals, four lines each: {intervals}");
}
