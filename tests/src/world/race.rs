//! Many threads at once: whatever order the engine gives their commands, the model must agree with it.
//!
//! Commands in flight wait for each other's barriers, share groups and overtake one another. What each of them did is
//! known by its position afterwards: given to the model in that order, every accepted command must be accepted there,
//! at the same position and with the same answer.

use super::{Check, World};
use crate::model::{Ask, Done, Name, Session};
use highwater_engine::proto::error::Error;
use highwater_engine::{Command, Engine, Outcome};
use proptest::prelude::*;
use std::sync::mpsc::channel;

/// Commands of a thread that are in flight at a time.
const IN_FLIGHT: usize = 8;

/// What a command gave.
type Answered = (Ask, Result<Outcome, Error>);

impl World {
    /// A session of a device, opened now.
    pub fn open_session(&mut self, user: &Name, device: &Name, by_service: bool) -> Check<Session> {
        let session = self.session(user, device, by_service)?;
        session.ok_or_else(|| TestCaseError::fail(format!("no session for {user}'s {device}")))
    }

    /// Runs each script on a thread of its own. A script numbers with one session, from the next number on; the numbers
    /// in it are not looked at.
    pub fn race(&mut self, scripts: Vec<Vec<Ask>>) -> Check {
        let world: &World = self;
        let answered: Vec<Answered> = std::thread::scope(|scope| {
            let threads: Vec<_> = scripts.into_iter().map(|script| scope.spawn(move || world.run(script))).collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("it does not panic")).collect()
        });
        let mut accepted: Vec<(u64, Answered)> = Vec::new();
        for (ask, answer) in answered {
            self.coverage.count("raced commands");
            let position = match &answer {
                Ok(Outcome::Receipt(receipt)) => receipt.position.0,
                Ok(Outcome::Changed(entry)) => entry.position.0,
                _ => continue,
            };
            accepted.push((position, (ask, answer)));
        }
        accepted.sort_by_key(|(position, _)| *position);
        self.coverage.add("raced records", accepted.len() as u64);
        for (position, (ask, answer)) in accepted {
            let mut expected = self.model.expect(&ask);
            if let (Ask::Read { user, conversation, through }, Ok(Done::Unchanged(_))) = (&ask, &expected) {
                // Read marks wait for nothing: one that another in flight made needless is a record nevertheless.
                expected = Ok(self.model.needless_read(user, conversation, *through));
            }
            prop_assert!(expected.is_ok(), "at position {} the model answers {:?} to {:?}", position, expected, ask);
            self.compare(&ask, &expected, answer, Default::default())?;
        }
        prop_assert_eq!(self.engine().visible().0, self.model.visible(), "visible after the race");
        self.check_everything()
    }

    fn run(&self, script: Vec<Ask>) -> Vec<Answered> {
        let mut answered = Vec::new();
        let mut next = 1;
        for batch in script.chunks(IN_FLIGHT) {
            let mut number = next;
            let asks: Vec<Ask> = batch.iter().map(|ask| numbered(ask, &mut number)).collect();
            let commands = asks.iter().map(|ask| self.command(ask).0).collect();
            let answers = submit_all(self.engine(), commands);
            // What follows a refused number is refused as well: the client goes back.
            next += answers.iter().filter(|answer| matches!(answer, Ok(Outcome::Receipt(_)))).count() as u64;
            answered.extend(asks.into_iter().zip(answers));
        }
        answered
    }
}

fn numbered(ask: &Ask, next: &mut u64) -> Ask {
    let mut ask = ask.clone();
    let number = match &mut ask {
        Ask::Send(send) => &mut send.client_seq,
        Ask::Edit { client_seq, .. } | Ask::Recall { client_seq, .. } => client_seq,
        _ => return ask,
    };
    *number = *next;
    *next += 1;
    ask
}

/// The answers, in the order of the commands.
fn submit_all(engine: &Engine, commands: Vec<Command>) -> Vec<Result<Outcome, Error>> {
    let answers: Vec<_> = commands
        .into_iter()
        .map(|command| {
            let (told, answer) = channel();
            // Whoever submitted waits for it.
            let completion = Box::new(move |outcome| drop(told.send(outcome)));
            engine.submit(command, completion).map(|()| answer)
        })
        .collect();
    answers
        .into_iter()
        .map(|answer| answer.and_then(|answer| answer.recv().expect("every command is answered")))
        .collect()
}
