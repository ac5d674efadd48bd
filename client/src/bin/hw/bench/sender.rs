//! A device that sends: as soon as it may (a closed loop), or when it is told to (an open one).

use super::meter::Shard;
use super::plan::{DEVICE, Destination};
use super::run::Run;
use crate::crowd::{Unanswered, all, opened};
use crate::failure::Failure;
use crate::random::Random;
use highwater_client::{
    Client, ConnectionState, Error, Message, Numbered, Quote, Receipt, Sending, SessionKind, StateWatch,
};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::mpsc::error::TryRecvError;

/// Bytes of unacknowledged messages that a sender holds at most.
const OUTGOING_BYTES_MAX: usize = 1 << 30;

/// When a sender's messages are due.
pub(super) enum Pace {
    /// As soon as there is room.
    Closed,
    /// At these times, in µs since the run began.
    Open(UnboundedReceiver<u64>),
}

/// What the server has accepted of a sender.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// The sender's user.
    pub(super) user: u32,
    /// Of each conversation the highest number.
    pub(super) highest: HashMap<String, u64>,
    /// The direct conversations, by the other user.
    pub(super) direct: HashMap<u32, String>,
}

/// A connected sender.
pub(super) struct Sender {
    run: Arc<Run>,
    number: usize,
    client: Client,
    states: StateWatch,
    /// Most commands that the server has under way.
    in_flight_max: usize,
    random: Random,
    shard: Shard,
    is_lost: bool,
    is_held_up: bool,
    sent: Sent,
}

/// What is known of a message on its way.
type Waiting = (u64, Destination);

