//! Unsigned LEB128: small numbers in few bytes, in one form only, so that equal values have equal bytes.

/// Longest encoding of a `u64`, in bytes.
pub const VARINT_BYTES_MAX: usize = 10;

/// Appends `value`, seven bits per byte, the lowest first; every byte but the last has its top bit set.
pub fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Takes a number off the front of `bytes`.
///
/// `None`, with `bytes` as they were, if they end too early, if the number does not fit 64 bits, or if a shorter form
/// of it exists.
pub fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for (index, byte) in bytes.iter().copied().take(VARINT_BYTES_MAX).enumerate() {
        let bits = u64::from(byte & 0x7f);
        let shift = 7 * index as u32;
        // The tenth byte has room for one bit.
        if shift == 63 && bits > 1 {
            return None;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            // A last byte of zero adds nothing: the same number without it is the one form.
            if byte == 0 && index > 0 {
                return None;
            }
            *bytes = bytes.get(index + 1..)?;
            return Some(value);
        }
    }
    None
}

/// Takes a number that has to fit 32 bits off the front of `bytes`; else as [`take`].
pub fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    let mut rest = *bytes;
    let value = u32::try_from(take(&mut rest)?).ok()?;
    *bytes = rest;
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_forms() {
        for (value, bytes) in [
            (0, &[0][..]),
            (1, &[1]),
            (127, &[0x7f]),
            (128, &[0x80, 1]),
            (300, &[0xac, 2]),
            (u64::from(u32::MAX), &[0xff, 0xff, 0xff, 0xff, 0x0f]),
            (u64::MAX, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
        ] {
            let mut out = Vec::new();
            put(&mut out, value);
            assert_eq!(out, bytes, "{value}");
            assert_eq!(take(&mut &out[..]), Some(value));
        }
    }

    #[test]
    fn other_forms_are_refused() {
        for bytes in [
            &[][..],
            &[0x80],
            &[0x80, 0],
            &[0xff, 0x80, 0],
            &[0xff; 9],
            &[0xff; 11],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2],
            &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0],
            &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01],
        ] {
            let mut rest = bytes;
            assert_eq!(take(&mut rest), None, "{bytes:02x?}");
            assert_eq!(rest, bytes, "nothing is taken");
        }
        assert_eq!(take_u32(&mut &[0x80, 0x80, 0x80, 0x80, 0x10][..]), None);
    }

    proptest! {
        #[test]
        fn round_trip_leaves_the_rest(value: u64, shift in 0_u32..64, rest: Vec<u8>) {
            let value = value >> shift;
            let mut out = Vec::new();
            put(&mut out, value);
            prop_assert!(out.len() <= VARINT_BYTES_MAX);
            out.extend_from_slice(&rest);
            let mut bytes = &out[..];
            prop_assert_eq!(take(&mut bytes), Some(value));
            prop_assert_eq!(bytes, &rest[..]);
        }

        #[test]
        fn what_is_read_is_written_the_same_way(bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
            let mut rest = &bytes[..];
            if let Some(value) = take(&mut rest) {
                let mut out = Vec::new();
                put(&mut out, value);
                prop_assert_eq!(&out[..], &bytes[..bytes.len() - rest.len()]);
            }
        }
    }
}
