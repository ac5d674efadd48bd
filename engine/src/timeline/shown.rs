//! From a record to what its reader sees: whether it may be seen at all, redactions, names in place of ids.
//!
//! What a record says never changes, but what is shown of it may: a message that was recalled is a tombstone, one that
//! was edited has the newest replacement whose edit its reader may read. An edit is shown where its target is readable,
//! too, and without a body once the target is recalled.
//!
//! Changes of mode and whatever gives names and epochs their ids are nobody's to see; a read mark is seen by its own
//! user alone. Of comings and goings in a channel, and of the members that it was created with, a follower is told only
//! what concerns itself: who else follows is not its business.

use super::{BATCH_RECORDS, View};
use crate::entry::{Body, Common, Entry, What};
use crate::log::Found;
use crate::reach::Halt;
use crate::state::{Conversation, Member, Redaction, State};
use bytes::Bytes;
use highwater_proto::error::{Code, Error};
use highwater_proto::id::{Position, UserId};
use highwater_proto::record::{Fact, Kind, Record};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// By what a reader is let see a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Its intervals, by position: what sync goes by.
    Intervals,
    /// What is readable for it, by seq: what history goes by.
    Readable,
}

/// What a reader sees, but for a replaced body that has still to be read.
#[derive(Debug)]
pub(super) struct Shown {
    entry: Entry,
    /// The edit whose body is shown in place of the original.
    replacement: Option<Position>,
}

/// A record in full, without redactions: the answer to the command that made it, for whoever gave it.
pub(crate) fn entry(state: &State, record: &Record) -> Entry {
    // Commands are not answered with records that say nothing to users: they come before the answer's own.
    let what = what(state, record).unwrap_or_else(|| What::User { user: state.user_name(record.author) });
    named(state, record, what, Common::none())
}

/// What `user` sees of a record; `None` if it may not see it.
pub(super) fn shown(state: &State, user: UserId, record: &Found, scope: Scope) -> Option<Shown> {
    let conversation = state.conversation(record.conversation)?;
    let member = conversation.members.get(&user)?;
    if !is_visible(conversation, member, user, record, scope) {
        return None;
    }
    let mut what = what(state, record)?;
    let mut replacement = None;
    // Whether everybody who may see the record sees this of it, now and later, unless it is redacted.
    let mut is_common = true;
    match &mut what {
        What::Message { body, .. } => match state.redactions.get(&record.position) {
            None => {}
            Some(Redaction::Recalled) => {
                *body = Body::Recalled;
                is_common = false;
            }
            Some(Redaction::Edited(edits)) => {
                let newest = edits.iter().rev().find(|(seq, _)| conversation.may_read(member, *seq));
                replacement = newest.map(|(_, position)| *position);
                is_common = replacement.is_none();
            }
        },
        What::Edit { body, .. } => {
            if let Fact::Edit { target_position, .. } = &record.fact
                && state.redactions.get(target_position) == Some(&Redaction::Recalled)
            {
                *body = None;
                is_common = false;
            }
        }
        What::Create { members, .. } | What::Add { members } | What::Remove { members }
            if conversation.kind == Kind::Channel && record.author != user =>
        {
            let own = state.user_name(user);
            members.retain(|name| *name == own);
            is_common = false;
        }
        _ => {}
    }
    let common = record.kept().filter(|_| is_common).map_or_else(Common::none, |kept| Common::of(kept.clone()));
    Some(Shown { entry: named(state, record, what, common), replacement })
}

/// Whether a message is seen by `user` as it was written.
pub(super) fn is_shown_as_written(state: &State, user: UserId, message: &Found, scope: Scope) -> bool {
    let Some(conversation) = state.conversation(message.conversation) else { return false };
    let Some(member) = conversation.members.get(&user) else { return false };
    is_visible(conversation, member, user, message, scope) && !state.redactions.contains_key(&message.position)
}

fn is_visible(conversation: &Conversation, member: &Member, user: UserId, record: &Record, scope: Scope) -> bool {
    let is_inside = match scope {
        Scope::Intervals => member.may_sync(record.position),
        Scope::Readable => !record.seq.is_zero() && conversation.may_read(member, record.seq),
    };
    match &record.fact {
        // One's own read marks belong to one's devices, member or not.
        Fact::Read { .. } => scope == Scope::Intervals && record.author == user,
        Fact::Edit { target, .. } => is_inside && conversation.may_read(member, *target),
        Fact::Message(_)
        | Fact::Recall { .. }
        | Fact::Create { .. }
        | Fact::Add { .. }
        | Fact::Remove { .. }
        | Fact::Join
        | Fact::Leave
        | Fact::Role { .. }
        | Fact::Settings(_) => is_inside,
        Fact::User { .. }
        | Fact::Conversation { .. }
        | Fact::Device { .. }
        | Fact::Revoke { .. }
        | Fact::Mode(_)
        | Fact::Mute { .. }
        | Fact::Epoch { .. } => false,
    }
}

