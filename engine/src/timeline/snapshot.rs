//! The answer to a device that starts anew: its user's conversations as they are, page by page, instead of everything
//! that was ever said. What is readable of each counts as a stated gap.
//!
//! Pages go by conversation id. What they say may be newer than the position of the first page, at which sync goes on
//! after the last: clients merge by maximum.

use super::{View, list, sync};
use crate::entry::{Cursor, Delta, SnapshotCursor, SyncLimits};
use crate::reach::Halt;
use highwater_proto::id::{Position, UserId};
use highwater_proto::limits::PAGE_ENTRIES_MAX;
use std::ops::Bound;

pub(super) fn page<R>(
    view: &View<'_>,
    user: UserId,
    cursor: Cursor,
    at: SnapshotCursor,
    limits: SyncLimits,
) -> Result<Delta<R>, Halt> {
    let entries_max = limits.records_max.min(PAGE_ENTRIES_MAX);
    let (drafts, mut is_last) = {
        let state = view.state.read();
        let row = state.user(user);
        let mut ids =
            row.into_iter().flat_map(|row| row.conversations.range((Bound::Excluded(at.after), Bound::Unbounded)));
        let taken = ids.by_ref().take(entries_max);
        let drafts: Vec<list::Draft> = taken.filter_map(|id| list::draft(&state, user, *id)).collect();
        (drafts, ids.next().is_none())
    };
    let asked = drafts.len();
    let mut conversations = Vec::with_capacity(asked);
    let mut after = at.after;
    for (id, conversation) in list::complete(view, user, drafts, limits.bytes_max)? {
        after = id;
        conversations.push(conversation);
    }
    is_last &= conversations.len() == asked;
    let (checkpoint, applied) = sync::at(view, cursor.through);
    Ok(Delta {
        from: Position::ZERO,
        to: cursor.through,
        checkpoint: is_last.then_some(checkpoint),
        caught_up: is_last && cursor.through == applied,
        records: Vec::new(),
        gaps: Vec::new(),
        reset: Some(at.reason),
        conversations,
        next: if is_last {
            Cursor { after: cursor.through, through: cursor.through, snapshot: None }
        } else {
            Cursor { snapshot: Some(SnapshotCursor { after, ..at }), ..cursor }
        },
    })
}
