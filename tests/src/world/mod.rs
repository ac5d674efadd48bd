//! An engine and the reference model side by side: every command goes to both, and every answer is compared.

mod check;
mod coverage;
mod devices;
mod race;
mod steps;
mod storage;

pub use coverage::Coverage;
pub use devices::Reader;

use crate::model::{self, Ask, Config, Done, Model, Name, Session};
use crate::plan::{self, Case};
use bytes::Bytes;
use highwater_engine::command::{Caller, Create, Destination, OpenSession, Send};
use highwater_engine::log::sim::SimDisk;
use highwater_engine::options::{Durability, FanoutThresholds};
use highwater_engine::proto::error::Error;
use highwater_engine::proto::id::{Epoch, Seq};
use highwater_engine::proto::limits::Limits;
use highwater_engine::proto::record::Kind;
use highwater_engine::{Command, Engine, Options, Outcome, Receipt, SendSession};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// The result of a comparison.
pub type Check<T = ()> = Result<T, TestCaseError>;

/// The time at which every case begins, in ms since 1970.
const BEGIN_MS: u64 = 1_700_000_000_000;

/// Longer than a case: what a power cut loses in the mode `crash` is to be much.
const SYNC_INTERVAL: Duration = Duration::from_secs(3_600);

/// An engine and its model.
pub struct World {
    /// What should be.
    pub model: Model,
    /// What was seen so far.
    pub coverage: Coverage,
    /// The disk under the engine's log.
    pub disk: SimDisk,
    engine: Option<Engine>,
    dir: TempDir,
    options: Options,
    clock: Arc<AtomicU64>,
    epoch: Epoch,
    sessions: Vec<OpenedSession>,
    readers: BTreeMap<(Name, u8), Reader>,
}

/// A send session that was opened at some time.
struct OpenedSession {
    session: Session,
    handle: SendSession,
    is_replaced: Arc<AtomicBool>,
    /// Opened since the store was.
    is_of_this_opening: bool,
}

/// A directory for indexes: in memory if there is such a thing.
pub fn scratch() -> TempDir {
    let memory = PathBuf::from("/dev/shm");
    let made = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
    made.expect("a temporary directory can be made")
}

impl World {
    /// An open engine with the users that every case begins with.
    pub fn new(case: &Case) -> Check<Self> {
        let config = Config {
            write_members_max: 3,
            read_members_min: 2,
            create_named_users: case.create_named_users,
            body_bytes_max: 48,
            devices_per_user_max: plan::DEVICES - 1,
        };
        let clock = Arc::new(AtomicU64::new(BEGIN_MS));
        let disk = SimDisk::new();
        let ticking = clock.clone();
        let options = Options {
            limits: Limits {
                body_bytes_max: config.body_bytes_max,
                devices_per_user_max: config.devices_per_user_max,
                ..Limits::default()
            },
            fanout: FanoutThresholds {
                write_members_max: config.write_members_max,
                read_members_min: config.read_members_min,
                dwell_ms_min: 0,
            },
            create_named_users: config.create_named_users,
            segment_bytes_max: 8 << 10,
            // A few blocks of records, or all of them.
            tail_bytes_max: if case.is_head_small { 40 << 10 } else { 32 << 20 },
            persist_head_bytes: if case.is_head_small { 2 << 10 } else { 1 << 20 },
            durability: if case.may_lose {
                Durability::Crash { sync_interval: SYNC_INTERVAL }
            } else {
                Durability::Power
            },
            disk: Some(Arc::new(disk.clone())),
            clock: Arc::new(move || ticking.load(Ordering::SeqCst)),
            ..Options::default()
        };
        let dir = scratch();
        let engine = Engine::open(dir.path(), options.clone()).map_err(|error| failed("open", &error))?;
        let mut world = Self {
            model: Model::new(config, BEGIN_MS),
            coverage: Coverage::default(),
            disk,
            engine: Some(engine),
            dir,
            options,
            clock,
            epoch: Epoch(1),
            sessions: Vec::new(),
            readers: BTreeMap::new(),
        };
        for user in 0..plan::KNOWN_USERS {
            world.ask(Ask::CreateUser(user_name(user)))?;
        }
        // A group, an open channel and two who talk: so that most commands of a case find something to do.
        world.begin(Kind::Group, "c0", Some(0), &[1, 2])?;
        world.begin(Kind::Channel, "c1", Some(1), &[3, 4])?;
        world.begin(Kind::Direct, "two", None, &[0, 5])?;
        if case.may_lose {
            // These are to be there whatever is lost.
            world.persist()?;
        }
        Ok(world)
    }

