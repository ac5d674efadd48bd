//! Sends, edits and recalls: what a device numbers.

use super::{Answer, Draft, Rules, Step, Target, Verdict, current_member, not_found, refuse, unchanged};
use crate::command::{Destination, Send, SendSession};
use crate::state::{Conversation, Redaction};
use bytes::Bytes;
use highwater_proto::error::{Code, Error};
use highwater_proto::id::{ConversationId, Seq, UserId, direct_name};
use highwater_proto::limits::{EDITS_PER_MESSAGE_MAX, MENTIONS_MAX};
use highwater_proto::record::{Fact, Kind, Message, Role};
use std::sync::Arc;

impl<'a> Rules<'a> {
    pub(super) fn send(&self, send: &Send) -> Step<Verdict> {
        self.number(&send.session, send.client_seq)?;
        self.body(&send.body)?;
        if send.mentions.len() > MENTIONS_MAX {
            let what = format!("{} mentions were given", send.mentions.len());
            return Err(Verdict::refuse(Error::limit("mentions_max", MENTIONS_MAX as u64, what)));
        }
        let found = self.destination.and_then(|id| Some((id, self.current(id)?)));
        let (id, conversation) = match (found, &send.destination) {
            (Some((id, conversation)), _) => (id, conversation?),
            (None, Destination::Conversation(name)) => self.conversation(name)?,
            (None, Destination::User(other)) => {
                let own = self.known.state.user_name(send.session.user);
                let name: Arc<str> = direct_name(&own, other).into();
                if self.known.conversation_id(&name).is_none() {
                    return self.send_first(send, other, name);
                }
                self.conversation(&name)?
            }
        };
        self.may_post(conversation, &send.session)?;
        if let Some(quote) = send.quote {
            self.may_quote(conversation, send.session.user, quote)?;
        }
        let mut mentions: Vec<UserId> = Vec::with_capacity(send.mentions.len());
        for mention in &send.mentions {
            let user = self.known.user(mention).filter(|user| conversation.active.binary_search(user).is_ok());
            let user = user.ok_or_else(|| refuse(Code::NotFound, format!("mention: {mention:?} is not a member")))?;
            if !mentions.contains(&user) {
                mentions.push(user);
            }
        }
        Ok(Verdict::Accept(vec![message(send, id, mentions)], Answer::Receipt))
    }

    /// The first message of a canonical direct conversation: it comes into being in the same frame.
    fn send_first(&self, send: &Send, other: &Arc<str>, name: Arc<str>) -> Step<Verdict> {
        if send.quote.is_some() {
            return Err(refuse(Code::NotFound, "quote: the conversation has no messages yet"));
        }
        let mut drafts = Vec::new();
        let (by, by_service) = (send.session.user, send.session.by_service);
        let other_id = self.name_users(std::slice::from_ref(other), by_service, (by, by_service), &mut drafts)?;
        let mut members = vec![by];
        members.extend(other_id.into_iter().filter(|user| *user != by));
        let mentions = mentions_among(&self.known, send, &members)?;
        let id = self.draft_direct((by, by_service), name, members, &mut drafts)?;
        drafts.push(Draft { is_barrier: true, ..message(send, id, mentions) });
        Ok(Verdict::Accept(drafts, Answer::Receipt))
    }

    pub(super) fn edit(
        &self,
        session: &SendSession,
        client_seq: u64,
        name: &str,
        target: Seq,
        body: &Bytes,
    ) -> Step<Verdict> {
        self.number(session, client_seq)?;
        self.body(body)?;
        let (id, conversation) = self.conversation(name)?;
        current_member(conversation, session.user)?;
        let target = self.message_target(id, conversation, session.user, target)?;
        if target.author != session.user {
            return Err(refuse(Code::NotAllowed, "only its author may edit a message"));
        }
        match self.known.state.redactions.get(&target.position) {
            Some(Redaction::Recalled) => {
                return Err(refuse(Code::Recalled, format!("message {} was recalled", target.seq)));
            }
            Some(Redaction::Edited(edits)) if edits.len() >= EDITS_PER_MESSAGE_MAX => {
                let what = format!("message {} has {} edits", target.seq, edits.len());
                let limit = EDITS_PER_MESSAGE_MAX as u64;
                return Err(Verdict::refuse(Error::limit("edits_per_message_max", limit, what)));
            }
            _ => {}
        }
        let fact = Fact::Edit { target: target.seq, target_position: target.position, body: body.clone() };
        Ok(Verdict::Accept(vec![numbered(session, client_seq, id, fact)], Answer::Receipt))
    }

