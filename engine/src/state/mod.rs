//! The state: everything that the applied records say, in memory, except bodies (in the log) and the older parts of
//! timelines (in the store).
//!
//! Committing changes it, one group of records at a time under a write lock; readers take a read lock for short,
//! bounded pieces of work. It changes by [`apply`](State::apply) alone, a pure function of state and record.

mod apply;
mod conversation;
mod dirty;
mod dump;
mod fetch;
mod head;
mod lists;
mod names;

pub(crate) use apply::Touched;
pub(crate) use conversation::{Conversation, Interval, Mark, Member};
pub(crate) use dirty::{Changed, ChangedRows, Dirty};
pub(crate) use fetch::{About, SIDE_BY_SIDE};
pub(crate) use head::{HEAD_POSITIONS_MAX, Head, OutboxEntry};
pub(crate) use names::Names;

use highwater_proto::id::{ConversationId, DeviceId, Epoch, Incarnation, Position, Seq, UserId};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// What the records up to `applied` say.
#[derive(Debug)]
pub(crate) struct State {
    /// Which history this is.
    pub(crate) incarnation: Incarnation,
    /// The last record applied.
    pub(crate) applied: Position,
    /// Time of the last record applied, in ms since 1970.
    pub(crate) time_ms: u64,
    /// Past epochs and the last position of each, ascending.
    pub(crate) epoch_ends: Vec<(Epoch, Position)>,
    /// The current epoch.
    pub(crate) epoch: Epoch,
    /// Names and their ids.
    pub(crate) names: Names,
    /// Users by id: id n stands at index n - 1.
    pub(crate) users: Vec<User>,
    /// Devices by id, likewise.
    pub(crate) devices: Vec<Device>,
    /// Conversations by id, likewise. One is `None` while its name has an id but its create is not applied.
    pub(crate) conversations: Vec<Option<Conversation>>,
    /// Messages that were edited or recalled, by position.
    pub(crate) redactions: BTreeMap<Position, Redaction>,
    /// Member rows in all, past or present.
    pub(crate) member_rows: usize,
    /// Timelines since the last persist.
    pub(crate) head: Head,
    /// Timelines being persisted.
    pub(crate) frozen: Option<Arc<Head>>,
    /// Up to here the timelines stand in the store.
    pub(crate) persisted: Position,
    /// Rows that differ from the store.
    pub(crate) dirty: Dirty,
}

/// A user.
#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) name: Arc<str>,
    /// Conversations that the user is or was a member of.
    pub(crate) conversations: BTreeSet<ConversationId>,
    /// How many of them it is a member of now.
    pub(crate) current: usize,
    /// Conversations that the user must pull: those with a record inside its intervals written in read mode.
    pub(crate) follows: BTreeSet<ConversationId>,
    /// Devices, registered or revoked.
    pub(crate) devices: Vec<DeviceId>,
}

/// A device of a user.
#[derive(Clone)]
pub(crate) struct Device {
    pub(crate) name: Arc<str>,
    pub(crate) user: UserId,
    /// False once revoked, until it opens a send session again.
    pub(crate) registered: bool,
    /// The last accepted number; kept for ever.
    pub(crate) last_client_seq: u64,
    /// Position of the record with that number.
    pub(crate) last_position: Position,
    /// Whether the row differs from the store.
    pub(crate) changed: Changed,
}

/// What the row says: it stands in the canonical dump.
impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, user, registered, last_client_seq, last_position, changed: _ } = self;
        f.debug_struct("Device")
            .field("name", name)
            .field("user", user)
            .field("registered", registered)
            .field("last_client_seq", last_client_seq)
            .field("last_position", last_position)
            .finish()
    }
}

/// What became of a message's body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Redaction {
    /// Edits, oldest first: seq and position of each edit's record.
    Edited(Vec<(Seq, Position)>),
    /// Withdrawn, for good.
    Recalled,
}

impl State {
    /// The state before the first record.
    pub(crate) fn new(incarnation: Incarnation) -> Self {
        Self {
            incarnation,
            applied: Position::ZERO,
            time_ms: 0,
            epoch_ends: Vec::new(),
            epoch: Epoch(1),
            names: Names::default(),
            users: Vec::new(),
            devices: Vec::new(),
            conversations: Vec::new(),
            redactions: BTreeMap::new(),
            member_rows: 0,
            head: Head::default(),
            frozen: None,
            persisted: Position::ZERO,
            dirty: Dirty::default(),
        }
    }

    /// Freezes the head and the rows that changed with it: from here on both are as they were at this moment. The memory
    /// of `spare`, an [emptied](Head::emptied) head, is used again.
    pub(crate) fn freeze(&mut self, spare: Option<Head>) -> (Arc<Head>, ChangedRows) {
        let empty = spare.unwrap_or_default().begun_at(self.applied);
        let head = Arc::new(std::mem::replace(&mut self.head, empty));
        self.frozen = Some(head.clone());
        (head, self.dirty.freeze())
    }

    /// A user that has an id.
    pub(crate) fn user(&self, id: UserId) -> Option<&User> {
        self.users.get((id.0 as usize).checked_sub(1)?)
    }

    /// A device that has an id.
    pub(crate) fn device(&self, id: DeviceId) -> Option<&Device> {
        self.devices.get((id.0 as usize).checked_sub(1)?)
    }

    /// A conversation that was created.
    pub(crate) fn conversation(&self, id: ConversationId) -> Option<&Conversation> {
        self.conversations.get((id.0 as usize).checked_sub(1)?)?.as_ref()
    }

    /// A conversation that was created, by name.
    pub(crate) fn conversation_named(&self, name: &str) -> Option<(ConversationId, &Conversation)> {
        let id = self.names.conversation(name)?;
        Some((id, self.conversation(id)?))
    }

    /// A user's name; empty for none.
    pub(crate) fn user_name(&self, id: UserId) -> Arc<str> {
        self.user(id).map_or_else(|| Arc::from(""), |user| user.name.clone())
    }

    /// Rows in memory, whatever they are of.
    pub(crate) fn rows(&self) -> usize {
        self.users.len() + self.devices.len() + self.conversations.len() + self.member_rows + self.redactions.len()
    }

    /// The last position that a checkpoint of `epoch` may name.
    pub(crate) fn epoch_end(&self, epoch: Epoch) -> Option<Position> {
        if epoch == self.epoch {
            return Some(self.applied);
        }
        self.epoch_ends.iter().find(|(past, _)| *past == epoch).map(|(_, end)| *end)
    }
}
