//! The commit path alone: order, barriers, repeats, takeover, pipelining.

#![allow(clippy::unwrap_used, reason = "tests")]

mod edges;
mod planner;
mod usage;

use crate::command::{Caller, Command, Create, Destination, OpenSession, Outcome, Receipt, Send, SendSession};
use crate::entry::{ResetReason, Start, SyncLimits};
use crate::log::sim::SimDisk;
use crate::{Engine, Options};
use bytes::Bytes;
use highwater_proto::error::{Code, Error};
use highwater_proto::id::Seq;
use highwater_proto::record::{Fanout, Kind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::channel;

struct Fixture {
    directory: tempfile::TempDir,
    disk: SimDisk,
}

impl Fixture {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), disk: SimDisk::new() }
    }

    fn options(&self) -> Options {
        Options { disk: Some(Arc::new(self.disk.clone())), create_named_users: true, ..Options::default() }
    }

    fn open(&self) -> Engine {
        Engine::open(self.directory.path(), self.options()).unwrap()
    }
}

fn session(
    engine: &Engine,
    user: &str,
    device: &str,
    on_replaced: Box<dyn FnOnce() + std::marker::Send>,
) -> SendSession {
    engine.execute(Command::CreateUser { user: user.into() }).unwrap();
    let open = OpenSession { user: user.into(), device: device.into(), by_service: false, on_replaced };
    match engine.execute(Command::OpenSession(open)).unwrap() {
        Outcome::Session(session) => session,
        other => panic!("{other:?}"),
    }
}

fn message(session: SendSession, client_seq: u64, to: Destination, body: &str) -> Command {
    Command::Send(Send {
        session,
        client_seq,
        destination: to,
        body: Bytes::copy_from_slice(body.as_bytes()),
        quote: None,
        mentions: Vec::new(),
        sent_at_ms: None,
    })
}

fn receipt(outcome: Result<Outcome, Error>) -> Receipt {
    match outcome.unwrap() {
        Outcome::Receipt(receipt) => receipt,
        other => panic!("{other:?}"),
    }
}

fn to_bob() -> Destination {
    Destination::User("bob".into())
}

#[test]
fn the_first_message_makes_the_direct_conversation() {
    let fixture = Fixture::new();
    let engine = fixture.open();
    let alice = session(&engine, "alice", "phone", Box::new(|| {}));
    let first = receipt(engine.execute(message(alice, 1, to_bob(), "hello")));
    assert_eq!((first.seq, &*first.conversation), (Seq(2), "dm:alice,bob"));
    let second = receipt(engine.execute(message(alice, 2, to_bob(), "again")));
    assert_eq!(second.seq, Seq(3));
}

#[test]
fn a_pipelined_burst_keeps_its_order_across_barriers() {
    let fixture = Fixture::new();
    let engine = fixture.open();
    let alice = session(&engine, "alice", "phone", Box::new(|| {}));
    let (done, outcomes) = channel();
    // The first makes the conversation, so that all others wait for a barrier.
    for number in 1..=500 {
        let done = done.clone();
        let completion = Box::new(move |outcome| drop(done.send((number, outcome))));
        engine.submit(message(alice, number, to_bob(), "x"), completion).unwrap();
    }
    drop(done);
    let mut seqs: Vec<(u64, Seq)> = outcomes.iter().map(|(number, outcome)| (number, receipt(outcome).seq)).collect();
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=500).map(|number| (number, Seq(number + 1))).collect::<Vec<_>>());
}

#[test]
fn a_repeat_gets_the_same_receipt_and_a_changed_one_a_conflict() {
    let fixture = Fixture::new();
    let engine = fixture.open();
    let alice = session(&engine, "alice", "phone", Box::new(|| {}));
    let first = receipt(engine.execute(message(alice, 1, to_bob(), "hello")));
    receipt(engine.execute(message(alice, 2, to_bob(), "more")));
    let again = receipt(engine.execute(message(alice, 1, to_bob(), "hello")));
    assert_eq!(again, Receipt { repeated: true, ..first });
    let conflict = engine.execute(message(alice, 1, to_bob(), "other")).unwrap_err();
    assert_eq!(conflict.code, Code::Conflict);
    let ahead = engine.execute(message(alice, 9, to_bob(), "gap")).unwrap_err();
    assert_eq!((ahead.code, ahead.value), (Code::OutOfOrder, Some(3)));
}

