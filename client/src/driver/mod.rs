//! The loop that owns a client: its queue of sends, its store, its connection.
//!
//! Everything else holds a channel to it. It connects, serves the session until that ends, waits, and connects again,
//! until the application closes it or the server says that there is no point.

mod board;
mod desk;
mod session;
mod streams;

use crate::builder::Config;
use crate::client::Sending;
use crate::command::{LocalId, Numbered};
use crate::link::{self, Links, Opened};
use crate::state::{ConnectionState, Status};
use crate::store::OutgoingStore;
use bytes::Bytes;
use desk::{Connected, Desk};
use highwater_proto::error::{Code, Error};
use highwater_proto::wire;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
pub(crate) use streams::DeltaStream;
use tokio::sync::{mpsc, oneshot, watch};

/// A session that held for so long was a success: the next break is the first one again.
const STABLE_AFTER: Duration = Duration::from_secs(5);
/// How long a closing client waits for the server to have everything.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);
/// Orders, or commands in them, taken before anything else gets its turn; they share one write to the store and one to the connection.
const ORDERS_PER_TURN_MAX: usize = 256;

/// What became of commands that were to be queued, of each by itself.
pub(crate) type Enqueued = Vec<Result<Sending, Error>>;

/// What the handles ask of the loop.
pub(crate) enum Order {
    /// Queue numbered commands, one after the other.
    Enqueue { commands: Vec<Numbered>, reply: oneshot::Sender<Enqueued> },
    /// Hand over what an earlier run left.
    Unsent { reply: oneshot::Sender<Vec<(Numbered, Sending)>> },
    /// Take a command out of the queue.
    Withdraw { local: LocalId, reply: oneshot::Sender<Result<bool, Error>> },
    /// Tell when the queue is empty.
    Flush { reply: oneshot::Sender<Result<(), Error>> },
    /// A command without a number.
    Call(Ticket),
    /// Begin a delta stream on this connection, if it is still the present one.
    Subscribe { request: wire::Subscribe, connection: usize, reply: oneshot::Sender<Result<DeltaStream, Error>> },
    /// Tell the server how far the device has got.
    Acknowledge { checkpoint: Bytes },
    /// End.
    Close { reply: oneshot::Sender<()> },
}

impl Order {
    /// How many commands it brings along, or 1.
    fn weight(&self) -> usize {
        match self {
            Order::Enqueue { commands, .. } => commands.len().max(1),
            _ => 1,
        }
    }
}

/// A command without a number, and who waits for its outcome.
pub(crate) struct Ticket {
    pub(crate) call: wire::request::Call,
    pub(crate) reply: oneshot::Sender<Result<CallOutcome, Error>>,
    /// Set before it is put on the wire.
    pub(crate) transmitted: Arc<AtomicBool>,
}

/// What a command without a number has done.
#[derive(Debug)]
pub(crate) enum CallOutcome {
    /// Something changed.
    Changed(Box<wire::Record>),
    /// Nothing had to be changed in this conversation.
    Unchanged(String),
}

/// Why the loop ends for good.
enum Ended {
    /// The application wants to; whoever asked is told.
    ByApplication(Option<oneshot::Sender<()>>),
    /// There is no point in going on.
    Failed(Error),
}

/// Reads the store and starts the loop on the current runtime.
pub(crate) fn spawn(
    config: Arc<Config>,
    mut store: Box<dyn OutgoingStore>,
    orders: mpsc::Receiver<Order>,
    states: watch::Sender<Status>,
    held_up: watch::Sender<Option<Error>>,
    links: Links,
) -> Result<(), Error> {
    let runtime = tokio::runtime::Handle::try_current()
        .map_err(|_| Error::new(Code::InvalidArgument, "a client has to be started within a Tokio runtime"))?;
    let (kept, next_local) = store.load()?;
    let desk = Desk::new(&config, store, kept, next_local, held_up);
    runtime.spawn(Driver { config, desk, orders, states, links, farewell_due: false }.run());
    Ok(())
}

struct Driver {
    config: Arc<Config>,
    desk: Desk,
    orders: mpsc::Receiver<Order>,
    states: watch::Sender<Status>,
    links: Links,
    /// The last session's server has not been told yet that its connection is closed.
    farewell_due: bool,
}

