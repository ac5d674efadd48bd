//! A segment as writer and readers share it: its handle, and where each of its records begins.

use super::disk::{Disk, DiskFile};
use super::sidecar::{self, BLOCK_ENTRIES, Sidecar};
use super::{corrupt, io_error, read_start};
use crate::sync::RwLock;
use highwater_proto::error::Error;
use highwater_proto::frame::{Scan, SegmentHeader, scan};
use highwater_proto::id::Position;
use std::sync::Arc;

/// One segment of an open log.
pub(super) struct Segment {
    pub(super) name: String,
    pub(super) header: SegmentHeader,
    /// `None` for old segments, which are opened for each read: handles are bounded.
    file: RwLock<Option<Arc<dyn DiskFile>>>,
    table: RwLock<Table>,
}

/// Where records begin.
struct Table {
    /// `None` for old segments: the sidecar has them.
    offsets: Option<Vec<u32>>,
    count: u32,
    /// Where the last record ends.
    end: u32,
}

/// Bytes of a segment that hold a record; perhaps a frame's header, too, behind it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) from: u32,
    pub(super) to: u32,
}

/// Lookups in a segment's sidecar, which is opened once, and each of its blocks read once, if they are in ascending
/// order.
struct Lookup<'a> {
    segment: &'a Segment,
    disk: &'a dyn Disk,
    sidecar: Option<Sidecar>,
    /// The block that was read last.
    block: Option<(u32, Vec<u32>)>,
}

impl Segment {
    /// A segment whose offsets are known.
    pub(super) fn new(
        name: String,
        header: SegmentHeader,
        file: Arc<dyn DiskFile>,
        offsets: Vec<u32>,
        end: u32,
    ) -> Self {
        let count = offsets.len() as u32;
        Self {
            name,
            header,
            file: RwLock::new(Some(file)),
            table: RwLock::new(Table { offsets: Some(offsets), count, end }),
        }
    }

    /// A sealed segment whose offsets stand in its sidecar.
    pub(super) fn sealed(name: String, header: SegmentHeader, file: Arc<dyn DiskFile>, count: u32, end: u32) -> Self {
        Self { name, header, file: RwLock::new(Some(file)), table: RwLock::new(Table { offsets: None, count, end }) }
    }

    /// The last position in it; the one before it if it is empty.
    pub(super) fn last(&self) -> Position {
        Position((self.header.first.0 + u64::from(self.table.read().count)).saturating_sub(1))
    }

    /// Where its last frame ends, in bytes from its beginning.
    pub(super) fn end(&self) -> u64 {
        u64::from(self.table.read().end)
    }

    /// Makes records readable that were written behind the end.
    pub(super) fn publish(&self, offsets: impl Iterator<Item = u32>, end: u32) {
        let mut table = self.table.write();
        let known = table.offsets.as_mut().expect("the segment that is written to keeps its offsets");
        known.extend(offsets);
        table.count = known.len() as u32;
        table.end = end;
    }

    /// Writes the sidecar, and returns how many bytes it takes. It can be made again, so that failing to is no error.
    pub(super) fn write_sidecar(&self, disk: &dyn Disk) -> u64 {
        let table = self.table.read();
        let Some(offsets) = &table.offsets else { return 0 };
        sidecar::write(disk, &self.name, self.header, offsets, table.end).unwrap_or_else(|error| {
            tracing::warn!(segment = self.name, %error, "cannot write the sidecar of a log segment");
            0
        })
    }

    /// Forgets the offsets, which the sidecar has.
    pub(super) fn forget_offsets(&self) {
        self.table.write().offsets = None;
    }

    /// Closes the file; later reads open it each time.
    pub(super) fn forget_file(&self) {
        *self.file.write() = None;
    }

    /// The open file.
    pub(super) fn file(&self, disk: &dyn Disk) -> Result<Arc<dyn DiskFile>, Error> {
        let kept = self.file.read().clone();
        match kept {
            Some(file) => Ok(file),
            None => disk.open(&self.name).map_err(|error| io_error("open", &self.name, &error)),
        }
    }

