//! TLS in front of AWS on this machine, with an authority of its own.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// What this machine trusts (Debian, Amazon Linux).
const TRUSTED: [&str; 2] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

/// Takes TLS connections, and passes on what comes through them.
pub(crate) struct Front {
    url: String,
    // Invariant: UTF-8, as this program has made it.
    bundle: PathBuf,
}

impl Front {
    /// In front of this address.
    pub(crate) async fn before(address: String) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::IpAddress([127, 0, 0, 1].into())];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &issuer)?;
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key.into())?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("https://{}", listener.local_addr()?);
        tokio::spawn(serve(listener, TlsAcceptor::from(Arc::new(config)), address));

        let usual = TRUSTED.iter().find_map(|path| std::fs::read_to_string(path).ok());
        let usual = usual.context("this machine trusts nobody: install ca-certificates")?;
        let bundle = std::env::temp_dir().join(format!("figures-{}.pem", std::process::id()));
        std::fs::write(&bundle, usual + &issuer.pem())?;
        Ok(Self { url, bundle })
    }

    /// Where it is.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The file of the authorities that its clients trust.
    pub(crate) fn trusted(&self) -> &str {
        self.bundle.to_str().expect("a path of ours")
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        // It is the machine's temporary directory: what stays is cleaned up by others.
        drop(std::fs::remove_file(&self.bundle));
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, address: String) {
    while let Ok((client, _)) = listener.accept().await {
        let (acceptor, address) = (acceptor.clone(), address.clone());
        tokio::spawn(async move {
            // A client that goes away is no news, here and in the middle of it.
            drop(client.set_nodelay(true));
            let Ok(mut client) = acceptor.accept(client).await else { return };
            let Ok(mut server) = TcpStream::connect(&address).await else { return };
            drop(server.set_nodelay(true));
            drop(copy_bidirectional(&mut client, &mut server).await);
        });
    }
}
