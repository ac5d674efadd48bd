//! Collecting the counters that the parts of an open store keep.

use super::shared::Shared;
use crate::usage::Usage;

/// What was done so far and is held now; see [`Usage`]. Locks are taken one at a time, for a few loads each.
pub(crate) fn usage(shared: &Shared) -> Usage {
    let log = shared.log.usage();
    let index = shared.store.usage();
    let mut usage = {
        let state = shared.state.read();
        Usage {
            records_applied: state.applied.0 - shared.loaded.0,
            inbox_entries: state.head.inbox_entries(),
            head_bytes: state.head.bytes() as u64,
            frozen_head_bytes: state.frozen.as_ref().map_or(0, |head| head.bytes() as u64),
            dirty_rows: state.dirty.len() as u64,
            resident_rows: state.rows() as u64,
            ..Usage::default()
        }
    };
    let persists = shared.persisted.0.lock().done;
    usage.inbox_entries += persists.inbox_entries;
    usage.persists = persists.count;
    usage.persist_last = persists.last;
    usage.log_bytes = log.bytes;
    usage.log_frames = log.frames;
    usage.log_syncs = log.syncs;
    usage.index_flush_bytes = index.flush_bytes;
    usage.index_compaction_bytes = index.compaction_bytes;
    usage.block_cache_hits = index.cache_hits;
    usage.block_cache_misses = index.cache_misses;
    usage.block_cache_bytes_read = index.cache_bytes_read;
    usage
}
