//! The sequencer: one thread that decides what is accepted, in which order, under which numbers.
//!
//! It reads the applied state under a short lock, and owns only what runs ahead of it. A command that has to wait (for
//! a barrier of its conversation or device to be applied, or for something to be read from the disk) is put aside, and
//! with it every later command of the same conversation or device; all others pass.

mod modes;
#[cfg(test)]
mod tests;

use super::ahead::{Ahead, Known};
use super::group::{Group, Reply, WriterInput};
use super::keys::{self, Key};
use super::loader::Job;
use super::pending::Pending;
use super::planner::Planner;
use super::rules::{Answer, Directs, Draft, Generations, Rules, Target, Verdict};
use super::shared::Shared;
use super::time::RecordTime;
use crate::command::{Command, Destination, Outcome, Receipt, SendSession};
use crate::state::State;
use highwater_proto::error::{Code, Error};
use highwater_proto::id::{ConversationId, DeviceId, Ordinal, Position, Seq};
use highwater_proto::record::{Fact, Mode, Record};
use rustc_hash::FxHashMap;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SendError, Sender, SyncSender};
use std::time::Instant;

/// So many commands, or so many bytes of them, are worth sequencing while the group before is synced.
const OVERLAP_COMMANDS_MIN: usize = 128;
const OVERLAP_BYTES_MIN: usize = 128 << 10;
/// Commands put aside, one of them for lack of room, after which a group is closed: those behind are not looked at again
/// for each group. Looking at so many takes about as long as applying a full group; few enough to let what delivers to few
/// pass a burst of a thousand messages.
const PUT_ASIDE_MAX: usize = 2_048;
/// Commands looked at under one lock of the state.
const LOOKS_PER_LOCK: usize = 64;
/// Most canonical direct conversations that are remembered by their two users; then they are forgotten.
const DIRECTS_MAX: usize = 1 << 20;

/// What the sequencer is told.
pub(crate) enum Input {
    /// A command was submitted.
    Command(Box<Pending>),
    /// A waiting command's target was read.
    Loaded { ticket: u64, target: Result<Option<Target>, Error> },
    /// Something that it waited for was applied.
    Applied,
    /// Finish what was submitted, then end.
    Finish,
    /// End at once.
    Abort,
}

/// Tells a send session that it was replaced.
type OnReplaced = Box<dyn FnOnce() + Send>;

pub(super) struct Sequencer {
    shared: Arc<Shared>,
    input: Receiver<Input>,
    writer: SyncSender<WriterInput>,
    loader: Sender<Job>,
    ahead: Ahead,
    /// The last position assigned.
    assigned: Position,
    /// The applied position that the last look at everything pending went by.
    looked_at: Position,
    pending: VecDeque<Box<Pending>>,
    generations: Generations,
    directs: Directs,
    planner: Planner,
    /// Conversations that the planner wants to change, and to which mode.
    planned: Vec<(ConversationId, Mode)>,
    next_generation: u64,
    next_ticket: u64,
    /// Send sessions that are open.
    sessions: FxHashMap<DeviceId, OnReplaced>,
    /// Those that were replaced and are to be told.
    replaced: Vec<OnReplaced>,
    time: RecordTime,
    finishing: bool,
    /// Work done in the last round for a group that was full: look again at once.
    more: bool,
}

impl Sequencer {
    pub(super) fn new(
        shared: Arc<Shared>,
        input: Receiver<Input>,
        writer: SyncSender<WriterInput>,
        loader: Sender<Job>,
    ) -> Self {
        let planner = Planner::new(shared.options.fanout.costs);
        let (ahead, assigned, time) = {
            let state = shared.state.read();
            (Ahead::new(&state), state.applied, RecordTime::new(state.time_ms))
        };
        Self {
            shared,
            input,
            writer,
            loader,
            ahead,
            assigned,
            looked_at: assigned,
            pending: VecDeque::new(),
            generations: Generations::default(),
            directs: Directs::default(),
            planner,
            planned: Vec::new(),
            next_generation: 1,
            next_ticket: 1,
            sessions: FxHashMap::default(),
            replaced: Vec::new(),
            time,
            finishing: false,
            more: false,
        }
    }

    /// Runs until told to end. Dropping `writer` at the end lets the later threads end, too.
    pub(super) fn run(mut self) {
        loop {
            if !self.take_input() {
                break;
            }
            self.gather();
            if !self.take_input_now() {
                break;
            }
            if let Some(error) = self.shared.failure() {
                self.refuse_all(&error);
            } else if let Some(group) = self.build_group() {
                self.shared.space.handed_over(&group.frame);
                if let Err(SendError(WriterInput::Group(unsent))) = self.writer.send(WriterInput::Group(group)) {
                    unsent.abandon(&self.shared, &Error::new(Code::OutcomeUnknown, "the store was dropped"));
                    break;
                }
            }
            if self.finishing && self.pending.is_empty() {
                break;
            }
        }
        self.shared.close_input();
        self.refuse_all(&Error::new(Code::Busy, "the store is closed"));
    }

