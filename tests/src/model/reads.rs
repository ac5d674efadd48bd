//! What a reader may see, and how it is shown.

use super::{Conversation, Fact, Model, Name, Record, State, seq};
use bytes::Bytes;
use highwater_engine::entry::{Body, Common, ConversationView, DeviceView, Entry, MemberView, What};
use highwater_engine::proto::id::{Position, Seq};
use highwater_engine::proto::record::{Kind, Role};

impl Conversation {
    /// Whether a user may read a seq: inside its intervals and, while it is a member and the settings allow it, before
    /// the first one.
    pub fn may_read(&self, user: &str, seq: u64) -> bool {
        let Some(member) = self.members.get(user) else { return false };
        let inside = member.intervals.iter().any(|i| i.from_seq <= seq && i.to_seq.is_none_or(|to| seq <= to));
        let before = member.role.is_some() && self.settings.history && seq < member.intervals[0].from_seq;
        inside || before
    }

    /// The seqs that a user may read, as ranges.
    pub fn readable(&self, user: &str) -> Vec<(u64, u64)> {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for seq in (1..=self.head()).filter(|seq| self.may_read(user, *seq)) {
            match ranges.last_mut() {
                Some(last) if last.1 + 1 == seq => last.1 = seq,
                _ => ranges.push((seq, seq)),
            }
        }
        ranges
    }

    /// Whether a position lies in one of a user's intervals.
    pub fn is_inside(&self, user: &str, position: u64) -> bool {
        let Some(member) = self.members.get(user) else { return false };
        member.intervals.iter().any(|i| i.from <= position && i.to.is_none_or(|to| position <= to))
    }

    /// Unread messages, counted one by one: those of the last interval after the read mark that were not recalled.
    pub fn unread(&self, model: &Model, user: &str) -> u64 {
        let Some(member) = self.members.get(user) else { return 0 };
        let last = member.intervals[member.intervals.len() - 1];
        let seqs = last.from_seq..=last.to_seq.unwrap_or(self.head());
        let is_unread = |seq: &u64| {
            let is_message = model.record(self.outbox[*seq as usize - 1]).is_message();
            *seq > member.read && is_message && !self.recalled.contains(seq)
        };
        seqs.filter(is_unread).count() as u64
    }
}

impl State {
    /// Positions of everything that a sync from the start to the end sends to a user, in order.
    pub fn synced(&self, model: &Model, user: &str) -> Vec<u64> {
        (1..=model.visible()).filter(|position| self.is_synced(model, user, *position)).collect()
    }

    fn is_synced(&self, model: &Model, user: &str, position: u64) -> bool {
        let record = model.record(position);
        if let Fact::Read(_) = record.fact {
            return record.author.as_ref() == user && !self.needless.contains(&position);
        }
        let Some(conversation) = self.conversation(&record.conversation) else { return false };
        if let Fact::Edit { target, .. } = record.fact {
            // An edit says what its target says: it is for those who may read that.
            return conversation.is_inside(user, position) && conversation.may_read(user, target);
        }
        if record.seq > 0 {
            return conversation.is_inside(user, position);
        }
        match &record.fact {
            Fact::Add(users) | Fact::Remove(users) => users.iter().any(|concerned| concerned.as_ref() == user),
            Fact::Join | Fact::Leave => record.author.as_ref() == user,
            _ => false,
        }
    }

    /// Names of the conversations that a user is or was a member of.
    pub fn conversations_of(&self, user: &str) -> Vec<Name> {
        let is_of = |conversation: &&Conversation| conversation.members.contains_key(user);
        self.conversations.values().filter(is_of).map(|conversation| conversation.name.clone()).collect()
    }

    /// By which a user's list of conversations is ordered: the last position that concerned the user in it.
    pub fn recency(&self, user: &str, name: &str) -> u64 {
        let conversation = &self.conversations[name];
        let intervals = &conversation.members[user].intervals;
        let last = intervals[intervals.len() - 1];
        let head = conversation.outbox[conversation.outbox.len() - 1];
        last.from.max(last.to.map_or(head, |to| head.min(to)))
    }

    /// Unread messages of a user over its current conversations that are not muted.
    pub fn unread_total(&self, model: &Model, user: &str) -> u64 {
        let counts = |conversation: &&Conversation| {
            conversation.members.get(user).is_some_and(|member| member.role.is_some() && !member.muted)
        };
        self.conversations.values().filter(counts).map(|conversation| conversation.unread(model, user)).sum()
    }

    /// A conversation as a user sees it.
    pub fn view(&self, model: &Model, user: &str, name: &str) -> ConversationView {
        let conversation = &self.conversations[name];
        let member = &conversation.members[user];
        let ranges = conversation.readable(user);
        let head = ranges.last().map_or(0, |range| range.1);
        let last = self.history(model, user, name).pop();
        ConversationView {
            conversation: conversation.name.clone(),
            kind: conversation.kind,
            role: member.role,
            head: seq(head),
            read: seq(member.read),
            unread: conversation.unread(model, user),
            muted: member.muted,
            ranges: ranges.iter().map(|(first, last)| (seq(*first), seq(*last))).collect(),
            last,
        }
    }

