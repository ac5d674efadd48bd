//! Which servers a client believes: those with a certificate of a named authority, or with a certificate known by hash.

use highwater_proto::error::{Code, Error};
use highwater_proto::wire::ALPN;
use ring::digest::{SHA256, digest};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::fmt;
use std::sync::Arc;

/// SHA-256 of a certificate's DER bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CertificateHash(pub [u8; 32]);

impl CertificateHash {
    /// The hash of a certificate in DER.
    pub fn of_der(certificate: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, certificate).as_ref());
        Self(bytes)
    }

    /// The hash of the first certificate in a PEM text.
    ///
    /// # Errors
    /// `invalid_argument` if there is none.
    pub fn of_pem(pem: &[u8]) -> Result<Self, Error> {
        let certificate = CertificateDer::from_pem_slice(pem)
            .map_err(|error| Error::new(Code::InvalidArgument, format!("no certificate could be read: {error}")))?;
        Ok(Self::of_der(&certificate))
    }

    /// Reads 64 hexadecimal digits; colons between them are allowed.
    ///
    /// # Errors
    /// `invalid_argument` for anything else.
    pub fn from_hex(text: &str) -> Result<Self, Error> {
        let malformed = || Error::new(Code::InvalidArgument, "a certificate hash is 64 hexadecimal digits (SHA-256)");
        let digits: Vec<u32> =
            text.chars().filter(|c| *c != ':').map(|c| c.to_digit(16)).collect::<Option<_>>().ok_or_else(malformed)?;
        let mut bytes = [0; 32];
        if digits.len() != 2 * bytes.len() {
            return Err(malformed());
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = (pair[0] * 16 + pair[1]) as u8;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for CertificateHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for CertificateHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How a client decides that it talks to the right server.
#[derive(Clone, Debug)]
pub enum Trust {
    /// One of these very certificates. Names and dates in them are not looked at, the proof of the private key is.
    Pinned(Vec<CertificateHash>),
    /// A certificate for the server's name that one of these authorities (a PEM text) has signed, and within its dates.
    Authorities(Vec<u8>),
}

impl Trust {
    /// The settings for TLS 1.3 with this trust.
    ///
    /// # Errors
    /// `invalid_argument` if there is no hash, or the authorities cannot be read.
    pub(crate) fn to_tls(&self) -> Result<rustls::ClientConfig, Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| Error::new(Code::InvalidArgument, format!("TLS 1.3 is not available: {error}")))?;
        let mut tls = match self {
            Trust::Pinned(hashes) if hashes.is_empty() => {
                return Err(Error::new(Code::InvalidArgument, "no certificate hash is given to trust"));
            }
            Trust::Pinned(hashes) => {
                let verifier = PinVerifier { hashes: hashes.clone(), provider };
                builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth()
            }
            Trust::Authorities(pem) => builder.with_root_certificates(roots(pem)?).with_no_client_auth(),
        };
        tls.alpn_protocols = vec![ALPN.to_vec()];
        Ok(tls)
    }
}

fn roots(pem: &[u8]) -> Result<RootCertStore, Error> {
    let unreadable = |error: &dyn fmt::Display| {
        Error::new(Code::InvalidArgument, format!("the certificates to trust cannot be read: {error}"))
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| unreadable(&error))?;
        roots.add(certificate).map_err(|error| unreadable(&error))?;
    }
    if roots.is_empty() {
        return Err(unreadable(&"there is none in the text"));
    }
    Ok(roots)
}

/// Accepts a server whose certificate has one of the hashes, and which proves to hold its key.
#[derive(Debug)]
struct PinVerifier {
    hashes: Vec<CertificateHash>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.hashes.contains(&CertificateHash::of_der(end_entity)) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