    /// Waits for something to do. False: end at once.
    fn take_input(&mut self) -> bool {
        let is_done = self.finishing && self.pending.is_empty();
        let mut must_wait = !self.more && !is_done;
        if must_wait && !self.pending.is_empty() {
            self.shared.sequencer_waits.store(true, Ordering::SeqCst);
            // What was applied since the last look may be what they wait for, and was not told.
            must_wait = self.shared.visible() <= self.looked_at;
        }
        self.more = false;
        if must_wait && self.input.recv().is_ok_and(|input| !self.take(input)) {
            return false;
        }
        self.take_input_now()
    }

    /// Takes what has come. False: end at once.
    fn take_input_now(&mut self) -> bool {
        while let Ok(input) = self.input.try_recv() {
            if !self.take(input) {
                return false;
            }
        }
        true
    }

    /// Waits for company: while a group is on its way, few commands gain nothing by following it at once. Those whose
    /// answers are about to come give their next ones, and one sync serves all of them; otherwise senders that wait for
    /// answers fall into two halves that take turns, each with a sync of its own. What comes meanwhile wakes nobody.
    fn gather(&self) {
        let is_little = self.pending.len() < OVERLAP_COMMANDS_MIN
            && self.pending.iter().map(|pending| pending.bytes).sum::<usize>() < OVERLAP_BYTES_MIN;
        if is_little && !self.pending.is_empty() {
            self.shared.wait_for_applied(self.assigned);
        }
    }

    /// False: end at once.
    fn take(&mut self, input: Input) -> bool {
        match input {
            Input::Abort => return false,
            Input::Finish => self.finishing = true,
            Input::Applied => {}
            Input::Loaded { ticket, target } => self.loaded(ticket, target),
            Input::Command(pending) => self.enqueue(pending),
        }
        true
    }

    fn enqueue(&mut self, mut pending: Box<Pending>) {
        pending.ticket = self.next_ticket;
        self.next_ticket += 1;
        self.pending.push_back(pending);
    }

    fn loaded(&mut self, ticket: u64, target: Result<Option<Target>, Error>) {
        let Some(place) = self.pending.iter().position(|pending| pending.ticket == ticket) else { return };
        match target {
            Ok(Some(target)) => {
                let pending = &mut self.pending[place];
                pending.loading = false;
                pending.target = Some(target);
            }
            failed => {
                let missing = || Error::new(Code::Corrupt, "a record below the head is missing from the timeline");
                if let Some(pending) = self.pending.remove(place) {
                    self.shared.release(pending.bytes);
                    (pending.completion)(Err(failed.err().unwrap_or_else(missing)));
                }
            }
        }
    }

    /// One look at everything pending: what can go now makes a group.
    fn build_group(&mut self) -> Option<Group> {
        if self.pending.is_empty() {
            return None;
        }
        let shared = self.shared.clone();
        let mut state = shared.state.read();
        self.looked_at = state.applied;
        self.ahead.forget(state.applied, self.assigned);
        let time_ms = self.time.next((shared.options.clock)(), Instant::now());
        let mut group = Group::new(self.assigned.next());
        let mut blocked: HashSet<Key> = HashSet::new();
        let mut waiting = VecDeque::new();
        let mut looks = 0;
        // Of many commands half: so the next group can be sequenced while this one is synced.
        let enough = match self.pending.len() {
            many if many >= 2 * OVERLAP_COMMANDS_MIN => many / 2,
            _ => usize::MAX,
        };
        while let Some(mut pending) = self.pending.pop_front() {
            let has_no_room = self.more && waiting.len() >= PUT_ASIDE_MAX;
            if group.is_full() || has_no_room || group.answers.len() >= enough {
                self.more = true;
                waiting.push_back(pending);
                break;
            }
            looks += 1;
            if looks % LOOKS_PER_LOCK == 0 {
                // What is durable is to become visible meanwhile. What is applied now is known from `ahead` already.
                state = shared.state.give_way(state);
            }
            let is_blocked = pending.is_blocked(Known { state: &state, ahead: &self.ahead }, &blocked);
            let verdict = if is_blocked { Verdict::Wait } else { self.decide(&state, &pending, time_ms) };
            if let Some(mut still) = self.carry_out(verdict, pending, &state, time_ms, &mut group) {
                blocked.extend(still.keys(Known { state: &state, ahead: &self.ahead }).iter().cloned());
                waiting.push_back(still);
            }
        }
        // Few wait, and many may stand behind them.
        while let Some(still) = waiting.pop_back() {
            self.pending.push_front(still);
        }
        self.change_modes(&state, time_ms, &mut group);
        drop(state);
        group.encode();
        // Without the lock: what they do is their business.
        self.replaced.drain(..).for_each(|on_replaced| on_replaced());
        (!group.answers.is_empty() || !group.records.is_empty()).then_some(group)
    }

