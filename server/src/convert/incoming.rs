//! What a client asks, as commands of the engine, in the name of whoever the session belongs to.

use super::{FANOUTS, KINDS, ROLES, choice};
use crate::limits::{COMMAND_UNIT_BYTES, COMMAND_UNIT_MEMBERS};
use bytes::Bytes;
use highwater_engine::command::{Create, Destination, Send};
use highwater_engine::entry::Start;
use highwater_engine::{Caller, Command, SendSession};
use highwater_proto::checkpoint::Checkpoint;
use highwater_proto::error::{Code, Error};
use highwater_proto::id::Seq;
use highwater_proto::limits::{ID_BYTES_MAX, MEMBERS_PER_CHANGE_MAX};
use highwater_proto::wire::{self, SendRequest, request::Call};
use std::sync::Arc;

/// In whose name a session speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Speaker {
    /// A user, with its own token.
    User(Arc<str>),
    /// A service, which may send in a user's name.
    Service {
        /// The user in whose name it sends.
        as_user: Option<Arc<str>>,
    },
}

impl Speaker {
    /// In whose name membership, roles and settings are changed, and members listed.
    pub(crate) fn caller(&self) -> Caller {
        match self {
            Speaker::User(user) => Caller::User(user.clone()),
            Speaker::Service { .. } => Caller::Service,
        }
    }

    /// The user who reads; a service reads nothing of anybody.
    pub(crate) fn reader(&self) -> Result<&Arc<str>, Error> {
        match self {
            Speaker::User(user) => Ok(user),
            Speaker::Service { .. } => Err(Error::new(
                Code::NotAllowed,
                "a service token may not read, join, leave, mute or mark in a user's name",
            )),
        }
    }

    /// The user whose devices are meant.
    pub(crate) fn owner_of_devices(&self) -> Result<&Arc<str>, Error> {
        match self {
            Speaker::User(user) | Speaker::Service { as_user: Some(user) } => Ok(user),
            Speaker::Service { as_user: None } => {
                Err(Error::new(Code::InvalidArgument, "a service session names the devices' user when it opens"))
            }
        }
    }

    /// The user's name, or nothing for a service in nobody's name.
    pub(crate) fn user_name(&self) -> &str {
        match self {
            Speaker::User(user) | Speaker::Service { as_user: Some(user) } => user,
            Speaker::Service { as_user: None } => "",
        }
    }
}

/// The name that a session used last, so that one who writes to the same place again needs no new one.
#[derive(Default)]
pub(crate) struct LastName(Option<Arc<str>>);

impl LastName {
    fn shared(&mut self, name: &str) -> Arc<str> {
        match &self.0 {
            Some(last) if **last == *name => last.clone(),
            _ => self.0.insert(name.into()).clone(),
        }
    }
}

/// The engine's command for a plain message.
pub(crate) fn plain_send(
    message: &SendRequest<'_>,
    session: Option<SendSession>,
    last_name: &mut LastName,
) -> Result<Command, Error> {
    check_lengths([message.to.len(), message.conversation.len()].into_iter())?;
    Ok(Command::Send(Send {
        session: numbering(session)?,
        client_seq: message.client_seq,
        destination: destination(message.to, message.conversation, last_name)?,
        body: Bytes::copy_from_slice(message.body),
        quote: message.quote.map(Seq),
        mentions: Vec::new(),
        sent_at_ms: message.sent_at_ms,
    }))
}

