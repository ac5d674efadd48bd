//! The time between a welcome and the end of its connection.

use super::board::Board;
use super::desk::Connected;
use super::streams::{Frame, INCOMING_MAX, Incoming, accept, read, write};
use super::{CLOSE_TIMEOUT, Driver, Ended, ORDERS_PER_TURN_MAX, Order, refuse_subscription};
use crate::builder::{Config, TokenSource};
use crate::command::LocalId;
use crate::link::{Link, Opened, TOKEN_TIMEOUT};
use crate::model::Receipt;
use crate::outgoing::{Transmission, Verdict};
use crate::state::ConnectionState;
use bytes::Bytes;
use highwater_proto::error::{Code, Error};
use highwater_proto::wire::{ServerFrame, server_frame};
use quinn::VarInt;
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// No token is asked for sooner than this after the one before.
const RENEWAL_WAIT_MIN: Duration = Duration::from_millis(100);

/// What a session needs besides the driver.
struct Ends {
    link: Link,
    board: Board,
    incoming: mpsc::Receiver<Incoming>,
    writer: mpsc::Sender<Bytes>,
    /// Stopped when this is dropped.
    tasks: JoinSet<()>,
}

impl Driver {
    /// Serves a session until it ends, and tells why it did.
    pub(super) async fn serve(&mut self, opened: Opened) -> Result<Error, Ended> {
        let session = Arc::clone(&opened.link.session);
        self.desk.body_bytes_max = session.body_bytes_max;
        self.desk.connected(session.incarnation, session.last_client_seq).await.map_err(Ended::Failed)?;
        let mut ends = start(opened);
        self.links.set(Some(ends.link.clone()));
        self.publish(ConnectionState::Connected(session.as_ref().clone()));
        let end = self.turns(&mut ends).await;
        self.links.set(None);
        self.desk.outgoing.disconnected();
        let connection = ends.link.connection.clone();
        if matches!(end, Err(Ended::ByApplication(_))) {
            finish(ends).await;
        } else {
            ends.board.abandon();
        }
        self.farewell_due = connection.close_reason().is_none();
        connection.close(VarInt::from_u32(0), b"");
        end
    }

    async fn turns(&mut self, ends: &mut Ends) -> Result<Error, Ended> {
        let config = Arc::clone(&self.config);
        let valid = ends.link.session.token_valid;
        let renewal = renewed_token(&config, valid);
        tokio::pin!(renewal);
        let writer = ends.writer.clone();
        loop {
            if let Err(error) = self.pump(&mut ends.board).await? {
                return Ok(error);
            }
            let resume_at = self.desk.outgoing.resume_at();
            let step = tokio::select! {
                order = self.orders.recv() => self.take_online(order, ends).await?,
                incoming = ends.incoming.recv() => match incoming {
                    Some(incoming) => self.take_incoming(incoming, &mut ends.board),
                    None => Err(crate::state::closed()),
                },
                permit = writer.reserve(), if !ends.board.out.is_empty() => {
                    if let Ok(permit) = permit {
                        permit.send(ends.board.out.split().freeze());
                    } else {
                        // The writer gave up; why stands in what comes in.
                        ends.board.out.clear();
                    }
                    Ok(())
                }
                token = &mut renewal => {
                    renewal.set(renewed_token(&config, valid));
                    ends.board.renew(token)
                }
                () = until(resume_at) => Ok(()),
            };
            if let Err(error) = step {
                return Ok(error);
            }
        }
    }

    /// Takes up what there is room for: numbers it, makes that durable, puts it on the wire, tells who waits.
    async fn pump(&mut self, board: &mut Board) -> Result<Result<(), Error>, Ended> {
        while board.room() > 0 && board.bytes_left() > 0 {
            let Some(ticket) = self.desk.calls.pop_front() else { break };
            board.call(ticket);
        }
        let transmissions = match board.bytes_left() {
            0 => Vec::new(),
            bytes => self.desk.outgoing.transmit(Instant::now(), board.room(), bytes),
        };
        self.desk.settle().await.map_err(Ended::Failed)?;
        let mut is_refused = false;
        for transmission in transmissions {
            let Transmission { local, number, command } = transmission;
            if let Err(error) = board.transmit(local, number, &command) {
                is_refused = true;
                let verdict = self.desk.outgoing.answered(local, Err(error), Instant::now());
                if let Verdict::EndSession(error) = verdict {
                    return Ok(Err(error));
                }
            }
        }
        if is_refused {
            self.desk.settle().await.map_err(Ended::Failed)?;
        }
        Ok(Ok(()))
    }

