//! Certificate and signing key of a server in development mode, so that trying things out needs no other program.
//!
//! Everything stands under `DIR/dev`, which only its owner may enter:
//!
//! | file | what |
//! |---|---|
//! | `certificate.pem` | the certificate that the server shows; clients on this machine pin it |
//! | `certificate-key.pem` | its private key, the certificate again and the time it ends: what the server itself reads |
//! | `signing-key.pem` | PKCS#8 private key (Ed25519); who can read it can mint tokens, `kid` [`KID`] |
//! | `signing-key.pub.pem` | its public key |
//! | `address` | where the server listens, `127.0.0.1:PORT`, written when it is ready |
//!
//! The certificate (ECDSA P-256) is valid for 13 days, since browsers accept pinned certificates up to 14 only. It is
//! renewed a day before it ends, without a restart: a client that reconnects reads `certificate.pem` again.

use crate::config::StartError;
use crate::files::{create_private_directory, read_if_present, write_private};
use crate::tls::parse_pem;
use jsonwebtoken::EncodingKey;
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::sign::CertifiedKey;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The `kid` of tokens signed with the development key.
pub const KID: &str = "dev";

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// How long a certificate is valid after it was made. It begins an hour earlier, for clocks that differ; together that
/// stays below the 14 days that browsers allow.
const VALID_MS: u64 = 13 * DAY_MS;
const BACKDATED_MS: u64 = DAY_MS / 24;
/// It is renewed when less than this is left.
const RENEWED_BEFORE_END_MS: u64 = DAY_MS;
/// A renewal that failed is tried again after this; so is the clock looked at, which may have been set.
pub(crate) const RENEWAL_CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// Before the key in `certificate-key.pem`, a line that PEM readers skip: when the certificate ends, in ms since 1970.
const ENDS_LABEL: &str = "ends-ms: ";

/// The directory of a development server's files.
#[derive(Clone, Debug)]
pub struct Directory(PathBuf);

impl Directory {
    /// The one in this data directory.
    pub fn of(data: &Path) -> Self {
        Self(data.join("dev"))
    }

    /// Makes the directory if need be.
    pub(crate) fn create(&self) -> Result<(), StartError> {
        create_private_directory(&self.0)
    }

    /// Reads the signing key.
    pub fn signing_key(&self) -> Result<SigningKey, StartError> {
        let path = self.0.join("signing-key.pem");
        match read_if_present(&path)? {
            Some(pem) => SigningKey::from_pem(&pem).ok_or_else(|| malformed(&path)),
            None => Err(StartError::Config(format!(
                "there is no signing key in {}: is that the data directory of a server started with --dev?",
                self.0.display()
            ))),
        }
    }

    /// Reads the signing key or makes it.
    pub(crate) fn signing_key_or_new(&self) -> Result<SigningKey, StartError> {
        let path = self.0.join("signing-key.pem");
        let key = match read_if_present(&path)? {
            Some(pem) => SigningKey::from_pem(&pem).ok_or_else(|| malformed(&path))?,
            None => {
                let key = SigningKey::generate()?;
                write_private(&path, key.private_pem().as_bytes())?;
                key
            }
        };
        write_private(&self.0.join("signing-key.pub.pem"), key.public_pem().as_bytes())?;
        Ok(key)
    }

    /// Reads the certificate, or makes a new one if there is none, it is damaged or it is due. Writes what clients read.
    pub(crate) fn certificate(&self, now_ms: u64) -> Result<Certificate, StartError> {
        let path = self.0.join("certificate-key.pem");
        let stored = read_if_present(&path)?.and_then(|pem| Certificate::decode(&pem));
        let certificate = match stored {
            Some(certificate) if !certificate.is_due(now_ms) => certificate,
            _ => {
                let certificate = Certificate::generate(now_ms)?;
                // One file with everything, so that no stop in between leaves a key with another certificate.
                write_private(&path, certificate.encode().as_bytes())?;
                certificate
            }
        };
        write_private(&self.0.join("certificate.pem"), certificate.certificate_pem.as_bytes())?;
        Ok(certificate)
    }

    /// A new certificate, if the stored one is due.
    pub(crate) fn renewed(&self, now_ms: u64) -> Result<Option<CertifiedKey>, StartError> {
        let stored = read_if_present(&self.0.join("certificate-key.pem"))?.and_then(|pem| Certificate::decode(&pem));
        match stored {
            Some(certificate) if !certificate.is_due(now_ms) => Ok(None),
            _ => self.certificate(now_ms)?.certified().map(Some),
        }
    }

