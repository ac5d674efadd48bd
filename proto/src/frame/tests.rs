//! Golden bytes, arbitrary bytes, and the decision as a table.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::error::Code;
use crate::record::Fact;
use proptest::prelude::*;

const SEGMENT: SegmentHeader = SegmentHeader { first: Position(10), epoch: Epoch(3), salt: 0x0123_4567_89ab_cdef };

fn join(position: u64) -> Record {
    Record {
        position: Position(position),
        time_ms: 1_700_000_000_000,
        author: crate::id::UserId(1),
        by_service: false,
        device: crate::id::DeviceId::ZERO,
        client_seq: 0,
        previous: Position::ZERO,
        conversation: crate::id::ConversationId(2),
        seq: crate::id::Seq(position),
        ordinal: crate::id::Ordinal(4),
        fact: Fact::Join,
    }
}

fn group(first: u64, count: u64) -> GroupBuilder {
    let mut group = GroupBuilder::new(Position(first));
    (first..first + count).for_each(|position| group.push(&join(position)));
    group
}

/// A segment with these groups, each claiming that those before it were synced.
fn segment(groups: &[GroupBuilder]) -> Vec<u8> {
    let mut bytes = SEGMENT.encode().to_vec();
    for group in groups {
        let header = group.header(SEGMENT.epoch, Position(group.first().0 - 1));
        bytes.extend_from_slice(&header.encode(SEGMENT.salt));
        bytes.extend_from_slice(group.payload());
    }
    bytes
}

#[test]
fn golden_segment_header() {
    let golden: &[u8] = b"HWSEGMNT\0\0\0\x01\0\0\0\x03\0\0\0\0\0\0\0\x0a\x01\x23\x45\x67\x89\xab\xcd\xef";
    let bytes = SEGMENT.encode();
    assert_eq!(&bytes[..32], golden);
    assert_eq!(bytes[32..], crc32fast::hash(golden).to_be_bytes());
    assert_eq!(SegmentHeader::decode(&bytes), Ok(SEGMENT));
}

#[test]
fn golden_frame_header_and_record() {
    let header = FrameHeader::new(Position(10), 2, b"abc", Epoch(3), Position(9));
    let bytes = header.encode(SEGMENT.salt);
    let golden: &[u8] =
        b"HWfr\0\0\0\x01\0\0\0\x03\0\0\0\x02\0\0\0\x03\0\0\0\0\0\0\0\x0a\0\0\0\0\0\0\0\x09\x35\x24\x41\xc2";
    assert_eq!(&bytes[..40], golden);
    let salted: Vec<u8> = [&SEGMENT.salt.to_be_bytes()[..], golden].concat();
    assert_eq!(bytes[40..], crc32fast::hash(&salted).to_be_bytes());
    assert_eq!(FrameHeader::decode(&bytes, SEGMENT.salt), Ok(header));
    assert!(FrameHeader::decode(&bytes, 0).is_err(), "another segment's salt");

    let mut out = Vec::new();
    put_record(&mut out, Position(5), b"xyz");
    let crc = crc32fast::hash(b"\0\0\0\0\0\0\0\x05xyz").to_be_bytes();
    assert_eq!(out, [&[3][..], &crc, b"xyz"].concat());
}

#[test]
fn a_newer_version_is_not_damage() {
    let mut bytes = SEGMENT.encode();
    bytes[11] = 2;
    let crc = crc32fast::hash(&bytes[..32]);
    bytes[32..].copy_from_slice(&crc.to_be_bytes());
    assert_eq!(SegmentHeader::decode(&bytes).unwrap_err().code, Code::Unusable);
}

