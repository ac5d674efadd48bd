//! Stores in which some users have missed something.

use crate::amplification::now;
use crate::context::{Context, Failure};
use crate::store::{Bench, name, send};
use crate::workload::{Text, members};
use bytes::Bytes;
use highwater_engine::command::Destination;
use highwater_engine::entry::Start;
use highwater_engine::proto::record::{Fanout, Kind};
use highwater_engine::{Caller, Command, Options, SendSession};
use std::sync::Arc;

/// Readers that have missed so many records each since a checkpoint.
pub(super) struct Missed {
    pub(super) bench: Bench,
    pub(super) readers: Vec<usize>,
    pub(super) start: Start,
    pub(super) records: usize,
}

const BODY_BYTES: usize = 200;

/// The default ones: no persist comes in between by itself.
pub(super) fn options() -> Options {
    Options::default()
}

/// Senders of messages to come.
struct Senders {
    sessions: Vec<(SendSession, u64)>,
    bodies: Vec<Bytes>,
    sent: usize,
}

impl Senders {
    fn new(bench: &Bench, users: impl IntoIterator<Item = usize>, seed: u64) -> Result<Self, Failure> {
        let sessions = bench.sessions(users)?.into_iter().map(|session| (session, session.last_client_seq)).collect();
        let mut text = Text::new(seed);
        Ok(Self { sessions, bodies: (0..4_096).map(|_| text.body(BODY_BYTES).into()).collect(), sent: 0 })
    }

    fn message(&mut self, sender: usize, to: Destination) -> Command {
        let (session, client_seq) = &mut self.sessions[sender];
        *client_seq += 1;
        self.sent += 1;
        send(*session, *client_seq, to, self.bodies[self.sent % self.bodies.len()].clone())
    }
}

/// Readers with so many direct conversations, each with a past of 20 messages.
pub(super) fn direct(context: &Context, records: usize, conversations: usize) -> Result<Missed, Failure> {
    let readers: Vec<usize> = (0..if records > 1_000 { 16 } else { 256 }).collect();
    let first_sender = readers.len();
    let bench = Bench::open(context.scratch()?, options(), first_sender + conversations)?;
    let mut senders = Senders::new(&bench, first_sender..first_sender + conversations, context.seed)?;
    let mut deliver = |rounds: usize| -> Result<(), Failure> {
        // Everybody's messages come in turns, as they do in life: a reader's records are spread over the log.
        let mut commands = Vec::with_capacity(rounds * readers.len());
        for number in 0..rounds {
            for reader in &readers {
                commands.push(senders.message(number % conversations, Destination::User(name(*reader))));
            }
        }
        bench.execute_all(commands).map(drop)
    };
    deliver(20 * conversations)?;
    bench.engine.persist()?;
    let start = now(&bench.engine, &name(0))?;
    deliver(records)?;
    Ok(Missed { bench, readers, start, records })
}

/// Groups that the readers are all in, and what is new in them.
#[derive(Clone, Copy)]
pub(super) struct Groups {
    pub(super) count: usize,
    /// Members of each.
    pub(super) size: usize,
    /// How their messages are fanned out, whatever their size.
    pub(super) fanout: Fanout,
    /// Messages that are missed, in all; somebody else gets one more.
    pub(super) records: usize,
    /// Groups among which they are divided.
    pub(super) with_news: usize,
}

/// Readers in all of these groups.
pub(super) fn followed(context: &Context, groups: Groups) -> Result<Missed, Failure> {
    let readers: Vec<usize> = (0..32).collect();
    let users = 2 * groups.size;
    let bench = Bench::open(context.scratch()?, options(), users + 1)?;
    let names: Vec<Arc<str>> = (0..groups.count).map(|group| format!("g{group}").into()).collect();
    for (group, conversation) in names.iter().enumerate() {
        // The sender first, then all readers, then others.
        let others = members(group, groups.size, users).into_iter().filter(|user| *user > readers.len());
        let all = [readers.len()].into_iter().chain(readers.iter().copied()).chain(others);
        bench.group(Kind::Group, conversation, &all.take(groups.size).collect::<Vec<_>>())?;
        bench.execute_all([Command::Settings {
            caller: Caller::Service,
            conversation: conversation.clone(),
            open: None,
            history: None,
            fanout: Some(groups.fanout),
        }])?;
    }
    // Who is in none of the groups, so that there is something new, though not for the readers.
    let stranger = users;
    let mut senders = Senders::new(&bench, [readers.len(), stranger], context.seed)?;
    let mut deliver = |count: usize| -> Result<(), Failure> {
        let message = |number: usize| {
            let group = number % groups.with_news;
            senders.message(0, Destination::Conversation(names[group].clone()))
        };
        let mut commands: Vec<Command> = (0..count).map(message).collect();
        commands.push(senders.message(1, Destination::User(name(stranger))));
        bench.execute_all(commands).map(drop)
    };
    deliver(100)?;
    bench.engine.persist()?;
    let start = now(&bench.engine, &name(0))?;
    deliver(groups.records)?;
    Ok(Missed { bench, readers, start, records: groups.records })
}
