//! Reading everything but the timelines into memory, and refusing rows that contradict each other.

use super::ahead::RowsAhead;
use super::family::Family;
use super::names::Named;
use super::{SoftDevice, Store};
use super::{acknowledged, conversations, devices, follows, members, memberships, meta, names, recalled, redactions};
use crate::state::{Conversation, Device, Head, State, User};
use highwater_proto::error::{Damage, Error};
use highwater_proto::id::{ConversationId, DeviceId, UserId};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::thread;

/// What the index holds besides timelines.
pub(crate) struct Loaded {
    /// The state at `applied`; nothing is dirty, the head is empty, and `persisted` is `applied`.
    pub(crate) state: State,
    /// What registered and revoked devices said about themselves.
    pub(crate) soft: HashMap<DeviceId, SoftDevice>,
}

/// The names of users and devices, by id.
struct NamesLoaded {
    users: Vec<Arc<str>>,
    devices: Vec<Arc<str>>,
}

/// The order in which rows are loaded: those that others refer to come first.
const IN_ORDER: [Family; 9] = [
    Family::Names,
    Family::Conversations,
    Family::Members,
    Family::Memberships,
    Family::Follows,
    Family::Devices,
    Family::Acknowledged,
    Family::Redactions,
    Family::Recalled,
];

impl Store {
    /// Reads and checks every row of state; `None` from an index in which no history was begun.
    pub(crate) fn load(&self) -> Result<Option<Loaded>, Error> {
        if self.format()?.is_none() {
            return Ok(None);
        }
        let mut state = self.load_meta()?;
        let soft = thread::scope(|scope| {
            let mut rows = RowsAhead::begin(self, &IN_ORDER, scope);
            let named = load_names(&mut rows, &mut state)?;
            // The way from name to id is for nobody to follow until all is loaded.
            let conversation_names = state.names.conversation_names.clone();
            let ids = scope.spawn(move || ids_of_names(&named.users, &conversation_names));
            load_conversations(&mut rows, &mut state)?;
            load_members(&mut rows, &mut state)?;
            self.load_memberships(&mut rows, &mut state)?;
            rows.each(Family::Follows, |key, value| {
                let (user, conversation) = follows::decode(key, value)?;
                member_row(&state, conversation, user)?;
                user_row(&mut state, user)?.follows.insert(conversation);
                Ok(())
            })?;
            self.load_devices(&mut rows, &mut state, named.devices)?;
            let soft = load_soft(&mut rows, &state)?;
            rows.each(Family::Redactions, |key, value| {
                let (target, redaction) = redactions::decode(key, value)?;
                state.redactions.insert(target, redaction);
                Ok(())
            })?;
            rows.each(Family::Recalled, |key, value| {
                let (id, ordinals) = recalled::decode(key, value)?;
                conversation_row(&mut state, id)?.recalled = ordinals;
                Ok(())
            })?;
            let ids = ids.join().expect("it does not panic");
            let (users, conversations) =
                ids.map_err(|(named, id)| self.damaged(Family::Names, &names::key(named, id), &two_of_a_name()))?;
            (state.names.users, state.names.conversations) = (users, conversations);
            Ok::<_, Error>(soft)
        })?;
        self.names_stored.set_all_of(&state);
        Ok(Some(Loaded { state, soft }))
    }

    fn load_meta(&self) -> Result<State, Error> {
        let (mut incarnation, mut applied) = (None, None);
        self.scan(Family::Meta, |key, value| {
            match key {
                meta::FORMAT_KEY => {}
                meta::INCARNATION_KEY => incarnation = Some(meta::decode_incarnation(value)?),
                meta::APPLIED_KEY => applied = Some(meta::decode_applied(value)?),
                _ => return Err(Damage::new("there is no such row")),
            }
            Ok(())
        })?;
        let missing = |key| self.damaged(Family::Meta, key, &Damage::new("the row is missing"));
        let mut state = State::new(incarnation.ok_or_else(|| missing(meta::INCARNATION_KEY))?);
        let applied: meta::Applied = applied.ok_or_else(|| missing(meta::APPLIED_KEY))?;
        state.applied = applied.applied;
        state.persisted = applied.applied;
        state.head = Head::new(applied.applied);
        state.time_ms = applied.time_ms;
        state.epoch = applied.epoch;
        state.epoch_ends = applied.epoch_ends;
        Ok(state)
    }

    fn load_memberships(&self, incoming: &mut RowsAhead<'_>, state: &mut State) -> Result<(), Error> {
        let mut rows = 0;
        incoming.each(Family::Memberships, |key, value| {
            let (user, id) = memberships::decode_key(key)?;
            let member = conversation_row(state, id)?.members.get_mut(&user);
            rows += 1;
            memberships::decode_value(value, member.ok_or(Damage::new("the user has no row among the members"))?)
        })?;
        let expected = state.member_rows;
        if rows != expected {
            let damage = Damage::new(format!("{rows} rows stand beside {expected} of the family members"));
            return Err(self.damaged(Family::Memberships, &[], &damage));
        }
        Ok(())
    }

