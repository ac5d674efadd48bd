//! What it takes to be many users at once: shared by those commands that play whole crowds.
//!
//! - [`Connector`] connects users, and a service; [`groups`] makes conversations; [`Unanswered`] waits for receipts;
//! - [`progress`] tells how far it has got, [`table`] what came of it.

pub(crate) mod groups;
pub(crate) mod progress;
pub(crate) mod table;
mod unanswered;

use crate::args::Global;
use crate::connect::{Acting, Login};
use crate::failure::Failure;
use highwater_client::{Backoff, ClientBuilder, ConnectionState, Error, Session, SessionKind, Sockets, StateWatch};
use progress::Style;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
pub(crate) use unanswered::{Unanswered, all};

/// A crowd gives up when nothing has come from the server for so long.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(60);

/// The sessions of a crowd wait for nothing else than the server's return.
const BACKOFF: Backoff = Backoff { base: Duration::from_millis(50), max: Duration::from_secs(1) };

/// Connects users, and a service; and says how to tell what they have done.
#[derive(Clone)]
pub(crate) struct Connector {
    login: Arc<Login>,
    pub(crate) progress: Style,
}

impl Connector {
    /// Of a service: with `--dev`, or with a service's token.
    pub(crate) fn new(global: &Global) -> Result<Self, Failure> {
        let login = Arc::new(Login::new(global, Acting::Service)?);
        Ok(Self { login, progress: Style::suitable(global.json) })
    }

    /// Whether it may make users and conversations.
    pub(crate) fn is_service(&self) -> bool {
        self.login.is_service()
    }

    /// Whether it has users' own tokens, with which they come into being, and may read.
    pub(crate) fn mints_tokens(&self) -> bool {
        self.login.mints_tokens()
    }

    /// In nobody's name.
    pub(crate) fn service(&self) -> ClientBuilder {
        self.builder(None, None, SessionKind::Read)
    }

    /// A user's device that sends.
    pub(crate) fn sender(&self, user: &str, device: &str) -> ClientBuilder {
        self.builder(Some(user), Some(device), SessionKind::Send)
    }

    /// A user who reads.
    pub(crate) fn reader(&self, user: &str) -> ClientBuilder {
        self.builder(Some(user), None, SessionKind::Read)
    }

    fn builder(&self, user: Option<&str>, device: Option<&str>, kind: SessionKind) -> ClientBuilder {
        self.login.builder_for(user, device, kind).backoff(BACKOFF)
    }
}

/// Some sockets that clients share by turns: what many connections then cost is not a matter of sockets.
#[derive(Clone, Debug)]
pub(crate) struct SocketPool(Vec<Sockets>);

impl SocketPool {
    /// So many, at least one.
    pub(crate) fn new(count: usize) -> Self {
        Self((0..count.max(1)).map(|_| Sockets::default()).collect())
    }

    /// Those of the client with this number.
    pub(crate) fn of(&self, number: usize) -> &Sockets {
        &self.0[number % self.0.len()]
    }
}

/// Waits for a session, however often connecting fails; the caller decides when that takes too long.
pub(crate) async fn opened(states: &mut StateWatch) -> Result<Session, Error> {
    loop {
        match states.connected().await {
            Ok(session) => return Ok(session),
            Err(error) if matches!(states.current(), ConnectionState::Closed { .. }) => return Err(error),
            // That one attempt failed says nothing about the next one.
            Err(_) => drop(states.changed().await),
        }
    }
}

/// Writes a report where it was asked for.
pub(crate) fn write_report(path: &Path, json: &str) -> Result<(), Failure> {
    std::fs::write(path, format!("{json}\n")).map_err(|error| Failure::io(format!("{}: {error}", path.display())))
}
