//! What a record does to the state: a pure function, so that replaying the log gives the same state again.
//!
//! No clock, no random numbers, no I/O, no order of a hash map. The sequencer has checked every rule before a record
//! was written; here only what would break the state's own invariants is refused, as damage of the log.

use super::{
    Changed, Conversation, Device, Dirty, HEAD_POSITIONS_MAX, Interval, Mark, Member, OutboxEntry, Redaction, State,
    User,
};
use highwater_proto::error::{Code, Error};
use highwater_proto::id::{ConversationId, DeviceId, Epoch, Ordinal, Position, Seq, UserId};
use highwater_proto::record::{Fact, Kind, Message, Mode, Record, Role, Settings};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Whom a group of records concerns: those to be woken.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    /// Users with something for themselves.
    pub(crate) users: Vec<UserId>,
    /// Conversations with something for all their current members.
    pub(crate) conversations: Vec<ConversationId>,
}

impl State {
    /// Applies the next record.
    pub(crate) fn apply(&mut self, record: &Record, touched: &mut Touched) -> Result<(), Error> {
        if record.position != self.applied.next() {
            return Err(inconsistent(record, format!("it follows position {}", self.applied)));
        }
        if record.position.0 - self.head.base().0 >= HEAD_POSITIONS_MAX {
            let what = format!("the records above position {} are too many for one head", self.head.base());
            return Err(Error::limit("head_positions_max", HEAD_POSITIONS_MAX, what));
        }
        self.apply_fact(record, touched)?;
        if !record.device.is_zero() {
            let device = self.device_mut(record, record.device)?;
            device.last_client_seq = record.client_seq;
            device.last_position = record.position;
        }
        self.applied = record.position;
        self.time_ms = self.time_ms.max(record.time_ms);
        Ok(())
    }

    fn apply_fact(&mut self, record: &Record, touched: &mut Touched) -> Result<(), Error> {
        match &record.fact {
            Fact::User { id, name } => self.name_user(record, *id, name),
            Fact::Conversation { id, name } => self.name_conversation(record, *id, name),
            Fact::Device { id, user, name } => self.register_device(record, *id, *user, name),
            Fact::Revoke { id } => {
                self.device_mut(record, *id)?.registered = false;
                Ok(())
            }
            Fact::Epoch { epoch } => {
                self.begin_epoch(record, *epoch);
                Ok(())
            }
            Fact::Create { kind, settings, owner, members } => {
                self.create(record, *kind, *settings, *owner, members)?;
                self.append(record, touched)
            }
            Fact::Message(message) => {
                self.append(record, touched)?;
                self.message(record, message)
            }
            Fact::Edit { target, target_position, .. } => {
                self.append(record, touched)?;
                self.edit(record, *target, *target_position)
            }
            Fact::Recall { target_position, target_ordinal, .. } => {
                self.append(record, touched)?;
                self.recall(record, *target_position, *target_ordinal)
            }
            Fact::Add { members } => self.enter(record, members, touched),
            Fact::Join => self.enter(record, &[record.author], touched),
            Fact::Remove { members } => self.exit(record, members, touched),
            Fact::Leave => self.exit(record, &[record.author], touched),
            Fact::Role { user, role } => {
                self.member_mut(record, *user)?.role = Some(*role);
                self.append(record, touched)
            }
            Fact::Settings(settings) => {
                self.conversation_mut(record)?.settings = *settings;
                self.append(record, touched)
            }
            Fact::Mode(mode) => self.switch_mode(record, *mode),
            Fact::Read { through, through_ordinal } => {
                let member = self.member_mut(record, record.author)?;
                // A higher mark may have been on its way when this one was accepted: devices never see it go back.
                if advance_read_mark(member, *through, *through_ordinal) {
                    self.head.push_inbox(record.author, record.position);
                    touched.users.push(record.author);
                }
                Ok(())
            }
            Fact::Mute { muted } => {
                self.member_mut(record, record.author)?.muted = *muted;
                Ok(())
            }
        }
    }

