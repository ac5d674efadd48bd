//! Every limit refuses with its name and value, and what is refused changes nothing.

use crate::fixture::{Store, conversation, member, receipt, send, session};
use highwater_engine::command::{Caller, Command, OpenSession};
use highwater_engine::entry::{Body, HistoryRange, Start, SyncLimits, What};
use highwater_engine::proto::error::{Code, Error};
use highwater_engine::proto::id::Seq;
use highwater_engine::proto::limits::{
    DELTA_BYTES_MAX, DELTA_RECORDS_MAX, ID_BYTES_MAX, Limits, MEMBERS_PER_CHANGE_MAX, MENTIONS_MAX, PAGE_ENTRIES_MAX,
};
use highwater_engine::proto::record::Kind;
use highwater_engine::{Engine, Options};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

fn begin(limits: Limits) -> (Store, Engine) {
    let store = Store::new(Options { limits, ..Options::default() });
    let engine = store.open();
    engine.execute(conversation(Kind::Group, "g", &[member(0), member(1)])).unwrap();
    (store, engine)
}

/// The command is refused by this limit, and nothing has happened.
fn assert_limit(engine: &Engine, command: Command, name: &str, value: u64) {
    let visible = engine.visible();
    assert_error(engine.execute(command).expect_err("it is above a limit"), name, value);
    assert_eq!(engine.visible(), visible, "{name}: a refused command changes nothing");
}

fn assert_error(error: Error, name: &str, value: u64) {
    assert_eq!(
        (error.code, error.limit.as_deref(), error.value),
        (Code::LimitExceeded, Some(name), Some(value)),
        "{error}"
    );
    assert!(error.message.contains(name) && error.message.contains(&value.to_string()), "{error}");
}

fn add(conversation: &str, members: impl Iterator<Item = usize>) -> Command {
    Command::Add { caller: Caller::Service, conversation: conversation.into(), members: members.map(member).collect() }
}

fn open(user: usize, device: &str) -> Command {
    let (user, device) = (member(user), device.into());
    Command::OpenSession(OpenSession { user, device, by_service: false, on_replaced: Box::new(|| {}) })
}

#[test]
fn limits_of_commands() {
    let limits = Limits { body_bytes_max: 100, ..Limits::default() };
    let (_store, engine) = begin(limits);
    let session = session(&engine, "user-0", "d", false);
    assert_limit(&engine, send(session, 1, "g", vec![0; 101]), "body_bytes_max", 100);
    receipt(&engine, send(session, 1, "g", vec![0; 100]));
    receipt(&engine, send(session, 2, "g", ""));
    let (conversation, target) = ("g".into(), Seq(2));
    let edit = Command::Edit { session, client_seq: 3, conversation, target, body: vec![0; 101].into() };
    assert_limit(&engine, edit, "body_bytes_max", 100);
    let mut mentioning = send(session, 3, "g", "");
    if let Command::Send(send) = &mut mentioning {
        send.mentions = vec![member(1); MENTIONS_MAX + 1];
    }
    assert_limit(&engine, mentioning, "mentions_max", MENTIONS_MAX as u64);
    let long: Arc<str> = "x".repeat(ID_BYTES_MAX + 1).into();
    let id_max = ID_BYTES_MAX as u64;
    assert_limit(&engine, Command::CreateUser { user: long.clone() }, "id_bytes_max", id_max);
    assert_limit(&engine, open(0, &long), "id_bytes_max", id_max);
    assert_limit(&engine, crate::fixture::conversation(Kind::Group, &long, &[]), "id_bytes_max", id_max);
    let too_many = 0..MEMBERS_PER_CHANGE_MAX + 1;
    assert_limit(&engine, add("g", too_many.clone()), "members_per_change_max", MEMBERS_PER_CHANGE_MAX as u64);
    let members: Vec<Arc<str>> = too_many.map(member).collect();
    let create = crate::fixture::conversation(Kind::Group, "h", &members);
    assert_limit(&engine, create, "members_per_change_max", MEMBERS_PER_CHANGE_MAX as u64);
}

