//! Rows on their way to the index: what a freeze has caught, encoded in short slices while commits go on.
//!
//! A freeze only takes lists of what changed. The rows themselves are encoded afterwards, some at a time, under the
//! state's lock; whoever changes one of them first has put its old value aside ([`crate::state::Dirty`]). What is encoded
//! needs no lock any more: it is sorted and written when it is complete.

use super::family::Family;
use super::names::Named;
use super::{SoftDevice, acknowledged, conversations, devices, follows, members, memberships, meta, names};
use super::{recalled, redactions};
use crate::state::{ChangedRows, Conversation, Member, State};
use highwater_proto::id::{ConversationId, DeviceId, Position, UserId};
use rustc_hash::FxHashSet;
use std::ops::Range;
use std::vec::IntoIter;

/// Most bytes of nearly every value; lists of recalled messages, and members who came and went often, may be longer.
const VALUE_BYTES: usize = 128;

/// The rows that were frozen with a head. One set at a time: the next freeze comes when this one is persisted.
pub(crate) struct Rows {
    todo: Todo,
    /// What was encoded, by family.
    encoded: [Encoded; Family::ALL.len()],
    /// Names that stand in the index once this is written.
    pub(super) names: NameCounts,
    /// The row that says up to where all of this goes.
    pub(super) applied: Vec<u8>,
}

/// Rows that are still to be encoded.
struct Todo {
    conversations: IntoIter<ConversationId>,
    members: IntoIter<(ConversationId, UserId)>,
    /// Members whose role changed.
    roles: FxHashSet<(ConversationId, UserId)>,
    /// Intervals that begin and end up to here are in the index already.
    since: Position,
    devices: IntoIter<DeviceId>,
    follows: IntoIter<(UserId, ConversationId)>,
    redactions: IntoIter<Position>,
    soft: IntoIter<(DeviceId, SoftDevice)>,
    user_names: Range<u32>,
    device_names: Range<u32>,
    conversation_names: Range<u32>,
}

/// How many ids of each kind have a name: ids are dense, names never change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct NameCounts {
    pub(super) users: u32,
    pub(super) devices: u32,
    pub(super) conversations: u32,
}

/// Encoded rows of one family. Their keys have one length, up to 8 bytes.
#[derive(Default)]
pub(super) struct Encoded {
    key_bytes: usize,
    rows: Vec<EncodedRow>,
    values: Vec<u8>,
}

#[derive(Clone, Copy)]
struct EncodedRow {
    /// The key as a big-endian number.
    key: u64,
    /// Where the value stands.
    from: usize,
    to: usize,
}

impl NameCounts {
    pub(super) fn of(state: &State) -> Self {
        // Ids are 32 bits wide: no list is longer.
        Self {
            users: state.users.len() as u32,
            devices: state.devices.len() as u32,
            conversations: state.names.conversation_names.len() as u32,
        }
    }
}

impl Rows {
    /// Takes over what was frozen just now; under the same lock, and at once. `since`: the position of the freeze before.
    pub(super) fn new(state: &State, frozen: ChangedRows, since: Position, stored: NameCounts) -> Self {
        let ChangedRows { conversations, members, roles, devices, follows, redactions } = frozen;
        let names = NameCounts::of(state);
        Self {
            todo: Todo {
                conversations: conversations.into_iter(),
                members: members.into_iter(),
                roles,
                since,
                devices: devices.into_iter(),
                follows: follows.into_iter(),
                redactions: redactions.into_iter(),
                soft: Vec::new().into_iter(),
                user_names: stored.users..names.users,
                device_names: stored.devices..names.devices,
                conversation_names: stored.conversations..names.conversations,
            },
            encoded: Default::default(),
            names,
            applied: meta::applied_value(&state.into()),
        }
    }

    /// Adds soft state that changed.
    pub(crate) fn put_soft(&mut self, soft: Vec<(DeviceId, SoftDevice)>) {
        self.todo.soft = soft.into_iter();
    }

    /// Makes encoding go through memory in order: to be called once, without a lock, before the first slice.
    pub(crate) fn sort(&mut self) {
        self.todo.conversations.as_mut_slice().sort_unstable();
        self.todo.members.as_mut_slice().sort_unstable();
        self.todo.devices.as_mut_slice().sort_unstable();
    }

    /// Has memory for about so many more rows: to be called without a lock, before each slice. Buffers that grow to tens
    /// of megabytes are copied as they grow, which takes milliseconds.
    pub(crate) fn reserve(&mut self, rows_max: usize) {
        for encoded in &mut self.encoded {
            encoded.rows.reserve(rows_max);
            encoded.values.reserve(rows_max * VALUE_BYTES);
        }
    }

    /// Encodes up to `rows_max` more rows. Returns whether that was all of them: then the state is thawed.
    pub(crate) fn encode(&mut self, state: &mut State, rows_max: usize) -> bool {
        for _ in 0..rows_max {
            if !self.encode_one(state) {
                state.dirty.thaw();
                return true;
            }
        }
        false
    }

