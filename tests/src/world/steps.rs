//! From the numbers of a plan to commands: most often about something that exists.

use super::{Check, World, user_name};
use crate::model::{Ask, Caller, Conversation, Create, Fact, Message, Name, Session, State, To};
use crate::plan::{By, Number, Step, USERS};
use highwater_engine::proto::record::{Fanout, Kind, Role};

/// Names of conversations that a case may create.
const SLOTS: [&str; crate::plan::CONVERSATIONS] = ["c0", "c1", "room 2", "\u{65e5}\u{672c} 3", "c4"];

impl World {
    /// Does one step of a case and compares what comes of it.
    pub fn step(&mut self, step: &Step) -> Check {
        let state = self.model.state();
        match step.clone() {
            Step::CreateUser { user } => self.ask(Ask::CreateUser(user_name(user.into()))),
            Step::Open { user, device, by_service } => {
                self.ask(Ask::Open { user: user_name(user.into()), device: device_name(device), by_service })
            }
            Step::Revoke { user, device } => {
                self.ask(Ask::Revoke { user: user_name(user.into()), device: device_name(device) })
            }
            Step::Create { caller, kind, slot, members, owner, open, history } => {
                self.ask(Ask::Create(create(caller, kind, slot, members, owner, open, history)))
            }
            Step::Send { conversation, by, body, quote, mentions } => {
                let name = pick_conversation(&state, conversation);
                let mentions = pick_mentions(&state, &name, mentions);
                let quote = quote.map(|quote| pick_target(&state, self, &name, quote));
                self.numbered(&state, &name, by, |session, client_seq| {
                    let to = To::Conversation(name.clone());
                    let body = pick_body(body);
                    Ask::Send(Message { session, client_seq, to, body, quote, mentions, sent_at_ms: Some(9) })
                })
            }
            Step::SendTo { user, other, by, body } => {
                let (user, to) = (user_name(user.into()), To::User(user_name(other.into())));
                self.numbered_by(&state, &user, by, |session, client_seq| {
                    let (body, mentions) = (pick_body(body), Vec::new());
                    Ask::Send(Message { session, client_seq, to, body, quote: None, mentions, sent_at_ms: None })
                })
            }
            Step::SendStale { session, conversation } => self.send_stale(&state, session, conversation),
            Step::Edit { conversation, by, target, body } => {
                let name = pick_conversation(&state, conversation);
                let target = pick_target(&state, self, &name, target);
                let by = self.usually_author(&state, &name, target, by);
                self.numbered(&state, &name, by, |session, client_seq| Ask::Edit {
                    session,
                    client_seq,
                    conversation: name.clone(),
                    target,
                    body: pick_body(body),
                })
            }
            Step::Recall { conversation, by, target } => {
                let name = pick_conversation(&state, conversation);
                let target = pick_target(&state, self, &name, target);
                let by = self.usually_author(&state, &name, target, by);
                self.numbered(&state, &name, by, |session, client_seq| Ask::Recall {
                    session,
                    client_seq,
                    conversation: name.clone(),
                    target,
                })
            }
            Step::Burst { user, device, sends, cut } => {
                let sends: Vec<(Name, Vec<u8>)> = sends
                    .into_iter()
                    .map(|(conversation, body)| (pick_conversation(&state, conversation), pick_body(body)))
                    .collect();
                self.burst(&user_name(user.into()), &device_name(device), &sends, cut)
            }
            Step::Sync { user, reader, from, limits } => self.sync(&user_name(user.into()), reader, from, limits),
            Step::History { user, conversation, range, seq, limit } => {
                let name = pick_conversation(&state, conversation);
                let head = state.conversation(&name).map_or(0, Conversation::head);
                let seq = u64::from(seq) % (head + 3);
                self.check_some_history(&user_name(user.into()), &name, range, seq, limit)
            }
            Step::Lists { user, conversation, limit } => {
                let (user, name) = (user_name(user.into()), pick_conversation(&state, conversation));
                self.check_conversations(&state, &user, limit.into())?;
                self.check_devices(&state, &user)?;
                if state.is_user(&user) {
                    self.check_members(&state, Some(&user), &name, limit.into())?;
                }
                self.check_members(&state, None, &name, limit.into())
            }
            Step::Persist => self.persist(),
            Step::Reopen => self.reopen(),
            Step::Crash { loss } => self.crash(loss),
            membership => self.change(&state, membership),
        }
    }

