//! Lists: a user's conversations, a conversation's members, a user's devices.

use super::outbox::position_of;
use super::shown::{Scope, complete as complete_records, shown, weight};
use super::unread::unread;
use super::{BATCH_RECORDS, View, history, page_entries, user_id};
use crate::command::Caller;
use crate::commit::conversation_not_found;
use crate::entry::{ConversationPage, ConversationView, DeviceView, HistoryRange, MemberPage, MemberView};
use crate::log::Found;
use crate::reach::Halt;
use crate::state::{Conversation, Member, State};
use crate::store::SoftDevice;
use highwater_proto::error::{Code, Error};
use highwater_proto::id::{ConversationId, DeviceId, Position, Seq, UserId};
use highwater_proto::limits::DELTA_BYTES_MAX;
use highwater_proto::record::{Kind, Role};
use std::collections::HashMap;

/// A conversation's view, all but its last record.
#[derive(Debug)]
pub(super) struct Draft {
    id: ConversationId,
    /// Position of the record with the last seq that the member may see, where the state tells it.
    head_position: Option<Position>,
    view: ConversationView,
}

/// Bytes of a view besides its last record and its ranges, about.
const VIEW_BYTES: usize = 128;
/// Bytes of a readable range.
const RANGE_BYTES: usize = size_of::<(Seq, Seq)>();

/// A page of the conversations that the user is or was a member of, by the last record that it may see, the most recent
/// first; `before` is the cursor of the page before. 0 or too many means a page, 500; a page may hold fewer, so that
/// its bodies stay within the bytes of a delta.
pub(crate) fn conversations(
    view: &View<'_>,
    user: &str,
    before: Option<Position>,
    limit: usize,
) -> Result<ConversationPage, Halt> {
    let limit = page_entries(limit);
    let (user, drafts, more, unread_total) = {
        // One lock for all of them: the total has to be of one moment.
        let state = view.state.read();
        let user = user_id(&state, user)?;
        let (mut keys, unread_total) = recency(&state, user);
        keys.retain(|(key, _)| before.is_none_or(|before| *key < before));
        keys.sort_unstable_by(|a, b| b.cmp(a));
        let more = keys.len() > limit;
        keys.truncate(limit);
        let draft_of = |(key, id): &(Position, ConversationId)| Some((*key, draft(&state, user, *id)?));
        let drafts: Vec<(Position, Draft)> = keys.iter().filter_map(draft_of).collect();
        (user, drafts, more, unread_total)
    };
    let (keys, drafts): (Vec<Position>, Vec<Draft>) = drafts.into_iter().unzip();
    let completed = complete(view, user, drafts, DELTA_BYTES_MAX)?;
    let is_cut = more || completed.len() < keys.len();
    let last = completed.len().checked_sub(1).and_then(|last| keys.get(last)).copied();
    Ok(ConversationPage {
        conversations: completed.into_iter().map(|(_, conversation)| conversation).collect(),
        next: last.filter(|_| is_cut),
        unread_total,
    })
}

/// When each of the user's conversations last had something for it, and what is unread in all that count.
fn recency(state: &State, user: UserId) -> (Vec<(Position, ConversationId)>, u64) {
    let mut unread_total = 0;
    let mut keys = Vec::new();
    for id in state.user(user).into_iter().flat_map(|row| &row.conversations) {
        let Some(conversation) = state.conversation(*id) else { continue };
        let Some(member) = conversation.members.get(&user) else { continue };
        if member.is_current() && !member.muted {
            unread_total += unread(conversation, member);
        }
        keys.push((last_position(conversation, member), *id));
    }
    (keys, unread_total)
}

/// Position of the last record that concerns the member: no two conversations have the same.
fn last_position(conversation: &Conversation, member: &Member) -> Position {
    let Some(interval) = member.intervals.last() else { return Position::ZERO };
    let head = conversation.head_position;
    interval.joined.position.max(interval.left.map_or(head, |left| head.min(left.position)))
}

/// What the state alone tells of a conversation; `None` if the user never was a member.
pub(super) fn draft(state: &State, user: UserId, id: ConversationId) -> Option<Draft> {
    let conversation = state.conversation(id)?;
    let member = conversation.members.get(&user)?;
    let ranges = conversation.readable(member);
    let view = ConversationView {
        conversation: conversation.name.clone(),
        kind: conversation.kind,
        role: member.role,
        head: ranges.last().map_or(Seq::ZERO, |(_, last)| *last),
        read: member.read,
        unread: unread(conversation, member),
        muted: member.muted,
        ranges,
        last: None,
    };
    // What somebody sees who is there goes to the conversation's head, which stands in its row.
    let head_position = (view.head == conversation.head).then_some(conversation.head_position);
    Some(Draft { id, head_position, view })
}

