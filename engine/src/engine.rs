//! The engine: a cheap handle on one open store.

use crate::command::{Caller, Command, Completion, Outcome};
use crate::commit::{self, Channels, Shared, Threads};
use crate::entry::{
    ConversationPage, Cursor, Delta, DeviceView, Entry, HistoryRange, MemberPage, Place, Start, SyncLimits,
};
use crate::lock::StoreLock;
use crate::log::{self, Bodies, LogOptions};
use crate::options::Options;
use crate::reach::{Reach, within_reach};
use crate::state::{State, Touched};
use crate::store::Store;
use crate::sync::Mutex;
use crate::timeline::{self, Encoded, Entries, Subscription, View};
use crate::usage::Usage;
use bytes::Bytes;
use highwater_proto::checkpoint::Checkpoint;
use highwater_proto::error::{Code, Error};
use highwater_proto::frame::GroupBuilder;
use highwater_proto::id::{ConversationId, DeviceId, Incarnation, Ordinal, Position, Seq, UserId};
use highwater_proto::limits::Limits;
use highwater_proto::record::{Fact, Record};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

/// An open store. Cloning gives another handle on the same store.
///
/// All methods may be called from any thread. Those that read may touch the disk and block for it; [`Engine::submit`]
/// and those whose names begin with `try_` do not. No handle may be dropped last inside a completion or a waker: those run on the engine's own threads, which
/// the drop waits for. Dropping the last handle ends the engine as a crash would, losing nothing that was acknowledged;
/// [`Engine::close`] ends it properly, so that the next opening is quick.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    threads: Mutex<Option<Threads>>,
    _lock: StoreLock,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(threads) = self.threads.lock().take() {
            threads.abort();
        }
    }
}

impl Engine {
    /// Opens the store in a directory, or creates it there. One process per store.
    ///
    /// # Errors
    /// `unusable`: another process has it open, or its format is not known. `corrupt`: stored bytes are damaged; the
    /// message names file, offset and position. `io`: a file or directory cannot be read or written.
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Self, Error> {
        let path = path.as_ref();
        check(&options)?;
        let lock = StoreLock::take(path)?;
        let store = Store::open(&path.join("index"))?;
        let (mut state, soft) = match store.load()? {
            Some(loaded) => (loaded.state, loaded.soft),
            None => {
                let incarnation = new_incarnation()?;
                store.initialize(incarnation)?;
                (State::new(incarnation), Default::default())
            }
        };
        let log_options =
            LogOptions { segment_bytes_max: options.segment_bytes_max, tail_bytes_max: options.tail_bytes_max };
        let mut opened = log::open(options.log_disk(path), log_options, state.applied)?;
        let mut touched = Touched::default();
        opened.reader.replay(state.applied, Bodies::Empty, &mut |record| {
            // Nobody waits yet.
            touched.clear();
            state.apply(&record, &mut touched)
        })?;
        if state.applied != opened.last {
            let what = format!("the log ends at position {} and was replayed to {}", opened.last, state.applied);
            return Err(Error::new(Code::Corrupt, what));
        }
        if opened.unclean {
            let record = epoch_record(&state, &opened, (options.clock)());
            let mut group = GroupBuilder::new(record.position);
            group.push(&record);
            opened.space.reserve(group.bytes() as u64)?;
            opened.space.handed_over(&group);
            opened.writer.append(&group)?;
            opened.writer.sync()?;
            state.apply(&record, &mut touched)?;
        }
        let (input, writer, persister, receivers) = Channels::new().split();
        let (log, space) = ((opened.reader, opened.writer), opened.space);
        let shared = Arc::new(Shared::new(options, state, soft, store, log, space, input, writer, persister));
        let threads = Threads::start(&shared, receivers)?;
        Ok(Self { inner: Arc::new(Inner { shared, threads: Mutex::new(Some(threads)), _lock: lock }) })
    }

    /// Queues a command; `completion` is called once, from an engine thread, when it is visible or refused.
    ///
    /// # Errors
    /// Nothing was done and `completion` is never called: `busy` when the queue is full or the store is closed,
    /// `poisoned` after a failed write or sync.
    pub fn submit(&self, command: Command, completion: Completion) -> Result<(), Error> {
        self.inner.shared.submit(command, completion)
    }

    /// Queues commands in their order, which costs less than one after the other. Of one that [`Engine::submit`] would not
    /// take nothing is done either, and its completion is called with the error before this returns; those behind it are
    /// tried all the same.
    pub fn submit_all(&self, commands: impl IntoIterator<Item = (Command, Completion)>) {
        self.inner.shared.submit_all(commands.into_iter());
    }

    /// Submits a command and waits for its outcome.
    pub fn execute(&self, command: Command) -> Result<Outcome, Error> {
        let (done, outcome) = sync_channel(1);
        // The receiver lives until the outcome is there.
        self.submit(command, Box::new(move |result| drop(done.send(result))))?;
        outcome.recv().unwrap_or_else(|_| Err(Error::new(Code::OutcomeUnknown, "the store was dropped")))
    }

