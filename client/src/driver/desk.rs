//! What outlives a session: the queue of sends with its store, and everybody who waits for an answer.

use super::{Enqueued, Order, Ticket};
use crate::builder::Config;
use crate::client::Sending;
use crate::command::{LocalId, Numbered, Quote, Recipient};
use crate::model::Receipt;
use crate::outgoing::Outgoing;
use crate::store::{OutgoingStore, QueueChange, Queued};
use bytes::Bytes;
use highwater_proto::error::{Code, Error};
use highwater_proto::id::{Incarnation, check_name};
use highwater_proto::limits::{BODY_BYTES_CONFIGURABLE_MAX, MENTIONS_MAX};
use highwater_proto::wire;
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use tokio::sync::{oneshot, watch};

/// Commands without a number that wait at a time.
const CALLS_MAX: usize = 1_024;

/// An order that concerns the session.
pub(super) enum Connected {
    Subscribe { request: wire::Subscribe, connection: usize, reply: oneshot::Sender<Result<super::DeltaStream, Error>> },
    Acknowledge(Bytes),
    Close(oneshot::Sender<()>),
}

pub(super) struct Desk {
    pub(super) outgoing: Outgoing,
    /// Commands without a number that wait for a session or for room in it.
    pub(super) calls: VecDeque<Ticket>,
    /// Longest body that the server takes, as far as is known.
    pub(super) body_bytes_max: u64,
    /// `None` while a thread for blocking work has it.
    store: Option<Box<dyn OutgoingStore>>,
    receipts: FxHashMap<LocalId, oneshot::Sender<Result<Receipt, Error>>>,
    unsent: Vec<(Numbered, Sending)>,
    /// Told once what they did is durable.
    queued: Vec<(oneshot::Sender<Enqueued>, Enqueued)>,
    withdrawn: Vec<oneshot::Sender<Result<bool, Error>>>,
    flushing: Vec<oneshot::Sender<Result<(), Error>>>,
    held_up: watch::Sender<Option<Error>>,
}

/// Whoever asked may have stopped waiting: that is no concern of the loop.
pub(super) fn tell<T>(reply: oneshot::Sender<T>, answer: T) {
    if reply.send(answer).is_err() {
        tracing::trace!("nobody waits for an answer any more");
    }
}

impl Desk {
    pub(super) fn new(
        config: &Config,
        store: Box<dyn OutgoingStore>,
        kept: Vec<Queued>,
        next_local: LocalId,
        held_up: watch::Sender<Option<Error>>,
    ) -> Self {
        let outgoing = Outgoing::new(Vec::new(), next_local, config.outgoing_entries_max, config.outgoing_bytes_max);
        let mut desk = Self {
            outgoing,
            calls: VecDeque::new(),
            body_bytes_max: BODY_BYTES_CONFIGURABLE_MAX as u64,
            store: Some(store),
            receipts: FxHashMap::default(),
            unsent: Vec::new(),
            queued: Vec::new(),
            withdrawn: Vec::new(),
            flushing: Vec::new(),
            held_up,
        };
        desk.expect_receipts(&kept);
        desk.outgoing.adopt(kept);
        desk
    }

    fn expect_receipts(&mut self, kept: &[Queued]) {
        for queued in kept {
            let (sender, receipt) = oneshot::channel();
            self.receipts.insert(queued.local, sender);
            self.unsent.push((Numbered::clone(&queued.command), Sending::new(queued.local, receipt)));
        }
    }

    /// Carries an order out as far as it needs no session; gives back what does.
    pub(super) fn take(&mut self, order: Order) -> Option<Connected> {
        match order {
            Order::Enqueue { commands, reply } => {
                let queued = commands.into_iter().map(|command| self.enqueue(command)).collect();
                self.queued.push((reply, queued));
            }
            Order::Unsent { reply } => tell(reply, std::mem::take(&mut self.unsent)),
            Order::Withdraw { local, reply } => match self.outgoing.withdraw(local) {
                true => self.withdrawn.push(reply),
                false => tell(reply, Ok(false)),
            },
            Order::Flush { reply } => self.flushing.push(reply),
            Order::Call(ticket) => self.call(ticket),
            Order::Subscribe { request, connection, reply } => {
                return Some(Connected::Subscribe { request, connection, reply });
            }
            Order::Acknowledge { checkpoint } => return Some(Connected::Acknowledge(checkpoint)),
            Order::Close { reply } => return Some(Connected::Close(reply)),
        }
        None
    }

    /// Keeps a command without a number until there is a session. Those whose callers gave up are dropped when there
    /// are many, so that a long time out of reach costs no memory.
    fn call(&mut self, ticket: Ticket) {
        if self.calls.len() >= CALLS_MAX {
            self.calls.retain(|ticket| !ticket.reply.is_closed());
        }
        if self.calls.len() >= CALLS_MAX {
            let given = format!("{} commands wait for a connection", self.calls.len());
            let error = Error { code: Code::Busy, ..Error::limit("calls_max", CALLS_MAX as u64, given) };
            return tell(ticket.reply, Err(error));
        }
        self.calls.push_back(ticket);
    }