    fn load_devices(&self, rows: &mut RowsAhead<'_>, state: &mut State, names: Vec<Arc<str>>) -> Result<(), Error> {
        let mut found: Vec<Option<Device>> = Vec::new();
        found.resize_with(names.len(), || None);
        rows.each(Family::Devices, |key, value| {
            let (user, id) = devices::decode_key(key)?;
            let index = (id.0 as usize).wrapping_sub(1);
            let (Some(name), Some(place)) = (names.get(index), found.get_mut(index)) else {
                return Err(Damage::new("the device has no name"));
            };
            let device = devices::decode_value(name.clone(), user, value)?;
            user_row(state, user)?.devices.push(id);
            let of_user = state.names.devices.entry(user).or_default();
            if of_user.insert(name.clone(), id).is_some() || place.replace(device).is_some() {
                return Err(Damage::new("the device stands there twice"));
            }
            Ok(())
        })?;
        for (id, device) in (1..).map(DeviceId).zip(found) {
            let missing =
                || self.damaged(Family::Devices, &[], &Damage::new(format!("device {id} has a name and no row")));
            state.devices.push(device.ok_or_else(missing)?);
        }
        Ok(())
    }
}

/// Users, and conversations not created yet; the rest of what has a name other rows tell.
fn load_names(rows: &mut RowsAhead<'_>, state: &mut State) -> Result<NamesLoaded, Error> {
    let (mut users, mut devices) = (Vec::new(), Vec::new());
    rows.each(Family::Names, |key, value| {
        let (named, id, name) = names::decode(key, value)?;
        let names = match named {
            Named::User => &mut users,
            Named::Device => &mut devices,
            Named::Conversation => &mut state.names.conversation_names,
        };
        if id as usize != names.len() + 1 {
            return Err(Damage::new(format!("id {id} follows id {}", names.len())));
        }
        names.push(name);
        Ok(())
    })?;
    state.users = users.iter().cloned().map(new_user).collect();
    state.conversations.resize_with(state.names.conversation_names.len(), || None);
    Ok(NamesLoaded { users, devices })
}

/// From names to ids.
type Ids<Id> = HashMap<Arc<str>, Id>;

/// The ids of all names, in maps that are made once and at their full size. `Err`: an id that has the name of another one.
fn ids_of_names(
    users: &[Arc<str>],
    conversations: &[Arc<str>],
) -> Result<(Ids<UserId>, Ids<ConversationId>), (Named, u32)> {
    let users = ids(users, UserId).map_err(|id| (Named::User, id.0))?;
    let conversations = ids(conversations, ConversationId).map_err(|id| (Named::Conversation, id.0))?;
    Ok((users, conversations))
}

fn ids<Id: Copy>(names: &[Arc<str>], id: impl Fn(u32) -> Id) -> Result<Ids<Id>, Id> {
    let mut ids = HashMap::with_capacity(names.len());
    for (name, id) in names.iter().zip((1..).map(id)) {
        if ids.insert(name.clone(), id).is_some() {
            return Err(id);
        }
    }
    Ok(ids)
}

fn two_of_a_name() -> Damage {
    Damage::new("two ids have the same name")
}

fn load_conversations(rows: &mut RowsAhead<'_>, state: &mut State) -> Result<(), Error> {
    rows.each(Family::Conversations, |key, value| {
        let id = conversations::decode_key(key)?;
        let index = (id.0 as usize).wrapping_sub(1);
        let name = state.names.conversation_names.get(index).ok_or(Damage::new("the conversation has no name"))?;
        let conversation = conversations::decode_value(name.clone(), value)?;
        if conversation.head_position > state.applied {
            return Err(Damage::new(format!("its head is beyond the applied position {}", state.applied)));
        }
        let row = state.conversations.get_mut(index).ok_or(Damage::new("the conversation has no name"))?;
        *row = Some(conversation);
        Ok(())
    })
}

fn load_members(rows: &mut RowsAhead<'_>, state: &mut State) -> Result<(), Error> {
    rows.each(Family::Members, |key, value| {
        let (id, user) = members::decode_key(key)?;
        let member = members::decode_value(value)?;
        let is_current = member.is_current();
        let conversation = conversation_row(state, id)?;
        conversation.members.insert(user, member);
        if is_current {
            conversation.active.push(user);
        }
        state.member_rows += 1;
        let row = user_row(state, user)?;
        row.conversations.insert(id);
        row.current += usize::from(is_current);
        Ok(())
    })
}

fn load_soft(rows: &mut RowsAhead<'_>, state: &State) -> Result<HashMap<DeviceId, SoftDevice>, Error> {
    let mut soft = HashMap::new();
    rows.each(Family::Acknowledged, |key, value| {
        let (id, row) = acknowledged::decode(key, value)?;
        state.device(id).ok_or(Damage::new("the device has no name"))?;
        soft.insert(id, row);
        Ok(())
    })?;
    Ok(soft)
}

fn new_user(name: Arc<str>) -> User {
    User { name, conversations: BTreeSet::new(), current: 0, follows: BTreeSet::new(), devices: Vec::new() }
}

fn user_row(state: &mut State, id: UserId) -> Result<&mut User, Damage> {
    let row = state.users.get_mut((id.0 as usize).wrapping_sub(1));
    row.ok_or_else(|| Damage::new(format!("user {id} has no name")))
}

fn conversation_row(state: &mut State, id: ConversationId) -> Result<&mut Conversation, Damage> {
    let row = state.conversations.get_mut((id.0 as usize).wrapping_sub(1)).and_then(Option::as_mut);
    row.ok_or_else(|| Damage::new(format!("conversation {id} does not exist")))
}

fn member_row(state: &State, id: ConversationId, user: UserId) -> Result<(), Damage> {
    let member = state.conversation(id).and_then(|conversation| conversation.members.get(&user));
    member.map(|_| ()).ok_or_else(|| Damage::new(format!("user {user} was never a member of conversation {id}")))
}