    fn begin(&mut self, kind: Kind, name: &str, owner: Option<usize>, members: &[usize]) -> Check {
        self.ask(Ask::Create(model::Create {
            caller: None,
            kind,
            conversation: Some(name.into()),
            owner: owner.map(user_name),
            members: members.iter().copied().map(user_name).collect(),
            open: kind == Kind::Channel,
            history: false,
        }))
    }

    /// Whether a power cut may lose what was acknowledged.
    fn may_lose(&self) -> bool {
        self.options.durability != Durability::Power
    }

    /// The open engine.
    pub fn engine(&self) -> &Engine {
        self.engine.as_ref().expect("it is open between the steps")
    }

    /// Gives a command to both and compares what comes of it.
    pub fn ask(&mut self, ask: Ask) -> Check {
        self.tick();
        let (command, replaced) = self.command(&ask);
        let expected = self.model.expect(&ask);
        self.coverage.asked(&self.model, &ask, &expected);
        let answer = self.engine().execute(command);
        self.compare(&ask, &expected, answer, replaced)?;
        prop_assert_eq!(self.engine().visible().0, self.model.visible(), "visible after {:?}", ask);
        Ok(())
    }

    /// Time goes on by a millisecond.
    fn tick(&mut self) {
        self.model.now_ms = self.clock.fetch_add(1, Ordering::SeqCst) + 1;
    }

    fn compare(
        &mut self,
        ask: &Ask,
        expected: &Result<Done, highwater_engine::proto::error::Code>,
        answer: Result<Outcome, Error>,
        replaced: Arc<AtomicBool>,
    ) -> Check {
        match (expected, answer) {
            (Err(code), Err(error)) => prop_assert_eq!(*code, error.code, "{:?}: {}", ask, error),
            (Ok(Done::Receipt { position, repeated }), Ok(Outcome::Receipt(receipt))) => {
                prop_assert_eq!(receipt, self.receipt(*position, *repeated), "{:?}", ask);
            }
            (Ok(Done::Changed { position }), Ok(Outcome::Changed(entry))) => {
                let state = self.model.state();
                prop_assert_eq!(*entry, model::entry(&self.model, &state, *position, None), "{:?}", ask);
            }
            (Ok(Done::Unchanged(conversation)), Ok(Outcome::Unchanged { conversation: found })) => {
                prop_assert_eq!(conversation, &found, "{:?}", ask);
            }
            (Ok(Done::Session { last }), Ok(Outcome::Session(handle))) => {
                prop_assert_eq!(*last, handle.last_client_seq, "{:?}", ask);
                self.note_session(ask, handle, replaced)?;
            }
            (expected, answer) => prop_assert!(false, "{:?}: expected {:?}, got {:?}", ask, expected, answer),
        }
        if let Ask::Revoke { user, device } = ask {
            self.check_replaced(user, device, None)?;
        }
        Ok(())
    }

    /// What a numbered record's receipt says.
    fn receipt(&self, position: u64, repeated: bool) -> Receipt {
        let record = self.model.record(position);
        Receipt {
            conversation: record.conversation.clone(),
            seq: Seq(record.seq),
            position: highwater_engine::proto::id::Position(position),
            time_ms: record.time_ms,
            client_seq: record.client_seq,
            repeated,
        }
    }

    fn note_session(&mut self, ask: &Ask, handle: SendSession, is_replaced: Arc<AtomicBool>) -> Check {
        let Ask::Open { user, device, by_service } = ask else { return Ok(()) };
        let session = Session {
            number: self.sessions.len(),
            user: user.clone(),
            device: device.clone(),
            by_service: *by_service,
        };
        self.model.opened(&session);
        let number = session.number;
        self.sessions.push(OpenedSession { session, handle, is_replaced, is_of_this_opening: true });
        self.check_replaced(user, device, Some(number))
    }

