//! Fields of a message, read and written one by one.

use bytes::{Buf, BufMut};
use prost::encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint, encoded_len_varint, key_len};

/// A field of a message.
pub(super) struct Field<'a> {
    pub(super) tag: u32,
    pub(super) value: Value<'a>,
}

pub(super) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The next field; `None` if it is malformed or of another type.
#[inline]
pub(super) fn next<'a>(bytes: &mut &'a [u8]) -> Option<Field<'a>> {
    let (tag, wire_type) = key(bytes)?;
    let number = number(bytes)?;
    let value = match wire_type {
        WireType::Varint => Value::Number(number),
        WireType::LengthDelimited => {
            let value = bytes.get(..usize::try_from(number).ok()?)?;
            bytes.advance(value.len());
            Value::Bytes(value)
        }
        _ => return None,
    };
    Some(Field { tag, value })
}

/// What a field begins with. Most are one byte, which [`decode_key`] takes ten times as long for.
#[inline]
fn key(bytes: &mut &[u8]) -> Option<(u32, WireType)> {
    if let [first @ 0x08..0x80, rest @ ..] = *bytes {
        let wire_type = match first & 7 {
            0 => WireType::Varint,
            2 => WireType::LengthDelimited,
            _ => return decode_key(bytes).ok(),
        };
        *bytes = rest;
        return Some((u32::from(first >> 3), wire_type));
    }
    decode_key(bytes).ok()
}

/// A varint, of one byte in most cases.
#[inline]
fn number(bytes: &mut &[u8]) -> Option<u64> {
    if let [first @ ..0x80, rest @ ..] = *bytes {
        *bytes = rest;
        return Some(u64::from(*first));
    }
    decode_varint(bytes).ok()
}

/// The value of a message's only field, if it has this tag and is a message, a text or bytes itself.
pub(super) fn only(tag: u32, mut bytes: &[u8]) -> Option<&[u8]> {
    match next(&mut bytes)? {
        Field { tag: found, value: Value::Bytes(value) } if found == tag && bytes.is_empty() => Some(value),
        _ => None,
    }
}

/// Gives every field of a message, until one is not taken.
pub(super) fn each<'a>(mut bytes: &'a [u8], mut take: impl FnMut(Field<'a>) -> Option<()>) -> Option<()> {
    while !bytes.is_empty() {
        take(next(&mut bytes)?)?;
    }
    Some(())
}

/// The tags of a frame's numbered message: the frame has one field, which holds an id (its field 1) and a message.
#[derive(Clone, Copy)]
pub(super) struct Envelope {
    pub(super) outer: u32,
    pub(super) inner: u32,
}

impl Envelope {
    /// The id and the message; `None` if there is anything else, or the message twice: the two would be merged into one.
    pub(super) fn open(self, frame: &[u8]) -> Option<(u64, &[u8])> {
        let (mut id, mut message) = (0, None);
        each(only(self.outer, frame)?, |field| {
            match (field.tag, field.value) {
                (1, Value::Number(number)) => id = number,
                (tag, Value::Bytes(bytes)) if tag == self.inner && message.is_none() => message = Some(bytes),
                _ => return None,
            }
            Some(())
        })?;
        Some((id, message?))
    }

    /// Bytes of a frame whose message has so many.
    pub(super) fn frame_len(self, id: u64, length: usize) -> usize {
        nested_len(self.outer, self.numbered_len(id, length))
    }

    /// Writes the frame's length and all that stands before a message of so many bytes.
    pub(super) fn put(self, id: u64, length: usize, out: &mut impl BufMut) {
        out.put_u32_le(self.frame_len(id, length) as u32);
        put_nested(self.outer, self.numbered_len(id, length), out);
        put_number(1, id, out);
        put_nested(self.inner, length, out);
    }

    fn numbered_len(self, id: u64, length: usize) -> usize {
        number_len(1, id) + nested_len(self.inner, length)
    }
}

/// Most bytes that a [`gathered`] piece has: what stands before an enveloped message, or five fields with numbers.
const GATHERED_BYTES_MAX: usize = 64;