    fn enqueue(&mut self, command: Numbered) -> Result<Sending, Error> {
        check(&command, self.body_bytes_max)?;
        let local = self.outgoing.enqueue(command)?;
        let (sender, receipt) = oneshot::channel();
        self.receipts.insert(local, sender);
        Ok(Sending::new(local, receipt))
    }

    /// A session with a server of this incarnation began.
    pub(super) async fn connected(&mut self, incarnation: Incarnation, last: u64) -> Result<(), Error> {
        let adopted = self.with_store(move |store| store.bind(incarnation)).await?;
        self.expect_receipts(&adopted);
        self.outgoing.connected(last, adopted);
        self.settle().await
    }

    /// Makes durable what has changed, and then tells whoever waits for it.
    ///
    /// # Errors
    /// Those of the store: the client cannot go on, since it would number what it may not remember.
    pub(super) async fn settle(&mut self) -> Result<(), Error> {
        let changes = self.outgoing.take_changes();
        if !changes.is_empty() {
            self.store_changes(changes).await?;
        }
        for (reply, queued) in self.queued.drain(..) {
            tell(reply, queued);
        }
        for reply in self.withdrawn.drain(..) {
            tell(reply, Ok(true));
        }
        for (local, result) in self.outgoing.take_finished() {
            if let Some(receipt) = self.receipts.remove(&local) {
                tell(receipt, result);
            }
        }
        let held_up = self.outgoing.held_up();
        self.held_up.send_if_modified(|told| {
            let is_news = told.as_ref() != held_up;
            if is_news {
                *told = held_up.cloned();
            }
            is_news
        });
        if self.outgoing.is_empty() {
            for reply in self.flushing.drain(..) {
                tell(reply, Ok(()));
            }
        }
        Ok(())
    }

    async fn store_changes(&mut self, changes: Vec<QueueChange>) -> Result<(), Error> {
        let stored = self.with_store(move |store| store.apply(&changes)).await;
        if let Err(error) = &stored {
            for (reply, queued) in self.queued.drain(..) {
                tell(reply, queued.into_iter().map(|queued| queued.and(Err(error.clone()))).collect());
            }
            for reply in self.withdrawn.drain(..) {
                tell(reply, Err(error.clone()));
            }
        }
        stored
    }

    /// Calls the store, on a thread for blocking work if it may block.
    async fn with_store<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut dyn OutgoingStore) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let lost = || Error::new(Code::Io, "the store of unsent commands is lost to a failed call");
        let mut store = self.store.take().ok_or_else(lost)?;
        if !store.may_block() {
            let result = work(store.as_mut());
            self.store = Some(store);
            return result;
        }
        let working = tokio::task::spawn_blocking(move || (work(store.as_mut()), store));
        let (result, store) = working.await.map_err(|_| lost())?;
        self.store = Some(store);
        result
    }

    /// The client ends: tells everybody. What is queued stays in the store.
    pub(super) fn close(&mut self, reason: Option<&Error>) {
        let reason = reason.cloned().unwrap_or_else(crate::state::closed);
        for queued in self.outgoing.queued() {
            let Some(receipt) = self.receipts.remove(&queued.local) else { continue };
            let error = match queued.number {
                Some(_) => Error::new(Code::OutcomeUnknown, format!("no answer came; it stays queued ({reason})")),
                None => {
                    Error { message: format!("it was not sent and stays queued: {}", reason.message), ..reason.clone() }
                }
            };
            tell(receipt, Err(error));
        }
        for ticket in self.calls.drain(..) {
            tell(ticket.reply, Err(reason.clone()));
        }
        for reply in self.flushing.drain(..) {
            tell(reply, Err(reason.clone()));
        }
    }
}

/// Refuses at once what the server would refuse for certain.
fn check(command: &Numbered, body_bytes_max: u64) -> Result<(), Error> {
    let body = match command {
        Numbered::Send(message) => {
            match &message.recipient {
                Recipient::User(user) => check_name("user", user)?,
                Recipient::Conversation(conversation) => check_name("conversation", conversation)?,
            }
            message.mentions.iter().try_for_each(|user| check_name("mention", user))?;
            if message.mentions.len() > MENTIONS_MAX {
                let given = format!("{} members are mentioned", message.mentions.len());
                return Err(Error::limit("mentions_max", MENTIONS_MAX as u64, given));
            }
            if message.quote == Quote::Seq(0) {
                return Err(Error::new(Code::InvalidArgument, "quote is 0; seqs begin with 1"));
            }
            &message.body
        }
        Numbered::Edit { conversation, body, .. } => {
            check_name("conversation", conversation)?;
            body
        }
        Numbered::Recall { conversation, .. } => return check_name("conversation", conversation),
    };
    if body.len() as u64 > body_bytes_max {
        return Err(Error::limit("body_bytes_max", body_bytes_max, format!("the body has {} bytes", body.len())));
    }
    Ok(())
}
