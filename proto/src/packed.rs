//! Packed lists of positions: a few bytes per entry of a timeline.
//!
//! A list is its count and then, per entry, the distance from the entry before it (from zero for the first one), less
//! one: entries ascend strictly, so a distance is at least one, and a list has one form only. An outbox keeps with
//! each entry whether it counts as unread, in the lowest bit of its distance.

use crate::error::Damage;
use crate::id::Position;
use crate::limits::PACKED_ENTRIES_MAX;
use crate::varint;

/// Appends an inbox list.
///
/// # Panics
/// If `positions` do not ascend strictly from 1, or are more than [`PACKED_ENTRIES_MAX`]: both would be our mistake.
pub fn pack(positions: &[Position], out: &mut Vec<u8>) {
    put_count(positions.len(), out);
    let mut before = Position::ZERO;
    for position in positions.iter().copied() {
        varint::put(out, distance(before, position));
        before = position;
    }
}

/// Reads an inbox list: the whole of `bytes`. Anything that [`pack`] would not write is damage.
pub fn unpack(bytes: &[u8]) -> Result<Vec<Position>, Damage> {
    let mut rest = bytes;
    let count = take_count(&mut rest)?;
    let mut positions = Vec::with_capacity(count);
    let mut before = Position::ZERO;
    for _ in 0..count {
        let distance = take_entry(&mut rest)?;
        before = above(before, distance)?;
        positions.push(before);
    }
    finish(rest, positions)
}

/// Appends an outbox list: positions, and whether each is countable (a message).
///
/// # Panics
/// As [`pack`], and if two neighbours are 2^63 positions apart.
pub fn pack_outbox(entries: impl ExactSizeIterator<Item = (Position, bool)>, out: &mut Vec<u8>) {
    put_count(entries.len(), out);
    let mut before = Position::ZERO;
    for (position, countable) in entries {
        let distance = distance(before, position);
        assert!(distance < 1 << 63, "positions stay below 2^63");
        varint::put(out, distance << 1 | u64::from(countable));
        before = position;
    }
}

/// Reads an outbox list: the whole of `bytes`. Anything that [`pack_outbox`] would not write is damage.
pub fn unpack_outbox(bytes: &[u8]) -> Result<Vec<(Position, bool)>, Damage> {
    let mut rest = bytes;
    let count = take_count(&mut rest)?;
    let mut entries = Vec::with_capacity(count);
    let mut before = Position::ZERO;
    for _ in 0..count {
        let entry = take_entry(&mut rest)?;
        before = above(before, entry >> 1)?;
        entries.push((before, entry & 1 == 1));
    }
    finish(rest, entries)
}

fn put_count(count: usize, out: &mut Vec<u8>) {
    assert!(count <= PACKED_ENTRIES_MAX, "a packed list of {count} entries is to be cut into chunks first");
    varint::put(out, count as u64);
}

/// The distance less one.
fn distance(before: Position, position: Position) -> u64 {
    assert!(before < position, "positions ascend: {position} stands after {before}");
    position.0 - before.0 - 1
}

fn take_count(rest: &mut &[u8]) -> Result<usize, Damage> {
    let count = varint::take(rest).ok_or(Damage::new("a packed list's count is malformed"))?;
    // An entry takes a byte at least, so that no count can claim more memory than its bytes could fill.
    usize::try_from(count)
        .ok()
        .filter(|count| *count <= PACKED_ENTRIES_MAX && *count <= rest.len())
        .ok_or_else(|| Damage::new(format!("a packed list claims {count} entries in {} bytes", rest.len())))
}

fn take_entry(rest: &mut &[u8]) -> Result<u64, Damage> {
    varint::take(rest).ok_or(Damage::new("an entry of a packed list is malformed"))
}

fn above(before: Position, distance: u64) -> Result<Position, Damage> {
    let position = before.0.checked_add(distance).and_then(|sum| sum.checked_add(1));
    position.map(Position).ok_or(Damage::new("a position of a packed list overflows"))
}

fn finish<T>(rest: &[u8], list: Vec<T>) -> Result<Vec<T>, Damage> {
    if rest.is_empty() { Ok(list) } else { Err(Damage::new(format!("{} bytes follow a packed list", rest.len()))) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    fn packed(entries: &[(Position, bool)]) -> Vec<u8> {
        let mut out = Vec::new();
        pack_outbox(entries.iter().copied(), &mut out);
        out
    }

    #[test]
    fn neighbours_take_a_byte() {
        let positions: Vec<Position> = (1_000_000..1_000_512).map(Position).collect();
        let mut out = Vec::new();
        pack(&positions, &mut out);
        assert_eq!(out.len(), 2 + 3 + 511);
    }

    #[test]
    fn what_is_no_list_is_damage() {
        for (bytes, why) in [
            (&[][..], "no count"),
            (&[1], "an entry missing"),
            (&[2, 0], "one of two entries missing"),
            (&[0, 0], "a byte too many"),
            (&[1, 0, 0], "a byte too many"),
            (&[1, 0x80, 0], "a number that has a shorter form"),
            (&[1, 0x80], "a number that does not end"),
            (&[0x81, 0x04, 0], "more entries than a list may have"),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], "a count beyond any memory"),
            (&[1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0], "a number too many"),
        ] {
            assert!(unpack(bytes).is_err(), "{why}");
            assert!(unpack_outbox(bytes).is_err(), "{why}");
        }
        let overflow = [2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0];
        assert_eq!(unpack(&overflow), Ok(vec![Position(1 << 63), Position((1 << 63) + 1)]));
        let overflow = [1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        assert!(unpack(&overflow).is_err(), "a position beyond 64 bits");
    }

    #[test]
    fn no_list_is_longer_than_its_limit() {
        for (entries, fits) in [(PACKED_ENTRIES_MAX, true), (PACKED_ENTRIES_MAX + 1, false)] {
            let mut bytes = Vec::new();
            varint::put(&mut bytes, entries as u64);
            bytes.resize(bytes.len() + entries, 0);
            assert_eq!(unpack(&bytes).is_ok(), fits, "{entries} entries");
            assert_eq!(unpack_outbox(&bytes).is_ok(), fits, "{entries} entries");
        }
    }

    #[test]
    #[should_panic(expected = "positions ascend")]
    fn a_list_that_does_not_ascend_is_our_mistake() {
        pack(&[Position(2), Position(2)], &mut Vec::new());
    }

    proptest! {
        #[test]
        fn round_trip(entries in btree_map(1_u64..=1 << 62, any::<bool>(), 0..=PACKED_ENTRIES_MAX)) {
            let entries: Vec<_> = entries.into_iter().map(|(position, flag)| (Position(position), flag)).collect();
            prop_assert_eq!(unpack_outbox(&packed(&entries)), Ok(entries.clone()));
            let positions: Vec<_> = entries.into_iter().map(|(position, _)| position).collect();
            let mut out = Vec::new();
            pack(&positions, &mut out);
            prop_assert_eq!(unpack(&out), Ok(positions));
        }

        #[test]
        fn a_list_has_one_form(bytes in vec(prop_oneof![0_u8..4, any::<u8>()], 0..40)) {
            if let Ok(positions) = unpack(&bytes) {
                let mut out = Vec::new();
                pack(&positions, &mut out);
                prop_assert_eq!(&out, &bytes);
            }
            if let Ok(entries) = unpack_outbox(&bytes) {
                prop_assert_eq!(&packed(&entries), &bytes);
            }
        }
    }
}
