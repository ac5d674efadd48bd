//! Reading a segment from its beginning: the frames that follow each other, and what stands behind them.

use super::header::{FRAME_HEADER_BYTES, FRAME_MAGIC, FrameHeader, SEGMENT_HEADER_BYTES, SegmentHeader};
use super::measure;
use crate::error::Damage;
use crate::id::Position;

/// A good frame and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameSpan {
    /// Where its header begins, in bytes from the segment's beginning.
    pub offset: u64,
    /// Its header.
    pub header: FrameHeader,
}

/// What a valid frame header behind a bad place says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Later {
    /// Where it stands, in bytes from the segment's beginning.
    pub offset: u64,
    /// Everything up to here was durable when it was written.
    pub synced: Position,
}

/// What a segment holds.
#[derive(Clone, Debug)]
pub struct Scan {
    /// The segment's header.
    pub header: SegmentHeader,
    /// The good frames that follow each other from the segment's beginning.
    pub frames: Vec<FrameSpan>,
    /// Where each of their records begins, in bytes from the segment's beginning.
    pub records: Vec<u32>,
    /// Where they end, in bytes from the segment's beginning.
    pub end: u64,
    /// What is wrong at `end`; `None` if only zeros follow, or nothing.
    pub bad: Option<Damage>,
    /// Of the valid frame headers behind a bad place, the one that claims most.
    pub later: Option<Later>,
}

impl Scan {
    /// The last position of the good frames; without any, the one before the segment.
    pub fn last(&self) -> Position {
        self.frames.last().map_or(Position(self.header.first.0.saturating_sub(1)), |frame| frame.header.last())
    }
}

/// Reads a segment. `bytes` are the whole file, whose header was decoded already; at most 4 GiB of them are looked at.
pub fn scan(header: SegmentHeader, bytes: &[u8]) -> Scan {
    let bytes = &bytes[..bytes.len().min(u32::MAX as usize)];
    let mut scan = Scan {
        header,
        frames: Vec::new(),
        records: Vec::new(),
        end: SEGMENT_HEADER_BYTES.min(bytes.len()) as u64,
        bad: None,
        later: None,
    };
    loop {
        let rest = &bytes[scan.end as usize..];
        match next_frame(&mut scan, rest) {
            Ok(frame) => {
                scan.end += frame.header.frame_bytes();
                scan.frames.push(frame);
            }
            Err(_) if is_zero(rest) => return scan,
            Err(damage) => {
                scan.bad = Some(damage);
                scan.later = find_later(&scan, rest);
                return scan;
            }
        }
    }
}

/// Whether nothing was ever written here. Goes by chunks, since there may be megabytes of it.
fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(256).all(|chunk| chunk.iter().fold(0, |all, byte| all | byte) == 0)
}

/// Verifies the frame at the front of `rest` and notes where its records begin.
fn next_frame(scan: &mut Scan, rest: &[u8]) -> Result<FrameSpan, Damage> {
    let header = FrameHeader::decode(rest, scan.header.salt)?;
    let expected = scan.last().next();
    if header.epoch != scan.header.epoch || header.first != expected || header.synced >= expected || header.count == 0 {
        return Err(Damage::new(format!("a frame of position {} stands where {expected} is expected", header.first)));
    }
    let payload = rest
        .get(FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + header.length as usize)
        .ok_or(Damage::new("a frame is cut short"))?;
    if !header.matches(payload) {
        return Err(Damage::new("a frame's checksum does not match"));
    }
    let known = scan.records.len();
    let noted = note_records(scan, &header, payload);
    if let Err(damage) = noted {
        scan.records.truncate(known);
        return Err(damage);
    }
    Ok(FrameSpan { offset: scan.end, header })
}

fn note_records(scan: &mut Scan, header: &FrameHeader, payload: &[u8]) -> Result<(), Damage> {
    let base = scan.end as usize + FRAME_HEADER_BYTES;
    let mut at = 0;
    for _ in 0..header.count {
        let (before, length) = measure(&payload[at..])?;
        scan.records.push((base + at) as u32);
        at += before + length;
    }
    if at == payload.len() { Ok(()) } else { Err(Damage::new("bytes follow a frame's last record")) }
}

/// Searches what stands from a bad place on for valid frame headers. A header alone is enough: what it claims was true
/// when it was written, whatever became of its records.
fn find_later(scan: &Scan, rest: &[u8]) -> Option<Later> {
    let mut found: Option<Later> = None;
    for at in 0..rest.len().saturating_sub(FRAME_HEADER_BYTES - 1) {
        if rest[at..at + FRAME_MAGIC.len()] != FRAME_MAGIC {
            continue;
        }
        let Ok(header) = FrameHeader::decode(&rest[at..], scan.header.salt) else { continue };
        if found.is_none_or(|later| header.synced > later.synced) {
            found = Some(Later { offset: scan.end + at as u64, synced: header.synced });
        }
    }
    found
}
