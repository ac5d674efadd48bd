//! What an application asks for: messages and the other commands.

use bytes::Bytes;
use highwater_proto::record::{Fanout, Kind};
use highwater_proto::wire;

/// A message's place in this device's queue of unsent commands; known before the server has given it a seq.
///
/// Unique within a store, and never used again there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocalId(pub u64);

/// Where a message goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// The canonical direct conversation with this user (or with oneself), which comes into being if need be.
    User(String),
    /// A conversation's id.
    Conversation(String),
}

/// The message that another one answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Quote {
    /// None.
    #[default]
    None,
    /// The message of the same conversation with this seq.
    Seq(u64),
    /// An earlier message of this device that may not have been acknowledged yet. It is resolved when this one is first
    /// transmitted; everything behind waits until then. If the quoted one is refused, this one fails with it.
    Local(LocalId),
}

impl Quote {
    /// As it goes on the wire: a local one is resolved before transmission.
    fn seq(self) -> Option<u64> {
        match self {
            Quote::Seq(seq) => Some(seq),
            Quote::None | Quote::Local(_) => None,
        }
    }
}

/// A message to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where it goes.
    pub recipient: Recipient,
    /// The body, which may be empty; at most [`Session::body_bytes_max`](crate::Session) bytes.
    pub body: Bytes,
    /// The message that it answers.
    pub quote: Quote,
    /// Members whose attention it asks for; at most 64.
    pub mentions: Vec<String>,
    /// The sender's own time, in ms since 1970, if it is to be carried along.
    pub sent_at_ms: Option<u64>,
}

impl Message {
    /// A message to the direct conversation with `user`.
    pub fn to_user(user: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Self::new(Recipient::User(user.into()), body.into())
    }

    /// A message to a conversation.
    pub fn to_conversation(conversation: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Self::new(Recipient::Conversation(conversation.into()), body.into())
    }

    fn new(recipient: Recipient, body: Bytes) -> Self {
        Self { recipient, body, quote: Quote::None, mentions: Vec::new(), sent_at_ms: None }
    }

    /// Says which message this one answers.
    pub fn quote(mut self, quote: Quote) -> Self {
        self.quote = quote;
        self
    }

    /// Asks for the attention of these members.
    pub fn mention(mut self, users: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.mentions.extend(users.into_iter().map(Into::into));
        self
    }

    /// Carries the sender's own time along, in ms since 1970.
    pub fn sent_at_ms(mut self, time_ms: u64) -> Self {
        self.sent_at_ms = Some(time_ms);
        self
    }
}

/// The commands that a device numbers: accepted once at most, however often they are transmitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Numbered {
    /// A message.
    Send(Message),
    /// A new body for an earlier message.
    Edit {
        /// The conversation's id.
        conversation: String,
        /// The message's seq.
        target: u64,
        /// The new body.
        body: Bytes,
    },
    /// Withdraw an earlier message.
    Recall {
        /// The conversation's id.
        conversation: String,
        /// The message's seq.
        target: u64,
    },
}

impl Numbered {
    /// The message that it quotes, if that one may still be waiting.
    pub(crate) fn quoted(&self) -> Option<LocalId> {
        match self {
            Numbered::Send(Message { quote: Quote::Local(local), .. }) => Some(*local),
            _ => None,
        }
    }

    /// Replaces a local quote by the seq that it turned out to be.
    pub(crate) fn resolve_quote(&mut self, seq: u64) {
        if let Numbered::Send(message) = self {
            message.quote = Quote::Seq(seq);
        }
    }

    /// Bytes of memory that it holds, by and large.
    pub(crate) fn weight_bytes(&self) -> usize {
        const FIXED: usize = 256;
        FIXED
            + match self {
                Numbered::Send(message) => message.body.len() + message.mentions.iter().map(String::len).sum::<usize>(),
                Numbered::Edit { body, .. } => body.len(),
                Numbered::Recall { .. } => 0,
            }
    }

    /// As the plain message that it is, in nearly all cases: to be written without being built first.
    pub(crate) fn as_plain(&self, id: u64, client_seq: u64) -> Option<wire::SendRequest<'_>> {
        let Numbered::Send(message) = self else { return None };
        if !message.mentions.is_empty() {
            return None;
        }
        let (to, conversation) = match &message.recipient {
            Recipient::User(user) => (user.as_str(), ""),
            Recipient::Conversation(conversation) => ("", conversation.as_str()),
        };
        let quote = message.quote.seq();
        Some(wire::SendRequest {
            id,
            client_seq,
            to,
            conversation,
            body: &message.body,
            quote,
            sent_at_ms: message.sent_at_ms,
        })
    }

    /// As it goes on the wire under `client_seq`. A local quote is left out: it is resolved before transmission.
    pub(crate) fn to_call(&self, client_seq: u64) -> wire::request::Call {
        match self {
            Numbered::Send(message) => {
                let (to, conversation) = match &message.recipient {
                    Recipient::User(user) => (user.clone(), String::new()),
                    Recipient::Conversation(conversation) => (String::new(), conversation.clone()),
                };
                wire::request::Call::Send(wire::Send {
                    client_seq,
                    to,
                    conversation,
                    body: message.body.clone(),
                    quote: message.quote.seq(),
                    mentions: message.mentions.clone(),
                    sent_at_ms: message.sent_at_ms,
                })
            }
            Numbered::Edit { conversation, target, body } => wire::request::Call::Edit(wire::Edit {
                client_seq,
                conversation: conversation.clone(),
                target: *target,
                body: body.clone(),
            }),
            Numbered::Recall { conversation, target } => wire::request::Call::Recall(wire::Recall {
                client_seq,
                conversation: conversation.clone(),
                target: *target,
            }),
        }
    }
}

/// A conversation to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewConversation {
    /// Its kind.
    pub kind: Kind,
    /// Its id, chosen by the caller; may be left out for a direct one only, which then gets its canonical id.
    pub id: Option<String>,
    /// Service tokens only: its owner. Users own what they create.
    pub owner: Option<String>,
    /// Members besides the owner; at most 1,000, the rest by [`Client::add`](crate::Client::add).
    pub members: Vec<String>,
    /// Anyone may join (channels).
    pub open: bool,
    /// New members may read what came before.
    pub history: bool,
}

impl NewConversation {
    /// A conversation of this kind without members, closed, whose past new members may not read.
    pub fn new(kind: Kind) -> Self {
        Self { kind, id: None, owner: None, members: Vec::new(), open: false, history: false }
    }
}

/// New settings of a conversation; what is `None` stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SettingsChange {
    /// Anyone may join (channels).
    pub open: Option<bool>,
    /// New members may read what came before.
    pub history: Option<bool>,
    /// Service tokens only: who decides how new messages are fanned out.
    pub fanout: Option<Fanout>,
}

/// Which page of a conversation's history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Page {
    /// The newest records.
    #[default]
    Newest,
    /// The nearest records below this seq.
    Before(u64),
    /// The nearest records above this seq.
    After(u64),
}
