//! Sends a plan's messages: one loop that owns the [`Schedule`], and a task for each session.

use super::plan::Plan;
use super::schedule::{Action, Schedule};
use crate::crowd::progress::Progress;
use crate::crowd::{Connector, SILENCE_MAX, Unanswered, opened};
use crate::failure::Failure;
use highwater_client::{Client, ConnectionState, Message, Numbered, Quote, Recipient, Session as Opened};
use highwater_proto::error::{Code, Error};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::mpsc;

/// Reports of sessions that wait for the loop; above, the sessions wait.
const EVENTS_MAX: usize = 4_096;

/// What sending has taken.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// From the first session to the last acknowledgement.
    pub(crate) seconds: f64,
    /// Of each message sent, the time until it was acknowledged.
    pub(crate) latencies_us: Vec<u32>,
    /// How often a session came back after it was lost.
    pub(crate) reconnects: u64,
}

enum Event {
    /// The author's session is open; the server knows the author's numbers up to this one.
    Opened { author: u32, last: u32 },
    /// The server has accepted the author's number.
    Acknowledged { author: u32, number: u32, latency_us: u32 },
    /// A session that was lost is open again.
    Reconnected,
    /// The author's session is closed, as it was told.
    Ended { author: u32 },
    /// Something that cannot be made good.
    Failed(Failure),
}

/// Sends all messages that the server does not have. At most `sessions_max` sessions are held.
pub(crate) async fn messages(
    plan: &Arc<Plan>,
    connector: &Connector,
    sessions_max: usize,
    in_flight_max: u32,
) -> Result<Sent, Failure> {
    let mut schedule = Schedule::new(Arc::clone(plan), sessions_max, in_flight_max);
    let mut progress = Progress::new(connector.progress, "messages", plan.len() as u64);
    let (reports, mut events) = mpsc::channel(EVENTS_MAX);
    let mut sessions: HashMap<u32, mpsc::UnboundedSender<Vec<u32>>> = HashMap::new();
    let mut sent = Sent::default();
    let begin = Instant::now();
    let mut actions = schedule.assign();
    while schedule.remaining() > 0 {
        for action in actions.drain(..) {
            match action {
                Action::Open(author) => {
                    // Bounded by the messages in flight, which the schedule counts.
                    let (orders, inbox) = mpsc::unbounded_channel();
                    sessions.insert(author, orders);
                    let session = Session { plan: Arc::clone(plan), author, reports: reports.clone() };
                    tokio::spawn(session.run(connector.clone(), inbox));
                }
                Action::Send(author, messages) => {
                    // A session that is gone has reported why.
                    let _ = sessions.get(&author).map(|orders| orders.send(messages));
                }
                Action::Close(author) => drop(sessions.remove(&author)),
            }
        }
        let event = tokio::time::timeout(SILENCE_MAX, events.recv()).await.ok().flatten().ok_or_else(silent)?;
        actions = match event {
            Event::Opened { author, last } => schedule.opened(author, last),
            Event::Acknowledged { author, number, latency_us } => {
                sent.latencies_us.push(latency_us);
                schedule.acknowledged(author, number)
            }
            Event::Reconnected => {
                sent.reconnects += 1;
                Vec::new()
            }
            Event::Ended { author } => {
                schedule.ended(author);
                Vec::new()
            }
            Event::Failed(failure) => return Err(failure),
        };
        actions.extend(schedule.assign());
        progress.set((plan.len() - schedule.remaining()) as u64);
    }
    sent.seconds = begin.elapsed().as_secs_f64();
    drop((sessions, reports));
    // The sessions close in good order; one that does not is left to the end of the process.
    while let Ok(Some(_)) = tokio::time::timeout(SILENCE_MAX, events.recv()).await {}
    Ok(sent)
}

fn silent() -> Failure {
    let message = format!("nothing came from the server for {} s; run it again to go on", SILENCE_MAX.as_secs());
    Error::new(Code::Unreachable, message).into()
}

