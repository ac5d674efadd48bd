//! Requests on the command stream and their answers.

use super::delta::Record;
use super::session::Failure;

/// A command with the id under which its answer comes back.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Request {
    /// Chosen by the client, unique among its unanswered requests.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// Exactly one of these.
    #[prost(oneof = "request::Call", tags = "2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16")]
    pub call: Option<request::Call>,
}

/// The choices of a [`Request`].
pub mod request {
    /// The command.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Call {
        /// Numbered: a message.
        #[prost(message, tag = "2")]
        Send(super::Send),
        /// Numbered: a new body for an earlier message.
        #[prost(message, tag = "3")]
        Edit(super::Edit),
        /// Numbered: withdraw a message.
        #[prost(message, tag = "4")]
        Recall(super::Recall),
        /// A new conversation.
        #[prost(message, tag = "5")]
        Create(super::Create),
        /// Make others members.
        #[prost(message, tag = "6")]
        Add(super::Members),
        /// Make others leave.
        #[prost(message, tag = "7")]
        Remove(super::Members),
        /// Become a member of an open channel.
        #[prost(message, tag = "8")]
        Join(super::Target),
        /// Stop being a member.
        #[prost(message, tag = "9")]
        Leave(super::Target),
        /// Change a member's role.
        #[prost(message, tag = "10")]
        Role(super::SetRole),
        /// Change settings.
        #[prost(message, tag = "11")]
        Settings(super::SetSettings),
        /// Mute or unmute for oneself.
        #[prost(message, tag = "12")]
        Mute(super::Mute),
        /// Move one's read mark.
        #[prost(message, tag = "13")]
        Read(super::MarkRead),
        /// Revoke one of one's devices.
        #[prost(message, tag = "14")]
        Revoke(super::Revoke),
        /// Service only: make a user known.
        #[prost(message, tag = "15")]
        CreateUser(super::CreateUser),
        /// Start the delta stream; an earlier one of the session ends.
        #[prost(message, tag = "16")]
        Subscribe(super::Subscribe),
    }
}

/// A message. Exactly one of `to` and `conversation` is set.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Send {
    /// The device's number for it: last + 1, or a repeat.
    #[prost(uint64, tag = "1")]
    pub client_seq: u64,
    /// The other user of the canonical direct conversation (or oneself), which comes into being if need be.
    #[prost(string, tag = "2")]
    pub to: String,
    /// A conversation's id.
    #[prost(string, tag = "3")]
    pub conversation: String,
    /// The body, which may be empty.
    #[prost(bytes = "bytes", tag = "4")]
    pub body: bytes::Bytes,
    /// The message that it answers.
    #[prost(uint64, optional, tag = "5")]
    pub quote: Option<u64>,
    /// Members whose attention it asks for.
    #[prost(string, repeated, tag = "6")]
    pub mentions: Vec<String>,
    /// The sender's own time, in ms since 1970.
    #[prost(uint64, optional, tag = "7")]
    pub sent_at_ms: Option<u64>,
}

/// A new body for a message.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Edit {
    /// The device's number for it.
    #[prost(uint64, tag = "1")]
    pub client_seq: u64,
    /// The conversation's id.
    #[prost(string, tag = "2")]
    pub conversation: String,
    /// The message's seq.
    #[prost(uint64, tag = "3")]
    pub target: u64,
    /// The new body.
    #[prost(bytes = "bytes", tag = "4")]
    pub body: bytes::Bytes,
}

/// Withdraw a message.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Recall {
    /// The device's number for it.
    #[prost(uint64, tag = "1")]
    pub client_seq: u64,
    /// The conversation's id.
    #[prost(string, tag = "2")]
    pub conversation: String,
    /// The message's seq.
    #[prost(uint64, tag = "3")]
    pub target: u64,
}

/// A new conversation. `direct`: without an id `member` names the other user, and the id is the canonical one.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Create {
    /// 1 direct, 2 group, 3 channel.
    #[prost(uint32, tag = "1")]
    pub kind: u32,
    /// The id, chosen by the client; empty only for a direct one.
    #[prost(string, tag = "2")]
    pub conversation: String,
    /// Service only: the owner; empty for none. Users own what they create.
    #[prost(string, tag = "3")]
    pub owner: String,
    /// Members besides the owner.
    #[prost(string, repeated, tag = "4")]
    pub members: Vec<String>,
    /// Anyone may join (channels).
    #[prost(bool, tag = "5")]
    pub open: bool,
    /// New members may read what came before.
    #[prost(bool, tag = "6")]
    pub history: bool,
}