/// Adds the last records. As many conversations as fit `bytes_max`, one at least, if there is one.
pub(super) fn complete(
    view: &View<'_>,
    user: UserId,
    drafts: Vec<Draft>,
    bytes_max: usize,
) -> Result<Vec<(ConversationId, ConversationView)>, Halt> {
    let mut completed: Vec<(ConversationId, ConversationView)> = Vec::with_capacity(drafts.len());
    let mut bytes = 0;
    let mut drafts = drafts.into_iter();
    loop {
        let mut batch: Vec<Draft> = drafts.by_ref().take(BATCH_RECORDS).collect();
        if batch.is_empty() {
            return Ok(completed);
        }
        add_last_records(view, user, &mut batch)?;
        for Draft { id, view, .. } in batch {
            bytes += VIEW_BYTES + view.ranges.len() * RANGE_BYTES + view.last.as_ref().map_or(0, weight);
            if bytes > bytes_max && !completed.is_empty() {
                return Ok(completed);
            }
            completed.push((id, view));
        }
    }
}

fn add_last_records(view: &View<'_>, user: UserId, batch: &mut [Draft]) -> Result<(), Halt> {
    let mut heads = Vec::with_capacity(batch.len());
    for draft in batch.iter().filter(|draft| !draft.view.head.is_zero()) {
        let known = draft.head_position;
        heads.extend(if known.is_some() { known } else { position_of(view, draft.id, draft.view.head)? });
    }
    heads.sort_unstable();
    let records = view.records(&heads)?;
    let (ids, visible): (Vec<ConversationId>, Vec<_>) = {
        let state = view.state.read();
        let see = |record: &Found| Some((record.conversation, shown(&state, user, record, Scope::Readable)?));
        records.iter().filter_map(see).unzip()
    };
    let mut last: HashMap<ConversationId, _> = ids.into_iter().zip(complete_records(view, visible)?).collect();
    for draft in batch {
        draft.view.last = match last.remove(&draft.id) {
            None if draft.view.head.is_zero() => None,
            // The last readable record says something about one that is not: an edit of it.
            None => history::walk(view, user, draft.id, HistoryRange::Newest, 1)?.pop(),
            found => found,
        };
    }
    Ok(())
}

/// A page of a conversation's current members, by id; `after` is the cursor of the page before. 0 or too many means a
/// page, 500. Followers of a channel see themselves and the count.
///
/// # Errors
/// `not_found` for somebody who never was a member, as for a conversation that does not exist; `not_allowed` for a
/// former member.
pub(crate) fn members(
    view: &View<'_>,
    caller: &Caller,
    conversation: &str,
    after: Option<UserId>,
    limit: usize,
) -> Result<MemberPage, Error> {
    let state = view.state.read();
    let Some((_, row)) = state.conversation_named(conversation) else {
        return Err(conversation_not_found(conversation));
    };
    let only = match caller {
        Caller::Service => None,
        Caller::User(name) => {
            let user = user_id(&state, name)?;
            let member = row.members.get(&user).ok_or_else(|| conversation_not_found(conversation))?;
            let Some(role) = member.role else {
                let message = "you are not a member of this conversation any more";
                return Err(Error::new(Code::NotAllowed, message));
            };
            (row.kind == Kind::Channel && role < Role::Admin).then_some(user)
        }
    };
    let after = after.unwrap_or(UserId::ZERO);
    let listed = match &only {
        Some(user) => std::slice::from_ref(user),
        None => row.active.as_slice(),
    };
    let first = listed.partition_point(|user| *user <= after);
    let rest = listed.get(first..).unwrap_or(&[]);
    let page = rest.get(..page_entries(limit)).unwrap_or(rest);
    let next = page.last().copied().filter(|_| page.len() < rest.len());
    let view_of = |user: &UserId| {
        let member = row.members.get(user)?;
        Some(MemberView { user: state.user_name(*user), role: member.role?, ranges: row.readable(member) })
    };
    Ok(MemberPage { members: page.iter().filter_map(view_of).collect(), count: row.active.len() as u64, next })
}

/// A user's registered devices.
pub(crate) fn devices(
    state: &State,
    soft: &HashMap<DeviceId, SoftDevice>,
    user: &str,
) -> Result<Vec<DeviceView>, Error> {
    let row = state.user(user_id(state, user)?);
    let devices = row.into_iter().flat_map(|row| &row.devices);
    let registered = devices.filter_map(|id| Some((id, state.device(*id).filter(|device| device.registered)?)));
    let view_of = |(id, device): (&DeviceId, &crate::state::Device)| {
        let soft = soft.get(id);
        DeviceView {
            device: device.name.clone(),
            client_seq: device.last_client_seq,
            position: soft.map_or(Position::ZERO, |soft| soft.acknowledged),
            last_seen_ms: soft.map_or(0, |soft| soft.last_seen_ms),
        }
    };
    Ok(registered.map(view_of).collect())
}
