//! Data directories that cannot be used: locked, read-only, newer, not a directory. One clear
//! line each, and a non-zero exit.

use std::fs;
use std::path::Path;
use std::process::Output;

use crate::support::daemon::{Daemon, Home, Setup, command};

fn refused(data: &Path) -> (Output, String) {
    let setup = Setup::default().with("log.level", "error");
    let output = command(data, &setup).output().expect("the binary starts");
    let text = String::from_utf8(output.stderr.clone()).expect("text");
    assert!(!output.status.success(), "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("posthaste: ")).count(), 1, "{text}");
    assert!(!text.contains("panicked"), "{text}");
    assert_eq!(output.stdout, b"", "nothing listens, so nothing says so");
    (output, text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_directory_is_refused_and_the_owner_serves_on() {
    let home = Home::new();
    let daemon = Daemon::start(&home, &Setup::default()).await;
    let (output, text) = refused(&home.data());
    assert_eq!(output.status.code(), Some(78));
    assert!(text.contains("another process") && text.contains(&daemon.pid().to_string()), "{text}");
    daemon.ready().await;
}

#[test]
fn a_file_is_not_a_data_directory() {
    let home = Home::new();
    fs::write(home.data(), "no directory").unwrap();
    let (_, text) = refused(&home.data());
    assert!(text.contains("not a directory"), "{text}");
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let home = Home::new();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async { Daemon::start(&home, &Setup::default()).await.kill() });
    let version = home.data().join("FORMAT");
    assert!(version.exists(), "the format file is where this test expects it");
    fs::write(&version, "999\n").unwrap();
    let (_, text) = refused(&home.data());
    assert!(text.contains("999") && text.contains("newer"), "{text}");
}

/// An address in use is one line too, and not for ever: the exit code is that of a passing fault.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_in_use_is_refused() {
    let home = Home::new();
    let daemon = Daemon::start(&home, &Setup::default()).await;
    let setup = Setup::default().with("server.listen", daemon.api);
    let output = command(&Home::new().data(), &setup).output().expect("the binary starts");
    let text = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(70), "{text}");
    let line =
        format!("posthaste: cannot listen on {} (public API): Address already in use", daemon.api);
    assert!(text.starts_with(&line), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
}

#[test]
fn a_read_only_directory_is_refused() {
    // Root may write anywhere, so only a file system that refuses can show this: /proc does.
    let (_, text) = refused(Path::new("/proc/posthaste-data"));
    assert!(text.contains("/proc/posthaste-data"), "{text}");
}
