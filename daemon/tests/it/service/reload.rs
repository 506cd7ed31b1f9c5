//! SIGHUP: what changes at once, what waits for a start, and what is refused.

use std::fs;

use posthaste_domain::ApiKey;
use rustix::process::Signal;

use super::READY;
use crate::support::daemon::{Daemon, Home, Setup, command};
use crate::support::eventually;
use crate::support::sink::Sink;
use crate::support::supervisor::Supervisor;

/// A daemon with a configuration file, and whoever hears of it.
struct Service {
    home: Home,
    supervisor: Supervisor,
    daemon: Daemon,
}

impl Service {
    async fn start(file: &str) -> Self {
        let (home, supervisor) = (Home::new(), Supervisor::start());
        let setup = Setup::default().without("auth.admin-key");
        let mut command = command(&home.data(), &setup);
        command.arg("--config").arg(home.file("posthaste.toml"));
        fs::write(home.file("posthaste.toml"), file).expect("writable");
        supervisor.supervise(&mut command, None);
        let daemon = Daemon::spawn_by(command);
        supervisor.hears(READY, 1).await;
        Self { home, supervisor, daemon }
    }

    /// Changes the file, and has it read; the reloads so far were `before`.
    async fn reload(&self, file: &str, before: usize) {
        fs::write(self.home.file("posthaste.toml"), file).expect("writable");
        self.daemon.signal(Signal::HUP);
        self.supervisor.hears("RELOADING=1", before + 1).await;
        self.supervisor.hears(READY, before + 2).await;
    }

    fn printed(&self) -> String {
        self.daemon.printed()
    }
}

fn key(n: u8) -> ApiKey {
    ApiKey::from_entropy(&[n; 32])
}

fn with_key(n: u8, rest: &str) -> String {
    format!("[auth]\nadmin-key = {:?}\n{rest}", key(n).expose())
}

/// Limits, keys, what deliveries look like and log levels change at once, on a connection that
/// stays open; what cannot is told and waits; no secret is shown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_configuration_holds_at_once() {
    let service = Service::start(&with_key(1, "[retry]\nattempts-max = 3\n")).await;
    let sink = Sink::healthy().await;
    let mut admin = service.daemon.client(key(1).expose());
    let tenant = serde_json::json!({"tenant_id": "acme", "target_url": sink.url("hook")});
    let created = admin.post("/v1/tenants", tenant.to_string()).await.expect("an answer");
    assert_eq!(created.status, 201, "{:?}", created.body);
    let api_key = created.json()["api_key"].as_str().expect("a key").to_owned();
    let mut client = service.daemon.client(&api_key);
    let long = format!("{{\"pad\":\"{}\"}}", "x".repeat(2000));
    assert_eq!(client.post("/v1/events", long.clone()).await.expect("an answer").status, 201);
    let changed = with_key(
        2,
        "[server]\nbody-max = \"1KiB\"\n[delivery]\nuser-agent-suffix = \"(new)\"\n\
         [log]\nlevel = \"debug\"\n[retry]\nattempts-max = 4\n",
    );
    service.reload(&changed, 0).await;
    assert_eq!(client.post("/v1/events", long).await.expect("an answer").status, 413);
    assert_eq!(client.post("/v1/events", "{}").await.expect("an answer").status, 201);
    eventually("the second event arrives", async || sink.count() == 2).await;
    let agents: Vec<_> =
        sink.received().iter().map(|received| received.headers["user-agent"].clone()).collect();
    assert!(!agents[0].to_str().expect("text").contains("(new)"), "{agents:?}");
    assert!(agents[1].to_str().expect("text").ends_with(" (new)"), "{agents:?}");
    let path = "/v1/admin/dlq/messages";
    assert_eq!(admin.get(path).await.expect("an answer").status, 401, "the old key");
    let mut admin = service.daemon.client(key(2).expose());
    assert_eq!(admin.get(path).await.expect("an answer").status, 200, "the new key");
    let printed = service.printed();
    for line in [
        "setting changed setting=\"server.body-max\" from=\"\\\"256KiB\\\"\" to=\"\\\"1KiB\\\"\"",
        "setting changed setting=\"auth.admin-key\" from=\"(hidden)\" to=\"(hidden)\"",
        "setting changed setting=\"retry.attempts-max\" from=\"3\" to=\"4\"",
        "when=\"at the next start\"",
        "changed, but held until the next start: retry.attempts-max",
    ] {
        assert!(printed.contains(line), "{line} is not in\n{printed}");
    }
    for secret in [key(1), key(2)] {
        assert!(!printed.contains(secret.expose()), "a secret in the log");
    }
    eventually("the status says what waits", async || {
        service
            .supervisor
            .status()
            .ends_with("; changed, but held until the next start: retry.attempts-max")
    })
    .await;
    service.daemon.signal(Signal::TERM);
    let (status, printed) = service.daemon.ended().await;
    assert!(status.success(), "{printed}");
    assert!(printed.contains("DEBUG"), "the new level holds: {printed}");
}

/// Whatever is wrong, everything that is wrong is told and nothing changes; a contradiction with
/// what must hold until the next start is one too. When the file is mended, the complaint goes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_configuration_changes_nothing() {
    let service = Service::start(&with_key(1, "")).await;
    let path = "/v1/admin/dlq/messages";
    let mut admin = service.daemon.client(key(1).expose());
    let bad = with_key(2, "[server]\nbody-max = \"1GB\"\nlisten-on = 1\n");
    service.reload(&bad, 0).await;
    let printed = service.printed();
    for line in ["body-max", "server.listen-on: no such setting", "the old configuration holds on"]
    {
        assert!(printed.contains(line), "{line} is not in\n{printed}");
    }
    assert!(!printed.contains(key(2).expose()), "a secret in the log");
    assert_eq!(admin.get(path).await.expect("an answer").status, 200, "the old key holds");
    let told = "; the configuration was refused at the last reload (see the log)";
    eventually("the status says so", async || service.supervisor.status().ends_with(told)).await;
    // Right by itself, but not with the 2048 attempts that the running process may have.
    let early = with_key(2, "[delivery]\nin-flight-max = 128\nconnections-max = 128\n");
    service.reload(&early, 1).await;
    let printed = service.printed();
    let line = "delivery.in-flight-max = 2048: is above delivery.connections-max = 128";
    assert!(printed.contains(line), "{printed}");
    assert_eq!(admin.get(path).await.expect("an answer").status, 200, "the old key holds");
    service.reload(&with_key(2, ""), 2).await;
    assert_eq!(admin.get(path).await.expect("an answer").status, 401, "the new key holds");
    eventually("the complaint goes", async || service.supervisor.status().ends_with("in flight"))
        .await;
    service.reload(&with_key(2, ""), 3).await;
    assert!(service.printed().contains("the configuration is as it was"), "{}", service.printed());
    // A file that has gone is wrong too: it was named.
    fs::remove_file(service.home.file("posthaste.toml")).expect("there");
    service.daemon.signal(Signal::HUP);
    service.supervisor.hears(READY, 6).await;
    assert!(service.printed().contains("cannot be read"), "{}", service.printed());
    service.daemon.ready().await;
}