/// One author's session.
struct Session {
    plan: Arc<Plan>,
    author: u32,
    reports: mpsc::Sender<Event>,
}

/// What is known of a message that was not acknowledged yet.
struct Waiting {
    since: Instant,
    number: u32,
}

impl Session {
    async fn run(self, connector: Connector, orders: mpsc::UnboundedReceiver<Vec<u32>>) {
        let event = match self.play(&connector, orders).await {
            Ok(()) => Event::Ended { author: self.author },
            Err(error) => Event::Failed(self.explain(error)),
        };
        // The loop is gone when everything is acknowledged, or when another session has failed.
        let _ = self.reports.send(event).await;
    }

    /// Opens the session and sends what it is told to, until the orders end.
    async fn play(&self, connector: &Connector, mut orders: mpsc::UnboundedReceiver<Vec<u32>>) -> Result<(), Error> {
        let source = &self.plan.source;
        let client = connector.sender(&source.users[self.author as usize], &source.device).start()?;
        let mut states = client.state();
        let last = self.known(&opened(&mut states).await?)?;
        self.report(Event::Opened { author: self.author, last }).await;
        let mut waiting: Unanswered<Waiting> = Unanswered::default();
        loop {
            tokio::select! {
                order = orders.recv() => match order {
                    Some(messages) => self.enqueue(&client, &messages, &mut waiting).await?,
                    None => break,
                },
                answers = waiting.answers() => for (receipt, Waiting { since, number }) in answers {
                    let receipt = receipt?;
                    if receipt.client_seq != u64::from(number) {
                        return Err(unexpected(number, receipt.client_seq));
                    }
                    let latency_us = u32::try_from(since.elapsed().as_micros()).unwrap_or(u32::MAX);
                    self.report(Event::Acknowledged { author: self.author, number, latency_us }).await;
                },
                state = states.changed() => match state {
                    Some(ConnectionState::Connected(_)) => self.report(Event::Reconnected).await,
                    Some(ConnectionState::Closed { reason: Some(reason) }) => return Err(reason),
                    _ => {}
                },
            }
        }
        let closing = async move { client.close().await };
        match states.current() {
            // Everything is acknowledged: taking the connection down holds nobody up.
            ConnectionState::Connected(_) => drop(tokio::spawn(closing)),
            // An attempt to connect must not come through after the author's next session.
            _ => closing.await,
        }
        Ok(())
    }

    /// How many of the author's messages the server has.
    fn known(&self, session: &Opened) -> Result<u32, Error> {
        let own = self.plan.by_author[self.author as usize].len();
        match u32::try_from(session.last_client_seq) {
            Ok(last) if last as usize <= own => Ok(last),
            _ => {
                let message = format!("the device has sent {} messages already", session.last_client_seq);
                Err(Error::new(Code::Conflict, format!("{message}, where the source has {own} of the author")))
            }
        }
    }

    async fn enqueue(&self, client: &Client, messages: &[u32], waiting: &mut Unanswered<Waiting>) -> Result<(), Error> {
        for index in messages {
            let message = &self.plan.source.messages[*index as usize];
            let conversation = self.plan.source.conversations[message.conversation as usize].id.clone();
            let command = Numbered::Send(Message {
                recipient: Recipient::Conversation(conversation),
                body: message.body.clone(),
                quote: Quote::None,
                mentions: Vec::new(),
                sent_at_ms: message.sent_at_ms,
            });
            let since = Instant::now();
            let sending = client.enqueue(command).await?;
            waiting.push(sending, Waiting { since, number: self.plan.numbers[*index as usize] });
        }
        Ok(())
    }

    async fn report(&self, event: Event) {
        // See `run`.
        let _ = self.reports.send(event).await;
    }

    fn explain(&self, mut error: Error) -> Failure {
        error.message = format!("{:?}: {}", self.plan.source.users[self.author as usize], error.message);
        error.into()
    }
}

fn unexpected(number: u32, given: u64) -> Error {
    Error::new(Code::Conflict, format!("number {number} was sent as {given}: another client uses the device"))
}
