//! One connection to an endpoint, from its socket to its HTTP state.
//!
//! ```text
//! http1::Connection ─► Stream (counts what comes in) ─► TLS? ─► Socket ─► Wire (the TCP socket)
//! ```
//! The HTTP state machine is polled in place by whoever uses the connection ([`Connection::drive`])
//! and by nobody while it rests. That saves a task, its wake-ups and its channel hops per
//! connection; the price is that closing is noticed only by looking, which [`Pooled::is_clean`]
//! does before each reuse and in each sweep.
//!
//! Invariant: the parser gets at most the allowed head bytes plus one read before a head is
//! complete, 1xx heads included.

mod wire;

use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Waker};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

pub(crate) use self::wire::{Socket, Stream, Wire};
use crate::pool::{OpenToken, Pooled};

/// An open connection that speaks HTTP/1.1.
pub(crate) struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    http: http1::Connection<TokioIo<Stream>, Full<Bytes>>,
    // Invariant: `http` is not polled after it has ended.
    ended: bool,
    wire: Rc<Wire>,
    tls: bool,
    address: IpAddr,
    _token: OpenToken,
}

impl Connection {
    /// Starts HTTP on a connected stream.
    pub(crate) async fn start(
        stream: Stream,
        wire: Rc<Wire>,
        token: OpenToken,
        limits: &http1::Builder,
    ) -> Result<Self, hyper::Error> {
        let tls = stream.is_tls();
        let address = wire.address();
        let (sender, http) = limits.handshake(TokioIo::new(stream)).await?;
        Ok(Self { sender, http, ended: false, wire, tls, address, _token: token })
    }

    /// Sends a request and waits for the response's head.
    pub(crate) async fn send(
        &mut self,
        request: http::Request<Full<Bytes>>,
    ) -> Result<http::Response<Incoming>, hyper::Error> {
        self.wire.expect_head();
        let response = self.sender.send_request(request);
        let response = drive(&mut self.http, &mut self.ended, response).await;
        self.wire.expect_body();
        response
    }

    /// Whether not one byte of the response to the last request has come.
    pub(crate) fn is_unanswered(&self) -> bool {
        self.wire.received() == 0
    }

    /// Waits for something that this connection's own I/O brings about.
    pub(crate) async fn drive<F: Future>(&mut self, future: F) -> F::Output {
        drive(&mut self.http, &mut self.ended, future).await
    }

    /// Whether the connection can take another request, after a response was read to its end.
    ///
    /// False where the peer closed it or asked to, where the request was not yet written in full,
    /// and where more came in than the response.
    pub(crate) fn settle(&mut self) -> bool {
        self.poll_resting();
        !self.ended && self.sender.is_ready()
    }

    fn poll_resting(&mut self) {
        if !self.ended {
            // Nobody waits: whoever looks next polls again.
            let mut context = Context::from_waker(Waker::noop());
            self.ended = Pin::new(&mut self.http).poll(&mut context).is_ready();
        }
    }
}

impl Pooled for Box<Connection> {
    fn address(&self) -> IpAddr {
        self.address
    }

    /// Asks the socket itself, because the runtime learns of closing only when it next polls the
    /// operating system. With TLS, bytes may be a session ticket and no application data, so they
    /// go through the TLS layer first.
    fn is_clean(&mut self) -> bool {
        match (self.wire.is_quiet(), self.tls) {
            (true, _) => !self.ended,
            (false, false) => false,
            (false, true) => {
                self.poll_resting();
                !self.ended && self.wire.is_quiet()
            }
        }
    }
}

/// Polls the connection before the future that waits for it. The connection's own error reaches
/// the future through its channel, so that only its end matters here.
async fn drive<F: Future>(
    http: &mut http1::Connection<TokioIo<Stream>, Full<Bytes>>,
    ended: &mut bool,
    future: F,
) -> F::Output {
    let mut future = pin!(future);
    std::future::poll_fn(|context| {
        if !*ended {
            *ended = Pin::new(&mut *http).poll(context).is_ready();
        }
        future.as_mut().poll(context)
    })
    .await
}