    /// What a user reads of a conversation, oldest first.
    pub fn history(&self, model: &Model, user: &str, name: &str) -> Vec<Entry> {
        let conversation = &self.conversations[name];
        let is_shown = |position: &&u64| {
            let record = model.record(**position);
            let target = if let Fact::Edit { target, .. } = record.fact { target } else { record.seq };
            conversation.may_read(user, record.seq) && conversation.may_read(user, target)
        };
        conversation.outbox.iter().filter(is_shown).map(|position| entry(model, self, *position, Some(user))).collect()
    }

    /// A conversation's member list as a caller (`None`: the service) sees it: members by name, and their count.
    pub fn members(&self, caller: Option<&str>, name: &str) -> (Vec<MemberView>, u64) {
        let conversation = &self.conversations[name];
        let is_follower = |user: &str| {
            conversation.kind == Kind::Channel && conversation.role(user).is_none_or(|role| role < Role::Admin)
        };
        let current = conversation.current();
        let is_shown = |user: &&&Name| caller.is_none_or(|own| !is_follower(own) || user.as_ref() == own);
        let members = current.iter().filter(is_shown).map(|user| MemberView {
            user: (*user).clone(),
            role: conversation.role(user).expect("it is current"),
            ranges: conversation.readable(user).iter().map(|(first, last)| (seq(*first), seq(*last))).collect(),
        });
        (members.collect(), current.len() as u64)
    }

    /// A user's registered devices, by name.
    pub fn devices_of(&self, user: &str) -> Vec<DeviceView> {
        let own = self.devices.iter().filter(|device| device.user.as_ref() == user && device.registered);
        let mut devices: Vec<DeviceView> = own
            .map(|device| DeviceView {
                device: device.name.clone(),
                client_seq: device.numbered.len() as u64,
                position: Position::ZERO,
                last_seen_ms: 0,
            })
            .collect();
        devices.sort_by(|a, b| a.device.cmp(&b.device));
        devices
    }
}

/// A record as a reader sees it; `None`: as it was made.
pub fn entry(model: &Model, state: &State, position: u64, reader: Option<&str>) -> Entry {
    let record = model.record(position);
    let what = match &record.fact {
        Fact::Message { body, quote, mentions, sent_at_ms } => What::Message {
            sent_at_ms: *sent_at_ms,
            quote: quote.map(Seq),
            mentions: mentions.clone(),
            body: shown_body(model, &state.conversations[&record.conversation], record.seq, body, reader),
        },
        Fact::Edit { target, body } => {
            let conversation = &state.conversations[&record.conversation];
            let is_recalled = conversation.recalled.contains(target);
            let body = (!is_recalled).then(|| Bytes::from(body.clone()));
            What::Edit { target: Seq(*target), body }
        }
        Fact::Recall { target } => What::Recall { target: Seq(*target) },
        Fact::Create { kind, settings, owner, members } => {
            let members = told(state, record, members, reader);
            What::Create { kind: *kind, settings: *settings, owner: owner.clone(), members }
        }
        Fact::Add(members) => What::Add { members: told(state, record, members, reader) },
        Fact::Remove(members) => What::Remove { members: told(state, record, members, reader) },
        Fact::Join => What::Join { user: record.author.clone() },
        Fact::Leave => What::Leave { user: record.author.clone() },
        Fact::Role { user, role } => What::Role { user: user.clone(), role: *role },
        Fact::Settings(settings) => What::Settings(*settings),
        Fact::Read(through) => What::Read { through: Seq(*through) },
        Fact::Mute(muted) => What::Mute { muted: *muted },
        Fact::Revoke { name, .. } => What::Revoke { device: name.clone() },
        Fact::User(user) => What::User { user: user.clone() },
        other => unreachable!("{other:?} is never shown"),
    };
    Entry {
        position: Position(position),
        conversation: record.conversation.clone(),
        seq: Seq(record.seq),
        from: record.author.clone(),
        device: record.device.clone(),
        time_ms: record.time_ms,
        by_service: record.by_service,
        what,
        common: Common::none(),
    }
}

/// In a channel everybody but the record's author is told of itself only.
fn told(state: &State, record: &Record, members: &[Name], reader: Option<&str>) -> Vec<Name> {
    let is_channel = state.conversations[&record.conversation].kind == Kind::Channel;
    match reader.filter(|reader| is_channel && record.author.as_ref() != *reader) {
        Some(reader) => members.iter().filter(|member| member.as_ref() == reader).cloned().collect(),
        None => members.to_vec(),
    }
}

/// Original, the newest edit that the reader may see, or tombstone.
fn shown_body(model: &Model, conversation: &Conversation, target: u64, body: &[u8], reader: Option<&str>) -> Body {
    if conversation.recalled.contains(&target) {
        return Body::Recalled;
    }
    let may_see = |seq: u64| reader.is_none_or(|reader| conversation.may_read(reader, seq));
    let newest = conversation.edits.iter().rfind(|(edited, by, _)| *edited == target && may_see(*by));
    match newest.map(|(_, _, position)| model.record(*position)) {
        Some(edit) => match &edit.fact {
            Fact::Edit { body, .. } => Body::Edited(Bytes::from(body.clone()), edit.time_ms),
            other => unreachable!("{other:?} is no edit"),
        },
        None => Body::Original(Bytes::copy_from_slice(body)),
    }
}
