//! HTTP/1.1 listeners: accept, bound, serve, and stop without cutting anybody off.
//!
//! What is served can be replaced while it is served: connections that are open answer their next
//! request by the new router, and keep the deadlines that they began with.
//!
//! A connection has deadlines (`server/pace.rs`), so that a slow client holds a socket and nothing
//! else; connections are counted, and beyond the limit the listener simply waits.
//!
//! A listener stops in two steps. First its gate closes: requests that would change something get
//! 503, but the built-in receiver is still served, because deliveries in flight may be on their way
//! to it. Then it stops accepting, and requests in progress finish.

mod pace;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::response::{IntoResponse as _, Response};
use http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinHandle;
use tower::ServiceExt as _;
use tracing::{debug, warn};

pub(crate) use self::pace::Pace;
use self::pace::{Paced, Served, Serving, Told};
use crate::lifecycle::{Fatal, spawn};

/// How long a failed accept (no descriptors left) is not tried again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Requests that are still being answered when the listener closes get this long.
const GRACE: Duration = Duration::from_secs(5);

/// What bounds a listener.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at the same time.
    pub connections_max: usize,
    /// From a request's first byte to its whole head.
    pub header_timeout: Duration,
    /// How long a connection may stay without a request.
    pub idle_timeout: Duration,
}

/// A bound listener that does not accept yet.
#[derive(Debug)]
pub struct Server {
    name: &'static str,
    listener: TcpListener,
    limits: Limits,
}

/// Why nothing listens.
#[derive(Debug, Error)]
#[error("cannot listen on {address} ({name})")]
pub struct BindError {
    address: SocketAddr,
    name: &'static str,
    source: std::io::Error,
}

impl BindError {
    /// Whether the configuration must change; otherwise it may work in a while.
    #[must_use]
    pub fn is_config(&self) -> bool {
        matches!(self.source.kind(), ErrorKind::AddrNotAvailable | ErrorKind::PermissionDenied)
    }
}

/// A listener that serves.
#[derive(Debug)]
pub struct Listening {
    /// Where.
    pub address: SocketAddr,
    gate: Gate,
    face: watch::Sender<Face>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// What may change while a listener serves.
#[derive(Clone, Debug)]
struct Face {
    router: Router,
    pace: Pace,
}

/// Whether requests that change something are served.
#[derive(Clone, Debug, Default)]
struct Gate(Arc<AtomicBool>);

impl Server {
    /// Binds; port 0 takes a free one.
    ///
    /// # Errors
    /// [`BindError`] names the address and what the operating system said.
    pub async fn bind(
        name: &'static str,
        address: SocketAddr,
        limits: Limits,
    ) -> Result<Self, BindError> {
        match TcpListener::bind(address).await {
            Ok(listener) => Ok(Self { name, listener, limits }),
            Err(source) => Err(BindError { address, name, source }),
        }
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The operating system's error.
    pub fn local_address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves `router` on the current runtime from now on.
    ///
    /// # Errors
    /// The operating system's error where the socket has no address.
    pub fn serve(self, router: Router, fatal: &Fatal) -> std::io::Result<Listening> {
        let (address, name) = (self.local_address()?, self.name);
        let (gate, stop) = (Gate::default(), watch::Sender::new(false));
        let face = watch::Sender::new(Face { router, pace: self.limits.pace() });
        let shown = face.subscribe();
        let serving = self.accept_until(stop.subscribe(), shown, gate.clone(), fatal.clone());
        let task = spawn(name, fatal, serving);
        Ok(Listening { address, gate, face, stop, task })
    }

    /// Accepts until `stop` turns true, then lets requests in progress finish.
    async fn accept_until(
        self,
        mut stop: watch::Receiver<bool>,
        face: watch::Receiver<Face>,
        gate: Gate,
        fatal: Fatal,
    ) {
        let graceful = GracefulShutdown::new();
        let permits = Arc::new(Semaphore::new(self.limits.connections_max));
        let mut builder = http1::Builder::new();
        builder.keep_alive(true).half_close(false).header_read_timeout(None);
        loop {
            let accepted = tokio::select! {
                accepted = accept(&self.listener, &permits) => accepted,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            let Some((stream, permit)) = accepted else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let (face, gate) = (face.clone(), gate.clone());
            let served = Arc::new(Served::default());
            let pace = face.borrow().pace;
            let stream = Paced::new(stream, pace, Arc::clone(&served));
            let service = service_fn(move |request: Request<Incoming>| {
                let serving = Serving::begin(&served);
                let request = request.map(|body| Told::new(body, &served));
                let admitted = gate.admits(&request).then(|| face.borrow().router.clone());
                async move {
                    let answer = match admitted {
                        Some(router) => router.oneshot(request).await,
                        None => Ok(shutting_down()),
                    };
                    drop(serving);
                    answer
                }
            });
            let stream = TokioIo::new(stream);
            let connection = graceful.watch(builder.serve_connection(stream, service));
            spawn("connection", &fatal, async move {
                if let Err(error) = connection.await {
                    debug!(%error, "connection ended");
                }
                drop(permit);
            });
        }
        // New connections are refused from here on.
        drop(self.listener);
        if tokio::time::timeout(GRACE, graceful.shutdown()).await.is_err() {
            warn!(listener = self.name, "requests still open after the grace period");
        }
    }
}

impl Limits {
    /// The part that can change while it is served.
    pub(crate) const fn pace(&self) -> Pace {
        Pace { idle_max: self.idle_timeout, head_max: self.header_timeout }
    }
}

impl Listening {
    /// Serves another router from the next request on, and has new connections keep to these
    /// deadlines. How many there may be stays as it was.
    pub(crate) fn replace(&self, router: Router, pace: Pace) {
        self.face.send_replace(Face { router, pace });
    }

    /// Refuses requests that change something, from now on.
    pub fn close_gate(&self) {
        self.gate.0.store(true, Ordering::Release);
    }

    /// Stops accepting, and waits for the requests in progress.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        // It ends by a panic only, and a panic ends the process.
        drop(self.task.await);
    }
}

impl Gate {
    fn admits<B>(&self, request: &Request<B>) -> bool {
        let changes = !request.method().is_safe() && request.uri().path().starts_with("/v1/");
        !(changes && self.0.load(Ordering::Acquire))
    }
}

/// What a client gets that comes during the drain; it should ask another instance, or again soon.
fn shutting_down() -> Response {
    let headers = [(CONTENT_TYPE, "application/json"), (RETRY_AFTER, "5"), (CONNECTION, "close")];
    let body = r#"{"detail":"shutting down; try again in a moment"}"#;
    (StatusCode::SERVICE_UNAVAILABLE, headers, body).into_response()
}

async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    // The semaphore is never closed.
    let permit = Arc::clone(permits).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => {
            if let Err(error) = stream.set_nodelay(true) {
                debug!(%error, "no TCP_NODELAY");
            }
            Some((stream, permit))
        }
        Err(error) => {
            warn!(%error, "cannot accept a connection");
            None
        }
    }
}
