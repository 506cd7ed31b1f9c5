//! `posthaste ledger`: what an operator does after a disk has failed, with the real binary.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::daemon::{Daemon, Home, Setup, command};
use crate::support::eventually;

const EVENTS: usize = 20;

fn ledger(action: &[&str], data: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_posthaste"));
    command.arg("ledger").args(action).arg("--data-dir").arg(data);
    command.output().expect("the binary starts")
}

fn lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect()
}

fn errors(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("text")
}

/// A stopped instance's directory with events that nobody takes; gives their ids, as they were
/// answered.
async fn accepted(home: &Home) -> Vec<String> {
    let setup = Setup::default().with("retry.delays", "1h,1h");
    let daemon = Daemon::start(home, &setup).await;
    let mut client = daemon.client(&daemon.tenant("acme", "http://127.0.0.1:20009/hook").await);
    let mut ids = Vec::new();
    for n in 0..EVENTS {
        let body = json!({ "event_type": "a", "payload": { "n": n } });
        let answer = client.post("/v1/events", body.to_string()).await.expect("an answer");
        assert_eq!(answer.status, 201, "{:?}", answer.body);
        ids.push(answer.json()["event_id"].as_str().expect("an id").to_owned());
    }
    // By itself: a kill could leave the last second without a proof.
    daemon.signal(Signal::TERM);
    let (status, said) = daemon.ended().await;
    assert!(status.success(), "{said}");
    ids.sort();
    ids
}

fn journal(data: &Path) -> PathBuf {
    data.join("ledger/0.jnl")
}

/// The ids of an export.
fn exported(data: &Path) -> Vec<String> {
    let output = ledger(&["export"], data);
    let ids = lines(&output);
    let mut ids: Vec<_> = ids.iter().map(|e| e["id"].as_str().expect("an id").to_owned()).collect();
    ids.sort();
    ids
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_directory_is_whole_and_exported() {
    let home = Home::new();
    let ids = accepted(&home).await;
    let output = ledger(&["verify", "--json"], &home.data());
    let lines_ = lines(&output);
    let summary = &lines_.last().expect("a summary")["summary"];
    assert_eq!(output.status.code(), Some(0), "{summary} {}", errors(&output));
    assert_eq!((summary["damages"].as_u64(), summary["tenants"].as_u64()), (Some(0), Some(1)));
    assert_eq!(exported(&home.data()), ids);
    let output = ledger(&["export", "--tenant", "acme"], &home.data());
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let first = &lines(&output)[0];
    assert!(first["payload"].is_object() && first["created_at"].is_string(), "{first}");
    assert!(!text.contains("secret") && !text.contains("whsec"), "a secret was exported");
    let none = ledger(&["export", "--tenant", "nobody"], &home.data());
    assert_eq!((none.status.code(), none.stdout.len()), (Some(0), 0));
    // For people.
    let output = ledger(&["verify"], &home.data());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(": whole\n") && text.contains("\n  events    "), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_in_use_is_refused_in_one_line() {
    let home = Home::new();
    let daemon = Daemon::start(&home, &Setup::default()).await;
    for action in [&["verify"][..], &["export"], &["repair", "--to", "/tmp/never-made"]] {
        let output = ledger(action, &home.data());
        let text = errors(&output);
        assert_eq!(output.status.code(), Some(78), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("another process") && text.contains(&daemon.pid().to_string()));
    }
    daemon.ready().await;
}

/// A rotten byte in the middle of the journal: the start is refused for good, the repair keeps
/// every other event, and what it wrote is served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_journal_is_repaired() {
    let home = Home::new();
    let ids = accepted(&home).await;
    let mut bytes = fs::read(journal(&home.data())).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[used / 2] ^= 0x40;
    fs::write(journal(&home.data()), &bytes).unwrap();
    let setup = Setup::default();
    let refused = command(&home.data(), &setup).output().expect("the binary starts");
    assert_eq!(refused.status.code(), Some(78), "{}", errors(&refused));
    let output = ledger(&["verify", "--json"], &home.data());
    assert_eq!(output.status.code(), Some(65));
    let found = lines(&output);
    assert!(found.iter().any(|line| line["damage"]["kind"] == "journal"), "{found:?}");
    let target = home.file("repaired");
    let to = target.to_str().unwrap();
    let output = ledger(&["repair", "--json", "--to", to], &home.data());
    let said = lines(&output);
    // One commit is gone, and that is said.
    assert_eq!(output.status.code(), Some(65), "{said:?} {}", errors(&output));
    assert_eq!(said.last().unwrap()["summary"]["commits_missing"], 1);
    assert_eq!(fs::read(journal(&home.data())).unwrap(), bytes, "the source was changed");
    let kept = exported(&target);
    assert!(kept.len() + 1 >= ids.len() && kept.iter().all(|id| ids.contains(id)), "{kept:?}");
    assert_eq!(ledger(&["verify"], &target).status.code(), Some(0));
    let again = ledger(&["repair", "--to", to], &home.data());
    assert_eq!(again.status.code(), Some(78), "{}", errors(&again));
    // In its own place, and served from.
    let output = ledger(&["repair", "--in-place"], &home.data());
    assert_eq!(output.status.code(), Some(65), "{}", errors(&output));
    assert_eq!(exported(&home.data()), kept);
    let daemon = Daemon::start(&home, &setup).await;
    daemon.ready().await;
}

/// A directory of something else is not moved aside for an empty ledger.
#[test]
fn what_is_no_ledger_is_not_repaired() {
    let home = Home::new();
    let other = home.file("photos");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("one"), "a photo").unwrap();
    let to = home.file("new");
    for arguments in [&["repair", "--in-place"][..], &["repair", "--to", to.to_str().unwrap()]] {
        let output = ledger(arguments, &other);
        let said = errors(&output);
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(said.contains("is no data directory") && said.lines().count() == 1, "{said}");
    }
    assert_eq!(fs::read(other.join("one")).unwrap(), b"a photo");
    assert!(!to.exists());
}

