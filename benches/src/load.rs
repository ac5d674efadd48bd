//! One load, and everything that it can be given to: the engine in either mode of fan-out, and what one would build
//! instead.

mod scene;

pub use scene::{Groups, Scene};

use crate::allocations::{self, Allocations};
use crate::context::{Context, Failure};
use crate::machine::{Used, directory_bytes};
use crate::rivals::{Post, RawLog, Shape, Tables, Tuning};
use crate::store::{Bench, Done, Driven, drive, name, send, submit};
use crate::workload::Text;
use bytes::Bytes;
use highwater_engine::command::{Create, Destination};
use highwater_engine::options::Durability;
use highwater_engine::proto::record::{Fanout, Kind};
use highwater_engine::{Caller, Command, Options, SendSession};
use scene::{Next, To};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What a load is given to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// The engine, fanning out on write.
    Write(Durability),
    /// The engine, fanning out on read; direct conversations are never.
    Read(Durability),
    /// Records appended and synced, nothing else.
    RawLog(Durability),
    /// Inboxes in RocksDB.
    Tables(Shape, Tuning),
}

impl Strategy {
    /// As tables say it.
    pub fn name(self) -> String {
        let mode = |durability| if durability == Durability::Power { "" } else { ", crash mode" };
        match self {
            Strategy::Write(durability) => format!("highwater write{}", mode(durability)),
            Strategy::Read(durability) => format!("highwater read{}", mode(durability)),
            Strategy::RawLog(durability) => format!("raw log{}", mode(durability)),
            Strategy::Tables(shape, tuning) => format!("{} {}", shape.name(), tuning.name()),
        }
    }
}

/// `crash` mode as it is measured here.
pub const CRASH: Durability = Durability::Crash { sync_interval: Duration::from_millis(100) };

/// Something that a load is given to, set up for a scene.
pub struct Target {
    kind: Kinds,
    scene: Scene,
    bodies: Arc<Vec<Bytes>>,
    sent: u64,
}

enum Kinds {
    Engine(Box<EngineTarget>),
    RawLog(RawLog, TempDir),
    Tables(Box<Tables>, TempDir),
}

struct EngineTarget {
    bench: Bench,
    /// By user.
    sessions: Vec<Option<(SendSession, u64)>>,
    users: Vec<Arc<str>>,
    groups: Vec<Arc<str>>,
}

/// Bytes written, by the account of what wrote them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Own {
    /// To the log; of tables: to the write-ahead log.
    pub log: u64,
    /// To the index, from memory.
    pub flushed: u64,
    /// To the index, from the index.
    pub compacted: u64,
}

impl Own {
    /// In all.
    pub fn total(self) -> u64 {
        self.log + self.flushed + self.compacted
    }
}

impl std::ops::Sub for Own {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            log: self.log - earlier.log,
            flushed: self.flushed - earlier.flushed,
            compacted: self.compacted - earlier.compacted,
        }
    }
}

/// What a load took.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Sends and their latencies; the time without settling.
    pub driven: Driven,
    /// Inbox entries that were due, one a member.
    pub entries: u64,
    /// Bytes of bodies, each once.
    pub body_bytes: u64,
    /// What the process used, settling included.
    pub used: Used,
    /// Bytes written by the store's own account, settling included.
    pub own_bytes: Own,
    /// What was allocated while sending.
    pub allocations: Allocations,
    /// Bytes that all files gained.
    pub space_bytes: u64,
}

impl Measured {
    /// CPU time of a send, in µs.
    pub fn cpu_us_per_send(&self) -> f64 {
        self.used.cpu.as_secs_f64() * 1e6 / self.driven.count as f64
    }

    /// CPU time of a delivered entry, in µs.
    pub fn cpu_us_per_entry(&self) -> f64 {
        self.used.cpu.as_secs_f64() * 1e6 / self.entries as f64
    }

    /// Bytes written to the device for a delivered entry, by the kernel's account.
    pub fn device_bytes_per_entry(&self) -> f64 {
        self.used.written_bytes as f64 / self.entries as f64
    }

