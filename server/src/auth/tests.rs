//! Tokens that are good, and every way in which one is not.

use super::*;
use crate::dev::SigningKey;
use serde_json::json;

const NOW_MS: u64 = 1_800_000_000_000;
const NOW_S: u64 = NOW_MS / 1000;

fn keys(key: &SigningKey) -> TokenKeys {
    let mut keys = TokenKeys::new("highwater".to_owned());
    keys.add("k".to_owned(), key.public_pem().as_bytes()).expect("a key of ours");
    keys
}

/// Signs these claims under these header fields, whatever they are.
fn sign(key: &SigningKey, kid: Option<&str>, claims: &serde_json::Value) -> String {
    let header = Header { kid: kid.map(str::to_owned), ..Header::new(Algorithm::EdDSA) };
    jsonwebtoken::encode(&header, claims, &key.encoding_key().expect("a key")).expect("it signs")
}

#[test]
fn good_tokens_name_their_subject() {
    let key = SigningKey::generate().expect("a key");
    let token = sign(&key, Some("k"), &json!({"sub": "ann", "exp": NOW_S + 60, "aud": "highwater"}));
    let identity = keys(&key).verify(&token, NOW_MS).expect("it is good");
    assert_eq!(&*identity.subject, "ann");
    assert_eq!(identity.device, None);
    assert_eq!(identity.scope, Scope::User);
    assert_eq!(identity.ends_ms, NOW_MS + 60_000 + TOKEN_LEEWAY_MS);

    let claims =
        json!({"sub": "ops", "exp": NOW_S as f64 + 0.5, "aud": ["x", "highwater"], "dev": "d", "scope": "service"});
    let identity = keys(&key).verify(&sign(&key, Some("k"), &claims), NOW_MS).expect("it is good");
    assert_eq!(identity.scope, Scope::Service);
    assert_eq!(identity.device.as_deref(), Some("d"));
    assert_eq!(identity.ends_ms, NOW_MS + 500 + TOKEN_LEEWAY_MS);
}

#[test]
fn minted_tokens_are_good() {
    let key = SigningKey::generate().expect("a key");
    let claims = Claims {
        sub: "ann".to_owned(),
        dev: Some("phone".to_owned()),
        exp: (NOW_S + 1).into(),
        aud: "highwater".into(),
        scope: None,
    };
    let token = mint(&claims, "k", &key.encoding_key().expect("a key")).expect("it signs");
    assert_eq!(keys(&key).verify(&token, NOW_MS).expect("it is good").device.as_deref(), Some("phone"));
}

