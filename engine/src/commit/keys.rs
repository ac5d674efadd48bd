//! What a command must not overtake others on: its conversation, its device.

use super::ahead::Known;
use crate::command::{Command, Destination, SendSession};
use crate::state::State;
use highwater_proto::id::{DeviceId, direct_name};
use highwater_proto::record::Record;
use std::sync::Arc;

/// Commands with a key in common keep their order while one of them waits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Conversation(Arc<str>),
    Device(DeviceId),
    DeviceName(Arc<str>, Arc<str>),
}

/// The keys of a command.
pub(super) fn of(command: &Command, known: Known<'_>) -> Vec<Key> {
    let conversation = |name: &Arc<str>| Key::Conversation(name.clone());
    match command {
        Command::CreateUser { .. } => Vec::new(),
        Command::OpenSession(open) => vec![device_key(known, &open.user, &open.device)],
        Command::Revoke { user, device } => vec![device_key(known, user, device)],
        Command::Send(send) => {
            vec![
                Key::Device(send.session.device),
                conversation(&destination_name(known.state, send.session, &send.destination)),
            ]
        }
        Command::Edit { session, conversation: name, .. } | Command::Recall { session, conversation: name, .. } => {
            vec![Key::Device(session.device), conversation(name)]
        }
        Command::Create(create) => create.conversation.iter().map(conversation).collect(),
        Command::Add { conversation: name, .. }
        | Command::Remove { conversation: name, .. }
        | Command::Join { conversation: name, .. }
        | Command::Leave { conversation: name, .. }
        | Command::Role { conversation: name, .. }
        | Command::Settings { conversation: name, .. }
        | Command::Mute { conversation: name, .. }
        | Command::Read { conversation: name, .. } => vec![conversation(name)],
    }
}

fn device_key(known: Known<'_>, user: &Arc<str>, device: &Arc<str>) -> Key {
    let id = known.user(user).and_then(|user| known.device_id(user, device));
    id.map_or_else(|| Key::DeviceName(user.clone(), device.clone()), Key::Device)
}

fn destination_name(state: &State, session: SendSession, destination: &Destination) -> Arc<str> {
    match destination {
        Destination::Conversation(name) => name.clone(),
        Destination::User(other) => direct_name(&state.user_name(session.user), other).into(),
    }
}

/// The name of the conversation that a numbered command is for.
fn conversation_name(command: &Command, state: &State) -> Arc<str> {
    match command {
        Command::Send(send) => destination_name(state, send.session, &send.destination),
        Command::Edit { conversation, .. } | Command::Recall { conversation, .. } => conversation.clone(),
        _ => Arc::from(""),
    }
}

/// The name of a record's conversation, which the command gives if it is not applied yet.
pub(super) fn name_of(command: &Command, record: &Record, state: &State) -> Arc<str> {
    let index = (record.conversation.0 as usize).wrapping_sub(1);
    let known = state.names.conversation_names.get(index).cloned();
    known.unwrap_or_else(|| conversation_name(command, state))
}
