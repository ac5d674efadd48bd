//! What is to come of a command, by the interface's table of roles and the design's rules for numbered sends.

mod conversations;

use super::{Ask, Caller, Conversation, Done, Fact, Message, Model, Name, Record, Session, State, To};
use highwater_engine::proto::error::Code;
use highwater_engine::proto::id::direct_name;
use highwater_engine::proto::record::{Kind, Role, Settings};

type Answer = Result<Done, Code>;

impl Model {
    /// Carries a command out, or says with which code it is refused; then nothing has changed.
    pub fn expect(&mut self, ask: &Ask) -> Answer {
        let before = self.records.len();
        let answer = self.carry_out(ask);
        if answer.is_err() {
            self.records.truncate(before);
        }
        answer
    }

    fn carry_out(&mut self, ask: &Ask) -> Answer {
        let state = self.state();
        match ask {
            Ask::CreateUser(user) => self.create_user(&state, user),
            Ask::Open { user, device, by_service } => self.open(&state, user, device, *by_service),
            Ask::Revoke { user, device } => self.revoke(&state, user, device),
            Ask::Send(message) => self.send(&state, message),
            Ask::Edit { session, client_seq, conversation, target, body } => {
                let fact = Fact::Edit { target: *target, body: body.clone() };
                self.redact(&state, session, *client_seq, conversation, *target, fact)
            }
            Ask::Recall { session, client_seq, conversation, target } => {
                let fact = Fact::Recall { target: *target };
                self.redact(&state, session, *client_seq, conversation, *target, fact)
            }
            Ask::Create(create) => self.create(&state, create),
            Ask::Add { caller, conversation, members } => self.add(&state, caller, conversation, members),
            Ask::Remove { caller, conversation, members } => self.remove(&state, caller, conversation, members),
            Ask::Join { user, conversation } => self.join(&state, user, conversation),
            Ask::Leave { user, conversation } => self.leave(&state, user, conversation),
            Ask::Role { caller, conversation, user, role } => self.role(&state, caller, conversation, user, *role),
            Ask::Settings { caller, conversation, open, history, fanout } => {
                self.settings(&state, caller, conversation, *open, *history, *fanout)
            }
            Ask::Mute { user, conversation, muted } => self.mute(&state, user, conversation, *muted),
            Ask::Read { user, conversation, through } => self.read(&state, user, conversation, *through),
        }
    }

    // Records.

    pub(super) fn note(&mut self, caller: &Caller, conversation: &str, seq: u64, fact: Fact) -> u64 {
        let mut record = Record::plain(self.now_ms, fact);
        record.author = caller.clone().unwrap_or_else(|| "".into());
        record.by_service = caller.is_none();
        record.conversation = conversation.into();
        record.seq = seq;
        self.push(record)
    }

    fn number(&mut self, session: &Session, client_seq: u64, conversation: &str, seq: u64, fact: Fact) -> Answer {
        let mut record = Record::plain(self.now_ms, fact);
        record.author = session.user.clone();
        record.by_service = session.by_service;
        record.device = session.device.clone();
        record.client_seq = client_seq;
        record.conversation = conversation.into();
        record.seq = seq;
        Ok(Done::Receipt { position: self.push(record), repeated: false })
    }

    // Users and devices.

    fn create_user(&mut self, state: &State, user: &Name) -> Answer {
        check_name(user)?;
        if state.is_user(user) {
            return Ok(Done::Unchanged("".into()));
        }
        let position = self.note(&None, "", 0, Fact::User(user.clone()));
        Ok(Done::Changed { position })
    }

    fn open(&mut self, state: &State, user: &Name, device: &Name, by_service: bool) -> Answer {
        check_name(device)?;
        known(state, user)?;
        let row = state.device(user, device);
        if !row.is_some_and(|row| row.registered) {
            let registered = state.devices.iter().filter(|row| row.user == *user && row.registered).count();
            if registered >= self.config.devices_per_user_max {
                return Err(Code::LimitExceeded);
            }
            let mut record = Record::plain(self.now_ms, Fact::Device { user: user.clone(), name: device.clone() });
            record.author = user.clone();
            record.by_service = by_service;
            self.push(record);
        }
        Ok(Done::Session { last: row.map_or(0, |row| row.numbered.len() as u64) })
    }

    /// From here on `session` is the one that may send for its device.
    pub fn opened(&mut self, session: &Session) {
        self.newest.insert((session.user.clone(), session.device.clone()), session.number);
    }

    fn revoke(&mut self, state: &State, user: &Name, device: &Name) -> Answer {
        known(state, user)?;
        let row = state.device(user, device).ok_or(Code::NotFound)?;
        if !row.registered {
            return Ok(Done::Unchanged("".into()));
        }
        self.newest.remove(&(user.clone(), device.clone()));
        let fact = Fact::Revoke { user: user.clone(), name: device.clone() };
        let position = self.note(&Some(user.clone()), "", 0, fact);
        Ok(Done::Changed { position })
    }

    // Numbered commands.

    /// `Ok(None)`: the number is the next. `Ok(Some(..))`: it is a repeat, and this is the answer.
    fn check_number(
        &self,
        state: &State,
        session: &Session,
        client_seq: u64,
        is_same: impl Fn(&Record) -> bool,
    ) -> Result<Option<Done>, Code> {
        let key = (session.user.clone(), session.device.clone());
        if self.newest.get(&key) != Some(&session.number) {
            return Err(Code::Replaced);
        }
        if client_seq == 0 {
            return Err(Code::InvalidArgument);
        }
        let numbered = &state.device(&session.user, &session.device).expect("it has a session").numbered;
        if client_seq > numbered.len() as u64 + 1 {
            return Err(Code::OutOfOrder);
        }
        let Some(position) = numbered.get(client_seq as usize - 1) else { return Ok(None) };
        if !is_same(self.record(*position)) {
            return Err(Code::Conflict);
        }
        Ok(Some(Done::Receipt { position: *position, repeated: true }))
    }

