//! Who comes and goes, and with what role.

use super::create::check_members;
use super::{Answer, Draft, Rules, Step, Verdict, current_member, not_found, refuse, unchanged};
use crate::command::Caller;
use crate::state::Conversation;
use highwater_proto::error::{Code, Error};
use highwater_proto::id::{ConversationId, UserId};
use highwater_proto::record::{Fact, Kind, Role};
use std::sync::Arc;

impl Rules<'_> {
    pub(super) fn add(&self, caller: &Caller, name: &Arc<str>, members: &[Arc<str>]) -> Step<Verdict> {
        check_members(members)?;
        let (id, conversation) = self.settled(name)?;
        self.administration(conversation, caller)?;
        let author = self.author(caller)?;
        let mut drafts = Vec::new();
        let mut users = self.name_users(&distinct(members), author.1, author, &mut drafts)?;
        users.retain(|user| conversation.active.binary_search(user).is_err());
        if users.is_empty() {
            return Ok(unchanged(name));
        }
        self.room_for_members(id, &users)?;
        self.arrive(author, id, conversation, users.len(), Fact::Add { members: users }, drafts)
    }

    pub(super) fn join(&self, user: &Arc<str>, name: &Arc<str>) -> Step<Verdict> {
        let caller = self.caller(user)?;
        let (id, conversation) = self.settled(name)?;
        if conversation.active.binary_search(&caller).is_ok() {
            return Ok(unchanged(name));
        }
        if conversation.kind != Kind::Channel || !conversation.settings.open {
            // A former member is told why; a stranger is not told that it exists.
            current_member(conversation, caller)?;
        }
        self.room_for_members(id, &[caller])?;
        self.arrive((caller, false), id, conversation, 1, Fact::Join, Vec::new())
    }

    /// The records of an arrival: the mode that so many members need goes before it.
    fn arrive(
        &self,
        author: (UserId, bool),
        id: ConversationId,
        conversation: &Conversation,
        more: usize,
        fact: Fact,
        mut drafts: Vec<Draft>,
    ) -> Step<Verdict> {
        let members = conversation.active.len() + more;
        let limit = self.options.limits.members_per_conversation_max;
        if members > limit {
            let what = format!("the conversation would have {members} members");
            return Err(Verdict::refuse(Error::limit("members_per_conversation_max", limit as u64, what)));
        }
        let mode = self.mode_change(conversation, members, conversation.settings.fanout);
        drafts.extend(mode.map(|mode| Draft::mode(author, id, mode)));
        drafts.push(coming_or_going(author, id, conversation.kind, fact));
        Ok(Verdict::Accept(drafts, Answer::Changed))
    }

    pub(super) fn remove(&self, caller: &Caller, name: &Arc<str>, members: &[Arc<str>]) -> Step<Verdict> {
        check_members(members)?;
        let (id, conversation) = self.settled(name)?;
        let standing = self.administration(conversation, caller)?;
        let author = self.author(caller)?;
        let users: Vec<UserId> = distinct(members)
            .iter()
            .filter_map(|member| self.known.user(member))
            .filter(|user| conversation.active.binary_search(user).is_ok())
            .collect();
        if users.is_empty() {
            return Ok(unchanged(name));
        }
        if let Some((user, member)) = standing {
            let is_owner =
                |user: &UserId| conversation.members.get(user).is_some_and(|row| row.role == Some(Role::Owner));
            if member.role < Some(Role::Owner) && users.iter().any(is_owner) {
                return Err(refuse(Code::NotAllowed, "only an owner removes an owner"));
            }
            if users.contains(&user) {
                return Err(refuse(Code::InvalidArgument, "members: leave, rather than removing yourself"));
            }
        }
        self.depart(author, id, conversation, users.len(), Fact::Remove { members: users })
    }

    pub(super) fn leave(&self, user: &Arc<str>, name: &Arc<str>) -> Step<Verdict> {
        let caller = self.caller(user)?;
        let (id, conversation) = self.settled(name)?;
        match conversation.members.get(&caller) {
            None => return Err(not_found(name)),
            Some(member) if !member.is_current() => return Ok(unchanged(name)),
            Some(_) if conversation.kind == Kind::Direct => {
                return Err(refuse(Code::NotAllowed, "a direct conversation cannot be left"));
            }
            Some(member) => self.not_the_last_owner(conversation, member.role)?,
        }
        self.depart((caller, false), id, conversation, 1, Fact::Leave)
    }

    fn depart(
        &self,
        author: (UserId, bool),
        id: ConversationId,
        conversation: &Conversation,
        fewer: usize,
        fact: Fact,
    ) -> Step<Verdict> {
        let members = conversation.active.len() - fewer;
        let mode = self.mode_change(conversation, members, conversation.settings.fanout);
        let mut drafts: Vec<Draft> = mode.map(|mode| Draft::mode(author, id, mode)).into_iter().collect();
        drafts.push(coming_or_going(author, id, conversation.kind, fact));
        Ok(Verdict::Accept(drafts, Answer::Changed))
    }

    pub(super) fn role(&self, caller: &Caller, name: &Arc<str>, user: &Arc<str>, role: Role) -> Step<Verdict> {
        let (id, conversation) = self.settled(name)?;
        let standing = self.administration(conversation, caller)?;
        if standing.is_some_and(|(_, member)| member.role < Some(Role::Owner)) {
            return Err(refuse(Code::NotAllowed, "only an owner changes roles"));
        }
        let target = self.known.user(user).filter(|target| conversation.active.binary_search(target).is_ok());
        let target = target.ok_or_else(|| refuse(Code::NotFound, format!("user: {user:?} is not a member")))?;
        let current = conversation.members.get(&target).and_then(|member| member.role);
        if current == Some(role) {
            return Ok(unchanged(name));
        }
        if standing.is_some() {
            self.not_the_last_owner(conversation, current)?;
        }
        let draft = Draft::barrier(self.author(caller)?, id, Fact::Role { user: target, role });
        Ok(Verdict::Accept(vec![draft], Answer::Changed))
    }

    /// The last owner stays while others remain.
    fn not_the_last_owner(&self, conversation: &Conversation, role: Option<Role>) -> Step<()> {
        if role != Some(Role::Owner) || conversation.active.len() == 1 {
            return Ok(());
        }
        let owners = conversation.members.values().filter(|member| member.role == Some(Role::Owner)).count();
        if owners > 1 {
            return Ok(());
        }
        Err(refuse(Code::NotAllowed, "the last owner stays while others remain; make another member owner first"))
    }
}

/// In a channel followers come and go without a seq.
fn coming_or_going(author: (UserId, bool), id: ConversationId, kind: Kind, fact: Fact) -> Draft {
    Draft { has_seq: kind != Kind::Channel, ..Draft::barrier(author, id, fact) }
}

fn distinct(names: &[Arc<str>]) -> Vec<Arc<str>> {
    let mut seen = std::collections::HashSet::with_capacity(names.len());
    names.iter().filter(|name| seen.insert((*name).clone())).cloned().collect()
}
