//! What the threads of one open store share.

use super::committer::WriterInput;
use super::durable::Durable;
use super::group::Group;
use super::pending::Pending;
use super::planner::Pulls;
use super::sequencer::Input;
use crate::command::{Command, Completion};
use crate::log::{LogReader, LogSpace, LogWriter};
use crate::options::Options;
use crate::state::{Head, State};
use crate::store::{Rows, SoftDevice, Store};
use crate::sync::{Condvar, Mutex, RwLock};
use crate::timeline::Subscriptions;
use highwater_proto::error::{Code, Error};
use highwater_proto::id::{DeviceId, Position};
use rustc_hash::FxHashSet;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SendError, Sender, SyncSender};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// What the threads of one open store share.
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) state: RwLock<State>,
    pub(crate) store: Store,
    pub(crate) log: LogReader,
    pub(super) durable: Durable,
    pub(crate) space: LogSpace,
    pub(crate) subscriptions: Subscriptions,
    /// How often users look for what is new: what the planner of fan-out goes by.
    pub(crate) pulls: Pulls,
    /// What devices acknowledged and when they were seen: soft, written with the next persist.
    pub(crate) soft: Mutex<HashMap<DeviceId, SoftDevice>>,
    /// Devices whose soft state changed since the last freeze.
    pub(crate) soft_dirty: Mutex<FxHashSet<DeviceId>>,
    /// A head that was persisted, whose memory is used again.
    pub(super) spare_head: Mutex<Option<Head>>,
    /// The last position applied; the state says the same under its lock.
    visible: AtomicU64,
    /// What the index held when the store was opened: records above it have been applied since.
    pub(crate) loaded: Position,
    input: Sender<Input>,
    /// No command is let in any more. Held for reading while one is sent, so that none is left unanswered.
    is_closed: RwLock<bool>,
    pub(super) writer: SyncSender<WriterInput>,
    /// Groups that writer and applier have, or are about to get.
    committing: AtomicUsize,
    pub(super) persister: Sender<Option<PersistJob>>,
    queue_bytes: AtomicUsize,
    /// Commands submitted so far, and at how many the sequencer is to be woken.
    submitted: AtomicU64,
    wakes_at: AtomicU64,
    /// The sequencer waits for something to be applied.
    pub(super) sequencer_waits: AtomicBool,
    /// The sequencer's thread, while it sleeps.
    sleeper: Mutex<Option<Thread>>,
    /// Looked at first, since there seldom is one.
    has_failed: AtomicBool,
    failure: Mutex<Failure>,
    /// Told whenever a persist has ended.
    pub(super) persisted: (Mutex<PersistState>, Condvar),
}

/// A frozen head on its way to the store.
pub(crate) struct PersistJob {
    pub(super) rows: Rows,
    pub(super) soft: FxHashSet<DeviceId>,
    pub(super) head: Arc<Head>,
    pub(super) through: Position,
    pub(super) began: Instant,
}

/// How far persisting has got.
pub(super) struct PersistState {
    pub(super) in_progress: bool,
    /// When the last one began; at first, when the store was opened.
    pub(super) began: Instant,
    /// What the persists so far have done.
    pub(super) done: PersistUsage,
    /// The persister has ended, or will do without another persist.
    pub(super) has_ended: bool,
}

/// What persists have done since the store was opened.
#[derive(Clone, Copy, Default)]
pub(crate) struct PersistUsage {
    /// Persists that ended well.
    pub(crate) count: u64,
    /// How long the last of them took.
    pub(crate) last: Duration,
    /// Inbox entries in all heads frozen so far.
    pub(crate) inbox_entries: u64,
}

/// The answer to whatever comes after the end.
pub(super) fn closed() -> Error {
    Error::new(Code::Busy, "the store is closed")
}

#[derive(Default)]
struct Failure {
    error: Option<Error>,
    listeners: Vec<Box<dyn FnOnce(Error) + Send>>,
}

/// The sequencer sleeps no longer than this at a time, whoever forgets it.
const SLEEP_MAX: Duration = Duration::from_millis(10);
/// Room taken in the queue by a command besides its body.
const COMMAND_BYTES: usize = 256;

