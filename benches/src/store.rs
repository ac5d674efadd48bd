//! An engine on the disk of the reports, and a driver that keeps sends in flight.

use crate::context::{Failure, default_out, scratch_below};
use crate::stats::Latencies;
use bytes::Bytes;
use highwater_engine::command::{Create, Destination, OpenSession, Send};
use highwater_engine::proto::record::{Fanout, Kind};
use highwater_engine::{Caller, Command, Engine, Options, Outcome, SendSession};
use parking_lot::Mutex;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// An engine in a temporary directory with users `u0`, `u1`, ... that are known.
pub struct Bench {
    /// The engine.
    pub engine: Engine,
    directory: TempDir,
}

/// Commands that setting up keeps in flight.
const SETUP_IN_FLIGHT: usize = 4_096;

impl Bench {
    /// Opens an empty store with so many users, with default options below the default directory.
    ///
    /// # Panics
    /// If the machine has no room for it: a micro-benchmark has nobody else to tell.
    pub fn with_users(users: usize) -> Self {
        let directory = scratch_below(&default_out()).expect("a directory on a disk");
        Self::open(directory, Options::default(), users).expect("an empty store opens")
    }

    /// Opens an empty store with so many users in an empty directory.
    ///
    /// # Errors
    /// The engine's.
    pub fn open(directory: TempDir, options: Options, users: usize) -> Result<Self, Failure> {
        let engine = Engine::open(directory.path().join("store"), options)?;
        let bench = Self { engine, directory };
        bench.execute_all((0..users).map(|user| Command::CreateUser { user: name(user) }))?;
        Ok(bench)
    }

    /// Where the store lies.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Closes the store and opens it again with these options: what was in memory is in the index then.
    ///
    /// # Errors
    /// The engine's.
    pub fn reopen(self, options: Options) -> Result<Self, Failure> {
        let Self { engine, directory } = self;
        engine.close()?;
        let engine = Engine::open(directory.path().join("store"), options)?;
        Ok(Self { engine, directory })
    }

    /// Executes commands, many at once. Their outcomes stand in their order.
    ///
    /// # Errors
    /// The first refusal.
    pub fn execute_all(&self, commands: impl IntoIterator<Item = Command>) -> Result<Vec<Outcome>, Failure> {
        let mut outcomes = Vec::new();
        let mut commands = commands.into_iter().peekable();
        while commands.peek().is_some() {
            let (done, results) = channel();
            for (index, command) in commands.by_ref().take(SETUP_IN_FLIGHT).enumerate() {
                let done = done.clone();
                self.engine.submit(command, Box::new(move |result| drop(done.send((index, result)))))?;
            }
            drop(done);
            let mut results: Vec<_> = results.into_iter().collect();
            results.sort_unstable_by_key(|(index, _)| *index);
            for (_, result) in results {
                outcomes.push(result?);
            }
        }
        Ok(outcomes)
    }

    /// A send session of a user's device.
    ///
    /// # Panics
    /// If the user is not one of the store's.
    pub fn session(&self, user: usize) -> SendSession {
        self.sessions([user]).expect("the user is known").remove(0)
    }

    /// A send session of a device of each of these users.
    ///
    /// # Errors
    /// The engine's.
    pub fn sessions(&self, users: impl IntoIterator<Item = usize>) -> Result<Vec<SendSession>, Failure> {
        let open = |user| {
            Command::OpenSession(OpenSession {
                user: name(user),
                device: "bench".into(),
                by_service: false,
                on_replaced: Box::new(|| {}),
            })
        };
        let outcomes = self.execute_all(users.into_iter().map(open))?;
        let session = |outcome| match outcome {
            Outcome::Session(session) => Ok(session),
            other => Err(format!("no session was opened: {other:?}").into()),
        };
        outcomes.into_iter().map(session).collect()
    }

    /// Makes a group or channel with these members, the first of whom owns it. It may be larger than one command allows.
    ///
    /// # Errors
    /// The engine's.
    pub fn group(&self, kind: Kind, conversation: &str, members: &[usize]) -> Result<(), Failure> {
        let conversation: Arc<str> = conversation.into();
        let owner = *members.first().ok_or("a group has an owner")?;
        let create = Command::Create(Create {
            caller: Caller::Service,
            kind,
            conversation: Some(conversation.clone()),
            owner: Some(name(owner)),
            members: Vec::new(),
            open: false,
            history: false,
        });
        let pieces = members[1..].chunks(highwater_engine::proto::limits::MEMBERS_PER_CHANGE_MAX);
        let adds = pieces.map(|piece| Command::Add {
            caller: Caller::Service,
            conversation: conversation.clone(),
            members: piece.iter().map(|user| name(*user)).collect(),
        });
        self.execute_all(std::iter::once(create).chain(adds))?;
        Ok(())
    }

