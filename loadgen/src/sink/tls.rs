//! TLS for the sink: an authority and a certificate made at the start, HTTP/1.1 and HTTP/2 by ALPN.

use std::net::Ipv4Addr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::connection::{self, Local, Transport};
use super::http2;

/// Makes an authority, writes its certificate to `authority`, and gives what speaks TLS for these
/// addresses with a certificate of it.
pub(super) fn acceptor(
    addresses: impl Iterator<Item = Ipv4Addr>,
    authority: &Path,
) -> Result<TlsAcceptor> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    std::fs::write(authority, issuer.pem())
        .with_context(|| format!("cannot write {}", authority.display()))?;
    let mut params = CertificateParams::default();
    params.subject_alt_names =
        addresses.map(|address| SanType::IpAddress(address.into())).collect();
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &issuer)?;
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.into())?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

impl Transport for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// Serves a connection to its end.
pub(super) async fn serve(local: Rc<Local>, stream: TcpStream, acceptor: TlsAcceptor) {
    // A client that speaks no TLS, or trusts another authority, has nothing to say.
    let Ok(stream) = acceptor.accept(stream).await else { return };
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        http2::serve(local, http2::Rewound::new(Vec::new(), stream)).await;
    } else {
        connection::serve(local, stream).await;
    }
}