/// The engine's command for a call. `Subscribe` is none, and refused.
pub(crate) fn command(
    call: Call,
    speaker: &Speaker,
    session: Option<SendSession>,
    last_name: &mut LastName,
) -> Result<Command, Error> {
    check_sizes(&call)?;
    let numbered = || numbering(session);
    Ok(match call {
        Call::Send(message) => send(message, numbered()?, last_name)?,
        Call::Edit(edit) => Command::Edit {
            session: numbered()?,
            client_seq: edit.client_seq,
            conversation: edit.conversation.into(),
            target: Seq(edit.target),
            body: edit.body,
        },
        Call::Recall(recall) => Command::Recall {
            session: numbered()?,
            client_seq: recall.client_seq,
            conversation: recall.conversation.into(),
            target: Seq(recall.target),
        },
        Call::Create(new) => create(new, speaker)?,
        Call::Add(change) => Command::Add {
            caller: speaker.caller(),
            conversation: change.conversation.into(),
            members: names(change.members),
        },
        Call::Remove(change) => Command::Remove {
            caller: speaker.caller(),
            conversation: change.conversation.into(),
            members: names(change.members),
        },
        Call::Join(target) => {
            Command::Join { user: speaker.reader()?.clone(), conversation: target.conversation.into() }
        }
        Call::Leave(target) => {
            Command::Leave { user: speaker.reader()?.clone(), conversation: target.conversation.into() }
        }
        Call::Role(change) => Command::Role {
            caller: speaker.caller(),
            conversation: change.conversation.into(),
            user: change.user.into(),
            role: choice(&ROLES, change.role).ok_or_else(|| unknown("role", change.role))?,
        },
        Call::Settings(change) => settings(change, speaker)?,
        Call::Mute(change) => Command::Mute {
            user: speaker.reader()?.clone(),
            conversation: change.conversation.into(),
            muted: change.muted,
        },
        Call::Read(mark) => Command::Read {
            user: speaker.reader()?.clone(),
            conversation: mark.conversation.into(),
            through: Seq(mark.through),
        },
        Call::Revoke(revoke) => {
            Command::Revoke { user: speaker.owner_of_devices()?.clone(), device: revoke.device.into() }
        }
        Call::CreateUser(new) => match speaker {
            Speaker::Service { .. } => Command::CreateUser { user: new.user.into() },
            Speaker::User(_) => return Err(service_only("create users")),
        },
        Call::Subscribe(_) => return Err(Error::new(Code::InvalidArgument, "subscribe is not a command")),
    })
}

fn numbering(session: Option<SendSession>) -> Result<SendSession, Error> {
    session.ok_or_else(|| {
        Error::new(Code::NotAllowed, "this session was opened to read; numbered commands need a session to send")
    })
}

/// Refuses what is too large to be kept until the engine looks at it: what [`units`] and the engine's queue do not count
/// has to be short.
fn check_sizes(call: &Call) -> Result<(), Error> {
    let (names, list): ([&str; 2], &[String]) = match call {
        Call::Send(send) => ([&send.to, &send.conversation], &send.mentions),
        Call::Edit(edit) => ([&edit.conversation, ""], &[]),
        Call::Recall(recall) => ([&recall.conversation, ""], &[]),
        Call::Create(new) => ([&new.conversation, &new.owner], &new.members),
        Call::Add(change) | Call::Remove(change) => ([&change.conversation, ""], &change.members),
        Call::Join(target) | Call::Leave(target) => ([&target.conversation, ""], &[]),
        Call::Role(change) => ([&change.conversation, &change.user], &[]),
        Call::Settings(change) => ([&change.conversation, ""], &[]),
        Call::Mute(change) => ([&change.conversation, ""], &[]),
        Call::Read(mark) => ([&mark.conversation, ""], &[]),
        Call::Revoke(revoke) => ([&revoke.device, ""], &[]),
        Call::CreateUser(new) => ([&new.user, ""], &[]),
        Call::Subscribe(_) => ([""; 2], &[]),
    };
    if list.len() > MEMBERS_PER_CHANGE_MAX {
        let given = format!("{} users are named", list.len());
        return Err(Error::limit("members_per_change_max", MEMBERS_PER_CHANGE_MAX as u64, given));
    }
    check_lengths(names.iter().map(|name| name.len()).chain(list.iter().map(String::len)))
}

fn check_lengths(mut lengths: impl Iterator<Item = usize>) -> Result<(), Error> {
    match lengths.find(|length| *length > ID_BYTES_MAX) {
        Some(length) => Err(Error::limit("id_bytes_max", ID_BYTES_MAX as u64, format!("a name has {length} bytes"))),
        None => Ok(()),
    }
}

