//! The system under test: started by the run, watched, stopped and started again by chaos steps.
//!
//! Nothing is ever done to a process that the run did not start itself. Its ports are chosen once
//! and kept over restarts, because a service that moves is another fault than one that restarts.

mod process;
mod settle;
mod tenants;

use std::cell::{Cell, RefCell};
use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use posthaste_domain::ApiKey;
use rustix::process::Signal;
use socket2::{Domain, Socket, Type};
use tokio::time::{sleep, timeout};

use self::process::{Child, Ended, bind_to_this_thread};
pub use self::process::{Threads, Usage, own_threads, usage_of};
pub use self::settle::settle;
pub use self::tenants::{Tenants, create, tenant_name};
use crate::chance::Chance;
use crate::control::Client;
use crate::scenario::{Stop, SystemPlan};

/// The pause between questions whether it is ready: short against a start, cheap against both.
const ASK_AGAIN: Duration = Duration::from_millis(2);

/// The system under test.
#[derive(Debug)]
pub struct System {
    plan: SystemPlan,
    binary: PathBuf,
    arguments: Vec<String>,
    /// Where its API is.
    pub api: SocketAddr,
    /// Its admin key.
    pub admin_key: ApiKey,
    ready: (SocketAddr, String),
    log: PathBuf,
    running: RefCell<Option<Child>>,
    /// What processes before the present one used.
    past: Cell<Usage>,
    /// Keep its ports from everybody else, also while it is down.
    _reserved: [Socket; 2],
}

impl System {
    /// Prepares it: chooses ports and fills in the arguments. Starts nothing.
    ///
    /// # Errors
    /// Where the binary is missing or no port can be had.
    pub fn prepare(
        plan: &SystemPlan,
        binary: Option<&Path>,
        [data, log]: [&Path; 2],
        extra: &[(String, String)],
    ) -> Result<Self> {
        let binary = binary.unwrap_or(&plan.binary).to_owned();
        ensure!(
            binary.is_file(),
            "there is no {}: build it (cargo build --release) or name it with --binary",
            binary.display()
        );
        let ((api, first), (admin, second)) = (reserve()?, reserve()?);
        let mut chance = Chance::new(u64::from(std::process::id()), 0);
        let admin_key =
            ApiKey::from_entropy(&std::array::from_fn(|_| chance.bits().to_le_bytes()[0]));
        let fill = |text: &String| {
            text.replace("{data}", &data.display().to_string())
                .replace("{api}", &api.to_string())
                .replace("{admin}", &admin.to_string())
                .replace("{admin-key}", admin_key.expose())
        };
        let mut arguments: Vec<String> = plan.arguments.iter().map(fill).collect();
        for (key, value) in plan.settings.iter().chain(extra.iter().map(|(k, v)| (k, v))) {
            arguments.extend(["--set".to_owned(), format!("{key}={}", fill(value))]);
        }
        let ready = fill(&plan.ready);
        let (host, path) = ready
            .strip_prefix("http://")
            .and_then(|rest| rest.split_once('/'))
            .with_context(|| format!("system.ready: {ready} is not http://ADDRESS/PATH"))?;
        let ready = (host.parse().context("system.ready names no address")?, format!("/{path}"));
        Ok(Self {
            plan: plan.clone(),
            binary,
            arguments,
            api,
            admin_key,
            ready,
            log: log.to_owned(),
            running: RefCell::new(None),
            past: Cell::new(Usage::default()),
            _reserved: [first, second],
        })
    }

    /// The program.
    #[must_use]
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// Its arguments, without the key.
    #[must_use]
    pub fn shown_arguments(&self) -> Vec<String> {
        let hide = |text: &String| text.replace(self.admin_key.expose(), "<hidden>");
        self.arguments.iter().map(hide).collect()
    }

    /// Starts the process; it may not be ready yet. It does not outlive the calling thread, which
    /// must live as long as the run.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn start(&self) -> Result<()> {
        let log = |file: &File| file.try_clone().map(Stdio::from);
        let file = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(&self.binary);
        command.args(&self.arguments).envs(&self.plan.environment);
        command.stdin(Stdio::null()).stdout(log(&file)?).stderr(log(&file)?);
        bind_to_this_thread(&mut command);
        let child = command.spawn();
        let child = child.with_context(|| format!("cannot start {}", self.binary.display()))?;
        self.running.replace(Some(Child::new(child)?));
        Ok(())
    }

    /// Waits until it says that it is ready.
    ///
    /// # Errors
    /// Where it ends instead, or takes too long.
    pub async fn ready(&self) -> Result<()> {
        let limit = Duration::from_nanos(self.plan.start_timeout);
        let asking = async {
            let mut client = Client::new(self.ready.0, None);
            while !client.get(&self.ready.1).await.is_ok_and(|reply| reply.status == 200) {
                if let Some(ended) = self.ended() {
                    bail!("the system ended before it was ready: {ended}\n{}", self.last_words());
                }
                sleep(ASK_AGAIN).await;
            }
            Ok(())
        };
        match timeout(limit, asking).await {
            Ok(outcome) => outcome,
            Err(_) => bail!("the system was not ready in {limit:?}\n{}", self.last_words()),
        }
    }

    /// Sends it a signal and waits for its end; it is killed where it takes too long.
    ///
    /// # Errors
    /// Where there is none to stop.
    pub async fn stop(&self, stop: Stop) -> Result<Ended> {
        let child = self.running.take();
        let mut child = child.context("there is no process to stop")?;
        let signal = match stop {
            Stop::Kill => Signal::KILL,
            Stop::Terminate => Signal::TERM,
        };
        child.signal(signal)?;
        let limit = Duration::from_nanos(self.plan.stop_timeout);
        if timeout(limit, child.exited()).await.is_err() {
            child.signal(Signal::KILL)?;
            child.exited().await?;
        }
        let (ended, usage) = child.reap()?;
        self.past.set(self.past.get().followed_by(&usage));
        Ok(ended)
    }

    /// How the process ended, where it has ended by itself.
    #[must_use]
    pub fn ended(&self) -> Option<Ended> {
        self.running.borrow_mut().as_mut().and_then(Child::ended)
    }

    /// What all its processes have used so far.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let running = self.running.borrow();
        let now = running.as_ref().and_then(|child| usage_of(&child.id().to_string()));
        self.past.get().followed_by(&now.unwrap_or_default())
    }

    /// The end of what it printed.
    #[must_use]
    pub fn last_words(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text[text.len().saturating_sub(2000)..]).into_owned();
        format!("it printed:\n{}", text.trim_end().replace(self.admin_key.expose(), "<hidden>"))
    }
}

/// A port of loopback that the kernel gives to nobody else while the socket lives, neither to who
/// binds to port 0 nor to who connects. Who names the port may listen there nevertheless, because
/// the socket does not listen, and both allow that the address is used again (`SO_REUSEADDR`, which
/// tokio's and std's listeners set).
///
/// # Errors
/// Where no port can be had.
pub fn reserve() -> Result<(SocketAddr, Socket)> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    let address = socket.local_addr()?.as_socket().context("a port without an address")?;
    Ok((address, socket))
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_reserved_port_is_only_for_who_names_it() {
        let (address, reserved) = reserve().unwrap();
        let other = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let refused = other.bind(&address.into()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::AddrInUse, "who does not ask to use it again");
        // As a system that is started, killed and started again.
        for _ in 0..2 {
            TcpListener::bind(address).expect("it can be listened at");
        }
        drop(reserved);
        other.bind(&address.into()).expect("then it is free again");
    }
}
