//! The stored facts. A record is immutable; its bytes are self-contained, so that one can be read and verified alone.

mod decode;
mod encode;
mod layout;
#[cfg(test)]
mod tests;

pub use decode::{decode, decode_shared, decode_without_body};
pub use encode::encode;

use crate::id::{ConversationId, DeviceId, Ordinal, Position, Seq, UserId};
use bytes::Bytes;

/// One accepted fact, as it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Index in the log.
    pub position: Position,
    /// When it was sequenced, in ms since 1970; never goes back.
    pub time_ms: u64,
    /// Who did it: zero when the service did it in nobody's name.
    pub author: UserId,
    /// Whether a service token did it.
    pub by_service: bool,
    /// The numbered device that sent it, or zero.
    pub device: DeviceId,
    /// The device's number for it, or 0: only sends, edits and recalls are numbered.
    pub client_seq: u64,
    /// Position of the same device's previous numbered record, or zero.
    pub previous: Position,
    /// The conversation that it belongs to, or zero.
    pub conversation: ConversationId,
    /// Its number in the conversation, or zero: names, devices, modes, read marks, mutes and epochs have none, nor has
    /// coming and going in a channel.
    pub seq: Seq,
    /// Countable records of the conversation up to and including this one; 0 where there is no seq.
    pub ordinal: Ordinal,
    /// What happened.
    pub fact: Fact,
}

/// What a record says. Users, devices and conversations are interned ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// A user's name was given an id; the user may or may not have authenticated.
    User {
        /// The id.
        id: UserId,
        /// The name.
        name: String,
    },
    /// A conversation's name was given an id.
    Conversation {
        /// The id.
        id: ConversationId,
        /// The name.
        name: String,
    },
    /// A device of a user was given an id, or (with an id known already) registered again after it was revoked.
    Device {
        /// The id.
        id: DeviceId,
        /// Whose it is.
        user: UserId,
        /// The name, unique among the user's.
        name: String,
    },
    /// A device was revoked; its numbers are kept.
    Revoke {
        /// The device.
        id: DeviceId,
    },
    /// A message: the only countable fact.
    Message(Message),
    /// Replaces the body of an earlier message of the same conversation.
    Edit {
        /// The message's seq.
        target: Seq,
        /// The message's position.
        target_position: Position,
        /// The new body.
        body: Bytes,
    },
    /// Withdraws an earlier message of the same conversation.
    Recall {
        /// The message's seq.
        target: Seq,
        /// The message's position.
        target_position: Position,
        /// The message's ordinal.
        target_ordinal: Ordinal,
    },
    /// The conversation came into being; always its seq 1.
    Create {
        /// Its kind.
        kind: Kind,
        /// Its settings.
        settings: Settings,
        /// Its owner, if it has one.
        owner: Option<UserId>,
        /// Its members, the owner included.
        members: Vec<UserId>,
    },
    /// Others were made members. In a channel without a seq, as are removals.
    Add {
        /// The new members.
        members: Vec<UserId>,
    },
    /// Others were made to leave.
    Remove {
        /// The former members.
        members: Vec<UserId>,
    },
    /// The author joined. In a channel without a seq.
    Join,
    /// The author left. In a channel without a seq.
    Leave,
    /// A member's role changed.
    Role {
        /// The member.
        user: UserId,
        /// The new role.
        role: Role,
    },
    /// The settings are now these.
    Settings(Settings),
    /// New messages of the conversation are fanned out this way from here on.
    Mode(Mode),
    /// The author has read up to here; position only, travels to the author's own devices.
    Read {
        /// Everything up to this seq.
        through: Seq,
        /// The ordinal at that seq.
        through_ordinal: Ordinal,
    },
    /// The author muted the conversation or not; position only.
    Mute {
        /// Whether it is muted from now on.
        muted: bool,
    },
    /// An unclean opening: records of an earlier epoch beyond this position were lost. Position only.
    Epoch {
        /// The epoch that begins.
        epoch: crate::id::Epoch,
    },
}

/// A message's own fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The sender's own time, in ms since 1970, if given.
    pub sent_at_ms: Option<u64>,
    /// The message of the same conversation that it answers.
    pub quote: Option<Seq>,
    /// Members whose attention it asks for, without doubles.
    pub mentions: Vec<UserId>,
    /// The body's bytes, which may be empty.
    pub body: Bytes,
}

/// The kinds of conversations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Two users, or one and their notes to self. Membership never changes.
    Direct,
    /// Members talk to each other.
    Group,
    /// Few post, many follow.
    Channel,
}

/// What a member may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// A member of a group, a side of a direct conversation, a follower of a channel.
    Member,
    /// May also add, remove, post in a channel, recall others' messages.
    Admin,
    /// As admin; the last one may not leave while others remain.
    Owner,
}

/// How new messages reach their readers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The position is appended to every member's inbox.
    #[default]
    Write,
    /// The position stands in the outbox only, and is merged when a member syncs.
    Read,
}

/// Who decides a conversation's [`Mode`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Fanout {
    /// The engine, by size.
    #[default]
    Auto,
    /// Pinned.
    Write,
    /// Pinned.
    Read,
}

/// A conversation's settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Settings {
    /// Anyone may join (a channel).
    pub open: bool,
    /// New members may read what came before their first interval.
    pub history: bool,
    /// Who decides how it is fanned out.
    pub fanout: Fanout,
}

impl Record {
    /// As [`encode`].
    pub fn encode(&self, out: &mut Vec<u8>) {
        encode(self, out);
    }

    /// As [`decode`].
    pub fn decode(position: Position, bytes: &[u8]) -> Result<Self, crate::error::Damage> {
        decode(position, bytes)
    }
}

impl Fact {
    /// Whether a record of this fact counts as unread: messages only.
    pub const fn is_countable(&self) -> bool {
        matches!(self, Fact::Message(_))
    }
}
