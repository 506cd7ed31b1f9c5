//! The real binary as a child process with a data directory of its own.

use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};

use posthaste::demo::client::{Answer, Client};
use posthaste_domain::ApiKey;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{PATIENCE, eventually, now};

/// Lines of a child's output that wait to be looked at.
const LINES_MAX: usize = 100_000;

/// What a test instance is started with.
#[derive(Clone, Debug)]
pub(crate) struct Setup(Vec<String>);

impl Default for Setup {
    /// Free ports, loopback opened, a schedule of milliseconds, and nobody left alone: tests about
    /// other things have endpoints that fail for as long as they please.
    fn default() -> Self {
        Self(Vec::new())
            .with("server.listen", "127.0.0.1:0")
            .with("server.admin-listen", "127.0.0.1:0")
            .with("delivery.allow-networks", "127.0.0.0/8")
            .with("retry.delays", "200ms,400ms,800ms")
            .with("isolation.breaker-failures", 0)
            .with("auth.admin-key", admin_key().expose())
    }
}

impl Setup {
    /// Without a setting.
    pub(crate) fn without(mut self, key: &str) -> Self {
        self.0.retain(|set| !set.starts_with(&format!("{key}=")));
        self
    }

    /// With one more setting.
    pub(crate) fn with(mut self, key: &str, value: impl std::fmt::Display) -> Self {
        self.0.push(format!("{key}={value}"));
        self
    }
}

/// The admin key that every test instance is configured with.
pub(crate) fn admin_key() -> ApiKey {
    ApiKey::from_entropy(&[7; 32])
}

/// A data directory that outlives the instances on it.
pub(crate) struct Home(TempDir);