/// Writes small fields in one go. A buffer that grows looks at its room for every byte that it is given, which takes
/// longer than all else that is done for a short message.
#[inline]
pub(super) fn gathered(out: &mut impl BufMut, put: impl FnOnce(&mut &mut [u8])) {
    let mut bytes = [0; GATHERED_BYTES_MAX];
    let mut free = &mut bytes[..];
    put(&mut free);
    let count = GATHERED_BYTES_MAX - free.len();
    out.put_slice(&bytes[..count]);
}

/// Bytes of a number's field; one that is 0 is left out.
pub(super) fn number_len(tag: u32, value: u64) -> usize {
    if value == 0 { 0 } else { key_len(tag) + encoded_len_varint(value) }
}

/// Writes a number's field, unless it is 0.
pub(super) fn put_number(tag: u32, value: u64, out: &mut impl BufMut) {
    if value != 0 {
        encode_key(tag, WireType::Varint, out);
        encode_varint(value, out);
    }
}

/// Bytes of the field of a number that may be absent: 0 is written, too.
pub(super) fn optional_len(tag: u32, value: Option<u64>) -> usize {
    value.map_or(0, |value| key_len(tag) + encoded_len_varint(value))
}

/// Writes the field of a number, unless it is absent.
pub(super) fn put_optional(tag: u32, value: Option<u64>, out: &mut impl BufMut) {
    if let Some(value) = value {
        encode_key(tag, WireType::Varint, out);
        encode_varint(value, out);
    }
}

/// Bytes of the field of a text or of bytes; what is empty is left out.
pub(super) fn bytes_len(tag: u32, value: &[u8]) -> usize {
    if value.is_empty() { 0 } else { nested_len(tag, value.len()) }
}

/// Writes the field of a text or of bytes, unless it is empty.
pub(super) fn put_bytes(tag: u32, value: &[u8], out: &mut impl BufMut) {
    if !value.is_empty() {
        put_nested(tag, value.len(), out);
        out.put_slice(value);
    }
}

/// Bytes of the field of a message that has so many.
pub(super) fn nested_len(tag: u32, length: usize) -> usize {
    key_len(tag) + encoded_len_varint(length as u64) + length
}

/// Writes what stands before a text or bytes, unless there are none.
pub(super) fn put_before(tag: u32, value: &[u8], out: &mut impl BufMut) {
    if !value.is_empty() {
        put_nested(tag, value.len(), out);
    }
}

/// Writes what stands before a message of so many bytes.
pub(super) fn put_nested(tag: u32, length: usize, out: &mut impl BufMut) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(length as u64, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENVELOPE: Envelope = Envelope { outer: 2, inner: 3 };

    /// A frame without its length, whose numbered message has these fields one after the other.
    fn frame(fields: &[&[u8]]) -> Vec<u8> {
        let fields = fields.concat();
        let mut out = Vec::new();
        put_bytes(ENVELOPE.outer, &fields, &mut out);
        out
    }

    #[test]
    fn a_frame_is_opened_as_it_was_put() {
        let mut out = Vec::new();
        ENVELOPE.put(300, 4, &mut out);
        out.extend(b"text");
        assert_eq!(out.len(), 4 + ENVELOPE.frame_len(300, 4));
        assert_eq!(out[..4], (out.len() as u32 - 4).to_le_bytes());
        assert_eq!(ENVELOPE.open(&out[4..]), Some((300, &b"text"[..])));
    }

    #[test]
    fn what_would_be_merged_or_is_unknown_is_left_alone() {
        let (mut id, mut message, mut other) = (Vec::new(), Vec::new(), Vec::new());
        put_number(1, 7, &mut id);
        put_bytes(ENVELOPE.inner, b"one", &mut message);
        put_bytes(ENVELOPE.inner + 1, b"other", &mut other);
        assert_eq!(ENVELOPE.open(&frame(&[&id, &message])), Some((7, &b"one"[..])));
        assert_eq!(ENVELOPE.open(&frame(&[&message])), Some((0, &b"one"[..])), "an id of 0 is left out");
        for fields in [&[&id[..], &message, &message][..], &[&id, &message, &other], &[&id], &[]] {
            assert_eq!(ENVELOPE.open(&frame(fields)), None, "{fields:?}");
        }
    }
}
