//! The loader: one thread that reads from the disk what a verdict needs, so that the sequencer never does.

use super::rules::Target;
use super::sequencer::Input;
use super::shared::Shared;
use crate::command::{Command, Completion, Destination, Outcome, Receipt};
use crate::reach::Reach;
use crate::timeline::{self, View};
use highwater_proto::error::{Code, Error};
use highwater_proto::id::{ConversationId, Position, Seq, direct_name};
use highwater_proto::limits::REPEAT_WALK_MAX;
use highwater_proto::record::{Fact, Record};
use std::sync::Arc;
use std::sync::mpsc::Receiver;

/// What is to be read.
pub(super) enum Job {
    /// The record that an edit, recall or read mark is about.
    Target { ticket: u64, conversation: ConversationId, seq: Seq },
    /// The record that a repeated number was used for; `last` is the device's last numbered record.
    Repeat { command: Command, completion: Completion, bytes: usize, last: Position },
}

/// Runs until the sequencer has ended.
pub(super) fn run(shared: &Shared, jobs: &Receiver<Job>) {
    while let Ok(job) = jobs.recv() {
        match job {
            Job::Target { ticket, conversation, seq } => {
                let target = load_target(shared, conversation, seq);
                shared.tell(Input::Loaded { ticket, target });
            }
            Job::Repeat { command, completion, bytes, last } => {
                let answer = answer_repeat(shared, &command, last);
                shared.release(bytes);
                completion(answer);
            }
        }
    }
}

fn load_target(shared: &Shared, conversation: ConversationId, seq: Seq) -> Result<Option<Target>, Error> {
    let view =
        View { state: &shared.state, store: &shared.store, log: &shared.log, pulls: &shared.pulls, reach: Reach::Disk };
    let Some(position) = timeline::position_of(&view, conversation, seq)? else { return Ok(None) };
    let record = shared.log.read(position)?;
    Ok(Some(Target {
        seq,
        position,
        ordinal: record.ordinal,
        author: record.author,
        is_message: record.fact.is_countable(),
    }))
}

/// Walks the device's numbered records back to the repeated number, and compares.
fn answer_repeat(shared: &Shared, command: &Command, last: Position) -> Result<Outcome, Error> {
    let Some(client_seq) = command.client_seq() else {
        return Err(Error::new(Code::InvalidArgument, "the command is not numbered"));
    };
    let mut position = last;
    while !position.is_zero() {
        let record = shared.log.read(position)?;
        // Numbers have no holes: how far it is, the first record says already.
        match record.client_seq.checked_sub(client_seq) {
            Some(0) => return compare(shared, command, &record),
            Some(back) if back <= REPEAT_WALK_MAX => position = record.previous,
            _ => break,
        }
    }
    let message = format!("client_seq {client_seq} was accepted more than {REPEAT_WALK_MAX} numbers ago");
    Err(Error::new(Code::AlreadyAccepted, message))
}

fn compare(shared: &Shared, command: &Command, record: &Record) -> Result<Outcome, Error> {
    let state = shared.state.read();
    let name = |id: ConversationId| state.conversation(id).map(|conversation| conversation.name.clone());
    let conversation = name(record.conversation).unwrap_or_else(|| Arc::from(""));
    let is_same = match (command, &record.fact) {
        (Command::Send(send), Fact::Message(message)) => {
            let same_place = match &send.destination {
                Destination::Conversation(name) => *name == conversation,
                Destination::User(other) => direct_name(&state.user_name(send.session.user), other) == *conversation,
            };
            same_place && send.quote == message.quote && send.body == message.body
        }
        (Command::Edit { conversation: name, target, body, .. }, Fact::Edit { target: was, body: stored, .. }) => {
            *name == conversation && target == was && body == stored
        }
        (Command::Recall { conversation: name, target, .. }, Fact::Recall { target: was, .. }) => {
            *name == conversation && target == was
        }
        _ => false,
    };
    if !is_same {
        let message = format!("client_seq {} was used for something else", record.client_seq);
        return Err(Error::new(Code::Conflict, message));
    }
    Ok(Outcome::Receipt(Receipt {
        conversation,
        seq: record.seq,
        position: record.position,
        time_ms: record.time_ms,
        client_seq: record.client_seq,
        repeated: true,
    }))
}
