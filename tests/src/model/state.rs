//! What the records say, worked out from the first one on.

use super::{Fact, Model, Name, Record};
use highwater_engine::proto::record::{Fanout, Kind, Mode, Role, Settings};
use std::collections::{BTreeMap, BTreeSet};

/// What the records say.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Known users, in the order in which they became known.
    pub users: Vec<Name>,
    /// Devices, in the order in which they became known.
    pub devices: Vec<Device>,
    /// Conversations by name.
    pub conversations: BTreeMap<Name, Conversation>,
    /// Positions of read marks that were needless when their turn came.
    pub needless: BTreeSet<u64>,
}

/// A device.
#[derive(Clone, Debug)]
pub struct Device {
    /// Whose it is.
    pub user: Name,
    /// Its name.
    pub name: Name,
    /// Not revoked.
    pub registered: bool,
    /// Positions of its numbered records: number n is the n-th.
    pub numbered: Vec<u64>,
}

/// A conversation.
#[derive(Clone, Debug)]
pub struct Conversation {
    /// Its name.
    pub name: Name,
    /// Its kind.
    pub kind: Kind,
    /// Its settings.
    pub settings: Settings,
    /// Who created it; empty for the service.
    pub creator: Name,
    /// How it is fanned out.
    pub mode: Mode,
    /// Positions of its records: seq n is the n-th.
    pub outbox: Vec<u64>,
    /// Members past and present.
    pub members: BTreeMap<Name, Member>,
    /// Seqs of recalled messages.
    pub recalled: Vec<u64>,
    /// Edits in order: the message's seq, the edit's seq, the edit's position.
    pub edits: Vec<(u64, u64, u64)>,
}

/// A user in a conversation.
#[derive(Clone, Debug, Default)]
pub struct Member {
    /// `None` for a former member.
    pub role: Option<Role>,
    /// When it was a member.
    pub intervals: Vec<Interval>,
    /// The read mark.
    pub read: u64,
    /// Muted.
    pub muted: bool,
}

/// A time of membership, both ends included.
#[derive(Clone, Copy, Debug)]
pub struct Interval {
    /// Position of the record that began it.
    pub from: u64,
    /// The first seq in it.
    pub from_seq: u64,
    /// Position of the record that ended it.
    pub to: Option<u64>,
    /// The last seq in it, if it ended.
    pub to_seq: Option<u64>,
}

impl Model {
    /// What the records say.
    pub fn state(&self) -> State {
        let mut state = State::default();
        for (index, record) in self.records.iter().enumerate() {
            state.apply(record, index as u64 + 1);
        }
        state
    }
}

impl State {
    /// A conversation by name.
    pub fn conversation(&self, name: &str) -> Option<&Conversation> {
        self.conversations.get(name)
    }

    /// Whether the user is known.
    pub fn is_user(&self, name: &str) -> bool {
        self.users.iter().any(|user| user.as_ref() == name)
    }

    /// A device by its user's name and its own.
    pub fn device(&self, user: &str, name: &str) -> Option<&Device> {
        self.devices.iter().find(|device| device.user.as_ref() == user && device.name.as_ref() == name)
    }

    fn apply(&mut self, record: &Record, position: u64) {
        match &record.fact {
            Fact::User(name) => self.users.push(name.clone()),
            Fact::Device { user, name } => self.register(user, name),
            Fact::Revoke { user, name } => {
                let device = self.devices.iter_mut().find(|device| device.user == *user && device.name == *name);
                device.expect("revoked devices are known").registered = false;
            }
            Fact::Epoch | Fact::Conversation => {}
            Fact::Create { kind, settings, owner, members } => {
                let mut conversation = Conversation {
                    name: record.conversation.clone(),
                    kind: *kind,
                    settings: *settings,
                    creator: if record.by_service { "".into() } else { record.author.clone() },
                    mode: Mode::Write,
                    outbox: vec![position],
                    members: BTreeMap::new(),
                    recalled: Vec::new(),
                    edits: Vec::new(),
                };
                for member in members {
                    let role = if owner.as_ref() == Some(member) { Role::Owner } else { Role::Member };
                    conversation.enter(member, role, position, 1);
                }
                self.conversations.insert(record.conversation.clone(), conversation);
            }
            _ => {
                let conversation = self.conversations.get_mut(&record.conversation);
                let conversation = conversation.expect("its create comes first");
                if let Fact::Read(through) = record.fact
                    && through <= conversation.member(&record.author).read
                {
                    self.needless.insert(position);
                }
                conversation.apply(record, position);
            }
        }
        if record.client_seq > 0 {
            let owner = &record.author;
            let mut devices = self.devices.iter_mut();
            let device = devices.find(|device| device.user == *owner && device.name == record.device);
            device.expect("its device is known").numbered.push(position);
        }
    }

