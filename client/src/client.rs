//! The handle through which an application uses a connection that comes and goes.

use crate::builder::{ClientBuilder, Config, SessionKind};
use crate::command::{LocalId, Message, NewConversation, Numbered, SettingsChange};
use crate::driver::{self, CallOutcome, Order, Ticket};
use crate::link::{Link, Links};
use crate::model::{Change, Receipt, Record, fanout_to_wire, kind_to_wire, role_to_wire};
use crate::state::{ConnectionState, Session, StateWatch, Status, closed};
use crate::store::{CheckpointStore, MemoryCheckpoints, OutgoingStore};
use crate::subscription::{SubscribeOptions, Subscription};
use bytes::Bytes;
use highwater_proto::error::{Code, Error};
use highwater_proto::record::Role;
use highwater_proto::wire;
use highwater_proto::wire::request::Call;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{mpsc, oneshot, watch};

/// Most orders that wait for the client's loop; above, callers wait.
const ORDERS_MAX: usize = 1_024;
/// Commands that are queued together.
const COMMANDS_PER_ORDER_MAX: usize = 256;

/// A connection to a server that comes back by itself. Cheap to clone; the last clone's end closes it.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    orders: mpsc::Sender<Order>,
    states: watch::Receiver<Status>,
    held_up: watch::Receiver<Option<Error>>,
    links: Links,
    config: Arc<Config>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("state", &self.inner.states.borrow().state).finish_non_exhaustive()
    }
}

/// A numbered command on its way.
#[derive(Debug)]
pub struct Sending {
    local: LocalId,
    receipt: oneshot::Receiver<Result<Receipt, Error>>,
}

impl Sending {
    pub(crate) fn new(local: LocalId, receipt: oneshot::Receiver<Result<Receipt, Error>>) -> Self {
        Self { local, receipt }
    }

    /// By which a later message of this device may quote this one before it is acknowledged.
    pub fn local_id(&self) -> LocalId {
        self.local
    }

    /// Waits until the server has answered, over as many connections as it takes. May be cancelled; the command is sent
    /// all the same.
    ///
    /// # Errors
    /// A refusal (`not_allowed`, `not_found`, `limit_exceeded`, ...): nothing was done, and the command left the queue.
    /// `conflict`: the number was used by another client of this device; nothing was done. `already_accepted`: it was
    /// accepted long ago. `outcome_unknown`, `unreachable` or why the client closed: the command stays in the queue, and
    /// a later client on the same store sends it, once at most.
    pub async fn receipt(&mut self) -> Result<Receipt, Error> {
        (&mut self.receipt).await.unwrap_or_else(|_| Err(closed()))
    }
}

impl Client {
    /// Begins the description of a client. `server` is `host:port`.
    pub fn builder(server: impl Into<String>) -> ClientBuilder {
        ClientBuilder::new(server.into())
    }

    pub(crate) fn spawn(config: Config, store: Box<dyn OutgoingStore>) -> Result<Self, Error> {
        let config = Arc::new(config);
        let (orders, inbox) = mpsc::channel(ORDERS_MAX);
        let (publisher, states) = watch::channel(Status::default());
        let (refusals, held_up) = watch::channel(None);
        let links = Links::new(config.sockets.clone().unwrap_or_default());
        driver::spawn(Arc::clone(&config), store, inbox, publisher, refusals, links.clone())?;
        Ok(Self { inner: Arc::new(Inner { orders, states, held_up, links, config }) })
    }

    /// Watches the connection.
    pub fn state(&self) -> StateWatch {
        StateWatch::new(self.inner.states.clone())
    }

    /// Waits for a session; fails with what the last attempt or session failed with, if it did, or with why the client
    /// closed. May be cancelled.
    ///
    /// # Errors
    /// As said; attempts go on in the background unless the state is `Closed`.
    pub async fn connected(&self) -> Result<Session, Error> {
        self.state().connected().await
    }

    /// What the server told when the present session began; `None` without one.
    pub fn session(&self) -> Option<Session> {
        match &self.inner.states.borrow().state {
            ConnectionState::Connected(session) => Some(session.clone()),
            _ => None,
        }
    }

