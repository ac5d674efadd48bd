//! Tokens: who a client is, on the word of somebody whose public key was configured.
//!
//! A token is a JWT signed with EdDSA (Ed25519) by the key that its header's `kid` names. Claims: `sub`, the user (with
//! the scope `service` only a name for logs); `exp`; `aud`; optionally `dev`, the only device that it is good for, and
//! `scope`, `user` (the default) or `service`. No other algorithm is accepted, whatever the header says.

use crate::limits::{TOKEN_BYTES_MAX, TOKEN_LEEWAY_MS};
use highwater_proto::error::{Code, Error};
use highwater_proto::id::check_name;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// Bytes of an Ed25519 public key.
const PUBLIC_KEY_BYTES: usize = 32;

/// What a token allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// To act as its subject.
    User,
    /// To administer, and to send in anybody's name.
    Service,
}

impl Scope {
    /// As it stands in the claim.
    pub const fn as_str(self) -> &'static str {
        match self {
            Scope::User => "user",
            Scope::Service => "service",
        }
    }
}

/// Whom a valid token names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user, or the service's name.
    pub subject: Arc<str>,
    /// The only device that the token is good for.
    pub device: Option<Arc<str>>,
    /// What it allows.
    pub scope: Scope,
    /// From then on it is refused, in ms since 1970: `exp` and the leeway of [`TOKEN_LEEWAY_MS`].
    pub ends_ms: u64,
}

impl Identity {
    /// Whether a session may go on with this one in place of `other`.
    pub fn renews(&self, other: &Identity) -> bool {
        self.subject == other.subject && self.device == other.device && self.scope == other.scope
    }
}

/// The claims of a token.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Claims {
    /// The user.
    pub sub: String,
    /// The only device that it is good for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dev: Option<String>,
    /// When its time is over, in seconds since 1970; parts of a second are allowed.
    pub exp: serde_json::Number,
    /// For whom it was made.
    pub aud: serde_json::Value,
    /// `user` or `service`; missing: `user`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
}

/// Why a key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenKeysError {
    /// It is not an Ed25519 public key in PEM form.
    Malformed,
    /// There is one with the same `kid`.
    Twice(String),
}

/// Public keys by which tokens are checked, by `kid`.
#[derive(Clone)]
pub struct TokenKeys {
    keys: HashMap<String, DecodingKey>,
    /// Boxed, for its size.
    validation: Box<Validation>,
}

impl fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenKeys").field("kids", &self.keys.keys()).field("audience", &self.validation.aud).finish()
    }
}

impl TokenKeys {
    /// No keys yet, for tokens made for this audience.
    pub fn new(audience: String) -> Self {
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_audience(&[audience]);
        validation.set_required_spec_claims(&["exp", "aud", "sub"]);
        // Compared by `verify`, with the caller's clock and our own leeway.
        validation.validate_exp = false;
        validation.validate_nbf = true;
        validation.leeway = TOKEN_LEEWAY_MS / 1000;
        Self { keys: HashMap::new(), validation: Box::new(validation) }
    }

    /// Adds an Ed25519 public key in PEM form.
    pub fn add(&mut self, kid: String, pem: &[u8]) -> Result<(), TokenKeysError> {
        let key = DecodingKey::from_ed_pem(pem).map_err(|_| TokenKeysError::Malformed)?;
        // A private key would be taken for a public one here, and a short one would not be noticed before its use.
        let is_public = pem.windows(10).any(|part| part == b"PUBLIC KEY");
        if !is_public || key.try_get_as_bytes().map_or(0, <[u8]>::len) != PUBLIC_KEY_BYTES {
            return Err(TokenKeysError::Malformed);
        }
        if self.keys.contains_key(&kid) {
            return Err(TokenKeysError::Twice(kid));
        }
        self.keys.insert(kid, key);
        Ok(())
    }

    /// Checks a token. `unauthenticated`, or `token_expired` for one that was good.
    pub fn verify(&self, token: &str, now_ms: u64) -> Result<Identity, Error> {
        let refused = |why: String| Error::new(Code::Unauthenticated, why);
        if token.is_empty() {
            return Err(refused("there is no token".to_owned()));
        }
        if token.len() > TOKEN_BYTES_MAX {
            return Err(refused(format!("the token has {} bytes; at most {TOKEN_BYTES_MAX} are read", token.len())));
        }
        let header =
            jsonwebtoken::decode_header(token).map_err(|error| refused(format!("the token is malformed: {error}")))?;
        let kid = header.kid.ok_or_else(|| refused("the token's header has no kid".to_owned()))?;
        let key = self.keys.get(&kid).ok_or_else(|| refused(format!("the token's key {kid:?} is not known here")))?;
        let claims = jsonwebtoken::decode::<Claims>(token, key, &self.validation)
            .map_err(|error| refused(format!("the token is refused: {error}")))?
            .claims;
        let expires_ms = claims.exp.as_f64().map_or(0, |seconds| (seconds * 1000.0).clamp(0.0, 1e15) as u64);
        let ends_ms = expires_ms + TOKEN_LEEWAY_MS;
        if now_ms >= ends_ms {
            return Err(Error::new(Code::TokenExpired, "the token's time is over"));
        }
        let scope = match claims.scope.as_deref() {
            None | Some("user") => Scope::User,
            Some("service") => Scope::Service,
            Some(other) => return Err(refused(format!("the token's scope {other:?} is not known"))),
        };
        let name = |what: &str, name: String| {
            check_name(what, &name).map_err(|error| refused(error.message))?;
            Ok::<_, Error>(Arc::from(name))
        };
        Ok(Identity {
            subject: name("the token's sub", claims.sub)?,
            device: claims.dev.map(|device| name("the token's dev", device)).transpose()?,
            scope,
            ends_ms,
        })
    }
}

/// Makes a token. Fails only if the key does.
pub fn mint(claims: &Claims, kid: &str, key: &EncodingKey) -> Result<String, String> {
    let header = Header { kid: Some(kid.to_owned()), ..Header::new(Algorithm::EdDSA) };
    jsonwebtoken::encode(&header, claims, key).map_err(|error| format!("the token cannot be signed: {error}"))
}

#[cfg(test)]
mod tests;
