//! How many messages somebody has not read: arithmetic on ordinals, derived anew each time, so that it cannot drift.

use crate::state::{Conversation, Member};
use highwater_proto::id::Ordinal;

/// Messages of the member's last interval that it has not read, recalled ones left out.
pub(super) fn unread(conversation: &Conversation, member: &Member) -> u64 {
    let Some(interval) = member.intervals.last() else { return 0 };
    let end = interval.left.map_or(conversation.ordinal, |left| left.ordinal);
    let start = member.read_ordinal.max(interval.joined.ordinal).max(member.own_last);
    between(start, end, &conversation.recalled)
}

/// Messages with an ordinal in `(start, end]` that are not among the recalled ones, which ascend.
fn between(start: Ordinal, end: Ordinal, recalled: &[Ordinal]) -> u64 {
    if end <= start {
        return 0;
    }
    let up_to = |ordinal: Ordinal| recalled.partition_point(|recalled| *recalled <= ordinal) as u64;
    (end.0 - start.0).saturating_sub(up_to(end) - up_to(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_after_the_start_count_unless_recalled() {
        for (start, end, recalled, expected) in [
            (0, 0, &[][..], 0),
            (0, 5, &[], 5),
            (3, 5, &[], 2),
            (5, 5, &[5], 0),
            (6, 5, &[], 0),
            (3, 5, &[3], 2),
            (3, 5, &[4], 1),
            (3, 5, &[5], 1),
            (3, 5, &[6], 2),
            (0, 3, &[1, 2, 3], 0),
        ] {
            let recalled: Vec<Ordinal> = recalled.iter().copied().map(Ordinal).collect();
            assert_eq!(between(Ordinal(start), Ordinal(end), &recalled), expected, "({start}, {end}] {recalled:?}");
        }
    }
}
