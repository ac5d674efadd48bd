//! What members set: a conversation's settings, their own read marks and mutes.

use super::{Answer, Draft, Rules, Step, Verdict, current_member, refuse, unchanged};
use crate::command::Caller;
use highwater_proto::error::Code;
use highwater_proto::id::Seq;
use highwater_proto::record::{Fact, Fanout, Kind, Role, Settings};
use std::sync::Arc;

impl Rules<'_> {
    pub(super) fn settings(
        &self,
        caller: &Caller,
        name: &Arc<str>,
        open: Option<bool>,
        history: Option<bool>,
        fanout: Option<Fanout>,
    ) -> Step<Verdict> {
        let (id, conversation) = self.settled(name)?;
        let standing = self.standing(conversation, caller)?;
        if let Some((_, member)) = standing {
            if conversation.kind == Kind::Direct || member.role < Some(Role::Admin) {
                return Err(refuse(Code::NotAllowed, "only owners and admins change settings"));
            }
            if fanout.is_some() {
                return Err(refuse(Code::NotAllowed, "fanout: only the service pins the fan-out mode"));
            }
        }
        if open.is_some() && conversation.kind != Kind::Channel {
            return Err(refuse(Code::InvalidArgument, "open: only a channel can be open"));
        }
        if history.is_some() && conversation.kind == Kind::Direct {
            return Err(refuse(Code::InvalidArgument, "history: a direct conversation has no new members"));
        }
        let current = conversation.settings;
        let settings = Settings {
            open: open.unwrap_or(current.open),
            history: history.unwrap_or(current.history),
            fanout: fanout.unwrap_or(current.fanout),
        };
        if settings == current {
            return Ok(unchanged(name));
        }
        let author = self.author(caller)?;
        let mode = self.mode_change(id, conversation, conversation.active.len(), settings.fanout);
        let mut drafts: Vec<Draft> = mode.map(|mode| Draft::mode(author, id, mode)).into_iter().collect();
        drafts.push(Draft::barrier(author, id, Fact::Settings(settings)));
        Ok(Verdict::Accept(drafts, Answer::Changed))
    }

    pub(super) fn mute(&self, user: &Arc<str>, name: &Arc<str>, muted: bool) -> Step<Verdict> {
        let caller = self.caller(user)?;
        let (id, conversation) = self.settled(name)?;
        if current_member(conversation, caller)?.muted == muted {
            return Ok(unchanged(name));
        }
        let draft = Draft::unnumbered((caller, false), id, Fact::Mute { muted });
        Ok(Verdict::Accept(vec![draft], Answer::Changed))
    }

    pub(super) fn read(&self, user: &Arc<str>, name: &Arc<str>, through: Seq) -> Step<Verdict> {
        let caller = self.caller(user)?;
        let (id, conversation) = self.conversation(name)?;
        let member = current_member(conversation, caller)?;
        if through > conversation.head {
            let why = format!("seq: {through} is beyond the head, which is {}", conversation.head);
            return Err(refuse(Code::InvalidArgument, why));
        }
        if through <= member.read {
            return Ok(unchanged(name));
        }
        let through_ordinal = if through == conversation.head {
            conversation.ordinal
        } else {
            let Some(loaded) = self.target else { return Err(Verdict::Load(id, through)) };
            loaded.ordinal
        };
        let draft = Draft::unnumbered((caller, false), id, Fact::Read { through, through_ordinal });
        Ok(Verdict::Accept(vec![draft], Answer::Changed))
    }
}
