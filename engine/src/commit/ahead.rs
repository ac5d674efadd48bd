//! What the sequencer knows beyond the applied state: counters and names that are assigned but not applied yet.
//!
//! An entry is of use only while its record is above `applied`; afterwards the state says the same. Entries are
//! forgotten in bulk, when nothing is in flight or when there are many.

use crate::state::State;
use highwater_proto::id::{ConversationId, DeviceId, Ordinal, Position, Seq, UserId};
use rustc_hash::FxHashMap;
use std::collections::HashMap;
use std::sync::Arc;

/// Entries above which those that are applied are swept out: few enough to stay in the processor's cache.
const SWEEP_ENTRIES: usize = 4_096;

/// Assigned, not applied.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    conversations: FxHashMap<ConversationId, ConversationAhead>,
    devices: FxHashMap<DeviceId, DeviceAhead>,
    /// New memberships of a user, and the position of the last.
    memberships: FxHashMap<UserId, (usize, Position)>,
    /// New devices of a user, and the position of the last.
    registrations: FxHashMap<UserId, (usize, Position)>,
    user_names: HashMap<Arc<str>, (UserId, Position)>,
    conversation_names: HashMap<Arc<str>, (ConversationId, Position)>,
    device_names: HashMap<(UserId, Arc<str>), (DeviceId, Position)>,
    /// Ids given so far, applied or not.
    pub(crate) users: u32,
    pub(crate) devices_count: u32,
    pub(crate) conversations_count: u32,
    /// New member rows at the most, and the position of the last.
    member_rows: (usize, Position),
}

/// A conversation's counters.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ConversationAhead {
    pub(crate) head: Seq,
    pub(crate) ordinal: Ordinal,
    /// The last record of the conversation, with or without a seq.
    pub(crate) last: Position,
    /// The last barrier: a change of membership, role, settings or mode, or a recall.
    pub(crate) barrier: Position,
}

/// A device's counters.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DeviceAhead {
    pub(crate) last_client_seq: u64,
    /// Position of the record with that number.
    pub(crate) last_numbered: Position,
    /// The last record that concerns the device.
    pub(crate) last: Position,
}

/// The applied state with what is assigned ahead of it.
#[derive(Clone, Copy)]
pub(crate) struct Known<'a> {
    pub(crate) state: &'a State,
    pub(crate) ahead: &'a Ahead,
}

impl Ahead {
    pub(crate) fn new(state: &State) -> Self {
        Self {
            users: state.users.len() as u32,
            devices_count: state.devices.len() as u32,
            conversations_count: state.conversations.len() as u32,
            ..Self::default()
        }
    }

    /// Forgets what the state says by now.
    pub(crate) fn forget(&mut self, applied: Position, assigned: Position) {
        let entries = self.conversations.len() + self.devices.len() + self.memberships.len() + self.user_names.len();
        if applied < assigned && entries < SWEEP_ENTRIES {
            return;
        }
        if self.member_rows.1 <= applied {
            self.member_rows.0 = 0;
        }
        if applied >= assigned {
            return self.forget_all();
        }
        self.conversations.retain(|_, ahead| ahead.last > applied);
        self.devices.retain(|_, ahead| ahead.last > applied);
        self.memberships.retain(|_, (_, position)| *position > applied);
        self.registrations.retain(|_, (_, position)| *position > applied);
        self.user_names.retain(|_, (_, position)| *position > applied);
        self.conversation_names.retain(|_, (_, position)| *position > applied);
        self.device_names.retain(|_, (_, position)| *position > applied);
    }

    /// Nothing is in flight. Emptying costs less than looking at every entry.
    fn forget_all(&mut self) {
        self.conversations.clear();
        self.devices.clear();
        self.memberships.clear();
        self.registrations.clear();
        self.user_names.clear();
        self.conversation_names.clear();
        self.device_names.clear();
    }

    pub(crate) fn name_user(&mut self, name: Arc<str>, id: UserId, position: Position) {
        self.user_names.insert(name, (id, position));
    }

    pub(crate) fn name_conversation(&mut self, name: Arc<str>, id: ConversationId, position: Position) {
        self.conversation_names.insert(name, (id, position));
    }

    pub(crate) fn name_device(&mut self, user: UserId, name: Arc<str>, id: DeviceId, position: Position) {
        self.device_names.insert((user, name), (id, position));
        count(&mut self.registrations, user, position);
    }

