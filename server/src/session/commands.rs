//! The command stream, inwards: requests go to the engine in the order in which they came.

use super::{AbortOnDrop, End, Session, deltas, draining, now_ms, protocol};
use crate::convert::{self, LastName};
use highwater_engine::command::Completion;
use highwater_engine::{Command, Outcome};
use highwater_proto::checkpoint::Checkpoint;
use highwater_proto::error::{Code, Error};
use highwater_proto::wire::{
    ClientFrame, Failure, FrameError, FrameReader, Request, SendRequest, Subscribe, Subscribed, client_frame,
    request::Call, response,
};
use quinn::{ReadError, RecvStream};
use std::sync::Arc;

/// Bytes taken off the stream at once.
const READ_BYTES: usize = 64 << 10;

/// Messages that are about to be handed to the engine.
type Sends = Vec<(Command, Completion)>;

/// The client's side of the command stream.
pub(super) struct CommandStream {
    pub(super) receive: RecvStream,
    pub(super) frames: FrameReader,
    pub(super) last_name: LastName,
}

/// Plain messages handed to the engine at once.
const SENDS_MAX: usize = 64;

/// Reads frames until the stream ends, or until one that cannot be gone on from.
pub(super) async fn read(session: &Arc<Session>, stream: &mut CommandStream) -> End {
    let mut subscriber = Subscriber { session, count: 0, current: None };
    let mut sends = Vec::with_capacity(SENDS_MAX);
    loop {
        loop {
            // Plain messages are gathered as long as nothing else comes between and nobody has to wait.
            let taken = take_send(session, stream, &mut sends).await;
            if !matches!(taken, Ok(true)) || sends.len() == SENDS_MAX {
                session.shared.engine.submit_all(sends.drain(..));
            }
            match taken {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => return Error::from(error).into(),
            }
            match stream.frames.next::<ClientFrame>() {
                Ok(Some(frame)) => {
                    let is_token = matches!(frame.body, Some(client_frame::Body::Token(_)));
                    if let Err(error) = take(session, &mut subscriber, &mut stream.last_name, frame).await {
                        return error.into();
                    }
                    if is_token {
                        // Verifying one takes a while, and costs the client nothing: others have their turns in between.
                        tokio::task::yield_now().await;
                    }
                }
                Ok(None) => break,
                Err(error) => return Error::from(error).into(),
            }
        }
        match stream.receive.read_chunk(READ_BYTES, true).await {
            Ok(Some(chunk)) => stream.frames.push(&chunk.bytes),
            Ok(None) => return stream.frames.finish().map_or_else(|error| Error::from(error).into(), |()| End::Done),
            Err(ReadError::ConnectionLost(_)) => return End::Gone,
            Err(error) => return protocol(format!("the command stream broke off: {error}")).into(),
        }
    }
}

/// Takes the next frame if it is a plain message, as nearly all are. False: it is something else, or has not come in.
async fn take_send(session: &Session, stream: &mut CommandStream, sends: &mut Sends) -> Result<bool, FrameError> {
    let Some(send) = stream.frames.peek()?.and_then(SendRequest::parse) else { return Ok(false) };
    let (id, units) = (send.id, convert::send_units(&send, session.outbox.units_max()));
    let command = convert::plain_send(&send, session.numbering, &mut stream.last_name);
    stream.frames.skip();
    if !session.outbox.try_admit(units) {
        // What would make room are the answers to those before it.
        session.shared.engine.submit_all(sends.drain(..));
        session.outbox.admit(units).await;
    }
    let command = if session.shared.is_draining() { Err(draining()) } else { command };
    match command {
        Ok(command) => sends.push((command, completion(session, id, units))),
        Err(error) => session.outbox.answer(id, units, response::Outcome::Failure(Failure::from(&error))),
    }
    Ok(true)
}