impl Shared {
    #[expect(clippy::too_many_arguments, reason = "these are the parts that opening has made")]
    pub(crate) fn new(
        options: Options,
        state: State,
        soft: HashMap<DeviceId, SoftDevice>,
        store: Store,
        (log, log_writer): (LogReader, LogWriter),
        space: LogSpace,
        input: Sender<Input>,
        writer: SyncSender<WriterInput>,
        persister: Sender<Option<PersistJob>>,
    ) -> Self {
        let persisted =
            PersistState { in_progress: false, began: Instant::now(), done: PersistUsage::default(), has_ended: false };
        Self {
            durable: Durable::new(log_writer, options.durability),
            options,
            visible: AtomicU64::new(state.applied.0),
            loaded: state.persisted,
            state: RwLock::new(state),
            store,
            log,
            space,
            subscriptions: Subscriptions::default(),
            pulls: Pulls::default(),
            soft: Mutex::new(soft),
            soft_dirty: Mutex::default(),
            spare_head: Mutex::default(),
            input,
            is_closed: RwLock::new(false),
            writer,
            committing: AtomicUsize::new(0),
            persister,
            queue_bytes: AtomicUsize::new(0),
            submitted: AtomicU64::new(0),
            wakes_at: AtomicU64::new(u64::MAX),
            sequencer_waits: AtomicBool::new(false),
            sleeper: Mutex::default(),
            has_failed: AtomicBool::new(false),
            failure: Mutex::default(),
            persisted: (Mutex::new(persisted), Condvar::default()),
        }
    }

    /// The last visible position.
    pub(crate) fn visible(&self) -> Position {
        Position(self.visible.load(Ordering::SeqCst))
    }

    /// Says that the state has been applied up to here.
    pub(super) fn set_visible(&self, position: Position) {
        self.visible.store(position.0, Ordering::SeqCst);
    }

    /// Tells the sequencer that something was applied, if it waits for that.
    pub(super) fn tell_applied(&self) {
        if self.sequencer_waits.swap(false, Ordering::SeqCst) {
            self.tell(Input::Applied);
        }
    }

    /// Gives a group to the writer, once that has taken the one before. Gives it back if the writer has ended.
    pub(super) fn hand_over(&self, group: Group) -> Result<(), Box<Group>> {
        self.committing.fetch_add(1, Ordering::SeqCst);
        match self.writer.send(WriterInput::Group(group)) {
            Err(SendError(WriterInput::Group(unsent))) => Err(Box::new(unsent)),
            _ => Ok(()),
        }
    }

    /// Says that a group that was handed over is done with.
    pub(super) fn has_committed(&self) {
        self.committing.fetch_sub(1, Ordering::SeqCst);
        self.wake_sleeper();
    }

    fn wake_sleeper(&self) {
        if let Some(sleeper) = self.sleeper.lock().take() {
            sleeper.unpark();
        }
    }

    /// Whether writer or applier have a group.
    pub(super) fn is_committing(&self) -> bool {
        self.committing.load(Ordering::SeqCst) > 0
    }

    /// Sleeps until writer and applier have no group, or the engine has failed.
    pub(super) fn wait_until_committed(&self) {
        self.sleep_until(None, || !self.is_committing());
    }

    /// Commands submitted so far.
    pub(super) fn submitted(&self) -> u64 {
        self.submitted.load(Ordering::SeqCst)
    }

    /// Sleeps until so many commands were submitted in all, the time is over, or the engine has failed. Whether they were.
    pub(super) fn wait_until_submitted(&self, count: u64, patience: Duration) -> bool {
        self.wakes_at.store(count, Ordering::SeqCst);
        self.sleep_until(Some(Instant::now() + patience), || self.submitted() >= count);
        self.wakes_at.store(u64::MAX, Ordering::SeqCst);
        self.submitted() >= count
    }

    /// Only the sequencer sleeps here; whoever makes `is_over` true wakes it.
    fn sleep_until(&self, deadline: Option<Instant>, is_over: impl Fn() -> bool) {
        while !is_over() && self.failure().is_none() {
            let left = deadline.map_or(SLEEP_MAX, |deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return;
            }
            *self.sleeper.lock() = Some(thread::current());
            if !is_over() {
                thread::park_timeout(left.min(SLEEP_MAX));
            }
        }
    }

    /// Queues a command. `Err`: nothing was done, and `completion` is never called.
    pub(crate) fn submit(&self, command: Command, completion: Completion) -> Result<(), Error> {
        let bytes = self.admit(&command)?;
        self.queue(1, Input::Command(Pending::new(command, completion, bytes))).map_err(|_unsent| {
            self.release(bytes);
            closed()
        })
    }

