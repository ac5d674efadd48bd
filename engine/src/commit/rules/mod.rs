//! Which commands are accepted, and which records they become. Pure: state and command in, verdict out.
//!
//! The roles are those of the interface's table. What it leaves open:
//! - Only an owner (or the service) changes roles and removes owners; the last owner neither leaves nor steps down
//!   while other members remain. The service is bound by neither.
//! - A stranger is told `not_found` of everything but an open channel that it joins; a former member, who may still
//!   read its intervals, is told `not_allowed`.
//! - What names users who are unknown is refused with `not_found`, unless the service says it or the store makes named
//!   users (development); removing somebody unknown changes nothing.
//! - A message may be sent by the service in the name of somebody who is not a member, except to a direct conversation.

mod create;
mod devices;
mod membership;
mod numbered;
mod settings;

use super::ahead::{Count, Known};
use super::planner::{Planner, has_dwelt};
use super::sequencer::Generations;
use crate::command::{Caller, Command, Outcome};
use crate::options::Options;
use crate::state::{Conversation, Member, State};
use highwater_proto::error::{Code, Error};
use highwater_proto::id::{ConversationId, DeviceId, Ordinal, Position, Seq, UserId};
use highwater_proto::limits::WRITE_MEMBERS_MAX;
use highwater_proto::record::{Fact, Fanout, Mode, Role};
use std::sync::Arc;

/// What is to be done about a command.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// These records, all or none, in one frame.
    Accept(Vec<Draft>, Answer),
    /// No record; this answer, once what it was derived from is visible.
    Answer(Box<Outcome>),
    /// A number that was used before: compare with the record it was used for.
    Repeat(DeviceId),
    /// The record with this seq has to be read first.
    Load(ConversationId, Seq),
    /// Something in flight has to be applied first.
    Wait,
    /// Refused: nothing is consumed.
    Refuse(Box<Error>),
}

impl Verdict {
    fn refuse(error: Error) -> Self {
        Self::Refuse(Box::new(error))
    }
}

// Verdicts are handed up through every rule, refusals seldom: those are boxed, so that the others are not moved for them.
const _: () = assert!(size_of::<Verdict>() <= 32);

/// What to answer once accepted records are visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A receipt for the last record.
    Receipt,
    /// The last record that is not a change of mode.
    Changed,
    /// A send session on this device.
    Session(DeviceId),
}

/// A record to be: without position, seq, ordinal and time.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) author: UserId,
    pub(crate) by_service: bool,
    /// The device and its number for it, if numbered.
    pub(crate) number: Option<(DeviceId, u64)>,
    pub(crate) conversation: ConversationId,
    pub(crate) has_seq: bool,
    /// Nothing of the conversation may be sequenced behind it until it is applied.
    pub(crate) is_barrier: bool,
    pub(crate) fact: Fact,
}

/// What was read of the record that a command is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) seq: Seq,
    pub(crate) position: Position,
    pub(crate) ordinal: Ordinal,
    pub(crate) author: UserId,
    pub(crate) is_message: bool,
}

/// What a verdict is derived from.
#[derive(Clone, Copy)]
pub(crate) struct Rules<'a> {
    pub(crate) known: Known<'a>,
    pub(crate) options: &'a Options,
    pub(crate) generations: &'a Generations,
    /// The conversation that a message goes to, if it was found before.
    pub(crate) destination: Option<ConversationId>,
    pub(crate) planner: &'a Planner,
    /// The time that an accepted record would get.
    pub(crate) time_ms: u64,
    /// The command's target, once loaded.
    pub(crate) target: Option<Target>,
}

/// `Err` is any verdict that ends the examination early.
pub(crate) type Step<T> = Result<T, Verdict>;

