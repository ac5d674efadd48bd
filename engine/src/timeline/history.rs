//! History: a conversation's records by seq, in both directions, as far as they are readable for the reader.

use super::outbox::positions;
use super::shown::{Scope, complete, shown, weight};
use super::{BATCH_RECORDS, View, page_entries, user_id};
use crate::commit::conversation_not_found;
use crate::entry::{Entry, HistoryRange};
use crate::reach::Halt;
use highwater_proto::id::{ConversationId, Seq, UserId};
use highwater_proto::limits::DELTA_BYTES_MAX;

/// Records looked at for one page, unless none of them was for the reader.
const SCAN_RECORDS_MAX: u64 = 4_096;

/// At most `limit` records of a conversation, by ascending seq; 0 or too many means a page, 500.
///
/// There may be fewer although there are more to come, so that a page's bodies stay within the bytes of a delta; only
/// an empty page says that there are no more.
///
/// # Errors
/// `not_found` for somebody who never was a member, as for a conversation that does not exist.
pub(crate) fn history(
    view: &View<'_>,
    user: &str,
    conversation: &str,
    range: HistoryRange,
    limit: usize,
) -> Result<Vec<Entry>, Halt> {
    let (user, id) = {
        let state = view.state.read();
        let user = user_id(&state, user)?;
        let found = state.conversation_named(conversation).filter(|(_, row)| row.members.contains_key(&user));
        let (id, _) = found.ok_or_else(|| conversation_not_found(conversation))?;
        (user, id)
    };
    walk(view, user, id, range, page_entries(limit))
}

/// As [`history`], of a conversation that the user is or was a member of.
pub(super) fn walk(
    view: &View<'_>,
    user: UserId,
    id: ConversationId,
    range: HistoryRange,
    limit: usize,
) -> Result<Vec<Entry>, Halt> {
    let ranges = {
        let state = view.state.read();
        let conversation = state.conversation(id);
        let member = conversation.and_then(|conversation| Some((conversation, conversation.members.get(&user)?)));
        member.map(|(conversation, member)| conversation.readable(member)).unwrap_or_default()
    };
    let is_forward = matches!(range, HistoryRange::After(_));
    let (mut range, mut scanned, mut bytes) = (range, 0, 0);
    // In walking order: the nearest first.
    let mut found: Vec<Entry> = Vec::new();
    'pages: while found.len() < limit && (found.is_empty() || scanned < SCAN_RECORDS_MAX) {
        let count = (limit - found.len()).min(BATCH_RECORDS);
        let Some((first, last)) = nearest(&ranges, range, count as u64) else { break };
        let mut entries = read(view, user, id, first, last)?;
        if !is_forward {
            entries.reverse();
        }
        for entry in entries {
            bytes += weight(&entry);
            if bytes > DELTA_BYTES_MAX && !found.is_empty() {
                break 'pages;
            }
            found.push(entry);
        }
        scanned += last.0 - first.0 + 1;
        range = if is_forward { HistoryRange::After(last) } else { HistoryRange::Before(first) };
    }
    if !is_forward {
        found.reverse();
    }
    Ok(found)
}

/// What the user sees of the records `first..=last`, at most a batch.
fn read(view: &View<'_>, user: UserId, id: ConversationId, first: Seq, last: Seq) -> Result<Vec<Entry>, Halt> {
    let positions: Vec<_> = positions(view, id, first, last)?.into_iter().map(|(_, position)| position).collect();
    let records = view.records(&positions)?;
    let visible = {
        let state = view.state.read();
        records.iter().filter_map(|record| shown(&state, user, record, Scope::Readable)).collect()
    };
    complete(view, visible)
}

/// The nearest contiguous seqs inside the readable ranges, at most `count`, which is at least 1.
fn nearest(ranges: &[(Seq, Seq)], range: HistoryRange, count: u64) -> Option<(Seq, Seq)> {
    let before = |end: Seq| {
        let (first, last) = ranges.iter().rev().find(|(first, _)| *first < end)?;
        let last = (*last).min(Seq(end.0 - 1));
        Some(((*first).max(Seq((last.0 + 1).saturating_sub(count))), last))
    };
    match range {
        HistoryRange::Newest => before(Seq(u64::MAX)),
        HistoryRange::Before(end) => before(end),
        HistoryRange::After(start) => {
            let (first, last) = ranges.iter().find(|(_, last)| *last > start)?;
            let first = (*first).max(start.next());
            Some((first, (*last).min(Seq(first.0 + count - 1))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_seqs_inside_the_readable_ranges() {
        use HistoryRange::{After, Before, Newest};
        let ranges = [(3, 10), (20, 25)].map(|(first, last)| (Seq(first), Seq(last)));
        for (range, count, expected) in [
            (Newest, 3, Some((23, 25))),
            (Newest, 100, Some((20, 25))),
            (Before(Seq(24)), 2, Some((22, 23))),
            (Before(Seq(20)), 2, Some((9, 10))),
            (Before(Seq(21)), 2, Some((20, 20))),
            (Before(Seq(15)), 1, Some((10, 10))),
            (Before(Seq(4)), 5, Some((3, 3))),
            (Before(Seq(3)), 5, None),
            (Before(Seq(0)), 5, None),
            (After(Seq(0)), 2, Some((3, 4))),
            (After(Seq(3)), 2, Some((4, 5))),
            (After(Seq(9)), 5, Some((10, 10))),
            (After(Seq(10)), 5, Some((20, 24))),
            (After(Seq(15)), 100, Some((20, 25))),
            (After(Seq(25)), 5, None),
            (After(Seq(u64::MAX)), 5, None),
        ] {
            let found = nearest(&ranges, range, count).map(|(first, last)| (first.0, last.0));
            assert_eq!(found, expected, "{range:?} {count}");
        }
        assert_eq!(nearest(&[], Newest, 5), None);
    }
}
