//! Packed lists and checkpoints.

use crate::{Case, check, damaged};
use highwater_proto::checkpoint::Checkpoint;
use highwater_proto::id::{Epoch, Incarnation, Position};
use highwater_proto::packed::{pack, pack_outbox, unpack, unpack_outbox};

const LISTS: [(&str, &[u64]); 4] = [
    ("empty", &[]),
    ("one", &[1]),
    ("neighbours", &[1_000, 1_001, 1_002]),
    ("far_apart", &[7, 200, 70_000, 5_000_000_000, 1 << 62]),
];

#[test]
fn inbox_lists() {
    let mut cases = Vec::new();
    for (name, positions) in LISTS {
        let positions: Vec<Position> = positions.iter().copied().map(Position).collect();
        let mut bytes = Vec::new();
        pack(&positions, &mut bytes);
        assert_eq!(unpack(&bytes).as_ref(), Ok(&positions), "{name}");
        damaged(&bytes, |bytes| assert_ne!(unpack(bytes).as_ref(), Ok(&positions), "{name}: {bytes:02x?}"));
        cases.push(Case::new(name, bytes));
    }
    check("golden/inbox_lists.txt", include_str!("../../golden/inbox_lists.txt"), &cases);
}

#[test]
fn outbox_lists() {
    let mut cases = Vec::new();
    for (name, positions) in LISTS {
        let entries = positions.iter().enumerate().map(|(index, position)| (Position(*position), index % 3 != 0));
        let mut bytes = Vec::new();
        pack_outbox(entries.clone(), &mut bytes);
        let entries: Vec<(Position, bool)> = entries.collect();
        assert_eq!(unpack_outbox(&bytes).as_ref(), Ok(&entries), "{name}");
        damaged(&bytes, |bytes| assert_ne!(unpack_outbox(bytes).as_ref(), Ok(&entries), "{name}: {bytes:02x?}"));
        cases.push(Case::new(name, bytes));
    }
    check("golden/outbox_lists.txt", include_str!("../../golden/outbox_lists.txt"), &cases);
}

#[test]
fn checkpoints() {
    let incarnation = Incarnation(std::array::from_fn(|index| index as u8 * 0x11));
    let cases = [("start", 1, 0), ("later", 3, 0x0102_0304_0506_0708)].map(|(name, epoch, position)| {
        let checkpoint = Checkpoint { incarnation, epoch: Epoch(epoch), position: Position(position) };
        let bytes = checkpoint.encode();
        assert_eq!(Checkpoint::decode(&bytes), Ok(checkpoint), "{name}");
        damaged(&bytes, |bytes| assert_ne!(Checkpoint::decode(bytes), Ok(checkpoint), "{name}: {bytes:02x?}"));
        Case::new(name, bytes)
    });
    check("golden/checkpoints.txt", include_str!("../../golden/checkpoints.txt"), &cases);
}
