//! The daemon under a supervisor: what it tells from the start to the end, and what stops the
//! pings. The supervisor is a socket that listens; what systemd makes of the unit is tried in
//! infra/deb/test.

mod reload;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::support::daemon::{Daemon, Home, Setup, command};
use crate::support::sink::{Reply, Sink};
use crate::support::supervisor::Supervisor;
use crate::support::{eventually, now};

const READY: &str = "READY=1";
const PING: &str = "WATCHDOG=1";
const STOPPING: &str = "STOPPING=1";

/// Where in what was heard a line stands first.
fn place(heard: &[String], line: &str) -> usize {
    heard.iter().position(|heard| heard.starts_with(line)).unwrap_or_else(|| {
        panic!("{line} was not heard: {heard:#?}");
    })
}

/// From the first moment to the last: time for the recovery, ready, pings though nothing is to do,
/// counters in the status, stopping, time for the drain.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_supervisor_hears_of_every_step() {
    let (home, supervisor) = (Home::new(), Supervisor::start());
    let sink = Sink::start(|received| match received.attempt {
        _ if received.body.as_ref() == b"{\"slow\":1}" => {
            Reply { delay: Duration::from_secs(3), ..Reply::status(200) }
        }
        _ => Reply::status(200),
    })
    .await;
    let mut command = command(&home.data(), &Setup::default());
    supervisor.supervise(&mut command, Some(Duration::from_secs(8)));
    let daemon = Daemon::spawn_by(command);
    supervisor.hears(READY, 1).await;
    // An idle process goes on pinging: more than one patience's worth, and nothing else is said.
    supervisor.hears(PING, 10).await;
    assert_eq!(
        supervisor.status(),
        "serving: 0 accepted, 0 delivered, 0 put off, 0 dead-lettered; 0 held, 0 in flight"
    );
    let key = daemon.tenant("acme", &sink.url("hook")).await;
    let mut client = daemon.client(&key);
    client.post("/v1/events", "{}").await.expect("an answer");
    eventually("the counters move", async || {
        supervisor.status().starts_with("serving: 1 accepted, 1 delivered")
    })
    .await;
    client.post("/v1/events", "{\"slow\":1}").await.expect("an answer");
    eventually("it is in flight", async || sink.count() == 2).await;
    daemon.signal(Signal::TERM);
    let (status, printed) = daemon.ended().await;
    assert!(status.success(), "{status}: {printed}");
    let heard = supervisor.heard();
    let stopping = place(&heard, STOPPING);
    assert!(place(&heard, "EXTEND_TIMEOUT_USEC=") < place(&heard, READY), "{heard:#?}");
    assert!(place(&heard, "STATUS=starting") < place(&heard, READY), "{heard:#?}");
    assert!(place(&heard, READY) < place(&heard, PING), "{heard:#?}");
    let last = &heard[stopping..];
    assert!(last.iter().filter(|line| line.starts_with("EXTEND_TIMEOUT_USEC=")).count() >= 2);
    assert!(last.iter().any(|line| line == "STATUS=draining: 1 in flight, 1 held"), "{last:#?}");
    assert!(!last.iter().any(|line| line == PING || line == READY), "{last:#?}");
    let statuses: Vec<_> = heard.iter().filter(|line| line.starts_with("STATUS=")).collect();
    assert!(statuses.windows(2).all(|pair| pair[0] != pair[1]), "said twice: {statuses:#?}");
}

/// The abstract space is where systemd listens for services with a root of their own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abstract_socket_is_as_good_and_no_watchdog_no_ping() {
    let (home, supervisor) = (Home::new(), Supervisor::start_abstract());
    let mut command = command(&home.data(), &Setup::default());
    supervisor.supervise(&mut command, None);
    let daemon = Daemon::spawn_by(command);
    supervisor.hears(READY, 1).await;
    daemon.signal(Signal::TERM);
    daemon.ended().await;
    supervisor.hears(STOPPING, 1).await;
    assert_eq!(supervisor.count(PING), 0);
}

/// Why a process does not start stands in its status.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_start_says_why() {
    let (home, supervisor) = (Home::new(), Supervisor::start());
    fs::write(home.data(), "no directory").expect("writable");
    let mut command = command(&home.data(), &Setup::default());
    supervisor.supervise(&mut command, None);
    let output = command.output().expect("the binary starts");
    assert!(!output.status.success());
    supervisor.hears(STOPPING, 1).await;
    eventually("the reason is told", async || {
        let status = supervisor.status();
        status.starts_with("failed: ") && status.contains("not a directory")
    })
    .await;
    assert_eq!(supervisor.count(READY), 0);
}

/// A library that makes `fdatasync` wait as long as a file is there: a disk that hangs.
fn hanging_disk(home: &Home) -> (PathBuf, PathBuf) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/service/hanging_disk.c");
    let library = home.file("hanging_disk.so");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source);
    let built = compiler.stdin(Stdio::null()).output().expect("a C compiler");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    (library, home.file("hangs"))
}

/// With the writer stuck in a sync of the disk, the loops turn on and the API listens, yet the
/// pings stop and the log names the part; when the disk comes back, so do the pings, and what
/// waited is accepted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stuck_writer_stops_the_pings() {
    let (home, supervisor) = (Home::new(), Supervisor::start());
    let (library, hangs) = hanging_disk(&home);
    let patience = Duration::from_secs(2);
    let mut command = command(&home.data(), &Setup::default());
    command.env("LD_PRELOAD", library).env("HANGING_DISK", &hangs);
    supervisor.supervise(&mut command, Some(patience));
    let daemon = Daemon::spawn_by(command);
    let key = daemon.tenant("acme", &Sink::healthy().await.url("hook")).await;
    supervisor.hears(PING, 4).await;
    fs::write(&hangs, "").expect("writable");
    let mut client = daemon.client(&key);
    #[expect(clippy::disallowed_methods, reason = "it waits for the disk")]
    let waiting = tokio::spawn(async move { client.post("/v1/events", "{}").await });
    eventually("the log names the writer", async || {
        daemon.printed().contains("the ledger's writer does not answer")
    })
    .await;
    let (pings, since) = (supervisor.count(PING), now());
    eventually("a whole patience passes", async || since.elapsed() > patience).await;
    assert_eq!(supervisor.count(PING), pings, "pings of a process that makes no progress");
    assert!(!waiting.is_finished(), "an event was accepted that no disk has");
    fs::remove_file(&hangs).expect("there");
    supervisor.hears(PING, pings + 1).await;
    assert_eq!(waiting.await.expect("no panic").expect("an answer").status, 201);
    assert!(daemon.printed().contains("every part makes progress again"), "{}", daemon.printed());
}
