//! The paths whose instructions are counted, each a fixed piece of work done so many times.

use super::disk::MemoryDisk;
use super::gate::Gate;
use highwater_engine::command::{Caller, Create, Destination, OpenSession, Send};
use highwater_engine::entry::{Start, SyncLimits};
use highwater_engine::proto::id::Position;
use highwater_engine::proto::packed;
use highwater_engine::proto::record::{Fanout, Kind};
use highwater_engine::{Command, Engine, Options, Outcome, SendSession};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use tempfile::TempDir;

/// A path: what is done, and how often in the two runs whose difference is counted.
pub(super) struct Path {
    pub(super) name: &'static str,
    /// What one operation is.
    pub(super) operation: &'static str,
    /// Repetitions in the two runs.
    pub(super) counts: (u64, u64),
    /// Operations in one repetition.
    pub(super) operations: u64,
    /// Does it so many times.
    pub(super) run: fn(u64),
}

/// All paths.
pub(super) const PATHS: [Path; 6] = [
    Path {
        name: "send_direct",
        operation: "durable direct message of 200 bytes, 1,024 in flight",
        counts: (4, 20),
        operations: DIRECT_BURST as u64,
        run: send_direct,
    },
    Path {
        name: "send_group_200",
        operation: "message to 200 members on write, 64 in flight",
        counts: (16, 80),
        operations: GROUP_BURST as u64,
        run: send_group,
    },
    Path {
        name: "sync_hot",
        operation: "sync of 50 messages in 5 conversations, from memory",
        counts: (200, 1_200),
        operations: 1,
        run: |count| sync(count, Place::Head),
    },
    Path {
        name: "sync_warm",
        operation: "sync of 50 messages in 5 conversations, persisted, blocks cached",
        counts: (200, 1_200),
        operations: 1,
        run: |count| sync(count, Place::Index),
    },
    Path {
        name: "persist",
        operation: "entry of a persisted head: 8,192 direct and 2,560 group messages of 200 members",
        counts: (0, 1),
        operations: (8 * DIRECT_BURST * 2 + 40 * GROUP_BURST * GROUP_MEMBERS) as u64,
        run: persist,
    },
    Path {
        name: "packed_list",
        operation: "entry of a packed list of 512, written and read",
        counts: (1_000, 11_000),
        operations: 512,
        run: packed_list,
    },
];

const USERS: usize = 256;
const DIRECT_BURST: usize = 1_024;
const DIRECT_SENDERS: usize = 64;
/// Fewer than what makes one group of records.
const GROUP_BURST: usize = 64;
const GROUP_SENDERS: usize = 16;
const GROUP_MEMBERS: usize = 200;
const GROUP: &str = "group";

fn send_direct(rounds: u64) {
    let mut store = Store::new();
    let senders = store.senders(DIRECT_SENDERS);
    for _ in 0..rounds {
        store.direct_burst(&senders);
    }
}

fn send_group(rounds: u64) {
    let mut store = Store::new();
    let senders = store.senders(GROUP_SENDERS);
    store.create_group();
    for _ in 0..rounds {
        store.group_burst(&senders);
    }
}

/// Where the records of a sync stand.
enum Place {
    Head,
    Index,
}

fn sync(count: u64, place: Place) {
    let mut store = Store::new();
    let senders = store.senders(5);
    for sender in senders {
        store.burst(&[sender], 10, |_| Destination::User(user(USERS - 1)));
    }
    if let Place::Index = place {
        store.engine.persist().expect("the head is persisted");
    }
    let reader = format!("u{}", USERS - 1);
    for _ in 0..count {
        let delta = store.engine.sync(&reader, Start::Beginning, SyncLimits::default()).expect("the user exists");
        assert_eq!(black_box(delta).records.len(), 55, "five creates and fifty messages");
    }
}

fn persist(count: u64) {
    let mut store = Store::new();
    let senders = store.senders(DIRECT_SENDERS);
    store.create_group();
    for _ in 0..8 {
        store.direct_burst(&senders);
    }
    for _ in 0..40 {
        store.group_burst(&senders[..GROUP_SENDERS]);
    }
    for _ in 0..count {
        store.engine.persist().expect("the head is persisted");
    }
}

