//! What callers ask of the engine, and what they get back.

use crate::entry::Entry;
use bytes::Bytes;
use highwater_proto::error::Error;
use highwater_proto::id::{DeviceId, Position, Seq, UserId};
use highwater_proto::record::{Fanout, Kind, Role};
use std::sync::Arc;

/// In whose name a command is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A user, by name; it must be known to the store.
    User(Arc<str>),
    /// The service: an administrator's program, never a member of anything.
    Service,
}

/// A device's right to send numbered commands, until a newer session of the same device takes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendSession {
    pub(crate) user: UserId,
    pub(crate) device: DeviceId,
    /// Which session of the device; only the newest may send.
    pub(crate) generation: u64,
    /// Opened with a service token: its records carry `by service`.
    pub(crate) by_service: bool,
    /// The device's last accepted number when the session was opened.
    pub last_client_seq: u64,
}

/// A command: one thing to be done, all or nothing.
#[derive(Debug)]
pub enum Command {
    /// Makes a user known. Service only; the server does it for every user that authenticated.
    CreateUser {
        /// The user's name.
        user: Arc<str>,
    },
    /// Registers a device if need be and takes it over from an older session. Answered with [`Outcome::Session`].
    OpenSession(OpenSession),
    /// A message, numbered by its device.
    Send(Send),
    /// A new body for a message, numbered. Only the author may edit.
    Edit {
        /// The sender.
        session: SendSession,
        /// The device's number for it.
        client_seq: u64,
        /// The conversation's name.
        conversation: Arc<str>,
        /// The message's seq.
        target: Seq,
        /// The new body.
        body: Bytes,
    },
    /// Withdraws a message, numbered. Of a message recalled before: accepted as unchanged, consuming nothing.
    Recall {
        /// The sender.
        session: SendSession,
        /// The device's number for it.
        client_seq: u64,
        /// The conversation's name.
        conversation: Arc<str>,
        /// The message's seq.
        target: Seq,
    },
    /// A new conversation; repeated by the same creator with the same kind: unchanged.
    Create(Create),
    /// Makes users members. Those who are already: nothing happens to them.
    Add {
        /// In whose name.
        caller: Caller,
        /// The conversation's name.
        conversation: Arc<str>,
        /// At most 1,000 users.
        members: Vec<Arc<str>>,
    },
    /// Makes members leave. Those who are none: nothing happens to them.
    Remove {
        /// In whose name.
        caller: Caller,
        /// The conversation's name.
        conversation: Arc<str>,
        /// At most 1,000 users.
        members: Vec<Arc<str>>,
    },
    /// Joins an open channel.
    Join {
        /// Who.
        user: Arc<str>,
        /// The conversation's name.
        conversation: Arc<str>,
    },
    /// Leaves a group or channel.
    Leave {
        /// Who.
        user: Arc<str>,
        /// The conversation's name.
        conversation: Arc<str>,
    },
    /// Changes a member's role.
    Role {
        /// In whose name: an owner, or the service.
        caller: Caller,
        /// The conversation's name.
        conversation: Arc<str>,
        /// The member.
        user: Arc<str>,
        /// The new role.
        role: Role,
    },
    /// Changes settings; `None` stays as it is. Only the service may pin the fan-out mode.
    Settings {
        /// In whose name: an owner or admin, or the service.
        caller: Caller,
        /// The conversation's name.
        conversation: Arc<str>,
        /// Anyone may join (channels only).
        open: Option<bool>,
        /// New members may read what came before.
        history: Option<bool>,
        /// Who decides how it is fanned out.
        fanout: Option<Fanout>,
    },
    /// Mutes or unmutes a conversation for a member.
    Mute {
        /// The member.
        user: Arc<str>,
        /// The conversation's name.
        conversation: Arc<str>,
        /// Whether it is muted from now on.
        muted: bool,
    },
    /// Moves a member's read mark; it never goes back.
    Read {
        /// The member.
        user: Arc<str>,
        /// The conversation's name.
        conversation: Arc<str>,
        /// Everything up to here has been read; at most the head.
        through: Seq,
    },
    /// Revokes a device; its session is replaced, its numbers are kept.
    Revoke {
        /// The device's user.
        user: Arc<str>,
        /// The device's name.
        device: Arc<str>,
    },
}