    /// Bytes written to the device for a byte of a body, by the kernel's account.
    pub fn device_bytes_per_body_byte(&self) -> f64 {
        self.used.written_bytes as f64 / self.body_bytes as f64
    }
}

/// Different bodies that a load repeats.
const BODIES: usize = 8_192;

/// Bodies of one length, made once for all targets.
pub fn bodies(bytes: usize, seed: u64) -> Arc<Vec<Bytes>> {
    let mut text = Text::new(seed);
    Arc::new((0..BODIES).map(|_| Bytes::from(text.body(bytes))).collect())
}

impl Target {
    /// Sets a strategy up for a scene, in a directory of its own.
    ///
    /// # Errors
    /// It cannot be set up.
    pub fn open(
        context: &Context,
        strategy: Strategy,
        scene: &Scene,
        bodies: &Arc<Vec<Bytes>>,
    ) -> Result<Self, Failure> {
        let directory = context.scratch()?;
        let kind = match strategy {
            Strategy::Write(durability) => engine(directory, durability, Fanout::Write, scene)?,
            Strategy::Read(durability) => engine(directory, durability, Fanout::Read, scene)?,
            Strategy::RawLog(durability) => {
                Kinds::RawLog(RawLog::open(&directory.path().join("log"), durability)?, directory)
            }
            Strategy::Tables(shape, tuning) => {
                Kinds::Tables(Box::new(Tables::open(directory.path(), shape, tuning)?), directory)
            }
        };
        Ok(Self { kind, scene: scene.clone(), bodies: bodies.clone(), sent: 0 })
    }

    /// The engine, if it is one.
    pub fn bench(&self) -> Option<&Bench> {
        match &self.kind {
            Kinds::Engine(target) => Some(&target.bench),
            _ => None,
        }
    }

    /// The tables, if it is such.
    pub fn tables(&self) -> Option<&Tables> {
        match &self.kind {
            Kinds::Tables(tables, _) => Some(tables),
            _ => None,
        }
    }

    /// Begins to send the next message of the scene.
    ///
    /// # Errors
    /// It is not taken.
    pub fn send(&mut self, done: Done) -> Result<(), Failure> {
        let next = self.scene.next();
        let body = self.bodies[self.sent as usize % self.bodies.len()].clone();
        self.sent += 1;
        match &mut self.kind {
            Kinds::Engine(target) => target.send(next, body, done),
            Kinds::RawLog(log, _) => log.submit(post(&self.scene, next, body), done),
            Kinds::Tables(tables, _) => tables.submit(post(&self.scene, next, body), done),
        }
    }

    /// Does the work that sending has put off: persists, flushes, waits for compactions.
    ///
    /// # Errors
    /// It fails.
    pub fn settle(&self) -> Result<(), Failure> {
        match &self.kind {
            Kinds::Engine(target) => Ok(target.bench.engine.persist()?),
            Kinds::RawLog(..) => Ok(()),
            Kinds::Tables(tables, _) => tables.settle(),
        }
    }

    /// Sends with so many in flight, until `count` or the time is reached, settles, and says what all that took.
    ///
    /// # Errors
    /// A send fails.
    pub fn measure(&mut self, in_flight: usize, count: u64, until: Instant) -> Result<Measured, Failure> {
        let own = self.own_bytes();
        let space = self.space_bytes();
        let allocated = allocations::so_far();
        let used = Used::so_far();
        let driven = drive(in_flight, count, until, |_, done| self.send(done))?;
        let allocations = allocations::so_far() - allocated;
        self.settle()?;
        let body_bytes = driven.count * self.bodies.first().map_or(0, |body| body.len() as u64);
        Ok(Measured {
            entries: driven.count * self.scene.entries_per_send() as u64,
            body_bytes,
            used: Used::since(used),
            own_bytes: self.own_bytes() - own,
            allocations,
            space_bytes: self.space_bytes().saturating_sub(space),
            driven,
        })
    }

