//! A segment that was written well and then damaged: what stands before the damage is found, nothing else is taken for
//! a record, and what somebody claims to be synced is never given up in silence.
#![no_main]

use bytes::Bytes;
use highwater_proto::frame::{FrameHeader, GroupBuilder, Scan, SegmentHeader, decide, read_record, scan};
use highwater_proto::id::{ConversationId, DeviceId, Epoch, Ordinal, Position, Seq, UserId};
use highwater_proto::record::{Fact, Message, Record};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    first: u16,
    salt: u64,
    /// The bodies of each group's messages.
    groups: Vec<Vec<Vec<u8>>>,
    /// How many frames behind the sync was when each was written.
    lags: Vec<u8>,
    /// Zeros after the frames.
    zeros: u8,
    /// Where bytes change, and by which bits.
    flips: Vec<(u16, u8)>,
    /// Where the file ends, if it was cut.
    cut: Option<u16>,
    fence: u8,
    applied: u8,
}

/// A segment as it was written.
struct Segment {
    header: SegmentHeader,
    bytes: Vec<u8>,
    frames: Vec<FrameHeader>,
    /// Where each frame ends, in bytes.
    ends: Vec<usize>,
    records: Vec<Record>,
}

impl Segment {
    fn last(&self) -> Position {
        Position(self.header.first.0 + self.records.len() as u64 - 1)
    }
}

fuzz_target!(|input: Input| {
    let segment = write(&input);
    let mut bytes = segment.bytes.clone();
    for (place, bits) in &input.flips {
        let place = usize::from(*place);
        if let Some(byte) = bytes.get_mut(place) {
            *byte ^= bits;
        }
    }
    bytes.truncate(input.cut.map_or(usize::MAX, usize::from));
    let same = bytes.iter().zip(&segment.bytes).take_while(|(now, before)| now == before).count();
    // The header is what tells one segment from another: a damaged one is refused by whoever opens the file.
    if SegmentHeader::decode(&bytes).ok() != Some(segment.header) {
        return;
    }
    let scan = scan(segment.header, &bytes);
    check_scan(&segment, &bytes, same, &scan);
    check_decision(&input, &segment, &scan);
});

fn write(input: &Input) -> Segment {
    let header = SegmentHeader { first: Position(u64::from(input.first) + 1), epoch: Epoch(3), salt: input.salt };
    let bytes = header.encode().to_vec();
    let mut segment = Segment { header, bytes, frames: Vec::new(), ends: Vec::new(), records: Vec::new() };
    for (index, bodies) in input.groups.iter().filter(|bodies| !bodies.is_empty()).take(16).enumerate() {
        let mut group = GroupBuilder::new(segment.last().next());
        for body in bodies {
            let record = message(segment.last().next(), body);
            group.push(&record);
            segment.records.push(record);
        }
        let lag = usize::from(input.lags.get(index).copied().unwrap_or(0));
        let synced =
            index.checked_sub(lag + 1).map_or(Position(header.first.0 - 1), |frame| segment.frames[frame].last());
        let frame = group.header(header.epoch, synced);
        segment.bytes.extend_from_slice(&frame.encode(header.salt));
        segment.bytes.extend_from_slice(group.payload());
        segment.frames.push(frame);
        segment.ends.push(segment.bytes.len());
    }
    segment.bytes.resize(segment.bytes.len() + usize::from(input.zeros), 0);
    segment
}

fn message(position: Position, body: &[u8]) -> Record {
    Record {
        position,
        time_ms: 1_700_000_000_000,
        author: UserId(1),
        by_service: false,
        device: DeviceId(1),
        client_seq: position.0,
        previous: Position(position.0 - 1),
        conversation: ConversationId(1),
        seq: Seq(position.0),
        ordinal: Ordinal(position.0),
        fact: Fact::Message(Message { body: Bytes::copy_from_slice(body), ..Message::default() }),
    }
}

fn check_scan(segment: &Segment, bytes: &[u8], same: usize, scan: &Scan) {
    let found: Vec<FrameHeader> = scan.frames.iter().map(|frame| frame.header).collect();
    assert!(segment.frames.starts_with(&found), "only frames that were written are found");
    let intact = segment.ends.iter().filter(|end| **end <= same).count();
    assert!(found.len() >= intact, "every frame before the damage is found");
    for (record, offset) in segment.records.iter().zip(&scan.records) {
        let read = read_record(record.position, &bytes[*offset as usize..]);
        assert_eq!(read.map(|(record, _)| record).as_ref(), Ok(record));
    }
    if bytes == segment.bytes {
        assert!(scan.bad.is_none() && found.len() == segment.frames.len());
    }
}

fn check_decision(input: &Input, segment: &Segment, scan: &Scan) {
    // Nobody claims more than was written.
    let claim = |claim: u8| Position((segment.header.first.0 - 1 + u64::from(claim)).min(segment.last().0));
    let (fence, applied) = (claim(input.fence), claim(input.applied));
    match decide(scan, fence, applied) {
        Ok(end) => {
            assert_eq!(end.last, scan.last());
            assert!(end.last >= fence.max(applied), "what is claimed is there");
            assert!(end.synced >= fence.max(applied) && end.synced <= end.last);
        }
        Err(corruption) => {
            assert!(corruption.position == scan.last().next() && corruption.claimed >= corruption.position);
            assert!(scan.frames.len() < segment.frames.len(), "an undamaged segment is not refused");
        }
    }
}
