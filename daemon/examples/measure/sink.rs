//! A receiver that says yes at once and tells which event came in.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// Who hears of deliveries.
pub(crate) trait Received: Send + Sync + 'static {
    /// An event has come in whole; an error is answered with 400.
    fn received(&self, id: &str) -> anyhow::Result<()>;
}

/// Serves on a free port until the runtime ends.
pub(crate) async fn serve<S: Received>(sink: Arc<S>) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let sink = Arc::clone(&sink);
            tokio::spawn(async move {
                if stream.set_nodelay(true).is_err() {
                    return;
                }
                let service = service_fn(move |request| answer(Arc::clone(&sink), request));
                let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                // A connection that the daemon drops is no fault.
                drop(served.await);
            });
        }
    });
    Ok(address)
}

async fn answer<S: Received>(
    sink: Arc<S>,
    request: Request<Incoming>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let id = head.headers.get("webhook-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
    let mut answer = Response::new(Empty::new());
    if body.collect().await.is_err() || sink.received(id).is_err() {
        *answer.status_mut() = StatusCode::BAD_REQUEST;
    }
    Ok(answer)
}
