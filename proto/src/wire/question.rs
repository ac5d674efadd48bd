//! Questions, each on a stream of its own, and their answers.

use super::delta::{Conversation, Range, Record};
use super::session::Failure;

/// A question on a stream of its own.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Query {
    /// Exactly one of these.
    #[prost(oneof = "query::Call", tags = "1, 2, 3, 4")]
    pub call: Option<query::Call>,
}

/// The choices of a [`Query`].
pub mod query {
    /// The question.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Call {
        /// Records of a conversation by seq.
        #[prost(message, tag = "1")]
        History(super::HistoryQuery),
        /// The user's conversations, the most recent first.
        #[prost(message, tag = "2")]
        Conversations(super::ConversationsQuery),
        /// A conversation's members.
        #[prost(message, tag = "3")]
        Members(super::MembersQuery),
        /// The user's devices.
        #[prost(message, tag = "4")]
        Devices(super::DevicesQuery),
    }
}

/// Records of a conversation by seq. `before` and `after` exclude each other; without either, the newest.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HistoryQuery {
    /// The conversation's id.
    #[prost(string, tag = "1")]
    pub conversation: String,
    /// Only below this, the nearest.
    #[prost(uint64, optional, tag = "2")]
    pub before: Option<u64>,
    /// Only above this, the nearest.
    #[prost(uint64, optional, tag = "3")]
    pub after: Option<u64>,
    /// At most so many; 0 or above the limit: the limit.
    #[prost(uint32, tag = "4")]
    pub limit: u32,
}

/// The user's conversations, by last visible record, the most recent first.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ConversationsQuery {
    /// At most so many; 0 or above the limit: the limit.
    #[prost(uint32, tag = "1")]
    pub limit: u32,
    /// The cursor of the page before, or empty.
    #[prost(bytes = "bytes", tag = "2")]
    pub cursor: bytes::Bytes,
}

/// A conversation's members, by name id.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MembersQuery {
    /// The conversation's id.
    #[prost(string, tag = "1")]
    pub conversation: String,
    /// At most so many; 0 or above the limit: the limit.
    #[prost(uint32, tag = "2")]
    pub limit: u32,
    /// The cursor of the page before, or empty.
    #[prost(bytes = "bytes", tag = "3")]
    pub cursor: bytes::Bytes,
}

/// The user's registered devices.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct DevicesQuery {}

/// The answer to a [`Query`], the only frame on its stream.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Answer {
    /// Set if it was refused or failed; everything else is empty then.
    #[prost(message, optional, tag = "1")]
    pub failure: Option<Failure>,
    /// `history`: ascending seqs.
    #[prost(message, repeated, tag = "2")]
    pub records: Vec<Record>,
    /// `conversations`.
    #[prost(message, repeated, tag = "3")]
    pub conversations: Vec<Conversation>,
    /// `members`.
    #[prost(message, repeated, tag = "4")]
    pub members: Vec<Member>,
    /// `devices`.
    #[prost(message, repeated, tag = "5")]
    pub devices: Vec<Device>,
    /// `conversations`, `members`: for the next page; empty at the end.
    #[prost(bytes = "bytes", tag = "6")]
    pub cursor: bytes::Bytes,
    /// `members`: how many current members there are.
    #[prost(uint64, tag = "7")]
    pub member_count: u64,
    /// `conversations`: unread messages over all of them that are not muted.
    #[prost(uint64, tag = "8")]
    pub unread_total: u64,
}

/// A member of a conversation.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Member {
    /// The user.
    #[prost(string, tag = "1")]
    pub user: String,
    /// 1 member, 2 admin, 3 owner.
    #[prost(uint32, tag = "2")]
    pub role: u32,
    /// Readable seqs.
    #[prost(message, repeated, tag = "3")]
    pub ranges: Vec<Range>,
}

/// A registered device.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Device {
    /// The device.
    #[prost(string, tag = "1")]
    pub device: String,
    /// Its last accepted number.
    #[prost(uint64, tag = "2")]
    pub client_seq: u64,
    /// The position of its acknowledged checkpoint; 0: none.
    #[prost(uint64, tag = "3")]
    pub position: u64,
    /// When it was last connected, in ms since 1970; 0: unknown.
    #[prost(uint64, tag = "4")]
    pub last_seen_ms: u64,
}