fn packed_list(count: u64) {
    // Distances as at the density of a busy server: one to three bytes.
    let positions: Vec<Position> = (1..=512_u64).map(|n| Position(n * n * 97)).collect();
    let mut bytes = Vec::new();
    for _ in 0..count {
        bytes.clear();
        packed::pack(black_box(&positions), &mut bytes);
        let unpacked = packed::unpack(black_box(&bytes)).expect("it was packed");
        assert_eq!(unpacked.len(), positions.len());
    }
}

/// An engine on a disk in memory, driven so that its groups are the same in every run.
struct Store {
    engine: Engine,
    gate: Arc<Gate>,
    /// The next number of each sender.
    numbers: Vec<u64>,
    _index: TempDir,
}

/// An open send session, and the user that has it.
#[derive(Clone, Copy)]
struct Sender {
    user: usize,
    session: SendSession,
}

impl Store {
    fn new() -> Self {
        let index = tempfile::tempdir().expect("a temporary directory");
        let gate = Arc::new(Gate::default());
        let clock = gate.clone();
        let options = Options {
            disk: Some(Arc::new(MemoryDisk::default())),
            clock: Arc::new(move || clock.time_ms()),
            ..Options::default()
        };
        let engine = Engine::open(index.path(), options).expect("an empty store opens");
        for number in 0..USERS {
            engine.execute(Command::CreateUser { user: user(number) }).expect("a user is created");
        }
        Self { engine, gate, numbers: vec![0; USERS], _index: index }
    }

    fn senders(&self, count: usize) -> Vec<Sender> {
        (0..count).map(|user| Sender { user, session: self.session(user) }).collect()
    }

    fn session(&self, number: usize) -> SendSession {
        let open =
            OpenSession { user: user(number), device: "guard".into(), by_service: false, on_replaced: Box::new(|| {}) };
        match self.engine.execute(Command::OpenSession(open)) {
            Ok(Outcome::Session(session)) => session,
            other => panic!("no session was opened: {other:?}"),
        }
    }

    fn create_group(&self) {
        let create = Create {
            caller: Caller::Service,
            kind: Kind::Group,
            conversation: Some(GROUP.into()),
            owner: Some(user(0)),
            members: (1..GROUP_MEMBERS).map(user).collect(),
            open: false,
            history: false,
        };
        self.engine.execute(Command::Create(create)).expect("the group is created");
        let pin = Command::Settings {
            caller: Caller::Service,
            conversation: GROUP.into(),
            open: None,
            history: None,
            fanout: Some(Fanout::Write),
        };
        self.engine.execute(pin).expect("its fan-out is fixed");
    }

    fn direct_burst(&mut self, senders: &[Sender]) {
        self.burst(senders, DIRECT_BURST, |sender| Destination::User(user((sender.user + 1) % USERS)));
    }

    fn group_burst(&mut self, senders: &[Sender]) {
        self.burst(senders, GROUP_BURST, |_| Destination::Conversation(GROUP.into()));
    }

    /// So many messages in flight at once: the first makes a group, and all others make the next one.
    fn burst(&mut self, senders: &[Sender], count: usize, to: impl Fn(&Sender) -> Destination) {
        let (all_done, done) = sync_channel(1);
        let open = Arc::new(AtomicUsize::new(count));
        self.gate.close();
        for number in 0..count {
            let sender = &senders[number % senders.len()];
            self.numbers[sender.user] += 1;
            let send = Send {
                session: sender.session,
                client_seq: self.numbers[sender.user],
                destination: to(sender),
                body: vec![b'x'; 200].into(),
                quote: None,
                mentions: Vec::new(),
                sent_at_ms: None,
            };
            let (open, all_done) = (open.clone(), all_done.clone());
            let completion = Box::new(move |outcome: Result<Outcome, _>| {
                outcome.expect("the message is accepted");
                if open.fetch_sub(1, Ordering::SeqCst) == 1 {
                    all_done.send(()).expect("somebody waits");
                }
            });
            self.engine.submit(Command::Send(send), completion).expect("the queue has room");
            if number == 0 {
                self.gate.wait_until_reached();
            }
        }
        self.gate.open();
        done.recv().expect("the engine answers");
    }
}

fn user(number: usize) -> Arc<str> {
    format!("u{number}").into()
}
