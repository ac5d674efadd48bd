//! One data set through one engine: made, replayed, persisted, measured, and compared with the source.

use super::source::{Message, Source};
use crate::children::Child;
use crate::context::Failure;
use crate::machine::{Memory, Used};
use crate::store::{drive, submit};
use crate::workload::Random;
use highwater_engine::command::{Caller, Create, Destination, OpenSession, Send};
use highwater_engine::entry::{Body, Entry, Start, SyncLimits, What};
use highwater_engine::inspect::{inspect, inspect_conversation};
use highwater_engine::proto::limits::{BODY_BYTES_CONFIGURABLE_MAX, Limits, MEMBERS_PER_CHANGE_MAX};
use highwater_engine::proto::record::{Kind, Mode};
use highwater_engine::{Command, Engine, Options, Outcome, SendSession};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a replay took and left.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Replayed {
    pub(super) users: usize,
    pub(super) conversations: usize,
    pub(super) messages: u64,
    pub(super) deliveries: u64,
    pub(super) body_bytes: u64,
    pub(super) left_out: u64,
    pub(super) too_large: u64,
    /// Making users and conversations.
    pub(super) setup_seconds: f64,
    /// The messages, from the first to the last answer, and the persist of what is left in memory.
    pub(super) seconds: f64,
    pub(super) persist_seconds: f64,
    pub(super) cpu_seconds: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    pub(super) device_bytes: u64,
    /// What the messages added to the log and, with their persists, to the index.
    pub(super) log_bytes: u64,
    /// Below zero where merging files has saved more than the messages added.
    pub(super) index_bytes: i64,
    /// The source in memory, and the most that the process had at once.
    pub(super) memory_before: u64,
    pub(super) memory_peak: u64,
    /// Conversations by the mode in which they are now, and messages in them.
    pub(super) on_write: (usize, u64),
    pub(super) on_read: (usize, u64),
    /// Members whose timelines were compared with the source, and the messages in them.
    pub(super) verified: (usize, u64),
}

/// Messages in flight.
const IN_FLIGHT: usize = 1_024;
/// Commands in flight that may name a thousand members each.
const SETUP_IN_FLIGHT: usize = 256;
/// Members to be compared with the source at the least, and messages after which no further one is.
const VERIFIED_MIN: usize = 3;
const VERIFIED_MAX: usize = 40;
const VERIFIED_MESSAGES: u64 = 200_000;
/// Conversations whose mode is looked up.
const MODES_LOOKED_UP: usize = 4;

/// Replays a source as groups or, if its authors are followed, as channels.
pub(super) fn replay(source: &Source, kind: Kind, store: &Path, seed: u64) -> Result<Replayed, Failure> {
    let mut out = Replayed {
        users: source.users.len(),
        conversations: source.conversations.len(),
        messages: source.messages.len() as u64,
        deliveries: source.deliveries(),
        body_bytes: source.body_bytes(),
        left_out: source.events_left_out,
        too_large: source.too_large,
        memory_before: Memory::here().resident,
        ..Replayed::default()
    };
    let engine = Engine::open(store, options())?;
    let names = source.users.iter().map(|name| name.as_str().into()).collect();
    let replay = Replay { source, kind, engine, names };
    let began = Instant::now();
    replay.set_up()?;
    out.setup_seconds = began.elapsed().as_secs_f64();
    // The space that setting up takes is known for certain only of a closed store.
    let Replay { engine, names, .. } = replay;
    engine.close()?;
    let (log_before, index_before) = sizes(store)?;
    let replay = Replay { source, kind, engine: Engine::open(store, options())?, names };
    let sessions = replay.sessions()?;

    let used = Used::so_far();
    let began = Instant::now();
    let driven = replay.send_all(sessions)?;
    out.seconds = began.elapsed().as_secs_f64();
    let began = Instant::now();
    replay.engine.persist()?;
    out.persist_seconds = began.elapsed().as_secs_f64();
    let used = Used::since(used);
    out.cpu_seconds = used.cpu.as_secs_f64();
    out.device_bytes = used.written_bytes;
    (out.p50_us, out.p99_us) = (driven.latencies.p50_us(), driven.latencies.p99_us());
    out.memory_peak = Memory::here().peak;

    // What is on the disk is compared, and not what is in memory.
    let Replay { engine, names, .. } = replay;
    engine.close()?;
    let (log_after, index_after) = sizes(store)?;
    out.log_bytes = log_after.saturating_sub(log_before);
    out.index_bytes = index_after as i64 - index_before as i64;
    modes(source, store, &mut out)?;
    let engine = Engine::open(store, options())?;
    out.verified = verify(source, &names, &engine, seed)?;
    engine.close()?;
    Ok(out)
}

fn options() -> Options {
    let limits = Limits { body_bytes_max: BODY_BYTES_CONFIGURABLE_MAX, ..Limits::default() };
    Options { limits, ..Options::default() }
}

