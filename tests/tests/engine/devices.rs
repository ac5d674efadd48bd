//! Numbered sends under bad clients: never a lost and never a doubled message (promise P3).

use crate::fixture::{Store, conversation, member, receipt, refusal, send, session};
use highwater_engine::command::{Command, OpenSession};
use highwater_engine::entry::{Start, SyncLimits, What};
use highwater_engine::proto::error::Code;
use highwater_engine::proto::id::Seq;
use highwater_engine::proto::limits::REPEAT_WALK_MAX;
use highwater_engine::proto::record::Kind;
use highwater_engine::{Engine, Options, Outcome, Receipt};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;

fn begin() -> (Store, Engine) {
    let store = Store::new(Options::default());
    let engine = store.open();
    engine.execute(conversation(Kind::Group, "g", &[member(0), member(1)])).unwrap();
    engine.execute(conversation(Kind::Group, "h", &[member(0), member(1)])).unwrap();
    (store, engine)
}

fn repeated(receipt: &Receipt) -> Receipt {
    Receipt { repeated: true, ..receipt.clone() }
}

fn messages(engine: &Engine) -> usize {
    let mut page = engine.sync("user-1", Start::Beginning, SyncLimits::default()).unwrap();
    let mut count = 0;
    loop {
        count += page.records.iter().filter(|entry| matches!(entry.what, What::Message { .. })).count();
        if page.caught_up {
            return count;
        }
        page = engine.sync_next("user-1", page.next, SyncLimits::default()).unwrap();
    }
}

/// The newer session wins, the older is told, and its repeats do not count.
#[test]
fn two_clients_with_one_device() {
    let (_store, engine) = begin();
    let (told, replaced) = channel();
    let open = Command::OpenSession(OpenSession {
        user: member(0),
        device: "phone".into(),
        by_service: false,
        on_replaced: Box::new(move || told.send(()).unwrap()),
    });
    let Outcome::Session(older) = engine.execute(open).unwrap() else { panic!("no session") };
    receipt(&engine, send(older, 1, "g", "from the older"));
    assert!(replaced.try_recv().is_err(), "nobody took over yet");
    let newer = session(&engine, "user-0", "phone", false);
    replaced.recv().unwrap();
    assert_eq!(newer.last_client_seq, 1);
    assert_eq!(refusal(&engine, send(older, 2, "g", "too late")), Code::Replaced);
    assert_eq!(refusal(&engine, send(older, 1, "g", "from the older")), Code::Replaced);
    receipt(&engine, send(newer, 2, "g", "from the newer"));
    assert_eq!(messages(&engine), 2);
    // Another device of the same user is not concerned.
    let other = session(&engine, "user-0", "laptop", false);
    receipt(&engine, send(other, 1, "g", "from the laptop"));
    receipt(&engine, send(newer, 3, "g", "still there"));
}

/// A client that lost its counter sends 1 again: its message is a named conflict, not a second record and not a
/// silent success.
#[test]
fn a_counter_that_went_back() {
    let (_store, engine) = begin();
    let first = session(&engine, "user-0", "phone", false);
    for number in 1..=5 {
        receipt(&engine, send(first, number, "g", format!("message {number}")));
    }
    let again = session(&engine, "user-0", "phone", false);
    assert_eq!(again.last_client_seq, 5, "it is told where to go on");
    assert_eq!(refusal(&engine, send(again, 1, "g", "something new")), Code::Conflict);
    assert_eq!(messages(&engine), 5);
    assert_eq!(refusal(&engine, send(again, 7, "g", "too far")), Code::OutOfOrder);
    let error = engine.execute(send(again, 9, "g", "too far")).unwrap_err();
    assert_eq!(error.value, Some(6), "the expected number is told: {error}");
    receipt(&engine, send(again, 6, "g", "something new"));
    assert_eq!(messages(&engine), 6);
}

