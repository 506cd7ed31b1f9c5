//! The sink: receives deliveries, checks every one, answers as its tenant's receiver would, and
//! tells the account.
//!
//! Several threads, each with a runtime and a listener of its own on one port (`SO_REUSEPORT`).
//! HTTP/1.1 is parsed by hand; HTTP/2 (with or without TLS) goes through hyper. Endpoints are
//! addresses of the loopback network, which all reach one socket, so that a thousand receivers
//! cost no more than one; nothing that comes from elsewhere is answered.

mod alone;
mod behave;
mod connection;
mod http2;
mod inbound;
mod inspect;
mod tls;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result};
use posthaste_domain::SigningKey;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::watch;
use tokio::task::LocalSet;

pub use self::alone::Alone;
pub use self::inbound::Inbound;
pub use self::inspect::Fault;
use crate::chance::Chance;
use crate::scenario::{Behaviour, Faults, Scenario};
use crate::shared::{Shared, tune};

/// Connections that may wait to be accepted; the kernel caps it at `somaxconn`.
const BACKLOG: i32 = 4096;

/// What deliveries must be.
#[derive(Debug)]
pub(crate) enum Trust {
    /// Events of this run, signed by the tenants' secrets, which are known once the tenants are.
    Run(OnceLock<Vec<SigningKey>>),
    /// Signed by this secret.
    Signed(Box<SigningKey>),
    /// Anything.
    Anything,
}

/// What all threads of the sink know.
#[derive(Debug)]
pub(crate) struct Receiver {
    pub(crate) shared: Arc<Shared>,
    /// How each group behaves. Never empty.
    pub(crate) behaviours: Vec<Behaviour>,
    pub(crate) faults: Faults,
    pub(crate) seed: u64,
    pub(crate) trust: Trust,
}

impl Receiver {
    fn new(shared: &Arc<Shared>, scenario: &Scenario, trust: Trust) -> Arc<Self> {
        Arc::new(Self {
            shared: Arc::clone(shared),
            behaviours: scenario.groups.iter().map(|group| group.behaviour.clone()).collect(),
            faults: scenario.sink.faults,
            seed: scenario.seed,
            trust,
        })
    }
}

/// Where a sink listens.
#[derive(Debug)]
struct Binding<'b> {
    address: SocketAddr,
    /// Speaks TLS, and writes the certificate of its authority there.
    tls: Option<&'b Path>,
    /// How many addresses its certificate is for.
    endpoints: u32,
}

/// The sink, running.
#[derive(Debug)]
pub struct Sink {
    /// What each thread has counted.
    pub records: Vec<Arc<Mutex<Inbound>>>,
    receiver: Arc<Receiver>,
    port: u16,
    tls: bool,
    threads: Vec<JoinHandle<Result<()>>>,
    stop: watch::Sender<bool>,
}

/// The address of an endpoint. All are loopback; none ends in 0 or 255.
#[must_use]
pub fn endpoint(number: u32) -> Ipv4Addr {
    let [_, _, high, low] = (number / 250).to_be_bytes();
    let last = u8::try_from(number % 250 + 1).unwrap_or(1);
    debug_assert!(high == 0, "at most 60,000 endpoints");
    Ipv4Addr::new(127, 0, low, last)
}

impl Sink {
    /// Begins to listen for a run. With TLS, the certificate of its authority is written to
    /// `authority`.
    ///
    /// # Errors
    /// Where no port, thread or certificate can be had.
    pub fn start(
        shared: &Arc<Shared>,
        scenario: &Scenario,
        threads: u32,
        authority: &Path,
    ) -> Result<Self> {
        let endpoints: u32 = scenario.groups.iter().map(|group| group.endpoints).sum();
        // One endpoint needs one address; several need the whole network.
        let address = if endpoints == 1 { endpoint(0) } else { Ipv4Addr::UNSPECIFIED };
        let tls = scenario.sink.tls.then_some(authority);
        let binding = Binding { address: SocketAddr::new(address.into(), 0), tls, endpoints };
        Self::begin(Receiver::new(shared, scenario, Trust::Run(OnceLock::new())), &binding, threads)
    }

