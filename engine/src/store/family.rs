//! The families: what the index is divided into, and how each part is tuned. This table is the schema.
//!
//! A family's name is part of the format. A retired name stays reserved: it is never given to something else. Families
//! of a generation carry its number in their names; there is one generation so far.

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompactionStyle, DBCompressionType, Options, SliceTransform,
    UniversalCompactOptions,
};

/// A part of the index with keys and values of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Inbox,
    Outbox,
    Conversations,
    Members,
    Memberships,
    Follows,
    Devices,
    Acknowledged,
    Redactions,
    Recalled,
    Names,
    Meta,
}

/// What a family is used for, which decides its tuning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// Chunks of lists that grow at their ends: read by the prefix of one list, never overwritten.
    Timeline,
    /// Rows that are read once, all of them, when the store opens, and overwritten by later persists.
    Rows,
}

impl Family {
    /// All families, in the order in which a persist writes them.
    pub(super) const ALL: [Family; 12] = [
        Family::Inbox,
        Family::Outbox,
        Family::Conversations,
        Family::Members,
        Family::Memberships,
        Family::Follows,
        Family::Devices,
        Family::Acknowledged,
        Family::Redactions,
        Family::Recalled,
        Family::Names,
        Family::Meta,
    ];

    /// The name on disk.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Family::Inbox => "inbox.1",
            Family::Outbox => "outbox.1",
            Family::Conversations => "conversations",
            Family::Members => "members",
            Family::Memberships => "memberships",
            Family::Follows => "follows",
            Family::Devices => "devices",
            Family::Acknowledged => "acknowledged",
            Family::Redactions => "redactions",
            Family::Recalled => "recalled",
            Family::Names => "names",
            Family::Meta => "meta",
        }
    }

    const fn usage(self) -> Use {
        match self {
            Family::Inbox | Family::Outbox => Use::Timeline,
            _ => Use::Rows,
        }
    }

    /// The family with its tuning; blocks of all families share one cache.
    pub(super) fn descriptor(self, cache: &Cache) -> ColumnFamilyDescriptor {
        let mut blocks = BlockBasedOptions::default();
        blocks.set_block_cache(cache);
        blocks.set_block_size(BLOCK_BYTES);
        // Index and filter blocks are charged to the cache: its size bounds what reading costs in memory.
        blocks.set_cache_index_and_filter_blocks(true);
        let mut options = Options::default();
        options.set_write_buffer_size(WRITE_BUFFER_BYTES);
        options.set_compression_type(DBCompressionType::Zstd);
        // A flush must never wait for a compaction.
        options.set_level_zero_slowdown_writes_trigger(STALL_FILES);
        options.set_level_zero_stop_writes_trigger(STALL_FILES);
        if self.usage() == Use::Rows {
            options.set_level_zero_file_num_compaction_trigger(ROWS_FILES_MERGED);
        } else {
            blocks.set_bloom_filter(BLOOM_BITS_PER_KEY, false);
            blocks.set_whole_key_filtering(false);
            options.set_prefix_extractor(SliceTransform::create_fixed_prefix(TIMELINE_PREFIX_BYTES));
            // A persist adds one file of sorted chunks. Until generations are sealed, files of like size are merged
            // from time to time, so that a list is not spread over ever more of them; nothing is ever overwritten, so
            // there is no space to win back and no reason to rewrite old, large files.
            let mut universal = UniversalCompactOptions::default();
            universal.set_max_size_amplification_percent(SIZE_AMPLIFICATION_PERCENT_MAX);
            options.set_compaction_style(DBCompactionStyle::Universal);
            options.set_universal_compaction_options(&universal);
            options.set_level_zero_file_num_compaction_trigger(TIMELINE_FILES_MERGED);
        }
        options.set_block_based_table_factory(&blocks);
        ColumnFamilyDescriptor::new(self.name(), options)
    }
}

/// The id of the user or conversation at the front of a timeline's keys.
const TIMELINE_PREFIX_BYTES: usize = 4;
/// A chunk of a timeline takes up to 1.5 KiB: some ten of them make a block.
const BLOCK_BYTES: usize = 16 << 10;
/// One false positive in a hundred.
const BLOOM_BITS_PER_KEY: f64 = 10.0;
/// Above what one persist can write to a family, so that its batch never straddles a change of memtables. Memory is
/// taken as it is used, 1 MiB at a time.
const WRITE_BUFFER_BYTES: usize = 8 << 30;
/// So many files that stalling never begins.
const STALL_FILES: i32 = 1 << 20;
/// A list is spread over at most about so many files, and a few merged ones.
const TIMELINE_FILES_MERGED: i32 = 8;
/// Persists whose rows stand beside the others: merging them writes all rows of a family again, and opening reads those
/// that were not merged yet in vain.
const ROWS_FILES_MERGED: i32 = 8;
/// In effect: never because of space.
const SIZE_AMPLIFICATION_PERCENT_MAX: i32 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_part_of_the_format() {
        let names: Vec<&str> = Family::ALL.iter().map(|family| family.name()).collect();
        assert_eq!(
            names,
            [
                "inbox.1",
                "outbox.1",
                "conversations",
                "members",
                "memberships",
                "follows",
                "devices",
                "acknowledged",
                "redactions",
                "recalled",
                "names",
                "meta",
            ]
        );
    }
}