struct Replay<'a> {
    source: &'a Source,
    kind: Kind,
    engine: Engine,
    names: Vec<Arc<str>>,
}

/// A session of an author and its last number.
type Session = (SendSession, u64);

impl Replay<'_> {
    fn set_up(&self) -> Result<(), Failure> {
        let mut users = self.names.iter();
        self.each(self.names.len(), IN_FLIGHT, || users.next().map(|user| Command::CreateUser { user: user.clone() }))?;
        let conversations = &self.source.conversations;
        let names = |members: &[u32]| members.iter().map(|member| self.names[*member as usize].clone()).collect();
        let mut creates = conversations.iter().map(|conversation| {
            // The author of a channel is its owner; a group of equals has none.
            let owned = usize::from(self.kind == Kind::Channel);
            let (owner, others) = conversation.members.split_at(owned);
            Command::Create(Create {
                caller: Caller::Service,
                kind: self.kind,
                conversation: Some(conversation.id.as_str().into()),
                owner: owner.first().map(|owner| self.names[*owner as usize].clone()),
                members: names(&others[..others.len().min(CREATED_WITH)]),
                open: false,
                history: false,
            })
        });
        self.each(conversations.len(), SETUP_IN_FLIGHT, || creates.next())?;
        let mut adds = conversations.iter().flat_map(|conversation| {
            let created = CREATED_WITH + usize::from(self.kind == Kind::Channel);
            let rest = conversation.members.get(created..).unwrap_or_default();
            rest.chunks(MEMBERS_PER_CHANGE_MAX).map(|piece| Command::Add {
                caller: Caller::Service,
                conversation: conversation.id.as_str().into(),
                members: names(piece),
            })
        });
        self.each(usize::MAX, SETUP_IN_FLIGHT, || adds.next())
    }

    /// Executes commands until there are no more, many at once.
    fn each(&self, count: usize, in_flight: usize, mut next: impl FnMut() -> Option<Command>) -> Result<(), Failure> {
        let mut rest = std::iter::from_fn(&mut next).take(count).peekable();
        while rest.peek().is_some() {
            let batch: Vec<Command> = rest.by_ref().take(BATCH).collect();
            let (count, mut batch) = (batch.len() as u64, batch.into_iter());
            drive(in_flight, count, far_away(), |_, done| match batch.next() {
                Some(command) => submit(&self.engine, command, done),
                None => Err("there are fewer commands than were counted".into()),
            })?;
        }
        Ok(())
    }

    /// A send session of each user that says something.
    fn sessions(&self) -> Result<Vec<Option<Session>>, Failure> {
        let mut is_author = vec![false; self.names.len()];
        self.source.messages.iter().for_each(|message| is_author[message.author as usize] = true);
        let authors: Vec<usize> = (0..self.names.len()).filter(|user| is_author[*user]).collect();
        let opened = Arc::new(Mutex::new(vec![None; self.names.len()]));
        drive(IN_FLIGHT, authors.len() as u64, far_away(), |number, done| {
            let user = authors[number as usize];
            let opened = opened.clone();
            let open = OpenSession {
                user: self.names[user].clone(),
                device: "replay".into(),
                by_service: false,
                on_replaced: Box::new(|| {}),
            };
            let completion = Box::new(move |outcome| {
                let session = match outcome {
                    Ok(Outcome::Session(session)) => Some((session, session.last_client_seq)),
                    _ => None,
                };
                opened.lock()[user] = session;
                done(session.is_some());
            });
            Ok(self.engine.submit(Command::OpenSession(open), completion)?)
        })?;
        let sessions = std::mem::take(&mut *opened.lock());
        Ok(sessions)
    }

    fn send_all(&self, mut sessions: Vec<Option<Session>>) -> Result<crate::store::Driven, Failure> {
        let conversations: Vec<Arc<str>> =
            self.source.conversations.iter().map(|conversation| conversation.id.as_str().into()).collect();
        drive(IN_FLIGHT, self.source.messages.len() as u64, far_away(), |number, done| {
            let message = &self.source.messages[number as usize];
            let (session, last) = sessions[message.author as usize].as_mut().ok_or("an author has no session")?;
            *last += 1;
            let send = Send {
                session: *session,
                client_seq: *last,
                destination: Destination::Conversation(conversations[message.conversation as usize].clone()),
                body: message.body.clone(),
                quote: None,
                mentions: Vec::new(),
                sent_at_ms: message.sent_at_ms,
            };
            submit(&self.engine, Command::Send(send), done)
        })
    }
}

/// Members that a conversation is created with, its owner not counted; the others are added.
const CREATED_WITH: usize = MEMBERS_PER_CHANGE_MAX - 1;
/// Commands that are made at once.
const BATCH: usize = 1 << 16;

fn far_away() -> Instant {
    Instant::now() + Duration::from_secs(24 * 3_600)
}

