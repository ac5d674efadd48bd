//! Who makes, changes, joins and leaves conversations, and what members set for themselves.

use super::{Answer, check_name, check_new_name, current, distinct, known};
use crate::model::{Caller, Conversation, Create, Done, Fact, Model, Name, Record, State};
use highwater_engine::proto::error::Code;
use highwater_engine::proto::id::direct_name;
use highwater_engine::proto::record::{Fanout, Kind, Mode, Role, Settings};

impl Model {
    fn mode(&mut self, caller: &Caller, conversation: &Conversation, members: usize, fanout: Fanout) {
        if let Some(mode) = conversation.mode_change(members, fanout, &self.config) {
            self.note(caller, &conversation.name, 0, Fact::Mode(mode));
        }
    }

    pub(super) fn create(&mut self, state: &State, create: &Create) -> Answer {
        if let Some(user) = &create.caller {
            known(state, user)?;
        }
        if create.members.len() > 1_000 {
            return Err(Code::LimitExceeded);
        }
        if create.open && create.kind != Kind::Channel {
            return Err(Code::InvalidArgument);
        }
        let author = (create.caller.clone().unwrap_or_else(|| "".into()), create.caller.is_none());
        if create.kind == Kind::Direct {
            return self.create_direct(state, create, &author);
        }
        let name = create.conversation.clone().ok_or(Code::InvalidArgument)?;
        check_new_name(&name)?;
        let owner = match (&create.caller, &create.owner) {
            (Some(caller), Some(owner)) if caller != owner => return Err(Code::NotAllowed),
            (Some(caller), _) => Some(caller.clone()),
            (None, owner) => owner.clone(),
        };
        if let Some(done) = existing(state, &name, create)? {
            return Ok(done);
        }
        let members = distinct(owner.iter().chain(&create.members));
        self.name_users(state, &members, &author)?;
        let settings = Settings { open: create.open, history: create.history, fanout: Fanout::Auto };
        let is_large = members.len() > self.config.write_members_max;
        let position = self.begin(&author, &name, create.kind, settings, owner, members);
        if is_large {
            self.note(&create.caller, &name, 0, Fact::Mode(Mode::Read));
        }
        Ok(Done::Changed { position })
    }

    fn create_direct(&mut self, state: &State, create: &Create, author: &(Name, bool)) -> Answer {
        if create.owner.is_some() || create.history {
            return Err(Code::InvalidArgument);
        }
        let mut sides = distinct(create.caller.iter().chain(&create.members));
        sides.sort();
        let (Some(first), Some(last), true) = (sides.first(), sides.last(), sides.len() <= 2) else {
            return Err(Code::InvalidArgument);
        };
        let canonical: Name = direct_name(first, last).into();
        let name = create.conversation.clone().unwrap_or_else(|| canonical.clone());
        if name != canonical {
            check_new_name(&name)?;
        }
        if let Some(done) = existing(state, &name, create)? {
            return Ok(done);
        }
        self.name_users(state, &sides, author)?;
        let position = self.begin(author, &name, Kind::Direct, Settings::default(), None, sides);
        Ok(Done::Changed { position })
    }

    pub(super) fn begin(
        &mut self,
        author: &(Name, bool),
        name: &Name,
        kind: Kind,
        settings: Settings,
        owner: Option<Name>,
        members: Vec<Name>,
    ) -> u64 {
        for (seq, fact) in [(0, Fact::Conversation), (1, Fact::Create { kind, settings, owner, members })] {
            let mut record = Record::plain(self.now_ms, fact);
            record.author = author.0.clone();
            record.by_service = author.1;
            record.conversation = name.clone();
            record.seq = seq;
            self.push(record);
        }
        self.visible()
    }

    pub(super) fn name_users(&mut self, state: &State, users: &[Name], author: &(Name, bool)) -> Result<(), Code> {
        for user in users.iter().filter(|user| !state.is_user(user)) {
            if !author.1 && !self.config.create_named_users {
                return Err(Code::NotFound);
            }
            check_name(user)?;
            let mut record = Record::plain(self.now_ms, Fact::User(user.clone()));
            record.author = author.0.clone();
            record.by_service = author.1;
            self.push(record);
        }
        Ok(())
    }