    /// Queues a command durably and gives its place in the queue; it is sent as soon as there is a connection, in order.
    ///
    /// # Errors
    /// `not_allowed` in a read session; `limit_exceeded` if the body, the mentions or the queue are too large;
    /// `invalid_argument` for malformed names and for a quote of a local id that is neither waiting nor among the last
    /// 1,024 acknowledged; `io` if it could not be stored; `unreachable` if the client is closed.
    pub async fn enqueue(&self, command: Numbered) -> Result<Sending, Error> {
        if self.inner.config.kind == SessionKind::Read {
            return Err(Error::new(Code::NotAllowed, "the session was opened to read only"));
        }
        let mut queued = self.enqueue_some(vec![command]).await?;
        queued.pop().unwrap_or_else(|| Err(self.ended()))
    }

    /// Queues several commands, in their order, as [`enqueue`](Self::enqueue) would one after the other. Up to 256 at a
    /// time share one write to the store and one to the connection, where each of several calls has its own: a program
    /// with many messages at hand gets several times as many through.
    ///
    /// # Errors
    /// Those of [`enqueue`](Self::enqueue), for each command by itself. If this is cancelled, some may be queued.
    pub async fn enqueue_all(&self, commands: impl IntoIterator<Item = Numbered>) -> Vec<Result<Sending, Error>> {
        if self.inner.config.kind == SessionKind::Read {
            let refusal = || Err(Error::new(Code::NotAllowed, "the session was opened to read only"));
            return commands.into_iter().map(|_| refusal()).collect();
        }
        let mut commands = commands.into_iter();
        let mut queued = Vec::new();
        loop {
            let some: Vec<Numbered> = commands.by_ref().take(COMMANDS_PER_ORDER_MAX).collect();
            if some.is_empty() {
                return queued;
            }
            let count = some.len();
            match self.enqueue_some(some).await {
                Ok(some) => queued.extend(some),
                Err(error) => queued.extend((0..count).map(|_| Err(error.clone()))),
            }
        }
    }

    /// An outcome for each command, or why there is none of any.
    async fn enqueue_some(&self, commands: Vec<Numbered>) -> Result<Vec<Result<Sending, Error>>, Error> {
        let (reply, queued) = oneshot::channel();
        self.order(Order::Enqueue { commands, reply }).await?;
        queued.await.map_err(|_| self.ended())
    }

    /// Sends a message and waits for its receipt. Cancelled, it is sent all the same.
    ///
    /// # Errors
    /// Those of [`enqueue`](Self::enqueue) and of [`Sending::receipt`].
    pub async fn send(&self, message: Message) -> Result<Receipt, Error> {
        self.enqueue(Numbered::Send(message)).await?.receipt().await
    }

    /// Gives an earlier message of one's own a new body.
    ///
    /// # Errors
    /// As [`send`](Self::send); `recalled` if the message was withdrawn.
    pub async fn edit(&self, conversation: &str, target: u64, body: impl Into<Bytes>) -> Result<Receipt, Error> {
        let command = Numbered::Edit { conversation: conversation.to_owned(), target, body: body.into() };
        self.enqueue(command).await?.receipt().await
    }