    async fn take_online(&mut self, order: Option<Order>, ends: &mut Ends) -> Result<Result<(), Error>, Ended> {
        let mut next = Some(order.ok_or(Ended::ByApplication(None))?);
        let mut turns = ORDERS_PER_TURN_MAX;
        while let Some(order) = next.take() {
            let weight = order.weight();
            let done = match self.desk.take(order) {
                None => Ok(()),
                Some(Connected::Subscribe { request, connection, reply })
                    if connection == ends.link.connection.stable_id() =>
                {
                    ends.board.subscribe(request, reply)
                }
                Some(Connected::Subscribe { reply, .. }) => {
                    refuse_subscription(reply);
                    Ok(())
                }
                Some(Connected::Acknowledge(checkpoint)) => ends.board.acknowledge(checkpoint),
                Some(Connected::Close(reply)) => {
                    self.desk.settle().await.map_err(Ended::Failed)?;
                    return Err(Ended::ByApplication(Some(reply)));
                }
            };
            if done.is_err() {
                return Ok(done);
            }
            turns = turns.saturating_sub(weight);
            // As in `take_offline`.
            if turns > 0 {
                next = self.orders.try_recv().ok();
            }
        }
        Ok(Ok(()))
    }

    fn take_incoming(&mut self, incoming: Incoming, board: &mut Board) -> Result<(), Error> {
        match incoming {
            Incoming::Frames(frames) => {
                let now = Instant::now();
                frames.into_iter().try_for_each(|frame| match frame {
                    Frame::Receipt(id, receipt) => self.take_answer(board.receipt(id)?, Ok(receipt), now),
                    Frame::Other(frame) => self.take_frame(*frame, board, now),
                })
            }
            Incoming::Stream(id, stream) => {
                board.arrived(id, stream);
                Ok(())
            }
            Incoming::Failed(error) => Err(error),
        }
    }

    fn take_frame(&mut self, frame: ServerFrame, board: &mut Board, now: Instant) -> Result<(), Error> {
        let violation = |what: &str| Err(Error::new(Code::Protocol, what));
        match frame.body {
            Some(server_frame::Body::Response(response)) => {
                let Some((local, answer)) = board.answer(response)? else { return Ok(()) };
                self.take_answer(local, answer, now)
            }
            Some(server_frame::Body::Goodbye(failure)) => Err(failure.into()),
            Some(server_frame::Body::Welcome(_)) => violation("the server welcomed twice"),
            None => violation("the server sent an empty frame"),
        }
    }

    fn take_answer(&mut self, local: LocalId, answer: Result<Receipt, Error>, now: Instant) -> Result<(), Error> {
        match self.desk.outgoing.answered(local, answer, now) {
            Verdict::Continue => Ok(()),
            Verdict::EndSession(error) => Err(error),
        }
    }
}

fn start(opened: Opened) -> Ends {
    let Opened { link, send, recv, frames } = opened;
    let (inbox, incoming) = mpsc::channel(INCOMING_MAX);
    // One buffer is being written while the next one fills.
    let (writer, buffers) = mpsc::channel(1);
    let mut tasks = JoinSet::new();
    tasks.spawn(read(recv, frames, inbox.clone()));
    tasks.spawn(write(send, buffers, inbox.clone()));
    tasks.spawn(accept(link.connection.clone(), inbox));
    let board = Board::new(link.session.commands_in_flight_max);
    Ends { link, board, incoming, writer, tasks }
}

/// Hands the server what is still to be written, as far as that goes quickly.
async fn finish(mut ends: Ends) {
    let rest = ends.board.out.split().freeze();
    ends.board.abandon();
    let handing_over = async {
        if !rest.is_empty() && ends.writer.send(rest).await.is_err() {
            return;
        }
        drop(ends.writer);
        // The writer ends when the server has everything; what comes in meanwhile is read and dropped, so that neither
        // of the other tasks blocks.
        while ends.incoming.recv().await.is_some() {}
    };
    if tokio::time::timeout(CLOSE_TIMEOUT, handing_over).await.is_err() {
        tracing::debug!("the server did not take everything in time");
    }
    ends.tasks.abort_all();
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant.into()).await,
        None => pending().await,
    }
}

/// A new token in good time: after three quarters of the old one's, and then again and again until there is one.
///
/// The answer to a token does not say how long it is good for; the provider is taken to give similar ones. If it does
/// not, the server ends the session, and the next one begins with a new token.
async fn renewed_token(config: &Config, valid: Duration) -> String {
    if matches!(config.tokens, TokenSource::Fixed(_)) {
        return pending().await;
    }
    let mut wait = valid.mul_f64(0.75).max(RENEWAL_WAIT_MIN);
    loop {
        tokio::time::sleep(wait).await;
        match tokio::time::timeout(TOKEN_TIMEOUT, config.tokens.token()).await {
            Ok(Ok(token)) => return token,
            Ok(Err(error)) => tracing::warn!(%error, "no new token; the session ends with the old one's time"),
            Err(_) => tracing::warn!("no new token was provided in time; the session ends with the old one's time"),
        }
        wait = (valid / 16).max(RENEWAL_WAIT_MIN);
    }
}
