//! New conversations, and the users that a command names for the first time.

use super::{Answer, Draft, Rules, Step, Verdict, refuse, unchanged};
use crate::command::{Caller, Create};
use crate::state::State;
use highwater_proto::error::{Code, Error};
use highwater_proto::id::{ConversationId, DIRECT_PREFIX, UserId, check_name, direct_name};
use highwater_proto::limits::{INTERVALS_PER_MEMBER_MAX, MEMBERS_PER_CHANGE_MAX};
use highwater_proto::record::{Fact, Kind, Mode, Settings};
use std::collections::BTreeSet;
use std::sync::Arc;

impl Rules<'_> {
    pub(super) fn create(&self, create: &Create) -> Step<Verdict> {
        let author = self.author(&create.caller)?;
        check_members(&create.members)?;
        if create.kind != Kind::Channel && create.open {
            return Err(refuse(Code::InvalidArgument, "open: only a channel can be open"));
        }
        match create.kind {
            Kind::Direct => self.create_direct(create, author),
            Kind::Group | Kind::Channel => self.create_with_owner(create, author),
        }
    }

    fn create_direct(&self, create: &Create, author: (UserId, bool)) -> Step<Verdict> {
        if create.owner.is_some() || create.history {
            return Err(refuse(Code::InvalidArgument, "a direct conversation has no owner and no history setting"));
        }
        let mut sides: BTreeSet<Arc<str>> = create.members.iter().cloned().collect();
        if let Caller::User(own) = &create.caller {
            sides.insert(own.clone());
        }
        let (Some(first), Some(last)) = (sides.first(), sides.last()) else {
            return Err(refuse(Code::InvalidArgument, "members: a direct conversation has two users, or one"));
        };
        if sides.len() > 2 {
            return Err(refuse(Code::InvalidArgument, "members: a direct conversation has two users, or one"));
        }
        let canonical: Arc<str> = direct_name(first, last).into();
        let name = create.conversation.clone().unwrap_or_else(|| canonical.clone());
        if name != canonical {
            check_new_name(&name)?;
        }
        if let Some(answer) = self.existing(&name, create, author)? {
            return Ok(answer);
        }
        let mut drafts = Vec::new();
        let sides: Vec<Arc<str>> = sides.into_iter().collect();
        let members = self.name_users(&sides, author.1, author, &mut drafts)?;
        self.draft_direct(author, name, members, &mut drafts)?;
        Ok(Verdict::Accept(drafts, Answer::Changed))
    }

    fn create_with_owner(&self, create: &Create, author: (UserId, bool)) -> Step<Verdict> {
        let Some(name) = create.conversation.clone() else {
            return Err(refuse(Code::InvalidArgument, "conversation: a group or channel needs an id"));
        };
        check_new_name(&name)?;
        let owner = match (&create.caller, &create.owner) {
            (Caller::User(own), None) => Some(own.clone()),
            (Caller::User(own), Some(owner)) if own == owner => Some(own.clone()),
            (Caller::User(_), Some(_)) => {
                return Err(refuse(Code::NotAllowed, "owner: only the service names another owner"));
            }
            (Caller::Service, owner) => owner.clone(),
        };
        if let Some(answer) = self.existing(&name, create, author)? {
            return Ok(answer);
        }
        let mut names: Vec<Arc<str>> = owner.iter().cloned().collect();
        let mut seen: BTreeSet<Arc<str>> = names.iter().cloned().collect();
        names.extend(create.members.iter().filter(|member| seen.insert((*member).clone())).cloned());
        let mut drafts = Vec::new();
        let members = self.name_users(&names, author.1, author, &mut drafts)?;
        let owner = owner.is_some().then(|| members.first().copied()).flatten();
        let settings = Settings { open: create.open, history: create.history, fanout: Default::default() };
        let id = self.draft_create(author, name, create.kind, settings, owner, members.clone(), &mut drafts)?;
        if members.len() > self.options.fanout.write_members_max {
            // Elsewhere the mode goes first; here there is no conversation before the create that could switch.
            drafts.push(Draft::mode(author, id, Mode::Read));
        }
        Ok(Verdict::Accept(drafts, Answer::Changed))
    }

    /// The answer for a name that is taken: unchanged to the same creator and kind.
    fn existing(&self, name: &Arc<str>, create: &Create, author: (UserId, bool)) -> Step<Option<Verdict>> {
        let Some(id) = self.known.conversation_id(name) else { return Ok(None) };
        let Some(conversation) = self.known.state.conversation(id) else { return Err(Verdict::Wait) };
        let creator = if author.1 { UserId::ZERO } else { author.0 };
        let either_side = conversation.kind == Kind::Direct && name.starts_with(DIRECT_PREFIX);
        if conversation.kind == create.kind && (conversation.creator == creator || either_side) {
            return Ok(Some(unchanged(name)));
        }
        Err(refuse(Code::Conflict, format!("conversation: the id {name:?} is taken")))
    }

    /// The ids of these users; drafts name those who have none yet, where the caller may do that.
    pub(super) fn name_users(
        &self,
        names: &[Arc<str>],
        may_name: bool,
        author: (UserId, bool),
        drafts: &mut Vec<Draft>,
    ) -> Step<Vec<UserId>> {
        let mut ids = Vec::with_capacity(names.len());
        let mut next = self.known.ahead.users;
        for name in names {
            if let Some(id) = self.known.user(name) {
                ids.push(id);
                continue;
            }
            if !may_name && !self.options.create_named_users {
                return Err(refuse(Code::NotFound, format!("user {name:?} does not exist")));
            }
            check_name("user", name).map_err(Verdict::refuse)?;
            next += 1;
            let fact = Fact::User { id: UserId(next), name: name.as_ref().to_owned() };
            drafts.push(Draft::unnumbered(author, ConversationId::ZERO, fact));
            ids.push(UserId(next));
        }
        self.room_for_names((next - self.known.ahead.users) as usize)?;
        Ok(ids)
    }

    /// Drafts a direct conversation between these users.
    pub(super) fn draft_direct(
        &self,
        author: (UserId, bool),
        name: Arc<str>,
        members: Vec<UserId>,
        drafts: &mut Vec<Draft>,
    ) -> Step<ConversationId> {
        self.draft_create(author, name, Kind::Direct, Settings::default(), None, members, drafts)
    }

    #[expect(clippy::too_many_arguments, reason = "these are the fields of the create record")]
    fn draft_create(
        &self,
        author: (UserId, bool),
        name: Arc<str>,
        kind: Kind,
        settings: Settings,
        owner: Option<UserId>,
        members: Vec<UserId>,
        drafts: &mut Vec<Draft>,
    ) -> Step<ConversationId> {
        // The drafts before it are those of users that it names.
        self.room_for_names(drafts.len() + 1)?;
        let limit = self.options.limits.members_per_conversation_max;
        if members.len() > limit {
            let what = format!("the conversation would have {} members", members.len());
            return Err(Verdict::refuse(Error::limit("members_per_conversation_max", limit as u64, what)));
        }
        let id = ConversationId(self.known.ahead.conversations_count + 1);
        self.room_for_members(id, &members)?;
        let fact = Fact::Conversation { id, name: name.as_ref().to_owned() };
        drafts.push(Draft::unnumbered(author, ConversationId::ZERO, fact));
        drafts.push(Draft::barrier(author, id, Fact::Create { kind, settings, owner, members }));
        Ok(id)
    }

    /// Refuses new memberships above the limits of a user and of the store.
    pub(super) fn room_for_members(&self, conversation: ConversationId, users: &[UserId]) -> Step<()> {
        let limits = &self.options.limits;
        let rows = new_rows(self.known.state, conversation, users);
        let what = "too many memberships in all";
        self.within(self.known.member_rows(), rows, limits.member_rows_max, "member_rows_max", what)?;
        let members = self.known.state.conversation(conversation).map(|row| &row.members);
        for user in users {
            let returns = members.and_then(|members| members.get(user)).map_or(0, |member| member.intervals.len());
            if returns >= INTERVALS_PER_MEMBER_MAX {
                let what = format!("a user was a member {returns} times before");
                let limit = INTERVALS_PER_MEMBER_MAX as u64;
                return Err(Verdict::refuse(Error::limit("intervals_per_member_max", limit, what)));
            }
            let what = "a user has too many conversations";
            let limit = limits.conversations_per_user_max;
            self.within(self.known.memberships(*user), 1, limit, "conversations_per_user_max", what)?;
        }
        Ok(())
    }
}

/// How many of these users never were members of a conversation, which may be about to be created.
fn new_rows(state: &State, conversation: ConversationId, users: &[UserId]) -> usize {
    let is_new = |user: &&UserId| state.conversation(conversation).is_none_or(|row| !row.members.contains_key(user));
    users.iter().filter(is_new).count()
}

/// Refuses a list of users above the limit of one command.
pub(super) fn check_members(members: &[Arc<str>]) -> Step<()> {
    if members.len() > MEMBERS_PER_CHANGE_MAX {
        let what = format!("{} members were given", members.len());
        return Err(Verdict::refuse(Error::limit("members_per_change_max", MEMBERS_PER_CHANGE_MAX as u64, what)));
    }
    Ok(())
}

fn check_new_name(name: &str) -> Step<()> {
    check_name("conversation", name).map_err(Verdict::refuse)?;
    if name.starts_with(DIRECT_PREFIX) {
        let why = format!("conversation: ids beginning with {DIRECT_PREFIX} are those of direct conversations");
        return Err(refuse(Code::InvalidArgument, why));
    }
    Ok(())
}
