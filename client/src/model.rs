//! What an application reads: records, conversations, members, devices.
//!
//! The wire's types allow anything to be missing or absurd; these do not. Whatever comes in is parsed once, here, and
//! what cannot be understood is [`Code::Protocol`].

use bytes::Bytes;
use highwater_proto::error::{Code, Error};
use highwater_proto::record::{Fanout, Kind, Role};
use highwater_proto::wire;

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

fn absurd(field: &str, value: impl std::fmt::Display) -> Error {
    Error::new(Code::Protocol, format!("the server sent {field} {value}, which this client does not know"))
}

fn non_empty(name: String) -> Option<String> {
    (!name.is_empty()).then_some(name)
}

pub(crate) fn kind_from_wire(kind: u32) -> Result<Kind, Error> {
    match kind {
        1 => Ok(Kind::Direct),
        2 => Ok(Kind::Group),
        3 => Ok(Kind::Channel),
        _ => Err(absurd("conversation kind", kind)),
    }
}

pub(crate) fn kind_to_wire(kind: Kind) -> u32 {
    match kind {
        Kind::Direct => 1,
        Kind::Group => 2,
        Kind::Channel => 3,
    }
}

fn role_from_wire(role: u32) -> Result<Option<Role>, Error> {
    match role {
        0 => Ok(None),
        1 => Ok(Some(Role::Member)),
        2 => Ok(Some(Role::Admin)),
        3 => Ok(Some(Role::Owner)),
        _ => Err(absurd("role", role)),
    }
}

pub(crate) fn role_to_wire(role: Role) -> u32 {
    match role {
        Role::Member => 1,
        Role::Admin => 2,
        Role::Owner => 3,
    }
}

fn fanout_from_wire(fanout: u32) -> Result<Fanout, Error> {
    match fanout {
        // Older records of settings may lack it.
        0 | 1 => Ok(Fanout::Auto),
        2 => Ok(Fanout::Write),
        3 => Ok(Fanout::Read),
        _ => Err(absurd("fan-out", fanout)),
    }
}

pub(crate) fn fanout_to_wire(fanout: Fanout) -> u32 {
    match fanout {
        Fanout::Auto => 1,
        Fanout::Write => 2,
        Fanout::Read => 3,
    }
}

impl Content {
    fn parse(record: &mut wire::Record) -> Result<Self, Error> {
        let members = std::mem::take(&mut record.members);
        let body = (!record.recalled).then(|| std::mem::take(&mut record.body));
        Ok(match record.kind {
            wire::kind::MESSAGE => Content::Message(Text {
                body,
                sent_at_ms: record.sent_at_ms,
                quote: record.quote,
                mentions: std::mem::take(&mut record.mentions),
                edited_ms: record.edited_ms,
            }),
            wire::kind::CREATE => Content::Create {
                kind: kind_from_wire(record.conversation_kind)?,
                owner: non_empty(std::mem::take(&mut record.owner)),
                members,
                open: record.open,
                history: record.history,
            },
            wire::kind::ADD => Content::Add { members },
            wire::kind::REMOVE => Content::Remove { members },
            wire::kind::JOIN => Content::Join { members },
            wire::kind::LEAVE => Content::Leave { members },
            wire::kind::ROLE => Content::Role {
                user: std::mem::take(&mut record.user),
                role: role_from_wire(record.role)?.ok_or_else(|| absurd("role", 0))?,
            },
            wire::kind::EDIT => Content::Edit { target: record.target, body },
            wire::kind::RECALL => Content::Recall { target: record.target },
            wire::kind::READ => Content::Read { through: record.through },
            wire::kind::SETTINGS => Content::Settings {
                open: record.open,
                history: record.history,
                fanout: fanout_from_wire(record.fanout)?,
            },
            wire::kind::MUTE => Content::Mute { muted: record.muted },
            wire::kind::REVOKE => Content::Revoke,
            wire::kind::USER => Content::User { user: std::mem::take(&mut record.user) },
            kind => Content::Unknown { kind },
        })
    }
}

impl TryFrom<wire::Record> for Record {
    type Error = Error;

    fn try_from(mut record: wire::Record) -> Result<Self, Error> {
        if record.position == 0 {
            return Err(Error::new(Code::Protocol, "the server sent a record without a position"));
        }
        let content = Content::parse(&mut record)?;
        Ok(Self {
            position: record.position,
            conversation: record.conversation,
            seq: (record.seq != 0).then_some(record.seq),
            from: non_empty(record.from),
            device: non_empty(record.device),
            time_ms: record.time_ms,
            by_service: record.by_service,
            content,
        })
    }
}

impl From<wire::Gap> for Gap {
    fn from(gap: wire::Gap) -> Self {
        Self { conversation: gap.conversation, from_seq: gap.from_seq, to_seq: gap.to_seq }
    }
}

fn ranges(ranges: &[wire::Range]) -> Vec<Range> {
    ranges.iter().map(|range| Range { first: range.first, last: range.last }).collect()
}

impl TryFrom<wire::Conversation> for Conversation {
    type Error = Error;

    fn try_from(conversation: wire::Conversation) -> Result<Self, Error> {
        Ok(Self {
            kind: kind_from_wire(conversation.kind)?,
            role: role_from_wire(conversation.role)?,
            head: conversation.head,
            read: conversation.read,
            unread: conversation.unread,
            muted: conversation.muted,
            ranges: ranges(&conversation.ranges),
            last: conversation.last.map(Record::try_from).transpose()?,
            conversation: conversation.conversation,
        })
    }
}

impl TryFrom<wire::Member> for Member {
    type Error = Error;

    fn try_from(member: wire::Member) -> Result<Self, Error> {
        Ok(Self { role: role_from_wire(member.role)?, ranges: ranges(&member.ranges), user: member.user })
    }
}

impl From<wire::Device> for Device {
    fn from(device: wire::Device) -> Self {
        Self {
            device: device.device,
            client_seq: device.client_seq,
            position: device.position,
            last_seen_ms: device.last_seen_ms,
        }
    }
}

impl From<wire::Receipt> for Receipt {
    fn from(receipt: wire::Receipt) -> Self {
        Self {
            conversation: receipt.conversation,
            seq: receipt.seq,
            position: receipt.position,
            time_ms: receipt.time_ms,
            client_seq: receipt.client_seq,
            repeated: receipt.repeated,
        }
    }
}
