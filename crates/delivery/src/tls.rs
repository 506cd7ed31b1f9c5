//! TLS as a client: rustls with ring, the system's roots and the operator's, HTTP/1.1 only.
//!
//! The crypto provider is named here, so that no process-wide default is needed. There is no way
//! to switch verification off.

use std::sync::Arc;

use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue,
    Tls13ClientSessionValue,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, NamedGroup, RootCertStore};
use tokio_rustls::TlsConnector;
use tracing::warn;

use crate::settings::{SettingsError, TlsRoots};

/// How many tickets rustls remembers for one host; its cache is sized in tickets.
const TICKETS_PER_HOST: usize = 8;

/// Remembers sessions: of each host the two latest tickets, where rustls would keep eight. Each is
/// as large as the host likes, and has a copy of the host's certificates.
#[derive(Debug)]
pub(crate) struct Sessions(ClientSessionMemoryCache);

impl Sessions {
    /// Of so many hosts, the latest ones.
    pub(crate) fn new(hosts_max: usize) -> Self {
        Self(ClientSessionMemoryCache::new(hosts_max.saturating_mul(TICKETS_PER_HOST)))
    }
}

impl ClientSessionStore for Sessions {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        self.0.set_kx_hint(name, group);
    }

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        self.0.kx_hint(name)
    }

    fn set_tls12_session(&self, name: ServerName<'static>, session: Tls12ClientSessionValue) {
        self.0.set_tls12_session(name, session);
    }

    fn tls12_session(&self, name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.0.tls12_session(name)
    }

    fn remove_tls12_session(&self, name: &ServerName<'static>) {
        self.0.remove_tls12_session(name);
    }

    fn insert_tls13_ticket(&self, name: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        let latest = self.0.take_tls13_ticket(&name);
        // The one before that.
        drop(self.0.take_tls13_ticket(&name));
        if let Some(latest) = latest {
            self.0.insert_tls13_ticket(name.clone(), latest);
        }
        self.0.insert_tls13_ticket(name, ticket);
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.take_tls13_ticket(name)
    }
}

/// Makes the connector that all connections of a client share, so that they share sessions too.
///
/// # Errors
/// [`SettingsError::ExtraRoots`] where a file holds no certificate, [`SettingsError::Tls`] where
/// rustls refuses its own protocol versions.
pub(crate) fn connector(
    roots: &TlsRoots,
    session_hosts_max: usize,
) -> Result<TlsConnector, SettingsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| SettingsError::Tls(error.to_string()))?
        .with_root_certificates(root_store(roots)?)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::store(Arc::new(Sessions::new(session_hosts_max)));
    Ok(TlsConnector::from(Arc::new(config)))
}

fn root_store(roots: &TlsRoots) -> Result<RootCertStore, SettingsError> {
    let mut store = RootCertStore::empty();
    if roots.native {
        let native = rustls_native_certs::load_native_certs();
        for error in &native.errors {
            warn!(%error, "cannot read some of the system's root certificates");
        }
        store.add_parsable_certificates(native.certs);
        if store.is_empty() {
            // No reason to refuse to start: plain HTTP works, and the log of each attempt says
            // what is wrong.
            warn!("the system has no root certificates: deliveries by https will fail");
        }
    }
    for (index, pem) in roots.extra_pem.iter().enumerate() {
        let unfit = |reason: String| SettingsError::ExtraRoots { position: index + 1, reason };
        let mut found = false;
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| unfit(error.to_string()))?;
            store.add(certificate).map_err(|error| unfit(error.to_string()))?;
            found = true;
        }
        if !found {
            return Err(unfit("no certificate in it".to_owned()));
        }
    }
    Ok(store)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_that_are_none_are_named() {
        for (pem, part) in [
            ("", "no certificate"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "file 2"),
        ] {
            let good = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
            let extra_pem = vec![good.cert.pem().into_bytes(), pem.as_bytes().to_vec()];
            let error =
                connector(&TlsRoots { native: false, extra_pem }, 1).map(|_| ()).unwrap_err();
            let text = error.to_string();
            assert!(text.contains("file 2") && text.contains(part), "{text}");
        }
    }
}
