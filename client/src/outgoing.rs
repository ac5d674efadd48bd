//! The queue of numbered commands: what is transmitted when, under which number, and what each answer means.
//!
//! The server accepts `last + 1` of a device and nothing else; a refused command consumes no number. Commands are
//! pipelined, so one refusal makes the server refuse everything behind it as `out_of_order`. What a number means after a
//! break is told by the server alone: what is not above its `last` may have been accepted and is repeated under its
//! number; what is above was not, and is numbered anew.
//!
//! This is a state machine: events go in as calls, changes for the store, frames and results come out, and no clock,
//! disk or socket is touched. Whoever drives it makes the changes durable before it transmits.

use crate::command::{LocalId, Numbered};
use crate::model::Receipt;
use crate::store::{QueueChange, Queued};
use highwater_proto::error::{Code, Error};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How many acknowledged messages can still be quoted by their local id.
const ACKNOWLEDGED_KEPT: usize = 1_024;
/// How long to wait before a command that the server has no room for is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// The queue and what is known of the session.
#[derive(Debug)]
pub(crate) struct Outgoing {
    /// In the order of transmission.
    entries: VecDeque<Entry>,
    next_local: LocalId,
    bytes: usize,
    entries_max: usize,
    bytes_max: usize,
    /// Seqs of the last acknowledged messages, for quotes.
    acknowledged: VecDeque<(LocalId, u64)>,
    /// The newest message that a queued one has ever quoted: none above it has to be looked for.
    quoted_max: LocalId,
    session: Option<Window>,
    /// Why the server takes nothing for now.
    held_up: Option<Error>,
    changes: Vec<QueueChange>,
    finished: Vec<(LocalId, Result<Receipt, Error>)>,
}

#[derive(Debug)]
struct Entry {
    queued: Queued,
    in_flight: bool,
}

/// What is known of the numbers in the present session.
#[derive(Debug)]
struct Window {
    /// The last number known to be accepted.
    last: u64,
    /// The number for the next command that is transmitted for the first time.
    next: u64,
    in_flight: usize,
    /// A refusal broke the pipeline: nothing new goes out until everything under way is answered.
    rewinding: bool,
    /// After a pause asked for by the server.
    resume_at: Option<Instant>,
}

/// A command to be put on the wire, once the changes are durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Transmission {
    pub(crate) local: LocalId,
    pub(crate) number: u64,
    pub(crate) command: Arc<Numbered>,
}

/// What an answer means for the session.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Go on.
    Continue,
    /// Nothing more can be learned in this session; the command stays in the queue.
    EndSession(Error),
}

/// What a refusal means for the command.
enum Meaning {
    /// It will never be accepted.
    Permanent,
    /// The pipeline broke before it.
    GoBack,
    /// Later.
    Later,
    /// The session is over.
    Session,
}

fn meaning(code: Code) -> Meaning {
    match code {
        Code::InvalidArgument
        | Code::LimitExceeded
        | Code::NotAllowed
        | Code::NotFound
        | Code::Conflict
        | Code::AlreadyAccepted
        | Code::Recalled
        | Code::Corrupt
        | Code::Unusable => Meaning::Permanent,
        Code::OutOfOrder => Meaning::GoBack,
        Code::Busy | Code::ReadOnly => Meaning::Later,
        Code::Replaced
        | Code::Unauthenticated
        | Code::TokenExpired
        | Code::OutcomeUnknown
        | Code::Unreachable
        | Code::Protocol
        | Code::Poisoned
        | Code::Io => Meaning::Session,
    }
}

impl Outgoing {
    /// A queue that starts with what the store kept.
    pub(crate) fn new(kept: Vec<Queued>, next_local: LocalId, entries_max: usize, bytes_max: usize) -> Self {
        let mut queue = Self {
            entries: VecDeque::new(),
            next_local,
            bytes: 0,
            entries_max,
            bytes_max,
            acknowledged: VecDeque::new(),
            quoted_max: LocalId(0),
            session: None,
            held_up: None,
            changes: Vec::new(),
            finished: Vec::new(),
        };
        queue.adopt(kept);
        queue
    }