#[test]
fn bad_tokens_are_refused() {
    let key = SigningKey::generate().expect("a key");
    let stranger = SigningKey::generate().expect("a key");
    let good = json!({"sub": "ann", "exp": NOW_S + 60, "aud": "highwater"});
    let with = |field: &str, value: serde_json::Value| {
        let mut claims = good.clone();
        claims[field] = value;
        sign(&key, Some("k"), &claims)
    };
    let without = |field: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().expect("an object").remove(field);
        sign(&key, Some("k"), &claims)
    };
    let hs256 = {
        // The classical forgery: the public key taken as a shared secret.
        let header = Header { kid: Some("k".to_owned()), ..Header::new(Algorithm::HS256) };
        let secret = EncodingKey::from_secret(key.public_pem().as_bytes());
        jsonwebtoken::encode(&header, &good, &secret).expect("it signs")
    };
    let signed = sign(&key, Some("k"), &good);
    let (message, signature) = signed.rsplit_once('.').expect("three parts");
    let (_, claims) = message.split_once('.').expect("two parts");
    // {"alg":"none","kid":"k"}
    let unsigned = format!("eyJhbGciOiJub25lIiwia2lkIjoiayJ9.{claims}.");
    let cut = format!("{message}.{}", &signature[..signature.len() - 4]);
    let other_claims = {
        let other = sign(&key, Some("k"), &json!({"sub": "eve", "exp": NOW_S + 60, "aud": "highwater"}));
        let (other, _) = other.rsplit_once('.').expect("three parts");
        format!("{other}.{signature}")
    };
    let cases: Vec<(&str, String, Code)> = vec![
        ("expired", with("exp", json!(NOW_S - 6)), Code::TokenExpired),
        ("expires at the leeway's end", with("exp", json!(NOW_S - TOKEN_LEEWAY_MS / 1000)), Code::TokenExpired),
        ("no exp", without("exp"), Code::Unauthenticated),
        ("exp as text", with("exp", json!("soon")), Code::Unauthenticated),
        ("negative exp", with("exp", json!(-1)), Code::Unauthenticated),
        ("no sub", without("sub"), Code::Unauthenticated),
        ("empty sub", with("sub", json!("")), Code::Unauthenticated),
        ("long sub", with("sub", json!("x".repeat(65))), Code::Unauthenticated),
        ("control character", with("sub", json!("a\nb")), Code::Unauthenticated),
        ("no aud", without("aud"), Code::Unauthenticated),
        ("wrong aud", with("aud", json!("other")), Code::Unauthenticated),
        ("wrong scope", with("scope", json!("admin")), Code::Unauthenticated),
        ("empty dev", with("dev", json!("")), Code::Unauthenticated),
        ("not yet valid", with("nbf", json!(u32::MAX)), Code::Unauthenticated),
        ("wrong key", sign(&stranger, Some("k"), &good), Code::Unauthenticated),
        ("unknown kid", sign(&key, Some("other"), &good), Code::Unauthenticated),
        ("no kid", sign(&key, None, &good), Code::Unauthenticated),
        ("alg HS256", hs256, Code::Unauthenticated),
        ("alg none", unsigned, Code::Unauthenticated),
        ("cut signature", cut, Code::Unauthenticated),
        ("other claims", other_claims, Code::Unauthenticated),
        ("empty", String::new(), Code::Unauthenticated),
        ("no token", "hello".to_owned(), Code::Unauthenticated),
        ("dots", "..".to_owned(), Code::Unauthenticated),
        ("long", "a".repeat(TOKEN_BYTES_MAX + 1), Code::Unauthenticated),
    ];
    for (what, token, code) in cases {
        let error = keys(&key).verify(&token, NOW_MS).expect_err(what);
        assert_eq!(error.code, code, "{what}: {error}");
    }
    assert!(keys(&key).verify(&with("exp", json!(NOW_S - 4)), NOW_MS).is_ok(), "within the leeway");
}

#[test]
fn only_public_keys_check_tokens() {
    let key = SigningKey::generate().expect("a key");
    let mut keys = TokenKeys::new("highwater".to_owned());
    assert_eq!(keys.add("a".to_owned(), key.private_pem().as_bytes()), Err(TokenKeysError::Malformed));
    assert_eq!(keys.add("a".to_owned(), b"nothing"), Err(TokenKeysError::Malformed));
    keys.add("a".to_owned(), key.public_pem().as_bytes()).expect("a public key");
    assert_eq!(keys.add("a".to_owned(), key.public_pem().as_bytes()), Err(TokenKeysError::Twice("a".to_owned())));
}

#[test]
fn a_token_renews_only_its_own_session() {
    let identity = |subject: &str, device: Option<&str>, scope| Identity {
        subject: subject.into(),
        device: device.map(Arc::from),
        scope,
        ends_ms: 1,
    };
    let first = identity("ann", Some("d"), Scope::User);
    assert!(Identity { ends_ms: 9, ..first.clone() }.renews(&first));
    for other in [
        identity("bob", Some("d"), Scope::User),
        identity("ann", Some("e"), Scope::User),
        identity("ann", None, Scope::User),
        identity("ann", Some("d"), Scope::Service),
    ] {
        assert!(!other.renews(&first), "{other:?}");
    }
}