    /// Fixes how a conversation is fanned out.
    pub fn pin(&self, conversation: &str, fanout: Fanout) -> Result<(), Failure> {
        let pin = Command::Settings {
            caller: Caller::Service,
            conversation: conversation.into(),
            open: None,
            history: None,
            fanout: Some(fanout),
        };
        self.execute_all([pin]).map(drop)
    }
}

/// The name of a user by number.
pub fn name(user: usize) -> Arc<str> {
    format!("u{user}").into()
}

/// A message of 200 bytes from a session to a user.
pub fn message(session: SendSession, client_seq: u64, to: usize) -> Command {
    send(session, client_seq, Destination::User(name(to)), vec![b'x'; 200])
}

/// A message.
pub fn send(session: SendSession, client_seq: u64, destination: Destination, body: impl Into<Bytes>) -> Command {
    Command::Send(Send {
        session,
        client_seq,
        destination,
        body: body.into(),
        quote: None,
        mentions: Vec::new(),
        sent_at_ms: None,
    })
}

/// Told whether one operation succeeded, once, from any thread.
pub type Done = Box<dyn FnOnce(bool) + std::marker::Send>;

/// What a driven load took.
#[derive(Clone, Debug)]
pub struct Driven {
    /// Operations.
    pub count: u64,
    /// From the first submission to the last answer.
    pub elapsed: Duration,
    /// From the submission of each to its answer.
    pub latencies: Latencies,
}

impl Driven {
    /// Operations a second.
    pub fn per_second(&self) -> f64 {
        self.count as f64 / self.elapsed.as_secs_f64()
    }
}

struct Window {
    in_flight: AtomicUsize,
    failures: AtomicUsize,
    /// The driver is woken when so few are in flight: not for each answer, when there are many.
    wake_at: usize,
    latencies: Mutex<Latencies>,
}

/// Performs operations with at most `in_flight` unanswered, until `count` are done or `until` has come, whichever is
/// first, and waits for all answers. `submit` begins the operation of a number, counted from 0.
///
/// # Errors
/// The first of `submit`, or an operation that was answered with `false`.
pub fn drive(
    in_flight: usize,
    count: u64,
    until: Instant,
    mut submit: impl FnMut(u64, Done) -> Result<(), Failure>,
) -> Result<Driven, Failure> {
    let window = Arc::new(Window {
        in_flight: AtomicUsize::new(0),
        failures: AtomicUsize::new(0),
        wake_at: in_flight - in_flight.div_ceil(4),
        latencies: Mutex::default(),
    });
    let began = Instant::now();
    let mut begun = 0;
    let mut outcome = Ok(());
    while begun < count && window.failures.load(Ordering::Relaxed) == 0 {
        if window.in_flight.load(Ordering::Acquire) >= in_flight {
            wait(&window, window.wake_at);
        }
        let now = Instant::now();
        if now >= until {
            break;
        }
        window.in_flight.fetch_add(1, Ordering::AcqRel);
        outcome = submit(begun, done(&window, now));
        if outcome.is_err() {
            break;
        }
        begun += 1;
    }
    // An operation whose beginning failed dropped its `Done`, and is never answered.
    wait(&window, usize::from(outcome.is_err()));
    outcome?;
    let elapsed = began.elapsed();
    match window.failures.load(Ordering::Relaxed) {
        0 => Ok(Driven { count: begun, elapsed, latencies: std::mem::take(&mut window.latencies.lock()) }),
        failures => Err(format!("{failures} of {begun} operations failed").into()),
    }
}

fn done(window: &Arc<Window>, began: Instant) -> Done {
    let (window, driver) = (window.clone(), std::thread::current());
    Box::new(move |is_ok| {
        window.latencies.lock().record(began.elapsed());
        if !is_ok {
            window.failures.fetch_add(1, Ordering::Relaxed);
        }
        let left = window.in_flight.fetch_sub(1, Ordering::AcqRel) - 1;
        if left == window.wake_at || left <= 1 {
            driver.unpark();
        }
    })
}

/// Waits until at most `left` are in flight.
fn wait(window: &Window, left: usize) {
    while window.in_flight.load(Ordering::Acquire) > left {
        std::thread::park();
    }
}

/// Submits a command to an engine, for [`drive`].
///
/// # Errors
/// The engine's.
pub fn submit(engine: &Engine, command: Command, done: Done) -> Result<(), Failure> {
    Ok(engine.submit(command, Box::new(move |result| done(result.is_ok())))?)
}
