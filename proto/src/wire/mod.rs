//! The messages on a connection. `docs/protocol.md` tells the conversation; this is its vocabulary.
//!
//! A connection speaks ALPN [`ALPN`]. The client opens one bidirectional stream, the *command stream*, and says
//! [`Hello`]; the server answers [`Welcome`] or an error. From then on the client pipelines [`Request`]s and the server
//! answers each with a [`Response`] of the same id. Deltas come down one server-to-client stream per subscription, in
//! order. Queries ([`Query`]) go on bidirectional streams of their own, one each, so that they never delay live messages.
//!
//! These types are the wire's: every field may be missing or absurd, and is checked on receipt.

mod command;
mod delta;
mod fields;
mod framing;
mod prepared;
mod question;
mod receipt;
mod received;
mod send;
mod session;

pub use command::{
    Create, CreateUser, Edit, MarkRead, Members, Mute, Recall, Receipt, Request, Response, Revoke, Send, SetRole,
    SetSettings, Subscribe, Subscribed, Target, request, response,
};
pub use delta::{Conversation, Delta, Gap, Range, Record, Reset, kind};
pub use framing::{FrameError, FrameReader, encode_frame};
pub use prepared::{PreparedDelta, PreparedRecord};
pub use question::{
    Answer, ConversationsQuery, Device, DevicesQuery, HistoryQuery, Member, MembersQuery, Query, query,
};
pub use receipt::ReceiptFrame;
pub use received::{MessageRecord, ReceivedDelta, ReceivedRecord};
pub use send::SendRequest;
pub use session::{Ack, ClientFrame, Failure, Hello, ServerFrame, Token, Welcome, client_frame, server_frame};

/// The protocol's name in TLS.
pub const ALPN: &[u8] = b"highwater/1";
