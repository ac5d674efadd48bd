//! Looking into a store: what is in it and how large it is, one user's inbox, one conversation's outbox.
//!
//! Nothing is changed but the lock file. A store that is in use is read as it stands: what its process has in memory
//! only is missing then, and files may change while they are looked at.

use crate::lock::StoreLock;
use crate::log;
use crate::log::disk::RealDisk;
use crate::state::{Member, State, Touched};
use crate::store::{Chunk, FamilyStatistics, Store};
use crate::verify::check_exists;
use highwater_proto::error::{Code, Error};
use highwater_proto::id::{ConversationId, DeviceId, Epoch, Incarnation, Ordinal, Position, Seq, UserId};
use highwater_proto::record::{Kind, Mode, Settings};
use std::path::Path;
use std::sync::Arc;

/// A store at a glance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Says which process has the store open, if one has.
    pub in_use: Option<String>,
    /// Which history this is.
    pub incarnation: Incarnation,
    /// The position that the index is consistent with; counts of rows are as of here.
    pub applied: Position,
    /// The log's last position.
    pub last: Position,
    /// The log's newest epoch.
    pub epoch: Epoch,
    /// Past epochs that the index knows, and the last position of each.
    pub epoch_ends: Vec<(Epoch, Position)>,
    /// Whether the log was closed; if not, the next opening begins a new epoch.
    pub is_closed: bool,
    /// Bytes of an unfinished write stand behind the log's end.
    pub is_torn: bool,
    /// Generations of the index.
    pub generations: Vec<u32>,
    /// Positions up to here are not kept any more; zero: everything is.
    pub horizon: Position,
    /// Users that have a name.
    pub users: usize,
    /// Devices, revoked ones included.
    pub devices: usize,
    /// Conversations that were created.
    pub conversations: usize,
    /// Member rows, past or present.
    pub member_rows: usize,
    /// Messages that were edited or recalled.
    pub redactions: usize,
    /// The index by family.
    pub families: Vec<FamilySize>,
    /// The log by segment, ascending.
    pub segments: Vec<SegmentSize>,
}

/// A family of the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FamilySize {
    /// Its name.
    pub name: &'static str,
    /// Table files.
    pub files: usize,
    /// Rows in them, those included that were overwritten since and are not merged away yet.
    pub rows: u64,
    /// Size of the files, in bytes.
    pub bytes: u64,
}

/// A log segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentSize {
    /// The file's name.
    pub name: String,
    /// Position of its first record.
    pub first: Position,
    /// Position of its last record; the one before `first` if it is empty.
    pub last: Position,
    /// Its epoch.
    pub epoch: Epoch,
    /// Bytes up to the end of its last frame.
    pub bytes: u64,
    /// Bytes that the file takes, reserved space included.
    pub file_bytes: u64,
}

/// A piece of a timeline as it stands in the index under one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListChunk {
    /// Seq of the first entry; zero in an inbox.
    pub first_seq: Seq,
    /// Positions, ascending; at least one.
    pub positions: Vec<Position>,
    /// How many of the entries are messages; zero in an inbox, which does not know.
    pub messages: usize,
    /// Size of the value before compression, in bytes.
    pub bytes: usize,
}

/// One user's part of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserView {
    /// The name.
    pub user: Arc<str>,
    /// The interned id.
    pub id: UserId,
    /// Conversations that it is a member of.
    pub current: usize,
    /// Conversations that it is or was a member of.
    pub conversations: usize,
    /// Conversations that it pulls, by name.
    pub follows: Vec<Arc<str>>,
    /// Devices, by name: the last number, its record's position, and whether it is registered.
    pub devices: Vec<(Arc<str>, u64, Position, bool)>,
    /// The position that the index is consistent with.
    pub applied: Position,
    /// The inbox up to `applied`, as it is stored.
    pub chunks: Vec<ListChunk>,
    /// The inbox above `applied`, as replaying the log gives it.
    pub replayed: Vec<Position>,
}

/// One conversation's part of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConversationView {
    /// The name.
    pub conversation: Arc<str>,
    /// The interned id.
    pub id: ConversationId,
    /// Its kind.
    pub kind: Kind,
    /// Its settings.
    pub settings: Settings,
    /// How new messages are fanned out.
    pub mode: Mode,
    /// Since when, in ms since 1970.
    pub mode_since_ms: u64,
    /// The last seq.
    pub head: Seq,
    /// Position of the record with the last seq.
    pub head_position: Position,
    /// Messages so far.
    pub messages: Ordinal,
    /// How many of them were recalled.
    pub recalled: usize,
    /// Current members.
    pub members: usize,
    /// Former members.
    pub former_members: usize,
    /// The position that the index is consistent with.
    pub applied: Position,
    /// The outbox up to `applied`, as it is stored.
    pub chunks: Vec<ListChunk>,
    /// The outbox above `applied`, as replaying the log gives it: seq, position, whether it is a message.
    pub replayed: Vec<(Seq, Position, bool)>,
}

