//! The log: the truth about a store, as segment files of framed records.
//!
//! What is acknowledged must be there after a power cut, and damage must never pass for data. Disks lose what was not
//! synced, in any order, and tell nobody. So the log remembers how far it was synced: in every frame, in a small
//! `fence` file about once a second and at a clean close, and in the mere existence of a newer segment, which is
//! made only after the one before it was synced. See [`highwater_proto::frame`] for the decision *torn or corrupt?*.
//!
//! Opening after an unclean stop trusts nothing that the page cache shows above the last claim: those frames are
//! copied to a new segment of a raised epoch, under a temporary name, synced, renamed, and the directory synced, before
//! anything of it is visible. From its first position on, segments of older epochs are ignored.
//!
//! - [`disk`]: files as the log sees them, [`sim`]: the same in memory, forgetting what was not synced;
//! - `survey`: what is there, without changing it; `open`: deciding, recovering; `check`: for offline tools;
//! - `writer`, `space` (reserved before positions are assigned), `reader`, `segment` and `sidecar` (where each record
//!   begins), `tail` (the newest records, in memory), `fence`, `names`, `counters`.
//!
//! Memory: the tail; offsets of the newest 5 segments, 4 bytes per record; while opening and replaying also one whole segment.
//! File handles: the newest 64 segments.

pub mod disk;
pub mod sim;

mod check;
mod counters;
mod fence;
mod names;
mod open;
mod reader;
mod replay;
mod segment;
mod sidecar;
mod space;
mod survey;
mod tail;
mod writer;

#[cfg(test)]
mod tests;

pub(crate) use check::{check, summary};
pub(crate) use open::open;
pub(crate) use reader::{Found, LogReader};
pub(crate) use replay::Bodies;
pub(crate) use space::LogSpace;
pub(crate) use tail::Kept;
pub(crate) use writer::LogWriter;

use crate::sync::{Mutex, RwLock};
use highwater_proto::error::{Code, Error};
use highwater_proto::id::{Epoch, Position};
use std::fmt;
use std::io;
use std::sync::Arc;

/// How a log is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogOptions {
    /// A segment is ended before it grows beyond this, in bytes; a frame that is larger makes a segment of its own.
    pub(crate) segment_bytes_max: u64,
    /// Bytes of newest records that are kept in memory.
    pub(crate) tail_bytes_max: usize,
}

/// A log that was opened.
pub(crate) struct Opened {
    /// Appends and syncs; for one thread.
    pub(crate) writer: LogWriter,
    /// Reads what was appended.
    pub(crate) reader: LogReader,
    /// Reserves space ahead of the writer.
    pub(crate) space: LogSpace,
    /// The last position; everything up to here is durable.
    pub(crate) last: Position,
    /// The epoch of what will be appended.
    pub(crate) epoch: Epoch,
    /// The log had not been closed: the epoch was raised.
    pub(crate) unclean: bool,
}

/// What writer, readers and the reserver of space share. Locks are taken one at a time.
struct Shared {
    disk: Arc<dyn disk::Disk>,
    options: LogOptions,
    /// Ascending and without holes; never empty. The last one is written to.
    segments: RwLock<Vec<Arc<segment::Segment>>>,
    space: Mutex<space::Space>,
    counters: counters::Counters,
    tail: tail::Tail,
}

/// A file operation failed: what was being done, to which file.
fn io_error(doing: &str, name: &str, error: &io::Error) -> Error {
    Error::new(Code::Io, format!("cannot {doing} {name} of the log: {error}"))
}

/// Something stored is damaged or missing.
fn corrupt(name: &str, offset: u64, position: Position, what: impl fmt::Display) -> Error {
    Error::new(Code::Corrupt, format!("log file {name}, offset {offset}, position {position}: {what}"))
}

/// The whole of a file, or its first `bytes` bytes.
fn read_start(file: &dyn disk::DiskFile, bytes: u64) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; usize::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput)?];
    let read = file.read_at(0, &mut buffer)?;
    buffer.truncate(read);
    Ok(buffer)
}