    fn name_user(&mut self, record: &Record, id: UserId, name: &str) -> Result<(), Error> {
        if id.0 as usize != self.users.len() + 1 || self.names.users.contains_key(name) {
            return Err(inconsistent(record, format!("user id {id} is not the next or its name is taken")));
        }
        let name: Arc<str> = name.into();
        self.dirty.name();
        self.names.users.insert(name.clone(), id);
        self.users.push(User {
            name,
            conversations: BTreeSet::new(),
            current: 0,
            follows: BTreeSet::new(),
            devices: Vec::new(),
        });
        Ok(())
    }

    fn name_conversation(&mut self, record: &Record, id: ConversationId, name: &str) -> Result<(), Error> {
        if id.0 as usize != self.conversations.len() + 1 || self.names.conversations.contains_key(name) {
            return Err(inconsistent(record, format!("conversation id {id} is not the next or its name is taken")));
        }
        let name: Arc<str> = name.into();
        self.dirty.name();
        self.names.conversations.insert(name.clone(), id);
        self.names.conversation_names.push(name);
        self.conversations.push(None);
        Ok(())
    }

    fn register_device(&mut self, record: &Record, id: DeviceId, user: UserId, name: &str) -> Result<(), Error> {
        if let Some(device) = self.devices.get_mut((id.0 as usize).wrapping_sub(1)) {
            self.dirty.device(id, device);
            device.registered = true;
            return Ok(());
        }
        if id.0 as usize != self.devices.len() + 1 {
            return Err(inconsistent(record, format!("device id {id} is not the next")));
        }
        let Some(owner) = self.users.get_mut((user.0 as usize).wrapping_sub(1)) else {
            return Err(inconsistent(record, format!("user id {user} has no name")));
        };
        owner.devices.push(id);
        let name: Arc<str> = name.into();
        self.names.devices.entry(user).or_default().insert(name.clone(), id);
        let mut device = Device {
            name,
            user,
            registered: true,
            last_client_seq: 0,
            last_position: Position::ZERO,
            changed: Changed::default(),
        };
        self.dirty.name();
        self.dirty.device(id, &mut device);
        self.devices.push(device);
        Ok(())
    }

    fn begin_epoch(&mut self, record: &Record, epoch: Epoch) {
        self.epoch_ends.push((self.epoch, Position(record.position.0 - 1)));
        self.epoch = epoch;
    }

    fn create(
        &mut self,
        record: &Record,
        kind: Kind,
        settings: Settings,
        owner: Option<UserId>,
        members: &[UserId],
    ) -> Result<(), Error> {
        let index = (record.conversation.0 as usize).wrapping_sub(1);
        let (Some(None), Some(name)) = (self.conversations.get(index), self.names.conversation_names.get(index)) else {
            return Err(inconsistent(
                record,
                format!("conversation {} was created before or has no name", record.conversation),
            ));
        };
        let mut conversation = Conversation {
            name: name.clone(),
            kind,
            settings,
            creator: if record.by_service { UserId::ZERO } else { record.author },
            head: Seq::ZERO,
            head_position: Position::ZERO,
            ordinal: Ordinal::ZERO,
            mode: Mode::Write,
            mode_since_ms: record.time_ms,
            last_read_mode: Position::ZERO,
            recalled: Vec::new(),
            members: BTreeMap::new(),
            active: Vec::new(),
            changed: Changed::default(),
        };
        self.dirty.conversation(record.conversation, &mut conversation);
        self.conversations[index] = Some(conversation);
        for user in members {
            self.admit(record, *user, if owner == Some(*user) { Role::Owner } else { Role::Member })?;
        }
        Ok(())
    }

    /// Members come: the record is theirs to see.
    fn enter(&mut self, record: &Record, users: &[UserId], touched: &mut Touched) -> Result<(), Error> {
        for user in users {
            self.admit(record, *user, Role::Member)?;
        }
        self.append_or_deliver(record, users, touched)
    }

    /// Members go: the record is the last that they see.
    fn exit(&mut self, record: &Record, users: &[UserId], touched: &mut Touched) -> Result<(), Error> {
        self.append_or_deliver(record, users, touched)?;
        // They are among the current members no more when it comes to waking.
        touched.users.extend_from_slice(users);
        for user in users {
            self.dismiss(record, *user)?;
        }
        Ok(())
    }

