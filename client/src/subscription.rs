//! Reading: everything a device missed and everything that follows, in one order, over connections that come and go.
//!
//! One delta at a time is read off the connection, when the application asks for it: a slow application slows the
//! server down and costs no memory here. A delta counts as delivered when it is committed; after a break the server is
//! asked for what follows the last committed one, so that every event comes at least once.

mod batch;
mod event;
mod stream;

use crate::client::Client;
use crate::driver::{DeltaStream, Order};
use crate::store::{Checkpoint, CheckpointStore, MemoryCheckpoints};
pub use batch::Batch;
pub use event::{Event, ResetReason, Start, SubscribeOptions};
use highwater_proto::error::{Code, Error};
use highwater_proto::id::Incarnation;
use highwater_proto::wire::{self, FrameError};
use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;
pub use stream::EventStream;
use stream::Step;
use tokio::sync::oneshot;

/// How long to wait before the server is asked again for what it refused for now.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// A stream of events that goes on by itself after breaks.
///
/// Either take batches and commit them ([`next_batch`](Self::next_batch)), or events one by one ([`next`](Self::next)),
/// where a batch is committed when the event after its last one is asked for.
pub struct Subscription<S: CheckpointStore = MemoryCheckpoints> {
    client: Client,
    options: SubscribeOptions,
    store: S,
    stream: Option<Open>,
    /// Where the next delta has to begin; `None`: wherever the server says.
    expected: Option<u64>,
    /// Whether something was committed, so that the store knows better than `options.start`.
    committed: bool,
    /// A batch was handed out and not committed.
    uncommitted: bool,
    /// Events of the batch that `next` is handing out, and its checkpoint.
    pending: VecDeque<Event>,
    pending_checkpoint: Option<Checkpoint>,
    ended: bool,
}

/// The stream of one connection.
struct Open {
    deltas: DeltaStream,
    incarnation: Incarnation,
    caught_up: bool,
    in_snapshot: bool,
}

impl<S: CheckpointStore> fmt::Debug for Subscription<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("options", &self.options)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

impl<S: CheckpointStore> Subscription<S> {
    pub(crate) fn new(client: Client, options: SubscribeOptions, store: S) -> Self {
        Self {
            client,
            options,
            store,
            stream: None,
            expected: None,
            committed: false,
            uncommitted: false,
            pending: VecDeque::new(),
            pending_checkpoint: None,
            ended: false,
        }
    }

    /// The store that it was made with.
    pub fn store(&mut self) -> &mut S {
        &mut self.store
    }