    fn begin(receiver: Arc<Receiver>, binding: &Binding<'_>, threads: u32) -> Result<Self> {
        let addresses = (0..binding.endpoints).map(endpoint);
        let acceptor = binding.tls.map(|authority| tls::acceptor(addresses, authority));
        let acceptor = acceptor.transpose()?;
        let first = listen(binding.address)?;
        let bound = first.local_addr().context("the sink has no address")?;
        let mut listeners = vec![first];
        for _ in 1..threads {
            listeners.push(listen(bound)?);
        }
        let (stop, stopped) = watch::channel(false);
        let mut sink = Self {
            records: Vec::new(),
            receiver,
            port: bound.port(),
            tls: binding.tls.is_some(),
            threads: Vec::new(),
            stop,
        };
        for (number, listener) in listeners.into_iter().enumerate() {
            let record = Arc::new(Mutex::new(Inbound::new(sink.receiver.behaviours.len())));
            sink.records.push(Arc::clone(&record));
            let (receiver, seed) = (Arc::clone(&sink.receiver), sink.receiver.seed);
            let chance = Chance::new(seed, 0x7369_6E6B + number as u64);
            let (acceptor, stopped) = (acceptor.clone(), stopped.clone());
            let run = move || {
                let local = connection::Local { receiver, record, chance: chance.into() };
                receive(listener, local, acceptor, stopped)
            };
            let thread = std::thread::Builder::new().name(format!("sink-{number}"));
            sink.threads.push(thread.spawn(run).context("cannot start a sink")?);
        }
        Ok(sink)
    }

    /// Where the deliveries of a tenant go.
    #[must_use]
    pub fn target(&self, tenant: u32, endpoint_number: u32) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}:{}/t/{tenant}", endpoint(endpoint_number), self.port)
    }

    /// Says what deliveries are signed with, tenant by tenant; once.
    pub fn know(&self, keys: Vec<SigningKey>) {
        if let Trust::Run(known) = &self.receiver.trust {
            // A second set would be another run's.
            _ = known.set(keys);
        }
    }

    /// Ends it, connections included.
    ///
    /// # Errors
    /// What ended a thread before its time.
    pub fn stop(self) -> Result<()> {
        self.stop.send_replace(true);
        for thread in self.threads {
            thread.join().map_err(|_| anyhow::anyhow!("a sink thread panicked"))??;
        }
        Ok(())
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener> {
    let listen = || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_port(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        std::io::Result::Ok(socket.into())
    };
    listen().with_context(|| format!("the sink cannot listen on {address}"))
}

fn receive(
    listener: TcpListener,
    local: connection::Local,
    acceptor: Option<tokio_rustls::TlsAcceptor>,
    mut stopped: watch::Receiver<bool>,
) -> Result<()> {
    local.receiver.shared.raise_priority();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot make a runtime")?;
    let local = std::rc::Rc::new(local);
    LocalSet::new().block_on(&runtime, async move {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let (stream, peer) = tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    // Out of descriptors, or gone before it was taken: the next one may work.
                    Err(_) => continue,
                },
                _ = stopped.changed() => return Ok(()),
            };
            let is_local = match peer.ip() {
                IpAddr::V4(address) => address.is_loopback(),
                IpAddr::V6(_) => false,
            };
            if !is_local || tune(&stream).is_err() {
                continue;
            }
            let local = std::rc::Rc::clone(&local);
            match acceptor.clone() {
                None => drop(tokio::task::spawn_local(connection::serve(local, stream))),
                Some(acceptor) => {
                    drop(tokio::task::spawn_local(tls::serve(local, stream, acceptor)));
                }
            }
        }
    })
}

#[cfg(test)]
mod tests;