impl Driver {
    async fn run(mut self) {
        let mut failures = 0;
        let ended = loop {
            if let Err(ended) = self.cycle(&mut failures).await {
                break ended;
            }
        };
        let (reason, reply) = match ended {
            Ended::ByApplication(reply) => (None, reply),
            Ended::Failed(error) => (Some(error), None),
        };
        self.desk.close(reason.as_ref());
        // Whoever finds the channel closed, or its order dropped with it, can see why.
        self.publish(ConnectionState::Closed { reason });
        self.orders.close();
        // Shared sockets stay open, and need not be waited for.
        let own = self.config.sockets.is_none();
        if own
            && self.farewell_due
            && tokio::time::timeout(CLOSE_TIMEOUT, self.links.sockets.wait_idle()).await.is_err()
        {
            tracing::debug!("the server did not hear of the end in time");
        }
        // The store's lock is free by the time that the end is told.
        drop(self.desk);
        if let Some(reply) = reply {
            // Whoever asked may have stopped waiting.
            reply.send(()).unwrap_or(());
        }
    }

    fn publish(&self, state: ConnectionState) {
        self.states.send_modify(|status| status.change(state));
    }

    /// One attempt, the session if it succeeds, and the wait after it.
    async fn cycle(&mut self, failures: &mut u32) -> Result<(), Ended> {
        let error = match self.connect().await? {
            Ok(opened) => {
                let began = Instant::now();
                let error = self.serve(opened).await?;
                if began.elapsed() >= STABLE_AFTER {
                    *failures = 0;
                }
                error
            }
            Err(error) => error,
        };
        if is_final(&error, &self.config) {
            return Err(Ended::Failed(error));
        }
        *failures = failures.saturating_add(1);
        self.back_off(error, *failures).await
    }

    /// Connects while orders come in.
    async fn connect(&mut self) -> Result<Result<Opened, Error>, Ended> {
        self.publish(ConnectionState::Connecting);
        let config = Arc::clone(&self.config);
        let links = self.links.clone();
        let opening = link::open(&config, &links);
        tokio::pin!(opening);
        loop {
            tokio::select! {
                opened = &mut opening => return Ok(opened),
                order = self.orders.recv() => self.take_offline(order).await?,
            }
        }
    }

    async fn back_off(&mut self, error: Error, failures: u32) -> Result<(), Ended> {
        let delay = self.config.backoff.delay(failures, rand::random());
        tracing::debug!(%error, failures, ?delay, "no session");
        self.publish(ConnectionState::Backoff { error, failures, delay });
        let over = tokio::time::sleep(delay);
        tokio::pin!(over);
        loop {
            tokio::select! {
                () = &mut over => return Ok(()),
                order = self.orders.recv() => self.take_offline(order).await?,
            }
        }
    }

    /// Does what can be done without a session; the rest is kept, or refused.
    async fn take_offline(&mut self, order: Option<Order>) -> Result<(), Ended> {
        let mut next = Some(order.ok_or(Ended::ByApplication(None))?);
        let mut turns = ORDERS_PER_TURN_MAX;
        while let Some(order) = next.take() {
            let weight = order.weight();
            match self.desk.take(order) {
                None | Some(Connected::Acknowledge(_)) => {}
                Some(Connected::Subscribe { reply, .. }) => refuse_subscription(reply),
                Some(Connected::Close(reply)) => {
                    self.desk.settle().await.map_err(Ended::Failed)?;
                    return Err(Ended::ByApplication(Some(reply)));
                }
            }
            turns = turns.saturating_sub(weight);
            // What is taken off the channel is carried out: nobody else has it.
            if turns > 0 {
                next = self.orders.try_recv().ok();
            }
        }
        self.desk.settle().await.map_err(Ended::Failed)
    }
}

/// The caller looks for the next connection then.
fn refuse_subscription(reply: oneshot::Sender<Result<DeltaStream, Error>>) {
    // Whoever asked may have stopped waiting.
    reply.send(Err(Error::new(Code::Unreachable, "there is no connection"))).unwrap_or(());
}

/// Whether there is no point in another attempt.
fn is_final(error: &Error, config: &Config) -> bool {
    match error.code {
        Code::TokenExpired => !config.tokens.renews(),
        Code::InvalidArgument
        | Code::LimitExceeded
        | Code::NotAllowed
        | Code::NotFound
        | Code::Conflict
        | Code::Replaced
        | Code::Unauthenticated
        // Damage in the server's store stays where it is, however often it is read.
        | Code::Corrupt
        | Code::Io
        | Code::Unusable => true,
        Code::OutOfOrder
        | Code::AlreadyAccepted
        | Code::Recalled
        | Code::Busy
        | Code::ReadOnly
        | Code::OutcomeUnknown
        | Code::Unreachable
        | Code::Protocol
        | Code::Poisoned => false,
    }
}
