//! The switchboard of one session: which request waits for which answer, and what is to be written next.

use super::desk::tell;
use super::{CallOutcome, DeltaStream, Ticket};
use crate::command::{LocalId, Numbered};
use crate::model::Receipt;
use bytes::{Bytes, BytesMut};
use highwater_proto::error::{Code, Error};
use highwater_proto::wire::request::Call;
use highwater_proto::wire::response::Outcome;
use highwater_proto::wire::{self, ClientFrame, FrameError, client_frame, encode_frame};
use rustc_hash::FxHashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::oneshot;

/// Bytes that are gathered for the next write; above, no more requests are taken up.
pub(super) const OUT_BYTES_MAX: usize = 1 << 20;

/// Who waits for an answer.
enum Waiting {
    Numbered(LocalId),
    Call(oneshot::Sender<Result<CallOutcome, Error>>),
    Subscription,
}

/// A subscription whose stream and whose answer may come in either order.
#[derive(Default)]
struct Subscribing {
    reply: Option<oneshot::Sender<Result<DeltaStream, Error>>>,
    /// As the answer named it.
    id: Option<u64>,
    /// Streams that came before the answer which names them; a newer one takes the place of an older.
    arrived: Option<(u64, DeltaStream)>,
    /// Told when another subscription takes its place.
    replaced: Arc<AtomicBool>,
}

pub(super) struct Board {
    /// Frames for the next write.
    pub(super) out: BytesMut,
    waiting: FxHashMap<u64, Waiting>,
    next_id: u64,
    in_flight_max: usize,
    subscribing: Subscribing,
}

/// A numbered command's answer, for the queue.
pub(super) type Answer = (LocalId, Result<Receipt, Error>);

impl Board {
    pub(super) fn new(in_flight_max: u32) -> Self {
        Self {
            out: BytesMut::new(),
            waiting: FxHashMap::default(),
            next_id: 1,
            in_flight_max: in_flight_max.max(1) as usize,
            subscribing: Subscribing::default(),
        }
    }

    /// How many more requests may be under way.
    pub(super) fn room(&self) -> usize {
        self.in_flight_max.saturating_sub(self.waiting.len())
    }

    /// Bytes that the next write still takes.
    pub(super) fn bytes_left(&self) -> usize {
        OUT_BYTES_MAX.saturating_sub(self.out.len())
    }

    fn request(&mut self, call: Call) -> Result<u64, Error> {
        let id = self.next_id;
        let request = wire::Request { id, call: Some(call) };
        self.push(client_frame::Body::Request(request))?;
        self.next_id += 1;
        Ok(id)
    }

    fn push(&mut self, body: client_frame::Body) -> Result<(), Error> {
        encode_frame(&ClientFrame { body: Some(body) }, &mut self.out).map_err(|error| does_not_fit(&error))
    }

    /// Puts a numbered command on the wire.
    pub(super) fn transmit(&mut self, local: LocalId, number: u64, command: &Numbered) -> Result<(), Error> {
        let id = match command.as_plain(self.next_id, number) {
            Some(send) => {
                send.encode(&mut self.out).map_err(|error| does_not_fit(&error))?;
                self.next_id += 1;
                send.id
            }
            None => self.request(command.to_call(number))?,
        };
        self.waiting.insert(id, Waiting::Numbered(local));
        Ok(())
    }

    /// Puts a command without a number on the wire, unless nobody waits for it any more.
    pub(super) fn call(&mut self, ticket: Ticket) {
        if ticket.reply.is_closed() {
            return;
        }
        match self.request(ticket.call) {
            Ok(id) => {
                ticket.transmitted.store(true, Ordering::Release);
                self.waiting.insert(id, Waiting::Call(ticket.reply));
            }
            Err(error) => tell(ticket.reply, Err(error)),
        }
    }

    /// Asks for a delta stream, in place of the one before.
    pub(super) fn subscribe(
        &mut self,
        request: wire::Subscribe,
        reply: oneshot::Sender<Result<DeltaStream, Error>>,
    ) -> Result<(), Error> {
        let before = std::mem::take(&mut self.subscribing);
        before.replaced.store(true, Ordering::Release);
        if let Some(reply) = before.reply {
            tell(reply, Err(Error::new(Code::Replaced, "another subscription of this client took its place")));
        }
        self.subscribing.reply = Some(reply);
        let id = self.request(Call::Subscribe(request))?;
        self.waiting.insert(id, Waiting::Subscription);
        Ok(())
    }