    fn change(&mut self, state: &State, step: Step) -> Check {
        let find = |conversation: u8| pick_conversation(state, conversation);
        let ask = match step {
            Step::Add { caller, conversation, members } => {
                let conversation = find(conversation);
                Ask::Add {
                    caller: pick_caller(state, &conversation, caller),
                    conversation,
                    members: pick_users(members),
                }
            }
            Step::Remove { caller, conversation, members } => {
                let conversation = find(conversation);
                Ask::Remove {
                    caller: pick_caller(state, &conversation, caller),
                    conversation,
                    members: pick_users(members),
                }
            }
            Step::Join { user, conversation } => {
                Ask::Join { user: user_name(user.into()), conversation: pick_channel(state, conversation) }
            }
            Step::Leave { actor, conversation } => {
                let conversation = find(conversation);
                Ask::Leave { user: pick_actor(state, &conversation, actor), conversation }
            }
            Step::Role { caller, conversation, actor, role } => {
                let conversation = find(conversation);
                let role = [Role::Member, Role::Admin, Role::Owner][usize::from(role) % 3];
                let user = pick_actor(state, &conversation, actor);
                Ask::Role { caller: pick_caller(state, &conversation, caller), conversation, user, role }
            }
            Step::Settings { caller, conversation, open, history, fanout } => {
                let conversation = find(conversation);
                let fanout = fanout.map(|fanout| [Fanout::Auto, Fanout::Write, Fanout::Read][usize::from(fanout) % 3]);
                // Only the service pins the fan-out mode: most often it is the one who asks.
                let is_by_service = fanout.is_some() && !caller.is_multiple_of(8);
                let caller = if is_by_service { None } else { pick_caller(state, &conversation, caller) };
                Ask::Settings { caller, conversation, open, history, fanout }
            }
            Step::Mute { actor, conversation, muted } => {
                let conversation = find(conversation);
                Ask::Mute { user: pick_actor(state, &conversation, actor), conversation, muted }
            }
            Step::Read { actor, conversation, through } => {
                let conversation = find(conversation);
                let head = state.conversation(&conversation).map_or(0, Conversation::head);
                let through = u64::from(through) % (head + 2);
                Ask::Read { user: pick_actor(state, &conversation, actor), conversation, through }
            }
            other => unreachable!("{other:?} is done elsewhere"),
        };
        self.ask(ask)
    }

    /// A numbered command in a conversation, by whom its plan says.
    fn numbered(&mut self, state: &State, name: &str, by: By, make: impl FnOnce(Session, u64) -> Ask) -> Check {
        let user = pick_actor(state, name, by.actor);
        self.numbered_by(state, &user, by, make)
    }

    fn numbered_by(&mut self, state: &State, user: &Name, by: By, make: impl FnOnce(Session, u64) -> Ask) -> Check {
        let device = device_name(by.device);
        if !state.is_user(user) {
            return Ok(());
        }
        let Some(session) = self.session(user, &device, by.by_service)? else { return Ok(()) };
        let numbered = state.device(user, &device).map(|device| device.numbered.clone()).unwrap_or_default();
        let next = numbered.len() as u64 + 1;
        let earlier = |which: u8| numbered.get(usize::from(which) % numbered.len().max(1)).copied();
        let ask = match by.number {
            Number::Next => make(session, next),
            Number::Ahead(more) => make(session, next + u64::from(more)),
            Number::Zero => make(session, 0),
            Number::Reuse(which) => {
                make(session, if numbered.is_empty() { next } else { 1 + u64::from(which) % (next - 1) })
            }
            Number::Repeat(which) => match earlier(which) {
                Some(position) => self.same_again(session, position),
                None => make(session, next),
            },
        };
        self.ask(ask)
    }

    /// The command that made a record, once more.
    fn same_again(&self, session: Session, position: u64) -> Ask {
        let record = self.model.record(position).clone();
        let (client_seq, conversation) = (record.client_seq, record.conversation);
        match record.fact {
            Fact::Message { body, quote, mentions, sent_at_ms } => {
                let to = To::Conversation(conversation);
                Ask::Send(Message { session, client_seq, to, body, quote, mentions, sent_at_ms })
            }
            Fact::Edit { target, body } => Ask::Edit { session, client_seq, conversation, target, body },
            Fact::Recall { target } => Ask::Recall { session, client_seq, conversation, target },
            other => unreachable!("{other:?} is not numbered"),
        }
    }

    /// A send in any session of this opening, replaced or not.
    fn send_stale(&mut self, state: &State, session: u8, conversation: u8) -> Check {
        let open: Vec<Session> = self
            .sessions
            .iter()
            .filter(|opened| opened.is_of_this_opening)
            .map(|opened| opened.session.clone())
            .collect();
        let Some(session) = open.get(usize::from(session) % open.len().max(1)).cloned() else { return Ok(()) };
        let device = state.device(&session.user, &session.device).expect("it had a session");
        let client_seq = device.numbered.len() as u64 + 1;
        let to = To::Conversation(pick_conversation(state, conversation));
        let (body, mentions) = (b"stale".to_vec(), Vec::new());
        self.ask(Ask::Send(Message { session, client_seq, to, body, quote: None, mentions, sent_at_ms: None }))
    }

    /// Edits and recalls by others are refused; most are by the target's author.
    fn usually_author(&self, state: &State, name: &str, target: u64, by: By) -> By {
        let author =
            state.conversation(name).filter(|_| target > 0 && !by.actor.is_multiple_of(5)).and_then(|conversation| {
                let position = *conversation.outbox.get(target as usize - 1)?;
                let author = &self.model.record(position).author;
                conversation.current().iter().position(|member| *member == author)
            });
        match author {
            // As `pick_actor` reads it.
            Some(place) => By { actor: place as u16 * 10 + 1, ..by },
            None => by,
        }
    }
}

