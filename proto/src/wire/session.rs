//! The frames of the command stream: how a session begins, is kept and ends.

use super::command::{Request, Response};
use crate::error::{Code, Error};

/// What a client sends on the command stream.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ClientFrame {
    /// Exactly one of these.
    #[prost(oneof = "client_frame::Body", tags = "1, 2, 3, 4")]
    pub body: Option<client_frame::Body>,
}

/// The choices of a [`ClientFrame`].
pub mod client_frame {
    /// What the frame holds.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Body {
        /// The first frame, once.
        #[prost(message, tag = "1")]
        Hello(super::Hello),
        /// A command.
        #[prost(message, tag = "2")]
        Request(super::Request),
        /// A new token for the session, before or after the old one's time is over.
        #[prost(message, tag = "3")]
        Token(super::Token),
        /// "My device has stored this checkpoint."
        #[prost(message, tag = "4")]
        Ack(super::Ack),
    }
}

/// Opens a session.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Hello {
    /// A signed token (JWT).
    #[prost(string, tag = "1")]
    pub token: String,
    /// Whether the session may send numbered commands; it takes its device over then.
    #[prost(bool, tag = "2")]
    pub send: bool,
    /// With a service token: the user in whose name the session sends, or empty.
    #[prost(string, tag = "3")]
    pub as_user: String,
    /// The device; empty takes the token's. With both, they must be equal.
    #[prost(string, tag = "4")]
    pub device: String,
}

/// A token in band.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Token {
    /// A signed token (JWT) of the same user and device.
    #[prost(string, tag = "1")]
    pub token: String,
}

/// A device's acknowledged checkpoint. Not answered; kept for registered devices only.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Ack {
    /// As it came with a delta.
    #[prost(bytes = "bytes", tag = "1")]
    pub checkpoint: bytes::Bytes,
}

/// What the server sends on the command stream.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ServerFrame {
    /// Exactly one of these.
    #[prost(oneof = "server_frame::Body", tags = "1, 2, 3")]
    pub body: Option<server_frame::Body>,
}

/// The choices of a [`ServerFrame`].
pub mod server_frame {
    /// What the frame holds.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Body {
        /// The session is open.
        #[prost(message, tag = "1")]
        Welcome(super::Welcome),
        /// The answer to a request.
        #[prost(message, tag = "2")]
        Response(super::Response),
        /// The session ends, or (in answer to [`super::Hello`]) does not begin; the connection is closed after it.
        #[prost(message, tag = "3")]
        Goodbye(super::Failure),
    }
}

/// The session is open.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Welcome {
    /// 16 bytes: which history this is.
    #[prost(bytes = "bytes", tag = "1")]
    pub incarnation: bytes::Bytes,
    /// The user, or empty for a service session in nobody's name.
    #[prost(string, tag = "2")]
    pub user: String,
    /// The device, or empty.
    #[prost(string, tag = "3")]
    pub device: String,
    /// Send sessions: the device's last accepted number.
    #[prost(uint64, tag = "4")]
    pub last_client_seq: u64,
    /// Longest body, in bytes.
    #[prost(uint64, tag = "5")]
    pub body_bytes_max: u64,
    /// Most unanswered requests.
    #[prost(uint32, tag = "6")]
    pub commands_in_flight_max: u32,
    /// Milliseconds until the token must have been renewed.
    #[prost(uint64, tag = "7")]
    pub token_valid_ms: u64,
    /// The last visible position.
    #[prost(uint64, tag = "8")]
    pub visible: u64,
    /// The server's time, in ms since 1970.
    #[prost(uint64, tag = "9")]
    pub time_ms: u64,
}

/// An error on the wire.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Failure {
    /// Index in [`Code::ALL`] plus 1.
    #[prost(uint32, tag = "1")]
    pub code: u32,
    /// For people.
    #[prost(string, tag = "2")]
    pub message: String,
    /// The limit's name.
    #[prost(string, optional, tag = "3")]
    pub limit: Option<String>,
    /// The limit's value, or the expected number.
    #[prost(uint64, optional, tag = "4")]
    pub value: Option<u64>,
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        let index = Code::ALL.iter().position(|code| *code == error.code).expect("every code is listed");
        Self { code: index as u32 + 1, message: error.message.clone(), limit: error.limit.clone(), value: error.value }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let index = (failure.code as usize).wrapping_sub(1);
        Self {
            // A newer server may know codes that this client does not.
            code: Code::ALL.get(index).copied().unwrap_or(Code::Protocol),
            message: failure.message,
            limit: failure.limit,
            value: failure.value,
        }
    }
}
