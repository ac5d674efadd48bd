//! Reading timelines: a range of one list, found by the prefix and the order of its chunks.

use super::family::Family;
use super::outbox::Chunk;
use super::{Store, inbox, outbox};
use crate::reach::{Halt, Reach};
use crate::state::OutboxEntry;
use highwater_proto::error::{Damage, Error};
use highwater_proto::id::{ConversationId, Position, Seq, UserId};
use highwater_proto::limits::PACKED_ENTRIES_MAX;
use rocksdb::{DBRawIterator, ErrorKind, ReadOptions, ReadTier};

/// Chunks that are walked back from an outbox's end before what is wanted is searched for.
const WALK_BACK_CHUNKS: usize = 4;

impl Store {
    /// A user's positions in `(after, through]`, ascending, the first `limit` of them.
    pub(crate) fn inbox_after(
        &self,
        user: UserId,
        after: Position,
        through: Position,
        limit: usize,
        reach: Reach,
    ) -> Result<Vec<Position>, Halt> {
        let mut found = Vec::new();
        let mut chunks = self.list(Family::Inbox, &inbox::key(user, Position::ZERO), &inbox::end_key(user), reach);
        chunks.seek(inbox::key(user, Position(after.0.saturating_add(1))));
        let mut last = Position::ZERO;
        while let Some((key, value)) = chunks.item() {
            let positions = inbox::decode(key, value).and_then(|(_, positions)| following(last, positions));
            let positions = positions.map_err(|damage| self.damaged(Family::Inbox, key, &damage))?;
            last = positions.last().copied().unwrap_or(last);
            let wanted = positions.into_iter().filter(|position| after < *position && *position <= through);
            found.extend(wanted.take(limit.saturating_sub(found.len())));
            if found.len() >= limit || last >= through {
                break;
            }
            chunks.next();
        }
        chunks.status().map_err(|error| self.halt(&error))?;
        Ok(found)
    }

    /// As [`Outboxes::after`], of one outbox.
    pub(crate) fn outbox_after(
        &self,
        conversation: ConversationId,
        after: Position,
        through: Position,
        limit: usize,
        reach: Reach,
    ) -> Result<Vec<(Seq, OutboxEntry)>, Halt> {
        self.outboxes(reach).after(conversation, after, through, limit)
    }

    /// For reading many outboxes, one after the other.
    pub(crate) fn outboxes(&self, reach: Reach) -> Outboxes<'_> {
        let mut options = read_options(reach);
        options.set_prefix_same_as_start(true);
        let rows = self.db.raw_iterator_cf_opt(self.handle(Family::Outbox), options);
        Outboxes { store: self, conversation: ConversationId::ZERO, rows }
    }

    /// A conversation's entries from a seq on with positions up to `through`, ascending, the first `limit` of them.
    pub(crate) fn outbox_from(
        &self,
        conversation: ConversationId,
        from: Seq,
        limit: usize,
        through: Position,
        reach: Reach,
    ) -> Result<Vec<(Seq, OutboxEntry)>, Halt> {
        let mut outboxes = self.outboxes(reach);
        outboxes.conversation = conversation;
        let first = match outboxes.at_or_before(from)? {
            Some(chunk) => Some(chunk),
            None => outboxes.first()?,
        };
        outboxes.collect(first, Outboxes::next, limit, |seq, entry| Range::of(from <= seq, entry.position <= through))
    }

    /// Rows from `first` to below `end`, two keys with the same prefix. Confined to memory, it stops with the status
    /// `Incomplete` where a block is not in RocksDB's cache.
    pub(super) fn list(&self, family: Family, first: &[u8], end: &[u8], reach: Reach) -> DBRawIterator<'_> {
        let mut options = read_options(reach);
        options.set_prefix_same_as_start(true);
        options.set_iterate_lower_bound(first);
        options.set_iterate_upper_bound(end);
        self.db.raw_iterator_cf_opt(self.handle(family), options)
    }

    fn halt(&self, error: &rocksdb::Error) -> Halt {
        match error.kind() {
            ErrorKind::Incomplete => Halt::OutOfReach,
            _ => Halt::Failed(self.error(error)),
        }
    }
}

fn read_options(reach: Reach) -> ReadOptions {
    let mut options = ReadOptions::default();
    if reach == Reach::Memory {
        options.set_read_tier(ReadTier::BlockCache);
    }
    options
}

/// A chunk's positions, if they stand above those of the chunk before.
fn following(last: Position, positions: Vec<Position>) -> Result<Vec<Position>, Damage> {
    match positions.first() {
        Some(first) if *first <= last => Err(Damage::new(format!("position {first} stands after {last}"))),
        _ => Ok(positions),
    }
}

/// Where an entry lies as to what is wanted.
enum Range {
    Before,
    Wanted,
    Beyond,
}

impl Range {
    fn of(is_begun: bool, is_within: bool) -> Self {
        match (is_begun, is_within) {
            (_, false) => Self::Beyond,
            (false, true) => Self::Before,
            (true, true) => Self::Wanted,
        }
    }
}

/// Reads outboxes with one iterator, since making one costs more than moving it to another outbox.
pub(crate) struct Outboxes<'a> {
    store: &'a Store,
    /// Whose chunks are looked for.
    conversation: ConversationId,
    rows: DBRawIterator<'a>,
}

