//! Family `inbox.1`: a user's timeline, the ascending positions fanned out to it on write.
//!
//! Key: user, last position of the chunk; so a seek to the first position wanted meets the chunk that holds it.
//! Value: a packed list of 1 to [`PACKED_ENTRIES_MAX`] positions, the last of which is the key's.

use super::codec::{decode_list_key, list_key};
use highwater_proto::error::Damage;
use highwater_proto::id::{Position, UserId};
use highwater_proto::limits::PACKED_ENTRIES_MAX;
use highwater_proto::packed;

/// Above every key of the user, and with the same prefix.
pub(super) fn end_key(user: UserId) -> [u8; 12] {
    key(user, Position(u64::MAX))
}

pub(super) fn key(user: UserId, last: Position) -> [u8; 12] {
    list_key(user.0, last.0)
}

/// The rows that hold these positions, in the order of their keys.
pub(super) fn rows(user: UserId, positions: &[Position]) -> impl Iterator<Item = ([u8; 12], Vec<u8>)> {
    positions.chunks(PACKED_ENTRIES_MAX).filter_map(move |chunk| {
        let mut value = Vec::new();
        packed::pack(chunk, &mut value);
        Some((key(user, *chunk.last()?), value))
    })
}

/// Reads a row: whose it is, and the chunk's positions.
pub(super) fn decode(key: &[u8], value: &[u8]) -> Result<(UserId, Vec<Position>), Damage> {
    let (user, last) = decode_list_key(key)?;
    let positions = packed::unpack(value)?;
    if positions.last() != Some(&Position(last)) {
        return Err(Damage::new(format!("the chunk does not end at position {last}")));
    }
    Ok((UserId(user), positions))
}

#[cfg(test)]
mod tests {
    use super::super::codec::check;
    use super::*;

    #[test]
    fn golden_bytes() {
        let rows: Vec<_> = rows(UserId(258), &[Position(3), Position(4), Position(500)]).collect();
        let key = [0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 1, 0xf4];
        assert_eq!(rows, [(key, vec![3, 2, 0, 0xef, 3])]);
        assert_eq!(decode(&key, &rows[0].1), Ok((UserId(258), vec![Position(3), Position(4), Position(500)])));
    }

    #[test]
    fn chunks_are_cut_at_the_limit() {
        for (count, chunks) in [
            (0, vec![]),
            (1, vec![1]),
            (511, vec![511]),
            (512, vec![512]),
            (513, vec![512, 1]),
            (1025, vec![512, 512, 1]),
        ] {
            let positions: Vec<Position> = (1..=count).map(|n| Position(n * 7)).collect();
            let rows: Vec<_> = rows(UserId(1), &positions).collect();
            check::ascend(&rows.iter().map(|row| row.0).collect::<Vec<_>>());
            let decoded: Vec<_> = rows.iter().map(|(key, value)| decode(key, value).expect("own row").1).collect();
            assert_eq!(decoded.iter().map(Vec::len).collect::<Vec<_>>(), chunks);
            assert_eq!(decoded.concat(), positions);
        }
    }

    #[test]
    fn key_and_value_agree() {
        let (key, value) = rows(UserId(1), &[Position(3), Position(9)]).next().expect("one row");
        check::refuses_all_but(&key, |key| decode(key, &value));
        check::refuses_all_but(&value, |value| decode(&key, value));
        assert!(decode(&key, &[0]).is_err(), "an empty chunk");
    }
}
