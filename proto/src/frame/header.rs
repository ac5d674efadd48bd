//! The fixed-size headers of segments and frames, big-endian.

use crate::error::{Code, Damage, Error};
use crate::id::{Epoch, Position};

/// Version of segments and frames that this build reads and writes.
pub const FORMAT_VERSION: u32 = 1;
/// Bytes of a segment's header.
pub const SEGMENT_HEADER_BYTES: usize = 36;
/// Bytes of a frame's header.
pub const FRAME_HEADER_BYTES: usize = 44;

const SEGMENT_MAGIC: [u8; 8] = *b"HWSEGMNT";
pub(super) const FRAME_MAGIC: [u8; 4] = *b"HWfr";

/// What a segment says about itself. Everything before `first` was synced before the segment came into being.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Position of its first record.
    pub first: Position,
    /// The epoch of all its frames.
    pub epoch: Epoch,
    /// Random; checksums of frame headers begin with it.
    pub salt: u64,
}

impl SegmentHeader {
    /// The bytes at the beginning of the segment.
    pub fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes[..8].copy_from_slice(&SEGMENT_MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.epoch.0.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.first.0.to_be_bytes());
        bytes[24..32].copy_from_slice(&self.salt.to_be_bytes());
        let crc = crc32fast::hash(&bytes[..32]);
        bytes[32..].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    /// Reads a segment's beginning: `corrupt` if it is damaged, `unusable` if a newer build wrote it. The error does
    /// not name the file, which the caller knows.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let damaged = |what: &'static str| Error::from(Damage::new(what));
        let bytes: &[u8; SEGMENT_HEADER_BYTES] =
            bytes.first_chunk().ok_or_else(|| damaged("the segment's header is cut short"))?;
        if bytes[..8] != SEGMENT_MAGIC {
            return Err(damaged("the segment's header has no magic number"));
        }
        if crc32fast::hash(&bytes[..32]) != u32_at(bytes, 32) {
            return Err(damaged("the segment header's checksum does not match"));
        }
        let version = u32_at(bytes, 8);
        if version != FORMAT_VERSION {
            let what = format!("the segment is of version {version}; this build knows {FORMAT_VERSION}");
            return Err(Error::new(Code::Unusable, what));
        }
        Ok(Self { first: Position(u64_at(bytes, 16)), epoch: Epoch(u32_at(bytes, 12)), salt: u64_at(bytes, 24) })
    }
}

/// What stands before a frame's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Position of the first record.
    pub first: Position,
    /// Number of records, at least 1.
    pub count: u32,
    /// Bytes of the records.
    pub length: u32,
    /// The epoch of the segment.
    pub epoch: Epoch,
    /// Everything up to here was durable when the frame was written.
    pub synced: Position,
    payload_crc: u32,
}

impl FrameHeader {
    /// The header for records that are encoded already.
    ///
    /// # Panics
    ///
    /// If the payload has 4 GiB or more.
    pub fn new(first: Position, count: u32, payload: &[u8], epoch: Epoch, synced: Position) -> Self {
        let length = u32::try_from(payload.len()).expect("a group is far below 4 GiB");
        Self { first, count, length, epoch, synced, payload_crc: crc32fast::hash(payload) }
    }

    /// Position of the last record.
    pub fn last(&self) -> Position {
        Position(self.first.0.saturating_add(u64::from(self.count)).saturating_sub(1))
    }

    /// Bytes of the frame, this header included.
    pub fn frame_bytes(&self) -> u64 {
        FRAME_HEADER_BYTES as u64 + u64::from(self.length)
    }

    /// The bytes before the records.
    pub fn encode(&self, salt: u64) -> [u8; FRAME_HEADER_BYTES] {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        bytes[..4].copy_from_slice(&FRAME_MAGIC);
        bytes[4..8].copy_from_slice(&FORMAT_VERSION.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.epoch.0.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.count.to_be_bytes());
        bytes[16..20].copy_from_slice(&self.length.to_be_bytes());
        bytes[20..28].copy_from_slice(&self.first.0.to_be_bytes());
        bytes[28..36].copy_from_slice(&self.synced.0.to_be_bytes());
        bytes[36..40].copy_from_slice(&self.payload_crc.to_be_bytes());
        let crc = header_crc(salt, &bytes[..40]);
        bytes[40..].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    /// Reads the header at the front of `bytes`. One that passes was written by the owner of the salt.
    pub fn decode(bytes: &[u8], salt: u64) -> Result<Self, Damage> {
        let bytes: &[u8; FRAME_HEADER_BYTES] =
            bytes.first_chunk().ok_or(Damage::new("the frame's header is cut short"))?;
        if bytes[..4] != FRAME_MAGIC {
            return Err(Damage::new("the frame's header has no magic number"));
        }
        if header_crc(salt, &bytes[..40]) != u32_at(bytes, 40) {
            return Err(Damage::new("the frame header's checksum does not match"));
        }
        if u32_at(bytes, 4) != FORMAT_VERSION {
            return Err(Damage::new("the frame is of an unknown version"));
        }
        Ok(Self {
            first: Position(u64_at(bytes, 20)),
            count: u32_at(bytes, 12),
            length: u32_at(bytes, 16),
            epoch: Epoch(u32_at(bytes, 8)),
            synced: Position(u64_at(bytes, 28)),
            payload_crc: u32_at(bytes, 36),
        })
    }

    /// Whether these are the records that the header was made for.
    pub fn matches(&self, payload: &[u8]) -> bool {
        payload.len() == self.length as usize && crc32fast::hash(payload) == self.payload_crc
    }
}

fn header_crc(salt: u64, bytes: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&salt.to_be_bytes());
    crc.update(bytes);
    crc.finalize()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("headers have a fixed size"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().expect("headers have a fixed size"))
}