    pub(super) fn acknowledge(&mut self, checkpoint: Bytes) -> Result<(), Error> {
        self.push(client_frame::Body::Ack(wire::Ack { checkpoint }))
    }

    pub(super) fn renew(&mut self, token: String) -> Result<(), Error> {
        self.push(client_frame::Body::Token(wire::Token { token }))
    }

    /// Whose receipt it is.
    ///
    /// # Errors
    /// `protocol` if nobody asked for it, or something else was asked.
    pub(super) fn receipt(&mut self, id: u64) -> Result<LocalId, Error> {
        match self.waiting.remove(&id) {
            Some(Waiting::Numbered(local)) => Ok(local),
            Some(_) => Err(violation("is of another kind than the question")),
            None => Err(violation("has an id that was not asked")),
        }
    }

    /// Passes an answer on; one for a numbered command is given back.
    ///
    /// # Errors
    /// `protocol` if nobody asked for it, or it answers something else.
    pub(super) fn answer(&mut self, response: wire::Response) -> Result<Option<Answer>, Error> {
        let waiting = self.waiting.remove(&response.id).ok_or_else(|| violation("has an id that was not asked"))?;
        let outcome = response.outcome.ok_or_else(|| violation("is empty"))?;
        match (waiting, outcome) {
            (Waiting::Numbered(local), Outcome::Receipt(receipt)) => return Ok(Some((local, Ok(receipt.into())))),
            (Waiting::Numbered(local), Outcome::Failure(failure)) => return Ok(Some((local, Err(failure.into())))),
            (Waiting::Call(reply), Outcome::Changed(record)) => {
                tell(reply, Ok(CallOutcome::Changed(Box::new(record))));
            }
            (Waiting::Call(reply), Outcome::Unchanged(target)) => {
                tell(reply, Ok(CallOutcome::Unchanged(target.conversation)));
            }
            (Waiting::Call(reply), Outcome::Failure(failure)) => tell(reply, Err(failure.into())),
            (Waiting::Subscription, Outcome::Subscribed(subscribed)) => {
                self.subscribing.id = Some(subscribed.subscription);
                self.join_subscription();
            }
            (Waiting::Subscription, Outcome::Failure(failure)) => {
                if let Some(reply) = self.subscribing.reply.take() {
                    tell(reply, Err(failure.into()));
                }
            }
            _ => return Err(violation("is of another kind than the question")),
        }
        Ok(None)
    }

    /// A delta stream came in.
    pub(super) fn arrived(&mut self, id: u64, stream: DeltaStream) {
        self.subscribing.arrived = Some((id, stream));
        self.join_subscription();
    }

    fn join_subscription(&mut self) {
        let Subscribing { reply, id, arrived, replaced } = &mut self.subscribing;
        if arrived.as_ref().is_none_or(|(arrived, _)| Some(*arrived) != *id) {
            return;
        }
        if let (Some(reply), Some((_, stream))) = (reply.take(), arrived.take()) {
            tell(reply, Ok(stream.replaceable(Arc::clone(replaced))));
        }
    }

    /// The session is over: tells everybody who waits. Numbered commands stay in their queue.
    pub(super) fn abandon(self) {
        for waiting in self.waiting.into_values() {
            if let Waiting::Call(reply) = waiting {
                let error = Error::new(Code::OutcomeUnknown, "the connection broke off before the answer came");
                tell(reply, Err(error));
            }
        }
        if let Some(reply) = self.subscribing.reply {
            tell(reply, Err(Error::new(Code::Unreachable, "the connection broke off")));
        }
    }
}

fn violation(what: &str) -> Error {
    Error::new(Code::Protocol, format!("the server's answer {what}"))
}

fn does_not_fit(error: &FrameError) -> Error {
    Error::new(Code::InvalidArgument, format!("the command does not fit the wire: {error}"))
}
