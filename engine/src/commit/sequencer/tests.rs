//! The sequencer without the other threads, so that what happens in between is up to the test.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::command::{Caller, Create};
use crate::commit::Channels;
use crate::log::sim::SimDisk;
use crate::log::{self, LogOptions};
use crate::options::Options;
use crate::state::Touched;
use crate::store::Store;
use highwater_proto::id::{Incarnation, UserId};
use highwater_proto::limits::Limits;
use highwater_proto::record::Kind;
use std::collections::HashMap;
use std::sync::mpsc::channel;
use std::time::Duration;

/// Longer than anything here takes.
const TIMEOUT: Duration = Duration::from_secs(60);

struct Bench {
    _directory: tempfile::TempDir,
    shared: Arc<Shared>,
    sequencer: Sequencer,
}

impl Bench {
    fn new(limits: Limits) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("index")).unwrap();
        let log_options = LogOptions { segment_bytes_max: 1 << 20, tail_bytes_max: 0 };
        let opened = log::open(Arc::new(SimDisk::new()), log_options, Position::ZERO).unwrap();
        let (input, writer, persister, receivers) = Channels::new().split();
        let options = Options { limits, create_named_users: true, ..Options::default() };
        let state = State::new(Incarnation::default());
        let (soft, reader, space) = (HashMap::new(), opened.reader, opened.space);
        let shared = Arc::new(Shared::new(options, state, soft, store, reader, space, input, writer, persister));
        let (jobs, _) = channel();
        let sequencer = Sequencer::new(shared.clone(), receivers.input, shared.writer.clone(), jobs);
        Self { _directory: directory, shared, sequencer }
    }

    fn submit(&self, command: Command) -> Result<(), Error> {
        self.shared.submit(command, Box::new(|_| {}))
    }

    fn build(&mut self) -> Option<Group> {
        assert!(self.sequencer.take_input());
        self.sequencer.build_group()
    }

    /// What writer and applier do with a group.
    fn apply(&self, group: &Group) {
        let mut touched = Touched::default();
        for record in &group.records {
            self.shared.state.write().apply(record, &mut touched).unwrap();
        }
        self.shared.set_visible(self.shared.state.read().applied);
        self.shared.tell_applied();
    }
}

fn create() -> Command {
    Command::Create(Create {
        caller: Caller::Service,
        kind: Kind::Group,
        conversation: Some("g".into()),
        owner: None,
        members: vec!["ann".into()],
        open: false,
        history: false,
    })
}

fn add(user: &str) -> Command {
    Command::Add { caller: Caller::Service, conversation: "g".into(), members: vec![user.into()] }
}

#[test]
fn what_is_applied_between_looking_and_waiting_is_not_missed() {
    let mut bench = Bench::new(Limits::default());
    bench.submit(create()).unwrap();
    bench.submit(add("bob")).unwrap();
    let created = bench.build().unwrap();
    assert!(bench.sequencer.build_group().is_none(), "the add waits for the create");
    bench.apply(&created);
    let (done, ended) = channel();
    std::thread::spawn(move || done.send(bench.build().map(|group| group.answers.len())));
    assert_eq!(ended.recv_timeout(TIMEOUT), Ok(Some(1)), "it waits although there is something to do");
}

#[test]
fn commands_take_room_in_the_queue_until_they_are_answered() {
    let mut bench = Bench::new(Limits { queue_bytes_max: 1_000, ..Limits::default() });
    for user in ["ann", "bob", "cy"] {
        bench.submit(Command::CreateUser { user: user.into() }).unwrap();
    }
    let group = bench.build().unwrap();
    assert_eq!(group.answers.len(), 3);
    assert_eq!(bench.submit(add("dan")).unwrap_err().code, Code::Busy, "they are under way");
    group.abandon(&bench.shared, &Error::new(Code::OutcomeUnknown, "test"));
    bench.submit(add("dan")).unwrap();
}

/// It was accepted while a higher one was on its way.
#[test]
fn a_read_mark_that_is_no_advance_reaches_no_device() {
    let mut bench = Bench::new(Limits::default());
    bench.submit(create()).unwrap();
    let created = bench.build().unwrap();
    bench.apply(&created);
    bench.submit(Command::Read { user: "ann".into(), conversation: "g".into(), through: Seq(1) }).unwrap();
    let mut read = bench.build().unwrap();
    bench.apply(&read);
    let inbox = |bench: &Bench| {
        let state = bench.shared.state.read();
        state.head.inbox(UserId(1), Position::ZERO, state.applied).collect::<Vec<_>>()
    };
    let before = inbox(&bench);
    assert_eq!(before.last(), Some(&read.records[0].position));
    read.records[0].position = read.records[0].position.next();
    bench.apply(&read);
    assert_eq!(inbox(&bench), before);
}
