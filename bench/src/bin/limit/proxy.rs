//! The bare reverse proxy: takes a POST, gives it an id, signs it, forwards it, and answers 201
//! when the sink has said yes. Keeps nothing.
//!
//! Each connection that comes in has one of its own going out, on the same thread: no pool, no
//! channel, no lock. Connections are dealt out over the threads in turn.

use std::cell::RefCell;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use posthaste_domain::EventId;
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use crate::Options;
use crate::child::Load;
use crate::client::now;
use crate::outgoing::Outgoing;
use crate::report::{Cpu, Report, best_of};

/// Connections that wait for their thread.
const WAITING_MAX: usize = 64;

/// A proxy at work.
struct Proxy {
    address: SocketAddr,
    threads: Vec<JoinHandle<anyhow::Result<()>>>,
}

/// Measures, and prints the report.
pub(crate) fn measure(options: &Options) -> anyhow::Result<()> {
    let mut load = Load::start()?;
    let mut sent = 0;
    let report = best_of(options, |options, threads| {
        let proxy = Proxy::start(options.connections, threads, load.sink)?;
        let (own, other) = (Cpu::of("self")?, load.cpu()?);
        let elapsed = load.post(proxy.address, options)?;
        let cpu = (Cpu::of("self")?.since(own), load.cpu()?.since(other));
        proxy.end()?;
        sent += options.events;
        load.check(sent)?;
        Ok(Report::new("proxy", options, threads, elapsed, cpu))
    })?;
    report.print()
}

impl Proxy {
    /// Serves exactly so many connections, over so many threads.
    fn start(connections: u64, threads: u64, sink: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let next = Arc::new(AtomicU64::new(0));
        let (mut lanes, mut running) = (Vec::new(), Vec::new());
        for _ in 0..threads {
            let (lane, incoming) = mpsc::channel(WAITING_MAX);
            let next = Arc::clone(&next);
            lanes.push(lane);
            running.push(std::thread::spawn(move || forward_on(incoming, sink, next)));
        }
        running.push(std::thread::spawn(move || {
            // When the last one is dealt out the lanes are dropped, and the threads end with
            // their last connection.
            for (_, lane) in (0..connections).zip(lanes.iter().cycle()) {
                let (stream, _) = listener.accept()?;
                lane.blocking_send(stream).context("a forwarding thread ended")?;
            }
            Ok(())
        }));
        Ok(Self { address, threads: running })
    }

    /// Waits until the last connection is gone.
    fn end(self) -> anyhow::Result<()> {
        for thread in self.threads {
            thread.join().map_err(|_| anyhow!("a thread of the proxy panicked"))??;
        }
        Ok(())
    }
}

/// One thread's part.
fn forward_on(
    mut incoming: mpsc::Receiver<TcpStream>,
    sink: SocketAddr,
    next: Arc<AtomicU64>,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let run = async {
        let mut connections = tokio::task::JoinSet::new();
        while let Some(stream) = incoming.recv().await {
            connections.spawn_local(forward(stream, sink, Arc::clone(&next)));
        }
        while let Some(done) = connections.join_next().await {
            done??;
        }
        Ok(())
    };
    LocalSet::new().block_on(&runtime, run)
}

async fn forward(stream: TcpStream, sink: SocketAddr, next: Arc<AtomicU64>) -> anyhow::Result<()> {
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    let stream = tokio::net::TcpStream::from_std(stream)?;
    // Requests on one connection come one after the other: it is never borrowed twice.
    let outgoing = Rc::new(RefCell::new(Some(Outgoing::connect(sink).await?)));
    let service = service_fn(move |request| {
        forward_one(request, Rc::clone(&outgoing), next.fetch_add(1, Ordering::Relaxed))
    });
    http1::Builder::new().serve_connection(TokioIo::new(stream), service).await?;
    Ok(())
}

async fn forward_one(
    request: Request<Incoming>,
    outgoing: Rc<RefCell<Option<Outgoing>>>,
    number: u64,
) -> anyhow::Result<Response<Full<Bytes>>> {
    let body = request.into_body().collect().await?.to_bytes();
    let at = now()?;
    let event = EventId::from_parts(at, u128::from(number));
    let mut connection = outgoing.borrow_mut().take().context("the way out is gone")?;
    connection.send(event, at, body).await?;
    outgoing.replace(Some(connection));
    let mut answer = Response::new(Full::new(format!("{{\"event_id\":\"{event}\"}}").into()));
    *answer.status_mut() = StatusCode::CREATED;
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(CONTENT_TYPE, json);
    Ok(answer)
}
