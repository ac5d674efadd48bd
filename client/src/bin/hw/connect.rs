//! From the global options to a connection: which server to believe, and as whom to talk to it.

use crate::args::Global;
use crate::failure::Failure;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use highwater_client::{CertificateHash, Client, ClientBuilder, SessionKind, StateDir, Trust};
use highwater_proto::error::{Code, Error};
use highwater_proto::id::check_name;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// For how long a minted token is good; the library asks for a new one in time.
const MINTED_SECONDS: u64 = 3_600;
/// The device without --device, and without one in the token.
const DEVICE_DEFAULT: &str = "cli";
const NEEDS_USER: &str = "this needs a user: --as USER";
/// The environment's token.
const TOKEN_VARIABLE: &str = "HIGHWATER_TOKEN";

/// As whom a command wants to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acting {
    /// As the user of --as; without it as a service.
    Anyone,
    /// As a user: the command makes no sense without one.
    User,
    /// As a service, if tokens can be minted: what is asked for is a service's business.
    Service,
}

/// A server in dev mode, as its data directory describes it.
pub(crate) struct Dev {
    address: String,
    trust: Trust,
    key: EncodingKey,
}

#[derive(Serialize)]
struct Minted<'a> {
    sub: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dev: Option<&'a str>,
    aud: &'static str,
    scope: &'static str,
    exp: u64,
}

impl Dev {
    /// Reads what the server left in its data directory.
    pub(crate) fn open(directory: &Path) -> Result<Self, Failure> {
        let read = |name: &str| {
            let path = directory.join("dev").join(name);
            std::fs::read(&path).map_err(|error| {
                let path = path.display();
                Failure::io(format!("{path}: {error}; has `highwater serve --dev` run with this data directory?"))
            })
        };
        let damaged = |what: &str| Failure::io(format!("{}: {what} cannot be used", directory.join("dev").display()));
        let address = String::from_utf8(read("address")?).map_err(|_| damaged("address"))?;
        let hash = CertificateHash::of_pem(&read("certificate.pem")?)?;
        let key = EncodingKey::from_ed_pem(&read("signing-key.pem")?).map_err(|_| damaged("signing-key.pem"))?;
        Ok(Self { address: address.trim().to_owned(), trust: Trust::Pinned(vec![hash]), key })
    }

    fn mint(&self, sub: &str, dev: Option<&str>, scope: &'static str) -> Result<String, Error> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let claims = Minted { sub, dev, aud: "highwater", scope, exp: now + MINTED_SECONDS };
        let header = Header { kid: Some("dev".to_owned()), ..Header::new(Algorithm::EdDSA) };
        jsonwebtoken::encode(&header, &claims, &self.key)
            .map_err(|error| Error::new(Code::Unauthenticated, format!("no token could be minted: {error}")))
    }

    /// A client of a user, or of nobody: a service.
    pub(crate) fn builder(
        self: &Arc<Self>,
        server: Option<&str>,
        user: Option<&str>,
        device: Option<&str>,
        kind: SessionKind,
    ) -> ClientBuilder {
        let (dev, user) = (Arc::clone(self), user.map(str::to_owned));
        let registered = device.map(str::to_owned);
        let builder = Client::builder(server.unwrap_or(&self.address)).trust(self.trust.clone()).session(kind);
        let builder = match device {
            Some(device) => builder.device(device),
            None => builder,
        };
        builder.token_provider(move || {
            let token = match &user {
                Some(user) => dev.mint(user, registered.as_deref(), "user"),
                None => dev.mint("hw", None, "service"),
            };
            std::future::ready(token)
        })
    }
}

/// The claims that matter here. Whether they are true is the server's business.
#[derive(Debug, Deserialize, PartialEq, Eq)]
struct Claims {
    sub: String,
    dev: Option<String>,
    scope: Option<String>,
}

impl Claims {
    fn read(token: &str) -> Result<Self, Failure> {
        let malformed = || Failure::from(Error::new(Code::Unauthenticated, "the token is not a JWT"));
        let payload = token.split('.').nth(1).ok_or_else(malformed)?;
        let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| malformed())?;
        serde_json::from_slice(&payload).map_err(|_| malformed())
    }

    fn is_service(&self) -> bool {
        self.scope.as_deref() == Some("service")
    }
}

enum Tokens {
    Minted(Arc<Dev>),
    Given { token: String, trust: Trust, is_service: bool },
}

/// Where to connect, and as whom.
pub(crate) struct Login {
    server: String,
    known_as: String,
    tokens: Tokens,
    user: Option<String>,
    device: String,
    state: Option<PathBuf>,
}

impl Login {
    /// Decides by the options alone; nothing is connected yet.
    pub(crate) fn new(global: &Global, acting: Acting) -> Result<Self, Failure> {
        for (what, name) in [("--as", &global.user), ("--device", &global.device)] {
            if let Some(name) = name {
                check_name(what, name).map_err(|error| Failure::usage(error.message))?;
            }
        }
        if let Some(server) = &global.server {
            let port = server.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
            if !matches!(port, Some(Ok(1..))) {
                return Err(Failure::usage(format!("--server {server}: give HOST:PORT")));
            }
        }
        let login = match &global.dev {
            Some(directory) => Self::minted(global, directory, acting)?,
            None => Self::given(global)?,
        };
        if acting == Acting::User && login.user.is_none() {
            return Err(Failure::usage(NEEDS_USER));
        }
        Ok(login)
    }

