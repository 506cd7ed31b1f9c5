//! TLS as a client: rustls with ring, the system's roots and the operator's, HTTP/1.1 only.
//!
//! The crypto provider is named here, so that no process-wide default is needed. There is no way
//! to switch verification off.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;
use tracing::warn;

use crate::settings::{SettingsError, TlsRoots};

/// How many tickets rustls remembers for one host; its cache is sized in tickets.
const TICKETS_PER_HOST: usize = 8;

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
    let tickets = session_hosts_max.saturating_mul(TICKETS_PER_HOST);
    config.resumption = Resumption::in_memory_sessions(tickets);
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
