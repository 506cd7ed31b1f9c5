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
use std::task::{Context, Waker};

use tokio::io::{AsyncRead as _, ReadBuf};

pub(crate) use self::exchange::{Broken, Buffers, Exchange, Limits, Outgoing, Sink};
pub(crate) use self::wire::{Socket, Stream, Wire};
use crate::pool::{OpenToken, Pooled};

/// An open connection that speaks HTTP/1.1.
pub(crate) struct Connection {
    stream: Stream,
    wire: Rc<Wire>,
    _token: OpenToken,
}

impl Connection {
    pub(crate) const fn new(stream: Stream, wire: Rc<Wire>, token: OpenToken) -> Self {
        Self { stream, wire, _token: token }
    }

    /// Whether nothing has come in that nobody asked for, as far as is known without asking the
    /// operating system: neither bytes nor an end.
    pub(crate) fn is_quiet(&mut self) -> bool {
        // Nobody waits: whoever looks next polls again.
        let mut context = Context::from_waker(Waker::noop());
        let mut byte = [0];
        let mut buffer = ReadBuf::new(&mut byte);
        Pin::new(&mut self.stream).poll_read(&mut context, &mut buffer).is_pending()
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
        self.wire.is_quiet() || (self.stream.is_tls() && self.is_quiet() && self.wire.is_quiet())
    }
}
