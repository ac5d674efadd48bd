//! Short forms of what most tests here do.

use bytes::Bytes;
use highwater_engine::command::{Caller, Create, Destination, OpenSession, Send};
use highwater_engine::log::sim::SimDisk;
use highwater_engine::proto::error::{Code, Error};
use highwater_engine::proto::record::Kind;
use highwater_engine::{Command, Engine, Options, Outcome, Receipt, SendSession};
use highwater_tests::world::scratch;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use tempfile::TempDir;

/// A store on a simulated disk, with its index in a directory in memory.
pub(crate) struct Store {
    pub(crate) disk: SimDisk,
    pub(crate) dir: TempDir,
    pub(crate) options: Options,
}

impl Store {
    /// An empty one; commands may name users who are not known.
    pub(crate) fn new(options: Options) -> Self {
        let disk = SimDisk::new();
        let options = Options { disk: Some(Arc::new(disk.clone())), create_named_users: true, ..options };
        Self { disk, dir: scratch(), options }
    }

    pub(crate) fn open(&self) -> Engine {
        self.try_open().unwrap()
    }

    pub(crate) fn try_open(&self) -> Result<Engine, Error> {
        Engine::open(self.dir.path(), self.options.clone())
    }

    /// Cuts the power; the engine that used the disk goes with it.
    pub(crate) fn crash(&self, engine: Engine) {
        self.disk.crash();
        drop(engine);
    }
}

/// The name of a user.
pub(crate) fn member(user: usize) -> Arc<str> {
    format!("user-{user}").into()
}

/// Creates a conversation by the service; a group or channel is owned by its first member.
pub(crate) fn conversation(kind: Kind, name: &str, members: &[Arc<str>]) -> Command {
    let owner = members.first().filter(|_| kind != Kind::Direct).cloned();
    Command::Create(Create {
        caller: Caller::Service,
        kind,
        conversation: Some(name.into()),
        owner,
        members: members.to_vec(),
        open: false,
        history: false,
    })
}

/// Opens a send session.
pub(crate) fn session(engine: &Engine, user: &str, device: &str, by_service: bool) -> SendSession {
    let (user, device) = (user.into(), device.into());
    let open = OpenSession { user, device, by_service, on_replaced: Box::new(|| {}) };
    match engine.execute(Command::OpenSession(open)).unwrap() {
        Outcome::Session(session) => session,
        other => panic!("opening a session gave {other:?}"),
    }
}

/// A message to a conversation.
pub(crate) fn send(session: SendSession, client_seq: u64, conversation: &str, body: impl Into<Bytes>) -> Command {
    Command::Send(Send {
        session,
        client_seq,
        destination: Destination::Conversation(conversation.into()),
        body: body.into(),
        quote: None,
        mentions: Vec::new(),
        sent_at_ms: None,
    })
}

/// The receipt of a numbered command that is accepted.
pub(crate) fn receipt(engine: &Engine, command: Command) -> Receipt {
    match engine.execute(command).unwrap() {
        Outcome::Receipt(receipt) => receipt,
        other => panic!("no receipt but {other:?}"),
    }
}

/// The code with which a command is refused.
pub(crate) fn refusal(engine: &Engine, command: Command) -> Code {
    engine.execute(command).expect_err("it is refused").code
}

/// SplitMix64, from a seed that is printed.
pub(crate) struct Seed(u64);

impl Seed {
    pub(crate) fn random(what: &str) -> Self {
        let seed = RandomState::new().build_hasher().finish();
        println!("{what}: seed {seed}");
        Self(seed)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}
