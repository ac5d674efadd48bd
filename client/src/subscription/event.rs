//! What a subscription asks for, and what it yields.

use crate::model::{Conversation, Gap, Record};
use bytes::Bytes;

/// Where a subscription begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// At the stored checkpoint; without one, from the start.
    #[default]
    Resume,
    /// At the stored checkpoint; without one, with a snapshot of the conversations.
    ResumeOrSnapshot,
    /// From the start, whatever is stored.
    FromStart,
    /// With a snapshot of the conversations, whatever is stored.
    Snapshot,
}

/// What a subscription asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscribeOptions {
    /// Where it begins.
    pub start: Start,
    /// Messages per conversation in what was missed, above which the older ones come as a gap. 0: never.
    pub per_conversation_max: u32,
    /// Records per delta. 0: the server's limit.
    pub records_max: u32,
    /// Go on with what is new after catching up; otherwise the subscription ends then.
    pub live: bool,
}

impl Default for SubscribeOptions {
    fn default() -> Self {
        Self { start: Start::Resume, per_conversation_max: 0, records_max: 0, live: true }
    }
}

/// Why a device starts anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResetReason {
    /// It was asked for.
    Requested,
    /// The server's history is not a continuation of what the device knew: drop everything held.
    Incarnation,
    /// Records that the device may hold were lost on the server: drop everything held that is newer than the snapshot.
    Epoch,
    /// The device was away for longer than the server keeps its past.
    Horizon,
    /// A reason that this build does not know.
    Other(String),
}

impl ResetReason {
    pub(super) fn parse(reason: String) -> Self {
        match reason.as_str() {
            "requested" => ResetReason::Requested,
            "incarnation" => ResetReason::Incarnation,
            "epoch" => ResetReason::Epoch,
            "horizon" => ResetReason::Horizon,
            _ => ResetReason::Other(reason),
        }
    }

    /// The stable name, as it stands on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            ResetReason::Requested => "requested",
            ResetReason::Incarnation => "incarnation",
            ResetReason::Epoch => "epoch",
            ResetReason::Horizon => "horizon",
            ResetReason::Other(reason) => reason,
        }
    }
}

/// What a subscription yields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A record. The same one may come again after a break; (conversation, seq) or the position tells.
    Record(Record),
    /// Messages that were left out.
    Gap(Gap),
    /// The device starts anew: a snapshot of its conversations follows, then a checkpoint.
    Reset {
        /// Why.
        reason: ResetReason,
    },
    /// A conversation of a snapshot. Its ranges count as gaps.
    Conversation(Box<Conversation>),
    /// Everything in `(from, to]` has been delivered, or was in a stated gap.
    Checkpoint {
        /// Covers the positions above this,
        from: u64,
        /// up to and including this.
        to: u64,
        /// What to go on from.
        checkpoint: Bytes,
        /// Whether nothing newer was visible when the server said so.
        caught_up: bool,
    },
}
