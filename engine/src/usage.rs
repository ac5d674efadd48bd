//! What an open store has cost so far, and what it holds: counters for benchmarks, metrics and curious operators.
//!
//! They are always on, so each must be next to free: an addition without contention where something happens anyway, and
//! RocksDB's own tickers at the level that measures no time. Whoever wants to know what a piece of work took asks before
//! and after it and subtracts.

use std::time::Duration;

/// What an engine has done since it was opened, and what it holds in memory now. Counters only grow while the engine is
/// open. They are read one after the other, so that those of work in progress may not fit each other exactly.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes written to log segments (frames and headers) and to their sidecars.
    pub log_bytes: u64,
    /// Frames appended: groups that were written, and synced or not, as one.
    pub log_frames: u64,
    /// Syncs of log segments that had something to sync.
    pub log_syncs: u64,
    /// Records applied, those replayed by the opening included.
    pub records_applied: u64,
    /// Positions appended to inboxes, those replayed by the opening included.
    pub inbox_entries: u64,
    /// Persists that ended well.
    pub persists: u64,
    /// How long the last of them took, from the freeze until its rows were durable; zero before the first.
    pub persist_last: Duration,
    /// Bytes that flushes have written to the index: one flush ends every persist.
    pub index_flush_bytes: u64,
    /// Bytes that compactions have written to the index.
    pub index_compaction_bytes: u64,
    /// Blocks of the index (data, indexes, filters) found in its cache.
    pub block_cache_hits: u64,
    /// Blocks that were not there, and were read from files.
    pub block_cache_misses: u64,
    /// Bytes of the blocks found in the cache.
    pub block_cache_bytes_read: u64,
    /// About how many bytes the active head takes: what was appended to timelines since the last freeze.
    pub head_bytes: u64,
    /// The same for the head that is being persisted; zero if none is.
    pub frozen_head_bytes: u64,
    /// Rows of state that changed since the last freeze.
    pub dirty_rows: u64,
    /// Rows of state in memory: users, devices, conversations, memberships past or present, edited or recalled messages.
    pub resident_rows: u64,
}
