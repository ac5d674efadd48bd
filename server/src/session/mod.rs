//! One connection: its first frame, its command stream, its delta stream, its queries, and how it ends.
//!
//! One task does everything on the command stream, in both directions, so that commands reach the engine in the order in
//! which they were sent. Deltas and queries are tasks of their own: a slow one delays nobody. Whatever ends a session
//! ends all of them; if there is something to say, the last frame of the command stream says it.

mod commands;
mod deltas;
mod handover;
mod hello;
mod outbox;
mod queries;

use crate::auth::{Identity, TokenKeys};
use crate::config::Timeouts;
use crate::convert::Speaker;
use commands::CommandStream;
pub(crate) use handover::Handover;
use highwater_engine::command::Completion;
use highwater_engine::{Command, Engine, Outcome, SendSession};
use highwater_proto::error::{Code, Error};
use highwater_proto::wire::{Failure, ServerFrame, encode_frame, server_frame};
use outbox::Outbox;
use parking_lot::Mutex;
use quinn::{Connection, SendStream, VarInt};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long the last frame may take to reach the peer.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(2);
/// The clock may be set while a token runs; it is looked at again after so long.
const CLOCK_CHECK_INTERVAL: Duration = Duration::from_secs(30);

/// What all sessions of a server share.
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) tokens: TokenKeys,
    pub(crate) timeouts: Timeouts,
    /// Becomes true when the server drains.
    pub(crate) draining: watch::Receiver<bool>,
    /// Bounds the reads of the store that run at once.
    pub(crate) reads: Arc<Semaphore>,
    /// Bounds the pages of catching-up devices that are read in one round of the runtime.
    pub(crate) catch_ups: Semaphore,
    /// Wakes the sessions that the engine has something for.
    pub(crate) handover: Arc<Handover>,
}

impl Shared {
    /// Does something that may touch the disk, away from the threads that serve connections.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Engine) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let engine = self.engine.clone();
        let stopped = |_| Error::new(Code::Busy, "the server stops");
        // The permit goes with the work, which runs to its end even if nobody waits for it any more.
        let permit =
            self.reads.clone().acquire_owned().await.map_err(|_| Error::new(Code::Busy, "the server stops"))?;
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work(&engine)
        })
        .await
        .map_err(stopped)?
    }

    /// Does a command and waits for how it went.
    async fn execute(&self, command: Command) -> Result<Outcome, Error> {
        let (tell, told) = oneshot::channel();
        let completion: Completion = Box::new(move |result| {
            // Nobody listens any more if the connection went away; the command stands all the same.
            let _ = tell.send(result);
        });
        self.engine.submit(command, completion)?;
        told.await.map_err(|_| Error::new(Code::OutcomeUnknown, "the server stopped before the command was done"))?
    }

    fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }
}

/// An open session.
struct Session {
    shared: Arc<Shared>,
    connection: Connection,
    speaker: Speaker,
    device: Option<Arc<str>>,
    /// The right to send numbered commands.
    numbering: Option<SendSession>,
    outbox: Arc<Outbox>,
    ending: Arc<Ending>,
    /// Whom the token named that opened the session.
    identity: Identity,
    /// When the newest token ends, in ms since 1970.
    token_ends_ms: watch::Sender<u64>,
}

/// Why a session is over.
#[derive(Debug)]
enum End {
    /// The client finished its command stream: it wants no more.
    Done,
    /// The connection is no more.
    Gone,
    /// The server ends it, and says why.
    Goodbye(Error),
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        End::Goodbye(error)
    }
}

/// The first reason to end a session that came from elsewhere than its own task.
#[derive(Default)]
struct Ending {
    reason: Mutex<Option<Error>>,
    told: Notify,
}

impl Ending {
    fn end(&self, error: Error) {
        self.reason.lock().get_or_insert(error);
        self.told.notify_one();
    }

    async fn reason(&self) -> Error {
        loop {
            if let Some(error) = self.reason.lock().clone() {
                return error;
            }
            self.told.notified().await;
        }
    }
}

/// Serves a connection until it ends. `unauthenticated` is given back once the client has shown who it is.
pub(crate) async fn serve(shared: Arc<Shared>, connection: Connection, unauthenticated: OwnedSemaphorePermit) {
    let opened = hello::open(&shared, &connection).await;
    drop(unauthenticated);
    match opened {
        Ok((session, stream, send)) => run(&session, stream, send).await,
        Err(hello::Refused { send, error }) => {
            tracing::debug!(peer = %connection.remote_address(), %error, "session refused");
            say_goodbye(&connection, send, &error).await;
        }
    }
}