    fn register(&mut self, user: &Name, name: &Name) {
        match self.devices.iter_mut().find(|device| device.user == *user && device.name == *name) {
            Some(device) => device.registered = true,
            None => self.devices.push(Device {
                user: user.clone(),
                name: name.clone(),
                registered: true,
                numbered: Vec::new(),
            }),
        }
    }
}

impl Conversation {
    /// The last seq.
    pub fn head(&self) -> u64 {
        self.outbox.len() as u64
    }

    /// Current members, in the order of their names.
    pub fn current(&self) -> Vec<&Name> {
        self.members.iter().filter(|(_, member)| member.role.is_some()).map(|(name, _)| name).collect()
    }

    /// A current member's role.
    pub fn role(&self, user: &str) -> Option<Role> {
        self.members.get(user)?.role
    }

    /// How many owners it has.
    pub fn owners(&self) -> usize {
        self.members.values().filter(|member| member.role == Some(Role::Owner)).count()
    }

    /// The change of mode that comes before it has so many members and this setting.
    pub fn mode_change(&self, members: usize, fanout: Fanout, config: &super::Config) -> Option<Mode> {
        let wanted = match fanout {
            Fanout::Write => Mode::Write,
            Fanout::Read => Mode::Read,
            Fanout::Auto if members > config.write_members_max => Mode::Read,
            Fanout::Auto if members < config.read_members_min => Mode::Write,
            Fanout::Auto => self.mode,
        };
        (wanted != self.mode).then_some(wanted)
    }

    fn apply(&mut self, record: &Record, position: u64) {
        if record.seq > 0 {
            self.outbox.push(position);
        }
        // In a channel who comes sees what follows; elsewhere the coming is seen, too.
        let first = if record.seq > 0 { record.seq } else { self.head() + 1 };
        match &record.fact {
            Fact::Add(users) => users.iter().for_each(|user| self.enter(user, Role::Member, position, first)),
            Fact::Join => self.enter(&record.author, Role::Member, position, first),
            Fact::Remove(users) => users.iter().for_each(|user| self.exit(user, position)),
            Fact::Leave => self.exit(&record.author, position),
            Fact::Role { user, role } => self.member(user).role = Some(*role),
            Fact::Settings(settings) => self.settings = *settings,
            Fact::Mode(mode) => self.mode = *mode,
            Fact::Mute(muted) => self.member(&record.author).muted = *muted,
            Fact::Read(through) => {
                let member = self.member(&record.author);
                member.read = member.read.max(*through);
            }
            Fact::Message { .. } => {
                let member = self.members.get_mut(&record.author).filter(|member| member.role.is_some());
                if let Some(member) = member {
                    member.read = member.read.max(record.seq);
                }
            }
            Fact::Edit { target, .. } => self.edits.push((*target, record.seq, position)),
            Fact::Recall { target } => self.recalled.push(*target),
            other => unreachable!("{other:?} is not a conversation's"),
        }
    }

    fn member(&mut self, user: &str) -> &mut Member {
        self.members.get_mut(user).expect("it is a member")
    }

    fn enter(&mut self, user: &Name, role: Role, from: u64, from_seq: u64) {
        let member = self.members.entry(user.clone()).or_default();
        member.role = Some(role);
        member.intervals.push(Interval { from, from_seq, to: None, to_seq: None });
    }

    fn exit(&mut self, user: &Name, position: u64) {
        let head = self.head();
        let member = self.member(user);
        member.role = None;
        let interval = member.intervals.last_mut().expect("it was a member");
        interval.to = Some(position);
        interval.to_seq = Some(head);
    }
}