/// Users to add or remove.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Members {
    /// The conversation's id.
    #[prost(string, tag = "1")]
    pub conversation: String,
    /// At most 1,000.
    #[prost(string, repeated, tag = "2")]
    pub members: Vec<String>,
}

/// Names a conversation.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Target {
    /// The conversation's id.
    #[prost(string, tag = "1")]
    pub conversation: String,
}

/// A member's new role.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SetRole {
    /// The conversation's id.
    #[prost(string, tag = "1")]
    pub conversation: String,
    /// The member.
    #[prost(string, tag = "2")]
    pub user: String,
    /// 1 member, 2 admin, 3 owner.
    #[prost(uint32, tag = "3")]
    pub role: u32,
}

/// New settings; what is missing stays.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SetSettings {
    /// The conversation's id.
    #[prost(string, tag = "1")]
    pub conversation: String,
    /// Anyone may join.
    #[prost(bool, optional, tag = "2")]
    pub open: Option<bool>,
    /// New members may read what came before.
    #[prost(bool, optional, tag = "3")]
    pub history: Option<bool>,
    /// Service only: 1 auto, 2 write, 3 read.
    #[prost(uint32, optional, tag = "4")]
    pub fanout: Option<u32>,
}

/// Mute or unmute.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Mute {
    /// The conversation's id.
    #[prost(string, tag = "1")]
    pub conversation: String,
    /// Whether it is muted from now on.
    #[prost(bool, tag = "2")]
    pub muted: bool,
}

/// Move the read mark; it never goes back.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MarkRead {
    /// The conversation's id.
    #[prost(string, tag = "1")]
    pub conversation: String,
    /// Everything up to this seq has been read.
    #[prost(uint64, tag = "2")]
    pub through: u64,
}

/// Revoke a device of one's own; with a service token of `as_user`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Revoke {
    /// The device.
    #[prost(string, tag = "1")]
    pub device: String,
}

/// Make a user known.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CreateUser {
    /// The user.
    #[prost(string, tag = "1")]
    pub user: String,
}

/// Start the delta stream.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Subscribe {
    /// Where the device is; empty: it has none.
    #[prost(bytes = "bytes", tag = "1")]
    pub checkpoint: bytes::Bytes,
    /// Without a checkpoint: a reset (a snapshot of the conversations) rather than everything from the start.
    #[prost(bool, tag = "2")]
    pub snapshot: bool,
    /// Messages per conversation above which the older ones collapse into a gap; 0: never.
    #[prost(uint32, tag = "3")]
    pub per_conversation_max: u32,
    /// Records per delta; 0: the server's limit.
    #[prost(uint32, tag = "4")]
    pub records_max: u32,
    /// Go on with what is new after catching up; else the stream ends when caught up.
    #[prost(bool, tag = "5")]
    pub live: bool,
}

/// The answer to a request.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Response {
    /// The request's id.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// Exactly one of these.
    #[prost(oneof = "response::Outcome", tags = "2, 3, 4, 5, 6")]
    pub outcome: Option<response::Outcome>,
}

/// The choices of a [`Response`].
pub mod response {
    /// How it went.
    #[expect(clippy::large_enum_variant, reason = "one at a time is made and encoded; most are receipts")]
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Outcome {
        /// It was refused or failed.
        #[prost(message, tag = "2")]
        Failure(super::Failure),
        /// A numbered command was accepted, now or before.
        #[prost(message, tag = "3")]
        Receipt(super::Receipt),
        /// Something changed: this is its record.
        #[prost(message, tag = "4")]
        Changed(super::Record),
        /// Nothing had to be changed; the conversation concerned.
        #[prost(message, tag = "5")]
        Unchanged(super::Target),
        /// The delta stream begins.
        #[prost(message, tag = "6")]
        Subscribed(super::Subscribed),
    }
}

/// A numbered command was accepted.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Receipt {
    /// The conversation's id.
    #[prost(string, tag = "1")]
    pub conversation: String,
    /// The record's seq.
    #[prost(uint64, tag = "2")]
    pub seq: u64,
    /// The record's position.
    #[prost(uint64, tag = "3")]
    pub position: u64,
    /// When it was sequenced, in ms since 1970.
    #[prost(uint64, tag = "4")]
    pub time_ms: u64,
    /// The number it was accepted under.
    #[prost(uint64, tag = "5")]
    pub client_seq: u64,
    /// Whether it had been accepted before.
    #[prost(bool, tag = "6")]
    pub repeated: bool,
}

/// The delta stream begins: its id is the first frame on it.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Subscribed {
    /// Which subscription of the connection; its stream begins with the same message.
    #[prost(uint64, tag = "1")]
    pub subscription: u64,
}
