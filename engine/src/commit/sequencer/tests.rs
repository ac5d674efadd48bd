//! The sequencer without the other threads, so that what happens in between is up to the test.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::command::{Caller, Command, Create, Destination, OpenSession, Outcome, Send, SendSession};
use crate::commit::Channels;
use crate::commit::committer::WriterInput;
use crate::log::sim::SimDisk;
use crate::log::{self, LogOptions};
use crate::options::{Durability, Options};
use crate::state::Touched;
use crate::store::Store;
use highwater_proto::id::{Incarnation, Seq, UserId};
use highwater_proto::limits::Limits;
use highwater_proto::record::Kind;
use std::collections::HashMap;
use std::sync::mpsc::{channel, sync_channel};
use std::thread;
use std::time::Duration;

/// Longer than anything here takes.
const TIMEOUT: Duration = Duration::from_secs(60);

struct Bench {
    _directory: tempfile::TempDir,
    disk: Arc<SimDisk>,
    shared: Arc<Shared>,
    sequencer: Sequencer,
    /// What the writer would get.
    writer: Receiver<WriterInput>,
}

impl Bench {
    fn new(limits: Limits) -> Self {
        Self::with(Options { limits, ..Options::default() })
    }

    fn with(options: Options) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("index")).unwrap();
        let log_options = LogOptions { segment_bytes_max: 1 << 20, tail_bytes_max: 0 };
        let disk = Arc::new(SimDisk::new());
        let opened = log::open(disk.clone(), log_options, Position::ZERO).unwrap();
        let (input, writer, persister, receivers) = Channels::new().split();
        let options = Options { create_named_users: true, ..options };
        let state = State::new(Incarnation::default());
        let (soft, log, space) = (HashMap::new(), (opened.reader, opened.writer), opened.space);
        let shared = Arc::new(Shared::new(options, state, soft, store, log, space, input, writer, persister));
        let (jobs, _) = channel();
        let sequencer = Sequencer::new(shared.clone(), receivers.input, jobs);
        Self { _directory: directory, disk, shared, sequencer, writer: receivers.writer }
    }

    fn submit(&self, command: Command) -> Result<(), Error> {
        self.shared.submit(command, Box::new(|_| {}))
    }

    fn build(&mut self) -> Option<Group> {
        assert!(self.sequencer.take_input());
        self.sequencer.build_group()
    }

    /// What committing does with a group.
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

/// A burst into a large group fills the groups of records one by one; what delivers to few does not wait for all of it.
#[test]
fn what_delivers_to_few_passes_what_has_no_room() {
    let mut bench = Bench::with(Options { group_entries_max: 6, ..Options::default() });
    let group = |name: &str, members: &[&str]| {
        Command::Create(Create {
            caller: Caller::Service,
            kind: Kind::Group,
            conversation: Some(name.into()),
            owner: None,
            members: members.iter().map(|member| Arc::from(*member)).collect(),
            open: false,
            history: false,
        })
    };
    let open = |user: &str| {
        let (user, device) = (user.into(), "phone".into());
        Command::OpenSession(OpenSession { user, device, by_service: false, on_replaced: Box::new(|| {}) })
    };
    let mut sessions = Vec::new();
    for command in [group("many", &["ann", "bob", "cy"]), group("few", &["dan"]), open("ann"), open("dan")] {
        bench.submit(command).unwrap();
        let group = bench.build().unwrap();
        bench.apply(&group);
        sessions.extend(group.answers.into_iter().filter_map(|(_, reply)| match reply {
            Reply::Ready(Ok(Outcome::Session(session))) => Some(session),
            _ => None,
        }));
    }
    let send = |session: SendSession, client_seq: u64, name: &str| {
        let destination = Destination::Conversation(name.into());
        let (body, quote, mentions, sent_at_ms) = (name.to_owned().into(), None, Vec::new(), None);
        Command::Send(Send { session, client_seq, destination, body, quote, mentions, sent_at_ms })
    };
    // A message to the many makes four entries, one to the few makes two.
    for number in 1..=3 {
        bench.submit(send(sessions[0], number, "many")).unwrap();
    }
    bench.submit(send(sessions[1], 1, "few")).unwrap();
    let mut numbers: Vec<Vec<(UserId, u64)>> = Vec::new();
    while numbers.iter().map(Vec::len).sum::<usize>() < 4 {
        let group = bench.build().unwrap();
        numbers.push(group.records.iter().map(|record| (record.author, record.client_seq)).collect());
        bench.apply(&group);
    }
    let (ann, dan) = (sessions[0].user, sessions[1].user);
    assert_eq!(numbers, [vec![(ann, 1), (dan, 1)], vec![(ann, 2)], vec![(ann, 3)]], "each in its sender's order");
}

/// So many commands with answers that say which thread gave them.
fn answered_by(bench: &mut Bench, users: usize) -> (Group, Receiver<thread::ThreadId>) {
    let (done, answers) = channel();
    for number in 0..users {
        let done = done.clone();
        let completion = Box::new(move |_| done.send(thread::current().id()).unwrap());
        bench.shared.submit(Command::CreateUser { user: format!("user-{number}").into() }, completion).unwrap();
    }
    (bench.build().unwrap(), answers)
}

