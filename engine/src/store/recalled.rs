//! Family `recalled`: ordinals of a conversation's recalled messages, which do not count as unread.
//!
//! Key: conversation. Value: a count, and per ordinal, ascending, the distance from the one before it (from zero for
//! the first one), less one. A conversation without recalled messages has no row.

use super::codec::{Fields, fixed};
use highwater_proto::error::Damage;
use highwater_proto::id::{ConversationId, Ordinal};
use highwater_proto::varint;

pub(super) fn key(conversation: ConversationId) -> [u8; 4] {
    conversation.0.to_be_bytes()
}

/// `recalled` ascends strictly from 1.
pub(super) fn value(recalled: &[Ordinal]) -> Vec<u8> {
    let mut value = Vec::new();
    varint::put(&mut value, recalled.len() as u64);
    let mut before = 0;
    for ordinal in recalled {
        varint::put(&mut value, ordinal.0 - before - 1);
        before = ordinal.0;
    }
    value
}

pub(super) fn decode(key: &[u8], value: &[u8]) -> Result<(ConversationId, Vec<Ordinal>), Damage> {
    let conversation = ConversationId(u32::from_be_bytes(fixed(key)?));
    let mut fields = Fields::new(value);
    let count = fields.count("count of ordinals")?;
    let mut recalled = Vec::with_capacity(count);
    let mut before = 0_u64;
    for _ in 0..count {
        let next = before.checked_add(fields.number("ordinal")?).and_then(|sum| sum.checked_add(1));
        before = next.ok_or(Damage::new("an ordinal overflows"))?;
        recalled.push(Ordinal(before));
    }
    fields.finish()?;
    Ok((conversation, recalled))
}

#[cfg(test)]
mod tests {
    use super::super::codec::check;
    use super::*;

    #[test]
    fn golden_bytes_and_round_trip() {
        let recalled = vec![Ordinal(1), Ordinal(2), Ordinal(303)];
        let (key, value) = (key(ConversationId(258)), value(&recalled));
        assert_eq!((key, &value[..]), ([0, 0, 1, 2], &[3, 0, 0, 0xac, 2][..]));
        assert_eq!(decode(&key, &value), Ok((ConversationId(258), recalled)));
        check::refuses_all_but(&key, |key| decode(key, &value));
        check::refuses_all_but(&value, |value| decode(&key, value));
        let overflow = [&[2][..], &[0xff; 9], &[1, 0]].concat();
        assert!(decode(&key, &overflow).is_err());
    }
}
