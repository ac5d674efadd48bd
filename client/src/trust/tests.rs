//! Handshakes in memory: whom a client believes, and whom it does not.

#![allow(clippy::unwrap_used)]

use super::*;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::PrivateKeyDer;
use std::io::{Read, Write};

fn server(key: &CertifiedKey<rcgen::KeyPair>, protocol: &[u8]) -> rustls::ServerConfig {
    let private = PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        rustls::ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]);
    let chain = vec![key.cert.der().clone()];
    let mut config = builder.unwrap().with_no_client_auth().with_single_cert(chain, private).unwrap();
    config.alpn_protocols = vec![protocol.to_vec()];
    config
}

/// Shakes hands in memory; an error is the client's.
fn shake(trust: &Trust, name: &str, key: &CertifiedKey<rcgen::KeyPair>) -> Result<(), rustls::Error> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(trust.to_tls().unwrap()), name)?;
    let mut server = rustls::ServerConnection::new(Arc::new(server(key, ALPN)))?;
    for _ in 0..10 {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut read = wire.as_slice();
        while !read.is_empty() {
            server.read_tls(&mut read).unwrap();
            server.process_new_packets()?;
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut read = wire.as_slice();
        while !read.is_empty() {
            client.read_tls(&mut read).unwrap();
            client.process_new_packets()?;
        }
    }
    client.writer().write_all(b"x").unwrap();
    let mut wire = Vec::new();
    client.write_tls(&mut wire).unwrap();
    server.read_tls(&mut wire.as_slice()).unwrap();
    server.process_new_packets()?;
    let mut byte = [0];
    server.reader().read_exact(&mut byte).unwrap();
    Ok(())
}

#[test]
fn a_pin_accepts_its_certificate_and_no_other() {
    let key = generate_simple_self_signed(vec!["one.example".to_owned()]).unwrap();
    let other = generate_simple_self_signed(vec!["one.example".to_owned()]).unwrap();
    let pin = CertificateHash::of_der(key.cert.der());
    let trust = Trust::Pinned(vec![CertificateHash([0; 32]), pin]);
    shake(&trust, "another.name", &key).unwrap();
    let refused = shake(&trust, "one.example", &other).unwrap_err();
    assert!(matches!(refused, rustls::Error::InvalidCertificate(_)), "{refused}");
}

/// A certificate is public: whoever shows a pinned one must also prove to hold its key.
#[test]
fn a_pin_does_not_accept_its_certificate_from_somebody_without_the_key() {
    let key = generate_simple_self_signed(vec!["one.example".to_owned()]).unwrap();
    let thief = rcgen::KeyPair::generate().unwrap();
    let pinned = PinVerifier {
        hashes: vec![CertificateHash::of_der(key.cert.der())],
        provider: Arc::new(rustls::crypto::ring::default_provider()),
    };
    let check = |signer: &rcgen::KeyPair| {
        let message = b"what a handshake signs";
        let private = PrivateKeyDer::try_from(signer.serialize_der()).unwrap();
        let scheme = SignatureScheme::ECDSA_NISTP256_SHA256;
        let signing = rustls::crypto::ring::sign::any_ecdsa_type(&private).unwrap().choose_scheme(&[scheme]).unwrap();
        let signed = signed_struct(scheme, &signing.sign(message).unwrap());
        pinned.verify_tls13_signature(message, key.cert.der(), &signed)
    };
    check(&key.signing_key).unwrap();
    assert!(check(&thief).is_err());
}

/// The struct's fields are private; it is read as it stands in a handshake.
fn signed_struct(scheme: SignatureScheme, signature: &[u8]) -> DigitallySignedStruct {
    use rustls::internal::msgs::codec::{Codec, Reader};
    let mut bytes = u16::from(scheme).to_be_bytes().to_vec();
    bytes.extend_from_slice(&(signature.len() as u16).to_be_bytes());
    bytes.extend_from_slice(signature);
    DigitallySignedStruct::read(&mut Reader::init(&bytes)).unwrap()
}

#[test]
fn an_authority_vouches_for_a_name() {
    let key = generate_simple_self_signed(vec!["one.example".to_owned()]).unwrap();
    let trust = Trust::Authorities(key.cert.pem().into_bytes());
    shake(&trust, "one.example", &key).unwrap();
    assert!(shake(&trust, "two.example", &key).is_err());
}

#[test]
fn hashes_are_read_in_both_ways_of_writing_and_nothing_else_is() {
    let key = generate_simple_self_signed(vec!["one.example".to_owned()]).unwrap();
    let hash = CertificateHash::of_der(key.cert.der());
    assert_eq!(CertificateHash::of_pem(key.cert.pem().as_bytes()).unwrap(), hash);
    let text = hash.to_string();
    assert_eq!(CertificateHash::from_hex(&text.to_uppercase()).unwrap(), hash);
    let pairs: Vec<&str> = (0..32).map(|i| &text[2 * i..2 * i + 2]).collect();
    assert_eq!(CertificateHash::from_hex(&pairs.join(":")).unwrap(), hash);
    for wrong in ["", "00", &text[1..], &format!("{text}0"), &text.replace(&text[..1], "x")] {
        assert_eq!(CertificateHash::from_hex(wrong).unwrap_err().code, Code::InvalidArgument, "{wrong:?}");
    }
}

#[test]
fn trust_in_nobody_is_refused_before_anything_is_sent() {
    for trust in [Trust::Pinned(Vec::new()), Trust::Authorities(Vec::new()), Trust::Authorities(b"nonsense".to_vec())] {
        assert_eq!(trust.to_tls().unwrap_err().code, Code::InvalidArgument, "{trust:?}");
    }
}
