//! The applier: one thread that makes durable records visible, answers the commands, and wakes those concerned.

use super::group::{Group, Reply};
use super::persist;
use super::shared::Shared;
use crate::command::Outcome;
use crate::state::Touched;
use crate::timeline;
use highwater_proto::error::Error;
use highwater_proto::id::Position;
use std::sync::mpsc::Receiver;
use std::time::Instant;

/// Runs until the writer has ended.
pub(super) fn run(shared: &Shared, groups: &Receiver<Group>) {
    let mut last_persist = Instant::now();
    while let Ok(group) = groups.recv() {
        if let Some(error) = shared.failure() {
            group.abandon(shared, &error);
            continue;
        }
        match apply(shared, &group) {
            Ok(touched) => {
                let changed = shared.state.read().applied;
                shared.set_visible(changed);
                answer(shared, group);
                // After the answers: who has one may have given the next command already.
                shared.tell_applied();
                shared.subscriptions.wake(&shared.state, &touched);
            }
            Err(error) => {
                shared.poison(&error);
                group.abandon(shared, &error);
            }
        }
        if persist::is_due(shared, last_persist) {
            persist::start(shared);
            last_persist = Instant::now();
        }
    }
}

fn apply(shared: &Shared, group: &Group) -> Result<Touched, Error> {
    let mut touched = Touched::default();
    if group.records.is_empty() {
        return Ok(touched);
    }
    shared.log.keep(&group.records);
    let mut state = shared.state.write();
    for record in &group.records {
        state.apply(record, &mut touched)?;
    }
    Ok(touched)
}

fn answer(shared: &Shared, group: Group) {
    // Before anybody is told: whoever is may give the next command.
    shared.release(group.queue_bytes);
    for (completion, reply) in group.answers {
        if let Reply::Ready(Ok(Outcome::Session(session))) = &reply {
            shared.note_seen(session.device, Position::ZERO);
        }
        completion(match reply {
            Reply::Ready(result) => result,
            Reply::Changed(index) => {
                let entry = timeline::entry(&shared.state.read(), &group.records[index]);
                Ok(Outcome::Changed(Box::new(entry)))
            }
        });
    }
}