/// A disk that takes the table with the tenants: every event is kept, and yet the exit code says
/// that something is lost, and the lines say what.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repair_that_lost_a_tenant_says_so() {
    let home = Home::new();
    let ids = accepted(&home).await;
    // As if the journal had grown large: what is before the last batch goes to tables now.
    let first = journal(&home.data());
    let bytes = fs::read(&first).unwrap();
    let last = bytes.windows(5).rposition(|five| five == b"FJL\x03\x01").unwrap() + 4;
    fs::write(first.with_file_name("1.jnl"), &bytes[last..]).unwrap();
    fs::write(&first, &bytes[..last]).unwrap();
    let daemon = Daemon::start(&home, &Setup::default()).await;
    eventually("the first journal is removed", async || !first.exists()).await;
    daemon.signal(Signal::TERM);
    assert!(daemon.ended().await.0.success());
    let mut lost = 0;
    for keyspace in fs::read_dir(home.data().join("ledger/keyspaces")).unwrap() {
        let keyspace = keyspace.unwrap().path();
        if keyspace.ends_with("9") {
            for table in fs::read_dir(keyspace.join("tables")).unwrap() {
                fs::remove_file(table.unwrap().path()).unwrap();
                lost += 1;
            }
        }
    }
    assert!(lost > 0, "the tenants are in no table");
    let target = home.file("repaired");
    let output = ledger(&["repair", "--json", "--to", target.to_str().unwrap()], &home.data());
    let said = lines(&output);
    assert_eq!(output.status.code(), Some(65), "{said:?} {}", errors(&output));
    assert!(said.iter().any(|line| line["lost"]["other"] == "tenant acme"), "{said:?}");
    let summary = &said.last().unwrap()["summary"];
    assert_eq!((summary["lost"].as_u64(), summary["commits_missing"].as_u64()), (Some(0), Some(0)));
    assert!(summary["others_lost"].as_u64() > Some(0), "{summary}");
    assert_eq!(exported(&target), ids);
}

#[test]
fn what_is_no_directory_is_refused() {
    let home = Home::new();
    let output = ledger(&["verify"], &home.data());
    assert_eq!(output.status.code(), Some(78));
    assert_eq!(errors(&output).lines().count(), 1);
    assert!(!home.data().exists(), "looking made it");
}
