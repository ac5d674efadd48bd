//! A segment of the log: its header, two frames, and zeros to its preallocated end.

use crate::{Case, check, damaged};
use bytes::Bytes;
use highwater_proto::frame::{GroupBuilder, SegmentHeader, decide, read_record, scan};
use highwater_proto::id::{ConversationId, DeviceId, Epoch, Ordinal, Position, Seq, UserId};
use highwater_proto::record::{Fact, Message, Record};

const HEADER: SegmentHeader = SegmentHeader { first: Position(5), epoch: Epoch(2), salt: 0x0102_0304_0506_0708 };

fn records() -> Vec<Record> {
    let record = |position, fact| Record {
        position: Position(position),
        time_ms: 1_700_000_000_000,
        author: UserId(7),
        by_service: false,
        device: DeviceId(9),
        client_seq: position,
        previous: Position(position - 1),
        conversation: ConversationId(300),
        seq: Seq(position),
        ordinal: Ordinal(position),
        fact,
    };
    let message = |body| Fact::Message(Message { body: Bytes::from_static(body), ..Message::default() });
    let recall = Fact::Recall { target: Seq(5), target_position: Position(5), target_ordinal: Ordinal(5) };
    vec![record(5, message(b"one")), record(6, message(b"")), record(7, recall)]
}

fn segment() -> Vec<u8> {
    let mut bytes = HEADER.encode().to_vec();
    let (first, second) = (&records()[..2], &records()[2..]);
    for (records, synced) in [(first, Position(4)), (second, Position(6))] {
        let mut group = GroupBuilder::new(records[0].position);
        records.iter().for_each(|record| group.push(record));
        bytes.extend_from_slice(&group.header(HEADER.epoch, synced).encode(HEADER.salt));
        bytes.extend_from_slice(group.payload());
    }
    bytes.resize(bytes.len() + 8, 0);
    bytes
}

#[test]
fn segments() {
    let bytes = segment();
    let found = scan(HEADER, &bytes);
    let read: Vec<Record> = records()
        .iter()
        .zip(&found.records)
        .map(|(record, offset)| read_record(record.position, &bytes[*offset as usize..]).unwrap().0)
        .collect();
    assert_eq!(read, records());
    assert_eq!(decide(&found, Position(7), Position(7)).map(|end| end.last), Ok(Position(7)));
    check("golden/segments.txt", include_str!("../../golden/segments.txt"), &[Case::new("two_frames", bytes)]);
}

#[test]
fn what_was_synced_is_never_given_up() {
    let bytes = segment();
    damaged(&bytes, |bytes| {
        if SegmentHeader::decode(bytes) != Ok(HEADER) {
            return;
        }
        let found = scan(HEADER, bytes);
        match decide(&found, Position(7), Position(0)) {
            // Only the zeros behind the frames are damaged.
            Ok(end) => assert_eq!(end.last, Position(7)),
            Err(corruption) => assert_eq!(corruption.position, found.last().next()),
        }
    });
}
