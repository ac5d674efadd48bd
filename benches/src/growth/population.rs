//! A store of many users, of whom some talk in pairs, and what a send and a sync cost in it.

use crate::context::Failure;
use crate::machine::{Memory, directory_bytes};
use crate::stats::Latencies;
use crate::store::{drive, name, submit};
use crate::sys;
use crate::workload::Random;
use bytes::Bytes;
use highwater_engine::command::{Caller, Create, Destination, OpenSession, Send};
use highwater_engine::entry::{Start, SyncLimits};
use highwater_engine::options::FanoutThresholds;
use highwater_engine::proto::checkpoint::Checkpoint;
use highwater_engine::proto::record::Kind;
use highwater_engine::{Command, Engine, Options, Outcome, SendSession, Usage};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Commands in flight while the store is made.
const SETUP_IN_FLIGHT: usize = 4_096;
/// Sends in flight while their cost is measured.
const IN_FLIGHT: usize = 1_024;
/// Direct sends in one measurement.
pub(super) const SENDS: u64 = 10_000;
/// Who reads when syncs are measured: all of them are in all of [`READER_GROUPS`].
const READERS: usize = 200;
const READER_GROUPS: usize = 5;
/// Messages that a reader has missed.
const MISSED: usize = 50;
/// Members of a group by which inboxes grow.
const GROUP_MEMBERS: usize = 1_000;
/// Of ten users so many are in a group by which inboxes grow.
const GROUPED_OF_TEN: usize = 5;
const BODY: Bytes = Bytes::from_static(&[b'x'; 200]);

/// The default ones, but that groups of [`GROUP_MEMBERS`] are fanned out on write.
fn options() -> Options {
    let default = Options::default();
    let fanout = FanoutThresholds { write_members_max: GROUP_MEMBERS, ..default.fanout };
    Options { fanout, ..default }
}

/// A store and its open send sessions.
pub(super) struct Population {
    engine: Engine,
    path: PathBuf,
    users: usize,
    /// Senders 2k and 2k + 1 are partners.
    senders: Vec<Sender>,
    readers: Vec<Arc<str>>,
    random: Random,
}

struct Sender {
    session: SendSession,
    last_number: u64,
    to: Destination,
}

/// A store as it was made.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Made {
    pub(super) users: usize,
    pub(super) entries: u64,
    /// Making users, pairs and groups.
    pub(super) seconds: f64,
    /// Growing the inboxes, persists and compactions included.
    pub(super) growth_seconds: f64,
    pub(super) growth_cpu_ns_per_entry: f64,
    pub(super) memory_bytes: u64,
    pub(super) memory_peak_bytes: u64,
    pub(super) log_bytes: u64,
    pub(super) index_bytes: u64,
}

/// What a round of direct sends cost.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct SendCost {
    /// CPU of the engine's threads for one send, in µs.
    pub(super) cpu_us: f64,
    /// CPU of the persist of what was sent, for one send, in µs.
    pub(super) persist_us: f64,
    pub(super) per_second: f64,
}

/// What syncs cost, from memory and from the index, in µs.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct SyncCost {
    pub(super) hot_p50_us: f64,
    pub(super) hot_p99_us: f64,
    pub(super) warm_p50_us: f64,
    pub(super) warm_p99_us: f64,
}

impl Population {
    /// Makes a store with so many users, half of whom have sent their partner a message.
    pub(super) fn make(path: &Path, users: usize) -> Result<Self, Failure> {
        let mut population = Self::open(path, users)?;
        population.each(users, |user| Command::CreateUser { user: name(user) })?;
        population.make_readers()?;
        population.senders(users / 4)?;
        for number in 0..population.senders.len() / 2 {
            // The first message makes the conversation.
            population.senders[number * 2].last_number += 1;
        }
        let first = |number: usize| population.senders[number * 2].message(1);
        population.each(population.senders.len() / 2, first)?;
        Ok(population)
    }

    /// Opens a store that was made for so many users; nobody has a session yet.
    pub(super) fn open(path: &Path, users: usize) -> Result<Self, Failure> {
        let engine = Engine::open(path, options())?;
        let readers = (0..READERS).map(|number| name(spread(number * 4 + 1, users))).collect();
        Ok(Self { engine, path: path.to_owned(), users, senders: Vec::new(), readers, random: Random::new(7) })
    }

