//! TLS: who is trusted, what a bad certificate comes to, and that sessions are resumed.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use posthaste_delivery::{Client, Settings, TlsRoots};
use posthaste_domain::{Attempt, ErrorClass, Verdict};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{HandshakeKind, RootCertStore, ServerConfig};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::support::{
    Names, OK, Seen, Server, Step, answering, attempt, clock, failed, follow, opening, run, send,
    settings, spawn,
};

/// A certificate authority of the tests.
struct Authority(CertifiedIssuer<'static, KeyPair>);

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl Authority {
    fn new() -> Self {
        Self::named("authority")
    }

    fn named(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate for these names and addresses, changed by `change`.
    fn identity(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (vec![certificate.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }

    fn settings(&self) -> Settings {
        let extra_pem = vec![self.0.pem().into_bytes()];
        Settings { tls_roots: TlsRoots { native: false, extra_pem }, ..settings() }
    }
}

fn server_config((chain, key): Identity) -> ServerConfig {
    ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap()
}

/// A scripted server behind TLS.
struct TlsServer {
    port: u16,
    seen: Rc<Seen>,
    handshakes: Rc<RefCell<Vec<HandshakeKind>>>,
}

impl TlsServer {
    async fn start(config: ServerConfig, script: Vec<Step>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (seen, handshakes) = (Rc::<Seen>::default(), Rc::<RefCell<Vec<_>>>::default());
        let (their_seen, theirs) = (Rc::clone(&seen), Rc::clone(&handshakes));
        let acceptor = TlsAcceptor::from(Arc::new(config));
        spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let (acceptor, script) = (acceptor.clone(), script.clone());
                let (seen, handshakes) = (Rc::clone(&their_seen), Rc::clone(&theirs));
                spawn(async move {
                    let Ok(stream) = acceptor.accept(tcp).await else { return };
                    let number = handshakes.borrow().len();
                    handshakes.borrow_mut().push(stream.get_ref().1.handshake_kind().unwrap());
                    follow(stream, script, &seen, number).await;
                });
            }
        });
        Self { port, seen, handshakes }
    }
}

fn tls_client(settings: Settings, names: &[&str]) -> Client {
    let resolver = Names::new();
    for name in names {
        resolver.answer(name, &["127.0.0.1"], 60);
    }
    Client::with_resolver(settings, clock(), resolver).unwrap()
}

/// One attempt by https to a server with this identity, under this host name.
async fn try_identity(authority: &Authority, identity: Identity, host: &str) -> Attempt {
    let server = TlsServer::start(server_config(identity), answering(OK)).await;
    let client = tls_client(authority.settings(), &[host]);
    attempt(&client, &format!("https://{host}:{}/hook", server.port)).await
}

#[test]
fn a_trusted_certificate_delivers_and_the_connection_is_reused() {
    run(async {
        let authority = Authority::new();
        let identity = authority.identity(&["hooks.example.com"], |_| {});
        let server = TlsServer::start(server_config(identity), answering(OK)).await;
        let client = tls_client(authority.settings(), &["hooks.example.com"]);
        let url = format!("https://hooks.example.com:{}/hook", server.port);
        for number in 0..3 {
            let made = attempt(&client, &url).await;
            assert_eq!(made.verdict, Verdict::Delivered, "{made:?}");
            assert_eq!(made.phases.reused, number > 0);
            assert_eq!(made.phases.tls_us > 0, number == 0);
        }
        assert_eq!(server.handshakes.borrow().len(), 1);
        assert_eq!(server.seen.request_count(), 3);
    });
}

/// For each way in which a certificate can be wrong: the attempt fails as `tls_failed`, and the
/// endpoint sees no request.
#[test]
fn bad_certificates_are_refused() {
    run(async {
        let authority = Authority::new();
        let stranger = Authority::named("stranger");
        let expired = |params: &mut CertificateParams| params.not_after = date_time_ymd(2020, 1, 1);
        let future = |params: &mut CertificateParams| params.not_before = date_time_ymd(4000, 1, 1);
        let plain = |_: &mut CertificateParams| {};
        let own = rcgen::generate_simple_self_signed(["hooks.example.com".to_owned()]).unwrap();
        let own_key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
        for (case, identity, host, part) in [
            (
                "expired",
                authority.identity(&["h.example.com"], expired),
                "h.example.com",
                "expired",
            ),
            (
                "from the future",
                authority.identity(&["h.example.com"], future),
                "h.example.com",
                "not valid yet",
            ),
            (
                "wrong name",
                authority.identity(&["other.example.com"], plain),
                "h.example.com",
                "not valid for name",
            ),
            (
                "stranger's",
                stranger.identity(&["h.example.com"], plain),
                "h.example.com",
                "UnknownIssuer",
            ),
            (
                "self-signed",
                (vec![own.cert.der().clone()], own_key),
                "hooks.example.com",
                "UnknownIssuer",
            ),
            (
                "wildcard, two labels",
                authority.identity(&["*.example.com"], plain),
                "a.b.example.com",
                "not valid for name",
            ),
            (
                "no address in it",
                authority.identity(&["h.example.com"], plain),
                "127.0.0.1",
                "not valid for name",
            ),
        ] {
            let made = try_identity(&authority, identity, host).await;
            assert_eq!(made.verdict, failed(ErrorClass::TlsFailed), "{case}: {made:?}");
            let text = made.error.unwrap();
            assert!(text.contains(part), "{case}: {text}");
            assert!(text.starts_with(host), "{case}: {text}");
        }
    });
}

#[test]
fn wildcards_and_addresses_in_certificates_are_honoured() {
    run(async {
        let authority = Authority::new();
        for (name, host) in [("*.example.com", "a.example.com"), ("127.0.0.1", "127.0.0.1")] {
            let made = try_identity(&authority, authority.identity(&[name], |_| {}), host).await;
            assert_eq!(made.verdict, Verdict::Delivered, "{name}: {made:?}");
        }
    });
}

/// A chain of megabytes is refused by its size, not read.
#[test]
fn an_endless_chain_is_refused() {
    run(async {
        let authority = Authority::new();
        let (mut chain, key) = authority.identity(&["h.example.com"], |_| {});
        let one = chain[0].clone();
        chain.extend(std::iter::repeat_n(one.clone(), 5 * 1024 * 1024 / one.len()));
        let made = try_identity(&authority, (chain, key), "h.example.com").await;
        assert_eq!(made.verdict, failed(ErrorClass::TlsFailed), "{made:?}");
    });
}

#[test]
fn an_endpoint_that_wants_http2_only_or_our_certificate_fails() {
    run(async {
        let authority = Authority::new();
        let identity = || authority.identity(&["h.example.com"], |_| {});
        let mut h2 = server_config(identity());
        h2.alpn_protocols = vec![b"h2".to_vec()];
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(authority.0.der().clone()).unwrap();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .unwrap();
        let (chain, key) = identity();
        let wants_ours = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .unwrap();
        for config in [h2, wants_ours] {
            let server = TlsServer::start(config, answering(OK)).await;
            let client = tls_client(authority.settings(), &["h.example.com"]);
            let made = attempt(&client, &format!("https://h.example.com:{}/", server.port)).await;
            assert_eq!(made.verdict, failed(ErrorClass::TlsFailed), "{made:?}");
            assert_eq!(server.seen.request_count(), 0);
        }
    });
}

/// Each side that speaks the wrong protocol is told apart.
#[test]
fn tls_and_plain_text_do_not_meet() {
    run(async {
        let authority = Authority::new();
        let client = tls_client(authority.settings(), &["h.example.com"]);
        let bad_request = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
        let alert = [0x15, 3, 3, 0, 2, 2, 40];
        for (case, script) in [
            ("plain answer", vec![send(bad_request), Step::Hold]),
            ("alert", vec![Step::Send(alert.to_vec()), Step::Hold]),
            ("closed", vec![Step::Fin]),
            ("reset", vec![Step::Rst]),
            ("noise", vec![Step::Repeat(vec![0xff; 1024], usize::MAX)]),
        ] {
            let server = Server::start(script).await;
            let url = format!("https://h.example.com:{}/", server.address.port());
            let made = attempt(&client, &url).await;
            assert_eq!(made.verdict, failed(ErrorClass::TlsFailed), "{case}: {made:?}");
        }
        let identity = authority.identity(&["h.example.com"], |_| {});
        let server = TlsServer::start(server_config(identity), answering(OK)).await;
        let made = attempt(&client, &format!("http://h.example.com:{}/", server.port)).await;
        let answered = [ErrorClass::ProtocolError, ErrorClass::ConnectionClosed];
        assert!(answered.map(failed).contains(&made.verdict), "{made:?}");
        assert_eq!(client.stats().connections_open, 0);
    });
}

/// The handshake is part of connecting, and so of its limit.
#[test]
fn a_handshake_that_hangs_is_a_connect_timeout() {
    run(async {
        let server = Server::start(vec![Step::Hold]).await;
        let settings = Settings { connect_timeout_ms: 300, ..Authority::new().settings() };
        let client = tls_client(settings, &["h.example.com"]);
        let url = format!("https://h.example.com:{}/", server.address.port());
        let made = attempt(&client, &url).await;
        assert_eq!(made.verdict, failed(ErrorClass::ConnectTimeout), "{made:?}");
        assert!(made.error.unwrap().contains("TLS handshake"));
    });
}

/// A new connection to a known host resumes its session.
#[test]
fn sessions_are_resumed() {
    run(async {
        let authority = Authority::new();
        let identity = authority.identity(&["h.example.com"], |_| {});
        let close = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        let server = TlsServer::start(server_config(identity), answering(close)).await;
        let client = tls_client(authority.settings(), &["h.example.com"]);
        for _ in 0..3 {
            let made = attempt(&client, &format!("https://h.example.com:{}/", server.port)).await;
            assert_eq!(made.verdict, Verdict::Delivered, "{made:?}");
        }
        let kinds = server.handshakes.borrow();
        assert_eq!(
            kinds.as_slice(),
            [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed]
        );
    });
}

/// A body that ends with the connection, without TLS's own goodbye, is cut off for all we know;
/// the 2xx stands.
#[test]
fn a_missing_goodbye_does_not_undo_a_delivery() {
    run(async {
        let authority = Authority::new();
        let identity = authority.identity(&["h.example.com"], |_| {});
        let script = vec![Step::Read, send("HTTP/1.1 200 OK\r\n\r\nbody"), Step::Rst];
        let server = TlsServer::start(server_config(identity), script).await;
        let client = tls_client(authority.settings(), &["h.example.com"]);
        let made = attempt(&client, &format!("https://h.example.com:{}/", server.port)).await;
        assert_eq!(made.verdict, Verdict::Delivered, "{made:?}");
        assert_eq!(client.stats().connections_open, 0);
    });
}

/// A TLS connection that its peer closed while idle is replaced; the request is not lost.
#[test]
fn an_idle_tls_connection_that_was_closed_is_replaced() {
    run(async {
        let authority = Authority::new();
        let identity = authority.identity(&["h.example.com"], |_| {});
        let script = vec![Step::Read, send(OK), Step::Fin];
        let server = TlsServer::start(server_config(identity), script).await;
        let client = tls_client(authority.settings(), &["h.example.com"]);
        for _ in 0..5 {
            let made = attempt(&client, &format!("https://h.example.com:{}/", server.port)).await;
            assert_eq!(made.verdict, Verdict::Delivered, "{made:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert_eq!(server.handshakes.borrow().len(), 5);
    });
}

/// The guard stands before TLS: no handshake with a refused address.
#[test]
fn a_refused_address_sees_no_handshake() {
    run(async {
        let server = Server::start(vec![Step::Hold]).await;
        let settings =
            Settings { address_policy: opening(&["127.0.0.9/32"]), ..Authority::new().settings() };
        let client = tls_client(settings, &["h.example.com"]);
        let url = format!("https://h.example.com:{}/", server.address.port());
        assert_eq!(attempt(&client, &url).await.verdict, failed(ErrorClass::AddressRefused));
        assert_eq!(server.seen.connections.get(), 0);
    });
}

/// Which name the client asks for (SNI) and which protocol it offers.
#[test]
fn the_handshake_names_the_host_and_http_1_1() {
    run(async {
        let authority = Authority::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Rc::new(Cell::new(None));
        let theirs = Rc::clone(&asked);
        let server = spawn(async move {
            let (tcp, _) = listener.accept().await.unwrap();
            let start =
                tokio_rustls::LazyConfigAcceptor::new(rustls::server::Acceptor::default(), tcp)
                    .await
                    .unwrap();
            let hello = start.client_hello();
            let protocols: Vec<Vec<u8>> = hello.alpn().unwrap().map(<[u8]>::to_vec).collect();
            theirs.set(Some((hello.server_name().map(str::to_owned), protocols)));
        });
        let client = tls_client(authority.settings(), &["h.example.com"]);
        attempt(&client, &format!("https://h.example.com:{port}/")).await;
        server.await.unwrap();
        let expected = (Some("h.example.com".to_owned()), vec![b"http/1.1".to_vec()]);
        assert_eq!(asked.take(), Some(expected));
    });
}
