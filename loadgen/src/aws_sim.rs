//! A simulated SQS and DynamoDB, for benchmarks and for faults: `loadgen aws-sim`.
//!
//! It speaks the wire protocol of the real services (AWS JSON 1.0) on one loopback port, keeps
//! everything in memory, and costs a few microseconds of processor time a call, so that what is
//! measured beside it is the daemon. Faults are decided by seed and can be changed while it runs.
//! What it refuses to do: keep anything, check signatures, serve other machines, and say yes to
//! what it does not know: a parameter that it has no meaning for is an error.
//!
//! The parts, in the order in which a call meets them: `connection` and `http`; `operation`;
//! `faults`; `state`; then `sqs` or `dynamo`; `counters`. What is not like AWS is said at the top
//! of the latter two.

mod cli;
mod connection;
mod counters;
mod direct;
mod dynamo;
mod faults;
mod http;
mod operation;
mod refusal;
mod sqs;
mod state;
mod time;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::{Context as _, Result};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::watch;
use tokio::task::LocalSet;

pub use self::cli::Alone;
pub use self::counters::{Count, Report};
pub use self::direct::Direct;
pub use self::faults::{Faults, Rule, Shares, Unusable};

use self::state::State;

const BACKLOG: i32 = 1_024;
/// What the names of its threads begin with.
pub(crate) const THREAD_NAME: &str = "aws-sim-";

/// How the simulator runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen; port 0 for any.
    pub listen: SocketAddr,
    /// Threads that serve.
    pub threads: u32,
    /// Decides which calls meet a fault.
    pub seed: u64,
    /// Refuse credentials of other regions; `None` takes any.
    pub region: Option<String>,
    /// What goes wrong from the beginning.
    pub faults: Faults,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            threads: 1,
            seed: 1,
            region: None,
            faults: Faults::default(),
        }
    }
}

/// A simulator that runs.
#[derive(Debug)]
pub struct AwsSim {
    address: SocketAddr,
    state: Arc<State>,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl AwsSim {
    /// Begins to serve.
    ///
    /// # Errors
    /// Where no port or thread can be had, or the faults make no sense.
    pub fn start(settings: Settings) -> Result<Self> {
        let listener = listen(settings.listen)?;
        let address = listener.local_addr().context("the simulator has no address")?;
        let base = format!("http://{address}");
        let state = State::try_new(base, settings.region, settings.faults, settings.seed)?;
        let state = Arc::new(state);
        let (stop, stopped) = watch::channel(false);
        let mut sim = Self { address, state, stop, threads: Vec::new() };
        for number in 0..settings.threads.max(1) {
            // One queue of connections for all, so that few connections spread evenly.
            let listener = listener.try_clone().context("cannot share the listener")?;
            let (state, stopped) = (Arc::clone(&sim.state), stopped.clone());
            let thread = std::thread::Builder::new().name(format!("{THREAD_NAME}{number}"));
            let run = move || serve(listener, state, stopped);
            sim.threads.push(thread.spawn(run).context("cannot start a thread")?);
        }
        Ok(sim)
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The endpoint of both services.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A way in for this process.
    #[must_use]
    pub fn direct(&self) -> Direct {
        Direct::new(Arc::clone(&self.state))
    }

    /// What was asked so far.
    #[must_use]
    pub fn counters(&self) -> Report {
        self.state.report()
    }

    /// From now on these faults, counted from their beginning.
    ///
    /// # Errors
    /// Where they make no sense; the old ones stay.
    pub fn set_faults(&self, faults: Faults) -> Result<(), Unusable> {
        self.state.set_faults(faults)
    }

    /// Forgets queues, tables, counts and faults.
    pub fn reset(&self) {
        self.state.reset();
    }

    /// Lets time pass at once: time-outs end, delayed messages appear.
    pub fn skip_ms(&self, ms: u64) {
        self.state.skip(ms);
    }

    /// Ends it, connections included.
    ///
    /// # Errors
    /// What ended a thread before its time.
    pub fn stop(self) -> Result<()> {
        self.stop.send_replace(true);
        for thread in self.threads {
            thread.join().map_err(|_| anyhow::anyhow!("a thread of the simulator panicked"))??;
        }
        Ok(())
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener> {
    let listen = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        std::io::Result::Ok(socket.into())
    };
    listen().with_context(|| format!("the simulator cannot listen on {address}"))
}

fn serve(
    listener: TcpListener,
    state: Arc<State>,
    mut stopped: watch::Receiver<bool>,
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot make a runtime")?;
    LocalSet::new().block_on(&runtime, async move {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let stream = tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    // Out of descriptors, or gone before it was taken: the next one may work.
                    Err(_) => continue,
                },
                _ = stopped.changed() => return Ok(()),
            };
            // Without it every answer would wait for the client's acknowledgement.
            if stream.set_nodelay(true).is_ok() {
                drop(tokio::task::spawn_local(connection::serve(Arc::clone(&state), stream)));
            }
        }
    })
}