impl Sender {
    /// Opens the session.
    pub(super) async fn connect(run: Arc<Run>, number: usize) -> Result<Self, Failure> {
        let workload = &run.plan.workload;
        let name = run.plan.user_name(run.plan.senders[number].user);
        let client = run
            .connector
            .sender(&name, DEVICE)
            .session(SessionKind::Send)
            .sockets(run.sockets.of(number))
            .outgoing_limits(workload.in_flight + 1, OUTGOING_BYTES_MAX)
            .start()?;
        let mut states = client.state();
        let session = opened(&mut states).await?;
        Ok(Self {
            in_flight_max: session.commands_in_flight_max as usize,
            random: Random::new(workload.seed ^ (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            shard: run.meter.shard(),
            is_lost: false,
            is_held_up: false,
            sent: Sent { user: run.plan.senders[number].user, ..Sent::default() },
            run,
            number,
            client,
            states,
        })
    }

    /// Sends until there is nothing more to send and everything is answered.
    pub(super) async fn play(mut self, mut pace: Pace) -> Result<Sent, Failure> {
        let mut unanswered = Unanswered::default();
        let mut goes_on = true;
        loop {
            let due = self.due(&mut pace, unanswered.len(), &mut goes_on);
            if !due.is_empty() {
                self.enqueue(due, &mut unanswered).await?;
                continue;
            }
            if !goes_on && unanswered.len() == 0 {
                break;
            }
            let has_room = goes_on && unanswered.len() < self.run.plan.workload.in_flight;
            tokio::select! {
                answers = unanswered.answers() => self.answered(answers)?,
                due = next(&mut pace), if has_room => match due {
                    Some(due) => self.take_due(due, &mut unanswered).await?,
                    None => goes_on = false,
                },
                state = self.states.changed() => self.changed(state, unanswered.len())?,
                error = self.client.held_up(), if !self.is_held_up => {
                    self.is_held_up = true;
                    self.run.meter.error(&error);
                }
            }
        }
        // Everything is answered: taking the connection down holds nobody up.
        tokio::spawn(async move { self.client.close().await });
        Ok(self.sent)
    }

    /// The times at which messages are due that go out now.
    fn due(&self, pace: &mut Pace, under_way: usize, goes_on: &mut bool) -> Vec<u64> {
        let room = self.run.plan.workload.in_flight.saturating_sub(under_way);
        let mut due = Vec::new();
        while due.len() < room && *goes_on {
            match pace {
                Pace::Closed if !self.run.is_over() && self.run.take_one() => due.push(self.run.meter.now_us()),
                Pace::Closed => *goes_on = false,
                Pace::Open(times) => match times.try_recv() {
                    Ok(time) if self.run.is_over() => self.run.meter.unsent(self.shard, time),
                    Ok(time) => due.push(time),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => *goes_on = false,
                },
            }
        }
        due
    }

    async fn take_due(&mut self, due: u64, unanswered: &mut Unanswered<Waiting>) -> Result<(), Failure> {
        if self.run.is_over() {
            self.run.meter.unsent(self.shard, due);
            return Ok(());
        }
        self.enqueue(vec![due], unanswered).await
    }

    async fn enqueue(&mut self, due: Vec<u64>, unanswered: &mut Unanswered<Waiting>) -> Result<(), Failure> {
        let known: Vec<Waiting> =
            due.into_iter().map(|due| (due, self.run.plan.choose(self.number, &mut self.random))).collect();
        let messages = known.iter().map(|(due, destination)| {
            let body = self.run.bodies.body(self.run.stamp(*due), &mut self.random);
            self.client.enqueue(Numbered::Send(Message {
                recipient: self.run.plan.recipient(*destination),
                body: body.into(),
                quote: Quote::None,
                mentions: Vec::new(),
                sent_at_ms: None,
            }))
        });
        let queued: Vec<Result<Sending, Error>> = all(messages.collect::<Vec<_>>()).await;
        self.run.meter.sent.fetch_add(queued.len() as u64, Ordering::Relaxed);
        for (sending, known) in queued.into_iter().zip(known) {
            match sending {
                Ok(sending) => unanswered.push(sending, known),
                Err(error) => self.refused(error)?,
            }
        }
        Ok(())
    }

    fn answered(&mut self, answers: Vec<(Result<Receipt, Error>, Waiting)>) -> Result<(), Failure> {
        let mut accepted = Vec::with_capacity(answers.len());
        for (answer, (due, destination)) in answers {
            match answer {
                Ok(receipt) => {
                    accepted.push(due);
                    self.accepted(receipt, destination);
                }
                Err(error) => self.refused(error)?,
            }
        }
        if !accepted.is_empty() {
            self.is_held_up = false;
            self.run.meter.acknowledged(self.shard, accepted);
        }
        Ok(())
    }

    fn accepted(&mut self, receipt: Receipt, destination: Destination) {
        if receipt.repeated {
            self.run.meter.repeated.fetch_add(1, Ordering::Relaxed);
        }
        if let Destination::User(user) = destination
            && !self.sent.direct.contains_key(&user)
        {
            self.sent.direct.insert(user, receipt.conversation.clone());
        }
        match self.sent.highest.get_mut(receipt.conversation.as_str()) {
            Some(highest) => *highest = receipt.seq.max(*highest),
            None => drop(self.sent.highest.insert(receipt.conversation, receipt.seq)),
        }
    }

    /// A message was refused for good; or the client has ended, and everything with it.
    fn refused(&self, error: Error) -> Result<(), Failure> {
        if let ConnectionState::Closed { reason } = self.states.current() {
            return Err(self.explain(reason.unwrap_or(error)));
        }
        self.run.meter.error(&error);
        self.run.meter.failed.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn changed(&mut self, state: Option<ConnectionState>, under_way: usize) -> Result<(), Failure> {
        match state {
            Some(ConnectionState::Connected(_)) => {
                // The loss before it may have been too quick to be seen.
                self.lost(under_way);
                self.is_lost = false;
                self.run.meter.reconnects.fetch_add(1, Ordering::Relaxed);
            }
            Some(ConnectionState::Backoff { error, .. }) => {
                self.run.meter.error(&error);
                self.lost(under_way);
            }
            Some(ConnectionState::Closed { reason: Some(reason) }) => return Err(self.explain(reason)),
            _ => {}
        }
        Ok(())
    }

    fn lost(&mut self, under_way: usize) {
        if !std::mem::replace(&mut self.is_lost, true) {
            let retried = under_way.min(self.in_flight_max) as u64;
            self.run.meter.retried.fetch_add(retried, Ordering::Relaxed);
        }
    }

    fn explain(&self, mut error: Error) -> Failure {
        let name = self.run.plan.user_name(self.run.plan.senders[self.number].user);
        error.message = format!("sender {name}: {}", error.message);
        error.into()
    }
}

/// The next time of an open loop; a closed one has none.
async fn next(pace: &mut Pace) -> Option<u64> {
    match pace {
        Pace::Open(times) => times.recv().await,
        Pace::Closed => std::future::pending().await,
    }
}
