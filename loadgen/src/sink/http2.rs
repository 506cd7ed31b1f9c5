//! HTTP/2 for the sink, by hyper: the same checks and decisions, without the speed.
//!
//! A reset, a close and a hang mean a stream here, not its connection: they end it with an error,
//! or leave it without an answer.

use std::convert::Infallible;
use std::future::pending;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::behave::Deed;
use super::connection::{Local, Transport};
use crate::wire::Request;

/// A longer delivery is refused.
const BODY_BYTES_MAX: usize = 64 << 20;
/// The longest body that an answer has here: it stands in memory.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// A stream of which something has been read already.
#[derive(Debug)]
pub(super) struct Rewound<S> {
    read: Vec<u8>,
    given: usize,
    inner: S,
}

impl<S> Rewound<S> {
    /// `read` was read from `inner`.
    pub(super) const fn new(read: Vec<u8>, inner: S) -> Self {
        Self { read, given: 0, inner }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.given == self.read.len() {
            return Pin::new(&mut self.inner).poll_read(context, buffer);
        }
        let left = &self.read[self.given..];
        let length = left.len().min(buffer.remaining());
        buffer.put_slice(&left[..length]);
        self.given += length;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

/// Runs hyper's tasks on the thread of the connection.
#[derive(Clone, Copy, Debug)]
struct Here;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Here {
    fn execute(&self, future: F) {
        drop(tokio::task::spawn_local(future));
    }
}

/// Serves a connection to its end.
pub(super) async fn serve<S: Transport + 'static>(local: Rc<Local>, stream: Rewound<S>) {
    let service = service_fn(move |request| respond(Rc::clone(&local), request));
    let mut builder = http2::Builder::new(Here);
    builder.timer(TokioTimer::new());
    // How a client ends its connection is its own business.
    drop(builder.serve_connection(TokioIo::new(stream), service).await);
}

async fn respond(
    local: Rc<Local>,
    request: http::Request<Incoming>,
) -> Result<Response<Full<Bytes>>, BrokenOff> {
    let at = local.receiver.shared.clock.now();
    let (head, body) = request.into_parts();
    let body = Limited::new(body, BODY_BYTES_MAX).collect().await.map_err(|_| BrokenOff)?;
    let body = body.to_bytes();
    let seen = read(&head.headers, head.uri.path());
    let decision = local.judge(&seen, &body, at, false);
    let Deed::Answer { status, after } = decision.deed else {
        // Noted when hyper drops this, or when it breaks off the stream.
        let _unanswered = local.unanswered(&decision);
        return if decision.deed == Deed::Hang { pending().await } else { Err(BrokenOff) };
    };
    if after > 0 {
        let unanswered = local.unanswered(&decision);
        tokio::time::sleep(Duration::from_nanos(after)).await;
        unanswered.answered();
    }
    local.accept(&decision);
    local.answered(&decision, status);
    let length = usize::try_from(decision.behaviour.body_bytes.min(ANSWER_BYTES_MAX)).unwrap_or(0);
    let mut answer = Response::new(Full::new(Bytes::from(vec![b'.'; length])));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    // hyper writes the rest by itself: that it has left is not known here.
    local.answered_at_length(&decision, status);
    if let Some(seconds) = decision.behaviour.retry_after(status) {
        answer.headers_mut().insert(http::header::RETRY_AFTER, seconds.into());
    }
    Ok(answer)
}

/// The stream ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("broken off on purpose, or by the client")]
struct BrokenOff;

impl From<Infallible> for BrokenOff {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

fn read<'h>(headers: &'h HeaderMap, path: &'h str) -> Request<'h> {
    let mut request = Request { path, ..Request::default() };
    for (name, value) in headers {
        request.see(name.as_str(), value.to_str().unwrap_or_default());
    }
    request
}