    /// Opens the sessions of so many pairs.
    pub(super) fn senders(&mut self, pairs: usize) -> Result<(), Failure> {
        let users: Vec<Arc<str>> = (0..pairs * 2).map(|number| name(spread(number, self.users))).collect();
        let sessions = self.sessions(&users, "pair")?;
        self.senders = sessions
            .into_iter()
            .enumerate()
            .map(|(number, session)| Sender {
                session,
                last_number: session.last_client_seq,
                to: Destination::User(users[number ^ 1].clone()),
            })
            .collect();
        Ok(())
    }

    fn sessions(&self, users: &[Arc<str>], device: &str) -> Result<Vec<SendSession>, Failure> {
        let opened: Arc<Mutex<Vec<Option<SendSession>>>> = Arc::new(Mutex::new(vec![None; users.len()]));
        drive(SETUP_IN_FLIGHT, users.len() as u64, far_away(), |number, done| {
            let number = number as usize;
            let open = OpenSession {
                user: users[number].clone(),
                device: device.into(),
                by_service: false,
                on_replaced: Box::new(|| {}),
            };
            let opened = opened.clone();
            let completion = Box::new(move |outcome| {
                if let Ok(Outcome::Session(session)) = outcome {
                    opened.lock()[number] = Some(session);
                }
                done(opened.lock()[number].is_some());
            });
            Ok(self.engine.submit(Command::OpenSession(open), completion)?)
        })?;
        let opened = std::mem::take(&mut *opened.lock());
        Ok(opened.into_iter().flatten().collect())
    }

    /// Executes so many commands, many at once.
    fn each(&self, count: usize, command: impl Fn(usize) -> Command) -> Result<(), Failure> {
        drive(SETUP_IN_FLIGHT, count as u64, far_away(), |number, done| {
            submit(&self.engine, command(number as usize), done)
        })?;
        Ok(())
    }

    fn make_readers(&self) -> Result<(), Failure> {
        self.each(READER_GROUPS, |group| self.create(format!("readers-{group}"), self.readers.clone()))
    }

    fn create(&self, conversation: String, members: Vec<Arc<str>>) -> Command {
        Command::Create(Create {
            caller: Caller::Service,
            kind: Kind::Group,
            conversation: Some(conversation.into()),
            owner: None,
            members,
            open: false,
            history: false,
        })
    }

    /// Entries of all inboxes at the least, before they are grown.
    pub(super) fn entries_made(&self) -> u64 {
        // A create and a message for both of each pair; a create for each reader in each group.
        (self.senders.len() * 2 + READERS * READER_GROUPS) as u64
    }

    /// Lets inboxes grow by about so many entries, by messages to groups.
    pub(super) fn grow(&mut self, entries: u64) -> Result<u64, Failure> {
        let size = GROUP_MEMBERS.min(self.users / 10);
        let groups = self.users * GROUPED_OF_TEN / 10 / size;
        let member = |group: usize, number: usize| name(spread(number * groups + group, self.users));
        let group_name = |group: usize| format!("group-{group}");
        self.each(groups, |group| {
            self.create(group_name(group), (0..size).map(|number| member(group, number)).collect())
        })?;
        let owners: Vec<Arc<str>> = (0..groups).map(|group| member(group, 0)).collect();
        let sessions = self.sessions(&owners, "group")?;
        let mut numbers: Vec<u64> = sessions.iter().map(|session| session.last_client_seq).collect();
        let messages = entries / size as u64;
        drive(IN_FLIGHT, messages, far_away(), |number, done| {
            let group = number as usize % groups;
            numbers[group] += 1;
            let to = Destination::Conversation(group_name(group).into());
            submit(&self.engine, message(sessions[group], numbers[group], to), done)
        })?;
        Ok((messages + groups as u64) * size as u64)
    }

    /// Sends direct messages in random pairs until as many are done or the time has come, and says how many were.
    pub(super) fn send(&mut self, count: u64, until: Instant) -> Result<u64, Failure> {
        let Self { engine, senders, random, .. } = self;
        let driven = drive(IN_FLIGHT, count, until, |_, done| {
            let number = random.below(senders.len());
            let sender = &mut senders[number];
            sender.last_number += 1;
            submit(engine, sender.message(sender.last_number), done)
        })?;
        Ok(driven.count)
    }