/// How many units of `commands_in_flight_max` a call takes: large ones take more, so that what a session can have under
/// way is bounded in bytes too.
pub(crate) fn units(call: &Call, units_max: u32) -> u32 {
    let extra = match call {
        Call::Send(send) => send.body.len() / COMMAND_UNIT_BYTES,
        Call::Edit(edit) => edit.body.len() / COMMAND_UNIT_BYTES,
        Call::Create(create) => create.members.len() / COMMAND_UNIT_MEMBERS,
        Call::Add(change) | Call::Remove(change) => change.members.len() / COMMAND_UNIT_MEMBERS,
        _ => 0,
    };
    units_of(extra, units_max)
}

/// As [`units`], of a plain message.
pub(crate) fn send_units(message: &SendRequest<'_>, units_max: u32) -> u32 {
    units_of(message.body.len() / COMMAND_UNIT_BYTES, units_max)
}

fn units_of(extra: usize, units_max: u32) -> u32 {
    u32::try_from(extra).unwrap_or(u32::MAX).saturating_add(1).min(units_max)
}

/// Where a subscription begins.
pub(crate) fn start(subscribe: &wire::Subscribe) -> Result<Start, Error> {
    match (subscribe.checkpoint.is_empty(), subscribe.snapshot) {
        (true, false) => Ok(Start::Beginning),
        (true, true) => Ok(Start::Snapshot),
        (false, false) => Checkpoint::decode(&subscribe.checkpoint).map(Start::Checkpoint),
        (false, true) => {
            Err(Error::new(Code::InvalidArgument, "a subscription has a checkpoint or asks for a snapshot"))
        }
    }
}

fn destination(to: &str, conversation: &str, last_name: &mut LastName) -> Result<Destination, Error> {
    match (to.is_empty(), conversation.is_empty()) {
        (false, true) => Ok(Destination::User(last_name.shared(to))),
        (true, false) => Ok(Destination::Conversation(last_name.shared(conversation))),
        _ => Err(Error::new(Code::InvalidArgument, "a message names either a user or a conversation")),
    }
}

fn send(message: wire::Send, session: SendSession, last_name: &mut LastName) -> Result<Command, Error> {
    Ok(Command::Send(Send {
        session,
        client_seq: message.client_seq,
        destination: destination(&message.to, &message.conversation, last_name)?,
        body: message.body,
        quote: message.quote.map(Seq),
        mentions: names(message.mentions),
        sent_at_ms: message.sent_at_ms,
    }))
}

fn create(new: wire::Create, speaker: &Speaker) -> Result<Command, Error> {
    if !new.owner.is_empty() && matches!(speaker, Speaker::User(user) if **user != *new.owner) {
        return Err(service_only("name another owner"));
    }
    Ok(Command::Create(Create {
        caller: speaker.caller(),
        kind: choice(&KINDS, new.kind).ok_or_else(|| unknown("kind", new.kind))?,
        conversation: optional(new.conversation),
        owner: match speaker {
            Speaker::User(_) => None,
            Speaker::Service { .. } => optional(new.owner),
        },
        members: names(new.members),
        open: new.open,
        history: new.history,
    }))
}

fn settings(change: wire::SetSettings, speaker: &Speaker) -> Result<Command, Error> {
    if change.fanout.is_some() && matches!(speaker, Speaker::User(_)) {
        return Err(service_only("pin the fan-out"));
    }
    let fanout =
        change.fanout.map(|number| choice(&FANOUTS, number).ok_or_else(|| unknown("fanout", number))).transpose()?;
    Ok(Command::Settings {
        caller: speaker.caller(),
        conversation: change.conversation.into(),
        open: change.open,
        history: change.history,
        fanout,
    })
}

fn names(names: Vec<String>) -> Vec<Arc<str>> {
    names.into_iter().map(Arc::from).collect()
}

fn optional(name: String) -> Option<Arc<str>> {
    (!name.is_empty()).then(|| name.into())
}

fn unknown(field: &str, number: u32) -> Error {
    Error::new(Code::InvalidArgument, format!("{field} {number} is not known"))
}

fn service_only(what: &str) -> Error {
    Error::new(Code::NotAllowed, format!("only a service token may {what}"))
}