/// A store at a glance. Reads the state and the newest log segment.
///
/// # Errors
/// `not_found`: there is no store. `corrupt`: log or index are damaged; `verify` says more. `unusable`: the format is
/// not known. `io`: reading failed.
pub fn inspect(path: impl AsRef<Path>) -> Result<Summary, Error> {
    let path = path.as_ref();
    let (_lock, in_use) = lock(path)?;
    let (store, state) = open_index(path)?;
    let log = log::summary(&RealDisk::new(path.join("log")))?;
    let segments = log.segments.into_iter().map(|segment| SegmentSize {
        name: segment.name,
        first: segment.first,
        last: segment.last,
        epoch: segment.epoch,
        bytes: segment.bytes,
        file_bytes: segment.file_bytes,
    });
    Ok(Summary {
        in_use,
        incarnation: state.incarnation,
        applied: state.applied,
        last: log.last,
        epoch: log.epoch,
        epoch_ends: state.epoch_ends.clone(),
        is_closed: log.is_closed,
        is_torn: log.is_torn,
        generations: vec![1],
        horizon: Position::ZERO,
        users: state.users.len(),
        devices: state.devices.len(),
        conversations: state.conversations.iter().flatten().count(),
        member_rows: state.member_rows,
        redactions: state.redactions.len(),
        families: store.statistics()?.into_iter().map(family).collect(),
        segments: segments.collect(),
    })
}

/// One user's devices and inbox. Replays what the index does not have yet, for which it reads the whole log.
///
/// # Errors
/// As [`inspect`], and `not_found` for a user without a name.
pub fn inspect_user(path: impl AsRef<Path>, user: &str) -> Result<UserView, Error> {
    let (_lock, store, applied, state) = open_and_replay(path.as_ref())?;
    let unknown = || Error::new(Code::NotFound, format!("user {user:?} does not exist"));
    let id = state.names.user(user).ok_or_else(unknown)?;
    let row = state.user(id).ok_or_else(unknown)?;
    let conversation_name = |id: &ConversationId| state.conversation(*id).map(|conversation| conversation.name.clone());
    let device = |id: &DeviceId| {
        let device = state.device(*id)?;
        Some((device.name.clone(), device.last_client_seq, device.last_position, device.registered))
    };
    Ok(UserView {
        user: row.name.clone(),
        id,
        current: row.current,
        conversations: row.conversations.len(),
        follows: row.follows.iter().filter_map(conversation_name).collect(),
        devices: row.devices.iter().filter_map(device).collect(),
        applied,
        chunks: store.inbox_chunks(id)?.into_iter().map(chunk).collect(),
        replayed: state.head.inbox(id, applied, state.applied).collect(),
    })
}

/// One conversation's settings and outbox. Replays what the index does not have yet, for which it reads the whole log.
///
/// # Errors
/// As [`inspect`], and `not_found` for a conversation that was not created.
pub fn inspect_conversation(path: impl AsRef<Path>, conversation: &str) -> Result<ConversationView, Error> {
    let (_lock, store, applied, state) = open_and_replay(path.as_ref())?;
    let unknown = || Error::new(Code::NotFound, format!("conversation {conversation:?} does not exist"));
    let (id, row) = state.conversation_named(conversation).ok_or_else(unknown)?;
    let members = row.members.values().filter(|member| Member::is_current(member)).count();
    let replayed = state.head.outbox(id).map(|outbox| {
        let seqs = (outbox.first.0..).map(Seq);
        seqs.zip(outbox.entries()).map(|(seq, entry)| (seq, entry.position, entry.countable)).collect()
    });
    Ok(ConversationView {
        conversation: row.name.clone(),
        id,
        kind: row.kind,
        settings: row.settings,
        mode: row.mode,
        mode_since_ms: row.mode_since_ms,
        head: row.head,
        head_position: row.head_position,
        messages: row.ordinal,
        recalled: row.recalled.len(),
        members,
        former_members: row.members.len() - members,
        applied,
        chunks: store.outbox_chunks(id)?.into_iter().map(chunk).collect(),
        replayed: replayed.unwrap_or_default(),
    })
}

/// Keeps the store from being opened meanwhile; or says who has it open already.
fn lock(path: &Path) -> Result<(Option<StoreLock>, Option<String>), Error> {
    check_exists(path)?;
    match StoreLock::take(path) {
        Ok(lock) => Ok((Some(lock), None)),
        Err(error) if error.code == Code::Unusable => Ok((None, Some(error.message))),
        Err(error) => Err(error),
    }
}

fn open_index(path: &Path) -> Result<(Store, State), Error> {
    let store = Store::open_read_only(&path.join("index"))?;
    let loaded = store.load()?.ok_or_else(|| Error::new(Code::NotFound, "the index has no history yet"))?;
    Ok((store, loaded.state))
}

/// The index, the position that it is consistent with, and the state that log and index give together.
fn open_and_replay(path: &Path) -> Result<(Option<StoreLock>, Store, Position, State), Error> {
    let (lock, _) = lock(path)?;
    let (store, mut state) = open_index(path)?;
    let applied = state.applied;
    let log = log::check(&RealDisk::new(path.join("log")), applied, &mut |record| match record.position > applied {
        true => state.apply(&record, &mut Touched::default()),
        false => Ok(()),
    })?;
    match log.damage.into_iter().next() {
        // While another process appends, the end may look like anything.
        Some(damage) if lock.is_some() => Err(damage),
        _ => Ok((lock, store, applied, state)),
    }
}

fn family(statistics: FamilyStatistics) -> FamilySize {
    let FamilyStatistics { name, files, rows, bytes } = statistics;
    FamilySize { name, files, rows, bytes }
}

fn chunk(chunk: Chunk) -> ListChunk {
    let Chunk { first_seq, positions, countable, bytes } = chunk;
    ListChunk { first_seq, positions, messages: countable, bytes }
}