    /// What a round of direct sends costs.
    pub(super) fn send_cost(&mut self) -> Result<SendCost, Failure> {
        let (process, driver, began) = (sys::process_cpu(), sys::thread_cpu(), Instant::now());
        let sent = self.send(SENDS, far_away())? as f64;
        let elapsed = began.elapsed().as_secs_f64();
        // The driver's own work is not the engine's.
        let cpu = (sys::process_cpu() - process).saturating_sub(sys::thread_cpu() - driver);
        let before_persist = sys::process_cpu();
        self.engine.persist()?;
        settle();
        let persist = sys::process_cpu() - before_persist;
        let each = |cpu: Duration| cpu.as_secs_f64() * 1e6 / sent;
        Ok(SendCost { cpu_us: each(cpu), persist_us: each(persist), per_second: sent / elapsed })
    }

    /// What it costs each reader to catch up with fifty messages in five conversations.
    pub(super) fn sync_cost(&mut self) -> Result<SyncCost, Failure> {
        let first = self.engine.sync(&self.readers[0], Start::Beginning, SyncLimits::default())?;
        let checkpoint = first.checkpoint.ok_or("a delta has a checkpoint")?;
        let checkpoint = Checkpoint { position: self.engine.visible(), ..checkpoint };
        let session = self.sessions(&self.readers[..1], "reader")?[0];
        self.each(MISSED, |number| {
            let to = Destination::Conversation(format!("readers-{}", number % READER_GROUPS).into());
            message(session, session.last_client_seq + 1 + number as u64, to)
        })?;
        let hot = self.sync_all(checkpoint)?;
        self.engine.persist()?;
        settle();
        let warm = self.sync_all(checkpoint)?;
        Ok(SyncCost {
            hot_p50_us: hot.p50_us(),
            hot_p99_us: hot.p99_us(),
            warm_p50_us: warm.p50_us(),
            warm_p99_us: warm.p99_us(),
        })
    }

    fn sync_all(&self, checkpoint: Checkpoint) -> Result<Latencies, Failure> {
        let mut latencies = Latencies::default();
        for reader in &self.readers {
            let began = Instant::now();
            let delta = self.engine.sync(reader, Start::Checkpoint(checkpoint), SyncLimits::default())?;
            latencies.record(began.elapsed());
            if delta.records.len() < MISSED {
                return Err(format!("a reader got {} records of {MISSED}", delta.records.len()).into());
            }
        }
        Ok(latencies)
    }

    /// Writes everything to the index, and waits until nothing is at work behind the scenes.
    pub(super) fn persist(&self) -> Result<(), Failure> {
        self.engine.persist()?;
        settle();
        Ok(())
    }

    /// Memory of the process, and the store's size on the disk.
    pub(super) fn measure(&self, made: &mut Made) {
        let memory = Memory::here();
        made.memory_bytes = memory.resident;
        made.memory_peak_bytes = memory.peak;
        made.log_bytes = directory_bytes(&self.path.join("log"));
        made.index_bytes = directory_bytes(&self.path.join("index"));
    }

    /// What the engine has done and holds.
    pub(super) fn usage(&self) -> Usage {
        self.engine.usage()
    }

    /// Closes the store.
    pub(super) fn close(self) -> Result<(), Failure> {
        Ok(self.engine.close()?)
    }
}

impl Sender {
    fn message(&self, number: u64) -> Command {
        message(self.session, number, self.to.clone())
    }
}

fn message(session: SendSession, client_seq: u64, destination: Destination) -> Command {
    Command::Send(Send {
        session,
        client_seq,
        destination,
        body: BODY,
        quote: None,
        mentions: Vec::new(),
        sent_at_ms: None,
    })
}

/// Scatters numbers over all users, each once, so that neighbours in a group are none in memory.
fn spread(number: usize, users: usize) -> usize {
    // Users are a multiple of ten at most: a prime other than two and five reaches each of them.
    number * 7_919 % users
}

/// Waits until the process has next to nothing to do: RocksDB compacts in the background.
pub(super) fn settle() {
    const LOOK: Duration = Duration::from_millis(40);
    const QUIET: Duration = Duration::from_millis(4);
    let patience = Instant::now() + Duration::from_secs(30);
    loop {
        let before = sys::process_cpu();
        std::thread::sleep(LOOK);
        if sys::process_cpu() - before < QUIET || Instant::now() > patience {
            return;
        }
    }
}

pub(super) fn far_away() -> Instant {
    Instant::now() + Duration::from_secs(24 * 3_600)
}
