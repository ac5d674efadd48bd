//! TLS: version 1.3 only, one protocol, no early data, and a certificate that can be exchanged while the server runs.

use crate::config::StartError;
use highwater_proto::wire::ALPN;
use parking_lot::RwLock;
use quinn::crypto::rustls::QuicServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::path::Path;
use std::sync::Arc;

/// The certificate shown to new connections.
#[derive(Debug)]
pub(crate) struct ShownCertificate(RwLock<Arc<CertifiedKey>>);

impl ShownCertificate {
    pub(crate) fn new(certificate: CertifiedKey) -> Arc<Self> {
        Arc::new(Self(RwLock::new(Arc::new(certificate))))
    }

    /// Shows another one from now on.
    pub(crate) fn replace(&self, certificate: CertifiedKey) {
        *self.0.write() = Arc::new(certificate);
    }
}

impl ResolvesServerCert for ShownCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().clone())
    }
}

/// Reads a certificate chain and the private key of its first certificate.
pub(crate) fn load(certificate: &Path, private_key: &Path) -> Result<CertifiedKey, StartError> {
    let read = |what: &str, path: &Path| {
        std::fs::read(path)
            .map_err(|error| StartError::Config(format!("cannot read the {what} {}: {error}", path.display())))
    };
    parse_pem(&read("certificate", certificate)?, &read("private key", private_key)?).map_err(|error| {
        StartError::Config(format!(
            "certificate {} and private key {} cannot be used: {error}",
            certificate.display(),
            private_key.display()
        ))
    })
}

/// As [`load`], from what stands in the files. The error is for people.
pub(crate) fn parse_pem(certificate: &[u8], private_key: &[u8]) -> Result<CertifiedKey, String> {
    let chain = CertificateDer::pem_slice_iter(certificate)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("the certificate is not in PEM form ({error})"))?;
    if chain.is_empty() {
        return Err("there is no certificate in it".to_owned());
    }
    let key = PrivateKeyDer::from_pem_slice(private_key)
        .map_err(|error| format!("the private key is not in PEM form ({error})"))?;
    CertifiedKey::from_der(chain, key, &provider()).map_err(|error| error.to_string())
}

/// The configuration of TLS for QUIC.
pub(crate) fn server_config(certificate: Arc<ShownCertificate>) -> Result<Arc<QuicServerConfig>, StartError> {
    let failed = |error: String| StartError::Failed(format!("TLS cannot be set up: {error}"));
    let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| failed(error.to_string()))?
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    tls.alpn_protocols = vec![ALPN.to_vec()];
    // A command sent as early data could be replayed.
    tls.max_early_data_size = 0;
    QuicServerConfig::try_from(tls).map(Arc::new).map_err(|error| failed(error.to_string()))
}

fn provider() -> CryptoProvider {
    ring::default_provider()
}