    /// The first page of what a device has missed.
    ///
    /// # Errors
    /// `not_found`: the user does not exist. `corrupt`, `io`: a record cannot be read.
    pub fn sync(&self, user: &str, start: Start, limits: SyncLimits) -> Result<Delta, Error> {
        Ok(timeline::sync(&self.view(Reach::Disk), user, Place::Start(start), limits, &Entries)?)
    }

    /// The next page; after a page that was `caught_up`, what is new since. Errors as [`Engine::sync`].
    pub fn sync_next(&self, user: &str, cursor: Cursor, limits: SyncLimits) -> Result<Delta, Error> {
        Ok(timeline::sync(&self.view(Reach::Disk), user, Place::Next(cursor), limits, &Entries)?)
    }

    /// As [`Engine::sync`], without touching the disk: fit for an async thread. `None` if it would have to, because not
    /// all that it needs is in memory.
    pub fn try_sync(&self, user: &str, start: Start, limits: SyncLimits) -> Result<Option<Delta>, Error> {
        within_reach(timeline::sync(&self.view(Reach::Memory), user, Place::Start(start), limits, &Entries))
    }

    /// As [`Engine::sync_next`], without touching the disk. `None` as with [`Engine::try_sync`].
    pub fn try_sync_next(&self, user: &str, cursor: Cursor, limits: SyncLimits) -> Result<Option<Delta>, Error> {
        within_reach(timeline::sync(&self.view(Reach::Memory), user, Place::Next(cursor), limits, &Entries))
    }

    /// As [`Engine::sync`] and [`Engine::sync_next`], with the records as `encode` encodes them: always in the same form,
    /// each into a buffer of its own. Where all readers see the same of a record it is encoded once for all of them, and
    /// the bytes stay as long as the record is in memory.
    pub fn sync_encoded(
        &self,
        user: &str,
        place: Place,
        limits: SyncLimits,
        encode: &dyn Fn(Entry) -> Bytes,
    ) -> Result<Delta<Bytes>, Error> {
        Ok(timeline::sync(&self.view(Reach::Disk), user, place, limits, &Encoded(encode))?)
    }

    /// As [`Engine::sync_encoded`], without touching the disk. `None` as with [`Engine::try_sync`].
    pub fn try_sync_encoded(
        &self,
        user: &str,
        place: Place,
        limits: SyncLimits,
        encode: &dyn Fn(Entry) -> Bytes,
    ) -> Result<Option<Delta<Bytes>>, Error> {
        within_reach(timeline::sync(&self.view(Reach::Memory), user, place, limits, &Encoded(encode)))
    }

    /// At most `limit` records of a conversation, by ascending seq; at most a page (500).
    ///
    /// # Errors
    /// `not_found`: no such conversation, or none that the user may see.
    pub fn history(
        &self,
        user: &str,
        conversation: &str,
        range: HistoryRange,
        limit: usize,
    ) -> Result<Vec<Entry>, Error> {
        Ok(timeline::history(&self.view(Reach::Disk), user, conversation, range, limit)?)
    }

    /// As [`Engine::history`], without touching the disk. `None` as with [`Engine::try_sync`].
    pub fn try_history(
        &self,
        user: &str,
        conversation: &str,
        range: HistoryRange,
        limit: usize,
    ) -> Result<Option<Vec<Entry>>, Error> {
        within_reach(timeline::history(&self.view(Reach::Memory), user, conversation, range, limit))
    }

    /// A page of a user's conversations, the most recent first; `before` is the cursor of the page before.
    pub fn conversations(&self, user: &str, before: Option<Position>, limit: usize) -> Result<ConversationPage, Error> {
        Ok(timeline::conversations(&self.view(Reach::Disk), user, before, limit)?)
    }

    /// As [`Engine::conversations`], without touching the disk. `None` as with [`Engine::try_sync`].
    pub fn try_conversations(
        &self,
        user: &str,
        before: Option<Position>,
        limit: usize,
    ) -> Result<Option<ConversationPage>, Error> {
        within_reach(timeline::conversations(&self.view(Reach::Memory), user, before, limit))
    }

