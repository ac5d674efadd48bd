//! A segment may hold anything: scanning it ends, and what it finds lies within it and is contiguous.
#![no_main]

use highwater_proto::frame::{Scan, SegmentHeader, decide, read_record, scan};
use highwater_proto::id::{Epoch, Position};
use libfuzzer_sys::fuzz_target;

/// Taken where the bytes have no header of their own, so that what follows is looked at all the same.
const HEADER: SegmentHeader = SegmentHeader { first: Position(1), epoch: Epoch(1), salt: 7 };

fuzz_target!(|bytes: &[u8]| {
    let header = SegmentHeader::decode(bytes).unwrap_or(HEADER);
    let scan = scan(header, bytes);
    check_scan(bytes, &scan);
    let last = scan.last().0;
    for (fence, applied) in [(0, 0), (last, 0), (0, last), (last.saturating_add(1), 0), (0, u64::MAX)] {
        match decide(&scan, Position(fence), Position(applied)) {
            Ok(end) => assert!(end.last.0 == last && last >= fence.max(applied) && end.synced <= end.last),
            Err(corruption) => assert!(corruption.claimed.0 > last),
        }
    }
    let _ = read_record(Position(1), bytes);
});

fn check_scan(bytes: &[u8], scan: &Scan) {
    assert!(scan.end <= bytes.len() as u64);
    let count: u64 = scan.frames.iter().map(|frame| u64::from(frame.header.count)).sum();
    assert_eq!(count, scan.records.len() as u64);
    let mut last = Position(scan.header.first.0.saturating_sub(1));
    for frame in &scan.frames {
        assert_eq!(frame.header.first, last.next());
        assert!(frame.offset + frame.header.frame_bytes() <= scan.end);
        last = frame.header.last();
    }
    for (index, offset) in scan.records.iter().enumerate() {
        // The frame's checksum was right, and yet this may be no record: an error, then.
        let _ = read_record(Position(scan.header.first.0 + index as u64), &bytes[*offset as usize..]);
    }
}
