//! The bytes below HTTP: the TCP socket, TLS over it, and the count of what comes in.
//!
//! Invariant: the socket is borrowed only within a poll, never across one.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::failure::HeadTooLarge;

/// The socket of a connection and the state of the exchange on it, shared by the layers above.
pub(crate) struct Wire {
    tcp: RefCell<TcpStream>,
    address: IpAddr,
    head_bytes_max: usize,
    /// Bytes of the response so far; TLS's own are not among them.
    received: Cell<usize>,
    awaits_head: Cell<bool>,
}

impl Wire {
    pub(crate) fn new(tcp: TcpStream, address: IpAddr, head_bytes_max: usize) -> Rc<Self> {
        Rc::new(Self {
            tcp: RefCell::new(tcp),
            address,
            head_bytes_max,
            received: Cell::new(0),
            awaits_head: Cell::new(false),
        })
    }

    pub(super) const fn address(&self) -> IpAddr {
        self.address
    }

    pub(super) const fn received(&self) -> usize {
        self.received.get()
    }

    /// A request goes out: counting starts over, and the head's limit holds.
    pub(super) fn expect_head(&self) {
        self.received.set(0);
        self.awaits_head.set(true);
    }

    /// The head is there: from now on the reader of the body does the counting.
    pub(super) fn expect_body(&self) {
        self.awaits_head.set(false);
    }

    /// Whether the socket is open and has nothing to read.
    pub(super) fn is_quiet(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        let peeked = SockRef::from(&*self.tcp.borrow()).peek(&mut byte);
        peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }
}

/// The socket as the layer above sees it.
pub(crate) struct Socket(pub(crate) Rc<Wire>);

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.tcp.borrow_mut()).poll_read(context, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.tcp.borrow_mut()).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.tcp.borrow_mut()).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.tcp.borrow_mut()).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.tcp.borrow_mut()).poll_shutdown(context)
    }
}

/// Plain text in both directions, over TLS or not; counts what comes in and refuses to read on
/// in a head that is too large.
pub(crate) struct Stream {
    layer: Layer,
    wire: Rc<Wire>,
}

enum Layer {
    Plain(Socket),
    Tls(Box<TlsStream<Socket>>),
}

impl Stream {
    pub(crate) fn plain(wire: &Rc<Wire>) -> Self {
        Self { layer: Layer::Plain(Socket(Rc::clone(wire))), wire: Rc::clone(wire) }
    }

    pub(crate) fn tls(stream: TlsStream<Socket>, wire: &Rc<Wire>) -> Self {
        Self { layer: Layer::Tls(Box::new(stream)), wire: Rc::clone(wire) }
    }

    pub(super) const fn is_tls(&self) -> bool {
        matches!(self.layer, Layer::Tls(_))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let max = self.wire.head_bytes_max;
        if self.wire.awaits_head.get() && self.wire.received.get() >= max {
            return Poll::Ready(Err(io::Error::other(HeadTooLarge { max })));
        }
        let before = buffer.filled().len();
        let polled = match &mut self.layer {
            Layer::Plain(socket) => Pin::new(socket).poll_read(context, buffer),
            Layer::Tls(stream) => Pin::new(&mut **stream).poll_read(context, buffer),
        };
        let came = buffer.filled().len() - before;
        self.wire.received.set(self.wire.received.get().saturating_add(came));
        polled
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.layer {
            Layer::Plain(socket) => Pin::new(socket).poll_write(context, bytes),
            Layer::Tls(stream) => Pin::new(&mut **stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.layer {
            Layer::Plain(socket) => Pin::new(socket).poll_write_vectored(context, slices),
            Layer::Tls(stream) => Pin::new(&mut **stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.layer {
            Layer::Plain(socket) => Pin::new(socket).poll_flush(context),
            Layer::Tls(stream) => Pin::new(&mut **stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.layer {
            Layer::Plain(socket) => Pin::new(socket).poll_shutdown(context),
            Layer::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(context),
        }
    }
}
