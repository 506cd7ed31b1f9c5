//! One connection to an endpoint, and the exchange on it: a request out, a response in.
//!
//! ```text
//! Exchange ─► Stream ─► TLS? ─► Socket ─► Wire (the TCP socket)
//!    └── reads into the client's one buffer: what rests, or waits for an answer, holds none
//! ```
//! HTTP is spoken here and not by a library's connection, which keeps two buffers and a channel of
//! 8 KiB each for as long as it is open: ADR 0016. A connection is polled in place by whoever uses
//! it and by nobody while it rests. That saves a task, its wake-ups and its channel hops per
//! connection; the price is that closing is noticed only by looking, which [`Pooled::is_clean`]
//! does before each reuse and in each sweep.
//!
//! Invariants: at most one exchange is on a connection · at most the allowed bytes of a head plus
//! one read are held before it is complete, 1xx heads included · a connection that gave more than
//! the response, or less, or has not taken the whole request, is not used again.

mod exchange;
mod wire;

use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
#[cfg(target_os = "linux")]
use std::time::Duration;

use tokio::io::{AsyncRead as _, ReadBuf};

pub(crate) use self::exchange::{Broken, Buffers, Exchange, Limits, Outgoing, Sink};
pub(crate) use self::wire::{Socket, Stream, Wire};
use crate::pool::{OpenToken, Pooled};

/// An open connection that speaks HTTP/1.1.
pub(crate) struct Connection {
    stream: Stream,
    wire: Rc<Wire>,
    /// Whether it has been used. Before each further use the pool asks whether it is clean.
    has_served: bool,
    _token: OpenToken,
}

impl Connection {
    pub(crate) const fn new(stream: Stream, wire: Rc<Wire>, token: OpenToken) -> Self {
        Self { stream, wire, has_served: false, _token: token }
    }

    /// A request is about to be sent. Ready where something has come in before it: with the first
    /// byte of it, where it had to be read to be known of.
    ///
    /// With TLS it may have come with the end of the handshake; what has come since then is not
    /// known of, and that much an endpoint may deceive itself.
    fn begin(&mut self) -> Poll<Option<u8>> {
        self.wire.begin_exchange();
        let is_first = !std::mem::replace(&mut self.has_served, true);
        match (is_first, self.stream.is_tls()) {
            (true, true) => self.peek(),
            (true, false) if !self.has_nothing_to_read() => Poll::Ready(None),
            _ => Poll::Pending,
        }
    }

    /// For how long the peer's machine may leave unacknowledged what is sent next.
    #[cfg(target_os = "linux")]
    pub(crate) fn be_patient(&self, time: Duration) {
        self.wire.be_patient(time);
    }

    /// Whether the operating system has nothing for us: neither bytes nor an end.
    fn has_nothing_to_read(&self) -> bool {
        self.wire.is_quiet()
    }

    /// Whether nothing has come in that nobody asked for, as far as is known without asking the
    /// operating system: neither bytes nor an end.
    fn is_quiet(&mut self) -> bool {
        self.peek().is_pending()
    }

    /// Ready where something has come in: the first byte of it, which is taken, or none at an end.
    fn peek(&mut self) -> Poll<Option<u8>> {
        // Nobody waits: whoever looks next polls again.
        let mut context = Context::from_waker(Waker::noop());
        let mut byte = [0];
        let mut buffer = ReadBuf::new(&mut byte);
        let read = Pin::new(&mut self.stream).poll_read(&mut context, &mut buffer);
        read.map(|_| buffer.filled().first().copied())
    }
}

impl Pooled for Box<Connection> {
    fn address(&self) -> IpAddr {
        self.wire.address()
    }

    /// Asks the socket itself, because the runtime learns of closing only when it next polls the
    /// operating system. With TLS, bytes may be a session ticket and no application data, so they
    /// go through the TLS layer first.
    fn is_clean(&mut self) -> bool {
        self.has_nothing_to_read()
            || (self.stream.is_tls() && self.is_quiet() && self.has_nothing_to_read())
    }
}

#[cfg(test)]
mod tests;
