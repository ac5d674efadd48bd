//! Groups of records as they stand in a log segment, and the decision *torn or corrupt?*.
//!
//! After a crash the end of the log may hold anything: half a write, or later pages without the earlier ones. That is
//! no damage as long as nobody was ever told that those bytes were durable. So every frame states how far the log was
//! known to be synced when it was written. A bad place below what anybody states is corruption and is never passed
//! over; above all of them it is simply where the log ends.
//!
//! Everything here works on bytes in memory: reading files is the engine's business. A segment is a
//! [`SegmentHeader`] and frames one after the other, then zeros to its preallocated end. A frame is a [`FrameHeader`]
//! and its records, each with a length and a checksum of its own, so that one can be read and verified alone.
//!
//! Checksums of headers begin with the segment's salt, a random number that never leaves the machine: a body that
//! looks like a frame cannot be taken for one when a damaged segment is searched for later frames.

mod decide;
mod header;
mod scan;

pub use decide::{Corruption, End, decide};
pub use header::{FORMAT_VERSION, FRAME_HEADER_BYTES, FrameHeader, SEGMENT_HEADER_BYTES, SegmentHeader};
pub use scan::{FrameSpan, Later, Scan, scan};

use crate::error::Damage;
use crate::id::{Epoch, Position};
use crate::record::Record;
use crate::varint;

/// Bytes of a record's own checksum.
const CRC_BYTES: usize = 4;

/// The records of one frame, encoded as they come.
#[derive(Clone, Debug)]
pub struct GroupBuilder {
    first: Position,
    payload: Vec<u8>,
    offsets: Vec<u32>,
    scratch: Vec<u8>,
}

impl GroupBuilder {
    /// An empty group, whose first record will have this position.
    pub fn new(first: Position) -> Self {
        Self { first, payload: Vec::new(), offsets: Vec::new(), scratch: Vec::new() }
    }

    /// Makes room for so many bytes of records, and so many of them.
    pub fn reserve(&mut self, bytes: usize, records: usize) {
        self.payload.reserve(bytes);
        self.offsets.reserve(records);
    }

    /// Adds a record.
    ///
    /// # Panics
    ///
    /// If the record's position is not the next one, or if the group would reach 4 GiB: both are faults of the
    /// sequencer, which assigns positions and caps groups.
    pub fn push(&mut self, record: &Record) {
        assert_eq!(record.position, self.last().next(), "records of a group are contiguous");
        self.scratch.clear();
        record.encode(&mut self.scratch);
        self.offsets.push(u32::try_from(self.payload.len()).expect("a group is far below 4 GiB"));
        put_record(&mut self.payload, record.position, &self.scratch);
    }

    /// How many records it has.
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Whether it has no records.
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// Bytes that it takes in a segment, the frame's header included.
    pub fn bytes(&self) -> usize {
        FRAME_HEADER_BYTES + self.payload.len()
    }

    /// Position of the first record.
    pub fn first(&self) -> Position {
        self.first
    }

    /// Position of the last record; of an empty group the one before its first.
    pub fn last(&self) -> Position {
        Position((self.first.0 + self.offsets.len() as u64).saturating_sub(1))
    }

    /// The records' bytes, without the frame's header.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Where each record begins in the payload, in bytes.
    pub fn offsets(&self) -> &[u32] {
        &self.offsets
    }

    /// The header for the group. `synced`: everything up to here is known to be durable.
    ///
    /// # Panics
    ///
    /// If the group holds 4 GiB or more.
    pub fn header(&self, epoch: Epoch, synced: Position) -> FrameHeader {
        FrameHeader::new(self.first, self.offsets.len() as u32, &self.payload, epoch, synced)
    }
}

/// Appends a record's length, checksum and bytes. The checksum covers the position, so that a record that is read in
/// another's place is noticed.
fn put_record(out: &mut Vec<u8>, position: Position, record: &[u8]) {
    varint::put(out, record.len() as u64);
    out.extend_from_slice(&record_crc(position, record).to_be_bytes());
    out.extend_from_slice(record);
}

fn record_crc(position: Position, record: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&position.0.to_be_bytes());
    crc.update(record);
    crc.finalize()
}

/// Length and place of the record at the front of `bytes`: (bytes before it, its bytes).
fn measure(bytes: &[u8]) -> Result<(usize, usize), Damage> {
    let mut rest = bytes;
    let length = varint::take_u32(&mut rest).ok_or(Damage::new("a record's length is malformed"))? as usize;
    let before = bytes.len() - rest.len() + CRC_BYTES;
    if bytes.len() < before || bytes.len() - before < length {
        return Err(Damage::new("a record is cut short"));
    }
    Ok((before, length))
}

/// Verifies and decodes the record at the front of `bytes`, which may go on after it. Returns how many bytes it took.
pub fn read_record(position: Position, bytes: &[u8]) -> Result<(Record, usize), Damage> {
    let (before, length) = measure(bytes)?;
    let record = &bytes[before..before + length];
    let stored = &bytes[before - CRC_BYTES..before];
    if stored != record_crc(position, record).to_be_bytes() {
        return Err(Damage::new("a record's checksum does not match"));
    }
    Ok((Record::decode(position, record)?, before + length))
}

#[cfg(test)]
mod tests;