#[test]
fn limits_of_the_store() {
    let limits = Limits {
        devices_per_user_max: 2,
        members_per_conversation_max: 4,
        conversations_per_user_max: 3,
        names_max: 20,
        member_rows_max: 12,
        ..Limits::default()
    };
    let (_store, engine) = begin(limits);
    engine.execute(open(0, "a")).unwrap();
    engine.execute(open(0, "b")).unwrap();
    assert_limit(&engine, open(0, "c"), "devices_per_user_max", 2);
    engine.execute(open(0, "a")).unwrap();
    engine.execute(Command::Revoke { user: member(0), device: "a".into() }).unwrap();
    engine.execute(open(0, "c")).unwrap();
    engine.execute(add("g", 2..4)).unwrap();
    assert_limit(&engine, add("g", 4..5), "members_per_conversation_max", 4);
    engine.execute(conversation(Kind::Group, "h", &[member(0), member(1), member(2)])).unwrap();
    engine.execute(conversation(Kind::Group, "i", &[member(0)])).unwrap();
    assert_limit(&engine, conversation(Kind::Group, "j", &[member(0)]), "conversations_per_user_max", 3);
    assert_limit(
        &engine,
        conversation(Kind::Group, "j", &[member(1), member(2), member(3), member(0)]),
        "conversations_per_user_max",
        3,
    );
    // Leaving makes room for the user, but its row stays.
    engine.execute(Command::Leave { user: member(0), conversation: "i".into() }).unwrap();
    engine.execute(conversation(Kind::Group, "j", &[member(0), member(1)])).unwrap();
    let rows = conversation(Kind::Group, "k", &[member(3), member(5), member(6)]);
    assert_limit(&engine, rows, "member_rows_max", 12);
    let error = (10..40).find_map(|user| engine.execute(Command::CreateUser { user: member(user) }).err());
    assert_error(error.expect("names are limited"), "names_max", 20);
}

/// The sequencer waits for the clock, which the test holds: what is submitted meanwhile queues up.
#[test]
fn a_full_queue_is_busy() {
    let gate = Arc::new(Mutex::new(()));
    let clock = gate.clone();
    let limits = Limits { queue_bytes_max: 10_000, ..Limits::default() };
    let clock = Arc::new(move || {
        drop(clock.lock().unwrap());
        1_700_000_000_000
    });
    let store = Store::new(Options { limits, clock, ..Options::default() });
    let engine = store.open();
    engine.execute(conversation(Kind::Group, "g", &[member(0), member(1)])).unwrap();
    let session = session(&engine, "user-0", "d", false);
    // One command always fits, however large.
    receipt(&engine, send(session, 1, "g", vec![0; 20_000]));
    let held = gate.lock().unwrap();
    let (told, answers) = channel();
    let mut submitted = 0;
    let busy = loop {
        let told = told.clone();
        let completion = Box::new(move |answer: Result<_, Error>| told.send(answer.is_ok()).unwrap());
        match engine.submit(send(session, submitted + 2, "g", vec![0; 1_000]), completion) {
            Ok(()) => submitted += 1,
            Err(error) => break error,
        }
        assert!(submitted < 100, "the queue is bounded");
    };
    assert_eq!((busy.code, busy.limit.as_deref(), busy.value), (Code::Busy, Some("queue_bytes_max"), Some(10_000)));
    assert!(busy.is_retryable());
    drop(held);
    drop(told);
    assert!(answers.into_iter().all(|is_ok| is_ok), "what was queued is done");
    receipt(&engine, send(session, submitted + 2, "g", "there is room again"));
}