/// Opens a send session.
pub struct OpenSession {
    /// Whose device it is.
    pub user: Arc<str>,
    /// The device's name.
    pub device: Arc<str>,
    /// Opened with a service token, to send in the user's name.
    pub by_service: bool,
    /// Called once, from an engine thread, when a newer session takes the device over; must not block.
    pub on_replaced: Box<dyn FnOnce() + std::marker::Send>,
}

impl std::fmt::Debug for OpenSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenSession").field("user", &self.user).field("device", &self.device).finish_non_exhaustive()
    }
}

/// Where a message goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// The canonical direct conversation with this user (or oneself), which comes into being if need be.
    User(Arc<str>),
    /// A conversation, by name.
    Conversation(Arc<str>),
}

/// A message.
#[derive(Clone, Debug)]
pub struct Send {
    /// The sender.
    pub session: SendSession,
    /// The device's number for it: last + 1, or a repeat.
    pub client_seq: u64,
    /// Where it goes.
    pub destination: Destination,
    /// The body; may be empty.
    pub body: Bytes,
    /// The message that it answers.
    pub quote: Option<Seq>,
    /// Current members whose attention it asks for.
    pub mentions: Vec<Arc<str>>,
    /// The sender's own time, in ms since 1970.
    pub sent_at_ms: Option<u64>,
}

/// A new conversation.
#[derive(Clone, Debug)]
pub struct Create {
    /// Who creates it.
    pub caller: Caller,
    /// Its kind.
    pub kind: Kind,
    /// Its name; `None` only for a direct one, whose canonical name is taken.
    pub conversation: Option<Arc<str>>,
    /// The owner, when the service creates it; a user owns what it creates. Direct conversations have none.
    pub owner: Option<Arc<str>>,
    /// Members besides the owner; with `Direct` created by the service, both sides.
    pub members: Vec<Arc<str>>,
    /// Anyone may join (channels only).
    pub open: bool,
    /// New members may read what came before.
    pub history: bool,
}

/// How a command went, when it did not fail.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// A numbered command was accepted, now or before.
    Receipt(Receipt),
    /// Something changed; this is its record.
    Changed(Box<Entry>),
    /// Nothing had to be changed.
    Unchanged {
        /// The conversation concerned, empty if none.
        conversation: Arc<str>,
    },
    /// A send session is open.
    Session(SendSession),
}

/// A numbered command was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The conversation's name.
    pub conversation: Arc<str>,
    /// The record's seq.
    pub seq: Seq,
    /// The record's position.
    pub position: Position,
    /// When it was sequenced, in ms since 1970.
    pub time_ms: u64,
    /// The number it was accepted under.
    pub client_seq: u64,
    /// Whether it had been accepted before.
    pub repeated: bool,
}

/// Told how a command went, once; must not block. It is called from an engine thread, or, of a command that
/// [`Engine::submit_all`](crate::Engine::submit_all) does not take, from the caller's.
pub type Completion = Box<dyn FnOnce(Result<Outcome, Error>) + std::marker::Send>;

impl Command {
    /// The device's number for it, if it is numbered.
    pub(crate) fn client_seq(&self) -> Option<u64> {
        match self {
            Command::Send(send) => Some(send.client_seq),
            Command::Edit { client_seq, .. } | Command::Recall { client_seq, .. } => Some(*client_seq),
            _ => None,
        }
    }

    /// About how much memory its variable parts take, in bytes: what the queue is bounded by.
    pub(crate) fn bytes(&self) -> usize {
        let names = |names: &[Arc<str>]| names.iter().map(|name| name.len() + size_of::<Arc<str>>()).sum::<usize>();
        match self {
            Command::Send(send) => send.body.len() + names(&send.mentions),
            Command::Edit { body, .. } => body.len(),
            Command::Create(create) => names(&create.members),
            Command::Add { members, .. } | Command::Remove { members, .. } => names(members),
            _ => 0,
        }
    }
}
