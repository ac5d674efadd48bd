//! What comes down the delta stream, and records as readers see them.

/// A page of what a device missed, or what is new.
///
/// A delta whose `from` is not the device's checkpoint is refused by the client. A snapshot (`reset` set) replaces the
/// checkpoint; it comes in pages, and only the last one has a checkpoint.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Delta {
    /// Covers the positions above this,
    #[prost(uint64, tag = "1")]
    pub from: u64,
    /// up to and including this.
    #[prost(uint64, tag = "2")]
    pub to: u64,
    /// The checkpoint at `to`; empty on all but the last page of a snapshot.
    #[prost(bytes = "bytes", tag = "3")]
    pub checkpoint: bytes::Bytes,
    /// Whether nothing above `to` was visible when the delta was made.
    #[prost(bool, tag = "4")]
    pub caught_up: bool,
    /// In position order.
    #[prost(message, repeated, tag = "5")]
    pub records: Vec<Record>,
    /// Messages that were left out.
    #[prost(message, repeated, tag = "6")]
    pub gaps: Vec<Gap>,
    /// Set on every page of a snapshot: why the device starts anew.
    #[prost(message, optional, tag = "7")]
    pub reset: Option<Reset>,
    /// A snapshot's conversations.
    #[prost(message, repeated, tag = "8")]
    pub conversations: Vec<Conversation>,
}

/// Messages `from_seq..=to_seq` of a conversation that were left out of deltas.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Gap {
    /// The conversation's id.
    #[prost(string, tag = "1")]
    pub conversation: String,
    /// The first.
    #[prost(uint64, tag = "2")]
    pub from_seq: u64,
    /// The last.
    #[prost(uint64, tag = "3")]
    pub to_seq: u64,
}

/// Why a device starts anew.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Reset {
    /// `requested`, `incarnation` (drop everything held), `epoch` (records were lost) or `horizon`.
    #[prost(string, tag = "1")]
    pub reason: String,
}

/// A conversation as its member sees it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Conversation {
    /// The conversation's id.
    #[prost(string, tag = "1")]
    pub conversation: String,
    /// 1 direct, 2 group, 3 channel.
    #[prost(uint32, tag = "2")]
    pub kind: u32,
    /// 1 member, 2 admin, 3 owner; 0 for a former member.
    #[prost(uint32, tag = "3")]
    pub role: u32,
    /// The last seq that the member may see.
    #[prost(uint64, tag = "4")]
    pub head: u64,
    /// The read mark.
    #[prost(uint64, tag = "5")]
    pub read: u64,
    /// Messages not read.
    #[prost(uint64, tag = "6")]
    pub unread: u64,
    /// Muted by the member.
    #[prost(bool, tag = "7")]
    pub muted: bool,
    /// Readable seqs.
    #[prost(message, repeated, tag = "8")]
    pub ranges: Vec<Range>,
    /// The last record that the member may see.
    #[prost(message, optional, tag = "9")]
    pub last: Option<Record>,
}

/// Seqs `first..=last`.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Range {
    /// The first.
    #[prost(uint64, tag = "1")]
    pub first: u64,
    /// The last; a range that is open ends at the head.
    #[prost(uint64, tag = "2")]
    pub last: u64,
}

/// The kinds of records on the wire: the number in [`Record::kind`].
pub mod kind {
    /// See [`super::Record`].
    pub const MESSAGE: u32 = 1;
    /// A conversation was created.
    pub const CREATE: u32 = 2;
    /// Members were added.
    pub const ADD: u32 = 3;
    /// Members were removed.
    pub const REMOVE: u32 = 4;
    /// The author joined.
    pub const JOIN: u32 = 5;
    /// The author left.
    pub const LEAVE: u32 = 6;
    /// A role changed.
    pub const ROLE: u32 = 7;
    /// A message was edited.
    pub const EDIT: u32 = 8;
    /// A message was recalled.
    pub const RECALL: u32 = 9;
    /// The user's own read mark moved.
    pub const READ: u32 = 10;
    /// Settings changed.
    pub const SETTINGS: u32 = 11;
    /// The user muted or unmuted; never in a delta.
    pub const MUTE: u32 = 12;
    /// A device was revoked; never in a delta.
    pub const REVOKE: u32 = 13;
    /// A user was made known; never in a delta.
    pub const USER: u32 = 14;
}

/// A record as a reader sees it: redactions applied.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Record {
    /// Index in the log.
    #[prost(uint64, tag = "1")]
    pub position: u64,
    /// The conversation's id, or empty.
    #[prost(string, tag = "2")]
    pub conversation: String,
    /// Number in the conversation; 0: has none.
    #[prost(uint64, tag = "3")]
    pub seq: u64,
    /// One of [`kind`].
    #[prost(uint32, tag = "4")]
    pub kind: u32,
    /// The author, or empty for the service.
    #[prost(string, tag = "5")]
    pub from: String,
    /// The author's device, or empty.
    #[prost(string, tag = "6")]
    pub device: String,
    /// When it was sequenced, in ms since 1970.
    #[prost(uint64, tag = "7")]
    pub time_ms: u64,
    /// Made by the service.
    #[prost(bool, tag = "8")]
    pub by_service: bool,
    /// `message`, `edit`: the body; of an edited message the newest.
    #[prost(bytes = "bytes", tag = "9")]
    pub body: bytes::Bytes,
    /// `message`: the sender's own time.
    #[prost(uint64, optional, tag = "10")]
    pub sent_at_ms: Option<u64>,
    /// `message`: the message that it answers.
    #[prost(uint64, optional, tag = "11")]
    pub quote: Option<u64>,
    /// `message`: members mentioned.
    #[prost(string, repeated, tag = "12")]
    pub mentions: Vec<String>,
    /// `message`: time of the edit that is shown.
    #[prost(uint64, optional, tag = "13")]
    pub edited_ms: Option<u64>,
    /// `message`, `edit`: withdrawn; there is no body.
    #[prost(bool, tag = "14")]
    pub recalled: bool,
    /// `create`: 1 direct, 2 group, 3 channel.
    #[prost(uint32, tag = "15")]
    pub conversation_kind: u32,
    /// `create`: the owner, or empty.
    #[prost(string, tag = "16")]
    pub owner: String,
    /// `create`, `add`, `remove`, `join`, `leave`: those concerned.
    #[prost(string, repeated, tag = "17")]
    pub members: Vec<String>,
    /// `role`, `user`: whom.
    #[prost(string, tag = "18")]
    pub user: String,
    /// `role`: 1 member, 2 admin, 3 owner.
    #[prost(uint32, tag = "19")]
    pub role: u32,
    /// `edit`, `recall`: the message's seq.
    #[prost(uint64, tag = "20")]
    pub target: u64,
    /// `read`: the mark.
    #[prost(uint64, tag = "21")]
    pub through: u64,
    /// `create`, `settings`: anyone may join.
    #[prost(bool, tag = "22")]
    pub open: bool,
    /// `create`, `settings`: new members may read what came before.
    #[prost(bool, tag = "23")]
    pub history: bool,
    /// `settings`: 1 auto, 2 write, 3 read.
    #[prost(uint32, tag = "24")]
    pub fanout: u32,
    /// `mute`: whether.
    #[prost(bool, tag = "25")]
    pub muted: bool,
}