    fn decide(&self, state: &State, pending: &Pending, time_ms: u64) -> Verdict {
        let rules = Rules {
            known: Known { state, ahead: &self.ahead },
            options: &self.shared.options,
            generations: &self.generations,
            directs: &self.directs,
            planner: &self.planner,
            time_ms,
            target: pending.target,
        };
        rules.decide(&pending.command)
    }

    /// Does what the verdict says; gives the command back if it has to wait.
    fn carry_out(
        &mut self,
        verdict: Verdict,
        mut pending: Box<Pending>,
        state: &State,
        time_ms: u64,
        group: &mut Group,
    ) -> Option<Box<Pending>> {
        let reply = match verdict {
            Verdict::Wait => return Some(pending),
            Verdict::Load(conversation, seq) => {
                pending.loading = true;
                self.load(Job::Target { ticket: pending.ticket, conversation, seq });
                return Some(pending);
            }
            Verdict::Repeat(device) => {
                let last = state.device(device).map_or(Position::ZERO, |device| device.last_position);
                let Pending { command, completion, bytes, .. } = *pending;
                self.load(Job::Repeat { command, completion, bytes, last });
                return None;
            }
            Verdict::Refuse(error) => Reply::Ready(Err(*error)),
            Verdict::Answer(outcome) => Reply::Ready(Ok(*outcome)),
            Verdict::Accept(drafts, answer) => {
                let entries = drafts.iter().map(|draft| draft.entries(state)).sum();
                if !group.has_room_for(entries, &self.shared.options) {
                    // Others with less to deliver go on.
                    self.more = true;
                    return Some(pending);
                }
                match self.reserve(&drafts) {
                    Err(error) => Reply::Ready(Err(error)),
                    Ok(()) => {
                        group.entries += entries;
                        let first = group.records.len();
                        for draft in drafts {
                            self.plan(&draft, state, time_ms);
                            group.bytes_max += draft.bytes_max() as usize;
                            self.assign(draft, state, time_ms, group);
                        }
                        self.answer(answer, &mut pending.command, state, group, first)
                    }
                }
            }
        };
        group.queue_bytes += pending.bytes;
        group.answers.push((pending.completion, reply));
        None
    }

    /// Space is reserved before positions are assigned: from then on there is only success, or poison.
    fn reserve(&self, drafts: &[Draft]) -> Result<(), Error> {
        if drafts.is_empty() {
            return Ok(());
        }
        self.shared.space.reserve(drafts.iter().map(Draft::bytes_max).sum())
    }

    /// Gives a draft its numbers and its place in the group.
    fn assign(&mut self, draft: Draft, state: &State, time_ms: u64, group: &mut Group) {
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
                self.generations.remove(id);
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

    fn answer(&mut self, answer: Answer, command: &mut Command, state: &State, group: &Group, first: usize) -> Reply {
        let is_own = |record: &Record| !matches!(record.fact, Fact::Mode(_));
        let own = group.records[first..].iter().rposition(is_own).map_or(first, |place| first + place);
        match answer {
            Answer::Changed => Reply::Changed(own),
            Answer::Receipt => {
                let record = &group.records[own];
                self.note_direct(command, record, state);
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

    /// Spares the next message between the same two the way by the conversation's name.
    fn note_direct(&mut self, command: &Command, record: &Record, state: &State) {
        let Command::Send(send) = command else { return };
        let Destination::User(other) = &send.destination else { return };
        if self.directs.len() >= DIRECTS_MAX {
            self.directs.clear();
        }
        if let Some(other) = state.names.user(other) {
            self.directs.insert((send.session.user, other), record.conversation);
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

    fn load(&self, job: Job) {
        // The loader ends after the sequencer.
        let _sent = self.loader.send(job);
    }

    fn refuse_all(&mut self, error: &Error) {
        while let Ok(input) = self.input.try_recv() {
            match input {
                Input::Command(pending) => self.enqueue(pending),
                Input::Finish | Input::Abort => self.finishing = true,
                Input::Loaded { .. } | Input::Applied => {}
            }
        }
        for pending in self.pending.drain(..) {
            self.shared.release(pending.bytes);
            (pending.completion)(Err(error.clone()));
        }
    }
}
