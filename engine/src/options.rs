//! How a store is opened.

use crate::log::disk::{Disk, RealDisk};
use highwater_proto::limits::Limits;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// What an acknowledged record survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// A power cut: synced before it is visible.
    Power,
    /// The end of the process: written before it is visible, synced at this interval. A power cut may lose the last
    /// interval; the loss is announced by a new epoch.
    Crash {
        /// Time between syncs.
        sync_interval: Duration,
    },
}

/// How conversations change between fan-out on write and on read, when they are not pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FanoutThresholds {
    /// More members than this: read.
    pub write_members_max: usize,
    /// Back to write at fewer members than this.
    pub read_members_min: usize,
    /// Shortest time between two changes, in ms; crossing `write_members_max` upwards does not wait.
    pub dwell_ms_min: u64,
    /// What the planner goes by, which moves conversations of up to `write_members_max` members to the mode that costs
    /// less; that bound is to be set higher then, to what one record may cost at most. `None`, the default: their members'
    /// number alone decides.
    pub costs: Option<FanoutCosts>,
}

/// What fan-out costs on this machine, for λ·n·H ≤ h·Σμ (λ records a second, n members, μ syncs a second of each).
/// `./x bench amplification` prints H, and h without news, for the machine that it runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FanoutCosts {
    /// H: CPU time of appending a record to one more inbox, its share of a persist included, in ns.
    pub append_ns: u64,
    /// h: CPU time that a sync takes for one more followed conversation, in ns. Without news it is a comparison (4 ns),
    /// with news in the index some 2 to 3 µs; the default lies between, on the side of fan-out on write.
    pub pull_check_ns: u64,
    /// CPU time that a conversation's mode may have cost more than the other one would have before it changes, in ns.
    pub regret_ns_max: u64,
}

impl Default for FanoutCosts {
    fn default() -> Self {
        Self { append_ns: 45, pull_check_ns: 75, regret_ns_max: 50_000_000 }
    }
}

impl Default for FanoutThresholds {
    fn default() -> Self {
        Self { write_members_max: 100, read_members_min: 80, dwell_ms_min: 60_000, costs: None }
    }
}

/// How a store is opened. The defaults are the recommendation.
#[derive(Clone)]
pub struct Options {
    /// What an acknowledged record survives.
    pub durability: Durability,
    /// The limits that commands are held to.
    pub limits: Limits,
    /// When to change the fan-out mode.
    pub fanout: FanoutThresholds,
    /// Users come into being when a command names them, whoever gives it. For development only.
    pub create_named_users: bool,
    /// Most entries (a position in an inbox or outbox) delivered by one group of records; a larger record makes a
    /// group of its own.
    pub group_entries_max: usize,
    /// Most bytes of one log segment file.
    pub segment_bytes_max: u64,
    /// Bytes of the newest records that are kept in memory, encoded forms included: what is read of them costs no disk.
    pub tail_bytes_max: usize,
    /// Persist when the head in memory reaches this size, in bytes. The head being persisted takes as much again.
    ///
    /// This and the next two bound what is replayed after a crash: two heads at the most. Lower values make that quicker
    /// and persists more frequent, each of which writes a chunk per timeline with something new in it, and a row per
    /// conversation, member and device that changed, however little: bytes on the device per message grow.
    pub persist_head_bytes: usize,
    /// Persist when so many rows of state have changed. Among many users a direct message changes up to three, and
    /// replaying one takes up to 2 µs.
    pub persist_dirty_rows: usize,
    /// Persist when the head holds so many records. Among few users replaying one takes less than 1 µs.
    pub persist_records: u64,
    /// Persist after this time at the latest, if anything changed.
    pub persist_interval: Duration,
    /// Where log segments are kept; by default the directory of the store.
    pub disk: Option<Arc<dyn Disk>>,
    /// The clock: ms since 1970.
    pub clock: Arc<dyn Fn() -> u64 + Send + Sync>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            durability: Durability::Power,
            limits: Limits::default(),
            fanout: FanoutThresholds::default(),
            create_named_users: false,
            group_entries_max: 16 << 10,
            segment_bytes_max: 64 << 20,
            tail_bytes_max: 32 << 20,
            persist_head_bytes: 256 << 20,
            persist_dirty_rows: 1_000_000,
            persist_records: 1_000_000,
            persist_interval: Duration::from_secs(3_600),
            disk: None,
            clock: Arc::new(system_time_ms),
        }
    }
}

impl Options {
    /// The disk for the log of the store at `path`.
    pub(crate) fn log_disk(&self, path: &Path) -> Arc<dyn Disk> {
        self.disk.clone().unwrap_or_else(|| Arc::new(RealDisk::new(path.join("log"))))
    }
}

fn system_time_ms() -> u64 {
    // Before 1970 there is nothing sensible to say; the sequencer never lets time go back.
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis() as u64)
}