    /// In a channel comings and goings have no seq and reach only those concerned.
    fn append_or_deliver(&mut self, record: &Record, users: &[UserId], touched: &mut Touched) -> Result<(), Error> {
        if !record.seq.is_zero() {
            return self.append(record, touched);
        }
        for user in users {
            self.head.push_inbox(*user, record.position);
        }
        touched.users.extend_from_slice(users);
        Ok(())
    }

    fn admit(&mut self, record: &Record, user: UserId, role: Role) -> Result<(), Error> {
        let Some(row) = self.users.get_mut((user.0 as usize).wrapping_sub(1)) else {
            return Err(inconsistent(record, format!("user id {user} has no name")));
        };
        let id = record.conversation;
        let conversation = self
            .conversations
            .get_mut((id.0 as usize).wrapping_sub(1))
            .and_then(Option::as_mut)
            .ok_or_else(|| inconsistent(record, format!("conversation {id} does not exist")))?;
        let joined = Mark { position: record.position, seq: conversation.head.next(), ordinal: conversation.ordinal };
        let rows_before = conversation.members.len();
        let member = conversation.members.entry(user).or_default();
        if member.is_current() {
            return Ok(());
        }
        self.dirty.member(id, user, member);
        member.role = Some(role);
        member.intervals.push(Interval { joined, left: None });
        self.member_rows += conversation.members.len() - rows_before;
        if let Err(place) = conversation.active.binary_search(&user) {
            conversation.active.insert(place, user);
        }
        row.conversations.insert(id);
        row.current += 1;
        if conversation.mode == Mode::Read && row.follows.insert(id) {
            self.dirty.follows(user, id);
        }
        Ok(())
    }

    fn dismiss(&mut self, record: &Record, user: UserId) -> Result<(), Error> {
        let (conversation, dirty) = self.conversation_and_dirty(record)?;
        let left = Mark { position: record.position, seq: conversation.head, ordinal: conversation.ordinal };
        let Some(member) = conversation.members.get_mut(&user).filter(|member| member.is_current()) else {
            return Err(inconsistent(record, format!("user {user} is not a member")));
        };
        dirty.member(record.conversation, user, member);
        member.role = None;
        if let Some(interval) = member.intervals.last_mut() {
            interval.left = Some(left);
        }
        if let Ok(place) = conversation.active.binary_search(&user) {
            conversation.active.remove(place);
        }
        if let Some(row) = self.users.get_mut((user.0 as usize).wrapping_sub(1)) {
            row.current = row.current.saturating_sub(1);
        }
        Ok(())
    }

    /// Appends a record with a seq to the outbox, and to inboxes as the mode says.
    fn append(&mut self, record: &Record, touched: &mut Touched) -> Result<(), Error> {
        let id = record.conversation;
        let countable = record.fact.is_countable();
        let conversation = self
            .conversations
            .get_mut((id.0 as usize).wrapping_sub(1))
            .and_then(Option::as_mut)
            .ok_or_else(|| inconsistent(record, format!("conversation {id} does not exist")))?;
        let ordinal = Ordinal(conversation.ordinal.0 + u64::from(countable));
        if record.seq != conversation.head.next() || record.ordinal != ordinal {
            return Err(inconsistent(
                record,
                format!(
                    "seq {} and ordinal {} follow {} and {}",
                    record.seq, record.ordinal, conversation.head, conversation.ordinal
                ),
            ));
        }
        self.dirty.conversation(id, conversation);
        conversation.head = record.seq;
        conversation.head_position = record.position;
        conversation.ordinal = ordinal;
        self.head.push_outbox(id, record.seq, OutboxEntry { position: record.position, countable });
        match conversation.mode {
            Mode::Write => self.head.push_inboxes(&conversation.active, record.position),
            Mode::Read => {
                conversation.last_read_mode = record.position;
                if let Fact::Message(message) = &record.fact {
                    for user in &message.mentions {
                        if conversation.active.binary_search(user).is_ok() {
                            self.head.push_inbox(*user, record.position);
                        }
                    }
                }
            }
        }
        touched.conversations.push(id);
        Ok(())
    }

