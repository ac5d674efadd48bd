//! Family `redactions`: what became of messages that were edited or recalled.
//!
//! Key: position of the message. Value: 0 for a recalled one; or 1, a count, and per edit, oldest first, its seq and
//! its record's position.

use super::codec::{Fields, fixed};
use crate::state::Redaction;
use highwater_proto::error::Damage;
use highwater_proto::id::{Position, Seq};
use highwater_proto::varint;

const RECALLED: u8 = 0;
const EDITED: u8 = 1;

pub(super) fn key(target: Position) -> [u8; 8] {
    target.0.to_be_bytes()
}

pub(super) fn value(redaction: &Redaction) -> Vec<u8> {
    match redaction {
        Redaction::Recalled => vec![RECALLED],
        Redaction::Edited(edits) => {
            let mut value = vec![EDITED];
            varint::put(&mut value, edits.len() as u64);
            for (seq, position) in edits {
                varint::put(&mut value, seq.0);
                varint::put(&mut value, position.0);
            }
            value
        }
    }
}

pub(super) fn decode(key: &[u8], value: &[u8]) -> Result<(Position, Redaction), Damage> {
    let target = Position(u64::from_be_bytes(fixed(key)?));
    let mut fields = Fields::new(value);
    let redaction = match fields.byte("kind of redaction")? {
        RECALLED => Redaction::Recalled,
        EDITED => Redaction::Edited(decode_edits(target, &mut fields)?),
        other => return Err(Damage::new(format!("redaction {other} is unknown"))),
    };
    fields.finish()?;
    Ok((target, redaction))
}

fn decode_edits(target: Position, fields: &mut Fields<'_>) -> Result<Vec<(Seq, Position)>, Damage> {
    let count = fields.count("count of edits")?;
    let mut edits = Vec::with_capacity(count);
    let mut before = (Seq::ZERO, target);
    for _ in 0..count {
        let edit = (Seq(fields.number("seq of an edit")?), Position(fields.number("position of an edit")?));
        if edit.0 <= before.0 || edit.1 <= before.1 {
            return Err(Damage::new(format!("the edit at position {} does not follow {}", edit.1, before.1)));
        }
        edits.push(edit);
        before = edit;
    }
    if edits.is_empty() { Err(Damage::new("an edited message has no edits")) } else { Ok(edits) }
}

#[cfg(test)]
mod tests {
    use super::super::codec::check;
    use super::*;

    #[test]
    fn golden_bytes_and_round_trip() {
        let edited = Redaction::Edited(vec![(Seq(3), Position(300)), (Seq(5), Position(301))]);
        let key = key(Position(258));
        assert_eq!(key, [0, 0, 0, 0, 0, 0, 1, 2]);
        for (redaction, bytes) in [(Redaction::Recalled, &[0][..]), (edited, &[1, 2, 3, 0xac, 2, 5, 0xad, 2])] {
            assert_eq!(value(&redaction), bytes);
            assert_eq!(decode(&key, bytes), Ok((Position(258), redaction)));
            check::refuses_all_but(bytes, |value| decode(&key, value));
        }
        check::refuses_all_but(&key, |key| decode(key, &[0]));
        check::ascend(&[super::key(Position(255)), super::key(Position(256)), super::key(Position(1 << 40))]);
    }

    #[test]
    fn edits_follow_their_target_and_each_other() {
        for bytes in [&[1, 0][..], &[1, 1, 3, 9], &[1, 2, 3, 11, 3, 12], &[1, 2, 3, 12, 4, 12]] {
            assert!(decode(&key(Position(9)), bytes).is_err(), "{bytes:?}");
        }
    }
}
