//! The demo as somebody runs it who has just built it, without a terminal.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

fn demo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_posthaste"));
    command.arg("demo").args(arguments).stdin(Stdio::null());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// The last number of a table's line that begins with `name`, and those before it.
fn row(printed: &str, name: &str) -> Vec<u64> {
    let mut lines = printed.lines().map(str::split_whitespace);
    let mut line = lines.find(|line| line.clone().next() == Some(name)).expect(printed);
    line.next();
    line.map(|cell| cell.replace(',', "").parse().expect(cell)).collect()
}

/// Every accepted event is delivered or dead-lettered, each tenant's as it was announced, and every
/// signature was verified.
#[test]
fn the_demo_adds_up() {
    let output = demo(&["--once", "--events", "300", "--rate", "0"]).output().expect("it runs");
    let printed = text(&output.stdout);
    assert!(output.status.success(), "{}: {printed}{}", output.status, text(&output.stderr));
    // Accepted, delivered, dead-lettered, waiting, attempts.
    let table = printed.split_once("  events").expect(&printed).1;
    assert_eq!(row(table, "healthy"), [240, 240, 0, 0, 240]);
    assert_eq!(row(table, "flaky"), [45, 45, 0, 0, 135]);
    assert_eq!(row(table, "down"), [15, 0, 15, 0, 75]);
    assert_eq!(row(table, "all"), [300, 285, 15, 0, 450]);
    let sum = "accepted 300 events = delivered 285 + dead-lettered 15 + waiting 0";
    assert!(
        printed.contains(sum) && printed.contains("signatures: 450 right, 0 wrong"),
        "{printed}"
    );
    assert!(!printed.contains('\x1b'), "no terminal, no control sequences: {printed}");
    assert_eq!(text(&output.stderr), "");
    let data = printed.lines().find_map(|line| line.trim().strip_prefix("data ")).expect(&printed);
    let data = data.trim().trim_end_matches(" (removed at the end)");
    assert!(data.starts_with('/') && !fs::exists(data).expect("a path"), "{data} is still there");
}

/// Payloads of a file go out, over and over; what is in the way of one is named with its line.
#[test]
fn payloads_come_from_a_file_or_are_refused_with_their_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("payloads.json");
    let file = path.to_str().expect("text");
    let arguments = ["--once", "--events", "40", "--rate", "0", "--payloads", file];
    fs::write(&path, "[ {\"a\": 1},\n  {\"b\": [2]} ]").expect("written");
    let output = demo(&arguments).output().expect("it runs");
    assert!(output.status.success(), "{}", text(&output.stdout));
    for (content, line) in [("{}\n[]\n", 2), ("[{},\n{\"a\"},\n{}]", 2), ("{}\n{}\n{", 3)] {
        fs::write(&path, content).expect("written");
        let output = demo(&arguments).output().expect("it runs");
        let complaint = text(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{complaint}");
        assert!(complaint.contains(&format!("payloads.json:{line}: ")), "{complaint}");
        assert_eq!(complaint.lines().count(), 1, "{complaint}");
        assert_eq!(text(&output.stdout), "");
    }
}

/// Old events would spoil the count.
#[test]
fn a_directory_that_is_not_empty_is_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("mine"), "mine").expect("written");
    let dir = folder.path().to_str().expect("text");
    let Output { status, stderr, .. } = demo(&["--data-dir", dir]).output().expect("it runs");
    assert_eq!(status.code(), Some(78));
    assert!(text(&stderr).contains("not empty"), "{}", text(&stderr));
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
}

/// Ctrl-C in the middle: what was accepted still adds up, waiting events included, and nothing is
/// left behind.
#[test]
fn ctrl_c_in_the_middle_still_adds_up() {
    let arguments = ["--events", "1000000", "--rate", "100"];
    let mut child = demo(&arguments).stdout(Stdio::piped()).spawn().expect("it runs");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut printed = String::new();
    for line in lines.by_ref().map_while(Result::ok) {
        printed += &line;
        if line.contains("posted ") && line.contains("waiting to retry") {
            break;
        }
    }
    kill_process(Pid::from_child(&child), Signal::INT).expect("running");
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    let status = child.wait().expect("a child");
    let rest = rest.join("\n");
    assert!(status.success(), "{status}: {printed}\n{rest}");
    assert!(rest.contains("it adds up") && rest.contains("drained in"), "{rest}");
}
