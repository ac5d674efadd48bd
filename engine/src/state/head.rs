//! The newest part of every timeline: what was appended since the last persist.
//!
//! Positions are kept as their distance from the head's base, in 32 bits; an outbox entry has its mark in the lowest bit.

use super::lists::{Lists, Parts};
use highwater_proto::id::{ConversationId, Position, Seq, UserId};
use rustc_hash::FxHashMap;

/// Inboxes and outboxes since a persist.
#[derive(Debug, Default)]
pub(crate) struct Head {
    /// Everything in it is above this position.
    base: Position,
    /// Positions fanned out to a user, ascending.
    inboxes: Lists,
    /// A conversation's newest records.
    outboxes: Lists,
    /// The seq of each outbox's first entry.
    first_seqs: FxHashMap<ConversationId, Seq>,
    /// Entries of all inboxes.
    inbox_entries: u64,
}

/// A record in an outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutboxEntry {
    pub(crate) position: Position,
    /// Whether it is a message.
    pub(crate) countable: bool,
}

/// The newest records of a conversation: the i-th entry has the seq `first + i`.
pub(crate) struct OutboxHead<'a> {
    head: &'a Head,
    conversation: ConversationId,
    pub(crate) first: Seq,
}

/// Positions that one head can tell apart.
pub(crate) const HEAD_POSITIONS_MAX: u64 = 1 << 31;
/// What an outbox's first seq costs, in bytes.
const FIRST_SEQ_BYTES: usize = 24;

impl Head {
    /// An empty head; everything in it will be above `base`.
    pub(crate) fn new(base: Position) -> Self {
        Self { base, ..Self::default() }
    }

    /// Empties it, and keeps its memory. Goes through all of that.
    pub(crate) fn emptied(mut self) -> Self {
        self.inboxes.clear();
        self.outboxes.clear();
        self.first_seqs.clear();
        self.inbox_entries = 0;
        self
    }

    /// An empty head in which everything will be above `base`.
    pub(crate) fn begun_at(self, base: Position) -> Self {
        debug_assert!(self.inbox_entries == 0 && self.first_seqs.is_empty(), "it is empty");
        Self { base, ..self }
    }

    /// Everything in it is above this position.
    pub(crate) fn base(&self) -> Position {
        self.base
    }

    /// Entries of all inboxes.
    pub(crate) fn inbox_entries(&self) -> u64 {
        self.inbox_entries
    }

    /// About how much memory it takes, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.inboxes.bytes() + self.outboxes.bytes() + self.first_seqs.len() * FIRST_SEQ_BYTES
    }

    /// Appends to a user's inbox. A record reaches it once, however many reasons there are.
    #[inline]
    pub(crate) fn push_inbox(&mut self, user: UserId, position: Position) {
        let is_new = self.inboxes.push(user.0, self.distance(position));
        self.inbox_entries += u64::from(is_new);
    }

    /// Appends to the inboxes of all these users.
    #[inline]
    pub(crate) fn push_inboxes(&mut self, users: &[UserId], position: Position) {
        let distance = self.distance(position);
        // What this costs is lines that are not in the cache. Nothing here waits for another user's, so that the
        // processor fetches several at once.
        for user in users {
            self.inbox_entries += u64::from(self.inboxes.push(user.0, distance));
        }
    }

    /// Reads the line in which a user's inbox ends.
    pub(super) fn touch_inbox(&self, user: UserId) -> u64 {
        self.inboxes.len(user.0) as u64
    }

    /// Reads the line in which a conversation's outbox ends.
    pub(super) fn touch_outbox(&self, conversation: ConversationId) -> u64 {
        self.outboxes.len(conversation.0) as u64
    }

    pub(crate) fn push_outbox(&mut self, conversation: ConversationId, seq: Seq, entry: OutboxEntry) {
        if self.outboxes.len(conversation.0) == 0 {
            self.first_seqs.insert(conversation, seq);
        }
        self.outboxes.push(conversation.0, self.distance(entry.position) << 1 | u32::from(entry.countable));
    }

    /// A user's positions in `(after, through]`, ascending.
    pub(crate) fn inbox(
        &self,
        user: UserId,
        after: Position,
        through: Position,
    ) -> impl Iterator<Item = Position> + use<'_> {
        let (after, through) = self.bounds(after, through);
        let base = self.base.0;
        self.inboxes
            .parts_after(user.0, after)
            .range(after, through)
            .map(move |distance| Position(base + u64::from(distance)))
    }

    /// Calls `each` with every inbox, ascending.
    pub(crate) fn each_inbox(&self, mut each: impl FnMut(UserId, &[Position])) {
        let mut positions = Vec::new();
        for id in self.inboxes.ids() {
            positions.clear();
            positions.extend(self.inboxes.parts(id).all().map(|distance| Position(self.base.0 + u64::from(distance))));
            each(UserId(id), &positions);
        }
    }

    /// The newest records of a conversation, if it has some here.
    pub(crate) fn outbox(&self, conversation: ConversationId) -> Option<OutboxHead<'_>> {
        let first = *self.first_seqs.get(&conversation)?;
        Some(OutboxHead { head: self, conversation, first })
    }

    /// Calls `each` with every outbox, ascending: the conversation, its first seq here, and its entries.
    pub(crate) fn each_outbox(&self, mut each: impl FnMut(ConversationId, Seq, &[OutboxEntry])) {
        let mut entries = Vec::new();
        for id in self.outboxes.ids().map(ConversationId) {
            if let Some(outbox) = self.outbox(id) {
                entries.clear();
                entries.extend(outbox.entries());
                each(id, outbox.first, &entries);
            }
        }
    }

    #[inline]
    fn distance(&self, position: Position) -> u32 {
        let distance = position.0 - self.base.0;
        debug_assert!(distance < HEAD_POSITIONS_MAX, "what is too much for one head is not applied");
        distance as u32
    }

    /// `(after, through]` as distances from the base.
    fn bounds(&self, after: Position, through: Position) -> (u32, u32) {
        let distance = |position: Position| position.0.saturating_sub(self.base.0).min(HEAD_POSITIONS_MAX - 1) as u32;
        (distance(after), distance(through))
    }

    fn entry(&self, number: u32) -> OutboxEntry {
        OutboxEntry { position: Position(self.base.0 + u64::from(number >> 1)), countable: number & 1 == 1 }
    }
}

