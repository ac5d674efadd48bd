//! Family `memberships`: how far a member has read, and what it set for itself.
//!
//! Key: user, conversation; the other way round than `members`, so that a user's rows stand together. There is one row
//! here for each row there. Value: flags (1 muted), read mark, its ordinal, ordinal of the last message of its own.

use super::codec::{Fields, decode_pair_key, pair_key};
use crate::state::Member;
use highwater_proto::error::Damage;
use highwater_proto::id::{ConversationId, Ordinal, Seq, UserId};
use highwater_proto::varint;

const MUTED: u8 = 1;

pub(super) fn key(user: UserId, conversation: ConversationId) -> [u8; 8] {
    pair_key(user.0, conversation.0)
}

pub(super) fn decode_key(key: &[u8]) -> Result<(UserId, ConversationId), Damage> {
    let (user, conversation) = decode_pair_key(key)?;
    Ok((UserId(user), ConversationId(conversation)))
}

pub(super) fn put_value(member: &Member, value: &mut Vec<u8>) {
    value.push(if member.muted { MUTED } else { 0 });
    for field in [member.read.0, member.read_ordinal.0, member.own_last.0] {
        varint::put(value, field);
    }
}

/// Reads a value into the member that its row of `members` gave.
pub(super) fn decode_value(value: &[u8], member: &mut Member) -> Result<(), Damage> {
    let mut fields = Fields::new(value);
    let flags = fields.byte("flags")?;
    if flags & !MUTED != 0 {
        return Err(Damage::new(format!("flags {flags:#x} are unknown")));
    }
    member.muted = flags & MUTED != 0;
    member.read = Seq(fields.number("read mark")?);
    member.read_ordinal = Ordinal(fields.number("ordinal of the read mark")?);
    member.own_last = Ordinal(fields.number("ordinal of the last own message")?);
    fields.finish()
}

#[cfg(test)]
mod tests {
    use super::super::codec::check;
    use super::*;

    fn value(row: &Member) -> Vec<u8> {
        let mut value = Vec::new();
        put_value(row, &mut value);
        value
    }

    fn decoded(value: &[u8]) -> Result<Member, Damage> {
        let mut member = Member::default();
        decode_value(value, &mut member).map(|()| member)
    }

    #[test]
    fn golden_bytes_and_round_trip() {
        let member =
            Member { read: Seq(300), read_ordinal: Ordinal(7), own_last: Ordinal(6), muted: true, ..Member::default() };
        assert_eq!(key(UserId(258), ConversationId(3)), [0, 0, 1, 2, 0, 0, 0, 3]);
        assert_eq!(decode_key(&key(UserId(258), ConversationId(3))), Ok((UserId(258), ConversationId(3))));
        assert_eq!(value(&member), [1, 0xac, 2, 7, 6]);
        assert_eq!(decoded(&value(&member)), Ok(member.clone()));
        check::refuses_all_but(&value(&member), decoded);
    }
}