    /// What was encoded, by family, each in the order of its keys and without doubles.
    pub(super) fn finish(self) -> impl Iterator<Item = (Family, Encoded)> {
        Family::ALL.into_iter().zip(self.encoded).map(|(family, mut encoded)| {
            // A key that came twice bears the same value twice.
            encoded.rows.sort_unstable_by_key(|row| row.key);
            encoded.rows.dedup_by_key(|row| row.key);
            (family, encoded)
        })
    }

    /// Encodes the next row; false if there is none.
    fn encode_one(&mut self, state: &mut State) -> bool {
        let todo = &mut self.todo;
        if let Some(id) = todo.conversations.next() {
            self.conversation(state, id);
        } else if let Some((conversation, user)) = todo.members.next() {
            self.member(state, conversation, user);
        } else if let Some(id) = todo.devices.next() {
            let row = state.devices.get_mut((id.0 as usize).wrapping_sub(1)).expect("a device that changed exists");
            let (user, rows) = (row.user, self.rows_of(Family::Devices));
            let put = |row: &_| rows.put(devices::key(user, id), |value| devices::put_value(row, value));
            state.dirty.frozen_device(id, row, put);
        } else if let Some((user, conversation)) = todo.follows.next() {
            self.rows_of(Family::Follows).put(follows::key(user, conversation), |_| {});
        } else if let Some(target) = todo.redactions.next() {
            let rows = self.rows_of(Family::Redactions);
            let put = |row: &_| rows.put(redactions::key(target), |value| value.extend(redactions::value(row)));
            state.dirty.frozen_redaction(target, state.redactions.get(&target), put);
        } else if let Some((id, soft)) = todo.soft.next() {
            if state.device(id).is_some() {
                self.rows_of(Family::Acknowledged)
                    .put(acknowledged::key(id), |value| value.extend(acknowledged::value(&soft)));
            }
        } else {
            return self.name(state);
        }
        true
    }

    fn conversation(&mut self, state: &mut State, id: ConversationId) {
        let row = state.conversations.get_mut((id.0 as usize).wrapping_sub(1)).and_then(Option::as_mut);
        let row = row.expect("a conversation that changed exists");
        let put = |row: &Conversation| {
            let rows = self.rows_of(Family::Conversations);
            rows.put(conversations::key(id), |value| conversations::put_value(row, value));
            if !row.recalled.is_empty() {
                let rows = self.rows_of(Family::Recalled);
                rows.put(recalled::key(id), |value| value.extend(recalled::value(&row.recalled)));
            }
        };
        state.dirty.frozen_conversation(id, row, put);
    }

    /// Most members' rows change because they read or send: `members` is left as it is then.
    fn member(&mut self, state: &mut State, conversation: ConversationId, user: UserId) {
        let row = state.conversations.get_mut((conversation.0 as usize).wrapping_sub(1)).and_then(Option::as_mut);
        let row = row.and_then(|row| row.members.get_mut(&user)).expect("a member that changed has a row");
        let since = self.todo.since;
        let is_other_role = self.todo.roles.contains(&(conversation, user));
        let put = |row: &Member| {
            let last = row.intervals.last().map(|interval| interval.left.unwrap_or(interval.joined).position);
            if is_other_role || last.is_some_and(|last| last > since) {
                let rows = self.rows_of(Family::Members);
                rows.put(members::key(conversation, user), |value| members::put_value(row, value));
            }
            let rows = self.rows_of(Family::Memberships);
            rows.put(memberships::key(user, conversation), |value| memberships::put_value(row, value));
        };
        state.dirty.frozen_member((conversation, user), row, put);
    }

    /// Encodes a name given since the persist before; false if there is none.
    fn name(&mut self, state: &State) -> bool {
        let todo = &mut self.todo;
        let (key, name) = if let Some(index) = todo.user_names.next() {
            (names::key(Named::User, index + 1), &state.users[index as usize].name)
        } else if let Some(index) = todo.device_names.next() {
            (names::key(Named::Device, index + 1), &state.devices[index as usize].name)
        } else if let Some(index) = todo.conversation_names.next() {
            (names::key(Named::Conversation, index + 1), &state.names.conversation_names[index as usize])
        } else {
            return false;
        };
        self.rows_of(Family::Names).put(key, |value| value.extend_from_slice(name.as_bytes()));
        true
    }

    fn rows_of(&mut self, family: Family) -> &mut Encoded {
        &mut self.encoded[family as usize]
    }
}

impl Encoded {
    fn put<const N: usize>(&mut self, key: [u8; N], put_value: impl FnOnce(&mut Vec<u8>)) {
        const { assert!(N <= 8) };
        self.key_bytes = N;
        let key = key.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        let from = self.values.len();
        put_value(&mut self.values);
        self.rows.push(EncodedRow { key, from, to: self.values.len() });
    }

    /// Calls `each` with every key and value.
    pub(super) fn each(&self, mut each: impl FnMut(&[u8], &[u8])) {
        for row in &self.rows {
            let key = row.key.to_be_bytes();
            each(&key[key.len() - self.key_bytes..], &self.values[row.from..row.to]);
        }
    }
}