impl<'a> OutboxHead<'a> {
    fn parts(&self) -> Parts<'a> {
        self.head.outboxes.parts(self.conversation.0)
    }

    /// The record with this seq.
    pub(crate) fn entry(&self, seq: Seq) -> Option<OutboxEntry> {
        let index = usize::try_from(seq.0.checked_sub(self.first.0)?).ok()?;
        let (first, parts) = self.head.outboxes.parts_from(self.conversation.0, index);
        parts.get(index - first).map(|number| self.head.entry(number))
    }

    /// Entries from a seq on, ascending. What comes before is not looked at, however much that is.
    pub(crate) fn entries_from(&self, seq: Seq) -> impl Iterator<Item = (Seq, OutboxEntry)> + use<'a> {
        let head = self.head;
        let index = usize::try_from(seq.0.saturating_sub(self.first.0)).unwrap_or(usize::MAX);
        let (first, parts) = head.outboxes.parts_from(self.conversation.0, index);
        let seqs = (self.first.0 + first as u64..).map(Seq);
        seqs.zip(parts.all().map(|number| head.entry(number))).skip(index - first)
    }

    /// All entries, ascending.
    pub(crate) fn entries(&self) -> impl Iterator<Item = OutboxEntry> + use<'a> {
        let head = self.head;
        self.parts().all().map(|number| head.entry(number))
    }

    /// Entries in `(after, through]`, ascending.
    pub(crate) fn range(&self, after: Position, through: Position) -> impl Iterator<Item = OutboxEntry> + use<'a> {
        let head = self.head;
        let (after, through) = head.bounds(after, through);
        // Both marks of a position lie at or below the bound of what ends with it.
        let (after, through) = (after << 1 | 1, through << 1 | 1);
        head.outboxes.parts_after(self.conversation.0, after).range(after, through).map(|number| head.entry(number))
    }
}

/// Damage for tests.
#[cfg(test)]
impl Head {
    pub(crate) fn rewrite_inbox(&mut self, user: UserId, change: impl FnOnce(&mut Vec<Position>)) {
        let mut inbox: Vec<Position> = self.inbox(user, Position::ZERO, Position(u64::MAX)).collect();
        change(&mut inbox);
        self.inboxes.empty(user.0);
        inbox.into_iter().for_each(|position| self.push_inbox(user, position));
    }

    pub(crate) fn rewrite_outbox(
        &mut self,
        conversation: ConversationId,
        change: impl FnOnce(&mut Seq, &mut Vec<OutboxEntry>),
    ) {
        let outbox = self.outbox(conversation).expect("there is such an outbox");
        let (mut first, mut entries) = (outbox.first, outbox.entries().collect());
        change(&mut first, &mut entries);
        self.outboxes.empty(conversation.0);
        entries.into_iter().for_each(|entry| self.push_outbox(conversation, first, entry));
        self.first_seqs.insert(conversation, first);
    }
}
