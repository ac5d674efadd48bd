//! What the index looks like inside: for `inspect` and `verify`, which read it as a whole; and what it has cost so far.

use super::family::Family;
use super::{Store, inbox, outbox};
use crate::reach::Reach;
use crate::state::OutboxEntry;
use highwater_proto::error::{Damage, Error};
use highwater_proto::id::{ConversationId, Position, Seq, UserId};
use rocksdb::statistics::Ticker;

/// A family's size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FamilyStatistics {
    /// Its name on disk.
    pub(crate) name: &'static str,
    /// Table files.
    pub(crate) files: usize,
    /// Rows in them; a row that was overwritten counts until the files are merged.
    pub(crate) rows: u64,
    /// Their size, in bytes.
    pub(crate) bytes: u64,
}

/// What the index has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct IndexUsage {
    /// Bytes written by flushes.
    pub(crate) flush_bytes: u64,
    /// Bytes written by compactions.
    pub(crate) compaction_bytes: u64,
    /// Blocks found in the cache.
    pub(crate) cache_hits: u64,
    /// Blocks that were not.
    pub(crate) cache_misses: u64,
    /// Bytes of blocks found in the cache.
    pub(crate) cache_bytes_read: u64,
}

/// A chunk of a timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// Seq of the first entry; zero in an inbox.
    pub(crate) first_seq: Seq,
    /// Positions, ascending.
    pub(crate) positions: Vec<Position>,
    /// How many of the entries are messages; zero in an inbox.
    pub(crate) countable: usize,
    /// Bytes of its value.
    pub(crate) bytes: usize,
}

impl Store {
    /// What was done since the index was opened. Cheap.
    pub(crate) fn usage(&self) -> IndexUsage {
        let count = |ticker| self.options.get_ticker_count(ticker);
        IndexUsage {
            flush_bytes: count(Ticker::FlushWriteBytes),
            compaction_bytes: count(Ticker::CompactWriteBytes),
            cache_hits: count(Ticker::BlockCacheHit),
            cache_misses: count(Ticker::BlockCacheMiss),
            cache_bytes_read: count(Ticker::BlockCacheBytesRead),
        }
    }

    /// All families with their sizes. Reads the properties of every table file.
    pub(crate) fn statistics(&self) -> Result<Vec<FamilyStatistics>, Error> {
        let files = self.db.live_files().map_err(|error| self.error(&error))?;
        let statistics = |family: Family| {
            let of_family = || files.iter().filter(move |file| file.column_family_name == family.name());
            Ok(FamilyStatistics {
                name: family.name(),
                files: of_family().count(),
                rows: self.rows_in_tables(family)?,
                bytes: of_family().map(|file| file.size as u64).sum(),
            })
        };
        Family::ALL.into_iter().map(statistics).collect()
    }

    /// Rows in the table files of a family, which RocksDB tells as text: `...; # entries=9; ...`.
    fn rows_in_tables(&self, family: Family) -> Result<u64, Error> {
        let properties = self.db.property_value_cf(self.handle(family), "rocksdb.aggregated-table-properties");
        let properties = properties.map_err(|error| self.error(&error))?.unwrap_or_default();
        let entries = properties.split(';').find_map(|property| property.trim().strip_prefix("# entries="));
        Ok(entries.and_then(|entries| entries.parse().ok()).unwrap_or(0))
    }

    /// The chunks of a user's inbox, ascending.
    pub(crate) fn inbox_chunks(&self, user: UserId) -> Result<Vec<Chunk>, Error> {
        let first = inbox::key(user, Position::ZERO);
        self.chunks(Family::Inbox, &first, &inbox::end_key(user), |key, value| {
            let (_, positions) = inbox::decode(key, value)?;
            Ok(Chunk { first_seq: Seq::ZERO, positions, countable: 0, bytes: value.len() })
        })
    }

    /// The chunks of a conversation's outbox, ascending.
    pub(crate) fn outbox_chunks(&self, conversation: ConversationId) -> Result<Vec<Chunk>, Error> {
        let first = outbox::key(conversation, Seq::ZERO);
        self.chunks(Family::Outbox, &first, &outbox::end_key(conversation), |key, value| {
            let chunk = outbox::decode(key, value)?;
            Ok(Chunk {
                first_seq: chunk.first,
                positions: chunk.entries.iter().map(|entry| entry.position).collect(),
                countable: chunk.entries.iter().filter(|entry| entry.countable).count(),
                bytes: value.len(),
            })
        })
    }

    /// Calls `each` with every chunk of every inbox, by user and ascending.
    pub(crate) fn scan_inboxes(&self, mut each: impl FnMut(UserId, Vec<Position>)) -> Result<(), Error> {
        self.scan(Family::Inbox, |key, value| {
            let (user, positions) = inbox::decode(key, value)?;
            each(user, positions);
            Ok(())
        })
    }

    /// Calls `each` with every chunk of every outbox, by conversation and ascending: the first entry's seq, and entries.
    pub(crate) fn scan_outboxes(
        &self,
        mut each: impl FnMut(ConversationId, Seq, Vec<OutboxEntry>),
    ) -> Result<(), Error> {
        self.scan(Family::Outbox, |key, value| {
            let chunk = outbox::decode(key, value)?;
            each(chunk.conversation, chunk.first, chunk.entries);
            Ok(())
        })
    }

    fn chunks(
        &self,
        family: Family,
        first: &[u8],
        end: &[u8],
        chunk: impl Fn(&[u8], &[u8]) -> Result<Chunk, Damage>,
    ) -> Result<Vec<Chunk>, Error> {
        let mut chunks = Vec::new();
        let mut rows = self.list(family, first, end, Reach::Disk);
        rows.seek(first);
        while let Some((key, value)) = rows.item() {
            chunks.push(chunk(key, value).map_err(|damage| self.damaged(family, key, &damage))?);
            rows.next();
        }
        rows.status().map_err(|error| self.error(&error))?;
        Ok(chunks)
    }
}
