//! The real binary as a child process, and what the kernel knows of a process: for benchmarks.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use posthaste_domain::ApiKey;

/// The daemon as a child process; ended when dropped.
pub(crate) struct Daemon {
    child: Child,
    /// Where the public API listens.
    pub(crate) api: SocketAddr,
    /// Its admin key.
    pub(crate) admin: ApiKey,
}

impl Daemon {
    /// Starts `binary` with its defaults and these settings on `data`; waits until it listens.
    pub(crate) fn start(binary: &Path, data: &Path, set: &[String]) -> anyhow::Result<Self> {
        let admin = ApiKey::from_entropy(&[7; 32]);
        let mut command = Command::new(binary);
        command.arg("serve").arg("--data-dir").arg(data);
        let own = [
            "server.listen=127.0.0.1:0".to_owned(),
            "server.admin-listen=none".to_owned(),
            "delivery.allow-networks=127.0.0.0/8".to_owned(),
            format!("auth.admin-key={}", admin.expose()),
        ];
        for set in own.iter().chain(set) {
            command.arg("--set").arg(set);
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut child = child.with_context(|| {
            let binary = binary.display();
            format!("cannot start {binary}; build it first: cargo build --release")
        })?;
        let output = child.stdout.take().context("no output")?;
        let mut lines = BufReader::new(output).lines();
        let api = loop {
            let line = lines.next().context("the daemon ended before it listened")??;
            let mut words = line.split_whitespace();
            if let (Some("api"), Some(url)) = (words.next(), words.next()) {
                break url.trim_start_matches("http://").parse()?;
            }
        };
        // What it prints later must go somewhere, or it would wait.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self { child, api, admin })
    }

    /// User and system time so far.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        cpu_of(&self.child.id().to_string())
    }

    /// Resident memory, in MB.
    pub(crate) fn resident_mb(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no RSS")?;
        let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kib * 1024 / 1_000_000)
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

/// User and system time of a process so far.
pub(crate) fn cpu_of(process: &str) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // Fields count from behind the name, which may hold spaces.
    let fields = stat.rsplit_once(')').context("no name")?.1;
    let field = |n: usize| -> anyhow::Result<u64> {
        Ok(fields.split_whitespace().nth(n).context("too few fields")?.parse()?)
    };
    let ticks = field(11)? + field(12)?;
    Ok(Duration::from_micros(ticks * 1_000_000 / rustix::param::clock_ticks_per_second()))
}