    fn send(&mut self, state: &State, send: &Message) -> Answer {
        let session = &send.session;
        let name: Name = match &send.to {
            To::User(other) => direct_name(&session.user, other).into(),
            To::Conversation(name) => name.clone(),
        };
        let is_same = |record: &Record| match &record.fact {
            Fact::Message { body, quote, .. } => {
                record.conversation == name && *body == send.body && *quote == send.quote
            }
            _ => false,
        };
        if let Some(repeat) = self.check_number(state, session, send.client_seq, is_same)? {
            return Ok(repeat);
        }
        if send.body.len() > self.config.body_bytes_max || send.mentions.len() > 64 {
            return Err(Code::LimitExceeded);
        }
        let fact = |mentions| Fact::Message {
            body: send.body.clone(),
            quote: send.quote,
            mentions,
            sent_at_ms: send.sent_at_ms,
        };
        let Some(conversation) = state.conversation(&name) else {
            let To::User(other) = &send.to else { return Err(Code::NotFound) };
            if send.quote.is_some() {
                return Err(Code::NotFound);
            }
            let members = distinct([&session.user, other]);
            let author = (session.user.clone(), session.by_service);
            self.name_users(state, std::slice::from_ref(other), &author)?;
            let mentions = among(&send.mentions, |user| members.contains(user))?;
            self.begin(&author, &name, Kind::Direct, Settings::default(), None, members);
            return self.number(session, send.client_seq, &name, 2, fact(mentions));
        };
        if !session.by_service || conversation.kind == Kind::Direct {
            let role = current(conversation, &session.user)?;
            if conversation.kind == Kind::Channel && role < Role::Admin {
                return Err(Code::NotAllowed);
            }
        }
        if let Some(quote) = send.quote {
            let exists = quote > 0 && quote <= conversation.head();
            let is_member = conversation.members.contains_key(&session.user);
            if !exists || (is_member && !conversation.may_read(&session.user, quote)) {
                return Err(Code::NotFound);
            }
        }
        let mentions = among(&send.mentions, |user| conversation.role(user).is_some())?;
        self.number(session, send.client_seq, &name, conversation.head() + 1, fact(mentions))
    }

    fn redact(
        &mut self,
        state: &State,
        session: &Session,
        client_seq: u64,
        name: &Name,
        target: u64,
        fact: Fact,
    ) -> Answer {
        let is_same = |record: &Record| record.conversation == *name && record.fact == fact;
        if let Some(repeat) = self.check_number(state, session, client_seq, is_same)? {
            return Ok(repeat);
        }
        let is_edit = matches!(fact, Fact::Edit { .. });
        if let Fact::Edit { body, .. } = &fact
            && body.len() > self.config.body_bytes_max
        {
            return Err(Code::LimitExceeded);
        }
        let conversation = state.conversation(name).ok_or(Code::NotFound)?;
        let role = current(conversation, &session.user)?;
        if target == 0 || target > conversation.head() || !conversation.may_read(&session.user, target) {
            return Err(Code::NotFound);
        }
        let message = self.record(conversation.outbox[target as usize - 1]);
        if !message.is_message() {
            return Err(Code::InvalidArgument);
        }
        let may_any = !is_edit && conversation.kind != Kind::Direct && role >= Role::Admin;
        if message.author != session.user && !may_any {
            return Err(Code::NotAllowed);
        }
        if conversation.recalled.contains(&target) {
            return if is_edit { Err(Code::Recalled) } else { Ok(Done::Unchanged(name.clone())) };
        }
        self.number(session, client_seq, name, conversation.head() + 1, fact)
    }
}

/// A current member's role. A former one is told that it may not, a stranger that there is nothing.
pub(super) fn current(conversation: &Conversation, user: &str) -> Result<Role, Code> {
    match conversation.members.get(user) {
        Some(member) => member.role.ok_or(Code::NotAllowed),
        None => Err(Code::NotFound),
    }
}

pub(super) fn known(state: &State, user: &str) -> Result<(), Code> {
    if state.is_user(user) { Ok(()) } else { Err(Code::NotFound) }
}

pub(super) fn among(names: &[Name], is_member: impl Fn(&Name) -> bool) -> Result<Vec<Name>, Code> {
    if names.iter().all(is_member) { Ok(distinct(names)) } else { Err(Code::NotFound) }
}

pub(super) fn distinct<'a>(names: impl IntoIterator<Item = &'a Name>) -> Vec<Name> {
    let mut distinct: Vec<Name> = Vec::new();
    for name in names {
        if !distinct.contains(name) {
            distinct.push(name.clone());
        }
    }
    distinct
}

pub(super) fn check_new_name(name: &str) -> Result<(), Code> {
    check_name(name)?;
    if name.starts_with("dm:") { Err(Code::InvalidArgument) } else { Ok(()) }
}

pub(super) fn check_name(name: &str) -> Result<(), Code> {
    match name.len() {
        0 => Err(Code::InvalidArgument),
        65.. => Err(Code::LimitExceeded),
        _ if name.chars().any(char::is_control) => Err(Code::InvalidArgument),
        _ => Ok(()),
    }
}
