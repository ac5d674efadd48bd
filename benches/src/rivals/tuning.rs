//! How RocksDB is set up: as it comes, and as somebody would who knows it well.
//!
//! *Ordinary*: default options (leveled compaction, memtables of 64 MiB, no compression, since the default one is not
//! linked), one batch a send, each synced, from a pool of threads; RocksDB commits in groups by itself.
//!
//! *Expert*: one thread makes one sorted batch of everything that is queued; sorted, since a run of neighbours is far
//! cheaper to insert than the same keys in random order. No concurrent memtable writes, which a single writer does not
//! need. Universal compaction, bloom filters, zstd where it is asked for. The size of memtables is a parameter: the
//! programs measure several and compare with the best.

use super::Shape;
use rocksdb::statistics::StatsLevel;
use rocksdb::{BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompactionStyle, DBCompressionType, Options};

/// How RocksDB is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tuning {
    /// As it comes.
    Ordinary,
    /// By somebody who knows it well.
    Expert(Expert),
}

/// What an expert chooses by measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expert {
    /// Size of a memtable, in bytes.
    pub memtable_bytes: usize,
    /// Whether tables are compressed (zstd).
    pub is_compressed: bool,
}

impl Tuning {
    /// As tables say it.
    pub fn name(self) -> String {
        match self {
            Tuning::Ordinary => "ordinary".to_owned(),
            Tuning::Expert(Expert { memtable_bytes, is_compressed }) => {
                format!("expert, {} MiB{}", memtable_bytes >> 20, if is_compressed { ", zstd" } else { "" })
            }
        }
    }

    /// Threads that write to the database.
    pub(super) const fn writers(self) -> usize {
        match self {
            Tuning::Ordinary => 16,
            Tuning::Expert(_) => 1,
        }
    }

    /// Bytes that one batch takes at most.
    pub(super) const fn batch_bytes_max(self) -> usize {
        match self {
            // One post.
            Tuning::Ordinary => 0,
            Tuning::Expert(_) => 4 << 20,
        }
    }

    /// Options of the database as a whole.
    pub(super) fn database(self) -> Options {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.enable_statistics();
        options.set_statistics_level(StatsLevel::ExceptHistogramOrTimers);
        if let Tuning::Expert(_) = self {
            options.set_max_background_jobs(2);
            options.set_allow_concurrent_memtable_write(false);
            options.set_stats_dump_period_sec(0);
        }
        options
    }

    /// The families of a shape.
    pub(super) fn families(self, shape: Shape) -> Vec<ColumnFamilyDescriptor> {
        let cache = Cache::new_lru_cache(CACHE_BYTES);
        let names: &[&str] = if shape == Shape::Index { &[INBOX, MESSAGES] } else { &[INBOX] };
        names.iter().map(|name| ColumnFamilyDescriptor::new(*name, self.family(&cache))).collect()
    }

    fn family(self, cache: &Cache) -> Options {
        let mut options = Options::default();
        let Tuning::Expert(expert) = self else { return options };
        let mut blocks = BlockBasedOptions::default();
        blocks.set_block_cache(cache);
        blocks.set_block_size(BLOCK_BYTES);
        blocks.set_bloom_filter(10.0, false);
        options.set_block_based_table_factory(&blocks);
        options.set_write_buffer_size(expert.memtable_bytes);
        options.set_max_write_buffer_number(4);
        options.set_compaction_style(DBCompactionStyle::Universal);
        options.set_compression_type(if expert.is_compressed {
            DBCompressionType::Zstd
        } else {
            DBCompressionType::None
        });
        options
    }
}

/// As the engine's own cache.
const CACHE_BYTES: usize = 64 << 20;
const BLOCK_BYTES: usize = 16 << 10;

/// user (4 bytes), position (8) -> what the shape says.
pub(super) const INBOX: &str = "inbox";
/// position (8) -> record.
pub(super) const MESSAGES: &str = "messages";