    /// Takes in what a store kept.
    pub(crate) fn adopt(&mut self, kept: Vec<Queued>) {
        for queued in kept {
            self.bytes += queued.command.weight_bytes();
            self.next_local = self.next_local.max(LocalId(queued.local.0 + 1));
            self.quoted_max = self.quoted_max.max(queued.command.quoted().unwrap_or_default());
            self.entries.push_back(Entry { queued, in_flight: false });
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Why the server takes nothing for now: the last refusal that says *later*, until something is accepted.
    pub(crate) fn held_up(&self) -> Option<&Error> {
        self.held_up.as_ref()
    }

    /// Everything queued, in order.
    pub(crate) fn queued(&self) -> impl Iterator<Item = &Queued> {
        self.entries.iter().map(|entry| &entry.queued)
    }

    /// Puts a command at the end.
    pub(crate) fn enqueue(&mut self, mut command: Numbered) -> Result<LocalId, Error> {
        if let Some(quoted) = command.quoted()
            && !self.entries.iter().any(|entry| entry.queued.local == quoted)
        {
            let seq = self.acknowledged.iter().rev().find(|(local, _)| *local == quoted).map(|(_, seq)| *seq);
            let Some(seq) = seq else {
                let message =
                    format!("local message {} is neither waiting nor just acknowledged; quote a seq", quoted.0);
                return Err(Error::new(Code::InvalidArgument, message));
            };
            command.resolve_quote(seq);
        }
        if self.entries.len() >= self.entries_max {
            let held = format!("{} commands wait to be sent", self.entries.len());
            return Err(Error::limit("outgoing_entries_max", self.entries_max as u64, held));
        }
        let bytes = self.bytes + command.weight_bytes();
        if bytes > self.bytes_max {
            let held = format!("commands that wait to be sent would take {bytes} bytes");
            return Err(Error::limit("outgoing_bytes_max", self.bytes_max as u64, held));
        }
        self.bytes = bytes;
        let local = self.next_local;
        self.next_local = LocalId(local.0 + 1);
        self.quoted_max = self.quoted_max.max(command.quoted().unwrap_or_default());
        let queued = Queued { local, number: None, command: Arc::new(command) };
        self.changes.push(QueueChange::Add(queued.clone()));
        self.entries.push_back(Entry { queued, in_flight: false });
        Ok(local)
    }

    /// Takes out a command that was never numbered, or that the server has refused for now; says whether it did.
    pub(crate) fn withdraw(&mut self, local: LocalId) -> bool {
        // In a session, what is numbered, not under way and above `last` was answered: it was put off.
        let last = self.session.as_ref().map(|session| session.last);
        let is_free = |entry: &Entry| match entry.queued.number {
            None => true,
            Some(number) => !entry.in_flight && last.is_some_and(|last| number > last),
        };
        let found = self.entries.iter().position(|entry| entry.queued.local == local && is_free(entry));
        let Some(index) = found else { return false };
        let error = Error::new(Code::NotFound, "it was withdrawn before it was sent");
        self.finish(index, Err(error));
        true
    }

    /// A session began: `last` is the device's last accepted number, and `adopted` is queued besides what was known.
    pub(crate) fn connected(&mut self, last: u64, adopted: Vec<Queued>) {
        self.adopt(adopted);
        self.free_numbers_above(last);
        // Repeats first, by number: nothing new may be accepted before them, and their answers resolve quotes.
        let order = |entry: &Entry| (entry.queued.number.unwrap_or(u64::MAX), entry.queued.local);
        self.entries.make_contiguous().sort_by_key(order);
        self.session = Some(Window { last, next: last + 1, in_flight: 0, rewinding: false, resume_at: None });
    }

    /// The session ended; what was under way stays in the queue.
    pub(crate) fn disconnected(&mut self) {
        self.session = None;
        self.held_up = None;
        for entry in &mut self.entries {
            entry.in_flight = false;
        }
    }

    /// When to ask [`transmit`](Self::transmit) again although nothing happened.
    pub(crate) fn resume_at(&self) -> Option<Instant> {
        self.session.as_ref().filter(|session| session.in_flight == 0).and_then(|session| session.resume_at)
    }

    /// What goes out now: at most `room` commands of about `bytes_max` bytes in all, and one at least. They count as
    /// under way from here on.
    pub(crate) fn transmit(&mut self, now: Instant, room: usize, bytes_max: usize) -> Vec<Transmission> {
        let mut out = Vec::new();
        let Some(session) = &mut self.session else { return out };
        if session.rewinding {
            if session.in_flight > 0 || session.resume_at.is_some_and(|at| now < at) {
                return out;
            }
            let last = session.last;
            self.free_numbers_above(last);
        }
        let Some(session) = &mut self.session else { return out };
        if session.rewinding {
            session.rewinding = false;
            session.resume_at = None;
            session.next = session.last + 1;
        }
        let mut bytes = 0;
        for entry in &mut self.entries {
            if out.len() >= room || bytes >= bytes_max {
                break;
            }
            if entry.in_flight {
                continue;
            }
            // Nothing overtakes a message whose quote is not resolved: order is part of what was said.
            if entry.queued.command.quoted().is_some() {
                break;
            }
            let local = entry.queued.local;
            let number = entry.queued.number.unwrap_or_else(|| {
                let number = session.next;
                session.next += 1;
                self.changes.push(QueueChange::Number { local, number: Some(number) });
                number
            });
            entry.queued.number = Some(number);
            entry.in_flight = true;
            session.in_flight += 1;
            bytes += entry.queued.command.weight_bytes();
            out.push(Transmission { local, number, command: entry.queued.command.clone() });
        }
        out
    }

    /// The server answered a transmission of this session.
    pub(crate) fn answered(&mut self, local: LocalId, answer: Result<Receipt, Error>, now: Instant) -> Verdict {
        let Some(session) = &mut self.session else { return Verdict::Continue };
        let Some(index) = self.entries.iter().position(|entry| entry.queued.local == local && entry.in_flight) else {
            return Verdict::Continue;
        };
        session.in_flight -= 1;
        let entry = &mut self.entries[index];
        entry.in_flight = false;
        let number = entry.queued.number.unwrap_or(0);
        let error = match answer {
            Ok(receipt) => {
                session.last = session.last.max(number);
                self.held_up = None;
                self.finish(index, Ok(receipt));
                return Verdict::Continue;
            }
            Err(error) => error,
        };
        match meaning(error.code) {
            Meaning::Permanent => {
                // A repeat that is refused leaves a gap nowhere; anything else makes what is behind it come back.
                session.rewinding |= number > session.last;
                self.finish(index, Err(error));
                Verdict::Continue
            }
            // Nothing stands before it, so the server counts otherwise than it said: ask it again.
            Meaning::GoBack if number <= session.last + 1 => {
                Verdict::EndSession(Error::new(Code::Protocol, error.message))
            }
            Meaning::GoBack => {
                session.rewinding = true;
                Verdict::Continue
            }
            Meaning::Later => {
                session.rewinding = true;
                session.resume_at = Some(now + RETRY_AFTER);
                self.held_up = Some(error);
                Verdict::Continue
            }
            Meaning::Session => Verdict::EndSession(error),
        }
    }

    /// Changes for the store, to be made durable before anything transmitted or finished meanwhile is acted upon.
    pub(crate) fn take_changes(&mut self) -> Vec<QueueChange> {
        std::mem::take(&mut self.changes)
    }

    /// Commands that left the queue, and how.
    pub(crate) fn take_finished(&mut self) -> Vec<(LocalId, Result<Receipt, Error>)> {
        std::mem::take(&mut self.finished)
    }

    /// What is above `last` was not accepted, or the server would know: the numbers go to whatever comes first.
    fn free_numbers_above(&mut self, last: u64) {
        for Entry { queued, .. } in &mut self.entries {
            if queued.number.is_some_and(|number| number > last) {
                queued.number = None;
                self.changes.push(QueueChange::Number { local: queued.local, number: None });
            }
        }
    }

    /// Takes a command out, and with a refused message those that quote it, and those that quote them.
    fn finish(&mut self, index: usize, result: Result<Receipt, Error>) {
        let Some(entry) = self.entries.remove(index) else { return };
        let local = entry.queued.local;
        let outcome = result.as_ref().map(|receipt| receipt.seq).map_err(quoted_failed);
        self.leave(entry, result);
        let error = match outcome {
            Ok(seq) => return self.resolve_quotes(local, seq),
            Err(error) => error,
        };
        let mut refused = vec![local];
        while let Some(local) = refused.pop() {
            while let Some(index) = self.entries.iter().position(|entry| entry.queued.command.quoted() == Some(local)) {
                let Some(entry) = self.entries.remove(index) else { break };
                refused.push(entry.queued.local);
                self.leave(entry, Err(error.clone()));
            }
        }
    }

    fn leave(&mut self, entry: Entry, result: Result<Receipt, Error>) {
        self.bytes -= entry.queued.command.weight_bytes();
        self.changes.push(QueueChange::Remove(entry.queued.local));
        self.finished.push((entry.queued.local, result));
    }

    /// A message was accepted with this seq: whatever quotes it may go out, and will after a restart, too.
    fn resolve_quotes(&mut self, quoted: LocalId, seq: u64) {
        if quoted <= self.quoted_max {
            for Entry { queued, .. } in &mut self.entries {
                if queued.command.quoted() == Some(quoted) {
                    Arc::make_mut(&mut queued.command).resolve_quote(seq);
                    self.changes.push(QueueChange::Quote { local: queued.local, seq });
                }
            }
        }
        if self.acknowledged.len() >= ACKNOWLEDGED_KEPT {
            self.acknowledged.pop_front();
        }
        self.acknowledged.push_back((quoted, seq));
    }
}

/// What became of a message whose quoted one was not accepted now.
fn quoted_failed(error: &Error) -> Error {
    match error.code {
        // The quoted one stands in the conversation, but nobody knows where; this one certainly does not.
        Code::AlreadyAccepted => {
            Error::new(Code::NotFound, "the seq of the message that it quotes is not known any more")
        }
        code => Error::new(code, format!("the message that it quotes was refused: {}", error.message)),
    }
}

#[cfg(test)]
mod tests;
