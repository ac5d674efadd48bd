//! Family `follows`: the conversations that a user must pull. A row is there or not; its value is empty.
//!
//! Key: user, conversation.

use super::codec::{Fields, decode_pair_key, pair_key};
use highwater_proto::error::Damage;
use highwater_proto::id::{ConversationId, UserId};

pub(super) fn key(user: UserId, conversation: ConversationId) -> [u8; 8] {
    pair_key(user.0, conversation.0)
}

pub(super) fn decode(key: &[u8], value: &[u8]) -> Result<(UserId, ConversationId), Damage> {
    let (user, conversation) = decode_pair_key(key)?;
    Fields::new(value).finish()?;
    Ok((UserId(user), ConversationId(conversation)))
}

#[cfg(test)]
mod tests {
    use super::super::codec::check;
    use super::*;

    #[test]
    fn golden_bytes_and_round_trip() {
        let key = key(UserId(258), ConversationId(3));
        assert_eq!(key, [0, 0, 1, 2, 0, 0, 0, 3]);
        assert_eq!(decode(&key, &[]), Ok((UserId(258), ConversationId(3))));
        check::refuses_all_but(&key, |key| decode(key, &[]));
        check::refuses_all_but(&[], |value| decode(&key, value));
    }
}
