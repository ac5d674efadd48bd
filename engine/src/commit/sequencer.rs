//! The sequencer: one thread that decides what is accepted, in which order, under which numbers.
//!
//! It reads the applied state under a short lock, and owns only what runs ahead of it. A command that has to wait (for
//! a barrier of its conversation or device to be applied, or for something to be read from the disk) is put aside, and
//! with it every later command of the same conversation or device; all others pass.

mod accept;
mod company;
mod lookahead;
mod modes;
#[cfg(test)]
mod tests;

use super::ahead::{Ahead, Known};
use super::committer;
use super::group::{Group, Reply};
use super::keys::Key;
use super::loader::Job;
use super::pending::Pending;
use super::planner::Planner;
use super::rules::{Rules, Target, Verdict};
use super::shared::{Shared, closed};
use super::time::RecordTime;
use crate::state::{SIDE_BY_SIDE, State};
use company::Company;
use highwater_proto::error::{Code, Error};
use highwater_proto::id::{ConversationId, DeviceId, Position};
use highwater_proto::record::Mode;
pub(crate) use lookahead::Generations;
use lookahead::{Directs, look_ahead};
use rustc_hash::FxHashMap;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Instant;

/// So many commands, or so many bytes of them, are worth sequencing while the group before is synced.
const OVERLAP_COMMANDS_MIN: usize = 128;
const OVERLAP_BYTES_MIN: usize = 128 << 10;
/// The same for the timeline entries that their records make.
const OVERLAP_ENTRIES_MIN: usize = 4_096;
/// Commands put aside, one of them for lack of room, after which a group is closed: those behind are not looked at again
/// for each group. Looking at so many takes about as long as applying a full group; few enough to let what delivers to few
/// pass a burst of a thousand messages.
const PUT_ASIDE_MAX: usize = 2_048;
/// Room made for a group's records ahead of time.
const RECORDS_RESERVED_MAX: usize = 4_096;
/// Commands looked at under one lock of the state.
const LOOKS_PER_LOCK: usize = 64;

/// Whether it is not worth a hand-over between threads.
fn is_little(commands: usize, bytes: impl FnOnce() -> usize) -> bool {
    commands < OVERLAP_COMMANDS_MIN && bytes() < OVERLAP_BYTES_MIN
}

/// What the sequencer is told.
pub(crate) enum Input {
    /// A command was submitted.
    Command(Box<Pending>),
    /// Several were, in this order.
    #[expect(clippy::vec_box, reason = "they are large, and go on one by one")]
    Commands(Vec<Box<Pending>>),
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
    company: Company,
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
    pub(super) fn new(shared: Arc<Shared>, input: Receiver<Input>, loader: Sender<Job>) -> Self {
        let planner = Planner::new(shared.options.fanout.costs);
        let (ahead, assigned, time) = {
            let state = shared.state.read();
            (Ahead::new(&state), state.applied, RecordTime::new(state.time_ms))
        };
        Self {
            shared,
            input,
            loader,
            ahead,
            assigned,
            looked_at: assigned,
            pending: VecDeque::new(),
            generations: Generations::default(),
            directs: Directs::default(),
            planner,
            company: Company::default(),
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

    /// Runs until told to end.
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
                if !self.commit(group) {
                    break;
                }
            }
            if self.finishing && self.pending.is_empty() {
                break;
            }
        }
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

    /// Lets a few commands wait for others, so that one sync serves all: while a group is on its way they gain nothing by
    /// following it at once, and after it those come that it answers. What comes meanwhile wakes nobody.
    fn gather(&mut self) {
        let bytes = |pending: &VecDeque<Box<Pending>>| pending.iter().map(|pending| pending.bytes).sum();
        if self.pending.is_empty() || !is_little(self.pending.len(), || bytes(&self.pending)) {
            return;
        }
        self.shared.wait_until_committed();
        if let Some((count, patience)) = self.company.awaited(self.shared.submitted(), Instant::now()) {
            self.company.waited(self.shared.wait_until_submitted(count, patience));
        }
    }

    /// Commits a group, or has it committed. False: end at once.
    fn commit(&mut self, group: Group) -> bool {
        let is_little = is_little(group.answers.len(), || group.queue_bytes) && group.entries < OVERLAP_ENTRIES_MIN;
        if !is_little || self.shared.is_committing() {
            self.company.dismiss();
            let Err(unsent) = self.shared.hand_over(group) else { return true };
            unsent.abandon(&self.shared, &Error::new(Code::OutcomeUnknown, "the store was dropped"));
            return false;
        }
        let (answers, began) = (group.answers.len(), Instant::now());
        let expect = || self.company.expect(answers, self.shared.submitted(), began, Instant::now());
        committer::commit(&self.shared, group, expect);
        true
    }

    /// False: end at once.
    fn take(&mut self, input: Input) -> bool {
        match input {
            Input::Abort => return false,
            Input::Finish => self.finishing = true,
            Input::Applied => {}
            Input::Loaded { ticket, target } => self.loaded(ticket, target),
            Input::Command(pending) => self.enqueue(pending),
            Input::Commands(all) => all.into_iter().for_each(|pending| self.enqueue(pending)),
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
        let mut blocked: HashSet<Key> = HashSet::new();
        let mut waiting = VecDeque::new();
        let mut looks = 0;
        // Of many commands half: so the next group can be sequenced while this one is synced.
        let enough = match self.pending.len() {
            many if many >= 2 * OVERLAP_COMMANDS_MIN => many / 2,
            few => few,
        };
        let mut group = Group::new(self.assigned.next(), enough.min(RECORDS_RESERVED_MAX));
        loop {
            if looks % SIDE_BY_SIDE == 0 {
                look_ahead(&mut self.pending, &state, &mut self.directs);
            }
            let Some(mut pending) = self.pending.pop_front() else { break };
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
            destination: pending.destination,
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

    fn load(&self, job: Job) {
        // The loader ends after the sequencer.
        let _sent = self.loader.send(job);
    }

    fn refuse_all(&mut self, error: &Error) {
        while let Ok(input) = self.input.try_recv() {
            match input {
                Input::Command(pending) => self.enqueue(pending),
                Input::Commands(all) => all.into_iter().for_each(|pending| self.enqueue(pending)),
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

/// Also where a completion has panicked: what was not decided yet is still answered.
impl Drop for Sequencer {
    fn drop(&mut self) {
        self.shared.close_input();
        self.refuse_all(&closed());
    }
}
