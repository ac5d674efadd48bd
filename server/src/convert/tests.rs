//! Calls as commands, and what the engine answers as messages of the wire.

use super::*;
use bytes::Bytes;
use highwater_engine::command::{Create, OpenSession, Receipt};
use highwater_engine::entry::{Body, Common, Entry, Start, What};
use highwater_engine::options::Options;
use highwater_engine::{Caller, Command, Engine, Outcome, SendSession};
use highwater_proto::checkpoint::Checkpoint;
use highwater_proto::error::{Code, Error};
use highwater_proto::id::{Epoch, Incarnation, Position, Seq};
use highwater_proto::record::Settings;
use highwater_proto::wire::{self, PreparedRecord, kind, request::Call, response};
use std::sync::Arc;

fn command(call: Call, speaker: &Speaker, session: Option<SendSession>) -> Result<Command, Error> {
    super::command(call, speaker, session, &mut LastName::default())
}

fn user() -> Speaker {
    Speaker::User("ann".into())
}

fn service(as_user: Option<&str>) -> Speaker {
    Speaker::Service { as_user: as_user.map(Arc::from) }
}

fn refused(call: Call, speaker: &Speaker) -> Code {
    command(call, speaker, None).expect_err("it is refused").code
}

fn target() -> wire::Target {
    wire::Target { conversation: "c".to_owned() }
}

#[test]
fn choices_have_stable_numbers() {
    assert_eq!(KINDS.map(|kind| number(&KINDS, &kind)), [1, 2, 3]);
    assert_eq!(number(&ROLES, &Role::Owner), 3);
    assert_eq!(number(&FANOUTS, &Fanout::Read), 3);
    assert_eq!(choice(&KINDS, 2), Some(Kind::Group));
    assert_eq!(choice(&KINDS, 0), None);
    assert_eq!(choice(&KINDS, 4), None);
    assert_eq!(choice(&KINDS, u32::MAX), None);
}

#[test]
fn calls_become_commands_in_the_speakers_name() {
    let change = wire::Members { conversation: "c".to_owned(), members: vec!["bob".to_owned()] };
    match command(Call::Add(change.clone()), &user(), None).expect("allowed") {
        Command::Add { caller, conversation, members } => {
            assert_eq!(caller, Caller::User("ann".into()));
            assert_eq!((&*conversation, members), ("c", vec![Arc::from("bob")]));
        }
        other => panic!("{other:?}"),
    }
    match command(Call::Remove(change), &service(Some("bob")), None).expect("allowed") {
        Command::Remove { caller, .. } => assert_eq!(caller, Caller::Service),
        other => panic!("{other:?}"),
    }
    match command(Call::Read(wire::MarkRead { conversation: "c".to_owned(), through: 7 }), &user(), None) {
        Ok(Command::Read { user, through, .. }) => assert_eq!((&*user, through), ("ann", Seq(7))),
        other => panic!("{other:?}"),
    }
    let revoke = wire::Revoke { device: "d".to_owned() };
    match command(Call::Revoke(revoke.clone()), &service(Some("bob")), None) {
        Ok(Command::Revoke { user, .. }) => assert_eq!(&*user, "bob"),
        other => panic!("{other:?}"),
    }
    assert_eq!(refused(Call::Revoke(revoke), &service(None)), Code::InvalidArgument);
}

#[test]
fn numbered_commands_need_a_send_session() {
    let calls = [
        Call::Send(wire::Send { client_seq: 1, to: "bob".to_owned(), ..Default::default() }),
        Call::Edit(wire::Edit::default()),
        Call::Recall(wire::Recall::default()),
    ];
    for call in calls {
        assert_eq!(refused(call, &user()), Code::NotAllowed);
    }
}