impl<'a> Rules<'a> {
    /// What is to be done about a command.
    pub(crate) fn decide(&self, command: &Command) -> Verdict {
        let verdict = match command {
            Command::CreateUser { user } => self.create_user(user),
            Command::OpenSession(open) => self.open_session(open),
            Command::Revoke { user, device } => self.revoke(user, device),
            Command::Send(send) => self.send(send),
            Command::Edit { session, client_seq, conversation, target, body } => {
                self.edit(session, *client_seq, conversation, *target, body)
            }
            Command::Recall { session, client_seq, conversation, target } => {
                self.recall(session, *client_seq, conversation, *target)
            }
            Command::Create(create) => self.create(create),
            Command::Add { caller, conversation, members } => self.add(caller, conversation, members),
            Command::Remove { caller, conversation, members } => self.remove(caller, conversation, members),
            Command::Join { user, conversation } => self.join(user, conversation),
            Command::Leave { user, conversation } => self.leave(user, conversation),
            Command::Role { caller, conversation, user, role } => self.role(caller, conversation, user, *role),
            Command::Settings { caller, conversation, open, history, fanout } => {
                self.settings(caller, conversation, *open, *history, *fanout)
            }
            Command::Mute { user, conversation, muted } => self.mute(user, conversation, *muted),
            Command::Read { user, conversation, through } => self.read(user, conversation, *through),
        };
        verdict.unwrap_or_else(|early| early)
    }

    /// A user that commands are given by.
    fn caller(&self, name: &str) -> Step<UserId> {
        self.known.user(name).ok_or_else(|| refuse(Code::NotFound, format!("user {name:?} does not exist")))
    }

    /// Who a record is by: the user's id (zero for the service), and whether it is the service.
    fn author(&self, caller: &Caller) -> Step<(UserId, bool)> {
        match caller {
            Caller::User(name) => Ok((self.caller(name)?, false)),
            Caller::Service => Ok((UserId::ZERO, true)),
        }
    }

    /// A conversation whose barriers are all applied.
    fn conversation(&self, name: &str) -> Step<(ConversationId, &'a Conversation)> {
        let id = self.known.conversation_id(name).ok_or_else(|| not_found(name))?;
        self.current(id).ok_or_else(|| not_found(name))?.map(|conversation| (id, conversation))
    }

    /// A created conversation whose barriers are all applied.
    fn current(&self, id: ConversationId) -> Option<Step<&'a Conversation>> {
        if !self.known.is_past_barriers(id) {
            return Some(Err(Verdict::Wait));
        }
        self.known.state.conversation(id).map(Ok)
    }

    /// A conversation of which nothing is in flight: what a barrier needs.
    fn settled(&self, name: &str) -> Step<(ConversationId, &'a Conversation)> {
        let (id, conversation) = self.conversation(name)?;
        if !self.known.is_settled(id) {
            return Err(Verdict::Wait);
        }
        Ok((id, conversation))
    }

    /// The caller's standing in a conversation: `None` for the service; strangers and former members are refused.
    fn standing(&self, conversation: &'a Conversation, caller: &Caller) -> Step<Option<(UserId, &'a Member)>> {
        let Caller::User(name) = caller else { return Ok(None) };
        let user = self.caller(name)?;
        Ok(Some((user, current_member(conversation, user)?)))
    }

    /// As [`Rules::standing`], for what owners and admins may do in groups and channels.
    fn administration(&self, conversation: &'a Conversation, caller: &Caller) -> Step<Option<(UserId, &'a Member)>> {
        let standing = self.standing(conversation, caller)?;
        if conversation.kind == highwater_proto::record::Kind::Direct {
            return Err(refuse(Code::NotAllowed, "a direct conversation does not change"));
        }
        if standing.is_some_and(|(_, member)| member.role < Some(Role::Admin)) {
            return Err(refuse(Code::NotAllowed, "only owners and admins may do this"));
        }
        Ok(standing)
    }

    /// The mode record that a conversation needs before it has so many members and this setting.
    fn mode_change(
        &self,
        id: ConversationId,
        conversation: &Conversation,
        members: usize,
        fanout: Fanout,
    ) -> Option<Mode> {
        let thresholds = self.options.fanout;
        // Of what has an account the planner decides.
        let may_return =
            has_dwelt(conversation, self.time_ms, thresholds.dwell_ms_min) && !self.planner.plans(id, members);
        let wanted = match fanout {
            _ if members > WRITE_MEMBERS_MAX => Mode::Read,
            Fanout::Write => Mode::Write,
            Fanout::Read => Mode::Read,
            Fanout::Auto if members > thresholds.write_members_max => Mode::Read,
            Fanout::Auto if members < thresholds.read_members_min && may_return => Mode::Write,
            Fanout::Auto => conversation.mode,
        };
        (wanted != conversation.mode).then_some(wanted)
    }

    /// Refuses what would raise a number above its limit; waits where only what is in flight can tell.
    fn within(&self, count: Count, more: usize, limit: usize, name: &str, what: &str) -> Step<()> {
        if count.applied + more > limit {
            return Err(Verdict::refuse(Error::limit(name, limit as u64, what)));
        }
        if count.applied + count.in_flight_max + more > limit {
            return Err(Verdict::Wait);
        }
        Ok(())
    }
}