    /// Sending advances the author's own read mark.
    fn message(&mut self, record: &Record, _message: &Message) -> Result<(), Error> {
        let (conversation, dirty) = self.conversation_and_dirty(record)?;
        // The service may send in the name of somebody who is not a member.
        if let Some(member) = conversation.members.get_mut(&record.author).filter(|member| member.is_current()) {
            dirty.member(record.conversation, record.author, member);
            member.own_last = record.ordinal;
            advance_read_mark(member, record.seq, record.ordinal);
        }
        Ok(())
    }

    fn edit(&mut self, record: &Record, target: Seq, target_position: Position) -> Result<(), Error> {
        if target >= record.seq || target_position >= record.position {
            return Err(inconsistent(record, format!("its target {target} does not come before it")));
        }
        self.dirty.redaction(target_position, self.redactions.get(&target_position));
        let redaction = self.redactions.entry(target_position).or_insert_with(|| Redaction::Edited(Vec::new()));
        if let Redaction::Edited(edits) = redaction {
            edits.push((record.seq, record.position));
        }
        Ok(())
    }

    fn recall(&mut self, record: &Record, target_position: Position, ordinal: Ordinal) -> Result<(), Error> {
        self.dirty.redaction(target_position, self.redactions.get(&target_position));
        self.redactions.insert(target_position, Redaction::Recalled);
        let recalled = &mut self.conversation_mut(record)?.recalled;
        if let Err(place) = recalled.binary_search(&ordinal) {
            recalled.insert(place, ordinal);
        }
        Ok(())
    }

    fn switch_mode(&mut self, record: &Record, mode: Mode) -> Result<(), Error> {
        let id = record.conversation;
        let conversation = self.conversation_mut(record)?;
        conversation.mode = mode;
        conversation.mode_since_ms = record.time_ms;
        if mode == Mode::Read {
            let active = self.conversation(id).map(|conversation| conversation.active.clone()).unwrap_or_default();
            for user in active {
                let row = self.users.get_mut((user.0 as usize).wrapping_sub(1));
                if row.is_some_and(|row| row.follows.insert(id)) {
                    self.dirty.follows(user, id);
                }
            }
        }
        Ok(())
    }

    fn device_mut(&mut self, record: &Record, id: DeviceId) -> Result<&mut Device, Error> {
        let device = self
            .devices
            .get_mut((id.0 as usize).wrapping_sub(1))
            .ok_or_else(|| inconsistent(record, format!("device {id} does not exist")))?;
        self.dirty.device(id, device);
        Ok(device)
    }

    /// The record's conversation, whose row changes.
    fn conversation_mut(&mut self, record: &Record) -> Result<&mut Conversation, Error> {
        Ok(self.conversation_and_dirty(record)?.0)
    }

    /// As [`State::conversation_mut`], with what members' rows are marked by.
    fn conversation_and_dirty(&mut self, record: &Record) -> Result<(&mut Conversation, &mut Dirty), Error> {
        let id = record.conversation;
        let conversation = self
            .conversations
            .get_mut((id.0 as usize).wrapping_sub(1))
            .and_then(Option::as_mut)
            .ok_or_else(|| inconsistent(record, format!("conversation {id} does not exist")))?;
        self.dirty.conversation(id, conversation);
        Ok((conversation, &mut self.dirty))
    }

    /// A member's row, which changes.
    fn member_mut(&mut self, record: &Record, user: UserId) -> Result<&mut Member, Error> {
        let id = record.conversation;
        let (conversation, dirty) = self.conversation_and_dirty(record)?;
        let member = conversation
            .members
            .get_mut(&user)
            .ok_or_else(|| inconsistent(record, format!("user {user} has no row in conversation {id}")))?;
        dirty.member(id, user, member);
        Ok(member)
    }
}

/// Whether it is an advance.
fn advance_read_mark(member: &mut Member, seq: Seq, ordinal: Ordinal) -> bool {
    let is_advance = seq > member.read;
    if is_advance {
        member.read = seq;
        member.read_ordinal = ordinal;
    }
    is_advance
}

fn inconsistent(record: &Record, why: String) -> Error {
    Error::new(Code::Corrupt, format!("record at position {} contradicts the state: {why}", record.position))
}