    pub(super) fn add(&mut self, state: &State, caller: &Caller, name: &Name, members: &[Name]) -> Answer {
        let conversation = administered(state, caller, name, members)?;
        let members = distinct(members);
        let author = (caller.clone().unwrap_or_else(|| "".into()), caller.is_none());
        self.name_users(state, &members, &author)?;
        let new: Vec<Name> = members.into_iter().filter(|user| conversation.role(user).is_none()).collect();
        if new.is_empty() {
            return Ok(Done::Unchanged(name.clone()));
        }
        self.arrive(caller, conversation, new.len(), Fact::Add(new))
    }

    pub(super) fn join(&mut self, state: &State, user: &Name, name: &Name) -> Answer {
        known(state, user)?;
        let conversation = state.conversation(name).ok_or(Code::NotFound)?;
        if conversation.role(user).is_some() {
            return Ok(Done::Unchanged(name.clone()));
        }
        if conversation.kind != Kind::Channel || !conversation.settings.open {
            current(conversation, user)?;
        }
        self.arrive(&Some(user.clone()), conversation, 1, Fact::Join)
    }

    fn arrive(&mut self, caller: &Caller, conversation: &Conversation, more: usize, fact: Fact) -> Answer {
        self.mode(caller, conversation, conversation.current().len() + more, conversation.settings.fanout);
        let position = self.note(caller, &conversation.name, coming_or_going(conversation), fact);
        Ok(Done::Changed { position })
    }

    pub(super) fn remove(&mut self, state: &State, caller: &Caller, name: &Name, members: &[Name]) -> Answer {
        let conversation = administered(state, caller, name, members)?;
        let gone: Vec<Name> = distinct(members).into_iter().filter(|user| conversation.role(user).is_some()).collect();
        if gone.is_empty() {
            return Ok(Done::Unchanged(name.clone()));
        }
        if let Some(own) = caller {
            let is_owner = conversation.role(own) == Some(Role::Owner);
            if !is_owner && gone.iter().any(|user| conversation.role(user) == Some(Role::Owner)) {
                return Err(Code::NotAllowed);
            }
            if gone.contains(own) {
                return Err(Code::InvalidArgument);
            }
        }
        self.depart(caller, conversation, gone.len(), Fact::Remove(gone))
    }

    pub(super) fn leave(&mut self, state: &State, user: &Name, name: &Name) -> Answer {
        known(state, user)?;
        let conversation = state.conversation(name).ok_or(Code::NotFound)?;
        let member = conversation.members.get(user).ok_or(Code::NotFound)?;
        let Some(role) = member.role else { return Ok(Done::Unchanged(name.clone())) };
        if conversation.kind == Kind::Direct || is_last_owner(conversation, role) {
            return Err(Code::NotAllowed);
        }
        self.depart(&Some(user.clone()), conversation, 1, Fact::Leave)
    }

    fn depart(&mut self, caller: &Caller, conversation: &Conversation, fewer: usize, fact: Fact) -> Answer {
        self.mode(caller, conversation, conversation.current().len() - fewer, conversation.settings.fanout);
        let position = self.note(caller, &conversation.name, coming_or_going(conversation), fact);
        Ok(Done::Changed { position })
    }

    pub(super) fn role(&mut self, state: &State, caller: &Caller, name: &Name, user: &Name, role: Role) -> Answer {
        let conversation = administered(state, caller, name, &[])?;
        if caller.as_ref().is_some_and(|own| conversation.role(own) != Some(Role::Owner)) {
            return Err(Code::NotAllowed);
        }
        let now = conversation.role(user).ok_or(Code::NotFound)?;
        if now == role {
            return Ok(Done::Unchanged(name.clone()));
        }
        if caller.is_some() && is_last_owner(conversation, now) {
            return Err(Code::NotAllowed);
        }
        let fact = Fact::Role { user: user.clone(), role };
        let position = self.note(caller, name, conversation.head() + 1, fact);
        Ok(Done::Changed { position })
    }