    /// Where records are, by their numbers in the segment, from 0, which ascend. Shorter than what was asked for if
    /// there are not so many records.
    pub(super) fn spans(&self, disk: &dyn Disk, indices: impl Iterator<Item = u32>) -> Result<Vec<Span>, Error> {
        let (count, end) = {
            let table = self.table.read();
            if let Some(offsets) = &table.offsets {
                let span = |index: u32| {
                    let from = offsets.get(index as usize).copied()?;
                    Some(Span { from, to: offsets.get(index as usize + 1).copied().unwrap_or(table.end) })
                };
                return Ok(indices.map_while(span).collect());
            }
            (table.count, table.end)
        };
        let mut lookup = Lookup { segment: self, disk, sidecar: None, block: None };
        let mut spans = Vec::new();
        for index in indices.take_while(|index| *index < count) {
            let from = lookup.offset(index)?;
            let to = if index + 1 < count { lookup.offset(index + 1)? } else { end };
            spans.push(Span { from, to });
        }
        Ok(spans)
    }

    /// The sidecar is missing or damaged: reads the segment and writes it again.
    fn rebuild_block(&self, disk: &dyn Disk, number: u32) -> Result<Vec<u32>, Error> {
        let scanned = self.scan(disk)?;
        if let Err(error) = sidecar::write(disk, &self.name, self.header, &scanned.records, self.table.read().end) {
            tracing::warn!(segment = self.name, %error, "cannot write the sidecar of a log segment");
        }
        let mut blocks = scanned.records.chunks(BLOCK_ENTRIES as usize);
        Ok(blocks.nth(number as usize).unwrap_or_default().to_vec())
    }

    /// Reads and verifies all its frames, up to its end. `corrupt` if they do not go as far as they should.
    pub(super) fn scan(&self, disk: &dyn Disk) -> Result<Scan, Error> {
        Ok(self.scan_bytes(disk)?.0)
    }

    /// As [`Segment::scan`], with the bytes.
    pub(super) fn scan_bytes(&self, disk: &dyn Disk) -> Result<(Scan, Vec<u8>), Error> {
        let (count, end) = {
            let table = self.table.read();
            (table.count, table.end)
        };
        let file = self.file(disk)?;
        let bytes = read_start(file.as_ref(), u64::from(end)).map_err(|error| io_error("read", &self.name, &error))?;
        let scanned = scan(self.header, &bytes);
        if scanned.records.len() as u64 != u64::from(count) {
            let damage = scanned.bad.as_ref().map_or("records are missing", |damage| damage.what());
            return Err(corrupt(&self.name, scanned.end, scanned.last().next(), damage));
        }
        Ok((scanned, bytes))
    }
}

impl Lookup<'_> {
    fn offset(&mut self, index: u32) -> Result<u32, Error> {
        let (number, at) = (index / BLOCK_ENTRIES, (index % BLOCK_ENTRIES) as usize);
        let offsets = match &self.block {
            Some((known, offsets)) if *known == number => offsets,
            _ => {
                let offsets = self.read_block(number)?;
                &self.block.insert((number, offsets)).1
            }
        };
        let segment = self.segment;
        let missing = || corrupt(&segment.name, segment.end(), segment.header.first, "its sidecar has too few records");
        offsets.get(at).copied().ok_or_else(missing)
    }

    fn read_block(&mut self, number: u32) -> Result<Vec<u32>, Error> {
        if self.sidecar.is_none() {
            self.sidecar = Sidecar::open(self.disk, &self.segment.name, self.segment.header);
        }
        match self.sidecar.as_ref().and_then(|sidecar| sidecar.block(number)) {
            Some(offsets) => Ok(offsets),
            None => {
                self.sidecar = None;
                self.segment.rebuild_block(self.disk, number)
            }
        }
    }
}