async fn run(session: &Arc<Session>, mut stream: CommandStream, mut send: SendStream) {
    let connection = &session.connection;
    tracing::debug!(peer = %connection.remote_address(), user = session.speaker.user_name(), "session opened");
    let mut reader = pin!(commands::read(session, &mut stream));
    let mut writer = pin!(session.outbox.write_to(&mut send));
    let mut expired = pin!(token_expired(session.token_ends_ms.subscribe()));
    let mut drained = pin!(drained(session));
    let mut queries = JoinSet::new();
    let end = loop {
        tokio::select! {
            error = session.ending.reason() => break End::Goodbye(error),
            end = &mut reader => break end,
            () = &mut writer => break End::Gone,
            () = &mut expired => break End::Goodbye(Error::new(Code::TokenExpired, "the token's time is over")),
            () = &mut drained => break End::Goodbye(draining()),
            stream = connection.accept_bi() => match stream {
                Ok((answer, question)) => {
                    queries.spawn(queries::serve(session.clone(), question, answer));
                }
                Err(_) => break End::Gone,
            },
            Some(_) = queries.join_next(), if !queries.is_empty() => {}
        }
    };
    tracing::debug!(peer = %connection.remote_address(), user = session.speaker.user_name(), ?end, "session ended");
    // Dropping `queries` ends those under way; so does dropping `reader` for the delta stream.
    match end {
        End::Gone => connection.close(VarInt::from_u32(0), b""),
        End::Done => {
            // What was accepted is still answered.
            let answered = async {
                session.outbox.idle().await;
                session.outbox.close(None);
            };
            let _ = timeout(FAREWELL_TIMEOUT, async { tokio::join!(answered, &mut writer) }).await;
            connection.close(VarInt::from_u32(0), b"");
        }
        End::Goodbye(error) => {
            session.outbox.close(Some(&goodbye(&error)));
            let _ = timeout(FAREWELL_TIMEOUT, &mut writer).await;
            close(connection, &error);
        }
    }
}

/// Resolves when the newest token's time is over.
async fn token_expired(mut ends_ms: watch::Receiver<u64>) {
    loop {
        let left_ms = ends_ms.borrow_and_update().saturating_sub(now_ms());
        if left_ms == 0 {
            return;
        }
        let wait = Duration::from_millis(left_ms).min(CLOCK_CHECK_INTERVAL);
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            changed = ends_ms.changed() => if changed.is_err() { return },
        }
    }
}

/// Resolves when the server drains and everything that the session asked before is answered.
async fn drained(session: &Session) {
    let mut draining = session.shared.draining.clone();
    // An error means that the server is gone, which is no different.
    let _ = draining.wait_for(|draining| *draining).await;
    session.outbox.idle().await;
}

fn draining() -> Error {
    Error::new(Code::Busy, "the server is draining; connect again")
}

fn protocol(message: impl Into<String>) -> Error {
    Error::new(Code::Protocol, message)
}

fn goodbye(error: &Error) -> ServerFrame {
    ServerFrame { body: Some(server_frame::Body::Goodbye(Failure::from(error))) }
}

/// Ends a connection that has no session: says why on its command stream, if it opened one.
async fn say_goodbye(connection: &Connection, send: Option<SendStream>, error: &Error) {
    if let Some(mut send) = send {
        let mut frame = Vec::new();
        if encode_frame(&goodbye(error), &mut frame).is_ok() {
            let said = async {
                if send.write_all(&frame).await.is_ok() && send.finish().is_ok() {
                    let _ = send.stopped().await;
                }
            };
            let _ = timeout(FAREWELL_TIMEOUT, said).await;
        }
    }
    close(connection, error);
}

/// Closes the connection with the error's number on the wire, and its message as far as it fits a packet.
fn close(connection: &Connection, error: &Error) {
    const REASON_BYTES_MAX: usize = 200;
    let number = Failure::from(error).code;
    let reason = error.message.as_bytes();
    connection.close(VarInt::from_u32(number), reason.get(..REASON_BYTES_MAX).unwrap_or(reason));
}

/// The time in ms since 1970.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| u64::try_from(elapsed.as_millis()).unwrap_or(0))
}

/// Ends a task when it is dropped.
struct AbortOnDrop(tokio::task::AbortHandle);

impl AbortOnDrop {
    fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(task).abort_handle())
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