/// Reads the bodies that replace others, and puts them in their places. Takes at most a batch.
pub(super) fn complete(view: &View<'_>, shown: Vec<Shown>) -> Result<Vec<Entry>, Halt> {
    debug_assert!(shown.len() <= BATCH_RECORDS, "the bodies of one batch are in memory at a time");
    let positions: BTreeSet<Position> = shown.iter().filter_map(|shown| shown.replacement).collect();
    let mut replacements: HashMap<Position, (Bytes, u64)> = HashMap::new();
    if !positions.is_empty() {
        let positions: Vec<Position> = positions.into_iter().collect();
        for record in view.records(&positions)? {
            let Fact::Edit { body, .. } = &record.fact else {
                let message =
                    format!("record at position {} is not the edit that the index says it is", record.position);
                return Err(Error::new(Code::Corrupt, message).into());
            };
            replacements.insert(record.position, (body.clone(), record.time_ms));
        }
    }
    let finish = |shown: Shown| {
        let Shown { mut entry, replacement } = shown;
        let replacement = replacement.and_then(|position| replacements.get(&position));
        if let (Some((bytes, time_ms)), What::Message { body, .. }) = (replacement, &mut entry.what) {
            *body = Body::Edited(bytes.clone(), *time_ms);
        }
        entry
    };
    Ok(shown.into_iter().map(finish).collect())
}

/// About how many bytes an entry adds to a page: its body and the names it lists.
pub(super) fn weight(entry: &Entry) -> usize {
    let names = |names: &[Arc<str>]| names.iter().map(|name| name.len()).sum::<usize>();
    match &entry.what {
        What::Message { body: Body::Original(body) | Body::Edited(body, _), mentions, .. } => {
            body.len() + names(mentions)
        }
        What::Message { body: Body::Recalled, mentions, .. } => names(mentions),
        What::Edit { body, .. } => body.as_ref().map_or(0, Bytes::len),
        What::Create { members, .. } | What::Add { members } | What::Remove { members } => names(members),
        _ => 0,
    }
}

fn named(state: &State, record: &Record, what: What, common: Common) -> Entry {
    Entry {
        position: record.position,
        conversation: state.conversation(record.conversation).map_or_else(Arc::default, |row| row.name.clone()),
        seq: record.seq,
        from: state.user_name(record.author),
        device: state.device(record.device).map_or_else(Arc::default, |device| device.name.clone()),
        time_ms: record.time_ms,
        by_service: record.by_service,
        what,
        common,
    }
}

/// What a record says, with names; `None` if it says nothing to users.
fn what(state: &State, record: &Record) -> Option<What> {
    let name = |id: &UserId| state.user_name(*id);
    let names = |ids: &[UserId]| ids.iter().map(name).collect::<Vec<_>>();
    Some(match &record.fact {
        Fact::Message(message) => What::Message {
            sent_at_ms: message.sent_at_ms,
            quote: message.quote,
            mentions: names(&message.mentions),
            body: Body::Original(message.body.clone()),
        },
        Fact::Edit { target, body, .. } => What::Edit { target: *target, body: Some(body.clone()) },
        Fact::Recall { target, .. } => What::Recall { target: *target },
        Fact::Create { kind, settings, owner, members } => {
            What::Create { kind: *kind, settings: *settings, owner: owner.as_ref().map(name), members: names(members) }
        }
        Fact::Add { members } => What::Add { members: names(members) },
        Fact::Remove { members } => What::Remove { members: names(members) },
        Fact::Join => What::Join { user: name(&record.author) },
        Fact::Leave => What::Leave { user: name(&record.author) },
        Fact::Role { user, role } => What::Role { user: name(user), role: *role },
        Fact::Settings(settings) => What::Settings(*settings),
        Fact::Read { through, .. } => What::Read { through: *through },
        Fact::Mute { muted } => What::Mute { muted: *muted },
        Fact::Revoke { id } => What::Revoke { device: state.device(*id)?.name.clone() },
        Fact::User { id, .. } => What::User { user: name(id) },
        Fact::Conversation { .. } | Fact::Device { .. } | Fact::Mode(_) | Fact::Epoch { .. } => return None,
    })
}
