//! Reading everything but the timelines into memory, and refusing rows that contradict each other.

use super::family::Family;
use super::names::Named;
use super::{SoftDevice, Store};
use super::{acknowledged, conversations, devices, follows, members, memberships, meta, names, recalled, redactions};
use crate::state::{Conversation, Head, State, User};
use highwater_proto::error::{Damage, Error};
use highwater_proto::id::{ConversationId, DeviceId, UserId};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// What the index holds besides timelines.
pub(crate) struct Loaded {
    /// The state at `applied`; nothing is dirty, the head is empty, and `persisted` is `applied`.
    pub(crate) state: State,
    /// What registered and revoked devices said about themselves.
    pub(crate) soft: HashMap<DeviceId, SoftDevice>,
}

impl Store {
    /// Reads and checks every row of state; `None` from an index in which no history was begun.
    pub(crate) fn load(&self) -> Result<Option<Loaded>, Error> {
        if self.format()?.is_none() {
            return Ok(None);
        }
        let mut state = self.load_meta()?;
        let device_names = self.load_names(&mut state)?;
        self.load_conversations(&mut state)?;
        self.load_members(&mut state)?;
        self.load_memberships(&mut state)?;
        self.scan(Family::Follows, |key, value| {
            let (user, conversation) = follows::decode(key, value)?;
            member_row(&state, conversation, user)?;
            user_row(&mut state, user)?.follows.insert(conversation);
            Ok(())
        })?;
        self.load_devices(&mut state, device_names)?;
        let soft = self.load_soft(&state)?;
        self.scan(Family::Redactions, |key, value| {
            let (target, redaction) = redactions::decode(key, value)?;
            state.redactions.insert(target, redaction);
            Ok(())
        })?;
        self.scan(Family::Recalled, |key, value| {
            let (id, ordinals) = recalled::decode(key, value)?;
            conversation_row(&mut state, id)?.recalled = ordinals;
            Ok(())
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

    /// Users, and conversations not created yet; returns the names of devices, whose users other rows tell.
    fn load_names(&self, state: &mut State) -> Result<Vec<Arc<str>>, Error> {
        let mut devices = Vec::new();
        self.scan(Family::Names, |key, value| {
            let (named, id, name) = names::decode(key, value)?;
            let before = match named {
                Named::User => state.users.len(),
                Named::Device => devices.len(),
                Named::Conversation => state.conversations.len(),
            };
            if id as usize != before + 1 {
                return Err(Damage::new(format!("id {id} follows id {before}")));
            }
            let is_new = match named {
                Named::User => {
                    state.users.push(new_user(name.clone()));
                    state.names.users.insert(name, UserId(id)).is_none()
                }
                Named::Device => {
                    devices.push(name);
                    true
                }
                Named::Conversation => {
                    state.conversations.push(None);
                    state.names.conversation_names.push(name.clone());
                    state.names.conversations.insert(name, ConversationId(id)).is_none()
                }
            };
            if is_new { Ok(()) } else { Err(Damage::new("two ids have the same name")) }
        })?;
        Ok(devices)
    }

    fn load_conversations(&self, state: &mut State) -> Result<(), Error> {
        self.scan(Family::Conversations, |key, value| {
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

    fn load_members(&self, state: &mut State) -> Result<(), Error> {
        self.scan(Family::Members, |key, value| {
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

    fn load_memberships(&self, state: &mut State) -> Result<(), Error> {
        let mut rows = 0;
        self.scan(Family::Memberships, |key, value| {
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

    fn load_devices(&self, state: &mut State, names: Vec<Arc<str>>) -> Result<(), Error> {
        let mut found = HashMap::with_capacity(names.len());
        self.scan(Family::Devices, |key, value| {
            let (user, id) = devices::decode_key(key)?;
            let name = names.get((id.0 as usize).wrapping_sub(1)).ok_or(Damage::new("the device has no name"))?;
            let device = devices::decode_value(name.clone(), user, value)?;
            user_row(state, user)?.devices.push(id);
            let of_user = state.names.devices.entry(user).or_default();
            if of_user.insert(name.clone(), id).is_some() || found.insert(id, device).is_some() {
                return Err(Damage::new("the device stands there twice"));
            }
            Ok(())
        })?;
        for id in (1..).map(DeviceId).take(names.len()) {
            let missing =
                || self.damaged(Family::Devices, &[], &Damage::new(format!("device {id} has a name and no row")));
            state.devices.push(found.remove(&id).ok_or_else(missing)?);
        }
        Ok(())
    }

    fn load_soft(&self, state: &State) -> Result<HashMap<DeviceId, SoftDevice>, Error> {
        let mut soft = HashMap::new();
        self.scan(Family::Acknowledged, |key, value| {
            let (id, row) = acknowledged::decode(key, value)?;
            state.device(id).ok_or(Damage::new("the device has no name"))?;
            soft.insert(id, row);
            Ok(())
        })?;
        Ok(soft)
    }
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
