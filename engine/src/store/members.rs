//! Family `members`: who is or was in a conversation, as what, and when.
//!
//! Key: conversation, user. Value: role (0 former member, 1 member, 2 admin, 3 owner), count of intervals; per interval
//! position, seq and ordinal of its begin, a byte that says whether it ended, and if so the same three of its end.

use super::codec::{Fields, decode_pair_key, pair_key};
use crate::state::{Interval, Mark, Member};
use highwater_proto::error::Damage;
use highwater_proto::id::{ConversationId, Ordinal, Position, Seq, UserId};
use highwater_proto::record::Role;
use highwater_proto::varint;

pub(super) fn key(conversation: ConversationId, user: UserId) -> [u8; 8] {
    pair_key(conversation.0, user.0)
}

pub(super) fn decode_key(key: &[u8]) -> Result<(ConversationId, UserId), Damage> {
    let (conversation, user) = decode_pair_key(key)?;
    Ok((ConversationId(conversation), UserId(user)))
}

pub(super) fn put_value(member: &Member, value: &mut Vec<u8>) {
    value.push(match member.role {
        None => 0,
        Some(Role::Member) => 1,
        Some(Role::Admin) => 2,
        Some(Role::Owner) => 3,
    });
    varint::put(value, member.intervals.len() as u64);
    for interval in &member.intervals {
        put_mark(value, interval.joined);
        value.push(u8::from(interval.left.is_some()));
        if let Some(left) = interval.left {
            put_mark(value, left);
        }
    }
}

/// Reads a value; what the member has read stands in `memberships`.
pub(super) fn decode_value(value: &[u8]) -> Result<Member, Damage> {
    let mut fields = Fields::new(value);
    let role = match fields.byte("role")? {
        0 => None,
        1 => Some(Role::Member),
        2 => Some(Role::Admin),
        3 => Some(Role::Owner),
        other => return Err(Damage::new(format!("role {other} is unknown"))),
    };
    let count = fields.count("count of intervals")?;
    let mut intervals = Vec::with_capacity(count);
    for _ in 0..count {
        let joined = take_mark(&mut fields)?;
        let left = match fields.byte("end of an interval")? {
            0 => None,
            1 => Some(take_mark(&mut fields)?),
            other => return Err(Damage::new(format!("an interval's end is {other}, which is neither 0 nor 1"))),
        };
        intervals.push(Interval { joined, left });
    }
    fields.finish()?;
    // A member has one open interval, the last; a former member has none.
    let (last, before) = intervals.split_last().ok_or(Damage::new("there are no intervals"))?;
    if last.left.is_some() == role.is_some() || before.iter().any(|interval| interval.left.is_none()) {
        return Err(Damage::new("the role and the last interval contradict each other"));
    }
    Ok(Member { role, intervals, ..Member::default() })
}

fn put_mark(value: &mut Vec<u8>, mark: Mark) {
    for field in [mark.position.0, mark.seq.0, mark.ordinal.0] {
        varint::put(value, field);
    }
}

fn take_mark(fields: &mut Fields<'_>) -> Result<Mark, Damage> {
    Ok(Mark {
        position: Position(fields.number("position of an interval")?),
        seq: Seq(fields.number("seq of an interval")?),
        ordinal: Ordinal(fields.number("ordinal of an interval")?),
    })
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

    fn mark(n: u64) -> Mark {
        Mark { position: Position(n * 100), seq: Seq(n * 2), ordinal: Ordinal(n) }
    }

    fn returned() -> Member {
        let intervals =
            vec![Interval { joined: mark(1), left: Some(mark(2)) }, Interval { joined: mark(3), left: None }];
        Member { role: Some(Role::Admin), intervals, ..Member::default() }
    }

    #[test]
    fn golden_bytes() {
        assert_eq!(key(ConversationId(258), UserId(3)), [0, 0, 1, 2, 0, 0, 0, 3]);
        assert_eq!(value(&returned()), [2, 2, 100, 2, 1, 1, 0xc8, 1, 4, 2, 0xac, 2, 6, 3, 0]);
    }

    #[test]
    fn round_trip() {
        for role in [Role::Member, Role::Admin, Role::Owner] {
            let member = Member { role: Some(role), ..returned() };
            assert_eq!(decode_value(&value(&member)), Ok(member));
        }
        let former = Member { role: None, intervals: returned().intervals[..1].to_vec(), ..Member::default() };
        assert_eq!(decode_value(&value(&former)), Ok(former));
        assert_eq!(decode_key(&key(ConversationId(1), UserId(2))), Ok((ConversationId(1), UserId(2))));
    }

    #[test]
    fn other_bytes_are_refused() {
        check::refuses_all_but(&value(&returned()), decode_value);
        let open = Interval { joined: mark(1), left: None };
        for (role, intervals) in [
            (None, returned().intervals),
            (Some(Role::Member), returned().intervals[..1].to_vec()),
            (Some(Role::Member), vec![open, open]),
            (None, Vec::new()),
        ] {
            let member = Member { role, intervals, ..Member::default() };
            assert!(decode_value(&value(&member)).is_err(), "{member:?}");
        }
    }
}