    /// Bytes that it says it has written so far.
    fn own_bytes(&self) -> Own {
        match &self.kind {
            Kinds::Engine(target) => {
                let usage = target.bench.engine.usage();
                Own { log: usage.log_bytes, flushed: usage.index_flush_bytes, compacted: usage.index_compaction_bytes }
            }
            Kinds::RawLog(log, _) => Own { log: log.bytes(), ..Own::default() },
            Kinds::Tables(tables, _) => tables.written(),
        }
    }

    /// Where its files are.
    pub fn path(&self) -> &Path {
        match &self.kind {
            Kinds::Engine(target) => target.bench.path(),
            Kinds::RawLog(_, directory) | Kinds::Tables(_, directory) => directory.path(),
        }
    }

    fn space_bytes(&self) -> u64 {
        directory_bytes(self.path())
    }

    /// Closes it and opens it again, for reading.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn reopen(self) -> Result<Self, Failure> {
        let kind = match self.kind {
            Kinds::Engine(target) => {
                let EngineTarget { bench, users, groups, .. } = *target;
                let bench = bench.reopen(Options::default())?;
                Kinds::Engine(Box::new(EngineTarget { bench, sessions: Vec::new(), users, groups }))
            }
            Kinds::RawLog(..) => return Err("a raw log is not read".into()),
            Kinds::Tables(tables, directory) => {
                let (shape, tuning) = tables.built();
                drop(tables);
                Kinds::Tables(Box::new(Tables::open(directory.path(), shape, tuning)?), directory)
            }
        };
        Ok(Self { kind, ..self })
    }
}

impl EngineTarget {
    fn send(&mut self, next: Next, body: Bytes, done: Done) -> Result<(), Failure> {
        let (session, client_seq) =
            self.sessions.get_mut(next.author).and_then(Option::as_mut).ok_or("a sender has no session")?;
        *client_seq += 1;
        let destination = match next.to {
            To::User(user) => Destination::User(self.users[user].clone()),
            To::Group(group) => Destination::Conversation(self.groups[group].clone()),
        };
        submit(&self.bench.engine, send(*session, *client_seq, destination, body), done)
    }
}

fn engine(directory: TempDir, durability: Durability, fanout: Fanout, scene: &Scene) -> Result<Kinds, Failure> {
    let options = Options { durability, ..Options::default() };
    let bench = Bench::open(directory, options, scene.users())?;
    let senders = scene.senders();
    let mut sessions = vec![None; scene.users()];
    for (user, session) in senders.iter().zip(bench.sessions(senders.iter().copied())?) {
        sessions[*user] = Some((session, session.last_client_seq));
    }
    let mut groups = Vec::new();
    match scene {
        Scene::Direct(direct, _) => {
            let pairs = direct.pairs().map(|(one, other)| {
                Command::Create(Create {
                    caller: Caller::Service,
                    kind: Kind::Direct,
                    conversation: None,
                    owner: None,
                    members: vec![name(one), name(other)],
                    open: false,
                    history: false,
                })
            });
            bench.execute_all(pairs)?;
        }
        Scene::Groups(all, _) => {
            for (number, members) in all.members.iter().enumerate() {
                let conversation: Arc<str> = format!("g{number}").into();
                let members: Vec<usize> = members.iter().map(|user| *user as usize).collect();
                bench.group(Kind::Group, &conversation, &members)?;
                bench.pin(&conversation, fanout)?;
                groups.push(conversation);
            }
        }
    }
    bench.engine.persist()?;
    let users = (0..scene.users()).map(name).collect();
    Ok(Kinds::Engine(Box::new(EngineTarget { bench, sessions, users, groups })))
}

/// The same message as rivals take it.
fn post(scene: &Scene, next: Next, body: Bytes) -> Post {
    let author = next.author as u32;
    match (scene, next.to) {
        (Scene::Groups(groups, _), To::Group(group)) => {
            Post { author, conversation: group as u32, members: groups.members[group].clone(), body }
        }
        (_, To::User(other) | To::Group(other)) => {
            let other = other as u32;
            Post { author, conversation: author.min(other), members: [author, other].into(), body }
        }
    }
}