impl Outboxes<'_> {
    /// A conversation's entries with positions in `(after, through]`, ascending, the first `limit` of them.
    ///
    /// Looked for from the end, since devices are seldom far behind.
    pub(crate) fn after(
        &mut self,
        conversation: ConversationId,
        after: Position,
        through: Position,
        limit: usize,
    ) -> Result<Vec<(Seq, OutboxEntry)>, Halt> {
        self.conversation = conversation;
        let range = |_, entry: &OutboxEntry| Range::of(after < entry.position, entry.position <= through);
        // The newest first.
        let mut walked: Vec<Chunk> = Vec::new();
        // No chunk begins at the greatest seq of all.
        let mut chunk = self.at_or_before(Seq(u64::MAX - 1))?;
        while let Some(current) = chunk {
            let is_far_enough = current.first == Seq(1) || begins_by(&current, after);
            if !is_far_enough && walked.len() == WALK_BACK_CHUNKS {
                let first = self.search(after, current)?;
                return self.collect(first, Self::next, limit, range);
            }
            walked.push(current);
            chunk = if is_far_enough { None } else { self.previous()? };
        }
        self.collect(walked.pop(), |_| Ok(walked.pop()), limit, range)
    }

    /// The first chunk.
    fn first(&mut self) -> Result<Option<Chunk>, Halt> {
        self.rows.seek(outbox::key(self.conversation, Seq::ZERO));
        self.current()
    }

    /// The last chunk whose first entry has this seq or a lower one.
    fn at_or_before(&mut self, seq: Seq) -> Result<Option<Chunk>, Halt> {
        self.rows.seek_for_prev(outbox::key(self.conversation, seq));
        self.current()
    }

    fn previous(&mut self) -> Result<Option<Chunk>, Halt> {
        self.rows.prev();
        self.current()
    }

    fn next(&mut self) -> Result<Option<Chunk>, Halt> {
        self.rows.next();
        self.current()
    }

    fn current(&self) -> Result<Option<Chunk>, Halt> {
        match self.rows.item() {
            Some((key, value)) => {
                let chunk = outbox::decode(key, value);
                let chunk = chunk.map_err(|damage| self.store.damaged(Family::Outbox, key, &damage))?;
                Ok(Some(chunk).filter(|chunk| chunk.conversation == self.conversation))
            }
            None => self.rows.status().map(|()| None).map_err(|error| self.store.halt(&error)),
        }
    }

    /// Whether the iterator stands at the chunk that begins with this seq.
    fn is_at(&self, first: Seq) -> bool {
        self.rows.key() == Some(&outbox::key(self.conversation, first)[..])
    }

    /// The last chunk that begins at or below a position; else the first one. `above` begins above it. The iterator
    /// stands at what is found.
    fn search(&mut self, position: Position, above: Chunk) -> Result<Option<Chunk>, Halt> {
        let found = self.search_below(position, above)?;
        match found {
            Some(chunk) if !self.is_at(chunk.first) => self.at_or_before(chunk.first),
            found => Ok(found),
        }
    }

    fn search_below(&mut self, position: Position, mut above: Chunk) -> Result<Option<Chunk>, Halt> {
        // Back from the end in growing steps, to a chunk that begins at or below it,
        let mut step = PACKED_ENTRIES_MAX as u64;
        let mut below = loop {
            match self.at_or_before(Seq(above.first.0.saturating_sub(step)))? {
                Some(chunk) if begins_by(&chunk, position) => break chunk,
                Some(chunk) => above = chunk,
                None => match self.first()? {
                    Some(chunk) if begins_by(&chunk, position) => break chunk,
                    first => return Ok(first),
                },
            }
            step = step.saturating_mul(2);
        };
        // then halving what lies between.
        loop {
            let middle = Seq(below.first.0 + (above.first.0 - below.first.0) / 2);
            let chunk = match self.at_or_before(middle)? {
                Some(chunk) if chunk.first > below.first => Some(chunk),
                // Nothing begins between `below` and the middle: what comes next lies beyond the middle.
                _ => self.next()?,
            };
            match chunk {
                Some(chunk) if chunk.first < above.first => {
                    if begins_by(&chunk, position) {
                        below = chunk;
                    } else {
                        above = chunk;
                    }
                }
                _ => return Ok(Some(below)),
            }
        }
    }

    /// Entries from `chunk` on that `range` wants, at most `limit`; `next` gives the chunk that follows.
    fn collect(
        &mut self,
        mut chunk: Option<Chunk>,
        mut next: impl FnMut(&mut Self) -> Result<Option<Chunk>, Halt>,
        limit: usize,
        range: impl Fn(Seq, &OutboxEntry) -> Range,
    ) -> Result<Vec<(Seq, OutboxEntry)>, Halt> {
        let mut found = Vec::new();
        while let Some(current) = chunk {
            for (seq, entry) in (current.first.0..).map(Seq).zip(&current.entries) {
                if found.len() >= limit {
                    return Ok(found);
                }
                match range(seq, entry) {
                    Range::Before => {}
                    Range::Wanted => found.push((seq, *entry)),
                    Range::Beyond => return Ok(found),
                }
            }
            if found.len() >= limit {
                return Ok(found);
            }
            chunk = next(self)?;
            if let Some(next) = &chunk {
                self.check_follows(&current, next)?;
            }
        }
        Ok(found)
    }

    /// Seqs have no holes, and positions ascend, from chunk to chunk as within one.
    fn check_follows(&self, chunk: &Chunk, next: &Chunk) -> Result<(), Error> {
        let positions_ascend = match (chunk.entries.last(), next.entries.first()) {
            (Some(last), Some(first)) => last.position < first.position,
            _ => true,
        };
        if next.first == chunk.end() && positions_ascend {
            return Ok(());
        }
        let damage =
            Damage::new(format!("the chunk does not follow the one before it, which ends below seq {}", chunk.end()));
        Err(self.store.damaged(Family::Outbox, &outbox::key(self.conversation, next.first), &damage))
    }
}

fn begins_by(chunk: &Chunk, position: Position) -> bool {
    chunk.entries.first().is_some_and(|first| first.position <= position)
}