/// What decides is the number and what was sent under it, not who asks again, nor what happened since.
#[test]
fn repeats_get_the_same_receipt() {
    let (store, engine) = begin();
    let first = session(&engine, "user-0", "phone", false);
    let sent = receipt(&engine, send(first, 1, "g", "hello"));
    let edit = |session, number| {
        let (conversation, target) = ("g".into(), sent.seq);
        Command::Edit { session, client_seq: number, conversation, target, body: "better".into() }
    };
    let recall =
        |session, number| Command::Recall { session, client_seq: number, conversation: "g".into(), target: sent.seq };
    let edited = receipt(&engine, edit(first, 2));
    let recalled = receipt(&engine, recall(first, 3));
    assert_eq!(receipt(&engine, send(first, 1, "g", "hello")), repeated(&sent), "in the same session");
    let mut engine = engine;
    for step in ["another session", "a persist", "a clean opening", "a crash"] {
        match step {
            "a persist" => engine.persist().unwrap(),
            "a clean opening" => {
                engine.close().unwrap();
                engine = store.open();
            }
            "a crash" => {
                store.crash(engine);
                engine = store.open();
            }
            _ => {}
        }
        let session = session(&engine, "user-0", "phone", false);
        assert_eq!(session.last_client_seq, 3, "after {step}");
        assert_eq!(receipt(&engine, send(session, 1, "g", "hello")), repeated(&sent), "after {step}");
        assert_eq!(receipt(&engine, edit(session, 2)), repeated(&edited), "after {step}");
        assert_eq!(receipt(&engine, recall(session, 3)), repeated(&recalled), "after {step}");
        for (what, command) in [
            ("another body", send(session, 1, "g", "hullo")),
            ("another conversation", send(session, 1, "h", "hello")),
            ("another command", edit(session, 1)),
            ("a send in place of an edit", send(session, 2, "g", "better")),
            ("another target", Command::Recall { session, client_seq: 3, conversation: "g".into(), target: Seq(1) }),
        ] {
            assert_eq!(refusal(&engine, command), Code::Conflict, "{what} after {step}");
        }
    }
    assert_eq!(messages(&engine), 1);
    // A removed member's repeats are answered as well: the record is there.
    let session = session(&engine, "user-0", "phone", false);
    let caller = highwater_engine::Caller::Service;
    engine.execute(Command::Remove { caller, conversation: "g".into(), members: vec![member(0)] }).unwrap();
    assert_eq!(receipt(&engine, send(session, 1, "g", "hello")), repeated(&sent));
    assert_eq!(refusal(&engine, send(session, 4, "g", "hello")), Code::NotAllowed);
}

/// A number that is too far back to be looked up was accepted then; that is all that can be said.
#[test]
fn repeats_from_long_ago() {
    let (_store, engine) = begin();
    let session = session(&engine, "user-0", "phone", false);
    let last = REPEAT_WALK_MAX + 10;
    let (told, answers) = channel();
    for number in 1..=last {
        let told = told.clone();
        let completion = Box::new(move |answer: Result<Outcome, _>| told.send(answer.is_ok()).unwrap());
        engine.submit(send(session, number, "g", format!("{number}")), completion).unwrap();
    }
    drop(told);
    assert_eq!(answers.into_iter().filter(|is_ok| *is_ok).count() as u64, last);
    assert_eq!(refusal(&engine, send(session, 1, "g", "1")), Code::AlreadyAccepted);
    let near = last - REPEAT_WALK_MAX + 2;
    assert!(receipt(&engine, send(session, near, "g", format!("{near}"))).repeated);
    assert_eq!(refusal(&engine, send(session, near, "g", "other")), Code::Conflict);
    assert_eq!(messages(&engine) as u64, last);
}

/// Many threads send the same numbers at the same time, as impatient clients do.
#[test]
fn retry_storm() {
    const THREADS: usize = 8;
    const NUMBERS: u64 = 150;
    let (_store, engine) = begin();
    let session = session(&engine, "user-0", "phone", false);
    let accepted = AtomicU64::new(0);
    let receipts: Vec<Vec<Receipt>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    let storm = |number| loop {
                        match engine.execute(send(session, number, "g", format!("{number}"))) {
                            Ok(Outcome::Receipt(receipt)) => {
                                accepted.fetch_add(u64::from(!receipt.repeated), Ordering::SeqCst);
                                return Receipt { repeated: false, ..receipt };
                            }
                            Err(error) => assert_eq!(error.code, Code::OutOfOrder, "{error}"),
                            Ok(other) => panic!("{other:?}"),
                        }
                    };
                    (1..=NUMBERS).map(storm).collect()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(accepted.load(Ordering::SeqCst), NUMBERS, "each number was accepted once");
    assert!(receipts.iter().all(|others| *others == receipts[0]), "everybody has the same receipts");
    assert_eq!(messages(&engine) as u64, NUMBERS);
}

/// A revoked device's session ends; its numbers go on where they were when it comes back.
#[test]
fn revoked_devices_keep_their_numbers() {
    let (_store, engine) = begin();
    let first = session(&engine, "user-0", "phone", false);
    receipt(&engine, send(first, 1, "g", "hello"));
    let revoke = || Command::Revoke { user: member(0), device: Arc::from("phone") };
    engine.execute(revoke()).unwrap();
    assert!(matches!(engine.execute(revoke()).unwrap(), Outcome::Unchanged { .. }));
    assert_eq!(refusal(&engine, send(first, 2, "g", "more")), Code::Replaced);
    assert_eq!(engine.devices("user-0").unwrap(), []);
    let again = session(&engine, "user-0", "phone", false);
    assert_eq!(again.last_client_seq, 1);
    receipt(&engine, send(again, 2, "g", "more"));
    assert_eq!(messages(&engine), 2);
}