    /// Queues commands in their order, at once. Of one that is not taken nothing is done; its completion says why, on this
    /// thread.
    pub(crate) fn submit_all(&self, commands: impl Iterator<Item = (Command, Completion)>) {
        let mut admitted = Vec::with_capacity(commands.size_hint().0);
        for (command, completion) in commands {
            match self.admit(&command) {
                Ok(bytes) => admitted.push(Pending::new(command, completion, bytes)),
                Err(error) => completion(Err(error)),
            }
        }
        if let Err(Input::Commands(unsent)) = self.queue(admitted.len() as u64, Input::Commands(admitted)) {
            for pending in unsent {
                self.release(pending.bytes);
                (pending.completion)(Err(closed()));
            }
        }
    }

    /// Takes room in the queue for a command, and says how many bytes.
    fn admit(&self, command: &Command) -> Result<usize, Error> {
        if let Some(error) = self.failure() {
            return Err(error);
        }
        let bytes = COMMAND_BYTES + command.bytes();
        let limit = self.options.limits.queue_bytes_max;
        let queued = self.queue_bytes.fetch_add(bytes, Ordering::SeqCst);
        // One command always fits, however large.
        if queued > 0 && queued + bytes > limit {
            self.release(bytes);
            let mut busy = Error::limit("queue_bytes_max", limit as u64, "too many commands are waiting");
            busy.code = Code::Busy;
            return Err(busy);
        }
        Ok(bytes)
    }

    /// Gives so many commands to the sequencer; back if no command is let in any more.
    fn queue(&self, count: u64, commands: Input) -> Result<(), Input> {
        if count == 0 {
            return Ok(());
        }
        let is_closed = self.is_closed.read();
        if *is_closed {
            return Err(commands);
        }
        self.input.send(commands).map_err(|SendError(commands)| commands)?;
        drop(is_closed);
        let before = self.submitted.fetch_add(count, Ordering::SeqCst);
        if (before + 1..=before + count).contains(&self.wakes_at.load(Ordering::SeqCst)) {
            self.wake_sleeper();
        }
        Ok(())
    }

    /// Lets no further command in: whatever was submitted until here is in the sequencer's input.
    pub(super) fn close_input(&self) {
        *self.is_closed.write() = true;
    }

    /// Gives back room in the queue.
    pub(super) fn release(&self, bytes: usize) {
        self.queue_bytes.fetch_sub(bytes, Ordering::SeqCst);
    }

    /// Tells the sequencer; once it has ended, nobody needs to be told.
    pub(crate) fn tell(&self, input: Input) {
        let _ended = self.input.send(input);
    }

    /// Marks a device as seen now, and moves its acknowledged checkpoint forward.
    pub(crate) fn note_seen(&self, device: DeviceId, acknowledged: Position) {
        let now_ms = (self.options.clock)();
        let mut soft = self.soft.lock();
        let row = soft.entry(device).or_default();
        row.acknowledged = row.acknowledged.max(acknowledged);
        row.last_seen_ms = row.last_seen_ms.max(now_ms);
        drop(soft);
        self.soft_dirty.lock().insert(device);
    }

    /// Why the engine stopped, if it did.
    pub(crate) fn failure(&self) -> Option<Error> {
        if !self.has_failed.load(Ordering::SeqCst) {
            return None;
        }
        self.failure.lock().error.clone()
    }

    /// Stops the engine for good: a write or a sync failed, and what is on the disk is not known any more.
    pub(super) fn poison(&self, error: &Error) {
        let error = Error::new(Code::Poisoned, format!("the store stopped: {}", error.message));
        let listeners = {
            let mut failure = self.failure.lock();
            if failure.error.is_some() {
                return;
            }
            failure.error = Some(error.clone());
            self.has_failed.store(true, Ordering::SeqCst);
            std::mem::take(&mut failure.listeners)
        };
        tracing::error!(%error, "poisoned");
        for listener in listeners {
            listener(error.clone());
        }
        // Whoever waits for a persist learns of it; who is about to wait, too.
        drop(self.persisted.0.lock());
        self.persisted.1.notify_all();
        self.tell(Input::Applied);
        self.tell_applied();
        self.wake_sleeper();
    }

    /// Calls `listener` when the engine is poisoned, at once if it is already.
    pub(crate) fn on_poisoned(&self, listener: Box<dyn FnOnce(Error) + Send>) {
        let mut failure = self.failure.lock();
        match failure.error.clone() {
            None => failure.listeners.push(listener),
            Some(error) => {
                drop(failure);
                listener(error);
            }
        }
    }
}