#[test]
fn users_may_not_do_what_is_the_services() {
    assert_eq!(refused(Call::CreateUser(wire::CreateUser { user: "bob".to_owned() }), &user()), Code::NotAllowed);
    let pin = wire::SetSettings { conversation: "c".to_owned(), fanout: Some(2), ..Default::default() };
    assert_eq!(refused(Call::Settings(pin.clone()), &user()), Code::NotAllowed);
    assert!(command(Call::Settings(pin), &service(None), None).is_ok());
    let create = |owner: &str| {
        let new = wire::Create { kind: 2, conversation: "c".to_owned(), owner: owner.to_owned(), ..Default::default() };
        Call::Create(new)
    };
    assert_eq!(refused(create("bob"), &user()), Code::NotAllowed);
    assert!(matches!(command(create("ann"), &user(), None), Ok(Command::Create(Create { owner: None, .. }))));
    match command(create("bob"), &service(None), None) {
        Ok(Command::Create(new)) => assert_eq!(new.owner.as_deref(), Some("bob")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_service_does_not_act_as_a_member() {
    for speaker in [service(None), service(Some("bob"))] {
        assert_eq!(refused(Call::Join(target()), &speaker), Code::NotAllowed);
        assert_eq!(refused(Call::Leave(target()), &speaker), Code::NotAllowed);
        assert_eq!(refused(Call::Mute(wire::Mute::default()), &speaker), Code::NotAllowed);
        assert_eq!(refused(Call::Read(wire::MarkRead::default()), &speaker), Code::NotAllowed);
        assert_eq!(speaker.reader().expect_err("nothing to read").code, Code::NotAllowed);
    }
}

#[test]
fn unknown_numbers_are_refused() {
    assert_eq!(refused(Call::Create(wire::Create { kind: 0, ..Default::default() }), &user()), Code::InvalidArgument);
    assert_eq!(refused(Call::Role(wire::SetRole { role: 4, ..Default::default() }), &user()), Code::InvalidArgument);
    let pin = wire::SetSettings { fanout: Some(9), ..Default::default() };
    assert_eq!(refused(Call::Settings(pin), &service(None)), Code::InvalidArgument);
}

#[test]
fn large_calls_take_more_units() {
    let send = |bytes: usize| Call::Send(wire::Send { body: vec![0; bytes].into(), ..Default::default() });
    assert_eq!(units(&send(0), 256), 1);
    assert_eq!(units(&send(4095), 256), 1);
    assert_eq!(units(&send(64 << 10), 256), 17);
    assert_eq!(units(&send(64 << 10), 4), 4, "never more than there are");
    let add = wire::Members { members: vec![String::new(); 1000], ..Default::default() };
    assert_eq!(units(&Call::Add(add), 256), 63);
    assert_eq!(units(&Call::Join(target()), 256), 1);
}

fn session() -> SendSession {
    let data = tempfile::tempdir().expect("a directory");
    let engine = Engine::open(data.path(), Options::default()).expect("it opens");
    engine.execute(Command::CreateUser { user: "ann".into() }).expect("a new user");
    let opened = engine.execute(Command::OpenSession(OpenSession {
        user: "ann".into(),
        device: "phone".into(),
        by_service: false,
        on_replaced: Box::new(|| {}),
    }));
    match opened {
        Ok(Outcome::Session(session)) => session,
        other => panic!("{other:?}"),
    }
}

/// A plain message is refused for the same reasons, and costs the same, whichever way it is read.
#[test]
fn plain_messages_are_held_to_the_same_rules() {
    let long = "x".repeat(65);
    let session = session();
    let names = [("bob", ""), ("", "c"), ("bob", "c"), ("", ""), (&*long, ""), ("", &*long)];
    for ((to, conversation), session) in names.iter().flat_map(|names| [(names, None), (names, Some(session))]) {
        let body = vec![0; 9_000];
        let plain = wire::SendRequest { id: 1, client_seq: 4, to, conversation, body: &body, ..Default::default() };
        let call = Call::Send(plain.to_send());
        assert_eq!(send_units(&plain, 256), units(&call, 256));
        let plainly = plain_send(&plain, session, &mut LastName::default());
        assert_eq!(format!("{plainly:?}"), format!("{:?}", command(call, &user(), session)), "{to:?} {conversation:?}");
    }
}

#[test]
fn a_subscription_starts_in_one_place() {
    let checkpoint = Checkpoint { incarnation: Incarnation([7; 16]), epoch: Epoch(2), position: Position(9) };
    let with = |checkpoint: Vec<u8>, snapshot| wire::Subscribe {
        checkpoint: checkpoint.into(),
        snapshot,
        ..Default::default()
    };
    assert_eq!(start(&with(Vec::new(), false)), Ok(Start::Beginning));
    assert_eq!(start(&with(Vec::new(), true)), Ok(Start::Snapshot));
    assert_eq!(start(&with(checkpoint.encode(), false)), Ok(Start::Checkpoint(checkpoint)));
    for subscribe in [with(checkpoint.encode(), true), with(vec![1, 2, 3], false)] {
        assert_eq!(start(&subscribe).expect_err("refused").code, Code::InvalidArgument);
    }
}

fn entry(what: What) -> Entry {
    Entry {
        position: Position(5),
        conversation: "c".into(),
        seq: Seq(3),
        from: "ann".into(),
        device: "phone".into(),
        time_ms: 11,
        by_service: true,
        what,
        common: Common::none(),
    }
}

#[test]
fn entries_become_records() {
    let original = What::Message {
        sent_at_ms: Some(10),
        quote: Some(Seq(2)),
        mentions: vec!["bob".into()],
        body: Body::Original(Bytes::from_static(b"hi")),
    };
    let expected = wire::Record {
        position: 5,
        conversation: "c".to_owned(),
        seq: 3,
        kind: kind::MESSAGE,
        from: "ann".to_owned(),
        device: "phone".to_owned(),
        time_ms: 11,
        by_service: true,
        body: Bytes::from_static(b"hi"),
        sent_at_ms: Some(10),
        quote: Some(2),
        mentions: vec!["bob".to_owned()],
        ..Default::default()
    };
    assert_eq!(record(entry(original)), expected);

    let message = |body| record(entry(What::Message { sent_at_ms: None, quote: None, mentions: Vec::new(), body }));
    let edited = message(Body::Edited(Bytes::from_static(b"new"), 12));
    assert_eq!((&edited.body[..], edited.edited_ms, edited.recalled), (&b"new"[..], Some(12), false));
    let recalled = message(Body::Recalled);
    assert_eq!((recalled.body.len(), recalled.edited_ms, recalled.recalled), (0, None, true));

    let settings = Settings { open: true, history: true, fanout: Fanout::Write };
    let created = record(entry(What::Create {
        kind: Kind::Channel,
        settings,
        owner: Some("ann".into()),
        members: vec!["ann".into(), "bob".into()],
    }));
    assert_eq!((created.kind, created.conversation_kind, &*created.owner), (kind::CREATE, 3, "ann"));
    assert_eq!((created.open, created.history, created.fanout, created.members.len()), (true, true, 2, 2));

    let numbered = [
        (What::Add { members: vec!["bob".into()] }, kind::ADD),
        (What::Remove { members: vec!["bob".into()] }, kind::REMOVE),
        (What::Join { user: "bob".into() }, kind::JOIN),
        (What::Leave { user: "bob".into() }, kind::LEAVE),
    ];
    for (what, number) in numbered {
        let record = record(entry(what));
        assert_eq!((record.kind, record.members), (number, vec!["bob".to_owned()]));
    }
    let role = record(entry(What::Role { user: "bob".into(), role: Role::Admin }));
    assert_eq!((role.kind, &*role.user, role.role), (kind::ROLE, "bob", 2));
    let edit = record(entry(What::Edit { target: Seq(1), body: None }));
    assert_eq!((edit.kind, edit.target, edit.recalled), (kind::EDIT, 1, true));
    let read = record(entry(What::Read { through: Seq(4) }));
    assert_eq!((read.kind, read.through), (kind::READ, 4));
    let muted = record(entry(What::Mute { muted: true }));
    assert_eq!((muted.kind, muted.muted), (kind::MUTE, true));
}

/// Messages are encoded without a general record in between; nobody can tell.
#[test]
fn entries_are_encoded_as_their_records_are() {
    let bodies = [Body::Original(Bytes::from_static(b"hi")), Body::Edited(Bytes::new(), 12), Body::Recalled];
    let mentions = [Vec::new(), vec!["bob".into()]];
    for (body, mentions) in bodies.iter().flat_map(|body| mentions.iter().map(move |mentions| (body, mentions))) {
        for (sent_at_ms, quote) in [(None, None), (Some(10), Some(Seq(2)))] {
            let (body, mentions) = (body.clone(), mentions.clone());
            let entry = entry(What::Message { sent_at_ms, quote, mentions, body });
            let expected = PreparedRecord::new(&record(entry.clone())).into_bytes();
            assert_eq!(encoded(entry.clone()), expected, "{entry:?}");
        }
    }
    let other = entry(What::Read { through: Seq(4) });
    assert_eq!(encoded(other.clone()), PreparedRecord::new(&record(other)).into_bytes());
}

#[test]
fn outcomes_become_answers() {
    let receipt = Receipt {
        conversation: "c".into(),
        seq: Seq(1),
        position: Position(2),
        time_ms: 3,
        client_seq: 4,
        repeated: true,
    };
    match outcome(Ok(Outcome::Receipt(receipt))) {
        response::Outcome::Receipt(receipt) => {
            assert_eq!((receipt.seq, receipt.position, receipt.time_ms, receipt.client_seq), (1, 2, 3, 4));
            assert!(receipt.repeated);
        }
        other => panic!("{other:?}"),
    }
    let error = Error::out_of_order(5, 3);
    match outcome(Err(error.clone())) {
        response::Outcome::Failure(failure) => assert_eq!(Error::from(failure), error),
        other => panic!("{other:?}"),
    }
}

/// Names are counted neither by the units of a session nor by the engine's queue: one of a whole frame would be kept,
/// and 256 of them, for the price of a short command.
#[test]
fn what_nobody_counts_is_short() {
    let long = "x".repeat(65);
    let calls = [
        Call::Join(wire::Target { conversation: long.clone() }),
        Call::Edit(wire::Edit { conversation: long.clone(), ..Default::default() }),
        Call::Send(wire::Send { to: long.clone(), ..Default::default() }),
        Call::Add(wire::Members { conversation: "c".to_owned(), members: vec![long.clone()] }),
        Call::Role(wire::SetRole { conversation: "c".to_owned(), user: long, role: 1 }),
        Call::Remove(wire::Members { conversation: "c".to_owned(), members: vec![String::new(); 1_001] }),
    ];
    for call in calls {
        assert_eq!(refused(call, &user()), Code::LimitExceeded);
    }
}