#[test]
fn few_commands_are_committed_on_the_spot_and_many_are_handed_over() {
    let mut bench = Bench::new(Limits::default());
    let (few, answers) = answered_by(&mut bench, 3);
    assert!(bench.sequencer.commit(few));
    assert_eq!(answers.try_iter().collect::<Vec<_>>(), [thread::current().id(); 3]);
    assert_eq!(bench.shared.visible(), Position(3));
    let (many, answers) = answered_by(&mut bench, 2 * OVERLAP_COMMANDS_MIN);
    assert_eq!(many.answers.len(), OVERLAP_COMMANDS_MIN);
    let Bench { writer, mut sequencer, shared, .. } = bench;
    let handed_over = thread::spawn(move || (sequencer.commit(many), sequencer));
    let Ok(WriterInput::Group(group)) = writer.recv_timeout(TIMEOUT) else { panic!("no group is handed over") };
    let (is_handed_over, sequencer) = handed_over.join().unwrap();
    assert!(is_handed_over && shared.is_committing());
    assert_eq!((group.answers.len(), answers.try_iter().count()), (OVERLAP_COMMANDS_MIN, 0));
    drop(sequencer);
    assert_eq!(answers.try_iter().count(), OVERLAP_COMMANDS_MIN, "the others are refused at the end");
}

/// The order of answers is that of commands: what stands behind a group that others commit goes the same way.
#[test]
fn nothing_is_committed_on_the_spot_while_others_commit() {
    let mut bench = Bench::new(Limits::default());
    let (first, answers) = answered_by(&mut bench, 1);
    let Bench { writer, mut sequencer, shared, .. } = bench;
    let before = shared.clone();
    thread::scope(|scope| {
        scope.spawn(move || before.hand_over(first).map_err(drop));
        let Ok(WriterInput::Group(first)) = writer.recv_timeout(TIMEOUT) else { panic!("no group is handed over") };
        shared.submit(Command::CreateUser { user: "behind".into() }, Box::new(|_| {})).unwrap();
        assert!(sequencer.take_input());
        let behind = sequencer.build_group().unwrap();
        scope.spawn(move || sequencer.commit(behind));
        let Ok(WriterInput::Group(_)) = writer.recv_timeout(TIMEOUT) else { panic!("it is not handed over") };
        assert_eq!((first.answers.len(), answers.try_iter().count()), (1, 0));
    });
}

/// In the mode `crash` somebody has to sync in time; the writer is told when the clock starts, and once only.
#[test]
fn what_waits_for_a_sync_starts_the_clock() {
    let durability = Durability::Crash { sync_interval: Duration::from_secs(600) };
    let mut bench = Bench::with(Options { durability, ..Options::default() });
    let (first, _answers) = answered_by(&mut bench, 1);
    let Bench { writer, mut sequencer, shared, .. } = bench;
    assert_eq!(shared.durable.sync_is_due_in(), None);
    let mut sequencer = thread::scope(|scope| {
        let committed = scope.spawn(move || {
            sequencer.commit(first);
            sequencer
        });
        assert!(matches!(writer.recv_timeout(TIMEOUT), Ok(WriterInput::ClockStarts)));
        committed.join().unwrap()
    });
    assert!(shared.durable.sync_is_due_in().is_some());
    shared.submit(Command::CreateUser { user: "second".into() }, Box::new(|_| {})).unwrap();
    assert!(sequencer.take_input());
    let second = sequencer.build_group().unwrap();
    // If somebody were told, this would wait until the receiver is dropped, and say nothing then.
    let committing = thread::spawn(move || sequencer.commit(second));
    assert!(writer.recv_timeout(Duration::from_millis(20)).is_err(), "the clock runs already");
    assert!(committing.join().unwrap());
    shared.durable.sync().unwrap();
    assert_eq!(shared.durable.sync_is_due_in(), None);
}

/// The writer never comes to rest, and syncs in time all the same.
#[test]
fn a_sync_that_is_due_comes_before_the_next_group() {
    let durability = Durability::Crash { sync_interval: Duration::ZERO };
    let mut bench = Bench::with(Options { durability, ..Options::default() });
    let (inputs, input) = sync_channel(3);
    for number in 0..2 {
        let command = Command::CreateUser { user: format!("user-{number}").into() };
        bench.submit(command).unwrap();
        inputs.send(WriterInput::Group(bench.build().unwrap())).unwrap();
    }
    inputs.send(WriterInput::End).unwrap();
    let (applier, groups) = channel();
    committer::write(&bench.shared, &input, &applier);
    assert_eq!(groups.try_iter().map(|group| group.answers.len()).sum::<usize>(), 2);
    assert_eq!(bench.shared.durable.sync_is_due_in(), None, "something is still to be synced");
}

/// Otherwise the index would be written ahead of a log that has lost what it says.
#[test]
fn after_a_sync_that_failed_none_succeeds() {
    let durability = Durability::Crash { sync_interval: Duration::from_secs(600) };
    let mut bench = Bench::with(Options { durability, ..Options::default() });
    bench.submit(create()).unwrap();
    let group = bench.build().unwrap();
    bench.shared.durable.append(&group.frame).unwrap();
    bench.disk.fail_next_sync();
    assert!(bench.shared.durable.sync().is_err());
    assert!(bench.shared.durable.sync().is_err(), "what failed counts as done");
    assert!(bench.shared.durable.settle().is_err() && bench.shared.durable.sync().is_err());
}
