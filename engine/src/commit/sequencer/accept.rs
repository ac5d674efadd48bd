//! What accepting a command does: space is reserved, numbers are assigned, names and sessions noted for the commands
//! behind, and the answer is made.

use super::super::ahead::Known;
use super::super::group::{Group, Reply};
use super::super::keys;
use super::super::rules::{Answer, Draft};
use super::Sequencer;
use crate::command::{Command, Outcome, Receipt, SendSession};
use crate::state::State;
use highwater_proto::error::Error;
use highwater_proto::id::{DeviceId, Ordinal, Position, Seq};
use highwater_proto::record::{Fact, Record};

impl Sequencer {
    /// Space is reserved before positions are assigned: from then on there is only success, or poison.
    pub(super) fn reserve(&self, drafts: &[Draft]) -> Result<(), Error> {
        if drafts.is_empty() {
            return Ok(());
        }
        self.shared.space.reserve(drafts.iter().map(Draft::bytes_max).sum())
    }

    /// Gives a draft its numbers and its place in the group.
    pub(super) fn assign(&mut self, draft: Draft, state: &State, time_ms: u64, group: &mut Group) {
        let known = Known { state, ahead: &self.ahead };
        let position = self.assigned.next();
        let mut counters = known.counters(draft.conversation);
        let mut previous = Position::ZERO;
        let (device, client_seq) = draft.number.unwrap_or((DeviceId::ZERO, 0));
        if !device.is_zero() {
            let mut numbers = known.device_counters(device);
            previous = numbers.last_numbered;
            numbers.last_client_seq = client_seq;
            numbers.last_numbered = position;
            numbers.last = position;
            self.ahead.set_device(device, numbers);
        }
        let (mut seq, mut ordinal) = (Seq::ZERO, Ordinal::ZERO);
        if draft.has_seq {
            counters.head = counters.head.next();
            counters.ordinal.0 += u64::from(draft.fact.is_countable());
            (seq, ordinal) = (counters.head, counters.ordinal);
        }
        if !draft.conversation.is_zero() {
            counters.last = position;
            if draft.is_barrier {
                counters.barrier = position;
            }
            self.ahead.set_conversation(draft.conversation, counters);
        }
        self.note_names(&draft, position, state);
        let record = Record {
            position,
            time_ms,
            author: draft.author,
            by_service: draft.by_service,
            device,
            client_seq,
            previous,
            conversation: draft.conversation,
            seq,
            ordinal,
            fact: draft.fact,
        };
        group.records.push(record);
        self.assigned = position;
    }

    /// Ids given and memberships begun, for the commands behind.
    fn note_names(&mut self, draft: &Draft, position: Position, state: &State) {
        let ahead = &mut self.ahead;
        match &draft.fact {
            Fact::User { id, name } => {
                ahead.users = ahead.users.max(id.0);
                ahead.name_user(name.as_str().into(), *id, position);
            }
            Fact::Conversation { id, name } => {
                ahead.conversations_count = ahead.conversations_count.max(id.0);
                ahead.name_conversation(name.as_str().into(), *id, position);
            }
            Fact::Device { id, user, name } => {
                ahead.devices_count = ahead.devices_count.max(id.0);
                ahead.name_device(*user, name.as_str().into(), *id, position);
                self.touch_device(*id, position, state);
            }
            Fact::Revoke { id } => {
                self.generations.remove(*id);
                self.replaced.extend(self.sessions.remove(id));
                self.touch_device(*id, position, state);
            }
            Fact::Create { members, .. } | Fact::Add { members } => {
                members.iter().for_each(|user| ahead.add_membership(*user, position));
            }
            Fact::Join => {
                ahead.add_membership(draft.author, position);
            }
            _ => {}
        }
    }

    /// A record concerns the device without being numbered by it.
    fn touch_device(&mut self, id: DeviceId, position: Position, state: &State) {
        let mut numbers = Known { state, ahead: &self.ahead }.device_counters(id);
        numbers.last = position;
        self.ahead.set_device(id, numbers);
    }

    pub(super) fn answer(
        &mut self,
        answer: Answer,
        command: &mut Command,
        state: &State,
        group: &Group,
        first: usize,
    ) -> Reply {
        let is_own = |record: &Record| !matches!(record.fact, Fact::Mode(_));
        let own = group.records[first..].iter().rposition(is_own).map_or(first, |place| first + place);
        match answer {
            Answer::Changed => Reply::Changed(own),
            Answer::Receipt => {
                let record = &group.records[own];
                Reply::Ready(Ok(Outcome::Receipt(Receipt {
                    conversation: keys::name_of(command, record, state),
                    seq: record.seq,
                    position: record.position,
                    time_ms: record.time_ms,
                    client_seq: record.client_seq,
                    repeated: false,
                })))
            }
            Answer::Session(device) => Reply::Ready(Ok(Outcome::Session(self.take_over(device, command, state)))),
        }
    }

    /// From here on only the new session may send for the device.
    fn take_over(&mut self, device: DeviceId, command: &mut Command, state: &State) -> SendSession {
        let generation = self.next_generation;
        self.next_generation += 1;
        self.generations.insert(device, generation);
        let known = Known { state, ahead: &self.ahead };
        let numbers = known.device_counters(device);
        let (mut user, mut by_service) = (Default::default(), false);
        if let Command::OpenSession(open) = command {
            user = known.user(&open.user).unwrap_or_default();
            by_service = open.by_service;
            let on_replaced = std::mem::replace(&mut open.on_replaced, Box::new(|| {}));
            self.replaced.extend(self.sessions.insert(device, on_replaced));
        }
        SendSession { user, device, generation, by_service, last_client_seq: numbers.last_client_seq }
    }
}