    /// The next delta, or `None` once a subscription that is not live has caught up, or another one took its place.
    ///
    /// A batch that was dropped without being committed comes again. May be cancelled.
    ///
    /// # Errors
    /// Why the client closed, the server's refusal, or the store's failure to load: the subscription has ended then.
    /// `protocol` if a delta does not follow on what was committed: asking again goes on from there.
    pub async fn next_batch(&mut self) -> Result<Option<Batch<'_, S>>, Error> {
        if self.uncommitted {
            self.rewind();
        }
        let Some(delta) = self.delta().await? else { return Ok(None) };
        let (events, checkpoint) = match self.parse(delta) {
            Ok(parsed) => parsed,
            Err(error) => {
                self.rewind();
                return Err(error);
            }
        };
        self.uncommitted = true;
        Ok(Some(Batch { subscription: self, events, checkpoint }))
    }

    /// The next event; `None` as in [`next_batch`](Self::next_batch). May be cancelled.
    ///
    /// # Errors
    /// As [`next_batch`](Self::next_batch), and `io` if the store could not keep the last batch's checkpoint: asking
    /// again goes on from the one before.
    pub async fn next(&mut self) -> Option<Result<Event, Error>> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Some(Ok(event));
            }
            if self.uncommitted {
                let checkpoint = self.pending_checkpoint.take();
                if let Err(error) = self.commit(checkpoint) {
                    return Some(Err(error));
                }
            }
            match self.next_batch().await {
                Ok(Some(batch)) => {
                    let (events, checkpoint) = batch.into_parts();
                    self.pending = events.into();
                    self.pending_checkpoint = checkpoint;
                }
                Ok(None) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// The events as a [`Stream`](futures_core::Stream).
    pub fn into_stream(self) -> EventStream<S>
    where
        S: Sync,
    {
        EventStream { step: Step::Ready(Box::new(self)) }
    }

    /// Forgets what was not committed, and the stream that went past it.
    fn rewind(&mut self) {
        self.stream = None;
        self.uncommitted = false;
        self.pending.clear();
        self.pending_checkpoint = None;
    }

    /// The next delta off whichever connection there is.
    async fn delta(&mut self) -> Result<Option<wire::ReceivedDelta>, Error> {
        loop {
            if self.ended {
                return Ok(None);
            }
            let Some(open) = &mut self.stream else {
                match self.open().await {
                    Ok(open) => self.stream = Some(open),
                    // Mostly the connection went away meanwhile, and the next one is waited for.
                    Err(error) if error.is_retryable() => {
                        tracing::debug!(%error, "subscribing again");
                        tokio::time::sleep(RETRY_AFTER).await;
                    }
                    Err(error) => {
                        self.ended = true;
                        return Err(error);
                    }
                }
                continue;
            };
            match open.deltas.next().await {
                Ok(Some(delta)) => {
                    open.caught_up = delta.rest.caught_up;
                    return Ok(Some(delta));
                }
                Ok(None) | Err(_) if open.deltas.was_replaced() => self.ended = true,
                Ok(None) if open.caught_up && !self.options.live => self.ended = true,
                Ok(None) => self.stream = None,
                Err(error) if error.code == Code::Protocol => {
                    self.stream = None;
                    return Err(error);
                }
                Err(error) => {
                    tracing::debug!(%error, "the delta stream broke off");
                    self.stream = None;
                }
            }
        }
    }

    /// Subscribes on the present connection, or the next one.
    async fn open(&mut self) -> Result<Open, Error> {
        let link = self.client.link().await?;
        let incarnation = link.session.incarnation;
        let start = if self.committed { Start::Resume } else { self.options.start };
        let held = match start {
            Start::Resume | Start::ResumeOrSnapshot => self.store.load(incarnation)?,
            Start::FromStart | Start::Snapshot => None,
        };
        let request = wire::Subscribe {
            snapshot: matches!(start, Start::Snapshot | Start::ResumeOrSnapshot) && held.is_none(),
            checkpoint: held.as_ref().map(|checkpoint| checkpoint.bytes.clone()).unwrap_or_default(),
            per_conversation_max: self.options.per_conversation_max,
            records_max: self.options.records_max,
            live: self.options.live,
        };
        let (reply, stream) = oneshot::channel();
        self.client.order(Order::Subscribe { request, connection: link.connection.stable_id(), reply }).await?;
        let broken = || Error::new(Code::Unreachable, "the connection ended before the subscription began");
        let deltas = stream.await.unwrap_or_else(|_| Err(broken()))?;
        self.expected = held.map(|checkpoint| checkpoint.position);
        Ok(Open { deltas, incarnation, caught_up: false, in_snapshot: false })
    }

    /// Checks that a delta follows on, and takes it apart.
    fn parse(&mut self, mut received: wire::ReceivedDelta) -> Result<(Vec<Event>, Option<Checkpoint>), Error> {
        let delta = std::mem::take(&mut received.rest);
        let violation = |message: String| Err(Error::new(Code::Protocol, message));
        let Some(open) = &mut self.stream else { return violation("a delta came without a stream".to_owned()) };
        let mut events = Vec::with_capacity(delta.gaps.len() + received.count() + delta.conversations.len() + 2);
        match delta.reset {
            Some(reset) if !open.in_snapshot => {
                open.in_snapshot = true;
                events.push(Event::Reset { reason: ResetReason::parse(reset.reason) });
            }
            Some(_) => {}
            None if open.in_snapshot => return violation("a snapshot was not finished".to_owned()),
            None => {
                let expected = self.expected.unwrap_or(delta.from);
                if delta.from != expected || delta.to < delta.from {
                    let (from, to) = (delta.from, delta.to);
                    return violation(format!("a delta covers ({from}, {to}] where the checkpoint is {expected}"));
                }
                if delta.checkpoint.is_empty() {
                    return violation("a delta came without a checkpoint".to_owned());
                }
            }
        }
        for conversation in delta.conversations {
            events.push(Event::Conversation(Box::new(conversation.try_into()?)));
        }
        events.extend(delta.gaps.into_iter().map(|gap| Event::Gap(gap.into())));
        for record in received.records() {
            let record = record.map_err(|error| Error::from(FrameError::Malformed(error)))?;
            events.push(Event::Record(record.try_into()?));
        }
        if delta.checkpoint.is_empty() {
            return Ok((events, None));
        }
        open.in_snapshot = false;
        self.expected = Some(delta.to);
        events.push(Event::Checkpoint {
            from: delta.from,
            to: delta.to,
            checkpoint: delta.checkpoint.clone(),
            caught_up: delta.caught_up,
        });
        Ok((events, Some(Checkpoint { position: delta.to, bytes: delta.checkpoint })))
    }

    /// The history that the batch at hand belongs to.
    fn incarnation(&self) -> Result<Incarnation, Error> {
        let missing = || Error::new(Code::Unreachable, "the batch's stream is gone");
        self.stream.as_ref().map(|open| open.incarnation).ok_or_else(missing)
    }

    fn commit(&mut self, checkpoint: Option<Checkpoint>) -> Result<(), Error> {
        if let Some(checkpoint) = &checkpoint {
            let incarnation = self.incarnation()?;
            self.store.store(incarnation, checkpoint)?;
        }
        self.was_committed(checkpoint);
        Ok(())
    }

    fn was_committed(&mut self, checkpoint: Option<Checkpoint>) {
        self.uncommitted = false;
        let Some(checkpoint) = checkpoint else { return };
        self.committed = true;
        self.client.acknowledge(checkpoint.bytes);
    }
}
