//! The counters say what was done.

use super::{Fixture, message, receipt, session, to_bob};
use crate::entry::{Start, SyncLimits};
use crate::{Engine, Usage};
use std::time::Duration;

fn send(engine: &Engine, from: u64, count: u64) {
    let alice = session(engine, "alice", "phone", Box::new(|| {}));
    for number in from..from + count {
        receipt(engine.execute(message(alice, number, to_bob(), "hello")));
    }
}

#[test]
fn usage_counts_what_was_written_applied_and_persisted() {
    let fixture = Fixture::new();
    let engine = fixture.open();
    let opened = engine.usage();
    // A new index is flushed once, and its rows are read.
    let Usage { index_flush_bytes, block_cache_hits, block_cache_misses, block_cache_bytes_read, .. } = opened;
    let index =
        Usage { index_flush_bytes, block_cache_hits, block_cache_misses, block_cache_bytes_read, ..Usage::default() };
    assert_eq!(opened, index);

    send(&engine, 1, 1);
    let first = engine.usage();
    send(&engine, 2, 10);
    let second = engine.usage();
    assert_eq!(second.records_applied - first.records_applied, 10);
    assert_eq!(second.inbox_entries - first.inbox_entries, 20, "two members");
    assert_eq!(second.log_frames - first.log_frames, 10, "each waited for the one before");
    assert_eq!(second.log_syncs - first.log_syncs, 10);
    let record_bytes = (second.log_bytes - first.log_bytes) / 10;
    assert!((50..150).contains(&record_bytes), "a frame of a short message takes {record_bytes} bytes");
    assert!(first.head_bytes > 0 && second.head_bytes >= first.head_bytes);
    // Two users, a device, a conversation and its two members; to be written are four names and four rows.
    assert_eq!((second.resident_rows, second.dirty_rows), (6, 8));
    assert_eq!((second.persists, second.persist_last), (0, Duration::ZERO));

    engine.persist().unwrap();
    let third = engine.usage();
    assert_eq!((third.persists, third.dirty_rows, third.head_bytes, third.frozen_head_bytes), (1, 0, 0, 0));
    assert!(third.persist_last > Duration::ZERO);
    assert!(third.index_flush_bytes > second.index_flush_bytes);
    assert_eq!(third.inbox_entries, second.inbox_entries, "what is frozen still counts");
    assert_eq!(third.resident_rows, second.resident_rows);

    engine.sync("bob", Start::Beginning, SyncLimits::default()).unwrap();
    engine.sync("bob", Start::Beginning, SyncLimits::default()).unwrap();
    let fourth = engine.usage();
    assert!(fourth.block_cache_misses > third.block_cache_misses, "the first read fills the cache");
    assert!(fourth.block_cache_hits > third.block_cache_hits, "the second finds it filled");
    assert!(fourth.block_cache_bytes_read > third.block_cache_bytes_read);

    send(&engine, 12, 3);
    drop(engine);
    let engine = fixture.open();
    let reopened = engine.usage();
    // And the record of the epoch, which an opening after a crash appends.
    assert_eq!((reopened.records_applied, reopened.inbox_entries), (4, 6), "what was replayed counts");
    assert_eq!(reopened.persists, 0);
}
