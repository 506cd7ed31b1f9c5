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
    /// Whether it has been used. Before each further use the pool asks whether it is clean.
    has_served: bool,
    _token: OpenToken,
}

impl Connection {
    pub(crate) const fn new(stream: Stream, wire: Rc<Wire>, token: OpenToken) -> Self {
        Self { stream, wire, has_served: false, _token: token }
    }

    /// A request is about to be sent; whether nothing has come in before it. With TLS the ends of
    /// the handshake may have, and an answer with them.
    fn begin(&mut self) -> bool {
        let is_first = !std::mem::replace(&mut self.has_served, true);
        let is_tls = self.stream.is_tls();
        !is_first || if is_tls { self.is_quiet() } else { self.has_nothing_to_read() }
    }

    /// Whether the operating system has nothing for us: neither bytes nor an end.
    fn has_nothing_to_read(&self) -> bool {
        self.wire.is_quiet()
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
        self.has_nothing_to_read()
            || (self.stream.is_tls() && self.is_quiet() && self.has_nothing_to_read())
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use bytes::Bytes;
    use http::StatusCode;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::pool::{self, Pool};

    struct Nobody;

    impl Sink for Nobody {
        fn head(&mut self, _status: StatusCode, _retry_after: Option<&[u8]>) {}

        fn body(&mut self, _piece: &[u8]) {}
    }

    /// An answer that was there before the request counts, and no other request follows on that
    /// connection: whoever answers too early may answer once more.
    #[test]
    fn an_answer_before_the_request_costs_the_connection() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        for is_early in [true, false] {
            let keeps = runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let address = listener.local_addr().unwrap();
                let tcp = TcpStream::connect(address).await.unwrap();
                let (mut peer, _) = listener.accept().await.unwrap();
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
                if is_early {
                    peer.write_all(answer).await.unwrap();
                    tcp.readable().await.unwrap();
                }
                let wire = Wire::new(tcp, address.ip());
                let limits = pool::Limits { open_max: 1, per_target_max: 1, idle_us_max: 1 };
                let token = Pool::<Box<Connection>>::new(limits).admit().unwrap();
                let mut connection = Connection::new(Stream::plain(&wire), wire, token);
                let head = b"POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n".to_vec();
                let outgoing = Outgoing { head, body: Bytes::new(), written: 0 };
                let (buffers, limits) =
                    (Buffers::new(), Limits { head_bytes_max: 8_192, body_bytes_max: 0 });
                let mut exchange =
                    Exchange::new(&mut connection, &buffers, limits, outgoing, Nobody);
                let answering = async {
                    peer.read_buf(&mut Vec::new()).await.unwrap();
                    if !is_early {
                        peer.write_all(answer).await.unwrap();
                    }
                    peer
                };
                let (ended, _peer) = tokio::join!(poll_fn(|it| exchange.poll(it)), answering);
                ended.unwrap()
            });
            assert_eq!(keeps, !is_early);
        }
    }
}