    fn minted(global: &Global, directory: &Path, acting: Acting) -> Result<Self, Failure> {
        let dev = Dev::open(directory)?;
        // A server in dev mode may listen somewhere else each time; its directory stays.
        let directory = std::fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned());
        Ok(Self {
            known_as: global.server.clone().unwrap_or_else(|| format!("dev {}", directory.display())),
            server: global.server.clone().unwrap_or_else(|| dev.address.clone()),
            tokens: Tokens::Minted(Arc::new(dev)),
            user: global.user.clone().filter(|_| acting != Acting::Service),
            device: global.device.clone().unwrap_or_else(|| DEVICE_DEFAULT.to_owned()),
            state: global.state.clone(),
        })
    }

    fn given(global: &Global) -> Result<Self, Failure> {
        let Some(server) = global.server.clone() else {
            return Err(Failure::usage("which server? --server HOST:PORT, or --dev DIR"));
        };
        let trust = match (&global.ca, &global.pin) {
            (Some(file), _) => Trust::Authorities(read(file)?),
            (None, Some(hash)) => Trust::Pinned(vec![
                CertificateHash::from_hex(hash).map_err(|error| Failure::usage(format!("--pin: {}", error.message)))?,
            ]),
            (None, None) => return Err(Failure::usage("whom to trust? --ca FILE, --pin HASH or --dev DIR")),
        };
        let token = match &global.token_file {
            Some(file) => String::from_utf8(read(file)?)
                .map_err(|_| Failure::invalid(format!("{}: not a token", file.display())))?,
            None => std::env::var(TOKEN_VARIABLE)
                .map_err(|_| Failure::usage(format!("as whom? --token-file FILE, {TOKEN_VARIABLE}, or --dev DIR")))?,
        };
        let token = token.trim().to_owned();
        let claims = Claims::read(&token)?;
        let is_service = claims.is_service();
        let user = match &global.user {
            Some(user) if !is_service && *user != claims.sub => {
                return Err(Failure::usage(format!("--as {user:?} is given, but the token is for {:?}", claims.sub)));
            }
            Some(user) => Some(user.clone()),
            None => (!is_service).then_some(claims.sub),
        };
        let device = global.device.clone().or(claims.dev).unwrap_or_else(|| DEVICE_DEFAULT.to_owned());
        let tokens = Tokens::Given { token, trust, is_service };
        Ok(Self { known_as: server.clone(), server, tokens, user, device, state: global.state.clone() })
    }

    /// The user to act as, if any.
    pub(crate) fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The device to act as.
    pub(crate) fn device(&self) -> &str {
        &self.device
    }

    /// Whether records made by this login are a service's.
    pub(crate) fn is_service(&self) -> bool {
        match &self.tokens {
            Tokens::Minted(_) => self.user.is_none(),
            Tokens::Given { is_service, .. } => *is_service,
        }
    }

    /// Whether it has tokens for every user.
    pub(crate) fn mints_tokens(&self) -> bool {
        matches!(self.tokens, Tokens::Minted(_))
    }

    /// A client that is not connected yet.
    pub(crate) fn builder(&self, kind: SessionKind) -> ClientBuilder {
        let device = self.user.is_some().then_some(self.device.as_str());
        self.builder_for(self.user.as_deref(), device, kind)
    }

    /// A client of any user, or of nobody. A token that was given is good for its own user only, or a service's.
    pub(crate) fn builder_for(&self, user: Option<&str>, device: Option<&str>, kind: SessionKind) -> ClientBuilder {
        match &self.tokens {
            Tokens::Minted(dev) => dev.builder(Some(&self.server), user, device, kind),
            Tokens::Given { token, trust, is_service } => {
                let mut builder = Client::builder(&self.server).trust(trust.clone()).token(token).session(kind);
                if let Some(device) = device {
                    builder = builder.device(device);
                }
                match user {
                    Some(user) if *is_service => builder.as_user(user),
                    _ => builder,
                }
            }
        }
    }

    /// A connected client that reads, and commands what is not numbered.
    pub(crate) async fn connect(&self) -> Result<Client, Failure> {
        Ok(self.builder(SessionKind::Read).connect().await?)
    }

    /// Where checkpoint and unsent messages are kept.
    pub(crate) fn state_dir(&self) -> Result<StateDir, Failure> {
        let Some(user) = &self.user else { return Err(Failure::usage(NEEDS_USER)) };
        let root = match &self.state {
            Some(root) => root.clone(),
            None => default_state_root()?,
        };
        Ok(StateDir::new(root, user, &self.device)?)
    }

    /// By what the server is known before it has told its incarnation.
    pub(crate) fn server_name(&self) -> &str {
        &self.known_as
    }
}

/// Waits at most so long for a connection that was lost, before a command gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

fn default_state_root() -> Result<PathBuf, Failure> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
    let base = base.ok_or_else(|| Failure::usage("where to keep the state? HOME is not set; use --state DIR"))?;
    Ok(base.join("highwater"))
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| Failure::io(format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_read_without_being_believed() {
        let token = |payload: &str| format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(payload));
        let claims = Claims::read(&token(r#"{"sub":"ann","dev":"phone","exp":1}"#)).expect("is a JWT");
        assert_eq!(claims, Claims { sub: "ann".to_owned(), dev: Some("phone".to_owned()), scope: None });
        assert!(!claims.is_service());
        assert!(Claims::read(&token(r#"{"sub":"x","scope":"service"}"#)).expect("is a JWT").is_service());
        for bad in ["", "abc", "a.!.c", "a.e30.c"] {
            assert_eq!(Claims::read(bad).expect_err(bad).exit(), 4);
        }
    }
}
