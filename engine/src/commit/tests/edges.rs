//! What happens at the edges: closing while persists are due, limits to the last one, repeats from as far as it goes.

use super::*;
use crate::command::Completion;
use crate::commit::shared::closed;
use crate::options::Durability;
use highwater_proto::limits::{Limits, REPEAT_WALK_MAX};
use std::time::Duration;

/// Longer than anything here takes.
const TIMEOUT: Duration = Duration::from_secs(60);

fn create(kind: Kind, conversation: &str, members: &[&str]) -> Command {
    Command::Create(Create {
        caller: Caller::Service,
        kind,
        conversation: Some(conversation.into()),
        owner: None,
        members: members.iter().map(|member| Arc::from(*member)).collect(),
        open: kind == Kind::Channel,
        history: false,
    })
}

fn open_with(fixture: &Fixture, limits: Limits) -> Engine {
    Engine::open(fixture.directory.path(), Options { limits, ..fixture.options() }).unwrap()
}

fn limit_of(engine: &Engine, command: Command) -> Option<String> {
    engine.execute(command).unwrap_err().limit
}

/// In this mode a persist syncs the log itself, before or after it is closed.
#[test]
fn closing_loses_nothing_of_a_persist_that_is_due() {
    let fixture = Fixture::new();
    let durability = Durability::Crash { sync_interval: Duration::from_secs(600) };
    let options = Options { durability, persist_dirty_rows: 100, ..fixture.options() };
    let engine = Engine::open(fixture.directory.path(), options).unwrap();
    engine.execute(create(Kind::Group, "small", &["alice"])).unwrap();
    let members: Vec<String> = (0..100).map(|number| format!("user-{number}")).collect();
    let members: Vec<&str> = members.iter().map(String::as_str).collect();
    engine.submit(create(Kind::Group, "large", &members), Box::new(|answer| drop(answer.unwrap()))).unwrap();
    engine.close().unwrap();
    let engine = fixture.open();
    for user in members {
        let delta = engine.sync(user, Start::Beginning, SyncLimits::default()).unwrap();
        assert_eq!(delta.records.len(), 1, "{user}");
    }
}

#[test]
fn a_closed_store_says_so() {
    let fixture = Fixture::new();
    let engine = fixture.open();
    let other = engine.clone();
    session(&engine, "alice", "phone", Box::new(|| {}));
    engine.close().unwrap();
    let (done, ended) = channel();
    std::thread::spawn(move || {
        let persisted = other.persist().map_err(|error| error.code);
        let submitted = other.execute(Command::CreateUser { user: "bob".into() }).map(|_| ());
        done.send((persisted, submitted.map_err(|error| error.code)))
    });
    assert_eq!(ended.recv_timeout(TIMEOUT).expect("an answer"), (Err(Code::Busy), Err(Code::Busy)));
}

#[test]
fn repeats_are_looked_up_as_far_back_as_is_promised() {
    let fixture = Fixture::new();
    let engine = fixture.open();
    engine.execute(create(Kind::Group, "g", &["alice"])).unwrap();
    let alice = session(&engine, "alice", "phone", Box::new(|| {}));
    let to = || Destination::Conversation("g".into());
    for number in 1..=REPEAT_WALK_MAX {
        engine.submit(message(alice, number, to(), "x"), Box::new(|answer| drop(receipt(answer)))).unwrap();
    }
    receipt(engine.execute(message(alice, REPEAT_WALK_MAX + 1, to(), "x")));
    assert_eq!(receipt(engine.execute(message(alice, 1, to(), "x"))).seq, Seq(2));
    receipt(engine.execute(message(alice, REPEAT_WALK_MAX + 2, to(), "x")));
    let far = engine.execute(message(alice, 1, to(), "x")).unwrap_err();
    assert_eq!(far.code, Code::AlreadyAccepted);
}

#[test]
fn coming_back_takes_no_further_member_row() {
    let fixture = Fixture::new();
    let engine = open_with(&fixture, Limits { member_rows_max: 3, ..Limits::default() });
    engine.execute(create(Kind::Channel, "c", &["alice"])).unwrap();
    let (bob, cy, channel) = (|| Arc::from("bob"), || Arc::from("cy"), || Arc::from("c"));
    for user in [bob(), cy()] {
        engine.execute(Command::CreateUser { user }).unwrap();
    }
    for _ in 0..5 {
        engine.execute(Command::Join { user: bob(), conversation: channel() }).unwrap();
        engine.execute(Command::Leave { user: bob(), conversation: channel() }).unwrap();
    }
    engine.execute(Command::Join { user: cy(), conversation: channel() }).unwrap();
    engine.execute(Command::Join { user: bob(), conversation: channel() }).unwrap();
    assert_eq!(limit_of(&engine, create(Kind::Group, "g", &["alice"])).as_deref(), Some("member_rows_max"));
}

#[test]
fn a_create_is_held_to_the_limits_of_members_and_names() {
    let fixture = Fixture::new();
    let limits = Limits { members_per_conversation_max: 2, names_max: 3, ..Limits::default() };
    let engine = open_with(&fixture, limits);
    let three = limit_of(&engine, create(Kind::Group, "g", &["a", "b", "c"]));
    assert_eq!(three.as_deref(), Some("names_max"), "four names with its own");
    engine.execute(create(Kind::Group, "g", &["a", "b"])).unwrap();
    let engine = {
        engine.close().unwrap();
        open_with(&fixture, Limits { members_per_conversation_max: 2, ..Limits::default() })
    };
    let three = limit_of(&engine, create(Kind::Group, "h", &["a", "b", "c"]));
    assert_eq!(three.as_deref(), Some("members_per_conversation_max"));
}

