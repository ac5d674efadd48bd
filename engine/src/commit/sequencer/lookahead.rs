//! Looking ahead: what the next commands are about is found and fetched side by side, before each is examined in turn.

use super::super::pending::Pending;
use crate::command::{Command, Destination};
use crate::state::{About, SIDE_BY_SIDE, State};
use highwater_proto::id::{ConversationId, DeviceId, UserId, direct_name};
use rustc_hash::FxHashMap;
use std::collections::VecDeque;

/// Most canonical direct conversations that are remembered; then they are forgotten.
const DIRECTS_MAX: usize = 1 << 20;

/// The newest send session of each device, by its id; 0 for none.
#[derive(Debug, Default)]
pub(crate) struct Generations(Vec<u64>);

/// Canonical direct conversations that were used lately, by their two users as author and other: what spares making and
/// looking up their names.
#[derive(Debug, Default)]
pub(super) struct Directs(FxHashMap<(UserId, UserId), ConversationId>);

impl Generations {
    /// Whether a session is the device's newest.
    pub(crate) fn is_newest(&self, device: DeviceId, generation: u64) -> bool {
        generation != 0 && self.0.get(device.0 as usize) == Some(&generation)
    }

    pub(super) fn insert(&mut self, device: DeviceId, generation: u64) {
        let index = device.0 as usize;
        if index >= self.0.len() {
            self.0.resize(index + 1, 0);
        }
        self.0[index] = generation;
    }

    pub(super) fn remove(&mut self, device: DeviceId) {
        if let Some(generation) = self.0.get_mut(device.0 as usize) {
            *generation = 0;
        }
    }
}

impl Directs {
    /// The conversation that a message of the author's goes to, if it exists.
    fn find(&mut self, state: &State, author: UserId, destination: &Destination) -> Option<ConversationId> {
        let other_name = match destination {
            Destination::Conversation(name) => return state.names.conversation(name),
            Destination::User(name) => name,
        };
        let other = state.names.user(other_name)?;
        if let Some(known) = self.0.get(&(author, other)) {
            return Some(*known);
        }
        let found = state.names.conversation(&direct_name(&state.user(author)?.name, other_name))?;
        if self.0.len() >= DIRECTS_MAX {
            self.0.clear();
        }
        self.0.insert((author, other), found);
        Some(found)
    }
}

/// Finds the destinations of the messages among the next commands, and fetches the rows that they are about.
pub(super) fn look_ahead(pending: &mut VecDeque<Box<Pending>>, state: &State, directs: &mut Directs) {
    let mut about = [About::default(); SIDE_BY_SIDE];
    for (about, pending) in about.iter_mut().zip(pending) {
        let Command::Send(send) = &pending.command else { continue };
        let session = send.session;
        if pending.destination.is_none() {
            pending.destination = directs.find(state, session.user, &send.destination);
        }
        let conversation = pending.destination.unwrap_or_default();
        *about = About { user: session.user, device: session.device, conversation };
    }
    state.fetch_rows(&about);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::User;
    use highwater_proto::id::Incarnation;

    #[test]
    fn only_the_newest_session_is_the_newest() {
        let (mut generations, device) = (Generations::default(), DeviceId(70));
        assert!(!generations.is_newest(device, 0) && !generations.is_newest(device, 1), "it has none");
        generations.insert(device, 1);
        generations.insert(device, 2);
        assert!(generations.is_newest(device, 2) && !generations.is_newest(device, 1));
        assert!(!generations.is_newest(DeviceId(69), 0), "the number for none is no session's");
        generations.remove(device);
        generations.remove(DeviceId(u32::MAX));
        assert!(!generations.is_newest(device, 2) && !generations.is_newest(device, 0));
    }

    #[test]
    fn a_direct_conversation_is_found_by_its_users_and_by_its_name() {
        let mut state = State::new(Incarnation::default());
        for (name, id) in [("ann", UserId(1)), ("bob", UserId(2))] {
            state.names.users.insert(name.into(), id);
            let sets = (Default::default(), Default::default());
            let user =
                User { name: name.into(), conversations: sets.0, current: 0, follows: sets.1, devices: Vec::new() };
            state.users.push(user);
        }
        let mut directs = Directs::default();
        let to = |name: &str| Destination::User(name.into());
        assert_eq!(directs.find(&state, UserId(1), &to("bob")), None, "it does not exist");
        state.names.conversations.insert(direct_name("ann", "bob").into(), ConversationId(5));
        assert_eq!(directs.find(&state, UserId(1), &to("bob")), Some(ConversationId(5)));
        assert_eq!(directs.find(&state, UserId(2), &to("ann")), Some(ConversationId(5)));
        assert_eq!(directs.find(&state, UserId(1), &to("cy")), None, "nobody is called so");
        let named = Destination::Conversation(direct_name("ann", "bob").into());
        assert_eq!(directs.find(&state, UserId(2), &named), Some(ConversationId(5)));
        // Without the name, which is not looked up again.
        state.names.conversations.clear();
        assert_eq!(directs.find(&state, UserId(1), &to("bob")), Some(ConversationId(5)));
        assert_eq!(directs.find(&state, UserId(2), &named), None);
    }
}