    /// Withdraws an earlier message.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn recall(&self, conversation: &str, target: u64) -> Result<Receipt, Error> {
        self.enqueue(Numbered::Recall { conversation: conversation.to_owned(), target }).await?.receipt().await
    }

    /// What was left unsent by an earlier run and stands in the store: each command once, for whoever asks first.
    ///
    /// # Errors
    /// `unreachable` if the client is closed.
    pub async fn unsent(&self) -> Result<Vec<(Numbered, Sending)>, Error> {
        let (reply, unsent) = oneshot::channel();
        self.order(Order::Unsent { reply }).await?;
        unsent.await.map_err(|_| self.ended())
    }

    /// Takes a command out of the queue unless it may have been accepted; says whether it did.
    ///
    /// # Errors
    /// `io` if the store could not be changed; `unreachable` if the client is closed.
    pub async fn withdraw(&self, local: LocalId) -> Result<bool, Error> {
        let (reply, withdrawn) = oneshot::channel();
        self.order(Order::Withdraw { local, reply }).await?;
        withdrawn.await.unwrap_or_else(|_| Err(self.ended()))
    }

    /// Waits until every queued command has been answered. May be cancelled.
    ///
    /// # Errors
    /// Why the client closed before that.
    pub async fn flush(&self) -> Result<(), Error> {
        let (reply, flushed) = oneshot::channel();
        self.order(Order::Flush { reply }).await?;
        flushed.await.unwrap_or_else(|_| Err(self.ended()))
    }

    /// Waits until the server takes no sends for the time being, and gives the reason: `busy` or `read_only`. They stay
    /// queued, and are tried again twice a second. Never resolves while the server takes them. May be cancelled.
    pub async fn held_up(&self) -> Error {
        let mut held_up = self.inner.held_up.clone();
        match held_up.wait_for(Option::is_some).await.map(|error| error.clone()) {
            Ok(Some(error)) => error,
            // Whoever waits for a receipt learns that the client has closed.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    /// Makes a conversation. A repeated one (same creator, kind, id) is `Unchanged`.
    ///
    /// # Errors
    /// Of all commands without a number, here and below: refusals by code, nothing was done; `unreachable`, it was never
    /// sent; `outcome_unknown`, the connection broke off: they are idempotent by state, so ask again.
    pub async fn create(&self, new: NewConversation) -> Result<Change, Error> {
        let call = Call::Create(wire::Create {
            kind: kind_to_wire(new.kind),
            conversation: new.id.unwrap_or_default(),
            owner: new.owner.unwrap_or_default(),
            members: new.members,
            open: new.open,
            history: new.history,
        });
        self.call(call).await
    }

    /// Makes others members; at most 1,000 at a time.
    ///
    /// # Errors
    /// See [`create`](Self::create).
    pub async fn add(&self, conversation: &str, members: Vec<String>) -> Result<Change, Error> {
        self.call(Call::Add(wire::Members { conversation: conversation.to_owned(), members })).await
    }

    /// Makes others leave; at most 1,000 at a time.
    ///
    /// # Errors
    /// See [`create`](Self::create).
    pub async fn remove(&self, conversation: &str, members: Vec<String>) -> Result<Change, Error> {
        self.call(Call::Remove(wire::Members { conversation: conversation.to_owned(), members })).await
    }

    /// Becomes a member of an open channel.
    ///
    /// # Errors
    /// See [`create`](Self::create).
    pub async fn join(&self, conversation: &str) -> Result<Change, Error> {
        self.call(Call::Join(wire::Target { conversation: conversation.to_owned() })).await
    }

    /// Stops being a member.
    ///
    /// # Errors
    /// See [`create`](Self::create).
    pub async fn leave(&self, conversation: &str) -> Result<Change, Error> {
        self.call(Call::Leave(wire::Target { conversation: conversation.to_owned() })).await
    }

    /// Changes a member's role.
    ///
    /// # Errors
    /// See [`create`](Self::create).
    pub async fn role(&self, conversation: &str, user: &str, role: Role) -> Result<Change, Error> {
        let (conversation, user) = (conversation.to_owned(), user.to_owned());
        self.call(Call::Role(wire::SetRole { conversation, user, role: role_to_wire(role) })).await
    }

    /// Changes settings.
    ///
    /// # Errors
    /// See [`create`](Self::create).
    pub async fn settings(&self, conversation: &str, change: SettingsChange) -> Result<Change, Error> {
        let call = Call::Settings(wire::SetSettings {
            conversation: conversation.to_owned(),
            open: change.open,
            history: change.history,
            fanout: change.fanout.map(fanout_to_wire),
        });
        self.call(call).await
    }

    /// Stops counting a conversation's unread messages in the user's total.
    ///
    /// # Errors
    /// See [`create`](Self::create).
    pub async fn mute(&self, conversation: &str) -> Result<Change, Error> {
        self.call(Call::Mute(wire::Mute { conversation: conversation.to_owned(), muted: true })).await
    }

    /// Counts them again.
    ///
    /// # Errors
    /// See [`create`](Self::create).
    pub async fn unmute(&self, conversation: &str) -> Result<Change, Error> {
        self.call(Call::Mute(wire::Mute { conversation: conversation.to_owned(), muted: false })).await
    }

    /// Says that everything up to `through` has been read. A mark never goes back.
    ///
    /// # Errors
    /// See [`create`](Self::create).
    pub async fn mark_read(&self, conversation: &str, through: u64) -> Result<Change, Error> {
        self.call(Call::Read(wire::MarkRead { conversation: conversation.to_owned(), through })).await
    }

    /// Revokes one of the user's devices; its numbers are kept.
    ///
    /// # Errors
    /// See [`create`](Self::create).
    pub async fn revoke_device(&self, device: &str) -> Result<Change, Error> {
        self.call(Call::Revoke(wire::Revoke { device: device.to_owned() })).await
    }

    /// Service tokens only: makes a user known.
    ///
    /// # Errors
    /// See [`create`](Self::create).
    pub async fn create_user(&self, user: &str) -> Result<Change, Error> {
        self.call(Call::CreateUser(wire::CreateUser { user: user.to_owned() })).await
    }

    /// Everything the user missed and, if asked for, everything that follows; the checkpoint is kept in memory only.
    pub fn subscribe(&self, options: SubscribeOptions) -> Subscription<MemoryCheckpoints> {
        self.subscribe_with(options, MemoryCheckpoints::default())
    }

    /// As [`subscribe`](Self::subscribe), going on from the checkpoint in `store`, and keeping it there.
    ///
    /// A client has one subscription at a time: a new one ends the one before.
    pub fn subscribe_with<S: CheckpointStore>(&self, options: SubscribeOptions, store: S) -> Subscription<S> {
        Subscription::new(self.clone(), options, store)
    }

    /// Goes on from another UDP socket without reconnecting: the connection migrates. Without an argument from a new
    /// port of the system's choice. Clients that share sockets move together.
    ///
    /// # Errors
    /// `io` if the socket cannot be used; `unreachable` if the client has never tried to connect.
    pub fn rebind(&self, socket: Option<std::net::UdpSocket>) -> Result<(), Error> {
        self.inner.links.sockets.rebind(socket)
    }

    /// Ends the session and the client. What is queued stays in the store; [`flush`](Self::flush) before, to empty it.
    pub async fn close(&self) {
        let (reply, done) = oneshot::channel();
        if self.order(Order::Close { reply }).await.is_ok() {
            // An error says that it had ended by itself.
            done.await.unwrap_or(());
        }
    }

    async fn call(&self, call: Call) -> Result<Change, Error> {
        match self.call_raw(call).await? {
            CallOutcome::Changed(record) => Ok(Change::Changed(Record::try_from(*record)?)),
            CallOutcome::Unchanged(conversation) => Ok(Change::Unchanged { conversation }),
        }
    }

    async fn call_raw(&self, call: Call) -> Result<CallOutcome, Error> {
        let transmitted = Arc::new(AtomicBool::new(false));
        let (reply, outcome) = oneshot::channel();
        let waiting = async {
            let ticket = Ticket { call, reply, transmitted: Arc::clone(&transmitted) };
            self.order(Order::Call(ticket)).await?;
            outcome.await.unwrap_or_else(|_| Err(self.ended()))
        };
        match tokio::time::timeout(self.inner.config.command_timeout, waiting).await {
            Ok(outcome) => outcome,
            Err(_) if transmitted.load(Ordering::Acquire) => {
                Err(Error::new(Code::OutcomeUnknown, "the server did not answer in time"))
            }
            Err(_) => Err(Error::new(Code::Unreachable, "there was no connection in time; nothing was sent")),
        }
    }

    pub(crate) async fn order(&self, order: Order) -> Result<(), Error> {
        let ended = self.inner.orders.send(order).await.is_err();
        if !ended {
            return Ok(());
        }
        Err(self.ended())
    }

    /// Why a client that takes no more orders has closed.
    fn ended(&self) -> Error {
        match &self.inner.states.borrow().state {
            ConnectionState::Closed { reason: Some(reason) } => reason.clone(),
            _ => closed(),
        }
    }

    /// The present connection, or the next one.
    pub(crate) async fn link(&self) -> Result<Link, Error> {
        let mut links = self.inner.links.watch();
        let mut states = self.inner.states.clone();
        loop {
            if let ConnectionState::Closed { reason } = &states.borrow_and_update().state {
                return Err(reason.clone().unwrap_or_else(closed));
            }
            let present = links.borrow_and_update().clone();
            // The loop that owns the connection may learn of its end a moment later than others do.
            if let Some(link) = present.filter(|link| link.connection.close_reason().is_none()) {
                return Ok(link);
            }
            tokio::select! {
                changed = links.changed() => changed.map_err(|_| closed())?,
                changed = states.changed() => changed.map_err(|_| closed())?,
            }
        }
    }

    /// Tells the server how far the device has got; dropped if the loop is busy, since a later one will say more.
    pub(crate) fn acknowledge(&self, checkpoint: Bytes) {
        if self.inner.config.kind == SessionKind::Send
            && let Err(error) = self.inner.orders.try_send(Order::Acknowledge { checkpoint })
        {
            tracing::trace!(%error, "an acknowledgement was left out");
        }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.inner.config
    }
}