    /// Every session of the device but one was told that it is replaced.
    fn check_replaced(&self, user: &str, device: &str, newest: Option<usize>) -> Check {
        for opened in self.sessions.iter().filter(|opened| opened.is_of_this_opening) {
            let session = &opened.session;
            if session.user.as_ref() == user && session.device.as_ref() == device {
                let is_replaced = opened.is_replaced.load(Ordering::SeqCst);
                prop_assert_eq!(is_replaced, Some(session.number) != newest, "session {:?} was told", session);
            }
        }
        Ok(())
    }

    /// The newest open session of a device; opens one if there is none. `None` if that is refused.
    fn session(&mut self, user: &Name, device: &Name, by_service: bool) -> Check<Option<Session>> {
        let key = (user.clone(), device.clone());
        let is_fit = |opened: &OpenedSession| opened.session.by_service == by_service;
        if let Some(number) = self.model.newest.get(&key)
            && is_fit(&self.sessions[*number])
        {
            return Ok(Some(self.sessions[*number].session.clone()));
        }
        self.ask(Ask::Open { user: user.clone(), device: device.clone(), by_service })?;
        Ok(self
            .model
            .newest
            .get(&key)
            .map(|number| self.sessions[*number].session.clone())
            .filter(|session| session.by_service == by_service))
    }

    /// The engine's form of a command, and what tells that its session was replaced.
    fn command(&self, ask: &Ask) -> (Command, Arc<AtomicBool>) {
        let replaced = Arc::new(AtomicBool::new(false));
        let handle = |session: &Session| self.sessions[session.number].handle;
        let caller = |caller: &model::Caller| caller.clone().map_or(Caller::Service, Caller::User);
        let bytes = |body: &[u8]| Bytes::copy_from_slice(body);
        let command = match ask.clone() {
            Ask::CreateUser(user) => Command::CreateUser { user },
            Ask::Open { user, device, by_service } => {
                let told = replaced.clone();
                let on_replaced = Box::new(move || told.store(true, Ordering::SeqCst));
                Command::OpenSession(OpenSession { user, device, by_service, on_replaced })
            }
            Ask::Send(send) => Command::Send(Send {
                session: handle(&send.session),
                client_seq: send.client_seq,
                destination: match send.to {
                    model::To::User(user) => Destination::User(user),
                    model::To::Conversation(name) => Destination::Conversation(name),
                },
                body: bytes(&send.body),
                quote: send.quote.map(Seq),
                mentions: send.mentions,
                sent_at_ms: send.sent_at_ms,
            }),
            Ask::Edit { session, client_seq, conversation, target, body } => {
                let (session, body) = (handle(&session), bytes(&body));
                Command::Edit { session, client_seq, conversation, target: Seq(target), body }
            }
            Ask::Recall { session, client_seq, conversation, target } => {
                Command::Recall { session: handle(&session), client_seq, conversation, target: Seq(target) }
            }
            Ask::Create(create) => Command::Create(Create {
                caller: caller(&create.caller),
                kind: create.kind,
                conversation: create.conversation,
                owner: create.owner,
                members: create.members,
                open: create.open,
                history: create.history,
            }),
            Ask::Add { caller: by, conversation, members } => {
                Command::Add { caller: caller(&by), conversation, members }
            }
            Ask::Remove { caller: by, conversation, members } => {
                Command::Remove { caller: caller(&by), conversation, members }
            }
            Ask::Join { user, conversation } => Command::Join { user, conversation },
            Ask::Leave { user, conversation } => Command::Leave { user, conversation },
            Ask::Role { caller: by, conversation, user, role } => {
                Command::Role { caller: caller(&by), conversation, user, role }
            }
            Ask::Settings { caller: by, conversation, open, history, fanout } => {
                Command::Settings { caller: caller(&by), conversation, open, history, fanout }
            }
            Ask::Mute { user, conversation, muted } => Command::Mute { user, conversation, muted },
            Ask::Read { user, conversation, through } => Command::Read { user, conversation, through: Seq(through) },
            Ask::Revoke { user, device } => Command::Revoke { user, device },
        };
        (command, replaced)
    }
}

/// The name of a user.
pub fn user_name(user: usize) -> Name {
    // One of them with a name that is not plain, so that a direct conversation's canonical id is a digest.
    if user == 5 { "\u{fc}ser, 5".into() } else { format!("u{user}").into() }
}

fn failed(what: &str, error: &Error) -> TestCaseError {
    TestCaseError::fail(format!("{what}: {error}"))
}
