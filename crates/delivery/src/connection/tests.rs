//! What comes before the first request on a connection.

use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use rustls::client::{ClientSessionStore as _, Resumption};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::pool::{self, Pool};
use crate::tls::Sessions;

const HOST: &str = "a.example";
const ANSWER: &[u8] = b"HTTP/1.1 202 OK\r\nContent-Length: 0\r\n\r\n";

/// The status that it has heard of.
struct Heard<'a>(&'a mut Option<StatusCode>);

impl Sink for Heard<'_> {
    fn head(&mut self, status: StatusCode, _retry_after: Option<&[u8]>) {
        *self.0 = Some(status);
    }

    fn body(&mut self, _piece: &[u8]) {}
}

async fn tcp() -> (Rc<Wire>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (peer, _) = listener.accept().await.unwrap();
    (Wire::new(tcp, IpAddr::from([127, 0, 0, 1])), peer)
}

/// Both ends of TLS. Where no tickets are sent, nothing comes in but what the peer writes.
async fn tls(
    wire: &Rc<Wire>,
    peer: TcpStream,
    tickets: usize,
    sessions: &Arc<Sessions>,
) -> (Stream, tokio_rustls::server::TlsStream<TcpStream>) {
    let provider = || Arc::new(rustls::crypto::ring::default_provider());
    let ours = rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(ours.signing_key.serialize_der()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(ours.cert.der().clone()).unwrap();
    let server = ServerConfig::builder_with_provider(provider());
    let server = server.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let mut server = server.with_single_cert(vec![ours.cert.der().clone()], key).unwrap();
    server.send_tls13_tickets = tickets;
    let client = ClientConfig::builder_with_provider(provider());
    let client = client.with_safe_default_protocol_versions().unwrap();
    let mut client = client.with_root_certificates(roots).with_no_client_auth();
    client.resumption = Resumption::store(Arc::<Sessions>::clone(sessions));
    let name = ServerName::try_from(HOST).unwrap();
    let (near, far) = tokio::join!(
        TlsConnector::from(Arc::new(client)).connect(name, Socket(Rc::clone(wire))),
        TlsAcceptor::from(Arc::new(server)).accept(peer),
    );
    (Stream::tls(near.unwrap()), far.unwrap())
}

/// One exchange, where the peer answers before the request or after it; what was heard, and
/// whether the connection may serve again.
async fn exchange(
    (stream, wire): (Stream, Rc<Wire>),
    mut peer: impl AsyncRead + AsyncWrite + Unpin,
    is_early: bool,
) -> (Option<StatusCode>, Result<bool, Broken>) {
    if is_early {
        peer.write_all(ANSWER).await.unwrap();
        peer.flush().await.unwrap();
        while wire.is_quiet() {
            tokio::task::yield_now().await;
        }
        // The runtime hears of it, too.
        tokio::task::yield_now().await;
    }
    let limits = pool::Limits { open_max: 1, per_target_max: 1, idle_us_max: 1 };
    let token = Pool::<Box<Connection>>::new(limits).admit().unwrap();
    let mut connection = Connection::new(stream, wire, token);
    let head = b"POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n".to_vec();
    let outgoing = Outgoing { head, body: Bytes::new(), written: 0 };
    let (buffers, limits) = (Buffers::new(), Limits { head_bytes_max: 8_192, body_bytes_max: 0 });
    let mut heard = None;
    let sink = Heard(&mut heard);
    let mut exchange = Exchange::new(&mut connection, &buffers, limits, outgoing, sink);
    let answering = async {
        peer.read_buf(&mut Vec::new()).await.unwrap();
        if !is_early {
            peer.write_all(ANSWER).await.unwrap();
            peer.flush().await.unwrap();
        }
        peer
    };
    let (ended, _peer) = tokio::join!(poll_fn(|it| exchange.poll(it)), answering);
    (heard, ended)
}

/// An answer that was there before the request counts, and no other request follows on that
/// connection: whoever answers too early may answer once more.
#[test]
fn an_answer_before_the_request_costs_the_connection() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    for is_early in [true, false] {
        let expected = (Some(StatusCode::ACCEPTED), !is_early);
        let known =
            |(heard, ended): (Option<StatusCode>, Result<bool, Broken>)| (heard, ended.unwrap());
        let plain = runtime.block_on(async {
            let (wire, peer) = tcp().await;
            exchange((Stream::plain(&wire), wire), peer, is_early).await
        });
        assert_eq!(known(plain), expected);
        let secured = runtime.block_on(async {
            let (wire, peer) = tcp().await;
            let (stream, peer) = tls(&wire, peer, 0, &Arc::new(Sessions::new(1))).await;
            exchange((stream, wire), peer, is_early).await
        });
        assert_eq!(known(secured), expected, "with TLS");
    }
}

/// Session tickets are taken, two of them kept, and no end of them is not taken: each costs more
/// than it is long. (Of 2,000 at once the TLS library has enough by itself, not where they drip.)
#[test]
fn tickets_without_end_end_the_exchange() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    for (tickets, answer) in [(8, Some(StatusCode::ACCEPTED)), (400, None)] {
        let sessions = Arc::new(Sessions::new(1));
        let (heard, ended) = runtime.block_on(async {
            let (wire, peer) = tcp().await;
            let (stream, peer) = tls(&wire, peer, tickets, &sessions).await;
            exchange((stream, wire), peer, false).await
        });
        assert_eq!((heard, ended.is_ok()), (answer, answer.is_some()), "{tickets} tickets");
        let name = ServerName::try_from(HOST).unwrap();
        let kept = [(); 3].map(|()| sessions.take_tls13_ticket(&name).is_some());
        assert_eq!(kept, [true, true, false], "{tickets} tickets");
    }
}
