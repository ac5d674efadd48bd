//! The newest part of every timeline: what the applier appended since the last persist.

use highwater_proto::id::{ConversationId, Position, Seq, UserId};
use std::collections::HashMap;

/// Inboxes and outboxes since a persist.
#[derive(Debug, Default)]
pub(crate) struct Head {
    /// Positions fanned out to a user, ascending.
    pub(crate) inboxes: HashMap<UserId, Vec<Position>>,
    /// A conversation's newest records.
    pub(crate) outboxes: HashMap<ConversationId, OutboxHead>,
    /// About how much memory it takes, in bytes.
    pub(crate) bytes: usize,
    /// Entries of all inboxes.
    pub(crate) inbox_entries: u64,
}

/// The newest records of a conversation: `entries[i]` has the seq `first + i`.
#[derive(Debug)]
pub(crate) struct OutboxHead {
    pub(crate) first: Seq,
    pub(crate) entries: Vec<OutboxEntry>,
}

/// A record in an outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutboxEntry {
    pub(crate) position: Position,
    /// Whether it is a message.
    pub(crate) countable: bool,
}

/// What a list costs besides its entries: its hash slot and header.
const LIST_BYTES: usize = 64;
const INBOX_ENTRY_BYTES: usize = size_of::<Position>();
const OUTBOX_ENTRY_BYTES: usize = size_of::<OutboxEntry>();

impl Head {
    pub(crate) fn push_inbox(&mut self, user: UserId, position: Position) {
        let inbox = self.inboxes.entry(user).or_insert_with(|| {
            self.bytes += LIST_BYTES;
            Vec::new()
        });
        // A record reaches an inbox once, however many reasons there are: positions are ascending.
        if inbox.last() != Some(&position) {
            inbox.push(position);
            self.bytes += INBOX_ENTRY_BYTES;
            self.inbox_entries += 1;
        }
    }

    pub(crate) fn push_outbox(&mut self, conversation: ConversationId, seq: Seq, entry: OutboxEntry) {
        let outbox = self.outboxes.entry(conversation).or_insert_with(|| {
            self.bytes += LIST_BYTES;
            OutboxHead { first: seq, entries: Vec::new() }
        });
        debug_assert_eq!(outbox.first.0 + outbox.entries.len() as u64, seq.0, "seqs are contiguous");
        outbox.entries.push(entry);
        self.bytes += OUTBOX_ENTRY_BYTES;
    }

    /// A user's positions in `(after, through]`, ascending.
    pub(crate) fn inbox(&self, user: UserId, after: Position, through: Position) -> &[Position] {
        let Some(inbox) = self.inboxes.get(&user) else { return &[] };
        let first = inbox.partition_point(|position| *position <= after);
        let end = inbox.partition_point(|position| *position <= through);
        inbox.get(first..end).unwrap_or(&[])
    }
}

impl OutboxHead {
    /// The record with this seq.
    pub(crate) fn entry(&self, seq: Seq) -> Option<OutboxEntry> {
        self.entries.get(usize::try_from(seq.0.checked_sub(self.first.0)?).ok()?).copied()
    }

    /// Entries in `(after, through]`, ascending, and the seq of the first of them.
    pub(crate) fn range(&self, after: Position, through: Position) -> (Seq, &[OutboxEntry]) {
        let first = self.entries.partition_point(|entry| entry.position <= after);
        let end = self.entries.partition_point(|entry| entry.position <= through);
        (Seq(self.first.0 + first as u64), self.entries.get(first..end).unwrap_or(&[]))
    }
}
