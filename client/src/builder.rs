//! Everything a client has to know before it connects.

use crate::backoff::Backoff;
use crate::client::Client;
use crate::sockets::Sockets;
use crate::store::{MemoryOutgoing, OutgoingStore};
use crate::trust::Trust;
use highwater_proto::error::{Code, Error};
use highwater_proto::id::check_name;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// What a session may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SessionKind {
    /// Read, and command what is not numbered. Registers nothing; many at once are possible.
    #[default]
    Read,
    /// Also send, edit and recall. Takes its device over from an earlier send session, which is told `replaced`.
    Send,
}

/// A token in the making.
pub(crate) type TokenFuture = Pin<Box<dyn Future<Output = Result<String, Error>> + Send>>;

/// Where tokens come from.
pub(crate) enum TokenSource {
    /// Always the same one.
    Fixed(String),
    /// The application makes one when asked.
    Provider(Box<dyn Fn() -> TokenFuture + Send + Sync>),
}

impl TokenSource {
    /// A token good for now.
    pub(crate) async fn token(&self) -> Result<String, Error> {
        match self {
            TokenSource::Fixed(token) => Ok(token.clone()),
            TokenSource::Provider(provider) => provider().await,
        }
    }

    /// Whether asking again may give another one.
    pub(crate) fn renews(&self) -> bool {
        matches!(self, TokenSource::Provider(_))
    }
}

/// The parts of a client's configuration that its connection needs.
pub(crate) struct Config {
    pub(crate) server: String,
    pub(crate) server_name: Option<String>,
    pub(crate) tls: rustls::ClientConfig,
    pub(crate) tokens: TokenSource,
    pub(crate) kind: SessionKind,
    pub(crate) device: String,
    pub(crate) as_user: String,
    /// Shared with other clients; `None`: sockets of its own.
    pub(crate) sockets: Option<Sockets>,
    pub(crate) backoff: Backoff,
    pub(crate) connect_timeout: Duration,
    pub(crate) command_timeout: Duration,
    pub(crate) outgoing_entries_max: usize,
    pub(crate) outgoing_bytes_max: usize,
}

/// Collects what a [`Client`] needs. `server`, [`trust`](Self::trust) and a token are required.
pub struct ClientBuilder {
    server: String,
    server_name: Option<String>,
    trust: Option<Trust>,
    tokens: Option<TokenSource>,
    kind: SessionKind,
    device: String,
    as_user: String,
    sockets: Option<Sockets>,
    backoff: Backoff,
    connect_timeout: Duration,
    command_timeout: Duration,
    outgoing: Box<dyn OutgoingStore>,
    outgoing_entries_max: usize,
    outgoing_bytes_max: usize,
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // No token is ever printed.
        f.debug_struct("ClientBuilder").field("server", &self.server).field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl ClientBuilder {
    pub(crate) fn new(server: String) -> Self {
        Self {
            server,
            server_name: None,
            trust: None,
            tokens: None,
            kind: SessionKind::default(),
            device: String::new(),
            as_user: String::new(),
            sockets: None,
            backoff: Backoff::default(),
            connect_timeout: Duration::from_secs(5),
            command_timeout: Duration::from_secs(30),
            outgoing: Box::new(MemoryOutgoing),
            outgoing_entries_max: 10_000,
            outgoing_bytes_max: 64 << 20,
        }
    }

    /// Which server to believe.
    pub fn trust(mut self, trust: Trust) -> Self {
        self.trust = Some(trust);
        self
    }

    /// The name that the server's certificate must be for. Default: the host part of the address.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// One token for all times. When its time is over, the client closes with `token_expired`.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.tokens = Some(TokenSource::Fixed(token.into()));
        self
    }

    /// Asks `provider` for a token at each attempt to connect, and in good time before the session's token ends. It is
    /// given 30 s for an answer. An error of a retryable code is retried, any other closes the client.
    pub fn token_provider<P, F>(mut self, provider: P) -> Self
    where
        P: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<String, Error>> + Send + 'static,
    {
        self.tokens = Some(TokenSource::Provider(Box::new(move || Box::pin(provider()))));
        self
    }

    /// Whether to send, too. Default: [`SessionKind::Read`].
    pub fn session(mut self, kind: SessionKind) -> Self {
        self.kind = kind;
        self
    }

    /// The device; without this the token's. Send sessions need one or the other.
    pub fn device(mut self, device: impl Into<String>) -> Self {
        self.device = device.into();
        self
    }

    /// With a service token: the user in whose name to act.
    pub fn as_user(mut self, user: impl Into<String>) -> Self {
        self.as_user = user.into();
        self
    }

    /// Shares sockets with other clients: see [`Sockets`].
    pub fn sockets(mut self, sockets: &Sockets) -> Self {
        self.sockets = Some(sockets.clone());
        self
    }

    /// Keeps unsent commands and their numbers across restarts. Default: [`MemoryOutgoing`], which does not.
    pub fn outgoing(mut self, store: impl OutgoingStore) -> Self {
        self.outgoing = Box::new(store);
        self
    }

    /// The waits between attempts to connect.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// How long an attempt to connect may take, from the look-up of the name to the welcome. Default 5 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long queries and commands without a number wait, connecting included. Default 30 s.
    pub fn command_timeout(mut self, timeout: Duration) -> Self {
        self.command_timeout = timeout;
        self
    }

    /// Bounds the queue of unanswered sends: entries, and bytes of memory. Above, sends are refused with
    /// `outgoing_entries_max` or `outgoing_bytes_max`. Defaults: 10,000 and 64 MiB.
    pub fn outgoing_limits(mut self, entries_max: usize, bytes_max: usize) -> Self {
        self.outgoing_entries_max = entries_max;
        self.outgoing_bytes_max = bytes_max;
        self
    }

    /// Connects and waits for the first session.
    ///
    /// # Errors
    /// Those of [`start`](Self::start), and what the first attempt failed with: `unreachable`, `unauthenticated` (the
    /// certificate or the token), `token_expired`, `not_allowed`, `limit_exceeded` (devices), ... Nothing goes on then.
    pub async fn connect(self) -> Result<Client, Error> {
        let client = self.start()?;
        match client.connected().await {
            Ok(_) => Ok(client),
            Err(error) => {
                client.close().await;
                Err(error)
            }
        }
    }

    /// Makes a client that connects in the background, and takes sends for its queue at once. Needs a Tokio runtime.
    ///
    /// # Errors
    /// `invalid_argument` if something required is missing or malformed; `io` or `unusable` from the store.
    pub fn start(self) -> Result<Client, Error> {
        let missing = |what: &str| Error::new(Code::InvalidArgument, format!("{what} is not given"));
        let trust = self.trust.ok_or_else(|| missing("whom to trust"))?;
        let tokens = self.tokens.ok_or_else(|| missing("a token"))?;
        if !self.device.is_empty() {
            check_name("device", &self.device)?;
        }
        if !self.as_user.is_empty() {
            check_name("user", &self.as_user)?;
        }
        let config = Config {
            tls: trust.to_tls()?,
            server: self.server,
            server_name: self.server_name,
            tokens,
            kind: self.kind,
            device: self.device,
            as_user: self.as_user,
            sockets: self.sockets,
            backoff: self.backoff,
            connect_timeout: self.connect_timeout,
            command_timeout: self.command_timeout,
            outgoing_entries_max: self.outgoing_entries_max,
            outgoing_bytes_max: self.outgoing_bytes_max,
        };
        Client::spawn(config, self.outgoing)
    }
}
