//! What an application reads: records, conversations, members, devices.
//!
//! The wire's types allow anything to be missing or absurd; these do not. Whatever comes in is parsed once, here, and
//! what cannot be understood is [`Code::Protocol`](crate::Code::Protocol).

mod parse;

use bytes::Bytes;
use highwater_proto::record::{Fanout, Kind, Role};
pub(crate) use parse::{fanout_to_wire, kind_to_wire, role_to_wire};

/// One accepted fact as its reader may see it: edits and recalls made so far are applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Index in the server's log; records reach a device in this order.
    pub position: u64,
    /// The conversation's id; empty for records outside conversations.
    pub conversation: String,
    /// Number in the conversation, from 1; read marks, mutes and a channel's comings and goings have none.
    pub seq: Option<u64>,
    /// The author; `None` for the service in nobody's name.
    pub from: Option<String>,
    /// The author's device, if the record was numbered by one.
    pub device: Option<String>,
    /// When it was sequenced, in ms since 1970; never goes back.
    pub time_ms: u64,
    /// Whether a service token made it.
    pub by_service: bool,
    /// What happened.
    pub content: Content,
}

/// What a [`Record`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A message.
    Message(Text),
    /// The conversation came into being.
    Create {
        /// Its kind.
        kind: Kind,
        /// Its owner, if it has one.
        owner: Option<String>,
        /// The members it began with; of a large conversation only as many as fit a frame.
        members: Vec<String>,
        /// Anyone may join.
        open: bool,
        /// New members may read what came before.
        history: bool,
    },
    /// Others were made members.
    Add {
        /// Who.
        members: Vec<String>,
    },
    /// Others were made to leave.
    Remove {
        /// Who.
        members: Vec<String>,
    },
    /// Somebody joined.
    Join {
        /// Who.
        members: Vec<String>,
    },
    /// Somebody left.
    Leave {
        /// Who.
        members: Vec<String>,
    },
    /// A member's role changed.
    Role {
        /// Whose.
        user: String,
        /// The role from now on.
        role: Role,
    },
    /// A message was given a new body.
    Edit {
        /// The message's seq.
        target: u64,
        /// The new body; `None` if the message was recalled since.
        body: Option<Bytes>,
    },
    /// A message was withdrawn.
    Recall {
        /// The message's seq.
        target: u64,
    },
    /// The user's own read mark moved.
    Read {
        /// Everything up to this seq has been read.
        through: u64,
    },
    /// The settings are now these.
    Settings {
        /// Anyone may join.
        open: bool,
        /// New members may read what came before.
        history: bool,
        /// Who decides how new messages are fanned out.
        fanout: Fanout,
    },
    /// The user muted the conversation or not.
    Mute {
        /// Whether it is muted from now on.
        muted: bool,
    },
    /// A device was revoked.
    Revoke,
    /// A user was made known.
    User {
        /// Who.
        user: String,
    },
    /// A kind that this build does not know, made by a newer server. It is delivered, so that positions have no holes.
    Unknown {
        /// Its number on the wire.
        kind: u32,
    },
}

/// A message's own fields, as its reader may see them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text {
    /// The newest body; `None` if the message was recalled.
    pub body: Option<Bytes>,
    /// The sender's own time, in ms since 1970, if it was given.
    pub sent_at_ms: Option<u64>,
    /// The seq of the message that it answers.
    pub quote: Option<u64>,
    /// Members whose attention it asks for.
    pub mentions: Vec<String>,
    /// When the body shown was made by an edit, in ms since 1970.
    pub edited_ms: Option<u64>,
}

/// Messages `from_seq..=to_seq` of a conversation that were left out of what was delivered; `history` has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The conversation's id.
    pub conversation: String,
    /// The first seq left out.
    pub from_seq: u64,
    /// The last seq left out.
    pub to_seq: u64,
}

/// Seqs `first..=last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first.
    pub first: u64,
    /// The last; a range that is still open ends at the head.
    pub last: u64,
}

/// A conversation as its member sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversation {
    /// Its id.
    pub conversation: String,
    /// Its kind.
    pub kind: Kind,
    /// The reader's role; `None` for a former member.
    pub role: Option<Role>,
    /// The last seq that the reader may see.
    pub head: u64,
    /// The reader's read mark.
    pub read: u64,
    /// Messages not read.
    pub unread: u64,
    /// Muted by the reader.
    pub muted: bool,
    /// Seqs that the reader may read.
    pub ranges: Vec<Range>,
    /// The last record that the reader may see.
    pub last: Option<Record>,
}

/// A page of the user's conversations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConversationsPage {
    /// By last visible record, the most recent first.
    pub conversations: Vec<Conversation>,
    /// Unread messages over all of the user's conversations that are not muted.
    pub unread_total: u64,
    /// Where the next page begins; `None` at the end.
    pub cursor: Option<Bytes>,
}

/// A member of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The user.
    pub user: String,
    /// The role; `None` for a former member.
    pub role: Option<Role>,
    /// Seqs that the member may read.
    pub ranges: Vec<Range>,
}

/// A page of a conversation's members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MembersPage {
    /// The members.
    pub members: Vec<Member>,
    /// How many current members the conversation has.
    pub member_count: u64,
    /// Where the next page begins; `None` at the end.
    pub cursor: Option<Bytes>,
}

/// A registered device of the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its name.
    pub device: String,
    /// The last number that was accepted of it.
    pub client_seq: u64,
    /// The position of the checkpoint that it acknowledged last; 0: none.
    pub position: u64,
    /// When it was last connected, in ms since 1970; 0: unknown.
    pub last_seen_ms: u64,
}

/// What a command that may find nothing to do has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Something changed: this is its record.
    Changed(Record),
    /// All was as asked for already.
    Unchanged {
        /// The conversation concerned, or empty.
        conversation: String,
    },
}

/// A numbered command was accepted, now or before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The conversation's id.
    pub conversation: String,
    /// The record's number in it.
    pub seq: u64,
    /// The record's position.
    pub position: u64,
    /// When it was sequenced, in ms since 1970.
    pub time_ms: u64,
    /// The device's number under which it was accepted.
    pub client_seq: u64,
    /// Whether it had been accepted before: the answer to a repeat.
    pub repeated: bool,
}
