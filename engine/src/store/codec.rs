//! What the key families share: keys of fixed length, big-endian, so that the order of bytes is the order of numbers;
//! values of varints, read to the last byte.

use highwater_proto::error::Damage;
use highwater_proto::varint;

/// A key of two ids.
pub(super) fn pair_key(first: u32, second: u32) -> [u8; 8] {
    let mut key = [0; 8];
    key[..4].copy_from_slice(&first.to_be_bytes());
    key[4..].copy_from_slice(&second.to_be_bytes());
    key
}

/// Reads what [`pair_key`] wrote.
pub(super) fn decode_pair_key(key: &[u8]) -> Result<(u32, u32), Damage> {
    let key = fixed::<8>(key)?;
    Ok((u32_at(&key, 0), u32_at(&key, 4)))
}

/// A key of an id and a position or seq.
pub(super) fn list_key(id: u32, place: u64) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&id.to_be_bytes());
    key[4..].copy_from_slice(&place.to_be_bytes());
    key
}

/// Reads what [`list_key`] wrote.
pub(super) fn decode_list_key(key: &[u8]) -> Result<(u32, u64), Damage> {
    let key = fixed::<12>(key)?;
    Ok((u32_at(&key, 0), u64::from(u32_at(&key, 4)) << 32 | u64::from(u32_at(&key, 8))))
}

/// Bytes of exactly this length.
pub(super) fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Damage> {
    bytes.try_into().map_err(|_| Damage::new(format!("{} bytes stand where {N} belong", bytes.len())))
}

fn u32_at<const N: usize>(key: &[u8; N], at: usize) -> u32 {
    (0..4).fold(0, |id, offset| id << 8 | u32::from(key[at + offset]))
}

/// Reads a value field by field; what is missing or left over is damage.
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn new(value: &'a [u8]) -> Self {
        Self(value)
    }

    pub(super) fn byte(&mut self, what: &'static str) -> Result<u8, Damage> {
        let (byte, rest) = self.0.split_first().ok_or_else(|| missing(what))?;
        self.0 = rest;
        Ok(*byte)
    }

    pub(super) fn number(&mut self, what: &'static str) -> Result<u64, Damage> {
        varint::take(&mut self.0).ok_or_else(|| missing(what))
    }

    pub(super) fn id(&mut self, what: &'static str) -> Result<u32, Damage> {
        varint::take_u32(&mut self.0).ok_or_else(|| missing(what))
    }

    /// A count of things that take at least a byte each, so that it cannot claim more memory than there are bytes.
    pub(super) fn count(&mut self, what: &'static str) -> Result<usize, Damage> {
        let count = self.number(what)?;
        usize::try_from(count)
            .ok()
            .filter(|count| *count <= self.0.len())
            .ok_or_else(|| Damage::new(format!("the {what}, {count}, is more than the bytes after it")))
    }

    pub(super) fn finish(self) -> Result<(), Damage> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Damage::new(format!("{} bytes follow the last field", self.0.len())))
        }
    }
}

fn missing(what: &'static str) -> Damage {
    Damage::new(format!("the {what} is missing or malformed"))
}

/// What every family's tests share.
#[cfg(test)]
pub(super) mod check {
    use highwater_proto::error::Damage;
    use std::fmt::Debug;

    /// Every value that is a prefix of a good one, or a good one and a byte more, is damage; one with any byte changed
    /// is damage or another value; and no bytes at all are the end of the process.
    pub(in crate::store) fn refuses_all_but<T: Debug + PartialEq>(
        good: &[u8],
        decode: impl Fn(&[u8]) -> Result<T, Damage>,
    ) {
        let value = decode(good).expect("the good value");
        for end in 0..good.len() {
            assert!(decode(&good[..end]).is_err(), "the first {end} bytes of {good:02x?} were taken for a value");
        }
        let longer = [good, &[0]].concat();
        assert!(decode(&longer).is_err(), "a byte too many was accepted after {good:02x?}");
        for at in 0..good.len() {
            for change in 1..=255 {
                let mut changed = good.to_vec();
                changed[at] ^= change;
                if let Ok(other) = decode(&changed) {
                    assert_ne!(other, value, "{changed:02x?} and {good:02x?} say the same");
                }
            }
        }
        for seed in 1..=500_u64 {
            let _ = decode(&[&good[..good.len() / 2], &arbitrary(seed)].concat());
            let _ = decode(&arbitrary(seed));
        }
    }

    /// Up to 40 bytes that nobody chose, many of them large, since lengths and sums overflow with those.
    fn arbitrary(seed: u64) -> Vec<u8> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            if state & 0x300 == 0 { 0xff } else { state as u8 }
        };
        let bytes = next() % 41;
        (0..bytes).map(|_| next()).collect()
    }

    /// Keys given in the order of what they stand for are in the order of their bytes, and of one length.
    pub(in crate::store) fn ascend<const N: usize>(keys: &[[u8; N]]) {
        assert!(keys.is_sorted_by(|a, b| a < b), "{keys:02x?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_the_order_of_their_numbers() {
        check::ascend(&[pair_key(1, 2), pair_key(1, 256), pair_key(2, 1), pair_key(256, 0), pair_key(u32::MAX, 0)]);
        check::ascend(&[list_key(1, 9), list_key(1, 1 << 40), list_key(2, 0), list_key(1 << 24, 0)]);
    }

    #[test]
    fn keys_round_trip_and_have_one_length() {
        assert_eq!(decode_pair_key(&pair_key(0x0102_0304, 5)), Ok((0x0102_0304, 5)));
        assert_eq!(decode_list_key(&list_key(7, 0x0102_0304_0506_0708)), Ok((7, 0x0102_0304_0506_0708)));
        check::refuses_all_but(&pair_key(1, 2), decode_pair_key);
        check::refuses_all_but(&list_key(1, 2), decode_list_key);
    }

    #[test]
    fn a_count_is_bounded_by_its_bytes() {
        assert_eq!(Fields::new(&[2, 0, 0]).count("count").ok(), Some(2));
        assert!(Fields::new(&[3, 0, 0]).count("count").is_err());
        assert!(Fields::new(&[0xff, 0xff, 0xff, 0xff, 0x0f]).count("count").is_err());
    }
}