#[test]
fn a_newer_session_fences_the_older_one() {
    let fixture = Fixture::new();
    let engine = fixture.open();
    let replaced = Arc::new(AtomicUsize::new(0));
    let count = replaced.clone();
    let old = session(
        &engine,
        "alice",
        "phone",
        Box::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
        }),
    );
    receipt(engine.execute(message(old, 1, to_bob(), "one")));
    let new = session(&engine, "alice", "phone", Box::new(|| {}));
    assert_eq!((new.last_client_seq, replaced.load(Ordering::SeqCst)), (1, 1));
    assert_eq!(engine.execute(message(old, 2, to_bob(), "late")).unwrap_err().code, Code::Replaced);
    receipt(engine.execute(message(new, 2, to_bob(), "two")));
}

#[test]
fn what_was_acknowledged_is_there_after_a_crash_and_the_state_is_the_same() {
    let fixture = Fixture::new();
    let engine = fixture.open();
    let alice = session(&engine, "alice", "phone", Box::new(|| {}));
    for number in 1..=50 {
        receipt(engine.execute(message(alice, number, to_bob(), "x")));
        if number == 25 {
            engine.persist().unwrap();
        }
    }
    let before = engine.dump().unwrap();
    drop(engine);
    fixture.disk.crash();
    let engine = fixture.open();
    let epoch_lines = |dump: &str| dump.lines().skip(2).map(str::to_owned).collect::<Vec<_>>();
    let after = engine.dump().unwrap();
    assert_eq!(epoch_lines(&before), epoch_lines(&after));
    engine.close().unwrap();
    let engine = fixture.open();
    assert_eq!(engine.dump().unwrap(), after, "a clean reopening changes nothing");
}

#[test]
fn a_large_group_switches_to_read_and_a_pin_switches_back() {
    let fixture = Fixture::new();
    let engine = fixture.open();
    let members = (0..100).map(|n| Arc::from(format!("u{n}"))).collect();
    let create = Create {
        caller: Caller::Service,
        kind: Kind::Group,
        conversation: Some("big".into()),
        owner: None,
        members,
        open: false,
        history: false,
    };
    engine.execute(Command::Create(create)).unwrap();
    let add =
        |user: &str| Command::Add { caller: Caller::Service, conversation: "big".into(), members: vec![user.into()] };
    assert!(engine.dump().unwrap().contains("mode Write"));
    engine.execute(add("one-more")).unwrap();
    assert!(engine.dump().unwrap().contains("mode Read"));
    let pin = Command::Settings {
        caller: Caller::Service,
        conversation: "big".into(),
        open: None,
        history: None,
        fanout: Some(Fanout::Write),
    };
    engine.execute(pin).unwrap();
    assert!(engine.dump().unwrap().contains("mode Write"));
}

#[test]
fn a_clock_that_jumps_pins_the_future_for_a_minute_at_most_and_never_goes_back() {
    let fixture = Fixture::new();
    let clock = Arc::new(AtomicU64::new(1_000_000));
    let source = clock.clone();
    let options = Options { clock: Arc::new(move || source.load(Ordering::SeqCst)), ..fixture.options() };
    let engine = Engine::open(fixture.directory.path(), options).unwrap();
    let alice = session(&engine, "alice", "phone", Box::new(|| {}));
    let first = receipt(engine.execute(message(alice, 1, to_bob(), "on time"))).time_ms;
    assert_eq!(first, 1_000_000);
    clock.store(1_000_000_000, Ordering::SeqCst);
    let leapt = receipt(engine.execute(message(alice, 2, to_bob(), "far ahead"))).time_ms;
    assert!((first + 60_000..first + 120_000).contains(&leapt), "{leapt}");
    clock.store(1_000_500, Ordering::SeqCst);
    let back = receipt(engine.execute(message(alice, 3, to_bob(), "back again"))).time_ms;
    assert_eq!(back, leapt);
}

#[test]
fn an_index_that_is_lost_is_rebuilt_from_the_log_under_a_new_incarnation() {
    let fixture = Fixture::new();
    let engine = fixture.open();
    let alice = session(&engine, "alice", "phone", Box::new(|| {}));
    receipt(engine.execute(message(alice, 1, to_bob(), "hello")));
    let checkpoint = engine.sync("bob", Start::Beginning, SyncLimits::default()).unwrap().checkpoint.unwrap();
    let before = engine.dump().unwrap();
    engine.close().unwrap();
    std::fs::remove_dir_all(fixture.directory.path().join("index")).unwrap();
    let engine = fixture.open();
    let without_incarnation = |dump: &str| dump.lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(without_incarnation(&engine.dump().unwrap()), without_incarnation(&before));
    let delta = engine.sync("bob", Start::Checkpoint(checkpoint), SyncLimits::default()).unwrap();
    assert_eq!(delta.reset, Some(ResetReason::Incarnation));
}
