//! Committing a group: durable, then visible, then answered.
//!
//! Where many commands wait, two threads of their own do it, the writer and the applier, and the sequencer makes the next
//! group meanwhile. Where few do, the sequencer commits by itself: it would wait for these answers before the next group
//! anyway, and handing a group on and being woken again would cost more than the work.

use super::durable::Appended;
use super::group::{Group, Reply};
use super::persist;
use super::shared::Shared;
use crate::command::Outcome;
use crate::state::{About, SIDE_BY_SIDE, Touched};
use crate::timeline;
use highwater_proto::error::Error;
use highwater_proto::id::Position;
use highwater_proto::record::Record;
use std::mem;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

/// What the writer is told.
pub(crate) enum WriterInput {
    /// Make this durable.
    Group(Group),
    /// Something was appended that waits for a sync: look at the clock.
    ClockStarts,
    /// End.
    End,
}

/// How long the writer waits, where nothing is appended, before it looks at the log's fence, and at a failed disk, again.
const QUIET: Duration = Duration::from_secs(1);

/// The writer's thread: makes groups durable until told to end, and syncs and settles the log when that is due.
pub(super) fn write(shared: &Shared, input: &Receiver<WriterInput>, applier: &Sender<Group>) {
    // The sequencer may be committing without being seen here.
    let mut seen = shared.visible();
    loop {
        let has_failed = shared.failure().is_some();
        let sync_is_due_in = shared.durable.sync_is_due_in().filter(|_| !has_failed);
        let received = match sync_is_due_in {
            // However much comes in.
            Some(Duration::ZERO) => Err(RecvTimeoutError::Timeout),
            due_in => input.recv_timeout(due_in.unwrap_or(QUIET)),
        };
        match received {
            Ok(WriterInput::Group(group)) => match append(shared, &group) {
                // It is there as long as the writer is. Whether a sync waits is looked at above.
                Ok(_) => drop(applier.send(group)),
                Err(error) => {
                    fail(shared, group, &error);
                    shared.has_committed();
                }
            },
            Ok(WriterInput::ClockStarts) => {}
            Err(RecvTimeoutError::Timeout) if has_failed => {}
            Err(RecvTimeoutError::Timeout) if sync_is_due_in.is_some() => {
                shared.durable.sync().unwrap_or_else(|error| shared.poison(&error));
            }
            Err(RecvTimeoutError::Timeout) if shared.visible() > seen => seen = shared.visible(),
            Err(RecvTimeoutError::Timeout) => shared.durable.settle().unwrap_or_else(|error| shared.poison(&error)),
            Ok(WriterInput::End) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// The applier's thread: makes durable groups visible until the writer has ended.
pub(super) fn apply(shared: &Shared, groups: &Receiver<Group>) {
    while let Ok(group) = groups.recv() {
        make_visible(shared, group, || {});
        shared.has_committed();
    }
}

/// Does all of it on this thread; `before_answers` is called once the group is visible.
pub(super) fn commit(shared: &Shared, group: Group, before_answers: impl FnOnce()) {
    match append(shared, &group) {
        Ok(appended) => {
            if appended == Appended::ClockStarts {
                // At once: answering may take a while. The writer has gone only after a failure.
                let _told = shared.writer.send(WriterInput::ClockStarts);
            }
            make_visible(shared, group, before_answers);
        }
        Err(error) => fail(shared, group, &error),
    }
}

/// Makes a group visible, answers its commands, wakes those concerned, and begins a persist if one is due.
fn make_visible(shared: &Shared, mut group: Group, before_answers: impl FnOnce()) {
    let records = shared.log.keep(mem::take(&mut group.records));
    let applied = shared.failure().map_or_else(|| apply_records(shared, &records), Err);
    match applied {
        Ok(touched) => {
            before_answers();
            answer(shared, group, &records);
            // After the answers: who has one may have given the next command already.
            shared.tell_applied();
            shared.subscriptions.wake(&shared.state, &touched);
        }
        Err(error) => fail(shared, group, &error),
    }
    if persist::is_due(shared) {
        persist::start(shared);
    }
}

/// A failure poisons the engine, and nobody knows what has become of the group.
fn fail(shared: &Shared, group: Group, error: &Error) {
    shared.poison(error);
    group.abandon(shared, error);
}

/// Makes a group as durable as the mode says.
fn append(shared: &Shared, group: &Group) -> Result<Appended, Error> {
    match shared.failure() {
        Some(error) => Err(error),
        None if group.records.is_empty() => Ok(Appended::Settled),
        None => shared.durable.append(&group.frame),
    }
}

fn apply_records(shared: &Shared, records: &[Record]) -> Result<Touched, Error> {
    let mut touched = Touched::default();
    if records.is_empty() {
        return Ok(touched);
    }
    let mut state = shared.state.write();
    for records in records.chunks(SIDE_BY_SIDE) {
        let mut about = [About::default(); SIDE_BY_SIDE];
        for (about, record) in about.iter_mut().zip(records) {
            *about = About { user: record.author, device: record.device, conversation: record.conversation };
        }
        state.fetch_rows(&about);
        state.fetch_lists(&about);
        for record in records {
            state.apply(record, &mut touched)?;
        }
    }
    shared.set_visible(state.applied);
    Ok(touched)
}

fn answer(shared: &Shared, group: Group, records: &[Record]) {
    // Before anybody is told: whoever is may give the next command.
    shared.release(group.queue_bytes);
    for (completion, reply) in group.answers {
        if let Reply::Ready(Ok(Outcome::Session(session))) = &reply {
            shared.note_seen(session.device, Position::ZERO);
        }
        completion(match reply {
            Reply::Ready(result) => result,
            Reply::Changed(index) => {
                let entry = timeline::entry(&shared.state.read(), &records[index]);
                Ok(Outcome::Changed(Box::new(entry)))
            }
        });
    }
}