#[test]
fn pages_are_bounded() {
    let (_store, engine) = begin(Limits::default());
    let session = session(&engine, "user-0", "d", false);
    let count = DELTA_RECORDS_MAX as u64 + 50;
    for number in 1..=count {
        receipt(&engine, send(session, number, "g", "short"));
    }
    for asked in [0, usize::MAX] {
        let limits = SyncLimits { records_max: asked, bytes_max: asked, per_conversation_max: 0 };
        let delta = engine.sync("user-1", Start::Beginning, limits).unwrap();
        assert_eq!(delta.records.len(), DELTA_RECORDS_MAX);
        assert!(!delta.caught_up);
        let page = engine.history("user-1", "g", HistoryRange::Newest, asked).unwrap();
        assert_eq!(page.len(), PAGE_ENTRIES_MAX);
    }
    for number in count + 1..=count + 10 {
        receipt(&engine, send(session, number, "g", vec![b'x'; 60 << 10]));
    }
    let begin = engine.history("user-1", "g", HistoryRange::Newest, 11).unwrap()[0].position;
    let mut page = engine.sync("user-1", Start::Beginning, SyncLimits::default()).unwrap();
    while page.to < begin {
        page = engine.sync_next("user-1", page.next, SyncLimits::default()).unwrap();
    }
    while !page.caught_up {
        page = engine.sync_next("user-1", page.next, SyncLimits::default()).unwrap();
        let bytes = |body: &Body| if let Body::Original(body) = body { body.len() } else { 0 };
        let bytes: usize = page
            .records
            .iter()
            .map(|entry| if let What::Message { body, .. } = &entry.what { bytes(body) } else { 0 })
            .sum();
        assert!(bytes <= DELTA_BYTES_MAX, "{bytes} bytes in a delta");
    }
}

/// What makes no sense is refused, too, and never harms.
#[test]
fn nonsense_is_refused() {
    let (_store, engine) = begin(Limits::default());
    let mine = session(&engine, "user-0", "d", false);
    let visible = engine.visible();
    let refused: Vec<(&str, Command)> = vec![
        ("an empty name", Command::CreateUser { user: "".into() }),
        ("a control character", Command::CreateUser { user: "a\u{7}b".into() }),
        ("number zero", send(mine, 0, "g", "")),
        ("the largest number", send(mine, u64::MAX, "g", "")),
        ("no such conversation", send(mine, 1, "\u{202e}", "")),
        ("a reserved name", conversation(Kind::Group, "dm:x", &[])),
        ("three sides", conversation(Kind::Direct, "d", &[member(0), member(1), member(2)])),
        ("no side", conversation(Kind::Direct, "d", &[])),
        ("a taken name", conversation(Kind::Channel, "g", &[member(0)])),
        ("a seq beyond the head", Command::Read { user: member(0), conversation: "g".into(), through: Seq(u64::MAX) }),
        (
            "a target that is no message",
            Command::Recall { session: mine, client_seq: 1, conversation: "g".into(), target: Seq(1) },
        ),
        (
            "a target beyond the head",
            Command::Recall { session: mine, client_seq: 1, conversation: "g".into(), target: Seq(u64::MAX) },
        ),
        ("target zero", Command::Recall { session: mine, client_seq: 1, conversation: "g".into(), target: Seq(0) }),
        ("an unknown device", Command::Revoke { user: member(0), device: "never".into() }),
        ("an unknown user", Command::Leave { user: member(77), conversation: "g".into() }),
    ];
    for (what, command) in refused {
        let error = engine.execute(command).expect_err(what);
        assert!(!error.is_retryable(), "{what}: {error}");
        assert_eq!(engine.visible(), visible, "{what} changes nothing");
    }
    for seq in [0, u64::MAX] {
        for range in [HistoryRange::Before(Seq(seq)), HistoryRange::After(Seq(seq))] {
            engine.history("user-0", "g", range, usize::MAX).unwrap();
        }
    }
    receipt(&engine, send(mine, 1, "g", "still working"));
}
