//! The bytes below HTTP: the TCP socket, and TLS over it.
//!
//! Invariants: the socket is borrowed only within a poll, never across one · what a peer sends
//! that is no text of a response is bounded. TLS would take session tickets for ever, each of
//! which costs a derivation and a copy of the peer's certificates, in one poll.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tracing::debug;

/// What a handshake may take, in bytes: several times a usual chain of certificates, with room for
/// those that are made against quantum computers.
const HANDSHAKE_BYTES_MAX: usize = 48 << 10;
/// What may come before the first byte of a response is readable: a whole record of TLS, and some
/// session tickets.
const SILENT_BYTES_MAX: usize = 24 << 10;
/// And for each byte that was readable: a server may put each into a record of its own.
const BYTES_A_BYTE: usize = 24;

/// The socket of a connection, shared by the layers above.
pub(crate) struct Wire {
    tcp: RefCell<TcpStream>,
    address: IpAddr,
    /// Bytes that may come in yet.
    allowance: Cell<usize>,
}

impl Wire {
    pub(crate) fn new(tcp: TcpStream, address: IpAddr) -> Rc<Self> {
        let allowance = Cell::new(HANDSHAKE_BYTES_MAX);
        Rc::new(Self { tcp: RefCell::new(tcp), address, allowance })
    }

    /// A request is about to be sent.
    pub(super) fn begin_exchange(&self) {
        self.allowance.set(SILENT_BYTES_MAX);
    }

    /// So many bytes were readable.
    fn was_read(&self, count: usize) {
        let more = count.saturating_mul(BYTES_A_BYTE);
        self.allowance.set(self.allowance.get().saturating_add(more));
    }

    /// For how long the peer's machine may leave what we send unacknowledged.
    #[cfg(target_os = "linux")]
    pub(crate) fn be_patient(&self, time: Duration) {
        let set = SockRef::from(&*self.tcp.borrow()).set_tcp_user_timeout(Some(time));
        if let Err(error) = set {
            debug!(%error, "cannot set a socket option");
        }
    }

    pub(super) const fn address(&self) -> IpAddr {
        self.address
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
        let wire = &self.0;
        let left = wire.allowance.get();
        if left == 0 {
            let text = "the peer sends more than a response takes, and no response";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, text)));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut *wire.tcp.borrow_mut()).poll_read(context, buffer))?;
        wire.allowance.set(left.saturating_sub(buffer.filled().len() - before));
        Poll::Ready(Ok(()))
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

/// Plain text in both directions, over TLS or not.
pub(crate) enum Stream {
    Plain(Socket),
    Tls(Box<TlsStream<Socket>>),
}

impl Stream {
    pub(crate) fn plain(wire: &Rc<Wire>) -> Self {
        Self::Plain(Socket(Rc::clone(wire)))
    }

    pub(crate) fn tls(stream: TlsStream<Socket>) -> Self {
        Self::Tls(Box::new(stream))
    }

    pub(super) const fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    fn wire(&self) -> &Wire {
        match self {
            Self::Plain(socket) => &socket.0,
            Self::Tls(stream) => &stream.get_ref().0.0,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = match &mut *self {
            Self::Plain(socket) => Pin::new(socket).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_read(context, buffer),
        };
        self.wire().was_read(buffer.filled().len() - before);
        read
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(socket) => Pin::new(socket).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(socket) => Pin::new(socket).poll_write_vectored(context, slices),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(socket) => Pin::new(socket).poll_flush(context),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(context),
        }
    }
}