impl Draft {
    /// Timeline entries that a record makes: what bounds the work of a group.
    pub(crate) fn entries(&self, state: &State) -> usize {
        match (&self.fact, state.conversation(self.conversation)) {
            (Fact::Create { members, .. }, _) => members.len() + 1,
            (_, Some(conversation)) if conversation.mode == Mode::Write => conversation.active.len() + 1,
            _ => 1,
        }
    }

    /// An upper bound of its bytes in the log.
    pub(crate) fn bytes_max(&self) -> u64 {
        // Header, fixed fields and checksums take less than 160 bytes; a varint of a user id at most 5.
        let variable = match &self.fact {
            Fact::User { name, .. } | Fact::Conversation { name, .. } | Fact::Device { name, .. } => name.len(),
            Fact::Message(message) => message.body.len() + message.mentions.len() * 5,
            Fact::Edit { body, .. } => body.len(),
            Fact::Create { members, .. } | Fact::Add { members } | Fact::Remove { members } => members.len() * 5,
            _ => 0,
        };
        160 + variable as u64
    }

    /// A record of a conversation that carries a seq and is a barrier.
    fn barrier(author: (UserId, bool), conversation: ConversationId, fact: Fact) -> Self {
        Self {
            author: author.0,
            by_service: author.1,
            number: None,
            conversation,
            has_seq: true,
            is_barrier: true,
            fact,
        }
    }

    /// A record with a position only.
    fn unnumbered(author: (UserId, bool), conversation: ConversationId, fact: Fact) -> Self {
        Self { has_seq: false, is_barrier: false, ..Self::barrier(author, conversation, fact) }
    }

    /// A change of mode: barrier, position only.
    pub(crate) fn mode(author: (UserId, bool), conversation: ConversationId, mode: Mode) -> Self {
        Self { has_seq: false, ..Self::barrier(author, conversation, Fact::Mode(mode)) }
    }
}

/// The row of a current member. A former member learns that it is none; a stranger learns nothing.
fn current_member(conversation: &Conversation, user: UserId) -> Step<&Member> {
    match conversation.members.get(&user) {
        Some(member) if member.is_current() => Ok(member),
        Some(_) => Err(refuse(Code::NotAllowed, "you are not a member of this conversation any more")),
        None => Err(not_found(&conversation.name)),
    }
}

fn refuse(code: Code, message: impl Into<String>) -> Verdict {
    Verdict::refuse(Error::new(code, message))
}

fn not_found(conversation: &str) -> Verdict {
    Verdict::refuse(conversation_not_found(conversation))
}

/// The one answer for a conversation that does not exist and one that the caller may not see.
pub(crate) fn conversation_not_found(conversation: &str) -> Error {
    Error::new(Code::NotFound, format!("there is no conversation {conversation:?} that you may see"))
}

fn unchanged(conversation: &Arc<str>) -> Verdict {
    Verdict::Answer(Box::new(Outcome::Unchanged { conversation: conversation.clone() }))
}