    /// Says where the server listens.
    pub(crate) fn write_address(&self, address: SocketAddr) -> Result<(), StartError> {
        write_private(&self.0.join("address"), address.to_string().as_bytes())
    }
}

fn malformed(path: &Path) -> StartError {
    StartError::Failed(format!("{} is damaged; remove it to have a new one made", path.display()))
}

fn failed(what: &str, error: impl std::fmt::Display) -> StartError {
    StartError::Failed(format!("{what}: {error}"))
}

/// A certificate with its key.
#[derive(Debug)]
pub(crate) struct Certificate {
    certificate_pem: String,
    key_pem: String,
    ends_ms: u64,
}

impl Certificate {
    fn generate(now_ms: u64) -> Result<Self, StartError> {
        let made = || -> Result<Self, rcgen::Error> {
            let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
            let mut params = CertificateParams::new(["localhost".to_owned()])?;
            let loopback = [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)];
            params.subject_alt_names.extend(loopback.map(rcgen::SanType::IpAddress));
            params.distinguished_name.push(DnType::CommonName, "Highwater development server");
            // Whole seconds: certificates know no others.
            let at = |ms: u64| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(ms / 1000);
            params.not_before = at(now_ms.saturating_sub(BACKDATED_MS));
            params.not_after = at(now_ms + VALID_MS);
            let certificate = params.self_signed(&key)?;
            Ok(Self {
                certificate_pem: certificate.pem(),
                key_pem: key.serialize_pem(),
                ends_ms: (now_ms + VALID_MS) / 1000 * 1000,
            })
        };
        made().map_err(|error| failed("no certificate can be made", error))
    }

    fn encode(&self) -> String {
        format!("{ENDS_LABEL}{}\n{}{}", self.ends_ms, self.key_pem, self.certificate_pem)
    }

    /// Reads what [`Self::encode`] wrote; `None` if it is anything else.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (first, pem) = text.split_once('\n')?;
        let ends_ms = first.strip_prefix(ENDS_LABEL)?.parse().ok()?;
        let (key_pem, certificate_pem) = pem.split_at(pem.find("-----BEGIN CERTIFICATE")?);
        let certificate = Self { certificate_pem: certificate_pem.to_owned(), key_pem: key_pem.to_owned(), ends_ms };
        certificate.certified().ok()?;
        Some(certificate)
    }

    /// Whether it is to be renewed; also when it was made in a future that the clock has left.
    fn is_due(&self, now_ms: u64) -> bool {
        now_ms + RENEWED_BEFORE_END_MS >= self.ends_ms || now_ms + VALID_MS + BACKDATED_MS < self.ends_ms
    }

    /// As TLS takes it.
    pub(crate) fn certified(&self) -> Result<CertifiedKey, StartError> {
        parse_pem(self.certificate_pem.as_bytes(), self.key_pem.as_bytes())
            .map_err(|error| failed("the certificate cannot be used", error))
    }
}

/// An Ed25519 key that signs tokens.
pub struct SigningKey(KeyPair);

impl SigningKey {
    /// Before the 32 bytes of a key in its PKCS#8 form of version 1, which every reader understands.
    const PKCS8_PREFIX: [u8; 16] =
        [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

    /// A new one.
    pub fn generate() -> Result<Self, StartError> {
        let mut pkcs8 = [0; 48];
        let (prefix, seed) = pkcs8.split_at_mut(Self::PKCS8_PREFIX.len());
        prefix.copy_from_slice(&Self::PKCS8_PREFIX);
        SystemRandom::new()
            .fill(seed)
            .map_err(|_| failed("no key can be made", "the system gives no random numbers"))?;
        KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(&pkcs8[..]), &PKCS_ED25519)
            .map(Self)
            .map_err(|error| failed("no key can be made", error))
    }

    /// Reads a PKCS#8 private key in PEM form; `None` for anything else.
    pub fn from_pem(pem: &[u8]) -> Option<Self> {
        KeyPair::from_pkcs8_pem_and_sign_algo(std::str::from_utf8(pem).ok()?, &PKCS_ED25519).ok().map(Self)
    }

    /// The private key, PKCS#8 in PEM form.
    pub fn private_pem(&self) -> String {
        self.0.serialize_pem()
    }

