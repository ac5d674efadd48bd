//! Sidecar files: where each record of a sealed segment begins, so that opening need not read it.
//!
//! A sidecar can always be made again from its segment. It is therefore never synced, and one that is missing, torn or
//! damaged is simply not there. Offsets stand in blocks with checksums of their own, so that a lookup reads one block.

use super::disk::{Disk, DiskFile};
use super::names;
use highwater_proto::frame::SegmentHeader;
use highwater_proto::id::{Epoch, Position};
use std::io;
use std::sync::Arc;

const MAGIC: [u8; 8] = *b"HWINDEX1";
const HEADER_BYTES: usize = 44;
/// Offsets in a block.
pub(super) const BLOCK_ENTRIES: u32 = 512;
const CRC_BYTES: usize = 4;

/// An open sidecar, whose header is sound.
pub(super) struct Sidecar {
    file: Arc<dyn DiskFile>,
    header: SegmentHeader,
    /// Records of the segment that count.
    pub(super) count: u32,
    /// Where the last of them ends, in bytes from the segment's beginning.
    pub(super) end: u32,
}

impl Sidecar {
    /// Opens the sidecar of a segment; `None` if there is none that fits the segment.
    pub(super) fn open(disk: &dyn Disk, segment: &str, header: SegmentHeader) -> Option<Self> {
        let file = disk.open(&names::sidecar(segment)).ok()?;
        let mut bytes = [0; HEADER_BYTES];
        if file.read_at(0, &mut bytes).ok()? < HEADER_BYTES || bytes[..8] != MAGIC {
            return None;
        }
        let u32_at = |at: usize| Some(u32::from_be_bytes(bytes[at..at + 4].try_into().ok()?));
        let u64_at = |at: usize| Some(u64::from_be_bytes(bytes[at..at + 8].try_into().ok()?));
        let stored = SegmentHeader { epoch: Epoch(u32_at(8)?), first: Position(u64_at(12)?), salt: u64_at(20)? };
        if crc32fast::hash(&bytes[..40]) != u32_at(40)? || stored != header {
            return None;
        }
        Some(Self { file, header, count: u32_at(28)?, end: u32_at(32)? })
    }

    /// The offsets of a block's records; `None` if the block is damaged or beyond the end.
    pub(super) fn block(&self, number: u32) -> Option<Vec<u32>> {
        let before = number.checked_mul(BLOCK_ENTRIES)?;
        let entries = self.count.checked_sub(before)?.min(BLOCK_ENTRIES) as usize;
        let mut bytes = vec![0; entries * 4 + CRC_BYTES];
        let at = HEADER_BYTES as u64 + u64::from(number) * u64::from(BLOCK_ENTRIES * 4 + CRC_BYTES as u32);
        if self.file.read_at(at, &mut bytes).ok()? < bytes.len() {
            return None;
        }
        let (offsets, crc) = bytes.split_last_chunk::<CRC_BYTES>().map(|(offsets, crc)| (offsets, *crc))?;
        if block_crc(self.header.salt, number, offsets).to_be_bytes() != crc {
            return None;
        }
        Some(offsets.as_chunks().0.iter().map(|offset| u32::from_be_bytes(*offset)).collect())
    }

    /// Whether every block is sound.
    pub(super) fn is_sound(&self) -> bool {
        (0..self.count.div_ceil(BLOCK_ENTRIES)).all(|number| self.block(number).is_some())
    }
}

/// Writes the sidecar of a sealed segment, and returns how many bytes it takes.
pub(super) fn write(
    disk: &dyn Disk,
    segment: &str,
    header: SegmentHeader,
    offsets: &[u32],
    end: u32,
) -> io::Result<u64> {
    let name = names::sidecar(segment);
    let temporary = names::temporary(&name);
    let file = disk.create(&temporary)?;
    let bytes = encode(header, offsets, end);
    file.write_at(0, &bytes)?;
    disk.rename(&temporary, &name)?;
    Ok(bytes.len() as u64)
}

fn encode(header: SegmentHeader, offsets: &[u32], end: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + offsets.len() * 4 + 64);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&header.epoch.0.to_be_bytes());
    bytes.extend_from_slice(&header.first.0.to_be_bytes());
    bytes.extend_from_slice(&header.salt.to_be_bytes());
    bytes.extend_from_slice(&(offsets.len() as u32).to_be_bytes());
    bytes.extend_from_slice(&end.to_be_bytes());
    // Kept for later versions.
    bytes.extend_from_slice(&[0; 4]);
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_be_bytes());
    for (number, block) in offsets.chunks(BLOCK_ENTRIES as usize).enumerate() {
        let begin = bytes.len();
        block.iter().for_each(|offset| bytes.extend_from_slice(&offset.to_be_bytes()));
        let crc = block_crc(header.salt, number as u32, &bytes[begin..]);
        bytes.extend_from_slice(&crc.to_be_bytes());
    }
    bytes
}

fn block_crc(salt: u64, number: u32, offsets: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&salt.to_be_bytes());
    crc.update(&number.to_be_bytes());
    crc.update(offsets);
    crc.finalize()
}