#[test]
fn records_are_read_alone() {
    let group = group(10, 3);
    assert_eq!((group.first(), group.last(), group.len()), (Position(10), Position(12), 3));
    assert_eq!(group.bytes(), FRAME_HEADER_BYTES + group.payload().len());
    for (index, offset) in group.offsets().iter().enumerate() {
        let position = Position(10 + index as u64);
        let bytes = &group.payload()[*offset as usize..];
        let (record, taken) = read_record(position, bytes).unwrap();
        assert_eq!(record, join(position.0));
        assert!(read_record(position.next(), bytes).is_err(), "in another's place");
        for cut in 0..taken {
            assert!(read_record(position, &bytes[..cut]).is_err(), "cut at {cut}");
        }
    }
}

#[test]
fn a_segment_is_scanned() {
    let groups = [group(10, 3), group(13, 1), group(14, 2)];
    let mut bytes = segment(&groups);
    let end = bytes.len() as u64;
    for zeros in [0, 1, 43, 44, 5_000] {
        bytes.resize(end as usize + zeros, 0);
        let found = scan(SEGMENT, &bytes);
        assert_eq!((found.last(), found.end, &found.bad), (Position(15), end, &None));
        assert_eq!((found.frames.len(), found.records.len()), (3, 6));
        for (offset, position) in found.records.iter().zip(10..) {
            assert_eq!(read_record(Position(position), &bytes[*offset as usize..]).unwrap().0, join(position));
        }
    }
}

/// Damages a byte of the second of three frames and decides.
fn check(fence: u64, applied: u64, keep: usize, expected: Result<(u64, u64), &str>) {
    let groups = [group(10, 3), group(13, 1), group(14, 2)];
    let mut bytes = segment(&groups[..keep]);
    let second = (SEGMENT_HEADER_BYTES + groups[0].bytes()) as u64;
    // In its header: what the frame itself claims is lost, too.
    bytes[second as usize + 10] ^= 1;
    match (decide(&scan(SEGMENT, &bytes), Position(fence), Position(applied)), expected) {
        (Ok(end), Ok((last, synced))) => {
            assert_eq!((end.last, end.synced, end.is_torn), (Position(last), Position(synced), true));
            assert_eq!(end.offset, second);
        }
        (Err(found), Err(who)) => {
            assert_eq!((found.offset, found.position), (second, Position(13)));
            assert!(found.what.contains(who), "{found}");
        }
        (found, expected) => panic!("{found:?} where {expected:?} is expected"),
    }
}

#[test]
fn torn_or_corrupt() {
    check(0, 0, 2, Ok((12, 9)));
    check(11, 0, 2, Ok((12, 11)));
    check(12, 10, 2, Ok((12, 12)));
    check(13, 0, 2, Err("the fence"));
    check(0, 13, 2, Err("the index"));
    check(9, 9, 3, Err("a later frame"));
    check(20, 14, 3, Err("the fence"));
}

proptest! {
    /// Whatever stands in a segment: no panic, and what is found was written.
    #[test]
    fn arbitrary_bytes_are_scanned(bytes: Vec<u8>, fence: u64, applied: u64) {
        let found = scan(SEGMENT, &bytes);
        prop_assert!(found.frames.is_empty());
        let _decided = decide(&found, Position(fence), Position(applied));
        let _header = SegmentHeader::decode(&bytes);
        let _record = read_record(Position(fence), &bytes);
    }

    #[test]
    fn spoiled_segments_lose_only_from_the_spoiled_frame_on(at in 0_usize..400, with in 1_u8..) {
        let groups = [group(10, 3), group(13, 1), group(14, 2)];
        let mut bytes = segment(&groups);
        let at = SEGMENT_HEADER_BYTES + at % (bytes.len() - SEGMENT_HEADER_BYTES);
        bytes[at] ^= with;
        let found = scan(SEGMENT, &bytes);
        let mut end = SEGMENT_HEADER_BYTES;
        let sound = groups.iter().take_while(|group| {
            end += group.bytes();
            end <= at
        });
        prop_assert_eq!(found.frames.len(), sound.count());
        prop_assert!(found.bad.is_some());
        let is_last = found.frames.len() == 2;
        // A frame whose header is whole still says what was synced before it.
        prop_assert!(is_last || found.later.is_some());
    }
}
