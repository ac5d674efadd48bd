//! Where a conversation's records stand: from seq to position, over store, frozen head and active head.

use super::View;
use crate::reach::Halt;
use crate::state::{Head, OutboxEntry};
use highwater_proto::error::{Code, Error};
use highwater_proto::id::{ConversationId, Position, Seq};

/// Position of the record with this seq; `None` if there is none yet.
pub(crate) fn position_of(view: &View<'_>, conversation: ConversationId, seq: Seq) -> Result<Option<Position>, Halt> {
    let persisted = {
        let state = view.state.read();
        if let Some(entry) = in_head(&state.head, conversation, seq) {
            return Ok(Some(entry.position));
        }
        let frozen = state.frozen.as_ref().and_then(|frozen| in_head(frozen, conversation, seq));
        if let Some(entry) = frozen {
            return Ok(Some(entry.position));
        }
        state.persisted
    };
    let stored = view.store.outbox_from(conversation, seq, 1, persisted, view.reach)?;
    Ok(stored.first().filter(|(found, _)| *found == seq).map(|(_, entry)| entry.position))
}

/// Positions of the records `first..=last` of a conversation, all of which are visible, with their seqs.
pub(super) fn positions(
    view: &View<'_>,
    conversation: ConversationId,
    first: Seq,
    last: Seq,
) -> Result<Vec<(Seq, Position)>, Halt> {
    let (newest, frozen, persisted) = {
        let state = view.state.read();
        (range_of_head(&state.head, conversation, first, last), state.frozen.clone(), state.persisted)
    };
    let below = |known: &[(Seq, Position)], last: Seq| known.first().map_or(last, |(seq, _)| Seq(seq.0 - 1));
    let last_older = below(&newest, last);
    let middle = frozen.map(|head| range_of_head(&head, conversation, first, last_older)).unwrap_or_default();
    let last_stored = below(&middle, last_older);
    let mut positions = Vec::new();
    if first <= last_stored {
        let count = (last_stored.0 - first.0 + 1) as usize;
        let stored = view.store.outbox_from(conversation, first, count, persisted, view.reach)?;
        positions.extend(stored.into_iter().map(|(seq, entry)| (seq, entry.position)));
    }
    positions.extend(middle);
    positions.extend(newest);
    let is_whole = positions.iter().map(|(seq, _)| seq.0).eq(first.0..=last.0);
    if !is_whole {
        let message =
            format!("the timeline of conversation {conversation} lacks records between seq {first} and {last}");
        return Err(Error::new(Code::Corrupt, message).into());
    }
    Ok(positions)
}

fn in_head(head: &Head, conversation: ConversationId, seq: Seq) -> Option<OutboxEntry> {
    head.outbox(conversation)?.entry(seq)
}

fn range_of_head(head: &Head, conversation: ConversationId, first: Seq, last: Seq) -> Vec<(Seq, Position)> {
    let Some(outbox) = head.outbox(conversation) else { return Vec::new() };
    let wanted = outbox.entries_from(first).take_while(|(seq, _)| *seq <= last);
    wanted.map(|(seq, entry)| (seq, entry.position)).collect()
}