fn device_name(device: u8) -> Name {
    format!("d{device}").into()
}

fn pick_body(body: u8) -> Vec<u8> {
    (0..body % 52).map(|place| body ^ place).collect()
}

fn pick_users(mask: u8) -> Vec<Name> {
    (0..USERS).filter(|user| mask & (1 << user) != 0).map(user_name).collect()
}

/// Most often one that exists.
fn pick_conversation(state: &State, number: u8) -> Name {
    let names: Vec<&Name> = state.conversations.keys().collect();
    match names.get(usize::from(number) % names.len().max(1)) {
        Some(name) if number < 250 => (*name).clone(),
        _ => "nowhere".into(),
    }
}

fn pick_channel(state: &State, number: u8) -> Name {
    let is_open = |conversation: &&Conversation| conversation.kind == Kind::Channel && conversation.settings.open;
    let open: Vec<&Conversation> = state.conversations.values().filter(is_open).collect();
    match open.get(usize::from(number) % open.len().max(1)) {
        Some(conversation) if !number.is_multiple_of(4) => conversation.name.clone(),
        _ => pick_conversation(state, number),
    }
}

/// Most often a current member.
fn pick_actor(state: &State, name: &str, number: u16) -> Name {
    let place = usize::from(number / 10);
    let members = state.conversation(name).map(Conversation::current).unwrap_or_default();
    match members.get(place % members.len().max(1)) {
        Some(member) if !number.is_multiple_of(10) => (*member).clone(),
        _ => user_name(place % USERS),
    }
}

/// Somebody, a member, an owner or admin, or the service.
fn pick_caller(state: &State, name: &str, number: u8) -> Caller {
    let place = usize::from(number / 8);
    let Some(conversation) = state.conversation(name) else { return Some(user_name(place % USERS)) };
    let members = conversation.current();
    let admins: Vec<&Name> =
        members.iter().copied().filter(|user| conversation.role(user) >= Some(Role::Admin)).collect();
    match number % 8 {
        0 => Some(user_name(place % USERS)),
        1 | 2 => members.get(place % members.len().max(1)).map(|user| (*user).clone()),
        3..=5 => admins.get(place % admins.len().max(1)).map(|user| (*user).clone()),
        _ => None,
    }
}

/// Most often a message of the conversation; sometimes another record, or none.
fn pick_target(state: &State, world: &World, name: &str, number: u8) -> u64 {
    let Some(conversation) = state.conversation(name) else { return number.into() };
    let is_message = |seq: &u64| world.model.record(conversation.outbox[*seq as usize - 1]).is_message();
    let messages: Vec<u64> = (1..=conversation.head()).filter(is_message).collect();
    match messages.get(usize::from(number / 2) % messages.len().max(1)) {
        Some(seq) if !number.is_multiple_of(8) => *seq,
        _ => u64::from(number / 8) % (conversation.head() + 2),
    }
}

/// Some members, and now and then somebody who is none.
fn pick_mentions(state: &State, name: &str, mask: u8) -> Vec<Name> {
    let members = state.conversation(name).map(Conversation::current).unwrap_or_default();
    let chosen = members.iter().enumerate().filter(|(place, _)| mask & (1 << (place % 7)) != 0);
    let mut mentions: Vec<Name> = chosen.map(|(_, user)| (*user).clone()).collect();
    if mask > 240 {
        mentions.extend([user_name(7), user_name(0)]);
    }
    mentions
}

fn create(caller: u8, kind: u8, slot: u8, members: u8, owner: u8, open: bool, history: bool) -> Create {
    let slot_name: Name = SLOTS[usize::from(slot) % SLOTS.len()].into();
    let caller: Caller = (!caller.is_multiple_of(3)).then(|| user_name(usize::from(caller / 3) % USERS));
    let kind = match kind % 8 {
        0 => Kind::Direct,
        1..=4 => Kind::Group,
        _ => Kind::Channel,
    };
    if kind == Kind::Direct {
        let sides = usize::from(members);
        let mut others = vec![user_name(sides % USERS)];
        if caller.is_none() {
            others.push(user_name(sides / USERS % USERS));
        }
        return Create {
            caller,
            kind,
            conversation: slot.is_multiple_of(2).then_some(slot_name),
            owner: None,
            members: others,
            open: false,
            history: owner.is_multiple_of(16),
        };
    }
    let is_named = if caller.is_none() { !owner.is_multiple_of(3) } else { owner.is_multiple_of(8) };
    let owner = is_named.then(|| user_name(usize::from(owner / 3) % USERS));
    // A group cannot be open; now and then one asks to be.
    let open = open && (kind == Kind::Channel || members.is_multiple_of(16));
    Create { caller, kind, conversation: Some(slot_name), owner, members: pick_users(members), open, history }
}
