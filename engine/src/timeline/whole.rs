//! Whole timelines, for the canonical dump: the same however they are spread over store and heads.

use super::View;
use crate::state::Head;
use highwater_proto::error::Error;
use highwater_proto::id::{ConversationId, Position, Seq, UserId};

/// A user's inbox, in full.
pub(crate) fn whole_inbox(view: &View<'_>, user: UserId) -> Result<Vec<Position>, Error> {
    let (newest, frozen, persisted, applied) = {
        let state = view.state.read();
        let newest: Vec<Position> = state.head.inbox(user, Position::ZERO, state.applied).collect();
        (newest, state.frozen.clone(), state.persisted, state.applied)
    };
    let mut inbox = view.store.inbox_after(user, Position::ZERO, persisted, usize::MAX, view.reach)?;
    inbox.extend(frozen.iter().flat_map(|head| head.inbox(user, Position::ZERO, applied)));
    inbox.extend(newest);
    Ok(inbox)
}

/// A conversation's outbox, in full: seq, position, and whether it is a message.
pub(crate) fn whole_outbox(view: &View<'_>, conversation: ConversationId) -> Result<Vec<(Seq, Position, bool)>, Error> {
    let (newest, frozen, persisted) = {
        let state = view.state.read();
        (entries(&state.head, conversation), state.frozen.clone(), state.persisted)
    };
    let stored = view.store.outbox_from(conversation, Seq(1), usize::MAX, persisted, view.reach)?;
    let mut outbox: Vec<_> = stored.into_iter().map(|(seq, entry)| (seq, entry.position, entry.countable)).collect();
    outbox.extend(frozen.iter().flat_map(|head| entries(head, conversation)));
    outbox.extend(newest);
    Ok(outbox)
}

fn entries(head: &Head, conversation: ConversationId) -> Vec<(Seq, Position, bool)> {
    let Some(outbox) = head.outbox(conversation) else { return Vec::new() };
    let seqs = (outbox.first.0..).map(Seq);
    seqs.zip(outbox.entries()).map(|(seq, entry)| (seq, entry.position, entry.countable)).collect()
}