    /// The public key in PEM form.
    pub fn public_pem(&self) -> String {
        self.0.public_key_pem()
    }

    /// As tokens are signed with it.
    pub fn encoding_key(&self) -> Result<EncodingKey, StartError> {
        EncodingKey::from_ed_pem(self.private_pem().as_bytes())
            .map_err(|error| failed("the signing key cannot be used", error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const NOW_MS: u64 = 1_800_000_000_123;

    fn directory() -> (tempfile::TempDir, Directory) {
        let data = tempfile::tempdir().expect("a directory");
        let directory = Directory::of(data.path());
        directory.create().expect("it is made");
        (data, directory)
    }

    #[test]
    fn certificate_is_kept_until_it_is_due() {
        let (data, directory) = directory();
        let first = directory.certificate(NOW_MS).expect("it is made");
        let shown = || std::fs::read_to_string(data.path().join("dev/certificate.pem")).expect("it is written");
        assert_eq!(shown(), first.certificate_pem);
        let last_moment = NOW_MS + VALID_MS - RENEWED_BEFORE_END_MS - 1_000;
        for now_ms in [NOW_MS, NOW_MS + DAY_MS, last_moment, NOW_MS - 1] {
            let again = directory.certificate(now_ms).expect("it is read");
            assert_eq!(again.certificate_pem, first.certificate_pem, "at {now_ms}");
            assert_eq!(shown(), first.certificate_pem);
        }
        let second = directory.certificate(last_moment + 1_000).expect("it is renewed");
        assert_ne!(second.certificate_pem, first.certificate_pem);
        assert_eq!(shown(), second.certificate_pem);
        assert!(second.ends_ms > first.ends_ms);
    }

    #[test]
    fn a_running_server_renews_only_what_is_due() {
        let (_data, directory) = directory();
        let first = directory.certificate(NOW_MS).expect("it is made");
        assert!(directory.renewed(NOW_MS + 11 * DAY_MS).expect("it is read").is_none());
        let second = directory.renewed(NOW_MS + 12 * DAY_MS).expect("it is renewed").expect("it was due");
        assert_ne!(second.cert, first.certified().expect("it is good").cert);
        assert!(directory.renewed(NOW_MS + 12 * DAY_MS).expect("it is read").is_none(), "once");
    }

    #[test]
    fn certificate_of_another_time_is_replaced() {
        let (_data, directory) = directory();
        let first = directory.certificate(NOW_MS).expect("it is made");
        let long_over = directory.certificate(NOW_MS + 100 * DAY_MS).expect("it is renewed");
        assert_ne!(long_over.certificate_pem, first.certificate_pem);
        // The clock was wrong then and is set back: a certificate that is not valid yet is of no use.
        let set_back = directory.certificate(NOW_MS).expect("it is renewed");
        assert_ne!(set_back.certificate_pem, long_over.certificate_pem);
    }

    #[test]
    fn damaged_certificate_is_replaced() {
        let (data, directory) = directory();
        let first = directory.certificate(NOW_MS).expect("it is made");
        let other = Certificate::generate(NOW_MS).expect("it is made");
        let mixed =
            Certificate { key_pem: other.key_pem.clone(), certificate_pem: first.certificate_pem.clone(), ..other };
        for text in
            [String::new(), first.certificate_pem.clone(), first.encode().replace("ends-ms", "x"), mixed.encode()]
        {
            std::fs::write(data.path().join("dev/certificate-key.pem"), text).expect("it can be written");
            let again = directory.certificate(NOW_MS).expect("it is replaced");
            assert_ne!(again.certificate_pem, first.certificate_pem);
        }
    }

    #[test]
    fn signing_key_is_kept_and_private() {
        let (data, directory) = directory();
        assert!(directory.signing_key().err().expect("none yet").to_string().contains("--dev"));
        let first = directory.signing_key_or_new().expect("it is made");
        let again = directory.signing_key_or_new().expect("it is read");
        assert_eq!(first.private_pem(), again.private_pem());
        assert_eq!(directory.signing_key().expect("it is read").public_pem(), first.public_pem());
        for file in ["signing-key.pem", "signing-key.pub.pem"] {
            let mode = std::fs::metadata(data.path().join("dev").join(file)).expect("it is there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
        std::fs::write(data.path().join("dev/signing-key.pem"), "x").expect("it can be written");
        assert!(directory.signing_key_or_new().err().expect("damaged").to_string().contains("signing-key.pem"));
    }
}
