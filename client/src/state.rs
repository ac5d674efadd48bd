//! What an application can see of the connection.

use highwater_proto::error::{Code, Error};
use highwater_proto::id::Incarnation;
use highwater_proto::wire;
use std::time::Duration;
use tokio::sync::watch;

/// What the server told when the session began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Which history the server holds. Another one than before says: drop what was read earlier.
    pub incarnation: Incarnation,
    /// The user; `None` for a service session in nobody's name.
    pub user: Option<String>,
    /// The device, if the session has one.
    pub device: Option<String>,
    /// Send sessions: the device's last accepted number when the session began.
    pub last_client_seq: u64,
    /// Longest body of a message or edit, in bytes.
    pub body_bytes_max: u64,
    /// Most commands that may be unanswered at a time.
    pub commands_in_flight_max: u32,
    /// How long the token is good for.
    pub token_valid: Duration,
    /// The last visible position when the session began.
    pub visible: u64,
    /// The server's time when the session began, in ms since 1970.
    pub time_ms: u64,
}

impl TryFrom<wire::Welcome> for Session {
    type Error = Error;

    fn try_from(welcome: wire::Welcome) -> Result<Self, Error> {
        let incarnation = welcome.incarnation.as_ref().try_into().map_err(|_| {
            let length = welcome.incarnation.len();
            Error::new(Code::Protocol, format!("the server sent an incarnation of {length} bytes instead of 16"))
        })?;
        let non_empty = |name: String| (!name.is_empty()).then_some(name);
        Ok(Self {
            incarnation: Incarnation(incarnation),
            user: non_empty(welcome.user),
            device: non_empty(welcome.device),
            last_client_seq: welcome.last_client_seq,
            body_bytes_max: welcome.body_bytes_max,
            commands_in_flight_max: welcome.commands_in_flight_max,
            token_valid: Duration::from_millis(welcome.token_valid_ms),
            visible: welcome.visible,
            time_ms: welcome.time_ms,
        })
    }
}

/// Where the client stands with its server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectionState {
    /// An attempt to connect is under way.
    Connecting,
    /// A session is open.
    Connected(Session),
    /// The last attempt or session failed; the next attempt follows.
    Backoff {
        /// What went wrong.
        error: Error,
        /// How many attempts failed in a row.
        failures: u32,
        /// How long until the next attempt, from the moment this state began.
        delay: Duration,
    },
    /// The client has ended for good and does not reconnect.
    Closed {
        /// Why; `None` if the application closed it. `replaced`: a newer send session of the same device took over.
        reason: Option<Error>,
    },
}

/// The state, and what those have to know who look at it only now and then.
#[derive(Debug)]
pub(crate) struct Status {
    pub(crate) state: ConnectionState,
    /// What the last attempt or session failed with; `None` while a session is open.
    failure: Option<Error>,
}

impl Default for Status {
    fn default() -> Self {
        Self { state: ConnectionState::Connecting, failure: None }
    }
}

impl Status {
    pub(crate) fn change(&mut self, state: ConnectionState) {
        match &state {
            ConnectionState::Connected(_) => self.failure = None,
            ConnectionState::Backoff { error, .. } => self.failure = Some(error.clone()),
            ConnectionState::Connecting | ConnectionState::Closed { .. } => {}
        }
        self.state = state;
    }

    /// How the present or the last attempt went, once that is known.
    fn outcome(&self) -> Option<Result<Session, Error>> {
        match &self.state {
            ConnectionState::Connected(session) => Some(Ok(session.clone())),
            ConnectionState::Closed { reason } => Some(Err(reason.clone().unwrap_or_else(closed))),
            ConnectionState::Backoff { .. } | ConnectionState::Connecting => self.failure.clone().map(Err),
        }
    }
}

/// Watches a client's [`ConnectionState`]. Quick changes may be seen as one; the newest is never missed.
#[derive(Clone, Debug)]
pub struct StateWatch {
    receiver: watch::Receiver<Status>,
}

impl StateWatch {
    pub(crate) fn new(receiver: watch::Receiver<Status>) -> Self {
        Self { receiver }
    }

    /// The state now.
    pub fn current(&self) -> ConnectionState {
        self.receiver.borrow().state.clone()
    }

    /// Waits until the state is another than when this watch last looked, and gives it. May be cancelled.
    ///
    /// `None` once the client has closed and its closing was seen.
    pub async fn changed(&mut self) -> Option<ConnectionState> {
        self.receiver.changed().await.ok()?;
        Some(self.receiver.borrow_and_update().state.clone())
    }

    /// Waits for a session; fails with what the last attempt or session failed with, if it did, or with why the client
    /// closed. May be cancelled.
    ///
    /// # Errors
    /// As said; attempts go on in the background unless the client has closed.
    pub async fn connected(&mut self) -> Result<Session, Error> {
        // The driver ends with `Closed`, so that there is an end to the waiting.
        let waited = self.receiver.wait_for(|status| status.outcome().is_some()).await;
        waited.map_err(|_| closed())?.outcome().unwrap_or_else(|| Err(closed()))
    }
}

/// The client has closed, or ends without saying why.
pub(crate) fn closed() -> Error {
    Error::new(Code::Unreachable, "the client is closed")
}