/// Bytes of the log up to its end and of the index. Looking costs memory, which is not to count: a child looks.
fn sizes(store: &Path) -> Result<(u64, u64), Failure> {
    let mut child = Child::start("real", &["sizes", &store.to_string_lossy()])?;
    let sizes = child.answer()?;
    child.finish()?;
    Ok(sizes)
}

/// What the child finds.
pub(super) fn look_at_sizes(store: &Path) -> Result<(u64, u64), Failure> {
    let summary = inspect(store)?;
    let log = summary.segments.iter().map(|segment| segment.bytes).sum();
    Ok((log, summary.families.iter().map(|family| family.bytes).sum()))
}

/// By which mode conversations are fanned out, by their size; some on both sides of the threshold are looked up.
fn modes(source: &Source, store: &Path, out: &mut Replayed) -> Result<(), Failure> {
    let threshold = Options::default().fanout.write_members_max;
    let mut messages = vec![0u64; source.conversations.len()];
    source.messages.iter().for_each(|message| messages[message.conversation as usize] += 1);
    let mut by_size: Vec<usize> = (0..source.conversations.len()).collect();
    by_size.sort_by_key(|number| source.conversations[*number].members.len());
    let border = by_size.partition_point(|number| source.conversations[*number].members.len() <= threshold);
    for (place, number) in by_size.iter().enumerate() {
        let count = if place < border { &mut out.on_write } else { &mut out.on_read };
        count.0 += 1;
        count.1 += messages[*number];
    }
    let from = border.saturating_sub(MODES_LOOKED_UP / 2);
    for (place, number) in by_size.iter().enumerate().skip(from).take(MODES_LOOKED_UP) {
        let conversation = &source.conversations[*number];
        let mode = inspect_conversation(store, &conversation.id)?.mode;
        let expected = if place < border { Mode::Write } else { Mode::Read };
        if mode != expected {
            let members = conversation.members.len();
            return Err(format!("a conversation of {members} members is in mode {mode:?}, not {expected:?}").into());
        }
    }
    Ok(())
}

/// Compares whole timelines of some members with the source: every message of their conversations, in order.
fn verify(source: &Source, names: &[Arc<str>], engine: &Engine, seed: u64) -> Result<(usize, u64), Failure> {
    let mut of_user: HashMap<u32, Vec<u32>> = HashMap::new();
    for (number, conversation) in (0..).zip(&source.conversations) {
        for member in &conversation.members {
            of_user.entry(*member).or_default().push(number);
        }
    }
    let mut of_conversation: Vec<Vec<&Message>> = vec![Vec::new(); source.conversations.len()];
    for message in &source.messages {
        of_conversation[message.conversation as usize].push(message);
    }
    let mut members: Vec<u32> = of_user.keys().copied().collect();
    members.sort_unstable();
    let mut random = Random::new(seed);
    let (mut verified, mut messages) = (0, 0);
    while verified < VERIFIED_MAX.min(members.len()) && (verified < VERIFIED_MIN || messages < VERIFIED_MESSAGES) {
        let member = members[random.below(members.len())];
        let mut expected: HashMap<&str, std::slice::Iter<'_, &Message>> = HashMap::new();
        for number in &of_user[&member] {
            let number = *number as usize;
            expected.insert(&source.conversations[number].id, of_conversation[number].iter());
        }
        let user = &names[member as usize];
        let mut page = engine.sync(user, Start::Beginning, SyncLimits::default())?;
        loop {
            for entry in &page.records {
                messages += u64::from(check(entry, &mut expected, names, user)?);
            }
            if page.caught_up {
                break;
            }
            page = engine.sync_next(user, page.next, SyncLimits::default())?;
        }
        if let Some((conversation, _)) = expected.iter().find(|(_, rest)| rest.len() > 0) {
            return Err(format!("{user:?} did not get every message of {conversation:?}").into());
        }
        verified += 1;
    }
    Ok((verified, messages))
}

/// Whether the entry is a message; it is the next one of its conversation then.
fn check(
    entry: &Entry,
    expected: &mut HashMap<&str, std::slice::Iter<'_, &Message>>,
    names: &[Arc<str>],
    user: &str,
) -> Result<bool, Failure> {
    let What::Message { body: Body::Original(body), sent_at_ms, .. } = &entry.what else { return Ok(false) };
    let wrong = |what: &str| -> Failure {
        format!("{user:?} got {what} at seq {} of {:?}", entry.seq, entry.conversation).into()
    };
    let rest = expected.get_mut(&*entry.conversation).ok_or_else(|| wrong("a message of others"))?;
    let message = rest.next().ok_or_else(|| wrong("a message too many"))?;
    let is_equal =
        *body == message.body && entry.from == names[message.author as usize] && *sent_at_ms == message.sent_at_ms;
    if is_equal { Ok(true) } else { Err(wrong("another message")) }
}