    pub(crate) fn add_membership(&mut self, user: UserId, position: Position) {
        count(&mut self.memberships, user, position);
        self.member_rows = (self.member_rows.0 + 1, position);
    }

    pub(crate) fn set_conversation(&mut self, id: ConversationId, ahead: ConversationAhead) {
        self.conversations.insert(id, ahead);
    }

    pub(crate) fn set_device(&mut self, id: DeviceId, ahead: DeviceAhead) {
        self.devices.insert(id, ahead);
    }
}

fn count(map: &mut FxHashMap<UserId, (usize, Position)>, user: UserId, position: Position) {
    let entry = map.entry(user).or_insert((0, position));
    *entry = (entry.0 + 1, position);
}

impl<'a> Known<'a> {
    pub(crate) fn user(&self, name: &str) -> Option<UserId> {
        self.state.names.user(name).or_else(|| self.ahead.user_names.get(name).map(|(id, _)| *id))
    }

    pub(crate) fn conversation_id(&self, name: &str) -> Option<ConversationId> {
        self.state.names.conversation(name).or_else(|| self.ahead.conversation_names.get(name).map(|(id, _)| *id))
    }

    pub(crate) fn device_id(&self, user: UserId, name: &str) -> Option<DeviceId> {
        self.state
            .names
            .device(user, name)
            .or_else(|| self.ahead.device_names.get(&(user, Arc::from(name))).map(|(id, _)| *id))
    }

    /// A conversation's counters, assigned ones included. Zeros for one that is about to be created.
    pub(crate) fn counters(&self, id: ConversationId) -> ConversationAhead {
        let applied =
            self.state.conversation(id).map_or_else(ConversationAhead::default, |conversation| ConversationAhead {
                head: conversation.head,
                ordinal: conversation.ordinal,
                last: Position::ZERO,
                barrier: Position::ZERO,
            });
        match self.ahead.conversations.get(&id) {
            Some(ahead) if ahead.last > self.state.applied => *ahead,
            _ => applied,
        }
    }

    /// A device's counters, assigned ones included.
    pub(crate) fn device_counters(&self, id: DeviceId) -> DeviceAhead {
        let applied = self.state.device(id).map_or_else(DeviceAhead::default, |device| DeviceAhead {
            last_client_seq: device.last_client_seq,
            last_numbered: device.last_position,
            last: Position::ZERO,
        });
        match self.ahead.devices.get(&id) {
            Some(ahead) if ahead.last > self.state.applied => *ahead,
            _ => applied,
        }
    }

    /// Whether nothing of the conversation is in flight.
    pub(crate) fn is_settled(&self, id: ConversationId) -> bool {
        self.counters(id).last <= self.state.applied
    }

    /// Whether no barrier of the conversation is in flight.
    pub(crate) fn is_past_barriers(&self, id: ConversationId) -> bool {
        self.counters(id).barrier <= self.state.applied
    }

    /// Whether nothing of the device is in flight.
    pub(crate) fn is_device_settled(&self, id: DeviceId) -> bool {
        self.device_counters(id).last <= self.state.applied
    }

    /// How many conversations a user is a member of, and about how many additions are in flight.
    pub(crate) fn memberships(&self, user: UserId) -> Count {
        let ahead = self.ahead.memberships.get(&user).filter(|(_, position)| *position > self.state.applied);
        Count {
            applied: self.state.user(user).map_or(0, |user| user.current),
            in_flight_max: ahead.map_or(0, |(count, _)| *count),
        }
    }

    /// How many member rows there are in all, and about how many are in flight; those who return need none.
    pub(crate) fn member_rows(&self) -> Count {
        let (rows, position) = self.ahead.member_rows;
        let in_flight_max = if position > self.state.applied { rows } else { 0 };
        Count { applied: self.state.member_rows, in_flight_max }
    }

    /// How many registered devices a user has, and about how many registrations are in flight.
    pub(crate) fn registered_devices(&self, user: UserId) -> Count {
        let is_registered = |id: &&DeviceId| self.state.device(**id).is_some_and(|device| device.registered);
        let ahead = self.ahead.registrations.get(&user).filter(|(_, position)| *position > self.state.applied);
        Count {
            applied: self.state.user(user).map_or(0, |user| user.devices.iter().filter(is_registered).count()),
            in_flight_max: ahead.map_or(0, |(count, _)| *count),
        }
    }
}

/// A number that is known exactly only once nothing is in flight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Count {
    pub(crate) applied: usize,
    /// Some of these may be counted in `applied` already.
    pub(crate) in_flight_max: usize,
}