impl Home {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    /// In a folder of its own in this one.
    pub(crate) fn at(folder: &Path) -> Self {
        Self(tempfile::tempdir_in(folder).expect("a temporary directory"))
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    /// A file beside the data directory.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

/// The command that serves on `data` with `setup`.
pub(crate) fn command(data: &Path, setup: &Setup) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_posthaste"));
    command.arg("serve").arg("--data-dir").arg(data);
    for set in &setup.0 {
        command.arg("--set").arg(set);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A running instance; killed when dropped.
pub(crate) struct Daemon {
    child: Child,
    /// Where the public API listens.
    pub(crate) api: SocketAddr,
    /// Where the admin routes listen.
    pub(crate) admin: SocketAddr,
    output: Arc<Mutex<Vec<String>>>,
}

impl Daemon {
    /// Starts an instance and waits until it is ready.
    pub(crate) async fn start(home: &Home, setup: &Setup) -> Self {
        let daemon = Self::spawn(home, setup);
        daemon.ready().await;
        daemon
    }

    /// Starts an instance and waits until it listens.
    pub(crate) fn spawn(home: &Home, setup: &Setup) -> Self {
        Self::spawn_by(command(&home.data(), setup))
    }

    /// Starts an instance by a [`command`] that was changed, and waits until it listens.
    pub(crate) fn spawn_by(mut command: Command) -> Self {
        let mut child = command.spawn().expect("the binary starts");
        let output = Arc::new(Mutex::new(Vec::new()));
        let stdout = collect(child.stdout.take().expect("piped"), &output);
        let _stderr = collect(child.stderr.take().expect("piped"), &output);
        let mut found = (None, None);
        let start = now();
        while found.0.is_none() || found.1.is_none() {
            let left = PATIENCE.saturating_sub(start.elapsed());
            let Ok(line) = stdout.recv_timeout(left) else {
                panic!("does not listen:\n{}", output.lock().expect("nobody panics").join("\n"));
            };
            if let Some(address) = address_after(&line, "api") {
                found.0 = Some(address);
            }
            if let Some(address) = address_after(&line, "admin") {
                found.1 = Some(address);
            }
        }
        let (Some(api), Some(admin)) = found else { unreachable!("the loop ended") };
        Self { child, api, admin, output }
    }

    /// Waits until `/readyz` says so.
    pub(crate) async fn ready(&self) {
        eventually("ready", async || {
            let answer = Client::new(self.admin, None).get("/readyz").await;
            answer.is_ok_and(|answer| answer.status == 200)
        })
        .await;
    }

    /// A client of the API that presents `key`.
    pub(crate) fn client(&self, key: &str) -> Client {
        Client::new(self.api, Some(key))
    }

    /// A client of the API with the admin key.
    pub(crate) fn admin_client(&self) -> Client {
        self.client(admin_key().expose())
    }

    /// Creates a tenant; gives its API key.
    pub(crate) async fn tenant(&self, id: &str, target: &str) -> String {
        self.tenant_with(id, target, Value::Null).await
    }

    /// Creates a tenant with delivery options; gives its API key.
    pub(crate) async fn tenant_with(&self, id: &str, target: &str, delivery: Value) -> String {
        let body = json!({"tenant_id": id, "target_url": target, "delivery": delivery});
        let answer = self.admin_client().post("/v1/tenants", body.to_string()).await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.status, 201, "{:?}", answer.body);
        answer.json()["api_key"].as_str().expect("a key").to_owned()
    }

    /// An event, as the tenant with this key sees it, as soon as that is a fact.
    pub(crate) async fn event(
        &self,
        key: &str,
        event: &str,
        fact: impl Fn(&Value) -> bool,
    ) -> Value {
        let mut client = self.client(key);
        let mut detail = Value::Null;
        eventually("the event gets there", async || {
            let answer = client.get(&format!("/v1/events/{event}")).await.expect("an answer");
            detail = answer.json()["event"].take();
            fact(&detail)
        })
        .await;
        detail
    }

    /// What an admin route answers.
    pub(crate) async fn admin_get(&self, path: &str) -> Answer {
        Client::new(self.admin, None).get(path).await.expect("an answer")
    }

    /// The value of a metric, summed over its labels that contain `labels`.
    pub(crate) async fn metric(&self, name: &str, labels: &str) -> f64 {
        let answer = self.admin_get("/metrics").await;
        let text = String::from_utf8(answer.body.to_vec()).expect("text");
        text.lines()
            .filter(|line| line.starts_with(name) && line.contains(labels))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// SIGKILL, and wait for the end.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("running");
        self.child.wait().expect("a child");
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("running");
    }

    /// Stops it where it stands, and waits until each of its threads does: a signal is only sent,
    /// and one that runs meanwhile may do what it has in its hands.
    pub(crate) async fn stand_still(&self) {
        self.signal(Signal::STOP);
        let tasks = format!("/proc/{}/task", self.child.id());
        let stands = |task: std::fs::DirEntry| {
            let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            // Behind the name, which may hold anything.
            stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['T', 't']))
        };
        eventually("every thread stands still", async || {
            std::fs::read_dir(&tasks).expect("its threads").flatten().all(stands)
        })
        .await;
    }

    /// Waits for the end; gives the status and everything printed.
    pub(crate) async fn ended(mut self) -> (ExitStatus, String) {
        let mut status = None;
        eventually("the process ends", async || {
            status = self.child.try_wait().expect("a child");
            status.is_some()
        })
        .await;
        (status.expect("ended"), self.printed())
    }

    /// Everything printed so far.
    pub(crate) fn printed(&self) -> String {
        self.output.lock().expect("nobody panics").join("\n")
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Fails only where the process has ended already.
        if self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}

/// Reads a child's output to its end on a thread; every line is kept, and sent while somebody
/// listens.
fn collect(
    stream: impl Read + Send + 'static,
    output: &Arc<Mutex<Vec<String>>>,
) -> Receiver<String> {
    let (sender, receiver) = sync_channel(LINES_MAX);
    let output = Arc::clone(output);
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            output.lock().expect("nobody panics").push(line.clone());
            // Nobody listens any more once the addresses are known.
            drop(sender.try_send(line));
        }
    });
    receiver
}

/// The address in a line such as `  api    http://127.0.0.1:8080`.
fn address_after(line: &str, word: &str) -> Option<SocketAddr> {
    let mut words = line.split_whitespace();
    (words.next()? == word).then_some(())?;
    words.next()?.strip_prefix("http://")?.parse().ok()
}