    pub(super) fn recall(&self, session: &SendSession, client_seq: u64, name: &str, target: Seq) -> Step<Verdict> {
        self.number(session, client_seq)?;
        let (id, conversation) = self.settled(name)?;
        let member = current_member(conversation, session.user)?;
        let target = self.message_target(id, conversation, session.user, target)?;
        let may_recall_any = conversation.kind != Kind::Direct && member.role >= Some(Role::Admin);
        if target.author != session.user && !may_recall_any {
            return Err(refuse(Code::NotAllowed, "only its author, an owner or an admin may recall a message"));
        }
        if self.known.state.redactions.get(&target.position) == Some(&Redaction::Recalled) {
            return Ok(unchanged(&conversation.name));
        }
        let fact =
            Fact::Recall { target: target.seq, target_position: target.position, target_ordinal: target.ordinal };
        let draft = Draft { is_barrier: true, ..numbered(session, client_seq, id, fact) };
        Ok(Verdict::Accept(vec![draft], Answer::Receipt))
    }

    /// The session is the device's newest and the number is the next; anything else ends the examination.
    fn number(&self, session: &SendSession, client_seq: u64) -> Step<()> {
        if self.known.state.device(session.device).is_none() {
            return Err(refuse(Code::InvalidArgument, "the send session is not of this store"));
        }
        if !self.generations.is_newest(session.device, session.generation) {
            return Err(refuse(Code::Replaced, "a newer session of this device took over, or the device was revoked"));
        }
        let last = self.known.device_counters(session.device).last_client_seq;
        if client_seq == 0 {
            return Err(refuse(Code::InvalidArgument, "client_seq starts at 1"));
        }
        if client_seq <= last {
            let settled = self.known.is_device_settled(session.device);
            return Err(if settled { Verdict::Repeat(session.device) } else { Verdict::Wait });
        }
        if client_seq > last + 1 {
            return Err(Verdict::refuse(Error::out_of_order(client_seq, last + 1)));
        }
        Ok(())
    }

    fn body(&self, body: &Bytes) -> Step<()> {
        let limit = self.options.limits.body_bytes_max;
        if body.len() > limit {
            let what = format!("body has {} bytes", body.len());
            return Err(Verdict::refuse(Error::limit("body_bytes_max", limit as u64, what)));
        }
        Ok(())
    }

    fn may_post(&self, conversation: &Conversation, session: &SendSession) -> Step<()> {
        if session.by_service && conversation.kind != Kind::Direct {
            return Ok(());
        }
        let member = current_member(conversation, session.user)?;
        if conversation.kind == Kind::Channel && member.role < Some(Role::Admin) {
            return Err(refuse(Code::NotAllowed, "only owners and admins post in a channel"));
        }
        Ok(())
    }

    /// A quoted record is one that stands there already and that the author may read.
    fn may_quote(&self, conversation: &Conversation, user: UserId, quote: Seq) -> Step<()> {
        let exists = !quote.is_zero() && quote <= conversation.head;
        let readable = conversation.members.get(&user).is_none_or(|member| conversation.may_read(member, quote));
        if exists && readable {
            return Ok(());
        }
        Err(refuse(Code::NotFound, format!("quote: there is no record {quote} that you may see")))
    }

    /// The message that an edit or a recall is about.
    fn message_target(
        &self,
        id: ConversationId,
        conversation: &'a Conversation,
        user: UserId,
        target: Seq,
    ) -> Step<Target> {
        let member = conversation.members.get(&user).ok_or_else(|| not_found(&conversation.name))?;
        let exists = !target.is_zero() && target <= conversation.head;
        if !exists || !conversation.may_read(member, target) {
            return Err(refuse(Code::NotFound, format!("target: there is no message {target} that you may see")));
        }
        let Some(loaded) = self.target else { return Err(Verdict::Load(id, target)) };
        if !loaded.is_message {
            return Err(refuse(Code::InvalidArgument, format!("target: record {target} is not a message")));
        }
        Ok(loaded)
    }
}

fn mentions_among(known: &super::Known<'_>, send: &Send, members: &[UserId]) -> Step<Vec<UserId>> {
    let mut mentions = Vec::new();
    for mention in &send.mentions {
        // The other side may be named in this very frame: then it is the last member, without a known name.
        let user = known.user(mention).or_else(|| match &send.destination {
            Destination::User(other) if other == mention => members.last().copied(),
            _ => None,
        });
        let user = user.filter(|user| members.contains(user));
        let user = user.ok_or_else(|| refuse(Code::NotFound, format!("mention: {mention:?} is not a member")))?;
        if !mentions.contains(&user) {
            mentions.push(user);
        }
    }
    Ok(mentions)
}

fn message(send: &Send, conversation: ConversationId, mentions: Vec<UserId>) -> Draft {
    let message = Message { sent_at_ms: send.sent_at_ms, quote: send.quote, mentions, body: send.body.clone() };
    numbered(&send.session, send.client_seq, conversation, Fact::Message(message))
}

fn numbered(session: &SendSession, client_seq: u64, conversation: ConversationId, fact: Fact) -> Draft {
    Draft {
        number: Some((session.device, client_seq)),
        is_barrier: false,
        ..Draft::barrier((session.user, session.by_service), conversation, fact)
    }
}
