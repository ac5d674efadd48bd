//! The reference model: a vector of records, and functions that read it from the beginning each time.
//!
//! It answers two questions. What is to come of a command ([`Model::expect`])? What may a reader see
//! ([`State`])? It has neither heads nor inboxes, and knows fan-out modes only because a change of mode takes a
//! position. Nothing here is fast, and nothing is kept that could be worked out.

mod reads;
mod rules;
mod state;

pub use reads::entry;
pub use state::{Conversation, Device, Interval, Member, State};

use highwater_engine::proto::id::Seq;
use highwater_engine::proto::record::{Fanout, Kind, Mode, Role, Settings};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A user's, device's or conversation's name; empty for none.
pub type Name = Arc<str>;

/// A record: its position is its index in [`Model::records`] plus 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// When it was accepted, in ms since 1970.
    pub time_ms: u64,
    /// Who did it; empty for the service.
    pub author: Name,
    /// Done by the service.
    pub by_service: bool,
    /// The device that numbered it; empty if nobody did.
    pub device: Name,
    /// The device's number for it, or 0.
    pub client_seq: u64,
    /// The conversation, or empty.
    pub conversation: Name,
    /// Its number in the conversation, or 0.
    pub seq: u64,
    /// What happened.
    pub fact: Fact,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the same as highwater_proto::record::Fact, with names for ids")]
pub enum Fact {
    User(Name),
    Conversation,
    Device { user: Name, name: Name },
    Revoke { user: Name, name: Name },
    Epoch,
    Mode(Mode),
    Mute(bool),
    Read(u64),
    Message { body: Vec<u8>, quote: Option<u64>, mentions: Vec<Name>, sent_at_ms: Option<u64> },
    Edit { target: u64, body: Vec<u8> },
    Recall { target: u64 },
    Create { kind: Kind, settings: Settings, owner: Option<Name>, members: Vec<Name> },
    Add(Vec<Name>),
    Remove(Vec<Name>),
    Join,
    Leave,
    Role { user: Name, role: Role },
    Settings(Settings),
}

/// In whose name a command is given; `None` is the service.
pub type Caller = Option<Name>;

/// A send session, by the number that the test gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its number, unique in the test.
    pub number: usize,
    /// Whose device.
    pub user: Name,
    /// The device.
    pub device: Name,
    /// Opened with a service token.
    pub by_service: bool,
}

/// Where a message goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum To {
    /// The canonical direct conversation with this user.
    User(Name),
    /// A conversation.
    Conversation(Name),
}

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the same as highwater_engine::Command")]
pub enum Ask {
    CreateUser(Name),
    Open { user: Name, device: Name, by_service: bool },
    Send(Message),
    Edit { session: Session, client_seq: u64, conversation: Name, target: u64, body: Vec<u8> },
    Recall { session: Session, client_seq: u64, conversation: Name, target: u64 },
    Create(Create),
    Add { caller: Caller, conversation: Name, members: Vec<Name> },
    Remove { caller: Caller, conversation: Name, members: Vec<Name> },
    Join { user: Name, conversation: Name },
    Leave { user: Name, conversation: Name },
    Role { caller: Caller, conversation: Name, user: Name, role: Role },
    Settings { caller: Caller, conversation: Name, open: Option<bool>, history: Option<bool>, fanout: Option<Fanout> },
    Mute { user: Name, conversation: Name, muted: bool },
    Read { user: Name, conversation: Name, through: u64 },
    Revoke { user: Name, device: Name },
}

/// A message to be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the same as highwater_engine::command::Send")]
pub struct Message {
    pub session: Session,
    pub client_seq: u64,
    pub to: To,
    pub body: Vec<u8>,
    pub quote: Option<u64>,
    pub mentions: Vec<Name>,
    pub sent_at_ms: Option<u64>,
}

/// A conversation to be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the same as highwater_engine::command::Create")]
pub struct Create {
    pub caller: Caller,
    pub kind: Kind,
    pub conversation: Option<Name>,
    pub owner: Option<Name>,
    pub members: Vec<Name>,
    pub open: bool,
    pub history: bool,
}

/// What came of a command that was not refused. Positions are those of its own record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// A numbered command was accepted, now or before.
    Receipt {
        /// The record's position.
        position: u64,
        /// It had been accepted before.
        repeated: bool,
    },
    /// Something changed.
    Changed {
        /// The record's position.
        position: u64,
    },
    /// Nothing had to be changed.
    Unchanged(Name),
    /// A send session is open.
    Session {
        /// The device's last number.
        last: u64,
    },
}

/// The settings of the engine under test that decide about outcomes.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the same as in highwater_engine::Options")]
pub struct Config {
    pub write_members_max: usize,
    pub read_members_min: usize,
    pub create_named_users: bool,
    pub body_bytes_max: usize,
    pub devices_per_user_max: usize,
}

/// Everything that was accepted, and what runs beside the log: who may send for a device.
#[derive(Clone, Debug)]
pub struct Model {
    /// The records, in position order.
    pub records: Vec<Record>,
    /// The newest session of each device (user and name).
    pub newest: BTreeMap<(Name, Name), usize>,
    /// The time, in ms since 1970.
    pub now_ms: u64,
    /// How the engine is configured.
    pub config: Config,
}

impl Model {
    /// Nothing has happened yet.
    pub fn new(config: Config, now_ms: u64) -> Self {
        Self { records: Vec::new(), newest: BTreeMap::new(), now_ms, config }
    }

    /// The last position.
    pub fn visible(&self) -> u64 {
        self.records.len() as u64
    }

    /// The record at a position.
    pub fn record(&self, position: u64) -> &Record {
        &self.records[position as usize - 1]
    }

    /// The store was opened again: sessions are gone, and `epoch` says whether the opening made a record.
    pub fn reopened(&mut self, epoch: bool) {
        self.newest.clear();
        if epoch {
            self.push(Record::plain(self.now_ms, Fact::Epoch));
        }
    }

    fn push(&mut self, record: Record) -> u64 {
        self.records.push(record);
        self.visible()
    }
}

impl Record {
    /// A record of nobody and no conversation.
    fn plain(time_ms: u64, fact: Fact) -> Self {
        let none: Name = "".into();
        Self {
            time_ms,
            author: none.clone(),
            by_service: false,
            device: none.clone(),
            client_seq: 0,
            conversation: none,
            seq: 0,
            fact,
        }
    }

    /// Whether it is a message.
    pub fn is_message(&self) -> bool {
        matches!(self.fact, Fact::Message { .. })
    }
}

/// For [`highwater_engine::entry`], which has its own types for numbers.
pub fn seq(number: u64) -> Seq {
    Seq(number)
}
