//! A receiver that says yes at once: hyper's HTTP/1.1 server, as bare as it is. The same as the
//! one that `measure` has in the daemon's examples, so that figures can be set side by side.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// What has come in.
#[derive(Debug, Default)]
pub struct Received {
    /// Requests read to their end.
    pub requests: AtomicU64,
    /// Requests without a `webhook-id` or without a signature, or cut off; answered with 400.
    pub refused: AtomicU64,
}

/// Serves connections until the runtime ends.
pub async fn serve(listener: TcpListener, received: Arc<Received>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let received = Arc::clone(&received);
        connections.spawn(async move {
            if stream.set_nodelay(true).is_err() {
                return;
            }
            let service = service_fn(move |request| answer(Arc::clone(&received), request));
            let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // A connection that the other side drops is no fault.
            drop(served.await);
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Serves on a thread of its own for as long as the process lives; gives the address.
///
/// # Panics
/// Where there is no port or no thread to be had.
#[must_use]
pub fn start(received: Arc<Received>) -> SocketAddr {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
    let address = listener.local_addr().expect("an address");
    let serve = move || runtime.block_on(serve(listener, received));
    std::thread::Builder::new().name("sink".to_owned()).spawn(serve).expect("a thread");
    address
}

async fn answer(
    received: Arc<Received>,
    request: Request<Incoming>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let signed = head.headers.contains_key("webhook-id")
        && head.headers.contains_key("webhook-signature")
        && head.headers.contains_key("stripe-signature");
    let mut answer = Response::new(Empty::new());
    let count = if body.collect().await.is_ok() && signed {
        &received.requests
    } else {
        *answer.status_mut() = StatusCode::BAD_REQUEST;
        &received.refused
    };
    count.fetch_add(1, Ordering::Relaxed);
    Ok(answer)
}