async fn take(
    session: &Arc<Session>,
    subscriber: &mut Subscriber<'_>,
    last_name: &mut LastName,
    frame: ClientFrame,
) -> Result<(), Error> {
    match frame.body {
        Some(client_frame::Body::Request(request)) => {
            submit(session, subscriber, last_name, request).await;
            Ok(())
        }
        Some(client_frame::Body::Token(token)) => renew(session, &token.token),
        Some(client_frame::Body::Ack(ack)) => acknowledge(session, &ack.checkpoint),
        Some(client_frame::Body::Hello(_)) => Err(protocol("a session has one hello")),
        None => Err(protocol("a frame holds nothing that is known")),
    }
}

/// Hands a request to the engine, whose threads answer it.
async fn submit(session: &Session, subscriber: &mut Subscriber<'_>, last_name: &mut LastName, request: Request) {
    let id = request.id;
    let outbox = &session.outbox;
    let units = request.call.as_ref().map_or(1, |call| convert::units(call, outbox.units_max()));
    outbox.admit(units).await;
    let refuse = |error: &Error| outbox.answer(id, units, response::Outcome::Failure(Failure::from(error)));
    let command = match request.call {
        // Also what a newer client may ask.
        None => return refuse(&Error::new(Code::InvalidArgument, "the request holds no call that is known here")),
        Some(_) if session.shared.is_draining() => return refuse(&draining()),
        Some(Call::Subscribe(subscribe)) => {
            return match subscriber.subscribe(&subscribe) {
                Ok(subscribed) => outbox.answer(id, units, response::Outcome::Subscribed(subscribed)),
                Err(error) => refuse(&error),
            };
        }
        Some(call) => convert::command(call, &session.speaker, session.numbering, last_name),
    };
    execute(session, id, units, command);
}

/// Gives the engine a command, and the answer to whoever asked.
fn execute(session: &Session, id: u64, units: u32, command: Result<Command, Error>) {
    let submitted = command.and_then(|command| session.shared.engine.submit(command, completion(session, id, units)));
    if let Err(error) = submitted {
        session.outbox.answer(id, units, response::Outcome::Failure(Failure::from(&error)));
    }
}

/// Answers a request with what its command has led to.
fn completion(session: &Session, id: u64, units: u32) -> Completion {
    let outbox = session.outbox.clone();
    Box::new(move |result| match result {
        Ok(Outcome::Receipt(receipt)) => outbox.receipt(id, units, &receipt),
        other => outbox.answer(id, units, convert::outcome(other)),
    })
}

/// A new token for the same session.
fn renew(session: &Session, token: &str) -> Result<(), Error> {
    let identity = session.shared.tokens.verify(token, now_ms())?;
    if !identity.renews(&session.identity) {
        return Err(Error::new(Code::Unauthenticated, "the new token is for another user, device or scope"));
    }
    session.token_ends_ms.send_replace(identity.ends_ms);
    Ok(())
}

/// The device has stored a checkpoint. Those of read sessions are not kept.
fn acknowledge(session: &Session, checkpoint: &[u8]) -> Result<(), Error> {
    let checkpoint = Checkpoint::decode(checkpoint).map_err(|error| protocol(error.message))?;
    if let (Some(_), Some(device)) = (session.numbering, &session.device) {
        session.shared.engine.acknowledge(session.speaker.user_name(), device, checkpoint);
    }
    Ok(())
}

/// The session's delta stream: at most one.
struct Subscriber<'a> {
    session: &'a Arc<Session>,
    count: u64,
    current: Option<AbortOnDrop>,
}

impl Subscriber<'_> {
    fn subscribe(&mut self, subscribe: &Subscribe) -> Result<Subscribed, Error> {
        let user = self.session.speaker.reader()?.clone();
        let start = convert::start(subscribe)?;
        self.count += 1;
        let subscribed = Subscribed { subscription: self.count };
        // The one before ends first: two would compete for what the peer takes.
        self.current = None;
        let deltas = deltas::serve(self.session.clone(), user, subscribed, start, subscribe.clone());
        self.current = Some(AbortOnDrop::spawn(deltas));
        Ok(subscribed)
    }
}
