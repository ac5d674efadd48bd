//! What the log has written since it was opened.

use super::LogReader;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counted by the writer alone, so that it never contends for them.
#[derive(Debug, Default)]
pub(super) struct Counters {
    bytes: AtomicU64,
    frames: AtomicU64,
    syncs: AtomicU64,
}

/// The counters at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogUsage {
    /// Bytes written to segments and sidecars.
    pub(crate) bytes: u64,
    /// Frames appended.
    pub(crate) frames: u64,
    /// Syncs of segments.
    pub(crate) syncs: u64,
}

impl Counters {
    /// Bytes besides frames: headers of segments, sidecars.
    pub(super) fn wrote(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn appended_frame(&self, bytes: u64) {
        self.wrote(bytes);
        self.frames.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn synced(&self) {
        self.syncs.fetch_add(1, Ordering::Relaxed);
    }
}

impl LogReader {
    /// What was written since the log was opened.
    pub(crate) fn usage(&self) -> LogUsage {
        let counters = &self.shared.counters;
        LogUsage {
            bytes: counters.bytes.load(Ordering::Relaxed),
            frames: counters.frames.load(Ordering::Relaxed),
            syncs: counters.syncs.load(Ordering::Relaxed),
        }
    }
}