#[test]
fn edits_and_returns_are_bounded() {
    let fixture = Fixture::new();
    let engine = fixture.open();
    let alice = session(&engine, "alice", "phone", Box::new(|| {}));
    let target = receipt(engine.execute(message(alice, 1, to_bob(), "hello"))).seq;
    let edit = |client_seq| Command::Edit {
        session: alice,
        client_seq,
        conversation: "dm:alice,bob".into(),
        target,
        body: "again".into(),
    };
    (2..1_002).for_each(|number| drop(receipt(engine.execute(edit(number)))));
    assert_eq!(limit_of(&engine, edit(1_002)).as_deref(), Some("edits_per_message_max"));

    engine.execute(create(Kind::Channel, "news", &["bob"])).unwrap();
    let join = || Command::Join { user: "alice".into(), conversation: "news".into() };
    for _ in 0..1_000 {
        engine.execute(join()).unwrap();
        engine.execute(Command::Leave { user: "alice".into(), conversation: "news".into() }).unwrap();
    }
    assert_eq!(limit_of(&engine, join()).as_deref(), Some("intervals_per_member_max"));
}

#[test]
fn every_command_is_answered_or_refused_while_the_store_closes() {
    for _ in 0..20 {
        let fixture = Fixture::new();
        let engine = fixture.open();
        let other = engine.clone();
        let submitting = std::thread::spawn(move || {
            let (done, answers) = channel();
            let mut submitted = 0;
            for number in 0..u64::MAX {
                let done = done.clone();
                let completion = Box::new(move |answer: Result<Outcome, Error>| done.send(answer.is_ok()).unwrap());
                if other.submit(Command::CreateUser { user: format!("user-{number}").into() }, completion).is_err() {
                    break;
                }
                submitted += 1;
            }
            drop(done);
            (submitted, answers.iter().count())
        });
        engine.close().unwrap();
        let (submitted, answered) = submitting.join().unwrap();
        assert_eq!(submitted, answered);
    }
}

#[test]
fn a_completion_that_panics_stops_the_engine_and_others_are_answered() {
    let fixture = Fixture::new();
    let engine = fixture.open();
    let (told, poisoned) = channel();
    engine.on_poisoned(Box::new(move |error| told.send(error.code).unwrap()));
    let ((begin, begun), (submitted, go_on)) = (channel(), channel());
    let completion = Box::new(move |_: Result<Outcome, Error>| {
        begin.send(()).unwrap();
        go_on.recv().unwrap();
        panic!("a completion that breaks its promise");
    });
    engine.submit(Command::CreateUser { user: "alice".into() }, completion).unwrap();
    begun.recv_timeout(TIMEOUT).unwrap();
    let (done, answer) = channel();
    let completion = Box::new(move |answer: Result<Outcome, Error>| done.send(answer.is_err()).unwrap());
    engine.submit(Command::CreateUser { user: "bob".into() }, completion).unwrap();
    submitted.send(()).unwrap();
    assert_eq!(poisoned.recv_timeout(TIMEOUT).unwrap(), Code::Poisoned);
    assert_eq!(answer.recv_timeout(TIMEOUT), Ok(true));
    assert!(engine.persist().is_err());
    assert!(engine.close().is_err());
}

/// In their order; what is not taken keeps nothing behind it back, and everything is answered.
#[test]
fn commands_that_are_submitted_together_are_answered_each() {
    let fixture = Fixture::new();
    let limits = Limits { queue_bytes_max: 1_000, ..Limits::default() };
    let engine = Engine::open(fixture.directory.path(), Options { limits, ..fixture.options() }).unwrap();
    let (done, answers) = channel();
    let all = |users: std::ops::Range<usize>| {
        let done = done.clone();
        users.map(move |number| {
            let done = done.clone();
            let completion: Completion = Box::new(move |answer| done.send((number, answer.map(drop))).unwrap());
            (Command::CreateUser { user: format!("user-{number}").into() }, completion)
        })
    };
    engine.submit_all(all(0..3));
    let taken: Vec<_> = (0..3).map(|_| answers.recv_timeout(TIMEOUT).unwrap()).collect();
    assert_eq!(taken, [(0, Ok(())), (1, Ok(())), (2, Ok(()))]);
    engine.submit_all(all(3..3));
    engine.submit_all(all(3..100));
    let mut rest: Vec<_> = (3..100).map(|_| answers.recv_timeout(TIMEOUT).unwrap()).collect();
    rest.sort_by_key(|(number, _)| *number);
    assert!(rest.iter().map(|(number, _)| *number).eq(3..100), "each once");
    let (taken, refused): (Vec<_>, Vec<_>) = rest.into_iter().partition(|(_, answer)| answer.is_ok());
    assert!((3..97).contains(&taken.len()), "{} were taken", taken.len());
    assert!(refused.into_iter().all(|(_, answer)| answer.unwrap_err().limit.as_deref() == Some("queue_bytes_max")));
    engine.clone().close().unwrap();
    engine.submit_all(all(100..102));
    for number in 100..102 {
        assert_eq!(answers.recv_timeout(TIMEOUT).unwrap(), (number, Err(closed())));
    }
}
