//! What somebody would build instead on the same machine: the only place of the benchmarks that names RocksDB.
//!
//! - [`RawLog`]: records, encoded as Highwater does, appended and synced; the floor under anything durable.
//! - [`Tables`]: inboxes as rows of RocksDB, with the body once ([`Shape::Index`]) or once a member ([`Shape::Inline`]),
//!   built as one ordinarily would, or tuned ([`Tuning`]).
//!
//! All of them are given posts through a queue and answer through boxed completions, as the engine is. They do less than
//! it: no check of who may send, no number per device that makes a repeat harmless, no stored counters or read marks, no
//! names. So they are ahead by what that costs.

mod raw_log;
mod tables;
mod tuning;

pub use raw_log::RawLog;
pub use tables::{CaughtUp, Tables};
pub use tuning::{Expert, Tuning};

use bytes::Bytes;
use highwater_engine::proto::id::{ConversationId, DeviceId, Ordinal, Position, Seq, UserId};
use highwater_engine::proto::record::{Fact, Message, Record};
use std::sync::Arc;

/// A message to be sent.
#[derive(Clone, Debug)]
pub struct Post {
    /// Who sends it.
    pub author: u32,
    /// Where to.
    pub conversation: u32,
    /// Whose inboxes it goes to.
    pub members: Arc<[u32]>,
    /// What it says.
    pub body: Bytes,
}

/// What an inbox's row holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// The body stands once in a family of messages; a row of 16 bytes per member refers to it.
    Index,
    /// The body stands in every member's row.
    Inline,
}

impl Shape {
    /// As tables say it.
    pub const fn name(self) -> &'static str {
        match self {
            Shape::Index => "rocksdb-index",
            Shape::Inline => "rocksdb-inline",
        }
    }
}

/// The record that the engine would make of a post.
fn record(post: &Post, position: u64) -> Record {
    Record {
        position: Position(position),
        time_ms: 1_700_000_000_000 + position / 64,
        author: UserId(post.author),
        by_service: false,
        device: DeviceId(post.author),
        client_seq: position,
        previous: Position(position.saturating_sub(40)),
        conversation: ConversationId(post.conversation),
        seq: Seq(position),
        ordinal: Ordinal(position),
        fact: Fact::Message(Message { body: post.body.clone(), ..Message::default() }),
    }
}

/// The version of RocksDB that is linked: the lock file says it as the build metadata of the crate that compiles it.
pub fn version() -> &'static str {
    let lock = include_str!("../../../Cargo.lock");
    let after = lock.split_once("name = \"librocksdb-sys\"").map(|(_, after)| after);
    let version = after.and_then(|after| after.split('"').nth(1));
    version.and_then(|version| version.split_once('+')).map_or("unknown", |(_, version)| version)
}

#[cfg(test)]
mod tests;