    pub(super) fn settings(
        &mut self,
        state: &State,
        caller: &Caller,
        name: &Name,
        open: Option<bool>,
        history: Option<bool>,
        fanout: Option<Fanout>,
    ) -> Answer {
        let conversation = state.conversation(name).ok_or(Code::NotFound)?;
        if let Some(user) = caller {
            known(state, user)?;
            let role = current(conversation, user)?;
            if conversation.kind == Kind::Direct || role < Role::Admin || fanout.is_some() {
                return Err(Code::NotAllowed);
            }
        }
        let is_bad_open = open.is_some() && conversation.kind != Kind::Channel;
        let is_bad_history = history.is_some() && conversation.kind == Kind::Direct;
        if is_bad_open || is_bad_history {
            return Err(Code::InvalidArgument);
        }
        let old = conversation.settings;
        let new = Settings {
            open: open.unwrap_or(old.open),
            history: history.unwrap_or(old.history),
            fanout: fanout.unwrap_or(old.fanout),
        };
        if new == old {
            return Ok(Done::Unchanged(name.clone()));
        }
        self.mode(caller, conversation, conversation.current().len(), new.fanout);
        let position = self.note(caller, name, conversation.head() + 1, Fact::Settings(new));
        Ok(Done::Changed { position })
    }

    pub(super) fn mute(&mut self, state: &State, user: &Name, name: &Name, muted: bool) -> Answer {
        known(state, user)?;
        let conversation = state.conversation(name).ok_or(Code::NotFound)?;
        current(conversation, user)?;
        if conversation.members[user].muted == muted {
            return Ok(Done::Unchanged(name.clone()));
        }
        let position = self.note(&Some(user.clone()), name, 0, Fact::Mute(muted));
        Ok(Done::Changed { position })
    }

    pub(super) fn read(&mut self, state: &State, user: &Name, name: &Name, through: u64) -> Answer {
        known(state, user)?;
        let conversation = state.conversation(name).ok_or(Code::NotFound)?;
        current(conversation, user)?;
        if through > conversation.head() {
            return Err(Code::InvalidArgument);
        }
        if through <= conversation.members[user].read {
            return Ok(Done::Unchanged(name.clone()));
        }
        let position = self.note(&Some(user.clone()), name, 0, Fact::Read(through));
        Ok(Done::Changed { position })
    }
}

impl Model {
    /// Accepts a read mark that changes nothing.
    pub fn needless_read(&mut self, user: &Name, name: &Name, through: u64) -> Done {
        let position = self.note(&Some(user.clone()), name, 0, Fact::Read(through));
        Done::Changed { position }
    }
}

/// In a channel comings and goings have no seq.
fn coming_or_going(conversation: &Conversation) -> u64 {
    if conversation.kind == Kind::Channel { 0 } else { conversation.head() + 1 }
}

fn existing(state: &State, name: &Name, create: &Create) -> Result<Option<Done>, Code> {
    let Some(conversation) = state.conversation(name) else { return Ok(None) };
    let creator: Name = create.caller.clone().unwrap_or_else(|| "".into());
    let either_side = create.kind == Kind::Direct && name.starts_with("dm:");
    if conversation.kind == create.kind && (conversation.creator == creator || either_side) {
        return Ok(Some(Done::Unchanged(name.clone())));
    }
    Err(Code::Conflict)
}

/// A conversation that owners, admins and the service may change the membership of.
fn administered<'a>(state: &'a State, caller: &Caller, name: &str, members: &[Name]) -> Result<&'a Conversation, Code> {
    if members.len() > 1_000 {
        return Err(Code::LimitExceeded);
    }
    let conversation = state.conversation(name).ok_or(Code::NotFound)?;
    let role = match caller {
        Some(user) => {
            known(state, user)?;
            current(conversation, user)?
        }
        None => Role::Owner,
    };
    if conversation.kind == Kind::Direct || role < Role::Admin {
        return Err(Code::NotAllowed);
    }
    Ok(conversation)
}

fn is_last_owner(conversation: &Conversation, role: Role) -> bool {
    role == Role::Owner && conversation.owners() == 1 && conversation.current().len() > 1
}
