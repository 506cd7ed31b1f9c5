//! The life of the process: its phase, its signals, its named tasks, and what ends it early.
//!
//! ```text
//! Starting ──► Running ──► Draining ──► Stopped     (SIGHUP while Running: reload)
//!                 └── fatal ──────────────┘   (the ledger failed: stop now, recover at restart)
//! ```

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::config;
use crate::instance::{Drained, Instance};
use crate::reload::Reloader;
use crate::service::Service;

/// Exit code after a fault that a restart recovers from (`EX_SOFTWARE`).
pub const EXIT_FATAL: u8 = 70;
/// Exit code after a second signal during the drain (128 + SIGINT).
pub const EXIT_INTERRUPTED: u8 = 130;

/// Where the process is in its life; one value that readiness, logs and the drain all see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Opening the ledger, binding sockets.
    Starting,
    /// Taking events and delivering.
    Running,
    /// Taking nothing new, finishing what is in flight.
    Draining,
    /// Nothing runs any more.
    Stopped,
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Self; 4] = [Self::Starting, Self::Running, Self::Draining, Self::Stopped];

    /// The phase's stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
        }
    }
}

/// Lets any part say that the process cannot go on. The first reason is kept.
#[derive(Clone, Debug)]
pub struct Fatal {
    reason: Arc<Mutex<Option<String>>>,
    raised: watch::Sender<bool>,
}

impl Default for Fatal {
    fn default() -> Self {
        Self { reason: Arc::default(), raised: watch::Sender::new(false) }
    }
}

impl Fatal {
    /// Ends the process, with this reason. Returns at once.
    pub fn stop(&self, reason: String) {
        let mut kept = self.reason.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.is_none() {
            error!(%reason, "cannot go on");
            *kept = Some(reason);
        }
        drop(kept);
        self.raised.send_replace(true);
    }

    /// Resolves when somebody called [`Fatal::stop`]; gives the first reason.
    pub async fn raised(&self) -> String {
        let mut raised = self.raised.subscribe();
        // The sender lives in self, so waiting cannot fail.
        let waited = raised.wait_for(|raised| *raised).await;
        debug_assert!(waited.is_ok());
        drop(waited);
        self.reason().unwrap_or_default()
    }

    /// The first reason, where there is one.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Makes a panic anywhere in the process end it by [`Fatal`], after a line in the log: whatever
/// panicked had a delivery, a connection or the store in its hands, and a restart recovers all of
/// them, while a part that vanished silently would hold them for ever.
pub fn end_on_panic(fatal: &Fatal) {
    let fatal = fatal.clone();
    panic::set_hook(Box::new(move |info| {
        let thread = std::thread::current();
        let place = info.location().map_or_else(String::new, ToString::to_string);
        let text = info.payload_as_str().unwrap_or("no message");
        // Only where RUST_BACKTRACE asks for it.
        let trace = Backtrace::capture();
        let trace = (trace.status() == BacktraceStatus::Captured).then(|| trace.to_string());
        error!(
            thread = thread.name().unwrap_or("unnamed"),
            place,
            panic = text,
            trace,
            "a part of the process panicked"
        );
        fatal.stop(format!("panic at {place}"));
    }));
}

/// Takes as many file descriptors as the system lets this process have: each connection is one.
/// Gives how many that is; none where there is no limit.
pub fn raise_descriptor_limit() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            warn!(%error, "the limit of file descriptors cannot be raised");
        }
    }
    getrlimit(Resource::Nofile).current
}

/// Installs the process's cryptography. TLS takes what is installed; two crates that each brought
/// their own would make it panic at the first use, so it is chosen here, by hand.
pub fn install_crypto_provider() {
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        warn!("another crypto provider was installed before ours");
    }
}

/// The runtime that serves the listeners.
///
/// # Errors
/// The operating system's error where it gives no threads.
pub fn runtime(settings: &config::process::Runtime) -> std::io::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    if let Some(threads) = settings.api_threads {
        builder.worker_threads(threads.get());
    }
    builder.thread_name("server").enable_all().build()
}

/// What goes on beside an instance that serves.
#[derive(Debug)]
pub struct Upkeep {
    /// Who is told how the process is.
    pub service: Arc<Service>,
    /// When the configuration is to be read again.
    pub hangups: Hangups,
    /// How.
    pub reloader: Reloader,
}

/// Serves until a signal or a fault, then stops; the process's exit code.
pub async fn run(mut instance: Instance, mut signals: Signals, upkeep: Upkeep) -> ExitCode {
    let Upkeep { service, mut hangups, mut reloader } = upkeep;
    let fatal = instance.fatal().clone();
    loop {
        let reload = async {
            hangups.next().await;
            reloader.reload(&mut instance).await;
        };
        tokio::select! {
            reason = fatal.raised() => {
                service.failed(&reason);
                return failed(&reason);
            }
            signal = signals.next() => {
                info!(signal, "draining");
                break;
            }
            () = reload => {}
        }
    }
    match drain(instance, &mut signals, service.drain_max()).await {
        Ok(drained) => {
            drained.log();
            ExitCode::SUCCESS
        }
        Err(code) => {
            if let Some(reason) = fatal.reason() {
                service.failed(&reason);
            }
            code
        }
    }
}

/// Drains an instance. A second signal or a fault ends the wait.
///
/// # Errors
/// The exit code, where the drain was cut short.
pub async fn drain(
    instance: Instance,
    signals: &mut Signals,
    drain_max: Duration,
) -> Result<Drained, ExitCode> {
    let (fatal, shards) = (instance.fatal().clone(), instance.shards());
    tokio::select! {
        drained = instance.drain(drain_max) => Ok(drained),
        reason = fatal.raised() => Err(failed(&reason)),
        signal = signals.next() => {
            warn!(signal, "second signal: stopping at once; what is in flight is sent again later");
            shards.abandon().await;
            Err(ExitCode::from(EXIT_INTERRUPTED))
        }
    }
}

/// Says why the process ends early; its exit code.
#[must_use]
pub fn failed(reason: &str) -> ExitCode {
    error!(reason, "stopped by a fault; the next start recovers");
    ExitCode::from(EXIT_FATAL)
}

/// Runs a named task on the current runtime; a panic in it ends the process by [`Fatal`], because
/// a part that vanished silently is worse than a restart.
pub fn spawn<F>(name: &'static str, fatal: &Fatal, task: F) -> tokio::task::JoinHandle<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let fatal = fatal.clone();
    #[expect(clippy::disallowed_methods, reason = "this is the one spawn helper")]
    tokio::spawn(async move {
        #[expect(clippy::disallowed_methods, reason = "the task itself, watched from outside")]
        if let Err(error) = tokio::spawn(task).await
            && error.is_panic()
        {
            fatal.stop(format!("task {name} panicked"));
        }
    })
}

/// SIGHUP, which asks for a reload. From the moment it is installed one that comes waits for
/// [`Hangups::next`]; before it ends the process, as ever.
#[derive(Debug)]
pub struct Hangups(tokio::signal::unix::Signal);

impl Hangups {
    /// Installs the handler.
    ///
    /// # Errors
    /// The operating system's error where it cannot be installed.
    pub fn install() -> std::io::Result<Self> {
        signal(SignalKind::hangup()).map(Self)
    }

    /// Resolves at the next one; several that come together count as one.
    pub async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            // The runtime ends.
            std::future::pending::<()>().await;
        }
    }
}

/// SIGTERM and SIGINT, one at a time.
#[derive(Debug)]
pub struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    /// Installs the handlers.
    ///
    /// # Errors
    /// The operating system's error where handlers cannot be installed.
    pub fn install() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The next signal's name.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
