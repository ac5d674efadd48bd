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
fn next<'a>(bytes: &mut &'a [u8]) -> Option<Field<'a>> {
    let (tag, wire_type) = decode_key(bytes).ok()?;
    let number = decode_varint(bytes).ok()?;
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

/// Writes what stands before a message of so many bytes.
pub(super) fn put_nested(tag: u32, length: usize, out: &mut impl BufMut) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(length as u64, out);
}