    /// A page of a conversation's current members; never touches the disk.
    ///
    /// # Errors
    /// `not_found` as [`Engine::history`]; `not_allowed` for a former member.
    pub fn members(
        &self,
        caller: &Caller,
        conversation: &str,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<MemberPage, Error> {
        timeline::members(&self.view(Reach::Disk), caller, conversation, after, limit)
    }

    /// A user's registered devices; never touches the disk.
    pub fn devices(&self, user: &str) -> Result<Vec<DeviceView>, Error> {
        timeline::devices(&self.inner.shared.state.read(), &self.inner.shared.soft.lock(), user)
    }

    /// A device has stored this checkpoint. Soft state: written with the next persist, of registered devices only.
    pub fn acknowledge(&self, user: &str, device: &str, checkpoint: Checkpoint) {
        let shared = &self.inner.shared;
        let known = {
            let state = shared.state.read();
            let id = state.names.user(user).and_then(|user| state.names.device(user, device));
            let is_ours = checkpoint.incarnation == state.incarnation && checkpoint.position <= state.applied;
            id.filter(|id| is_ours && state.device(*id).is_some_and(|device| device.registered))
        };
        if let Some(id) = known {
            shared.note_seen(id, checkpoint.position);
        }
    }

    /// Calls `wake` after every commit with something for this user, from an engine thread, until the subscription is
    /// dropped. `wake` must not block. To miss nothing, subscribe first and read then.
    pub fn subscribe(&self, user: &str, wake: Arc<dyn Fn() + Send + Sync>) -> Result<Subscription, Error> {
        let id = self.inner.shared.state.read().names.user(user);
        let id = id.ok_or_else(|| Error::new(Code::NotFound, format!("user {user:?} does not exist")))?;
        Ok(self.inner.shared.subscriptions.subscribe(id, wake))
    }

    /// Whether a user is known.
    pub fn user_exists(&self, user: &str) -> bool {
        self.inner.shared.state.read().names.user(user).is_some()
    }

    /// The last visible position.
    pub fn visible(&self) -> Position {
        self.inner.shared.visible()
    }

    /// Which history this is.
    pub fn incarnation(&self) -> Incarnation {
        self.inner.shared.state.read().incarnation
    }

    /// The limits that commands are held to.
    pub fn limits(&self) -> &Limits {
        &self.inner.shared.options.limits
    }

    /// What this engine has done since it was opened, and what it holds. Cheap: may be asked at any time.
    pub fn usage(&self) -> Usage {
        commit::usage(&self.inner.shared)
    }

    /// Calls `listener` once if a write or a sync fails, which stops the engine for good: the process is to exit.
    pub fn on_poisoned(&self, listener: Box<dyn FnOnce(Error) + Send>) {
        self.inner.shared.on_poisoned(listener);
    }

    /// Writes everything visible from memory to the index, and waits for it.
    pub fn persist(&self) -> Result<(), Error> {
        commit::persist_now(&self.inner.shared)
    }

    /// The canonical dump of the state and of all timelines: equal states give equal text. For tests and tools.
    pub fn dump(&self) -> Result<String, Error> {
        let shared = &self.inner.shared;
        let mut out = String::new();
        let (users, conversations) = {
            let state = shared.state.read();
            state.dump(&mut out);
            (state.users.len() as u32, state.conversations.len() as u32)
        };
        let view = self.view(Reach::Disk);
        for user in (1..=users).map(UserId) {
            out.push_str(&format!("inbox {user} {:?}\n", timeline::whole_inbox(&view, user)?));
        }
        for conversation in (1..=conversations).map(ConversationId) {
            out.push_str(&format!("outbox {conversation} {:?}\n", timeline::whole_outbox(&view, conversation)?));
        }
        Ok(out)
    }

    /// Finishes what was submitted, persists, and leaves the log clean. Other handles get `busy` from then on.
    pub fn close(self) -> Result<(), Error> {
        let threads = self.inner.threads.lock().take();
        threads.map_or(Ok(()), Threads::finish)
    }

    fn view(&self, reach: Reach) -> View<'_> {
        let shared = &self.inner.shared;
        View { state: &shared.state, store: &shared.store, log: &shared.log, pulls: &shared.pulls, reach }
    }
}

fn check(options: &Options) -> Result<(), Error> {
    let limit = highwater_proto::limits::BODY_BYTES_CONFIGURABLE_MAX;
    if options.limits.body_bytes_max > limit {
        let what = format!("body_bytes_max is set to {}", options.limits.body_bytes_max);
        return Err(Error::limit("body_bytes_configurable_max", limit as u64, what));
    }
    Ok(())
}

/// An unclean opening begins a new epoch: checkpoints of the old one end at the position before.
fn epoch_record(state: &State, opened: &log::Opened, now_ms: u64) -> Record {
    Record {
        position: state.applied.next(),
        time_ms: now_ms.max(state.time_ms),
        author: UserId::ZERO,
        by_service: false,
        device: DeviceId::ZERO,
        client_seq: 0,
        previous: Position::ZERO,
        conversation: ConversationId::ZERO,
        seq: Seq::ZERO,
        ordinal: Ordinal::ZERO,
        fact: Fact::Epoch { epoch: opened.epoch },
    }
}

fn new_incarnation() -> Result<Incarnation, Error> {
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut random| std::io::Read::read_exact(&mut random, &mut bytes))
        .map_err(|error| Error::new(Code::Io, format!("cannot read random bytes: {error}")))?;
    Ok(Incarnation(bytes))
}
