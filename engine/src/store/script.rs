//! What tests of the index and of its agreement with the log share: a history with a bit of everything.

use super::{SoftDevice, Store};
use crate::state::{State, Touched};
use highwater_proto::id::{ConversationId, DeviceId, Epoch, Incarnation, Ordinal, Position, Seq, UserId};
use highwater_proto::record::{Fact, Fanout, Kind, Message, Mode, Record, Role, Settings};
use std::collections::HashMap;
use std::path::Path;

pub(crate) const INCARNATION: Incarnation = Incarnation([7; 16]);
pub(crate) const ALICE: UserId = UserId(1);
pub(crate) const BOB: UserId = UserId(2);
pub(crate) const CAROL: UserId = UserId(3);
pub(crate) const GROUP: ConversationId = ConversationId(1);
pub(crate) const CHANNEL: ConversationId = ConversationId(2);

/// A bit of everything, with `messages` messages in the group.
pub(crate) fn varied(messages: usize) -> Vec<Record> {
    let none = ConversationId::ZERO;
    let mut script = Script::default();
    for (id, name) in [(ALICE, "alice"), (BOB, "bob"), (CAROL, "carol")] {
        script.add(id, none, false, Fact::User { id, name: name.into() });
    }
    for (id, user, name) in [(1, ALICE, "phone"), (2, BOB, "phone"), (3, ALICE, "laptop")] {
        script.add(user, none, false, Fact::Device { id: DeviceId(id), user, name: name.into() });
    }
    for (id, name) in [(1, "group"), (2, "channel"), (3, "named and not created")] {
        script.add(ALICE, none, false, Fact::Conversation { id: ConversationId(id), name: name.into() });
    }
    let settings = Settings { open: false, history: true, fanout: Fanout::Auto };
    let create = Fact::Create { kind: Kind::Group, settings, owner: Some(ALICE), members: vec![ALICE, BOB] };
    script.add(ALICE, GROUP, true, create);
    let settings = Settings { open: true, history: false, fanout: Fanout::Read };
    let create = Fact::Create { kind: Kind::Channel, settings, owner: Some(BOB), members: vec![BOB] };
    script.add(BOB, CHANNEL, true, create);
    script.add(UserId::ZERO, CHANNEL, false, Fact::Mode(Mode::Read));
    script.add(ALICE, CHANNEL, false, Fact::Join);
    for index in 0..messages {
        match index % 3 {
            0 => script.say(BOB, DeviceId(2), GROUP),
            _ => script.say(ALICE, DeviceId(1 + 2 * (index as u32 % 2)), GROUP),
        }
        if index % 50 == 7 {
            script.say(BOB, DeviceId(2), CHANNEL);
        }
        if index % 100 == 20 {
            let target = script.records.len() as u64 - 3;
            script.redact(target, index % 200 == 20);
        }
    }
    script.add(ALICE, GROUP, true, Fact::Add { members: vec![CAROL] });
    script.add(ALICE, GROUP, true, Fact::Role { user: BOB, role: Role::Admin });
    script.add(CAROL, GROUP, true, Fact::Leave);
    script.add(ALICE, GROUP, true, Fact::Add { members: vec![CAROL] });
    script.add(CAROL, GROUP, false, Fact::Mute { muted: true });
    script.add(ALICE, CHANNEL, false, Fact::Leave);
    script.add(ALICE, none, false, Fact::Revoke { id: DeviceId(3) });
    script.add(UserId::ZERO, none, false, Fact::Epoch { epoch: Epoch(2) });
    let (through, through_ordinal) = script.heads.get(&GROUP).copied().unwrap_or_default();
    script.add(BOB, GROUP, false, Fact::Read { through, through_ordinal });
    script.records
}

/// The index in this directory and its state; a new one begins a history.
pub(crate) fn open(path: &Path) -> (Store, State) {
    let store = Store::open(path).expect("opening");
    let state = match store.load().expect("loading") {
        Some(loaded) => loaded.state,
        None => {
            store.initialize(INCARNATION).expect("initializing");
            State::new(INCARNATION)
        }
    };
    (store, state)
}

pub(crate) fn apply(state: &mut State, records: &[Record]) {
    for record in records {
        state.apply(record, &mut Touched::default()).expect("a good record");
    }
}

/// What the engine does at a freeze and after it.
pub(crate) fn persist(store: &Store, state: &mut State, soft: &[(DeviceId, SoftDevice)]) {
    let (head, changed) = state.freeze(None);
    let mut rows = store.rows(state, changed, head.base());
    rows.put_soft(soft.to_vec());
    assert!(rows.encode(state, usize::MAX));
    store.persist(rows, &head).expect("persisting");
    state.frozen = None;
    state.persisted = state.applied;
}

/// Writes records with the numbers that a sequencer would give them.
#[derive(Default)]
struct Script {
    records: Vec<Record>,
    heads: HashMap<ConversationId, (Seq, Ordinal)>,
    numbered: HashMap<DeviceId, (u64, Position)>,
}

impl Script {
    fn position(&self) -> Position {
        Position(self.records.len() as u64 + 1)
    }

    fn add(&mut self, author: UserId, conversation: ConversationId, has_seq: bool, fact: Fact) -> &mut Record {
        let (mut seq, mut ordinal) = (Seq::ZERO, Ordinal::ZERO);
        if has_seq {
            let head = self.heads.entry(conversation).or_default();
            *head = (head.0.next(), Ordinal(head.1.0 + u64::from(fact.is_countable())));
            (seq, ordinal) = *head;
        }
        let position = self.position();
        self.records.push(Record {
            position,
            time_ms: 1_000 + position.0,
            author,
            by_service: false,
            device: DeviceId::ZERO,
            client_seq: 0,
            previous: Position::ZERO,
            conversation,
            seq,
            ordinal,
            fact,
        });
        self.records.last_mut().expect("just pushed")
    }

    fn say(&mut self, author: UserId, device: DeviceId, conversation: ConversationId) {
        let position = self.position();
        let (number, previous) = self.numbered.insert(device, (0, position)).unwrap_or_default();
        self.numbered.insert(device, (number + 1, position));
        let record = self.add(author, conversation, true, Fact::Message(Message::default()));
        (record.device, record.client_seq, record.previous) = (device, number + 1, previous);
    }

    fn redact(&mut self, target: u64, is_edit: bool) {
        let Some(record) = self.records.get(target as usize - 1).filter(|record| record.fact.is_countable()).cloned()
        else {
            return;
        };
        let (target, target_position, target_ordinal) = (record.seq, record.position, record.ordinal);
        let fact = match is_edit {
            true => Fact::Edit { target, target_position, body: "other".into() },
            false => Fact::Recall { target, target_position, target_ordinal },
        };
        self.add(record.author, record.conversation, true, fact);
    }
}
